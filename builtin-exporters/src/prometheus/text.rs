//! The values, between the pieces that `render` made.

use tallyport_plugin_api::{Call, Error, Family, Histogram, Kind, Sink, Snapshot, Value};

use super::{Dialect, render::has_created};
use crate::{
    number,
    rendered::{Pieces, Rendered, ask},
};

/// Writes `snapshot`.
///
/// # Errors
/// What the sink answers; CANCELLED; DAMAGED for a counter that is negative or NaN.
pub(super) fn write(
    dialect: Dialect,
    rendered: &Rendered,
    call: &Call<'_>,
    snapshot: &Snapshot<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let mut pieces = rendered.pieces();
    for family in snapshot.families() {
        sink.write(pieces.take()?)?;
        match family.kind() {
            Kind::Histogram => histograms(dialect, call, &family, &mut pieces, sink)?,
            _ => scalars(dialect, call, &family, &mut pieces, sink)?,
        }
    }
    pieces.finish()?;
    if dialect.open_metrics {
        sink.write(b"# EOF\n")?;
    }
    Ok(())
}

fn scalars(
    dialect: Dialect,
    call: &Call<'_>,
    family: &Family<'_>,
    pieces: &mut Pieces<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let counter = family.kind() == Kind::Counter;
    let created = has_created(dialect, family.kind());
    for (index, series) in family.series().enumerate() {
        ask(call, index)?;
        let out = sink.buffer();
        out.extend_from_slice(pieces.take()?);
        match series.value() {
            Value::U64(value) => number::u64(out, value),
            Value::I64(value) if counter && value < 0 => return Err(not_a_count(family)),
            Value::I64(value) => number::i64(out, value),
            Value::F64(value) if counter && (value.is_nan() || value < 0.0) => {
                return Err(not_a_count(family));
            }
            Value::F64(value) => number::f64(out, value),
        }
        out.push(b'\n');
        if created {
            out.extend_from_slice(pieces.take()?);
        }
        sink.spill()?;
    }
    Ok(())
}

/// Parts of the lines of one histogram family.
struct Parts<'a> {
    bucket: &'a [u8],
    /// Before the labels, and whole where there are none.
    sum: [&'a [u8]; 2],
    count: [&'a [u8]; 2],
    bounds: Pieces<'a>,
    created: bool,
}

fn histograms(
    dialect: Dialect,
    call: &Call<'_>,
    family: &Family<'_>,
    pieces: &mut Pieces<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let parts = Parts {
        bucket: pieces.take()?,
        sum: [pieces.take()?, pieces.take()?],
        count: [pieces.take()?, pieces.take()?],
        bounds: pieces.skip(family.bounds().len() + 1)?,
        created: has_created(dialect, family.kind()),
    };
    let negative_bounds = family.bounds().first().is_some_and(|&bound| bound < 0.0);
    for (index, series) in family.series().enumerate() {
        ask(call, index)?;
        let labels = pieces.take()?;
        let created = if parts.created { pieces.take()? } else { &[] };
        let Some(histogram) = series.histogram() else { continue };
        let is_counter = !negative_bounds && histogram.sum >= 0.0;
        let with_sum = is_counter || !dialect.open_metrics;
        point(&parts, labels, &histogram, with_sum, sink)?;
        sink.write(created)?;
    }
    Ok(())
}

fn point(
    parts: &Parts<'_>,
    labels: &[u8],
    histogram: &Histogram<'_>,
    with_sum: bool,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let mut bounds = parts.bounds.clone();
    let mut below = 0_u64;
    for &count in histogram.buckets {
        below = below.wrapping_add(count);
        let out = sink.buffer();
        out.extend_from_slice(parts.bucket);
        out.extend_from_slice(labels);
        out.extend_from_slice(bounds.take()?);
        number::u64(out, below);
        out.push(b'\n');
        sink.spill()?;
    }
    if with_sum {
        let out = sink.buffer();
        head(out, parts.sum, labels);
        number::f64(out, histogram.sum);
        out.push(b'\n');
        head(out, parts.count, labels);
        number::u64(out, below);
        out.push(b'\n');
    }
    sink.spill()
}

fn head(out: &mut Vec<u8>, [open, bare]: [&[u8]; 2], labels: &[u8]) {
    match labels.split_last() {
        None => out.extend_from_slice(bare),
        Some((_comma, labels)) => {
            out.extend_from_slice(open);
            out.extend_from_slice(labels);
            out.extend_from_slice(b"} ");
        }
    }
}

#[cold]
fn not_a_count(family: &Family<'_>) -> Error {
    let message = format!("counter `{}` is negative or NaN", family.name());
    Error::damaged(message).with("family", family.name())
}
