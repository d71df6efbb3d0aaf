//! Memory of the cells: one reserved block of planes, cut into cells that are addressed by offset.
//!
//! ```text
//! [shared plane][CPU plane 0][CPU plane 1]…   planes of 256 MiB of address space
//!  ▲ offset      ▲ the same offset
//! ```
//!
//! A cell is the same offset in every plane; its value is the sum over the planes. CPU planes are
//! written by restartable sequences only (`rseq.rs`), the shared plane by locked instructions only
//! (`shared.rs`); `cells.rs` says what each kind is made of. Cells that need no CPU planes (families
//! that asked for it) are cut from the other end of the planes, so that CPU planes stay dense.
//! Gauges are no sums: each process has a plane of its own for them (`gauges.rs`, `members.rs`). It
//! knows no names and no labels.
//!
//! Cells are handed out in runs, one run for some rows of a table, and stay with their rows: who
//! uses a row again zeroes its cell, when no handle can reach it any more (`table/`). Memory is
//! touched lazily: a plane costs what its CPU recorded. Offsets, because processes share the same
//! cells (`ground.rs`); `heap.rs` has the tables that lead to them.

mod cells;
pub(crate) mod forks;
mod gauges;
mod ground;
mod heap;
mod members;
mod place;
mod rseq;
mod shared;
mod steps;
#[cfg(test)]
mod storm;

use std::{
    ptr::NonNull,
    sync::{Arc, atomic::Ordering::Relaxed},
};

pub(crate) use cells::{F64Cell, HistogramCell, I64Cell, U64Cell};
pub(crate) use gauges::GaugeCell;
pub use ground::{ArenaFile, Share};
pub(crate) use ground::{Ground, Planes, Word};
pub(crate) use heap::{At, Heap, UNIT, View};
pub(crate) use members::{Member, Membership};
pub(crate) use place::Place;
pub(crate) use steps::step;

use crate::model::{Error, ErrorKind};

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

/// The planes of a block, handed out in runs of cells.
#[derive(Debug)]
pub(crate) struct Arena {
    pub(crate) ground: Arc<Ground>,
    pub(crate) membership: Membership,
    planes: Base,
    /// From a cell of the shared plane to that of CPU 0, + 1 where this process must not add there.
    to_cpus: usize,
    /// Whether new cells get CPU planes.
    sections: bool,
    max_bytes: usize,
}

/// Where the planes start.
#[derive(Debug)]
struct Base(NonNull<u8>);

// SAFETY: an address inside the ground, which the arena keeps; cells are written by sections of the
// writing thread's own CPU and by atomic instructions. Test: storms_of_preemption_lose_nothing.
unsafe impl Send for Base {}
// SAFETY: as above.
unsafe impl Sync for Base {}

/// Bits of [`Word::Space`] for each end.
const END_BITS: u32 = 32;

/// Neighbouring cells of one size: zeroed, and never taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    /// Of the first cell, in every plane that it has.
    pub(crate) offset: usize,
    pub(crate) count: usize,
    pub(crate) cells: Cells,
}

impl Arena {
    /// The cells of a block, at most `max_bytes` of them in use, counted over all planes.
    ///
    /// Per-CPU planes need restartable sequences and the address space for them; without, every
    /// cell lies in the shared plane and [`Arena::cells`] says so.
    ///
    /// # Errors
    /// Io, when the system has no memory.
    pub(crate) fn new(
        ground: &Arc<Ground>,
        max_bytes: usize,
        cells: Cells,
    ) -> Result<Arc<Self>, Error> {
        let sections =
            cells == Cells::PerCpu && ground.cpus() > 0 && ground.cpus() == place::cpus();
        let arena = Arc::new(Self {
            membership: Membership::begin(ground)?,
            planes: Base(ground.planes()),
            to_cpus: PLANE_BYTES + usize::from(!sections),
            sections,
            ground: Arc::clone(ground),
            max_bytes,
        });
        forks::remember(&arena.membership);
        Ok(arena)
    }

    /// How many CPU planes a block of this process needs.
    pub(crate) fn cpus_for(cells: Cells) -> u32 {
        match cells {
            Cells::PerCpu => place::cpus(),
            Cells::Shared => 0,
        }
    }

