//! What depends on the schema alone, as pieces for `text`.
//!
//! Of each family: its comment lines. Then of a counter or gauge, per series: `name{labels} ` and,
//! with `created_lines`, its `_created` line. Of a histogram: `name_bucket{`, `name_sum{`,
//! `name_sum `, `name_count{`, `name_count `, then `le="…"} ` per bucket; then per series its
//! labels (`a="b",` or nothing) and its `_created` line. Bucket lines are put together from those
//! parts when they are written: whole lines would take a hundred bytes per bucket.

use tallyport_plugin_api::{Call, Error, Family, Kind, Series, Snapshot, abi::TALLYPORT_CONFLICT};

use super::{
    Dialect, escape,
    names::{Claims, Name},
};
use crate::{
    number,
    rendered::{Rendered, Rendering, refuse_label_le},
};

/// Renders the schema of `snapshot`.
///
/// # Errors
/// CONFLICT for names that would stand for two things, CANCELLED.
pub(super) fn render(
    dialect: Dialect,
    call: &Call<'_>,
    snapshot: &Snapshot<'_>,
) -> Result<Rendered, Error> {
    let mut out = Rendering::new(call);
    let mut claims = Claims::default();
    for family in snapshot.families() {
        let name = Name::family(dialect, &family);
        claims.claim(dialect, &family, &name)?;
        comments(dialect, &family, &name, out.text());
        out.end_piece()?;
        if family.kind() == Kind::Histogram {
            histogram_parts(dialect, &family, &name, &mut out)?;
        }
        for series in family.series() {
            refuse_reserved_labels(&family, &series)?;
            if family.kind() == Kind::Histogram {
                labels(dialect, &series, out.text());
            } else {
                let counter = dialect.open_metrics && family.kind() == Kind::Counter;
                let suffix = if counter { "_total" } else { "" };
                sample_head(dialect, &name, suffix, &series, out.text());
            }
            out.end_piece()?;
            if has_created(dialect, family.kind()) {
                created_line(dialect, &name, &series, out.text());
                out.end_piece()?;
            }
        }
    }
    Ok(out.finish())
}

/// Whether series of this kind have a piece for the `_created` line.
pub(super) fn has_created(dialect: Dialect, kind: Kind) -> bool {
    dialect.created_lines && matches!(kind, Kind::Counter | Kind::Histogram)
}

fn comments(dialect: Dialect, family: &Family<'_>, name: &Name<'_>, out: &mut Vec<u8>) {
    let mut line = |keyword: &str, text: &dyn Fn(&mut Vec<u8>)| {
        out.extend_from_slice(keyword.as_bytes());
        name.write(out);
        out.push(b' ');
        text(out);
        out.push(b'\n');
    };
    if !family.help().is_empty() {
        line("# HELP ", &|out| escape::help(out, family.help(), dialect.open_metrics));
    }
    let kind = match family.kind() {
        Kind::Counter => "counter",
        Kind::UpDownCounter | Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    line("# TYPE ", &|out| out.extend_from_slice(kind.as_bytes()));
    if let Some(unit) = name.unit(family.unit()).filter(|_| dialect.open_metrics) {
        line("# UNIT ", &|out| out.extend_from_slice(unit.as_bytes()));
    }
}

fn histogram_parts(
    dialect: Dialect,
    family: &Family<'_>,
    name: &Name<'_>,
    out: &mut Rendering<'_>,
) -> Result<(), Error> {
    name.open(out.text(), "_bucket");
    out.end_piece()?;
    for suffix in ["_sum", "_count"] {
        name.open(out.text(), suffix);
        out.end_piece()?;
        name.bare(out.text(), suffix);
        out.end_piece()?;
    }
    for &bound in family.bounds().iter().chain(&[f64::INFINITY]) {
        let bound = number::canonical(bound);
        let integer = bound.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        let float = if dialect.open_metrics && integer { ".0" } else { "" };
        out.text().extend_from_slice(format!("le=\"{bound}{float}\"}} ").as_bytes());
        out.end_piece()?;
    }
    Ok(())
}

/// Appends `a="b",c="d",` (a comma behind each).
fn labels(dialect: Dialect, series: &Series<'_>, out: &mut Vec<u8>) {
    for (name, value) in series.labels() {
        Name::label(dialect, name).write(out);
        out.extend_from_slice(b"=\"");
        escape::quoted(out, value);
        out.extend_from_slice(b"\",");
    }
}

fn sample_head(
    dialect: Dialect,
    name: &Name<'_>,
    suffix: &str,
    series: &Series<'_>,
    out: &mut Vec<u8>,
) {
    if series.labels().len() == 0 {
        return name.bare(out, suffix);
    }
    name.open(out, suffix);
    labels(dialect, series, out);
    out.pop(); // the last comma: OpenMetrics allows none
    out.extend_from_slice(b"} ");
}

/// Appends the line that tells when the series began, in seconds; nothing when it is not known.
fn created_line(dialect: Dialect, name: &Name<'_>, series: &Series<'_>, out: &mut Vec<u8>) {
    let created_ns = series.created_ns();
    if created_ns == 0 {
        return;
    }
    sample_head(dialect, name, "_created", series, out);
    let text = format!("{}.{:09}", created_ns / 1_000_000_000, created_ns % 1_000_000_000);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

fn refuse_reserved_labels(family: &Family<'_>, series: &Series<'_>) -> Result<(), Error> {
    refuse_label_le(family, series)?;
    if series.labels().any(|(name, _)| name == "__name__") {
        let name = family.name();
        let message = format!("`{name}` has a label `__name__`, which is the name of the metric");
        return Err(Error::new(TALLYPORT_CONFLICT, message).with("family", name));
    }
    Ok(())
}
