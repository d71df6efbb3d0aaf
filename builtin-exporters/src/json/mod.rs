//! One JSON document per export: what was measured, when, and who wrote it.
//!
//! `options` decides how fields are called, `render` writes the part of each metric that depends
//! on the schema, `document` streams the rest around the values; there is no tree in between.
//! Integers of any size are exact, NaN and the infinities are strings, buckets are cumulative.
//!
//! ```json
//! {"timestamp":"2026-01-31T12:00:00.000Z","metrics":[
//!   {"name":"jobs_total","type":"counter","help":"…","labels":{"queue":"mail"},"value":3},
//!   {"name":"wait_seconds","type":"histogram","unit":"seconds","labels":{},"count":2,"sum":0.3,
//!    "buckets":[{"le":0.1,"count":1},{"le":"+Inf","count":2}]}],
//!  "total_metrics":2,
//!  "metadata":{"exporter":"json","version":"…","exported_at":"…","field_mapping":{}}}
//! ```

mod document;
mod options;
mod render;

use tallyport_plugin_api::{
    Call, Error, Exporter, Format, Host, Info, Sink, Snapshot,
    abi::{
        TALLYPORT_CAP_CONCURRENT, TALLYPORT_CAP_OUT_OF_PROC, TALLYPORT_CAP_WRITES_SINK,
        TALLYPORT_UNSUPPORTED,
    },
    format,
};

use self::document::Frame;
pub use self::options::Options;
use crate::rendered::{Cache, Key, Rendered};

const FORMATS: &[Format] = &[format("json", "application/json")];

/// The exporter `json`.
#[derive(Debug)]
pub struct Json {
    frame: Frame,
    rendered: Cache<Rendered>,
}

impl Exporter for Json {
    type Options = Options;

    const INFO: Info = Info {
        vendor: "Tallyport",
        description: "One JSON document with all metrics",
        formats: FORMATS,
        caps: TALLYPORT_CAP_CONCURRENT | TALLYPORT_CAP_OUT_OF_PROC | TALLYPORT_CAP_WRITES_SINK,
        config_schema_json: include_str!("options.schema.json"),
        ..Info::new("json", env!("CARGO_PKG_VERSION"))
    };

    fn create(_host: Host, options: Options) -> Result<Self, Error> {
        options.check()?;
        Ok(Self { frame: Frame::new(&options)?, rendered: Cache::default() })
    }

    fn export(
        &self,
        call: &Call<'_>,
        snapshot: &Snapshot<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        if !matches!(call.format(), "" | "json") {
            let message = format!("no format `{}` here: json", call.format());
            return Err(Error::new(TALLYPORT_UNSUPPORTED, message));
        }
        let key = Key::new(snapshot, 0);
        let rendered = self.rendered.get(key, || render::render(&self.frame, call, snapshot))?;
        document::write(&self.frame, &rendered, call, snapshot, sink)
    }
}
