//! What depends on the schema and the options, as pieces for `document`.
//!
//! Of each family: `,{"name":"x",…,"labels":`, which all its series begin with; of a histogram
//! then `{"le":0.1,"count":` per bucket. Then per series `{"a":"b"},"value":`, or `…"count":`.

use tallyport_plugin_api::{Call, Error, Family, Kind, Series, Snapshot};

use super::document::{Frame, MetricFrame, f64};
use crate::{
    rendered::{Rendered, Rendering},
    spelling::{json_string, kind_name},
};

/// Renders the schema of `snapshot`.
///
/// # Errors
/// CANCELLED.
pub(super) fn render(
    frame: &Frame,
    call: &Call<'_>,
    snapshot: &Snapshot<'_>,
) -> Result<Rendered, Error> {
    let frame = &frame.metric;
    let mut out = Rendering::new(call);
    for family in snapshot.families() {
        head(frame, &family, out.text());
        out.end_piece()?;
        let histogram = family.kind() == Kind::Histogram;
        if histogram {
            for &bound in family.bounds().iter().chain(&[f64::INFINITY]) {
                let (text, colon, comma) = (out.text(), frame.colon, frame.inline_comma);
                text.extend_from_slice(format!("{{\"le\"{colon}").as_bytes());
                f64(text, bound + 0.0); // -0.0 is the bound 0
                text.extend_from_slice(format!("{comma}\"count\"{colon}").as_bytes());
                out.end_piece()?;
            }
        }
        let value = if histogram { &frame.count } else { &frame.value };
        for series in family.series() {
            labels(frame, &series, out.text());
            out.text().extend_from_slice(frame.comma.as_bytes());
            out.text().extend_from_slice(value.as_bytes());
            out.end_piece()?;
        }
    }
    Ok(out.finish())
}

fn head(frame: &MetricFrame, family: &Family<'_>, out: &mut Vec<u8>) {
    let kind = kind_name(family.kind());
    out.extend_from_slice(frame.open.as_bytes());
    let mut field = |key: &str, text: &str| {
        out.extend_from_slice(key.as_bytes());
        json_string(out, text);
        out.extend_from_slice(frame.comma.as_bytes());
    };
    field(&frame.name, family.name());
    field(&frame.kind, kind);
    if !family.help().is_empty() {
        field(&frame.help, family.help());
    }
    if !family.unit().is_empty() {
        field(&frame.unit, family.unit());
    }
    out.extend_from_slice(frame.labels.as_bytes());
}

fn labels(frame: &MetricFrame, series: &Series<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in series.labels().enumerate() {
        if index > 0 {
            out.extend_from_slice(frame.inline_comma.as_bytes());
        }
        json_string(out, name);
        out.extend_from_slice(frame.colon.as_bytes());
        json_string(out, value);
    }
    out.push(b'}');
}
