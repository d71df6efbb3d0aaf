//! What processes share of families and tables: records in the heap that lead to each other.
//!
//! ```text
//! root ─► family ─► family …            a list that only grows; its end is one word
//!           └─► shape ─► shape …        as above
//!                 └─► segments of rows  each led to by one word
//! ```
//!
//! A record is written in full before the word that leads to it changes from 0, once and for ever.
//! Who finds that word taken reads on there: nobody waits, and a process that is killed leaves a
//! piece that nothing leads to. Records hold words of 32 bits; their heads are below.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed},
};

use super::layout::SEGMENTS;
use crate::metrics::arena::{At, Heap, step};

/// Where the list of families begins: a record of which only [`NEXT`] is used.
pub(crate) const ROOT: At = 1;

/// Word of every record: the next one of its list.
pub(crate) const NEXT: usize = 0;

/// Words of a family.
pub(crate) mod family {
    /// Kind, number type, cells, gauge mode; a byte each. The mode may be said later, once.
    pub(crate) const WHAT: usize = 1;
    pub(crate) const NAME: usize = 2;
    /// 0 until somebody says it.
    pub(crate) const HELP: usize = 3;
    pub(crate) const UNIT: usize = 4;
    pub(crate) const BOUNDS: usize = 5;
    /// The first shape.
    pub(crate) const SHAPES: usize = 6;
    /// Series that count against the limit.
    pub(crate) const COUNTED: usize = 7;
    /// Bounds follow, two words each.
    pub(crate) const HEAD: usize = 8;
}

/// Words of a shape.
pub(crate) mod shape {
    pub(crate) const NAMES: usize = 1;
    /// Rows that were given out, in order of their numbers.
    pub(crate) const USED: usize = 2;
    /// Series taken out so far.
    pub(crate) const REMOVED: usize = 3;
    /// Rows that became another series so far.
    pub(crate) const REUSED: usize = 4;
    /// Series.
    pub(crate) const LIVE: usize = 5;
    /// Where each segment lies, then each name.
    pub(crate) const SEGMENTS: usize = 6;
    pub(crate) const HEAD: usize = SEGMENTS + super::SEGMENTS;
}

/// Words of a segment, before its rows.
pub(crate) mod segment {
    /// `offset << 1 | shared` of its cells.
    pub(crate) const CELLS_LOW: usize = 0;
    pub(crate) const CELLS_HIGH: usize = 1;
    /// Rows that have cells.
    pub(crate) const COUNT: usize = 2;
    pub(crate) const HEAD: usize = 4;
}

/// Words of a record.
pub(crate) fn words(heap: &Heap, at: At, count: usize) -> &[AtomicU32] {
    heap.words(at, 0, count)
}

/// One word of a record.
pub(crate) fn word(heap: &Heap, at: At, index: usize) -> Option<&AtomicU32> {
    heap.words(at, index, 1).first()
}

/// What a word holds; 0 where there is none.
pub(crate) fn load(heap: &Heap, at: At, index: usize) -> u32 {
    word(heap, at, index).map_or(0, |word| word.load(Acquire))
}

/// A new record of these words; `None` when no memory is left.
pub(crate) fn make(heap: &Heap, words: &[u32]) -> Option<At> {
    let at = heap.allocate(words.len() * 4)?;
    for (word, value) in heap.words(at, 0, words.len()).iter().zip(words) {
        word.store(*value, Relaxed);
        step();
    }
    Some(at)
}

/// Has a word lead to a record; where it leads already, if it does.
pub(crate) fn lead(heap: &Heap, from: At, index: usize, to: At) -> Result<(), At> {
    step();
    match word(heap, from, index) {
        Some(word) => word.compare_exchange(0, to, AcqRel, Acquire).map(drop),
        None => Ok(()),
    }
}

/// Keeps a text: its length, then its bytes. `None` when no memory is left.
pub(crate) fn keep(heap: &Heap, text: &str) -> Option<At> {
    let at = heap.allocate(4 + text.len())?;
    step();
    heap.fill(at, 1, text.as_bytes());
    step();
    word(heap, at, 0)?.store(u32::try_from(text.len()).ok()?, Relaxed);
    Some(at)
}

/// The text at a place; "" for nowhere, and for what is none.
pub(crate) fn text(heap: &Heap, at: At) -> &str {
    if at == 0 {
        return "";
    }
    let length = load(heap, at, 0) as usize;
    str::from_utf8(heap.bytes(at, 1, length)).unwrap_or_default()
}
