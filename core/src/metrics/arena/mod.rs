//! Memory of the cells: one reserved block, cut into cells that are addressed by offset.
//!
//! It owns allocation and reuse; what a cell is and how it is written is `cells.rs`. It knows no
//! names and no labels. An offset is freed only when no handle to it is left (`Series` drops),
//! so memory is never taken from under a writer.
//!
//! Private memory for now: the interface is offsets, because the same cells will lie in memory
//! that processes share.

mod cells;

use std::sync::Arc;

use parking_lot::Mutex;

pub(crate) use cells::{F64Cell, GaugeCell, HistogramCell, I64Cell, U64Cell};

use crate::model::{Error, ErrorKind, platform::Mapping};

/// Bytes of the smallest cell, and the alignment of every cell.
pub(crate) const GRAIN: usize = 16;

/// A reserved block of zeroed memory, handed out in grains.
#[derive(Debug)]
pub(crate) struct Arena {
    mapping: Mapping,
    space: Mutex<Space>,
}

/// What is free: everything from `next`, and lists of returned blocks by size.
#[derive(Debug, Default)]
struct Space {
    next: usize,
    free: Vec<(usize, Vec<usize>)>,
}

/// A block of an arena; returned to it on drop.
#[derive(Debug)]
pub(crate) struct Block {
    arena: Arc<Arena>,
    offset: usize,
    len: usize,
}

impl Arena {
    /// Reserves `bytes` of address space; memory is used as cells are.
    pub(crate) fn private(bytes: usize) -> Result<Arc<Self>, Error> {
        let bytes = bytes.next_multiple_of(4096);
        let mapping = Mapping::private(bytes)
            .map_err(|e| Error::io(format_args!("reserve {bytes} bytes for cells"), &e))?;
        Ok(Arc::new(Self { mapping, space: Mutex::new(Space::default()) }))
    }

    /// A zeroed block of at least `bytes`.
    ///
    /// # Errors
    /// Limit, when the arena is full.
    pub(crate) fn allocate(self: &Arc<Self>, bytes: usize) -> Result<Block, Error> {
        let len = bytes.next_multiple_of(GRAIN);
        let mut space = self.space.lock();
        let reused = space.free.iter_mut().find(|(size, _)| *size == len);
        if let Some(offset) = reused.and_then(|(_, offsets)| offsets.pop()) {
            return Ok(Block { arena: Arc::clone(self), offset, len });
        }
        let offset = space.next;
        let end = offset.checked_add(len).filter(|end| *end <= self.mapping.len());
        let Some(end) = end else {
            let message = format!("the {} bytes reserved for cells are used", self.mapping.len());
            return Err(Error::new(ErrorKind::Limit, message).with_field("limits.max_cell_bytes"));
        };
        space.next = end;
        Ok(Block { arena: Arc::clone(self), offset, len })
    }

    /// Bytes handed out so far, returned blocks included.
    #[cfg(test)]
    pub(crate) fn used_bytes(&self) -> usize {
        self.space.lock().next
    }

    fn release(&self, offset: usize, len: usize) {
        let mut space = self.space.lock();
        match space.free.iter_mut().find(|(size, _)| *size == len) {
            Some((_, offsets)) => offsets.push(offset),
            None => space.free.push((len, vec![offset])),
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        cells::zero(self);
        self.arena.release(self.offset, self.len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_reused_and_zeroed() {
        let arena = Arena::private(4096).unwrap();
        for round in 0..1000_u64 {
            let cell = U64Cell::new(arena.allocate(8).unwrap());
            assert_eq!(cell.read(), 0, "round {round}");
            cell.add(round + 1);
        }
        assert_eq!(arena.used_bytes(), GRAIN);
    }

    #[test]
    fn a_full_arena_is_an_error_that_names_the_limit() {
        let arena = Arena::private(4096).unwrap();
        let blocks: Vec<_> = (0..256).map(|_| arena.allocate(16).unwrap()).collect();
        let full = arena.allocate(16).unwrap_err();
        assert_eq!(full.kind(), ErrorKind::Limit);
        assert_eq!(full.field(), Some("limits.max_cell_bytes"));
        drop(blocks);
        arena.allocate(16).unwrap();
    }
}
