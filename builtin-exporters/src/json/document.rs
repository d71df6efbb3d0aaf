//! The document around the metrics, and the values inside them.
//!
//! [`Frame`] holds every text that depends on the options alone; both spellings, compact and
//! indented, are the same tokens with other white space.

use tallyport_plugin_api::{Call, Error, Family, Histogram, Kind, Sink, Snapshot};

use super::Options;
use crate::{
    number,
    rendered::{Pieces, Rendered, ask},
    spelling::json_quoted,
    time,
};

/// The texts that the options decide.
#[derive(Debug)]
pub(super) struct Frame {
    /// Up to the time: `{"timestamp":"`.
    pub(super) head: String,
    /// Between the time and the first metric: `","metrics":[`.
    pub(super) metrics: String,
    /// Between the last metric and their number: `],"total_metrics":`; without any metric as well.
    pub(super) total: [String; 2],
    /// Behind the number; in two parts around the time of export with `include_metadata`.
    pub(super) tail: Vec<String>,
    /// Around and between the parts of a metric.
    pub(super) metric: MetricFrame,
}

/// The texts inside a metric.
#[derive(Debug)]
pub(super) struct MetricFrame {
    /// `,{`: the comma stands behind the metric before.
    pub(super) open: String,
    /// `,` between fields.
    pub(super) comma: &'static str,
    /// `:`, with a space where the document is indented.
    pub(super) colon: &'static str,
    /// `,` between things on one line.
    pub(super) inline_comma: &'static str,
    /// `}`.
    pub(super) close: &'static str,
    /// Field names with quotes and colon.
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) help: String,
    pub(super) unit: String,
    pub(super) labels: String,
    pub(super) value: String,
    pub(super) count: String,
    /// `,"sum":` and `,"buckets":[`.
    pub(super) sum: String,
    pub(super) buckets: String,
    /// `,` between buckets, and what closes the last one and the metric.
    pub(super) bucket_comma: &'static str,
    pub(super) buckets_end: &'static str,
}

impl Frame {
    /// # Errors
    /// Never in practice: serde_json's, for options that cannot be written back.
    pub(super) fn new(options: &Options) -> Result<Self, Error> {
        let pretty = options.pretty;
        let either = |compact: &'static str, indented: &'static str| {
            if pretty { indented } else { compact }
        };
        let colon = either(":", ": ");
        let key = |field: &str| format!("{}{colon}", json_quoted(options.field(field)));
        let line = either("", "\n  ");
        let comma = either(",", ",\n      ");

        let mut tail = vec![String::new()];
        let add = |tail: &mut Vec<String>, text: &str| {
            if let Some(last) = tail.last_mut() {
                last.push_str(text);
            }
        };
        if options.include_metadata {
            let field = either("", "\n    ");
            let mapping = json_text(&options.field_mapping, pretty, "    ")?;
            let version = env!("CARGO_PKG_VERSION");
            add(
                &mut tail,
                &format!(
                    ",{line}{}{{{field}\"exporter\"{colon}\"json\",{field}\"version\"{colon}\
                     \"{version}\",{field}\"exported_at\"{colon}\"",
                    key("metadata")
                ),
            );
            tail.push(format!("\",{field}\"field_mapping\"{colon}{mapping}{line}}}"));
        }
        for (name, value) in &options.additional_fields {
            let value = json_text(value, pretty, "  ")?;
            add(&mut tail, &format!(",{line}{}{colon}{value}", json_quoted(name)));
        }
        add(&mut tail, either("}\n", "\n}\n"));

        let total = format!("],{line}{}", key("total_metrics"));
        Ok(Self {
            head: format!("{{{line}{}\"", key("timestamp")),
            metrics: format!("\",{line}{}[", key("metrics")),
            total: [format!("{line}{total}"), total],
            tail,
            metric: MetricFrame {
                open: format!(",{}", either("{", "\n    {\n      ")),
                comma,
                colon,
                inline_comma: either(",", ", "),
                close: either("}", "\n    }"),
                name: key("name"),
                kind: key("type"),
                help: key("help"),
                unit: key("unit"),
                labels: key("labels"),
                value: key("value"),
                count: key("count"),
                sum: format!("{comma}{}", key("sum")),
                buckets: format!("{comma}{}[{}", key("buckets"), either("", "\n        ")),
                bucket_comma: either("},", "},\n        "),
                buckets_end: either("}]}", "}\n      ]\n    }"),
            },
        })
    }
}

