//! Memory of the cells: one reserved block of planes, cut into cells that are addressed by offset.
//!
//! ```text
//! [shared plane][CPU plane 0][CPU plane 1]…   planes of 256 MiB of address space
//!  ▲ offset      ▲ the same offset
//! ```
//!
//! A cell is the same offset in every plane; its value is the sum over the planes. CPU planes are
//! written by restartable sequences only (`rseq.rs`), the shared plane by locked instructions only
//! (`shared.rs`); `cells.rs` says what each kind is made of. Cells that need no CPU planes (gauges,
//! families that asked for it) are cut from the other end of the planes, so that CPU planes stay
//! dense. It knows no names and no labels.
//!
//! Cells are handed out in runs, one run for some rows of a table, and stay with their rows: who
//! uses a row again zeroes its cell, when no handle can reach it any more (`table/`). Memory is
//! touched lazily: a plane costs what its CPU recorded. Offsets, because the same cells will lie in
//! memory that processes share; `heap.rs` has the tables that lead to them.

mod cells;
mod heap;
mod place;
mod rseq;
mod shared;
#[cfg(test)]
mod storm;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

pub(crate) use cells::{F64Cell, GaugeCell, HistogramCell, I64Cell, U64Cell};
pub(crate) use heap::{At, Heap, View};
pub(crate) use place::Place;

use crate::model::{Error, ErrorKind, Mutex, platform};

/// Bytes of one plane, and so the end of every offset.
const PLANE_BYTES: usize = 1 << rseq::PLANE_SHIFT;

/// Which planes a cell has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// One per CPU, where the system can: an add is a plain one, 0.5 ns, whoever else adds.
    PerCpu,
    /// The shared one only: least memory; an add is a locked instruction.
    Shared,
}

/// A reserved block of planes, handed out in runs of cells.
#[derive(Debug)]
pub(crate) struct Arena {
    mapping: platform::Mapping,
    /// Number of CPU planes; 0 where sections cannot run or were not asked for.
    cpus: u32,
    max_bytes: usize,
    /// Bytes of the cells in use, over all planes.
    charged: AtomicUsize,
    space: Mutex<Space>,
}

/// What is free: the middle of the planes.
#[derive(Debug)]
struct Space {
    /// Cells in all planes lie below.
    low: usize,
    /// Cells in the shared plane only lie from here on.
    high: usize,
}

/// Neighbouring cells of one size: zeroed, and never taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Of the first cell, in every plane that it has.
    pub(crate) offset: usize,
    pub(crate) count: usize,
    pub(crate) cells: Cells,
}

impl Arena {
    /// Reserves address space for at most `max_bytes` of cells in use, counted over all planes.
    ///
    /// Per-CPU planes need restartable sequences and the address space for them; without, every
    /// cell lies in the shared plane and [`Arena::cells`] says so.
    pub(crate) fn private(max_bytes: usize, cells: Cells) -> Result<Arc<Self>, Error> {
        let cpus = match cells {
            Cells::PerCpu => place::cpus(),
            Cells::Shared => 0,
        };
        let reserve = |planes: usize| platform::Mapping::private(planes * PLANE_BYTES);
        let (mapping, cpus) = match reserve(1 + cpus as usize) {
            Ok(mapping) => (mapping, cpus),
            Err(error) => {
                tracing::warn!(
                    "no address space for {cpus} CPU planes ({error}): cells are shared"
                );
                let mapping = reserve(1).map_err(|e| {
                    Error::io(format_args!("reserve {PLANE_BYTES} bytes for cells"), &e)
                })?;
                (mapping, 0)
            }
        };
        // A huge page for one cell of one CPU would cost 2 MiB a plane.
        if let Err(error) = mapping.use_small_pages() {
            tracing::debug!("cells may use huge pages: {error}");
        }
        let space = Mutex::new(Space { low: 0, high: PLANE_BYTES });
        Ok(Arc::new(Self { mapping, cpus, max_bytes, charged: AtomicUsize::new(0), space }))
    }

    /// Which planes cells have that may have any.
    pub(crate) fn cells(&self) -> Cells {
        if self.cpus == 0 { Cells::Shared } else { Cells::PerCpu }
    }

