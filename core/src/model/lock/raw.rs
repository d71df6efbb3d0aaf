//! The words of [`super::word`] as raw locks of `lock_api`.

use std::{
    marker::PhantomData,
    time::{Duration, Instant},
};

use lock_api::{GuardNoSend, RawMutex, RawMutexTimed, RawRwLock};

use super::{
    sync::AtomicU32,
    word::{SharedWord, Word},
};
use crate::model::{fork, gate};

/// Looks at a held lock before a thread sleeps.
const SPINS: u32 = 60;

/// What kind of lock it is.
pub trait Kind {
    /// A holder is inside the gate.
    const GATED: bool;
    /// What a thread holds that a fork left behind is free.
    const RENEWED: bool;
}

/// Held for a short time, and whole at every fork.
#[derive(Debug)]
pub enum Short {}
/// Held for as long as it takes; a forked child does not look at what it guards.
#[derive(Debug)]
pub enum Long {}
/// As [`Long`], guards nothing, and is free in a forked child.
#[derive(Debug)]
pub enum Renewed {}

impl Kind for Short {
    const GATED: bool = true;
    const RENEWED: bool = false;
}

impl Kind for Long {
    const GATED: bool = false;
    const RENEWED: bool = false;
}

impl Kind for Renewed {
    const GATED: bool = false;
    const RENEWED: bool = true;
}

/// A mutex without what it guards.
#[derive(Debug)]
pub struct Raw<K> {
    word: Word,
    kind: PhantomData<K>,
}

impl<K: Kind> Raw<K> {
    #[inline]
    fn enter() {
        if K::GATED {
            gate::enter();
        } else {
            fork::notice();
        }
    }

    #[inline]
    fn leave() {
        if K::GATED {
            gate::leave();
        }
    }

    /// From inside the gate to inside the gate, or to its outside when the time is over.
    #[cold]
    fn take_later(&self, until: Option<Instant>) -> bool {
        for _ in 0..SPINS {
            std::hint::spin_loop();
            if self.word.take(fork::tag()) {
                return true;
            }
        }
        let mut left_behind: Option<Instant> = None;
        loop {
            // Who waits is outside: a fork waits for those only that have a lock.
            Self::leave();
            let stale = self.word.is_of_another(fork::tag());
            // Or by the very thread that forked, which goes on in the child.
            let patience =
                stale.then(|| *left_behind.get_or_insert_with(|| Instant::now() + gate::PATIENCE));
            if !(stale && K::RENEWED) {
                self.word.wait(match (until, patience) {
                    (Some(until), Some(patience)) => Some(until.min(patience)),
                    (until, patience) => until.or(patience),
                });
            }
            Self::enter();
            let tag = fork::tag();
            if self.word.take_after_wait(tag) || K::RENEWED && self.word.take_from_another(tag) {
                return true;
            }
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                self.word.give_up();
                Self::leave();
                return false;
            }
            if patience.is_some_and(|patience| now >= patience) {
                Self::leave();
                held_by_nobody();
            }
        }
    }
}

/// Ends a call that would wait for ever.
#[cold]
#[expect(
    clippy::panic,
    reason = "there is no answer but one that the C boundary makes an error of"
)]
fn held_by_nobody() -> ! {
    panic!(
        "a lock is held by a thread that a fork left behind: the process was forked past the fork \
         handlers, or they waited in vain (docs/FORK.md)"
    );
}

// SAFETY: `Word::take*` lets one thread through until `give_back`, with Acquire and Release; what is
// taken from a thread that a fork left behind was held by nobody who runs. Test: lock_model.
unsafe impl<K: Kind> RawMutex for Raw<K> {
    const INIT: Self = Self { word: Word(AtomicU32::new(0)), kind: PhantomData };
    /// The gate is left by the thread that entered it.
    type Guard = GuardNoSend;

    #[inline]
    fn lock(&self) -> GuardNoSend {
        Self::enter();
        if !self.word.take(fork::tag()) {
            self.take_later(None);
        }
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardNoSend> {
        Self::enter();
        let taken = self.word.take(fork::tag());
        if !taken {
            Self::leave();
        }
        taken.then(GuardNoSend::new)
    }

    #[inline]
    unsafe fn unlock(&self, _guard: GuardNoSend) {
        self.word.give_back();
        Self::leave();
    }

    fn is_locked(&self) -> bool {
        self.word.is_held()
    }
}

// SAFETY: as above.
unsafe impl<K: Kind> RawMutexTimed for Raw<K> {
    type Duration = Duration;
    type Instant = Instant;

    fn try_lock_for(&self, timeout: Duration) -> Option<GuardNoSend> {
        match Instant::now().checked_add(timeout) {
            Some(until) => self.try_lock_until(until),
            None => Some(self.lock()),
        }
    }

    fn try_lock_until(&self, until: Instant) -> Option<GuardNoSend> {
        Self::enter();
        let taken = self.word.take(fork::tag()) || self.take_later(Some(until));
        taken.then(GuardNoSend::new)
    }
}

/// A lock for many readers or one writer, without what it guards. Not gated.
#[derive(Debug)]
pub struct RawShared(SharedWord);

// SAFETY: `SharedWord` lets one writer or any number of readers through, with Acquire and Release.
// Test: lock_model.
unsafe impl RawRwLock for RawShared {
    const INIT: Self = Self(SharedWord(AtomicU32::new(0)));
    type SharedGuard = GuardNoSend;
    type ExclusiveGuard = GuardNoSend;

    fn lock_shared(&self) -> GuardNoSend {
        while !self.0.try_share() {
            self.0.wait();
        }
        GuardNoSend::new()
    }

    #[inline]
    fn try_lock_shared(&self) -> Option<GuardNoSend> {
        self.0.try_share().then(GuardNoSend::new)
    }

    #[inline]
    unsafe fn unlock_shared(&self, _guard: GuardNoSend) {
        self.0.unshare();
    }

    fn lock_exclusive(&self) -> GuardNoSend {
        while !self.0.try_take() {
            self.0.wait();
        }
        GuardNoSend::new()
    }

    fn try_lock_exclusive(&self) -> Option<GuardNoSend> {
        self.0.try_take().then(GuardNoSend::new)
    }

    unsafe fn unlock_exclusive(&self, _guard: GuardNoSend) {
        self.0.give_back();
    }

    fn is_locked(&self) -> bool {
        self.0.is_used()
    }

    fn is_locked_exclusive(&self) -> bool {
        self.0.is_taken()
    }
}
