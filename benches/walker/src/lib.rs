//! A plugin that only walks: what the boundary itself costs, without a format.

use std::hint::black_box;

use tallyport_plugin_api::{Call, Error, Exporter, Host, Info, Sink, Snapshot, Value, format};

struct Walker;

/// Number of labels, bytes of their text, and the sum of the values.
#[must_use]
pub fn walk(snapshot: &Snapshot<'_>) -> (u64, usize, u64) {
    let (mut labels, mut bytes, mut values) = (0_u64, 0_usize, 0_u64);
    for family in snapshot.families() {
        for series in family.series() {
            for (name, value) in series.labels() {
                labels += 1;
                bytes += black_box(name).len() + black_box(value).len();
            }
            if let Value::U64(value) = series.value() {
                values = values.wrapping_add(value);
            }
        }
    }
    (labels, bytes, values)
}

impl Exporter for Walker {
    type Options = ();

    const INFO: Info = Info {
        vendor: "Tallyport",
        description: "Looks at every label and value, and writes their sums",
        formats: &[format("walker", "text/plain; charset=utf-8")],
        ..Info::new("walker", "0.1.0")
    };

    fn create(_host: Host, (): ()) -> Result<Self, Error> {
        Ok(Self)
    }

    fn export(
        &self,
        _: &Call<'_>,
        snapshot: &Snapshot<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let (labels, bytes, values) = walk(snapshot);
        sink.write(format!("{labels} labels, {bytes} bytes, {values}\n").as_bytes())
    }
}

tallyport_plugin_api::export_plugins!("tallyport.bench.walker", [Walker]);
