//! The life of a row in one word: whether it is a series, who holds it, when it was last looked up.
//!
//! ```text
//! FREE ──make──► LIVE ──remove──► GONE ──grace, no pin──► FREE
//!                 │ ▲              ▲
//!                 │ └─look up──┐   │ still fading after a grace
//!                 └──sweeps──► LIVE+FADING
//! ```
//!
//! Every change is one exchange of the whole word, so of a lookup and a removal, or of a lookup and
//! an expiry, one comes first. Who looks a row up without pinning it does so in a section of
//! [`crate::model::grace`]; a row's memory is used again only after a grace, without pins.
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
const PIN: u32 = 1 << 8;
const PINS: u32 = !0xff;

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

/// Makes a free row a series with one pin, or none; its other words were written before.
pub(crate) fn make(state: &AtomicU32, pinned: bool) {
    state.store(LIVE | TOUCHED | if pinned { PIN } else { 0 }, Release);
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

/// Pins a series for a handle; false when it is none any more. In a section, or with a pin held.
pub(crate) fn pin(state: &AtomicU32) -> bool {
    update(state, |word| (word & PHASE == LIVE).then(|| pinned(word) & !FADING | TOUCHED)).is_some()
}

/// One more pin beside one that is held, whatever became of the series.
pub(crate) fn pin_again(state: &AtomicU32) {
    update(state, |word| Some(pinned(word)));
}

/// With one more pin; past 16 Mi there are so many that they count for ever.
fn pinned(word: u32) -> u32 {
    if word & PINS == PINS { word } else { word + PIN }
}

/// Lets a pin go. True when that was the last of a row that is gone: its memory waits for a grace.
pub(crate) fn unpin(state: &AtomicU32) -> bool {
    let before = update(state, |word| match word & PINS {
        PINS | 0 => None,
        _ => Some((word - PIN) | if word & PHASE == LIVE { TOUCHED } else { 0 }),
    });
    before.is_some_and(|word| word & PHASE == GONE && word & PINS == PIN)
}

/// Takes a series out. `None` when it is none any more; else whether its memory waits for a grace
/// only, and not for pins.
pub(crate) fn remove(state: &AtomicU32) -> Option<bool> {
    let before = update(state, |word| (word & PHASE == LIVE).then_some(word & PINS | GONE))?;
    Some(before & PINS == 0)
}

/// Counts a sweep. Only one thread sweeps a row at a time.
pub(crate) fn sweep(state: &AtomicU32) -> Swept {
    let after = |word: u32| {
        if word & PHASE != LIVE || word & FADING != 0 {
            word
        } else if word & TOUCHED != 0 || word & PINS != 0 {
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

/// Takes a fading series out, after a grace; false when somebody looked it up.
pub(crate) fn expire(state: &AtomicU32) -> bool {
    let fading = |word: u32| {
        let untouched = word & (PHASE | TOUCHED | FADING | PINS) == LIVE | FADING;
        untouched.then_some(GONE)
    };
    update(state, fading).is_some()
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
