//! Rows: the pieces that `render` made, in the order of the columns, around the values.

use tallyport_plugin_api::{Call, Error, Family, Kind, Sink, Snapshot, Value};

use super::{
    options::{Column, Layout},
    render::{Schema, encoded, name_suffixes},
};
use crate::{
    number,
    rendered::{Pieces, ask},
    time,
};

/// Writes `snapshot`.
///
/// # Errors
/// What the sink answers; CANCELLED.
pub(super) fn write(
    layout: &Layout,
    schema: &Schema,
    call: &Call<'_>,
    snapshot: &Snapshot<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let timestamp = encoded(layout, &time::rfc3339_ms(snapshot.time_unix_ns()))?;
    let table = Table { layout, schema, timestamp: &timestamp };
    let mut pieces = schema.rendered.pieces();
    let header = pieces.take()?;
    if layout.header && !schema.columns.is_empty() {
        sink.write(header.get(1..).unwrap_or_default())?;
        sink.write(layout.row_end)?;
    }
    for family in snapshot.families() {
        table.family(call, &family, &mut pieces, sink)?;
    }
    pieces.finish()
}

struct Table<'a> {
    layout: &'a Layout,
    schema: &'a Schema,
    timestamp: &'a [u8],
}

/// Cells of one row but its value.
#[derive(Clone, Copy)]
struct Row<'a> {
    name: &'a [u8],
    kind: &'a [u8],
    help: &'a [u8],
    unit: &'a [u8],
    created: &'a [u8],
    /// The cell of labels; flattened the cells before `label_le`, that cell, those behind it.
    labels: [&'a [u8]; 3],
    /// The bound of a bucket.
    le: Option<&'a [u8]>,
}

impl Table<'_> {
    fn family(
        &self,
        call: &Call<'_>,
        family: &Family<'_>,
        pieces: &mut Pieces<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut names = pieces.skip(name_suffixes(family.kind()).len())?;
        let (kind, help, unit) = (pieces.take()?, pieces.take()?, pieces.take()?);
        let name = names.take()?;
        let histogram = family.kind() == Kind::Histogram;
        let (name_sum, name_count, bounds) = if histogram {
            let bounds = pieces.skip(family.bounds().len() + 1)?;
            (names.take()?, names.take()?, Some(bounds))
        } else {
            (name, name, None)
        };
        for (index, series) in family.series().enumerate() {
            ask(call, index)?;
            let created = pieces.take()?;
            let labels = match self.layout.flatten_labels {
                true => [pieces.take()?, pieces.take()?, pieces.take()?],
                false => [pieces.take()?, &[], &[]],
            };
            let row = Row { name, kind, help, unit, created, labels, le: None };
            let (Some(point), Some(bounds)) = (series.histogram(), &bounds) else {
                self.row(&row, series.value(), sink.buffer());
                sink.spill()?;
                continue;
            };
            let (mut bounds, mut below) = (bounds.clone(), 0_u64);
            for &count in point.buckets {
                below = below.wrapping_add(count);
                let le = Some(bounds.take()?);
                self.row(&Row { le, ..row }, Value::U64(below), sink.buffer());
                sink.spill()?;
            }
            self.row(&Row { name: name_sum, ..row }, Value::F64(point.sum), sink.buffer());
            self.row(&Row { name: name_count, ..row }, Value::U64(point.count), sink.buffer());
            sink.spill()?;
        }
        Ok(())
    }

    fn row(&self, row: &Row<'_>, value: Value, out: &mut Vec<u8>) {
        let start = out.len();
        let mut line = Line { out, skip: 1 };
        for column in &self.schema.columns {
            match column {
                Column::Timestamp => line.put(self.timestamp),
                Column::Name => line.put(row.name),
                Column::Type => line.put(row.kind),
                Column::Help => line.put(row.help),
                Column::Unit => line.put(row.unit),
                Column::Created => line.put(row.created),
                Column::Value => {
                    line.put(&[self.layout.separator]);
                    number::value(line.out, value);
                }
                Column::Labels if self.layout.flatten_labels => flat_labels(row, &mut line),
                Column::Labels => json_labels(row, &mut line),
            }
        }
        if out.len() == start {
            // A row of one empty cell; readers skip a row of nothing.
            out.extend_from_slice(b"\"\"");
        }
        out.extend_from_slice(self.layout.row_end);
    }
}

fn flat_labels(row: &Row<'_>, line: &mut Line<'_>) {
    let [before, le, behind] = row.labels;
    line.put(before);
    line.put(row.le.unwrap_or(le));
    line.put(behind);
}

/// The cell of labels; that of a bucket gets `le` as the last label.
fn json_labels(row: &Row<'_>, line: &mut Line<'_>) {
    let [labels, ..] = row.labels;
    let Some(le) = row.le else { return line.put(labels) };
    // A label set that is not empty holds quotes, so the cell is quoted: `,"{""a"":""b""}"`.
    match labels.strip_suffix(b"}\"") {
        Some(open) => {
            line.put(open);
            line.put(b",");
        }
        None => {
            line.put(labels.get(..1).unwrap_or_default());
            line.put(b"\"{");
        }
    }
    line.put(b"\"\"le\"\":\"\"");
    line.put(le.get(1..).unwrap_or_default());
    line.put(b"\"\"}\"");
}

/// A row that is being written: the separator before its first cell is left out.
struct Line<'a> {
    out: &'a mut Vec<u8>,
    skip: usize,
}

impl Line<'_> {
    fn put(&mut self, piece: &[u8]) {
        if let Some(piece) = piece.get(self.skip..) {
            self.out.extend_from_slice(piece);
            self.skip = 0;
        }
    }
}
