//! A vendor's plugin for the tests of the command: it does what its options say.

use serde::Deserialize;
use tallyport_plugin_api::{
    Call, Error, Exporter, Host, Info, LogLevel, Sink, Snapshot,
    abi::{
        TALLYPORT_CAP_CANCEL, TALLYPORT_CAP_OUT_OF_PROC, TALLYPORT_CAP_WRITES_SINK,
        tallyport_status,
    },
    format,
};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    /// Fails to be created.
    refuse: bool,
    /// Fails with this status, after it wrote a line.
    fail: Option<tallyport_status>,
    /// Panics while exporting.
    panic: bool,
    /// Warns of this.
    warn: String,
    /// Writes that many lines for each family.
    repeat: usize,
}

struct Obedient {
    host: Host,
    options: Options,
}

impl Exporter for Obedient {
    type Options = Options;

    const INFO: Info = Info {
        vendor: "The tests",
        description: "Writes names,\u{1b}[31m and fails when told to",
        formats: &[format("names", "text/plain; charset=utf-8"), format("other", "text/other")],
        caps: TALLYPORT_CAP_WRITES_SINK
            | TALLYPORT_CAP_CANCEL
            | TALLYPORT_CAP_OUT_OF_PROC
            | 1 << 40,
        config_schema_json: r#"{
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "refuse": {"type": "boolean", "description": "Fail to be created."},
                "fail": {"type": "integer"},
                "panic": {"type": "boolean"},
                "warn": {"type": "string"},
                "repeat": {"type": "integer", "minimum": 0, "default": 0}
            }
        }"#,
        ..Info::new("com.example.obedient", "1.2.3")
    };

    fn create(host: Host, options: Options) -> Result<Self, Error> {
        if options.refuse {
            return Err(Error::failed("refused, as told"));
        }
        Ok(Self { host, options })
    }

    fn export(
        &self,
        _call: &Call<'_>,
        snapshot: &Snapshot<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        if !self.options.warn.is_empty() {
            self.host.log(LogLevel::Warn, &self.options.warn);
        }
        self.host.log(LogLevel::Debug, "a word for developers");
        for family in snapshot.families() {
            for _ in 0..=self.options.repeat {
                sink.write(family.name().as_bytes())?;
                sink.write(b"\n")?;
            }
        }
        assert!(!self.options.panic, "as told");
        match self.options.fail {
            Some(status) => Err(Error::new(status, "failed, as told")),
            None => Ok(()),
        }
    }
}

tallyport_plugin_api::export_plugins!("com.example.obedient", [Obedient]);
