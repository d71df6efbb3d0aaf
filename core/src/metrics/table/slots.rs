//! Open-addressed slots that lead from a hash to a row: read without a lock, by any thread.
//!
//! A slot is `tag << 24 | row + 1`, 0 where there never was one, [`TAKEN_OUT`] where one was. One
//! thread at a time writes. A slot is published with Release after its row's words, and read with
//! Acquire; the reader then compares the row in full. No unsafe code, no global state;
//! tests/table_model.rs runs it under loom.

use super::sync::{AtomicU32, Ordering};
use Ordering::{Acquire, Relaxed, Release};

/// Rows end here.
pub(crate) const MAX_ROWS: u32 = TAKEN_OUT - 1;

const ROW: u32 = (1 << 24) - 1;
const TAG: u32 = !ROW;
/// The slot of a row that was taken out; a search goes on behind it.
const TAKEN_OUT: u32 = ROW;

/// The rows that may have that hash, in order. Slots are a power of two, and never full.
#[inline(always)]
pub(crate) fn candidates(slots: &[AtomicU32], hash: u32) -> Candidates<'_> {
    let at = hash as usize & slots.len().wrapping_sub(1);
    Candidates { slots, hash, at, left: slots.len() }
}

/// See [`candidates`].
pub(crate) struct Candidates<'a> {
    slots: &'a [AtomicU32],
    hash: u32,
    at: usize,
    /// Not for ever, whatever stands in memory that processes share.
    left: usize,
}

impl Iterator for Candidates<'_> {
    type Item = u32;

    #[inline(always)]
    fn next(&mut self) -> Option<u32> {
        while self.left > 0 {
            let slot = self.slots.get(self.at)?.load(Acquire);
            if slot == 0 {
                return None;
            }
            self.left -= 1;
            self.at = (self.at + 1) & self.slots.len().wrapping_sub(1);
            if (slot ^ self.hash) & TAG == 0 && slot & ROW != TAKEN_OUT {
                return Some((slot & ROW) - 1);
            }
        }
        None
    }
}

/// Puts a row in. False when there is no free slot. Returns whether a new slot was used up.
pub(crate) fn insert(slots: &[AtomicU32], hash: u32, row: u32) -> Inserted {
    let mask = slots.len().wrapping_sub(1);
    let mut at = hash as usize & mask;
    for _ in 0..slots.len() {
        let Some(slot) = slots.get(at) else { break };
        let before = slot.load(Relaxed);
        if before & ROW == TAKEN_OUT || before == 0 {
            slot.store(hash & TAG | (row + 1), Release);
            return if before == 0 { Inserted::New } else { Inserted::Again };
        }
        at = (at + 1) & mask;
    }
    Inserted::Full
}

/// What became of an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// In a slot that never held a row.
    New,
    /// In a slot that held one.
    Again,
    /// Nowhere.
    Full,
}

/// Takes a row out.
pub(crate) fn remove(slots: &[AtomicU32], hash: u32, row: u32) {
    let mask = slots.len().wrapping_sub(1);
    let mut at = hash as usize & mask;
    for _ in 0..slots.len() {
        let Some(slot) = slots.get(at) else { return };
        let now = slot.load(Relaxed);
        if now == 0 {
            return;
        }
        if now == hash & TAG | (row + 1) {
            return slot.store(TAKEN_OUT, Release);
        }
        at = (at + 1) & mask;
    }
}
