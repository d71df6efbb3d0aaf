//! Locks that a forked child can meet.
//!
//! - [`Mutex`]: for what is held for a short time and calls nobody's code. It is inside the gate
//!   ([`super::gate`]), so a fork finds it free and what it guards whole.
//! - [`LongMutex`], [`LongRwLock`]: held for as long as a call of foreign code takes. A fork does not
//!   wait for them, and a child does not use what they guard.
//! - [`TurnLock`]: as those, guards nothing, and is free in a child.
//!
//! None of them keeps a queue in memory: waiters of a vanished thread's lock would be in it.

mod condvar;
mod raw;
mod sync;
#[cfg(test)]
mod tests;
mod word;

pub use condvar::Condvar;
use raw::{Long, Raw, RawShared, Renewed, Short};

/// A short lock, which a fork waits for. Waiting for anything while it is held delays forks.
pub type Mutex<T> = lock_api::Mutex<Raw<Short>, T>;
/// Holds a [`Mutex`].
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, Raw<Short>, T>;
/// A lock that may be held for long. A forked child must not need it.
pub type LongMutex<T> = lock_api::Mutex<Raw<Long>, T>;
/// Holds a [`LongMutex`].
pub type LongMutexGuard<'a, T> = lock_api::MutexGuard<'a, Raw<Long>, T>;
/// A lock for readers that may hold it for long, or one writer. A forked child must not wait for it.
pub type LongRwLock<T> = lock_api::RwLock<RawShared, T>;

/// Whose turn it is. One that another process's thread has is free.
#[derive(Debug, Default)]
pub struct TurnLock(lock_api::Mutex<Raw<Renewed>, ()>);

/// Holds a [`TurnLock`].
pub type TurnGuard<'a> = lock_api::MutexGuard<'a, Raw<Renewed>, ()>;

impl TurnLock {
    /// Waits for the turn.
    pub fn lock(&self) -> TurnGuard<'_> {
        self.0.lock()
    }

    /// Takes the turn if nobody has it.
    pub fn try_lock(&self) -> Option<TurnGuard<'_>> {
        self.0.try_lock()
    }
}
