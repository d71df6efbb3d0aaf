//! Cells that depend on the schema alone, encoded by the csv crate, as pieces for `rows`.
//!
//! Every piece begins with the separator, so that a row is its pieces one after the other without
//! the first byte. First the header row. Of each family: its name (of a histogram `x_bucket`,
//! `x_sum`, `x_count`), type, help and unit; of a histogram then its bounds as cells. Per series:
//! its creation time, then its labels: one cell, or flattened the cells before `label_le`, that
//! cell where there is one, and those behind it.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use tallyport_plugin_api::{CHUNK_BYTES, Call, Error, Family, Kind, Series, Snapshot};

use super::options::{Column, Layout};
use crate::{
    number,
    rendered::{Rendered, Rendering, ask, refuse_label_le},
    spelling::{json_string, kind_name},
    time,
};

/// The rendered schema, and what flattening made of the columns.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) rendered: Rendered,
    /// The columns, without that of labels where flattening found none.
    pub(super) columns: Vec<Column>,
}

/// Pieces of a family's name.
pub(super) fn name_suffixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Histogram => &["_bucket", "_sum", "_count"],
        _ => &[""],
    }
}

/// Renders the schema of `snapshot`.
///
/// # Errors
/// CONFLICT for a histogram with a label `le`, CANCELLED.
pub(super) fn render(
    layout: &Layout,
    call: &Call<'_>,
    snapshot: &Snapshot<'_>,
) -> Result<Schema, Error> {
    let flat = if layout.flatten_labels { label_names(call, snapshot)? } else { BTreeSet::new() };
    let no_label = layout.flatten_labels && flat.is_empty();
    let columns: Vec<Column> =
        layout.columns.iter().copied().filter(|&c| c != Column::Labels || !no_label).collect();

    let mut out = Cells::new(layout, call);
    for &column in &columns {
        if column == Column::Labels && layout.flatten_labels {
            for name in &flat {
                out.cell(format!("label_{name}"))?;
            }
        } else {
            out.cell(column.name())?;
        }
    }
    out.end_piece()?;

    for family in snapshot.families() {
        family_cells(&family, &mut out)?;
        for series in family.series() {
            let created = Some(series.created_ns()).filter(|&ns| ns != 0);
            out.plain(created.map(time::rfc3339_ms).unwrap_or_default())?;
            out.end_piece()?;
            refuse_label_le(&family, &series)?;
            if layout.flatten_labels {
                flat_cells(&flat, &series, &mut out)?;
            } else {
                let mut labels = Vec::new();
                json_labels(&series, &mut labels);
                out.cell(labels)?;
                out.end_piece()?;
            }
        }
    }
    Ok(Schema { rendered: out.pieces.finish(), columns })
}

fn family_cells(family: &Family<'_>, out: &mut Cells<'_>) -> Result<(), Error> {
    for suffix in name_suffixes(family.kind()) {
        out.cell(format!("{}{suffix}", family.name()))?;
        out.end_piece()?;
    }
    for text in [kind_name(family.kind()), family.help(), family.unit()] {
        out.cell(text)?;
        out.end_piece()?;
    }
    if family.kind() == Kind::Histogram {
        for &bound in family.bounds().iter().chain(&[f64::INFINITY]) {
            let mut text = Vec::new();
            number::f64(&mut text, bound + 0.0); // -0.0 is the bound 0
            // In a JSON object a bound is a label like any other, not a cell.
            if out.layout.flatten_labels {
                out.cell(text)?
            } else {
                out.plain(text)?
            }
            out.end_piece()?;
        }
    }
    Ok(())
}

fn flat_cells(
    flat: &BTreeSet<&str>,
    series: &Series<'_>,
    out: &mut Cells<'_>,
) -> Result<(), Error> {
    let labels: BTreeMap<&str, &str> = series.labels().collect();
    for place in [Ordering::Less, Ordering::Equal, Ordering::Greater] {
        for name in flat.iter().filter(|name| (**name).cmp("le") == place) {
            out.cell(labels.get(name).copied().unwrap_or_default())?;
        }
        out.end_piece()?;
    }
    Ok(())
}

/// Every label name of the snapshot, and `le` where there is a histogram.
fn label_names<'a>(call: &Call<'_>, snapshot: &Snapshot<'a>) -> Result<BTreeSet<&'a str>, Error> {
    let mut names = BTreeSet::new();
    for family in snapshot.families() {
        names.extend(Some("le").filter(|_| family.kind() == Kind::Histogram));
        for (index, series) in family.series().enumerate() {
            ask(call, index)?;
            names.extend(series.labels().map(|(name, _)| name));
        }
    }
    Ok(names)
}

fn json_labels(series: &Series<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, value)) in series.labels().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        json_string(out, name);
        out.push(b':');
        json_string(out, value);
    }
    out.push(b'}');
}

/// Gathers cells as pieces.
struct Cells<'a> {
    encoder: Encoder,
    pieces: Rendering<'a>,
    layout: &'a Layout,
}

impl<'a> Cells<'a> {
    fn new(layout: &'a Layout, call: &'a Call<'a>) -> Self {
        Self { encoder: Encoder::new(layout.separator), pieces: Rendering::new(call), layout }
    }

    /// Adds a cell to the piece.
    fn cell(&mut self, text: impl AsRef<[u8]>) -> Result<(), Error> {
        let text = text.as_ref();
        let formula = matches!(text.first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r'));
        if formula && self.layout.escape_formulas {
            return self.plain([b"'", text].concat());
        }
        self.plain(text)
    }

    /// Adds a cell that is no text of a user.
    fn plain(&mut self, text: impl AsRef<[u8]>) -> Result<(), Error> {
        self.encoder.encode(text.as_ref(), self.pieces.text())
    }

    fn end_piece(&mut self) -> Result<(), Error> {
        self.pieces.end_piece()
    }
}

/// One cell with the separator before it.
pub(super) fn encoded(layout: &Layout, text: &str) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    Encoder::new(layout.separator).encode(text.as_bytes(), &mut out)?;
    Ok(out)
}

/// The csv crate's writer, asked for one cell at a time.
struct Encoder {
    separator: u8,
    writer: csv::Writer<Vec<u8>>,
    taken: usize,
}

impl Encoder {
    fn new(separator: u8) -> Self {
        Self { separator, writer: Self::writer(separator), taken: 0 }
    }

    fn writer(separator: u8) -> csv::Writer<Vec<u8>> {
        csv::WriterBuilder::new().delimiter(separator).from_writer(Vec::new())
    }

    /// Appends a cell with the separator before it.
    fn encode(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        // The writer closes a cell's quotes when it goes on, so the cell is a record: `-,cell\n`.
        let record = self.writer.write_record([b"-", text]);
        record.map_err(|error| Error::failed(format!("the csv crate refuses a cell: {error}")))?;
        self.writer.flush()?;
        let written = self.writer.get_ref();
        let cell = written.get(self.taken + 1..written.len().saturating_sub(1));
        out.extend_from_slice(cell.unwrap_or_default());
        self.taken = written.len();
        if self.taken > CHUNK_BYTES {
            *self = Self::new(self.separator);
        }
        Ok(())
    }
}
