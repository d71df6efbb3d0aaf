//! Gauges: a value of each process's own, {f64, when it was set}.
//!
//! What a process set counts while the process is there. A handle writes the cell of the process
//! that uses it, so a forked child does not touch its parent's. The time is that of the last set where
//! the family's mode is `last`, else 1; 0 where nobody set it.

use std::{
    ptr::NonNull,
    sync::atomic::{
        AtomicU32, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use super::{
    Arena,
    ground::{GAUGE_PLANE_BYTES, GAUGE_PLANE_SHIFT, Ground, Word},
    members::Membership,
    shared,
};
use crate::{
    metrics::family::MODE_SHIFT,
    model::{GaugeMode, platform},
};

/// The first word of the family of a gauge whose record is damaged.
static NO_FAMILY: AtomicU32 = AtomicU32::new(0);

/// A gauge: this process's value, and those of all.
///
/// A copyable view, valid as long as the arena that it came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GaugeCell {
    /// Its words in the first process's plane.
    first: NonNull<AtomicU64>,
    /// The first word of its family's record, which says the mode.
    what: NonNull<AtomicU32>,
    arena: NonNull<Arena>,
}

// SAFETY: words are only ever accessed atomically, and the arena is Sync; who holds a cell keeps the
// arena. Test: a_handle_outlives_its_engine.
unsafe impl Send for GaugeCell {}
// SAFETY: as above.
unsafe impl Sync for GaugeCell {}

/// A word of a process's gauges.
pub(super) fn word(ground: &Ground, place: usize, offset: usize) -> &AtomicU64 {
    let place = place.min(ground.members() - 1);
    let offset = offset.min(GAUGE_PLANE_BYTES - 8) / 8 * 8;
    // SAFETY: inside that process's plane. Test: a_child_takes_a_place_of_its_own.
    let word = unsafe { ground.gauges().add((place << GAUGE_PLANE_SHIFT) + offset) };
    // SAFETY: inside the mapping, aligned to 8, only ever accessed atomically.
    unsafe { word.cast::<AtomicU64>().as_ref() }
}

impl Arena {
    /// The gauge at an offset of a run of gauges; `what` is the first word of its family's record, in
    /// this arena.
    #[inline]
    pub(crate) fn gauge(&self, offset: usize, what: Option<&AtomicU32>) -> GaugeCell {
        let offset = offset.min(GAUGE_PLANE_BYTES - 16);
        // SAFETY: inside the first plane, whatever the offset.
        let first = unsafe { self.ground.gauges().add(offset) };
        let what = NonNull::from(what.unwrap_or(&NO_FAMILY));
        GaugeCell { first: first.cast(), what, arena: NonNull::from(self) }
    }
}

impl GaugeCell {
    /// Bytes to allocate.
    pub(crate) const BYTES: usize = 16;

    fn membership(&self) -> &Membership {
        // SAFETY: who holds the cell keeps the arena, which does not move: it is in an `Arc`.
        // Test: a_handle_outlives_its_engine.
        unsafe { &self.arena.as_ref().membership }
    }

    /// A word in the plane of a place.
    #[inline]
    fn word(&self, place: usize, index: usize) -> &AtomicU64 {
        // SAFETY: `place` is that of a process in the arena, which has a plane for each.
        let word = unsafe { self.first.byte_add((place << GAUGE_PLANE_SHIFT) + index * 8) };
        // SAFETY: inside the mapping, aligned to 8, only ever accessed atomically.
        // Test: a_child_takes_a_place_of_its_own.
        unsafe { word.as_ref() }
    }

    #[inline]
    pub(crate) fn set(&self, value: f64) {
        let place = self.membership().place();
        self.word(place, 0).store(value.to_bits(), Relaxed);
        self.mark(place);
    }

    #[inline]
    pub(crate) fn add(&self, amount: f64) {
        let place = self.membership().place();
        shared::add_f64(self.word(place, 0), amount);
        self.mark(place);
    }

    #[inline]
    fn mark(&self, place: usize) {
        // SAFETY: a word of the arena's heap, which who holds the cell keeps, or a static.
        // Test: a_handle_outlives_its_engine.
        let what = unsafe { self.what.as_ref() }.load(Relaxed);
        if what >> MODE_SHIFT == GaugeMode::Last as u32 {
            self.mark_time(place);
        } else if self.word(place, 1).load(Relaxed) == 0 {
            self.mark_first(place, 1);
        }
    }

    /// Notes when it was set, after the value: who sees the time sees it or a later one.
    #[inline(never)]
    fn mark_time(&self, place: usize) {
        let now = platform::uptime_ns().max(1);
        if self.word(place, 1).load(Relaxed) == 0 {
            self.mark_first(place, now);
        } else {
            self.word(place, 1).store(now, Release);
        }
    }

    #[cold]
    fn mark_first(&self, place: usize, time: u64) {
        self.word(place, 1).store(time, Release);
        // SAFETY: as in `membership`.
        let ground = unsafe { &self.arena.as_ref().ground };
        if ground.members() > 1 {
            // One more process has a value: snapshots show it.
            ground.word(Word::Generation).fetch_add(1, Relaxed);
        }
    }

    /// This process's value.
    pub(crate) fn read(&self) -> f64 {
        self.read_at(self.membership().place()).unwrap_or_default()
    }

    /// The value of the process at a place, if it set one.
    pub(crate) fn read_at(&self, place: usize) -> Option<f64> {
        self.read_with_time(place).map(|(value, _)| value)
    }

    /// The value of the process at a place, if it set one, and when.
    pub(crate) fn read_with_time(&self, place: usize) -> Option<(f64, u64)> {
        let set = self.word(place, 1).load(Acquire);
        (set != 0).then(|| (f64::from_bits(self.word(place, 0).load(Relaxed)), set))
    }

    /// The value of whichever process set one; this one's first.
    pub(crate) fn read_any(&self) -> Option<f64> {
        self.read_at(self.membership().place()).or_else(|| {
            let members = self.membership().present();
            members.iter().find_map(|member| self.read_at(member.place))
        })
    }

    /// Forgets the value, for a gauge that no handle can reach any more; alone in the arena.
    pub(crate) fn zero(&self) {
        // SAFETY: as in `membership`.
        let members = unsafe { self.arena.as_ref().ground.members() };
        // Of the others nothing is left.
        for place in [self.membership().place(), members - 1] {
            for index in 0..2 {
                let word = self.word(place, index);
                if word.load(Relaxed) != 0 {
                    word.store(0, Relaxed);
                }
            }
        }
    }
}
