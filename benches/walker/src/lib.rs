//! A plugin that only walks: what the boundary itself costs, without a format.

mod walk;

use tallyport_plugin_api::{Call, Error, Exporter, Host, Info, Sink, Snapshot, format};

struct Walker;

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
        let (labels, bytes, values) = walk::walk(snapshot);
        sink.write(format!("{labels} labels, {bytes} bytes, {values}\n").as_bytes())
    }
}

tallyport_plugin_api::export_plugins!("tallyport.bench.walker", [Walker]);
