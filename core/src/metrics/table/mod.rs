//! Series by their labels: found without a lock, made under one, taken out and used again without
//! an add that lands in another series.
//!
//! ```text
//! Shape: one family, one set of label names
//!   slots  hash ──► row            slots.rs, doubled as rows come
//!   row    state, hash, created, one text per name        state.rs, text.rs
//!   cell   the row's place in every plane                 arena/
//! ```
//!
//! A row is 16 bytes and 4 per label; with its cell and its slots some 45 bytes a series of three
//! labels. Rows lie in segments of doubling size that never move, so a row's number leads to its
//! words and its cell by arithmetic. It knows no family's name, no limit on their number.

mod layout;
mod shape;
mod slots;
mod state;
mod sync;
#[cfg(test)]
mod tests;
mod text;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crossbeam::utils::CachePadded;

use super::arena::{Arena, Cells, Heap};
use crate::model::{Error, TextHash, grace};
pub(crate) use layout::{Admission, Extent, Layout};
pub(crate) use shape::{Found, Shape};
pub(crate) use state::IDLE_SWEEPS;
use text::Texts;

/// What the tables of one engine share.
pub(crate) struct Memory {
    pub(crate) arena: Arc<Arena>,
    pub(crate) hash: TextHash,
    heap: Heap,
    texts: Texts,
    /// Changes with every family, series and description: the schema's version. Always before
    /// another thread can see the change, under the lock that makes it: who saw it is not handed
    /// an older schema.
    generation: CachePadded<AtomicU64>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("generation", &self.generation()).finish_non_exhaustive()
    }
}

impl Memory {
    /// Memory for cells of at most so many bytes and label texts of at most so many.
    ///
    /// # Errors
    /// Io, when the system has no address space.
    pub(crate) fn new(
        max_cell_bytes: usize,
        max_label_bytes: usize,
        cells: Cells,
    ) -> Result<Arc<Self>, Error> {
        grace::prepare();
        Ok(Arc::new(Self {
            arena: Arena::private(max_cell_bytes, cells)?,
            hash: TextHash::random(),
            heap: Heap::private()?,
            texts: Texts::new(max_label_bytes),
            generation: CachePadded::new(AtomicU64::new(1)),
        }))
    }

    /// Version of names, labels and descriptions; values do not change it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// Something that a schema shows is about to change.
    pub(crate) fn changed(&self) {
        self.generation.fetch_add(1, Relaxed);
    }
}
