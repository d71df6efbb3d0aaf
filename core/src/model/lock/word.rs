//! The word of a lock: free, held, or held and waited for; and by which process.
//!
//! Waiters sleep in the kernel on the word itself and are noted nowhere else: not in memory that a
//! forked child would find with the waiters gone, as the queues of other locks are. The tag is the
//! holder's fork generation, which tells a lock whose holder a fork left behind.
//!
//! This file has no unsafe code; core/tests/lock_model.rs runs it under loom.

use std::time::Instant;

use super::sync::{AtomicU32, Ordering, wait_on, wake_all, wake_one};
use Ordering::{Acquire, Relaxed, Release};

const FREE: u32 = 0;
const HELD: u32 = 1;
const WAITED: u32 = 2;
const TAG_SHIFT: u32 = 2;

/// The word of a mutex.
#[derive(Debug)]
pub(crate) struct Word(pub(crate) AtomicU32);

impl Word {
    /// Takes it if it is free.
    #[inline]
    pub(crate) fn take(&self, tag: u32) -> bool {
        self.0.compare_exchange(FREE, tag << TAG_SHIFT | HELD, Acquire, Relaxed).is_ok()
    }

    /// Takes it if it is free; for one who waited, because others may wait still.
    pub(crate) fn take_after_wait(&self, tag: u32) -> bool {
        let taken = tag << TAG_SHIFT | HELD | WAITED;
        self.0.compare_exchange(FREE, taken, Acquire, Relaxed).is_ok()
    }

    /// Takes it from a holder with another tag.
    pub(crate) fn take_from_another(&self, tag: u32) -> bool {
        let word = self.0.load(Relaxed);
        let taken = tag << TAG_SHIFT | HELD | WAITED;
        is_of_another(word, tag) && self.0.compare_exchange(word, taken, Acquire, Relaxed).is_ok()
    }

    /// Whether it is held by somebody with another tag.
    pub(crate) fn is_of_another(&self, tag: u32) -> bool {
        is_of_another(self.0.load(Relaxed), tag)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.0.load(Relaxed) != FREE
    }

    /// Gives it back.
    #[inline]
    pub(crate) fn give_back(&self) {
        if self.0.swap(FREE, Release) & WAITED != 0 {
            wake_one(&self.0);
        }
    }

    /// Waits until it was given back, or for no reason, or until the time is over.
    pub(crate) fn wait(&self, until: Option<Instant>) {
        let word = self.0.load(Relaxed);
        if word == FREE {
            return;
        }
        let waited = word | WAITED;
        if word == waited || self.0.compare_exchange(word, waited, Relaxed, Relaxed).is_ok() {
            wait_on(&self.0, waited, until);
        }
    }

    /// Waits no more, without having it: a wake-up that this one may have had goes to another.
    pub(crate) fn give_up(&self) {
        wake_one(&self.0);
    }
}

fn is_of_another(word: u32, tag: u32) -> bool {
    word & HELD != 0 && word >> TAG_SHIFT != tag & (u32::MAX >> TAG_SHIFT)
}

const WRITER: u32 = 1 << 31;
const WRITER_WAITS: u32 = 1 << 30;
const READERS: u32 = WRITER_WAITS - 1;

/// The word of a lock with many readers or one writer. Writers wait for readers; new readers do not
/// wait for writers that wait.
#[derive(Debug)]
pub(crate) struct SharedWord(pub(crate) AtomicU32);

impl SharedWord {
    #[inline]
    pub(crate) fn try_share(&self) -> bool {
        let mut word = self.0.load(Relaxed);
        while word & WRITER == 0 && word & READERS != READERS {
            match self.0.compare_exchange_weak(word, word + 1, Acquire, Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    #[inline]
    pub(crate) fn unshare(&self) {
        let before = self.0.fetch_sub(1, Release);
        if before & WRITER_WAITS != 0 && before & READERS == 1 {
            wake_all(&self.0);
        }
    }

    pub(crate) fn try_take(&self) -> bool {
        let word = self.0.load(Relaxed);
        word & (WRITER | READERS) == 0
            && self.0.compare_exchange(word, word | WRITER, Acquire, Relaxed).is_ok()
    }

    pub(crate) fn give_back(&self) {
        if self.0.swap(0, Release) & WRITER_WAITS != 0 {
            wake_all(&self.0);
        }
    }

    /// Waits until it may be free.
    pub(crate) fn wait(&self) {
        let word = self.0.load(Relaxed);
        if word & (WRITER | READERS) == 0 {
            return;
        }
        let waited = word | WRITER_WAITS;
        if word == waited || self.0.compare_exchange(word, waited, Relaxed, Relaxed).is_ok() {
            wait_on(&self.0, waited, None);
        }
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Relaxed) & WRITER != 0
    }

    pub(crate) fn is_used(&self) -> bool {
        self.0.load(Relaxed) & (WRITER | READERS) != 0
    }
}
