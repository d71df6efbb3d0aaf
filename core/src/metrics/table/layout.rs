//! Where rows and their cells lie: arithmetic that a row's number goes through.

use tallyport_plugin_api::{Kind, Number};

use crate::metrics::arena::{At, Cells, F64Cell, GaugeCell, HistogramCell, I64Cell, U64Cell};

/// Rows of the first segment; each further one doubles.
pub(super) const FIRST: u32 = 4;
/// Segments for as many rows as a slot can name.
pub(super) const SEGMENTS: usize = 22;
/// Segments of a histogram's rows that get per-CPU cells: 1,020 rows. Later ones share theirs,
/// because a histogram takes 16 bytes a bucket and CPU.
const PER_CPU_HISTOGRAMS: usize = 8;

/// What the cells of a family are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) kind: Kind,
    pub(crate) number: Number,
    /// Of a histogram, the one up to +Inf included; else 0.
    pub(crate) buckets: usize,
    /// What the family asked for.
    pub(crate) cells: Option<Cells>,
    /// The family's record.
    pub(crate) family: At,
}

impl Layout {
    /// Whether the cells are sums over planes.
    pub(super) fn is_gauge(self) -> bool {
        self.kind == Kind::Gauge
    }
}

impl Layout {
    /// Bytes of a cell.
    pub(super) fn bytes(self) -> usize {
        match (self.kind, self.number) {
            (Kind::Histogram, _) => HistogramCell::bytes(self.buckets),
            (Kind::Gauge, _) => GaugeCell::BYTES,
            (_, Number::U64) => U64Cell::BYTES,
            (_, Number::I64) => I64Cell::BYTES,
            (_, Number::F64) => F64Cell::BYTES,
        }
    }

    pub(super) fn cells(self, segment: usize) -> Cells {
        match (self.kind, self.cells) {
            (Kind::Gauge, _) => Cells::Shared,
            (_, Some(cells)) => cells,
            (Kind::Histogram, None) if segment >= PER_CPU_HISTOGRAMS => Cells::Shared,
            (_, None) => Cells::PerCpu,
        }
    }
}

/// Which limits hold for a new series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admission {
    /// All.
    Limited,
    /// None but that of memory itself: for the few that exist so that nothing is lost.
    Always,
}

/// How far a table is, so that who read it before reads what is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    /// Rows at and past it were never used.
    pub(crate) used: u32,
    /// Series taken out so far.
    pub(crate) removed: u64,
    /// Rows that became another series so far.
    pub(crate) reused: u64,
}

/// Where a row lies: its segment, and its index there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) number: u32,
    pub(super) segment: usize,
    pub(super) index: usize,
}

impl Row {
    #[inline]
    pub(super) fn new(number: u32) -> Self {
        let place = number.wrapping_add(FIRST) | 1 << FIRST.ilog2();
        let segment = place.ilog2() - FIRST.ilog2();
        let index = number.wrapping_add(FIRST).wrapping_sub(FIRST << segment) as usize;
        Self { number, segment: segment as usize, index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fill_segment_after_segment() {
        let mut expected = (0, 0);
        for number in 0..100_000 {
            let row = Row::new(number);
            assert_eq!((row.segment, row.index), expected, "{number}");
            expected = match expected {
                (segment, index) if index + 1 == (FIRST << segment) as usize => (segment + 1, 0),
                (segment, index) => (segment, index + 1),
            };
        }
        // Whatever a slot in shared memory says, it leads nowhere rather than into a panic.
        assert!(Row::new(u32::MAX).segment < 32);
    }
}
