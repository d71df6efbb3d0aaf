//! Comma-separated values: one row per series, several per histogram.
//!
//! `options` decides the layout, `render` encodes every cell that depends on the schema (by the
//! csv crate), `rows` puts rows together around the values. A histogram is `x_bucket` rows with
//! a label `le` (cumulative), `x_sum` and `x_count`, all of type `histogram`. Labels are one JSON
//! object, or a column each with `flatten_labels`.

mod options;
mod render;
mod rows;

use tallyport_plugin_api::{
    Call, Error, Exporter, Format, Host, Info, Sink, Snapshot,
    abi::{
        TALLYPORT_CAP_CONCURRENT, TALLYPORT_CAP_OUT_OF_PROC, TALLYPORT_CAP_WRITES_SINK,
        TALLYPORT_UNSUPPORTED,
    },
    format,
};

pub use self::options::{Column, Options, RowSeparator};
use self::{options::Layout, render::Schema};
use crate::rendered::{Cache, Key};

const FORMATS: &[Format] = &[format("csv", "text/csv; charset=utf-8; header=present")];

/// The exporter `csv`.
#[derive(Debug)]
pub struct Csv {
    layout: Layout,
    rendered: Cache<Schema>,
}

impl Exporter for Csv {
    type Options = Options;

    const INFO: Info = Info {
        vendor: "Tallyport",
        description: "Comma-separated values, a row per series",
        formats: FORMATS,
        caps: TALLYPORT_CAP_CONCURRENT | TALLYPORT_CAP_OUT_OF_PROC | TALLYPORT_CAP_WRITES_SINK,
        config_schema_json: include_str!("options.schema.json"),
        ..Info::new("csv", env!("CARGO_PKG_VERSION"))
    };

    fn create(_host: Host, options: Options) -> Result<Self, Error> {
        Ok(Self { layout: Layout::new(&options)?, rendered: Cache::default() })
    }

    fn export(
        &self,
        call: &Call<'_>,
        snapshot: &Snapshot<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        if !matches!(call.format(), "" | "csv") {
            let message = format!("no format `{}` here: csv", call.format());
            return Err(Error::new(TALLYPORT_UNSUPPORTED, message));
        }
        let key = Key::new(snapshot, 0);
        let schema = self.rendered.get(key, || render::render(&self.layout, call, snapshot))?;
        rows::write(&self.layout, &schema, call, snapshot, sink)
    }
}