    /// A run of `count` cells of `bytes` each, a multiple of 8; of 16 for cells that need that
    /// alignment.
    ///
    /// Cells that would find no room in all planes, or that the limit would not let be used, get
    /// it in the shared one; the run is shorter where the plane ends.
    ///
    /// # Errors
    /// Limit, when not one cell fits.
    pub(crate) fn reserve(&self, bytes: usize, count: usize, cells: Cells) -> Result<Run, Error> {
        let left = self.max_bytes.saturating_sub(self.charged.load(Relaxed));
        let fits = self.cost(bytes, Cells::PerCpu).saturating_mul(count.div_ceil(2)) <= left;
        let cells = if self.cpus == 0 || !fits { Cells::Shared } else { cells };
        let mut space = self.space.lock();
        let room = space.high - space.low;
        let whole = |count: usize| bytes.saturating_mul(count).saturating_add(16) <= room;
        let mut count = count;
        while count > 1 && !whole(count) {
            count /= 2;
        }
        if count == 0 || !whole(count) {
            let message =
                format!("the {PLANE_BYTES} bytes of a plane are used; no setting adds any");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        let align = if bytes.is_multiple_of(16) { 16 } else { 8 };
        let offset = match cells {
            Cells::PerCpu => {
                let offset = space.low.next_multiple_of(align);
                space.low = offset + bytes * count;
                offset
            }
            Cells::Shared => {
                space.high = (space.high - bytes * count) / align * align;
                space.high
            }
        };
        Ok(Run { offset, count, cells })
    }

    /// Counts a cell that is going to be used.
    ///
    /// # Errors
    /// Limit, when that is past `max_bytes`.
    pub(crate) fn charge(&self, bytes: usize, cells: Cells) -> Result<(), Error> {
        let cost = self.cost(bytes, cells);
        let within = |used: usize| Some(used + cost).filter(|used| *used <= self.max_bytes);
        match self.charged.fetch_update(Relaxed, Relaxed, within) {
            Ok(_) => Ok(()),
            Err(_) => {
                let message = format!("the {} bytes for cells are used", self.max_bytes);
                Err(Error::new(ErrorKind::Limit, message).with_field("limits.max_cell_bytes"))
            }
        }
    }

    /// Counts a cell past the limit: one of the few that exist so that nothing is lost.
    pub(crate) fn charge_anyway(&self, bytes: usize, cells: Cells) {
        self.charged.fetch_add(self.cost(bytes, cells), Relaxed);
    }

    /// Takes a charge back.
    pub(crate) fn refund(&self, bytes: usize, cells: Cells) {
        self.charged.fetch_sub(self.cost(bytes, cells), Relaxed);
    }

    /// Bytes of a cell over all planes that it may touch.
    fn cost(&self, bytes: usize, cells: Cells) -> usize {
        match cells {
            Cells::PerCpu => bytes * (1 + self.cpus as usize),
            Cells::Shared => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Cells; 2] = [Cells::PerCpu, Cells::Shared];

    #[test]
    fn runs_never_overlap_and_their_cells_can_be_zeroed() {
        let arena = Arena::private(1 << 20, Cells::PerCpu).unwrap();
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for round in 0..100 {
            for cells in BOTH {
                let (bytes, count) = (8 * (1 + round % 5), 1 + round % 7);
                let run = arena.reserve(bytes, count, cells).unwrap();
                let (start, end) = (run.offset, run.offset + bytes * run.count);
                assert!(taken.iter().all(|(a, b)| end <= *a || *b <= start));
                taken.push((start, end));
                let cell = U64Cell::new(arena.place(run.offset, run.cells));
                assert_eq!(cell.read(), 0);
                cell.add(7);
                assert_eq!(cell.read(), 7);
                cell.place.zero(8);
                assert_eq!(cell.read(), 0);
            }
        }
    }

    #[test]
    fn the_limit_counts_planes_and_an_error_names_it() {
        for cells in BOTH {
            let arena = Arena::private(4096, cells).unwrap();
            let each = arena.cost(16, cells);
            for _ in 0..4096 / each {
                arena.charge(16, cells).unwrap();
            }
            let full = arena.charge(16, cells).unwrap_err();
            assert_eq!(full.kind(), ErrorKind::Limit);
            assert_eq!(full.field(), Some("limits.max_cell_bytes"));
            arena.refund(16, cells);
            arena.charge(16, cells).unwrap();
        }
    }

    #[test]
    fn a_full_plane_is_not_blamed_on_the_limit() {
        let arena = Arena::private(1 << 40, Cells::Shared).unwrap();
        let run = arena.reserve(PLANE_BYTES / 16, 13, Cells::Shared).unwrap();
        assert_eq!(run.count, 13);
        // As many as fit, where not all do.
        let run = arena.reserve(PLANE_BYTES / 16, 4, Cells::Shared).unwrap();
        assert_eq!(run.count, 2);
        let full = arena.reserve(PLANE_BYTES / 16, 4, Cells::Shared).unwrap_err();
        assert_eq!((full.kind(), full.field()), (ErrorKind::Limit, None));
        assert!(full.to_string().contains("no setting"), "{full}");
    }

    #[test]
    fn cells_that_may_not_be_used_in_all_planes_go_to_the_shared_one() {
        let arena = Arena::private(4096, Cells::PerCpu).unwrap();
        if arena.cells() == Cells::Shared {
            return; // no sections here, so there is no second plane to run out of
        }
        assert_eq!(arena.reserve(16, 4, Cells::PerCpu).unwrap().cells, Cells::PerCpu);
        assert_eq!(arena.reserve(16, 4096, Cells::PerCpu).unwrap().cells, Cells::Shared);
    }

    #[test]
    fn pairs_are_aligned_whatever_lies_between() {
        let arena = Arena::private(1 << 20, Cells::PerCpu).unwrap();
        for cells in BOTH {
            for _ in 0..10 {
                let word = arena.reserve(8, 3, cells).unwrap();
                let pair = arena.reserve(48, 3, cells).unwrap();
                assert!(word.offset.is_multiple_of(8) && pair.offset.is_multiple_of(16));
            }
        }
    }
}
