//! Memory of the tables: one block, cut into pieces that are addressed by offset.
//!
//! Rows and label texts lie in the part of an arena that its processes share, slots in a block of
//! this process's own. Pieces are offsets from the start and not pointers, because processes map the
//! same block at different addresses. An offset that leads outside gives nothing. Pages are touched
//! as they are used. The first unit holds how many bytes are in use, for all processes.

use std::{
    collections::BTreeMap,
    io,
    marker::PhantomData,
    ptr::NonNull,
    slice,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

use super::{ground::Ground, steps::step};
use crate::model::{Error, Mutex, MutexGuard, Words, platform};

/// Where a piece starts, in units of [`UNIT`] bytes; 0 is nowhere.
pub(crate) type At = u32;

/// Every piece starts at a multiple of it.
pub(crate) const UNIT: usize = 8;

/// Units before the first piece: the bytes in use, and a record that is always there.
const RESERVED: usize = 2;

/// Address space that is asked for, the least last: it costs nothing until it is used.
const SIZES: [usize; 4] = [16 << 30, 2 << 30, 256 << 20, 64 << 20];

/// A block and what of it is free. Any thread.
#[derive(Debug)]
pub(crate) struct Heap {
    block: Block,
    base: Base,
    bytes: usize,
    /// What this process returned, by bytes.
    free: Mutex<Free>,
}

/// Pieces to use again. A child of a fork leaves those of its parent to that.
#[derive(Debug, Default)]
struct Free {
    pieces: BTreeMap<usize, Vec<At>>,
    process: u32,
}

#[derive(Debug)]
enum Block {
    Own(platform::Mapping),
    Shared(Arc<Ground>),
}

/// Where the block starts.
#[derive(Debug, Clone, Copy)]
struct Base(NonNull<u8>);

// SAFETY: an address; who reads and writes there does so through atomics, or before others know of
// it. Test: table equals_a_plain_map.
unsafe impl Send for Base {}
// SAFETY: as above.
unsafe impl Sync for Base {}

impl Heap {
    /// Reserves address space that a forked child gets a copy of.
    ///
    /// # Errors
    /// Io, when the system has none.
    pub(crate) fn private() -> Result<Self, Error> {
        let mut last = None;
        for bytes in SIZES {
            match platform::Mapping::private(bytes) {
                Ok(mapping) => {
                    if let Err(error) = mapping.use_small_pages() {
                        tracing::debug!("tables may use huge pages: {error}");
                    }
                    let base = Base(mapping.base());
                    let (block, free) = (Block::Own(mapping), Mutex::default());
                    return Ok(Self { block, base, bytes, free });
                }
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| io::ErrorKind::OutOfMemory.into());
        Err(Error::io(format_args!("reserve address space for series"), &error))
    }

    /// The heap of an arena.
    pub(crate) fn of(ground: &Arc<Ground>) -> Self {
        let (base, bytes) = ground.heap();
        let (block, free) = (Block::Shared(Arc::clone(ground)), Mutex::default());
        Self { block, base: Base(base), bytes, free }
    }

    /// Bytes in use by all processes.
    fn used(&self) -> &AtomicU64 {
        // SAFETY: the first unit of the block: aligned, zeroed at first, only ever accessed
        // atomically. Test: pieces_are_reused_zeroed_and_never_overlap.
        unsafe { self.base.0.cast::<AtomicU64>().as_ref() }
    }

    /// A zeroed piece; `None` when no room is left, or no memory for it.
    pub(crate) fn allocate(&self, bytes: usize) -> Option<At> {
        let bytes = rounded(bytes);
        let again = self.free().pieces.get_mut(&bytes).and_then(Vec::pop);
        if let Some(at) = again {
            // Only what is not zero: to write to what was given back would take memory for it.
            for word in self.words(at, 0, bytes / 4) {
                if word.load(Relaxed) != 0 {
                    word.store(0, Relaxed);
                }
            }
            return Some(at);
        }
        let mut used = self.used().load(Relaxed);
        loop {
            let at = usize::try_from(used).ok()?.max(RESERVED * UNIT);
            let end = at.checked_add(bytes).filter(|end| *end <= self.bytes)?;
            if let Block::Shared(ground) = &self.block
                && let Err(error) = ground.back_heap(end)
            {
                tracing::debug!("no memory for series: {error}");
                return None;
            }
            match self.used().compare_exchange_weak(used, end as u64, Relaxed, Relaxed) {
                Ok(_) => {
                    step();
                    return u32::try_from(at / UNIT).ok();
                }
                Err(now) => used = now,
            }
        }
    }

    fn free(&self) -> MutexGuard<'_, Free> {
        let mut free = self.free.lock();
        let process = platform::process_id();
        if free.process != process && matches!(self.block, Block::Shared(_)) {
            free.pieces.clear();
        }
        free.process = process;
        free
    }

    /// Takes a piece of so many bytes back; nobody may use it any more.
    pub(crate) fn release(&self, at: At, bytes: usize) {
        // Slots that were outgrown would otherwise keep as much memory as those that replaced them.
        if let Block::Own(mapping) = &self.block
            && let Err(error) = mapping.give_back(at as usize * UNIT, bytes)
        {
            tracing::debug!("memory of series that are gone is kept: {error}");
        }
        self.free().pieces.entry(rounded(bytes)).or_default().push(at);
    }

    /// Where it lies, to be kept in registers while pieces are read.
    #[inline]
    pub(crate) fn view(&self) -> View<'_> {
        View { base: self.base.0, bytes: self.bytes, heap: PhantomData }
    }

    /// As [`View::words`].
    #[inline]
    pub(crate) fn words(&self, at: At, first: usize, count: usize) -> &[AtomicU32] {
        self.view().words(at, first, count)
    }

    /// As [`View::bytes`].
    pub(crate) fn bytes(&self, at: At, first: usize, count: usize) -> &[u8] {
        self.view().bytes(at, first, count)
    }

    /// Writes bytes into a piece that only the caller knows yet, from the word at `first` on.
    pub(crate) fn fill(&self, at: At, first: usize, bytes: &[u8]) {
        let start = at as usize * UNIT + first * 4;
        if let Some(start) = self.view().inside(start, bytes.len()) {
            // SAFETY: inside the mapping, and no other thread knows the piece.
            // Test: table equals_a_plain_map.
            unsafe { start.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
    }
}

/// A heap's pieces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    base: NonNull<u8>,
    bytes: usize,
    heap: PhantomData<&'a Heap>,
}

impl<'a> View<'a> {
    /// Words of a piece, from the one at `first` on; none where that is outside.
    #[inline]
    pub(crate) fn words(self, at: At, first: usize, count: usize) -> &'a [AtomicU32] {
        let start = at as usize * UNIT + first * 4;
        let Some(start) = self.inside(start, count.saturating_mul(4)) else { return &[] };
        // SAFETY: inside the mapping, which lives as long as the heap; aligned to 4; zeroed at
        // first. Words that anybody writes are only ever accessed atomically; texts are written
        // before they are published. Test: table equals_a_plain_map.
        unsafe { slice::from_raw_parts(start.cast().as_ptr(), count) }
    }

    /// Bytes of a piece that was filled by [`Heap::fill`], from the word at `first` on.
    #[inline]
    pub(crate) fn bytes(self, at: At, first: usize, count: usize) -> &'a [u8] {
        let Some(start) = self.inside(at as usize * UNIT + first * 4, count) else { return &[] };
        // SAFETY: inside the mapping; nobody writes a text after it was published, and its piece
        // is used again only after a grace. Test: table equals_a_plain_map.
        unsafe { slice::from_raw_parts(start.as_ptr(), count) }
    }

    /// Whether a piece begins with words of which one is a text's length, followed by that text: this
    /// one. A text under eight bytes has zeros behind it, up to eight.
    #[inline(always)]
    pub(crate) fn holds(
        self,
        at: At,
        (words, length_at): (usize, usize),
        text: &Words<'_>,
    ) -> bool {
        let (length, start) = (text.len(), at as usize * UNIT);
        // No sum overflows: the length of a slice is at most isize::MAX.
        if start + words * 4 + length.max(8) > self.bytes || length_at >= words {
            return false;
        }
        // SAFETY: just checked.
        let start = unsafe { self.base.add(start) };
        // SAFETY: just checked.
        let known = unsafe { start.cast::<AtomicU32>().add(length_at) };
        // SAFETY: inside, and as in `words`.
        if unsafe { known.as_ref() }.load(Relaxed) as usize != length {
            return false;
        }
        // SAFETY: just checked.
        let first = unsafe { start.add(words * 4) };
        let word = |at: usize| {
            // SAFETY: `is` reads the text only, which is inside, as its first eight bytes are.
            let word = unsafe { first.add(at) };
            // SAFETY: as in `bytes`. What is no text is only compared with one, and then dropped.
            unsafe { word.cast::<u64>().read_unaligned() }
        };
        // SAFETY: as above.
        text.is(word, || unsafe { slice::from_raw_parts(first.as_ptr(), length) })
    }

    #[inline]
    fn inside(self, start: usize, bytes: usize) -> Option<NonNull<u8>> {
        if start.checked_add(bytes)? > self.bytes {
            return None;
        }
        // SAFETY: just checked.
        Some(unsafe { self.base.add(start) })
    }
}

