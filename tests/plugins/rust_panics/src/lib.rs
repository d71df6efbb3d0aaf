//! Panics in export; the SDK contains it and poisons the exporter.

use tallyport_plugin_api::{Call, Error, Exporter, Host, Info, Sink, Snapshot, format};

struct Panics;

impl Exporter for Panics {
    type Options = ();

    const INFO: Info = Info {
        formats: &[format("panics", "text/plain; charset=utf-8")],
        ..Info::new("com.example.rust-panics", "1.0.0")
    };

    fn create(_host: Host, _options: ()) -> Result<Self, Error> {
        Ok(Self)
    }

    #[expect(clippy::panic, reason = "the defect under test")]
    fn export(
        &self,
        _call: &Call<'_>,
        _snapshot: &Snapshot<'_>,
        _sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        panic!("on purpose")
    }
}

tallyport_plugin_api::export_plugins!("com.example.rust-panics", [Panics]);
