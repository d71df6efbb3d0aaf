//! Signals of the host stay with the threads of the host.

use std::{mem::MaybeUninit, ptr};

/// Blocks the signals that handlers are for, and puts the mask back when it is dropped.
///
/// A thread that is started meanwhile inherits the mask, so no handler of the host ever runs on it.
/// Faults of the thread itself stay deliverable, and so does SIGPROF: a profiler wants to see it.
pub(crate) struct SignalsBlocked {
    before: libc::sigset_t,
}

impl SignalsBlocked {
    pub(crate) fn new() -> Self {
        let mut all = MaybeUninit::<libc::sigset_t>::zeroed();
        let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
        // SAFETY: fills a set of our own.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        for kept in [
            libc::SIGSEGV,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGABRT,
            libc::SIGSYS,
            libc::SIGPROF,
        ] {
            // SAFETY: changes a set of our own.
            unsafe { libc::sigdelset(all.as_mut_ptr(), kept) };
        }
        // SAFETY: both sets are our own; cannot fail with this `how`.
        // Test: an_exporter_with_a_deadline_keeps_away_from_its_host.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
        // SAFETY: zeroed, and then filled in; integers.
        Self { before: unsafe { before.assume_init() } }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the mask that this thread had.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, ptr::null_mut())
        };
    }
}