    /// A block of this process's own.
    #[cfg(test)]
    pub(crate) fn private(max_bytes: usize, cells: Cells) -> Result<Arc<Self>, Error> {
        Self::new(&Ground::new(&Share::Reset, Self::cpus_for(cells), 64 << 20)?, max_bytes, cells)
    }

    /// Which planes cells have that may have any.
    pub(crate) fn cells(&self) -> Cells {
        if self.sections { Cells::PerCpu } else { Cells::Shared }
    }

    /// The CPU planes that anybody recorded in, for those who read.
    pub(crate) fn planes(&self) -> Planes {
        self.ground.touched()
    }

    /// A run of `count` cells of `bytes` each, a multiple of 8; of 16 for cells that need that
    /// alignment.
    ///
    /// Cells that would find no room in all planes, or that the limit would not let be used, get
    /// it in the shared one; the run is shorter where the plane ends.
    ///
    /// # Errors
    /// Limit, when not one cell fits, or has memory.
    pub(crate) fn reserve(&self, bytes: usize, count: usize, cells: Cells) -> Result<Run, Error> {
        let charged = self.ground.word(Word::Charged).load(Relaxed) as usize;
        let left = self.max_bytes.saturating_sub(charged);
        let fits = self.cost(bytes, Cells::PerCpu).saturating_mul(count.div_ceil(2)) <= left;
        let cells = if !self.sections || !fits { Cells::Shared } else { cells };
        let space = self.ground.word(Word::Space);
        let mut seen = space.load(Relaxed);
        let run = loop {
            let (run, next) = cut(seen, bytes, count, cells)?;
            match space.compare_exchange_weak(seen, next, Relaxed, Relaxed) {
                Ok(_) => break run,
                Err(now) => seen = now,
            }
        };
        let planes = match cells {
            Cells::PerCpu => 1 + self.ground.cpus() as usize,
            Cells::Shared => 1,
        };
        self.ground
            .back_planes(run.offset, bytes * run.count, planes)
            .map_err(|e| no_memory(&e))?;
        Ok(run)
    }

    /// A run of gauges; shorter where there is no room for all.
    ///
    /// # Errors
    /// Limit, when not one fits, or has memory.
    pub(crate) fn reserve_gauges(&self, count: usize) -> Result<Run, Error> {
        let used = self.ground.word(Word::Gauges);
        let fits = |used: u64, count: usize| {
            let end = used.checked_add((count * GaugeCell::BYTES) as u64)?;
            (end <= ground::GAUGE_PLANE_BYTES as u64).then_some(end)
        };
        let mut count = count.max(1);
        let offset = loop {
            match used.fetch_update(Relaxed, Relaxed, |used| fits(used, count)) {
                Ok(offset) => break offset as usize,
                Err(_) if count > 1 => count /= 2,
                Err(_) => {
                    let message = format!(
                        "the {} bytes for gauges are used; no setting adds any",
                        ground::GAUGE_PLANE_BYTES
                    );
                    return Err(Error::new(ErrorKind::Limit, message));
                }
            }
        };
        self.ground
            .back_gauges(offset, count * GaugeCell::BYTES)
            .map_err(|error| no_memory(&error))?;
        Ok(Run { offset, count, cells: Cells::Shared })
    }

    /// Whether a run of cells lies inside a plane and is aligned: what is read from a file may be damaged.
    pub(crate) fn holds(offset: usize, bytes: usize, count: u32, gauges: bool) -> bool {
        let room = if gauges { ground::GAUGE_PLANE_BYTES } else { PLANE_BYTES };
        let align = if bytes.is_multiple_of(16) { 16 } else { 8 };
        let end = offset.saturating_add(bytes.saturating_mul(count as usize));
        offset.is_multiple_of(align) && end <= room
    }

    /// Counts a cell that is going to be used.
    ///
    /// # Errors
    /// Limit, when that is past `max_bytes`.
    pub(crate) fn charge(&self, bytes: usize, cells: Cells) -> Result<(), Error> {
        let cost = self.cost(bytes, cells) as u64;
        let within =
            |used: u64| used.checked_add(cost).filter(|used| *used <= self.max_bytes as u64);
        let charged = self.ground.word(Word::Charged);
        match charged.fetch_update(Relaxed, Relaxed, within) {
            Ok(_) => Ok(()),
            Err(_) => {
                let message = format!("the {} bytes for cells are used", self.max_bytes);
                Err(Error::new(ErrorKind::Limit, message).with_field("limits.max_cell_bytes"))
            }
        }
    }

