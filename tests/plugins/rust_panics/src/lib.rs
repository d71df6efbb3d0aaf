//! Panics where its option says, by default in export; the SDK contains it.

use std::time::Duration;

use tallyport_plugin_api::{
    Call, Error, Exporter, Host, Info, Sink, Snapshot, abi::TALLYPORT_CANCELLED, format,
};

#[derive(Clone, serde::Deserialize)]
struct Options {
    panic_in: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { panic_in: "export".to_owned() }
    }
}

struct Panics(Options);

impl Options {
    #[expect(clippy::panic, reason = "the defect under test")]
    fn enter(&self, place: &str) {
        if self.panic_in == place {
            panic!("on purpose in {place}")
        }
    }
}

impl Exporter for Panics {
    type Options = Options;

    const INFO: Info = Info {
        formats: &[format("panics", "text/plain; charset=utf-8")],
        ..Info::new("com.example.rust-panics", "1.0.0")
    };

    fn create(_host: Host, options: Options) -> Result<Self, Error> {
        options.enter("create");
        Ok(Self(options))
    }

    fn export(
        &self,
        call: &Call<'_>,
        _snapshot: &Snapshot<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        self.0.enter("export");
        // Only what is cancelled can panic in cancel.
        if self.0.panic_in == "cancel" {
            while !call.is_cancelled() {
                std::thread::sleep(Duration::from_millis(2));
            }
            return Err(Error::new(TALLYPORT_CANCELLED, "as told"));
        }
        sink.write(b"fine\n")
    }

    fn flush(&self, _: &Call<'_>) -> Result<(), Error> {
        self.0.enter("flush");
        Ok(())
    }

    fn cancel(&self) {
        self.0.enter("cancel");
    }

    fn shutdown(&self, _: &Call<'_>) -> Result<(), Error> {
        self.0.enter("shutdown");
        Ok(())
    }
}

impl Drop for Panics {
    fn drop(&mut self) {
        self.0.enter("destroy");
    }
}

tallyport_plugin_api::export_plugins!("com.example.rust-panics", [Panics]);
