//! The life of a row in one word: whether it is a series, and when it was last looked up. Who holds
//! it stands in a second word, which each process has for itself.
//!
//! ```text
//! FREE ──make──► LIVE ──remove──► GONE ──grace, no pin──► FREE
//!                 │ ▲              ▲
//!                 │ └─look up──┐   │ still fading after a grace
//!                 └──sweeps──► LIVE+FADING
//! ```
//!
//! Every change is one exchange of the whole word, so of a lookup and a removal, or of a lookup and
//! an expiry, one comes first. Who looks a row up does so in a section of [`crate::model::grace`],
//! and pins it in the section in which it found it live. So who takes a row out and then lets a
//! grace pass finds every pin that was got; a row's memory is used again only without any.
//!
//! No unsafe code, no global state; tests/table_model.rs runs it under loom.

use super::sync::{AtomicU32, Ordering};
use Ordering::{AcqRel, Acquire, Relaxed, Release};

const PHASE: u32 = 0b11;
const LIVE: u32 = 0b01;
const GONE: u32 = 0b10;
/// Looked up since the last sweep.
const TOUCHED: u32 = 1 << 2;
/// Idle for long enough; goes unless it is looked up within a grace.
const FADING: u32 = 1 << 3;
/// Sweeps that found it untouched.
const IDLE_ONE: u32 = 1 << 4;
const IDLE: u32 = 0b1111 << 4;

/// Sweeps after the one that found it touched, up to the one at which a row fades.
pub(crate) const IDLE_SWEEPS: u32 = 8;

/// What a sweep found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swept {
    /// It stays.
    Kept,
    /// It is fading: take it out after a grace, unless somebody looks it up.
    Fading,
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// No series yet, or no more.
    Free,
    Live,
    /// Taken out; its memory waits.
    Gone,
}

/// Makes a free row a series; its other words were written before.
pub(crate) fn make(state: &AtomicU32) {
    state.store(LIVE | TOUCHED, Release);
}

/// What the row is now.
pub(crate) fn phase(state: &AtomicU32) -> Phase {
    match state.load(Acquire) & PHASE {
        LIVE => Phase::Live,
        GONE => Phase::Gone,
        _ => Phase::Free,
    }
}

/// Whether it is a series.
#[inline]
pub(crate) fn is_live(state: &AtomicU32) -> bool {
    state.load(Acquire) & PHASE == LIVE
}

/// Marks a series as looked up; false when it is none any more. In a section.
///
/// An add that follows in the same section counts in this series.
#[inline]
pub(crate) fn touch(state: &AtomicU32) -> bool {
    let word = state.load(Acquire);
    // Of most lookups the first between two sweeps writes.
    word & (PHASE | TOUCHED | FADING) == LIVE | TOUCHED || touch_first(state)
}

#[cold]
fn touch_first(state: &AtomicU32) -> bool {
    update(state, |word| (word & PHASE == LIVE).then_some(word & !FADING | TOUCHED)).is_some()
}

/// Pins a row for a handle: one that was just touched, in the section or under the lock in which it
/// was; or one that is pinned already, whatever became of the series.
pub(crate) fn pin(pins: &AtomicU32) {
    pins.fetch_add(1, AcqRel);
}

/// Lets a pin go. A series counts as looked up until then.
pub(crate) fn unpin(state: &AtomicU32, pins: &AtomicU32) {
    touch(state);
    pins.fetch_sub(1, AcqRel);
}

/// Whether nobody holds the row: for one that was taken out, after a grace.
pub(crate) fn is_unpinned(pins: &AtomicU32) -> bool {
    pins.load(Acquire) == 0
}

/// Takes a series out. False when it is none any more.
pub(crate) fn remove(state: &AtomicU32) -> bool {
    update(state, |word| (word & PHASE == LIVE).then_some(GONE)).is_some()
}

/// Counts a sweep. Only one thread sweeps a row at a time.
pub(crate) fn sweep(state: &AtomicU32, pins: &AtomicU32) -> Swept {
    let held = !is_unpinned(pins);
    let after = |word: u32| {
        if word & PHASE != LIVE || word & FADING != 0 {
            word
        } else if word & TOUCHED != 0 || held {
            word & !(TOUCHED | IDLE)
        } else if word & IDLE < (IDLE_SWEEPS - 1) * IDLE_ONE {
            word + IDLE_ONE
        } else {
            word | FADING
        }
    };
    let before = update(state, |word| Some(after(word))).map_or(0, after);
    if before & PHASE == LIVE && before & FADING != 0 { Swept::Fading } else { Swept::Kept }
}

/// Takes a fading series out, after a grace; false when somebody looked it up or holds it.
pub(crate) fn expire(state: &AtomicU32, pins: &AtomicU32) -> bool {
    // Who pins it later finds it taken out, or touches it before.
    is_unpinned(pins)
        && update(state, |word| {
            (word & (PHASE | TOUCHED | FADING) == LIVE | FADING).then_some(GONE)
        })
        .is_some()
}

/// Makes a row free, after a grace and without pins.
pub(crate) fn free(state: &AtomicU32) {
    state.store(0, Release);
}

/// Changes the word as `f` says; the word before, `None` when `f` refuses.
fn update(state: &AtomicU32, f: impl Fn(u32) -> Option<u32>) -> Option<u32> {
    let mut word = state.load(Relaxed);
    loop {
        match state.compare_exchange(word, f(word)?, AcqRel, Acquire) {
            Ok(before) => return Some(before),
            Err(now) => word = now,
        }
    }
}
