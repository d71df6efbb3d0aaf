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
//! Offsets are freed only when no handle to them is left (`Series` drops), so memory is never
//! taken from under a writer. Memory is touched lazily: a plane costs what its CPU recorded.
//!
//! Private memory for now: the interface is offsets, because the same cells will lie in memory
//! that processes share.

mod cells;
mod place;
mod rseq;
mod shared;
#[cfg(test)]
mod storm;

use std::sync::Arc;

use parking_lot::Mutex;

pub(crate) use cells::{F64Cell, GaugeCell, HistogramCell, I64Cell, U64Cell};
use place::Place;

use crate::model::{Error, ErrorKind, platform};

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

/// A reserved block of planes, handed out in cells.
#[derive(Debug)]
pub(crate) struct Arena {
    mapping: platform::Mapping,
    /// Number of CPU planes; 0 where sections cannot run or were not asked for.
    cpus: u32,
    max_bytes: usize,
    space: Mutex<Space>,
}

/// What is free: the middle of the planes, and lists of returned cells by size.
#[derive(Debug)]
struct Space {
    /// Cells in all planes lie below.
    low: usize,
    /// Cells in the shared plane only lie from here on.
    high: usize,
    free: Vec<((Cells, usize), Vec<usize>)>,
}

/// A cell's memory; returned to its arena on drop.
#[derive(Debug)]
pub(crate) struct Block {
    arena: Arc<Arena>,
    offset: usize,
    len: usize,
    cells: Cells,
}

impl Arena {
    /// Reserves address space for at most `max_bytes` of cells, counted over all planes.
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
        let space = Space { low: 0, high: PLANE_BYTES, free: Vec::new() };
        Ok(Arc::new(Self { mapping, cpus, max_bytes, space: Mutex::new(space) }))
    }

    /// Which planes cells have that may have any.
    pub(crate) fn cells(&self) -> Cells {
        if self.cpus == 0 { Cells::Shared } else { Cells::PerCpu }
    }

    /// A zeroed cell of `bytes`, a multiple of 8; of 16 for cells that need that alignment.
    ///
    /// One that finds no room in all planes gets room in the shared one.
    ///
    /// # Errors
    /// Limit, when there is none either.
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize, cells: Cells) -> Result<Block, Error> {
        let cells = if self.cpus == 0 { Cells::Shared } else { cells };
        let mut space = self.space.lock();
        let found = space.take(cells, bytes, self).or_else(|| {
            let shared = (cells == Cells::PerCpu).then(|| space.take(Cells::Shared, bytes, self));
            shared.flatten()
        });
        let Some((offset, cells)) = found else {
            let full = |message| Error::new(ErrorKind::Limit, message);
            return Err(if space.high - space.low < bytes {
                full(format!("the {PLANE_BYTES} bytes of a plane are used; no setting adds any"))
            } else {
                full(format!("the {} bytes for cells are used", self.max_bytes))
                    .with_field("limits.max_cell_bytes")
            });
        };
        Ok(Block { arena: Arc::clone(self), offset, len: bytes, cells })
    }

    /// Bytes of a cell over all planes that it may touch.
    fn cost(&self, bytes: usize, cells: Cells) -> usize {
        match cells {
            Cells::PerCpu => bytes * (1 + self.cpus as usize),
            Cells::Shared => bytes,
        }
    }

    fn release(&self, block: &Block) {
        let key = (block.cells, block.len);
        let mut space = self.space.lock();
        match space.free.iter_mut().find(|(known, _)| *known == key) {
            Some((_, offsets)) => offsets.push(block.offset),
            None => space.free.push((key, vec![block.offset])),
        }
    }
}

