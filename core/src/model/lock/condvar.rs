//! Waiting for a change of what a [`Mutex`](super::Mutex) guards.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    time::Instant,
};

use super::MutexGuard;
use crate::model::platform::futex::{wait_on, wake_all, wake_one};

/// Waits and wakes up, with the lock held before and after. What is waited for changes under the
/// lock; a thread that waits is outside the gate.
#[derive(Debug, Default)]
pub struct Condvar {
    /// Changes with every notification.
    turn: AtomicU32,
    /// Threads that wait; changes under the lock, so who changed something under it sees them.
    waiting: AtomicU32,
}

impl Condvar {
    /// Nobody waits.
    #[must_use]
    pub const fn new() -> Self {
        Self { turn: AtomicU32::new(0), waiting: AtomicU32::new(0) }
    }

    /// Waits for a notification; wakes up for no reason too.
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.wait_for(guard, None);
    }

    /// As [`Condvar::wait`], up to a time; true when it is over.
    pub fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, until: Instant) -> bool {
        self.wait_for(guard, Some(until));
        Instant::now() >= until
    }

    /// Waits while `going_on`, up to a time; true when it went on till then.
    pub fn wait_while_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut going_on: impl FnMut(&mut T) -> bool,
        until: Instant,
    ) -> bool {
        while going_on(guard) {
            if self.wait_until(guard, until) {
                return going_on(guard);
            }
        }
        false
    }

    fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, until: Option<Instant>) {
        self.waiting.fetch_add(1, Relaxed);
        // Read under the lock: a notification that comes after changes it.
        let turn = self.turn.load(Relaxed);
        MutexGuard::unlocked(guard, || wait_on(&self.turn, turn, until));
        self.waiting.fetch_sub(1, Relaxed);
    }

    /// Wakes one up. After a change under the lock.
    pub fn notify_one(&self) {
        if self.waiting.load(Relaxed) > 0 {
            self.turn.fetch_add(1, Relaxed);
            wake_one(&self.turn);
        }
    }

    /// Wakes all up. After a change under the lock.
    pub fn notify_all(&self) {
        if self.waiting.load(Relaxed) > 0 {
            self.turn.fetch_add(1, Relaxed);
            wake_all(&self.turn);
        }
    }
}
