//! One series: a label set and its cell, shared by the family's table, handles and snapshots.

use tallyport_plugin_api::{Kind, Number};

use super::arena::{Arena, Block, Cells, F64Cell, GaugeCell, HistogramCell, I64Cell, U64Cell};
use crate::model::{Error, Labels};
use std::sync::Arc;

/// A label set and its cell. The cell's memory is returned when the last owner drops it.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    /// Creation time in nanoseconds since the Unix epoch.
    pub(crate) created_ns: u64,
    pub(crate) cell: Cell,
    /// The memory that `cell` and its copies in handles point to.
    _block: Block,
}

/// The cell of a series, by kind and number type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cell {
    U64(U64Cell),
    I64(I64Cell),
    F64(F64Cell),
    Gauge(GaugeCell),
    Histogram(HistogramCell),
}

impl Series {
    /// A series with a zeroed cell of an arena; `bounds` matters for histograms only.
    pub(crate) fn new(
        arena: &Arc<Arena>,
        (kind, number): (Kind, Number),
        bounds: usize,
        cells: Cells,
        labels: Labels,
        created_ns: u64,
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
        let cell = match (kind, number) {
            (Kind::Histogram, _) => Cell::Histogram(HistogramCell::new(&block, buckets)),
            (Kind::Gauge, _) => Cell::Gauge(GaugeCell::new(&block)),
            (_, Number::U64) => Cell::U64(U64Cell::new(&block)),
            (_, Number::I64) => Cell::I64(I64Cell::new(&block)),
            (_, Number::F64) => Cell::F64(F64Cell::new(&block)),
        };
        Ok(Self { labels, created_ns, cell, _block: block })
    }
}

impl Cell {
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