impl Space {
    fn take(&mut self, cells: Cells, bytes: usize, arena: &Arena) -> Option<(usize, Cells)> {
        let free = self.free.iter_mut().find(|(key, _)| *key == (cells, bytes));
        if let Some(offset) = free.and_then(|(_, offsets)| offsets.pop()) {
            return Some((offset, cells));
        }
        let align = if bytes.is_multiple_of(16) { 16 } else { 8 };
        let (low, high, offset) = match cells {
            Cells::PerCpu => {
                let offset = self.low.next_multiple_of(align);
                (offset.checked_add(bytes)?, self.high, offset)
            }
            Cells::Shared => {
                let offset = self.high.checked_sub(bytes)? / align * align;
                (self.low, offset, offset)
            }
        };
        let used = arena.cost(low, Cells::PerCpu) + (PLANE_BYTES - high);
        if low > high || used > arena.max_bytes {
            return None;
        }
        (self.low, self.high) = (low, high);
        Some((offset, cells))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.place().zero(self.len);
        self.arena.release(self);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [Cells; 2] = [Cells::PerCpu, Cells::Shared];

    #[test]
    fn cells_are_reused_and_zeroed() {
        for cells in BOTH {
            let arena = Arena::private(1 << 20, cells).unwrap();
            for round in 0..1000_u64 {
                let block = arena.allocate(8, cells).unwrap();
                let cell = U64Cell::new(&block);
                assert_eq!(cell.read(), 0, "round {round}");
                cell.add(round + 1);
                assert_eq!(cell.read(), round + 1);
            }
            let space = arena.space.lock();
            assert_eq!(space.low + (PLANE_BYTES - space.high), 8);
        }
    }

    #[test]
    fn the_limit_counts_planes_and_an_error_names_it() {
        let arena = Arena::private(4096, Cells::Shared).unwrap();
        let blocks: Vec<_> = (0..256).map(|_| arena.allocate(16, Cells::Shared).unwrap()).collect();
        let full = arena.allocate(16, Cells::Shared).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Limit);
        assert_eq!(full.field(), Some("limits.max_cell_bytes"));
        drop(blocks);
        arena.allocate(16, Cells::Shared).unwrap();
    }

    #[test]
    fn a_full_plane_is_not_blamed_on_the_limit() {
        let arena = Arena::private(1 << 40, Cells::Shared).unwrap();
        for _ in 0..4 {
            std::mem::forget(arena.allocate(PLANE_BYTES / 4, Cells::Shared).unwrap());
        }
        let full = arena.allocate(8, Cells::Shared).unwrap_err();
        assert_eq!((full.kind(), full.field()), (ErrorKind::Limit, None));
        assert!(full.to_string().contains("no setting"), "{full}");
    }

    #[test]
    fn cells_that_find_no_room_in_all_planes_go_to_the_shared_one() {
        let arena = Arena::private(4096, Cells::PerCpu).unwrap();
        if arena.cells() == Cells::Shared {
            return; // no sections here, so there is no second plane to run out of
        }
        let mut kinds = Vec::new();
        let mut blocks = Vec::new();
        while let Ok(block) = arena.allocate(16, Cells::PerCpu) {
            kinds.push(block.cells);
            blocks.push(block);
        }
        assert_eq!(kinds.first(), Some(&Cells::PerCpu));
        assert_eq!(kinds.last(), Some(&Cells::Shared));
        let used: usize = blocks.iter().map(|block| arena.cost(block.len, block.cells)).sum();
        assert!(used <= 4096 && used > 4096 - 16 * (2 + arena.cpus as usize), "{used}");
    }

    #[test]
    fn pairs_are_aligned_whatever_lies_between() {
        let arena = Arena::private(1 << 20, Cells::PerCpu).unwrap();
        for cells in BOTH {
            for _ in 0..10 {
                let word = arena.allocate(8, cells).unwrap();
                let pair = arena.allocate(48, cells).unwrap();
                assert!(word.offset.is_multiple_of(8) && pair.offset.is_multiple_of(16));
                std::mem::forget(word);
                std::mem::forget(pair);
            }
        }
    }
}
