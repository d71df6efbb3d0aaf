//! One series: a label set and its cell, shared by the family's table, handles and snapshots.

use tallyport_plugin_api::{Kind, Number};

use super::arena::{Arena, Cells, F64Cell, GaugeCell, HistogramCell, I64Cell, U64Cell};
use crate::model::{Error, Labels};
use std::sync::Arc;

/// A label set and its cell. The cell's memory is returned when the last owner drops it.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    /// Creation time in nanoseconds since the Unix epoch.
    pub(crate) created_ns: u64,
    pub(crate) cell: Cell,
}

/// The cell of a series, by kind and number type.
#[derive(Debug)]
pub(crate) enum Cell {
    U64(U64Cell),
    I64(I64Cell),
    F64(F64Cell),
    Gauge(GaugeCell),
    Histogram(HistogramCell),
}

impl Cell {
    /// A zeroed cell of an arena; `bounds` matters for histograms only.
    pub(crate) fn new(
        arena: &Arc<Arena>,
        kind: Kind,
        number: Number,
        bounds: usize,
        cells: Cells,
    ) -> Result<Self, Error> {
        let buckets = bounds + 1;
        let bytes = match (kind, number) {
            (Kind::Histogram, _) => HistogramCell::bytes(buckets),
            (Kind::Gauge, _) => GaugeCell::BYTES,
            (_, Number::U64) => U64Cell::BYTES,
            (_, Number::I64) => I64Cell::BYTES,
            (_, Number::F64) => F64Cell::BYTES,
        };
        let cells = if kind == Kind::Gauge { Cells::Shared } else { cells };
        let block = arena.allocate(bytes, cells)?;
        Ok(match (kind, number) {
            (Kind::Histogram, _) => Self::Histogram(HistogramCell::new(block, buckets)),
            (Kind::Gauge, _) => Self::Gauge(GaugeCell::new(block)),
            (_, Number::U64) => Self::U64(U64Cell::new(block)),
            (_, Number::I64) => Self::I64(I64Cell::new(block)),
            (_, Number::F64) => Self::F64(F64Cell::new(block)),
        })
    }

    /// The value's bits in the family's number type; 0 for a histogram.
    pub(crate) fn bits(&self) -> u64 {
        match self {
            Self::U64(cell) => cell.read(),
            Self::I64(cell) => cell.read().cast_unsigned(),
            Self::F64(cell) => cell.read().to_bits(),
            Self::Gauge(cell) => cell.read().to_bits(),
            Self::Histogram(_) => 0,
        }
    }
}
