//! The gate without its surroundings: who is inside, and who has it closed.
//!
//! A thread that goes in announces itself, then looks whether the gate is closed: if it is, it
//! withdraws and asks again later. Who closes it says so, makes every CPU pass a barrier, and waits
//! until every announcement but its own is withdrawn. So of one who goes in and one who closes at
//! the same time at least one sees the other, and once the closer has seen everybody out, nobody
//! is inside before it opens the gate again. As in [`super::readers`], a barrier of the closer's
//! spares the others a fence.
//!
//! Nobody queues: who finds the gate closed is nowhere noted, so a forked child inherits no waiter.
//!
//! This file has no unsafe code and no global state; core/tests/gate_model.rs runs it under loom.

use super::{
    readers::{Order, Readers},
    sync::{AtomicUsize, Ordering},
};
use Ordering::{Acquire, Relaxed, Release, SeqCst};

/// Who is inside, and who has it closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passage<'a> {
    /// Announcements of those inside. One that is not the crowd's is 0 or 1.
    pub(crate) inside: Readers<'a>,
    /// Identity of the thread that closed it; 0: it is open.
    pub(crate) closer: &'a AtomicUsize,
}

impl Passage<'_> {
    /// Goes in. For a thread that is outside.
    ///
    /// # Errors
    /// The thread that has it closed; then nothing changed.
    #[inline]
    pub(crate) fn enter(self, thread: usize, order: Order) -> Result<(), usize> {
        let (at, shared) = self.inside.find(thread);
        if shared {
            at.depth.fetch_add(1, Relaxed);
        } else {
            at.depth.store(1, Relaxed);
        }
        order.pass();
        match self.closer.load(Acquire) {
            0 => Ok(()),
            closer if closer == thread => Ok(()),
            closer => {
                self.leave(thread);
                Err(closer)
            }
        }
    }

    /// Goes out.
    #[inline]
    pub(crate) fn leave(self, thread: usize) {
        // Release: what was done inside comes before.
        let (at, shared) = self.inside.find(thread);
        if shared {
            at.depth.fetch_sub(1, Release);
        } else {
            at.depth.store(0, Release);
        }
    }

    /// Closes it for everybody else; no change when `thread` closed it before.
    ///
    /// # Errors
    /// The thread that has it closed.
    pub(crate) fn close(self, thread: usize) -> Result<(), usize> {
        match self.closer.compare_exchange(0, thread, SeqCst, Acquire) {
            Err(other) if other != thread => Err(other),
            _ => Ok(()),
        }
    }

    /// Whether nobody is inside but `thread`, which closed it and made every CPU pass a barrier
    /// since; `inside` is whether `thread` itself is.
    pub(crate) fn is_empty_but(self, thread: usize, inside: bool) -> bool {
        let (own, shared) = self.inside.find(thread);
        let in_crowd = u32::from(inside && shared);
        self.inside.crowd.depth.load(Acquire) == in_crowd
            && self
                .inside
                .threads
                .iter()
                .all(|at| std::ptr::eq(at, own) || at.depth.load(Acquire) == 0)
    }

    /// Opens it, if `closer` has it closed.
    pub(crate) fn open(self, closer: usize) -> bool {
        closer != 0 && self.closer.compare_exchange(closer, 0, Release, Relaxed).is_ok()
    }

    /// In a forked child: only `thread` runs, and `inside` is whether it is inside.
    pub(crate) fn reset(self, thread: usize, inside: bool) {
        let (_, shared) = self.inside.find(thread);
        self.inside.forget_but(|owner| owner == thread);
        self.inside.crowd.depth.store(u32::from(inside && shared), Relaxed);
        self.closer.store(0, Release);
    }
}
