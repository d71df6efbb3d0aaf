//! Prometheus text 0.0.4 and OpenMetrics 1.0, and both with quoted UTF-8 names for readers that ask
//! for those (`escaping=allow-utf-8`).
//!
//! `names` decides how names are spelled, `escape` how texts are, `render` writes what depends on
//! the schema, `text` the values. What is decided where the formats leave a choice:
//! - No timestamps. `_created` lines in OpenMetrics only, and only with the option.
//! - A histogram with a negative bound has no `_sum` and no `_count` in OpenMetrics, which forbids
//!   the one and then the other; 0.0.4 has both, as the format asks for them. A series whose sum
//!   is negative or NaN is treated alike: sums are counters there.
//! - A family without series still shows its HELP and TYPE lines.
//! - Bounds are spelled as Go does (`1e+06`), values as `number` does.

mod escape;
mod names;
mod render;
mod text;

use serde::Deserialize;
use tallyport_plugin_api::{
    Call, Error, Exporter, Format, Host, Info, Sink, Snapshot,
    abi::{
        TALLYPORT_CAP_CONCURRENT, TALLYPORT_CAP_OUT_OF_PROC, TALLYPORT_CAP_WRITES_SINK,
        TALLYPORT_UNSUPPORTED,
    },
    format,
};

use crate::rendered::{Cache, Key, Rendered};

const PROMETHEUS: &str = "prometheus";
const OPENMETRICS: &str = "openmetrics";
const PROMETHEUS_UTF8: &str = "prometheus_utf8";
const OPENMETRICS_UTF8: &str = "openmetrics_utf8";
const FORMATS: &[Format] = &[
    format(PROMETHEUS, "text/plain; version=0.0.4; charset=utf-8"),
    format(OPENMETRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
    // As Prometheus 3 calls them. Text 0.0.4 with quoted names is 1.0.0.
    format(PROMETHEUS_UTF8, "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8"),
    format(
        OPENMETRICS_UTF8,
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
    ),
];

/// Options of the exporter `prometheus`; see `options.schema.json`.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// How names are written that the classic data model does not know.
    pub utf8_names: Utf8Names,
    /// Whether OpenMetrics shows when counters and histograms began.
    pub created_lines: bool,
}

/// How names are written that are not `[a-zA-Z_:][a-zA-Z0-9_:]*`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Utf8Names {
    /// `U__a_2e_b` for `a.b`: the `values` escaping of Prometheus, which any reader takes.
    #[default]
    Escape,
    /// `{"a.b"}`: for readers that know UTF-8 names.
    Quote,
}

/// One of the two formats, with the options that change it.
#[derive(Debug, Clone, Copy)]
struct Dialect {
    open_metrics: bool,
    created_lines: bool,
    utf8_names: Utf8Names,
}

/// The exporter `prometheus`.
#[derive(Debug)]
pub struct Prometheus {
    options: Options,
    rendered: Cache<Rendered>,
}

impl Exporter for Prometheus {
    type Options = Options;

    const INFO: Info = Info {
        vendor: "Tallyport",
        description: "Prometheus text 0.0.4 and OpenMetrics 1.0",
        formats: FORMATS,
        caps: TALLYPORT_CAP_CONCURRENT | TALLYPORT_CAP_OUT_OF_PROC | TALLYPORT_CAP_WRITES_SINK,
        config_schema_json: include_str!("options.schema.json"),
        ..Info::new("prometheus", env!("CARGO_PKG_VERSION"))
    };

    fn create(_host: Host, options: Options) -> Result<Self, Error> {
        Ok(Self { options, rendered: Cache::default() })
    }

    fn export(
        &self,
        call: &Call<'_>,
        snapshot: &Snapshot<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let (open_metrics, utf8_names) = match call.format() {
            "" | PROMETHEUS => (false, self.options.utf8_names),
            OPENMETRICS => (true, self.options.utf8_names),
            PROMETHEUS_UTF8 => (false, Utf8Names::Quote),
            OPENMETRICS_UTF8 => (true, Utf8Names::Quote),
            other => {
                let message = format!(
                    "no format `{other}` here: {PROMETHEUS} or {OPENMETRICS}, or one with `_utf8` \
                     behind it"
                );
                return Err(Error::new(TALLYPORT_UNSUPPORTED, message));
            }
        };
        let dialect = Dialect {
            open_metrics,
            created_lines: open_metrics && self.options.created_lines,
            utf8_names,
        };
        let quotes = utf8_names == Utf8Names::Quote;
        let key = Key::new(snapshot, u8::from(open_metrics) + 2 * u8::from(quotes));
        let rendered = self.rendered.get(key, || render::render(dialect, call, snapshot))?;
        text::write(dialect, &rendered, call, snapshot, sink)
    }
}
