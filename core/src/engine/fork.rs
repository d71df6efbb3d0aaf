//! Forks, for hosts that know better than the C library when one comes.
//!
//! Nothing here is needed where the process forks with `fork`: the C library calls handlers of the
//! engine around it. What a child may do, however it was made, says docs/FORK.md.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

pub use crate::model::gate::Forks;
use crate::model::{
    fork,
    gate::{self, PATIENCE},
};

/// Says that this thread is about to fork: waits, two seconds at most, until no other thread has a
/// lock of an engine, and keeps them out until it is said that the fork is over.
///
/// Idempotent with what happens by itself.
pub fn before_fork() {
    fork::before();
}

/// Says in the parent that the fork is over, or failed. Idempotent.
pub fn after_fork_parent() {
    fork::after_in_parent();
}

/// Says in the child that it is one, before it uses an engine in another way. Idempotent.
pub fn after_fork_child() {
    fork::after_in_child();
}

/// What became of the forks of this process and of those that it descends from.
#[must_use]
pub fn forks() -> Forks {
    gate::forks()
}

/// Says in the log what went wrong around forks since the last time: there it could not be said.
pub(super) fn tell() {
    static TOLD: AtomicU64 = AtomicU64::new(0);
    let forks = gate::forks();
    let wrong = forks.late + u64::from(forks.reopened);
    if TOLD.swap(wrong, Relaxed) < wrong {
        tracing::warn!(
            late = forks.late,
            reopened = forks.reopened,
            "a fork did not wait until no other thread had a lock (it waits {PATIENCE:?}), or was \
             announced and never ended: a child may answer PANIC where such a lock is needed, and \
             UNSUPPORTED where it shares through SQLite"
        );
    }
}