/// A small value as JSON, indented so that it stands behind `indent`.
fn json_text(value: &impl serde::Serialize, pretty: bool, indent: &str) -> Result<String, Error> {
    let text =
        if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    let text = text.map_err(|error| Error::failed(format!("options as JSON: {error}")))?;
    // JSON text has no line end inside strings.
    Ok(if pretty { text.replace('\n', &format!("\n{indent}")) } else { text })
}

/// Writes `snapshot`.
///
/// # Errors
/// What the sink answers; CANCELLED.
pub(super) fn write(
    frame: &Frame,
    rendered: &Rendered,
    call: &Call<'_>,
    snapshot: &Snapshot<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    sink.write(frame.head.as_bytes())?;
    sink.write(time::rfc3339_ms(snapshot.time_unix_ns()).as_bytes())?;
    sink.write(frame.metrics.as_bytes())?;

    let mut pieces = rendered.pieces();
    let mut total = 0_u64;
    for family in snapshot.families() {
        let head = pieces.take()?;
        // The first metric of all has no comma before it.
        let first =
            if total == 0 { head.split_first().map_or(head, |(_, rest)| rest) } else { head };
        match family.kind() {
            Kind::Histogram => histograms(frame, call, &family, [first, head], &mut pieces, sink)?,
            _ => scalars(frame, call, &family, [first, head], &mut pieces, sink)?,
        }
        total += family.len() as u64;
    }
    pieces.finish()?;

    let [some, none] = &frame.total;
    sink.write(if total > 0 { some } else { none }.as_bytes())?;
    number::u64(sink.buffer(), total);
    for (part, text) in frame.tail.iter().enumerate() {
        if part > 0 {
            sink.write(time::now_rfc3339_ms().as_bytes())?;
        }
        sink.write(text.as_bytes())?;
    }
    Ok(())
}

fn scalars(
    frame: &Frame,
    call: &Call<'_>,
    family: &Family<'_>,
    [mut head, next_head]: [&[u8]; 2],
    pieces: &mut Pieces<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    for (index, series) in family.series().enumerate() {
        ask(call, index)?;
        let out = sink.buffer();
        out.extend_from_slice(std::mem::replace(&mut head, next_head));
        out.extend_from_slice(pieces.take()?);
        match series.value() {
            tallyport_plugin_api::Value::F64(value) => f64(out, value),
            value => number::value(out, value),
        }
        out.extend_from_slice(frame.metric.close.as_bytes());
        sink.spill()?;
    }
    Ok(())
}

fn histograms(
    frame: &Frame,
    call: &Call<'_>,
    family: &Family<'_>,
    [mut head, next_head]: [&[u8]; 2],
    pieces: &mut Pieces<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let bounds = pieces.skip(family.bounds().len() + 1)?;
    for (index, series) in family.series().enumerate() {
        ask(call, index)?;
        let out = sink.buffer();
        out.extend_from_slice(std::mem::replace(&mut head, next_head));
        out.extend_from_slice(pieces.take()?);
        let histogram = series.histogram();
        let histogram = histogram.unwrap_or(Histogram { count: 0, sum: 0.0, buckets: &[] });
        point(&frame.metric, bounds.clone(), &histogram, out)?;
        sink.spill()?;
    }
    Ok(())
}

fn point(
    frame: &MetricFrame,
    mut bounds: Pieces<'_>,
    histogram: &Histogram<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    number::u64(out, histogram.count);
    out.extend_from_slice(frame.sum.as_bytes());
    f64(out, histogram.sum);
    out.extend_from_slice(frame.buckets.as_bytes());
    let mut below = 0_u64;
    for (index, &count) in histogram.buckets.iter().enumerate() {
        below = below.wrapping_add(count);
        if index > 0 {
            out.extend_from_slice(frame.bucket_comma.as_bytes());
        }
        out.extend_from_slice(bounds.take()?);
        number::u64(out, below);
    }
    out.extend_from_slice(frame.buckets_end.as_bytes());
    Ok(())
}

/// Appends a float; JSON has no number for what is not finite.
pub(super) fn f64(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        number::f64(out, value);
    } else {
        out.push(b'"');
        out.extend_from_slice(number::special(value).as_bytes());
        out.push(b'"');
    }
}