/// Sizes of pieces, so that a returned one fits another text: eight to a doubling.
fn rounded(bytes: usize) -> usize {
    let step = (bytes.next_power_of_two() / 16).max(UNIT);
    bytes.max(1).next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn pieces_are_reused_zeroed_and_never_overlap() {
        let heap = Heap::private().unwrap();
        let mut ends = 0;
        for bytes in 1..2000 {
            let at = heap.allocate(bytes).unwrap() as usize * UNIT;
            assert!(at >= ends && at > 0, "{bytes}");
            ends = at + bytes;
        }
        let at = heap.allocate(5000).unwrap();
        heap.fill(at, 0, &[7; 5000]);
        heap.release(at, 5000);
        assert_eq!(heap.allocate(5000), Some(at));
        assert!(heap.words(at, 0, 1250).iter().all(|word| word.load(Relaxed) == 0));
    }

    #[test]
    fn a_text_is_compared_where_it_lies_and_nowhere_else() {
        let heap = Heap::private().unwrap();
        let texts = [
            "",
            "GET",
            "/a/path",
            "eight by",
            "sixteen bytes ..",
            "a text of 33 bytes, with its end.",
        ];
        let kept: Vec<At> = texts
            .iter()
            .map(|text| {
                let at = heap.allocate(8 + text.len().max(8)).unwrap();
                heap.words(at, 1, 1)[0].store(text.len() as u32, Relaxed);
                heap.fill(at, 2, text.as_bytes());
                at
            })
            .collect();
        for (at, one) in kept.iter().zip(texts) {
            for other in texts {
                let held = heap.view().holds(*at, (2, 1), &Words::of(other));
                assert_eq!(held, one == other, "{one:?} {other:?}");
            }
        }
        assert!(!heap.view().holds(u32::MAX, (2, 1), &Words::of("GET")));
        assert!(!heap.view().holds(kept[0], (2, 2), &Words::of("")));
    }

    #[test]
    fn an_offset_outside_gives_nothing() {
        let heap = Heap::private().unwrap();
        assert!(heap.words(u32::MAX, 0, 1).is_empty());
        assert!(heap.words(1, usize::MAX / 8, 1).is_empty());
        assert!(heap.words(1, 0, usize::MAX).is_empty());
        assert!(heap.bytes(1, 0, usize::MAX / 2).is_empty());
        heap.fill(u32::MAX, 0, &[1]);
    }
}