    /// Counts a cell past the limit: one of the few that exist so that nothing is lost.
    pub(crate) fn charge_anyway(&self, bytes: usize, cells: Cells) {
        self.ground.word(Word::Charged).fetch_add(self.cost(bytes, cells) as u64, Relaxed);
    }

    /// Takes a charge back.
    pub(crate) fn refund(&self, bytes: usize, cells: Cells) {
        self.ground.word(Word::Charged).fetch_sub(self.cost(bytes, cells) as u64, Relaxed);
    }

    /// Bytes of a cell over all planes that it may touch.
    fn cost(&self, bytes: usize, cells: Cells) -> usize {
        match cells {
            Cells::PerCpu => bytes * (1 + self.ground.cpus() as usize),
            Cells::Shared => bytes,
        }
    }
}

fn no_memory(error: &std::io::Error) -> Error {
    let message = format!("no memory for cells in the arena's file ({error})");
    Error::new(ErrorKind::Limit, message).with_field("recording.share")
}

/// Cuts a run off the free middle of the planes, and says what is in use then.
fn cut(seen: u64, bytes: usize, count: usize, cells: Cells) -> Result<(Run, u64), Error> {
    let (low, high) = (seen as u32 as usize * 8, (seen >> END_BITS) as usize * 8);
    let room = PLANE_BYTES.saturating_sub(low).saturating_sub(high);
    let whole = |count: usize| bytes.saturating_mul(count).saturating_add(16) <= room;
    let mut count = count;
    while count > 1 && !whole(count) {
        count /= 2;
    }
    if count == 0 || !whole(count) {
        let message = format!("the {PLANE_BYTES} bytes of a plane are used; no setting adds any");
        return Err(Error::new(ErrorKind::Limit, message));
    }
    let align = if bytes.is_multiple_of(16) { 16 } else { 8 };
    let (offset, low, high) = match cells {
        Cells::PerCpu => {
            let offset = low.next_multiple_of(align);
            (offset, offset + bytes * count, high)
        }
        Cells::Shared => {
            let offset = (PLANE_BYTES - high - bytes * count) / align * align;
            (offset, low, PLANE_BYTES - offset)
        }
    };
    let next = (low / 8) as u64 | ((high / 8) as u64) << END_BITS;
    Ok((Run { offset, count, cells }, next))
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
                let planes = arena.planes();
                assert_eq!(cell.read(&planes), 0);
                cell.add(7);
                assert_eq!(cell.read(&planes), 7);
                cell.place.zero(8, &planes);
                assert_eq!(cell.read(&planes), 0);
            }
        }
    }

    #[test]
    fn every_cell_is_its_own() {
        for cells in BOTH {
            let arena = Arena::private(1 << 20, cells).unwrap();
            let mut all = Vec::new();
            for round in 0..20_u64 {
                let run = arena.reserve(8, 4, cells).unwrap();
                for index in 0..run.count {
                    let cell = U64Cell::new(arena.place(run.offset + index * 8, run.cells));
                    let value = round * 100 + index as u64;
                    cell.add(value);
                    all.push((cell, value));
                }
            }
            for (cell, value) in all {
                assert_eq!(cell.read(&arena.planes()), value);
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
    fn a_run_that_a_damaged_file_names_is_inside_a_plane_and_aligned_or_none() {
        assert!(Arena::holds(64, 48, 4, false) && Arena::holds(8, 8, 4, false));
        // A load of a pair that is not aligned ends the process.
        assert!(!Arena::holds(72, 48, 4, false) && !Arena::holds(4, 8, 4, false));
        assert!(Arena::holds(PLANE_BYTES - 64, 16, 4, false));
        assert!(!Arena::holds(PLANE_BYTES - 64, 16, 5, false));
        assert!(!Arena::holds(usize::MAX & !15, 16, 1, false));
        assert!(!Arena::holds(ground::GAUGE_PLANE_BYTES, 16, 1, true));
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
