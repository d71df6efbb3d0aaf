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

mod index;
mod layout;
pub(crate) mod record;
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
        atomic::Ordering::{AcqRel, Acquire},
    },
};

use super::arena::{Arena, Cells, Ground, Heap, Share, Word};
use crate::model::{Error, TextHash, grace};
pub(crate) use layout::{Admission, Extent, Layout};
pub(crate) use shape::{Found, Learned, Shape, Spot};
pub(crate) use state::IDLE_SWEEPS;
use text::Texts;

/// What the tables of one engine share.
pub(crate) struct Memory {
    pub(crate) arena: Arc<Arena>,
    pub(crate) ground: Arc<Ground>,
    pub(crate) hash: TextHash,
    /// Families, rows and texts: for all processes.
    pub(crate) heap: Heap,
    /// Slots and pins: this process's own.
    own: Heap,
    texts: Texts,
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
    /// Io, when the system has no address space; what [`Ground::new`] says.
    pub(crate) fn new(
        share: &Share,
        max_cell_bytes: usize,
        max_label_bytes: usize,
        cells: Cells,
    ) -> Result<Arc<Self>, Error> {
        grace::prepare();
        // Texts, and rows, names and records beside them.
        let heap = max_label_bytes.saturating_mul(4);
        let ground = Ground::new(share, Arena::cpus_for(cells), heap)?;
        Ok(Arc::new(Self {
            arena: Arena::new(&ground, max_cell_bytes, cells)?,
            hash: ground.hash(),
            heap: Heap::of(&ground),
            own: Heap::private()?,
            texts: Texts::new(max_label_bytes),
            ground,
        }))
    }

    /// Version of names, labels and descriptions; values do not change it. It changes with every
    /// family, series and description, in whatever process: the schema's version. Always before
    /// another thread can see the change: who saw it is not handed an older schema.
    pub(crate) fn generation(&self) -> u64 {
        self.ground.word(Word::Generation).load(Acquire)
    }

    /// Something that a schema shows is about to change, or did: a process that looked in between, and
    /// found it unfinished, looks again.
    pub(crate) fn changed(&self) {
        self.ground.word(Word::Generation).fetch_add(1, AcqRel);
    }

    /// Runs `f` while no other process has the arena or may open it; `None` where one has. With a
    /// lock that forks wait for.
    fn while_alone<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        self.arena.membership.while_alone(f)
    }
}
