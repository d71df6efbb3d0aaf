//! Grace: when is what a handle led to out of every thread's hands?
//!
//! A call announces itself in a word of its own thread, looks its handle up, uses what it found,
//! and withdraws ([`Section`]). Freeing makes the handle stale first, and lets go of the object
//! only after every announcement was seen withdrawn ([`Readers::all_passed`]). So:
//!
//! - A section that found its handle live keeps the object alive: the freeing thread cannot have
//!   seen the announcement withdrawn before the section ended.
//! - A section that begins after an announcement was seen withdrawn finds the handle stale.
//!
//! Either way nothing is touched after it was let go. The one thing that needs care is that the
//! announcement is visible *before* the lookup (store, then load: the only order that CPUs swap).
//! Readers would pay a fence for that on every call; instead the freeing thread makes all CPUs
//! pass one (`membarrier`), and readers need the compiler's promise only. Where the system has no
//! membarrier, readers use a fence.
//!
//! No thread-local storage, no lock, no allocation: a section works in a signal handler, also one
//! that interrupts a section. A thread that never leaves a section (killed in it, or left behind
//! by fork) delays what is freed for ever, and harms nothing else.
//!
//! This file has no unsafe code and no global state; core/tests/grace_model.rs runs it under loom.

use super::sync::{AtomicU32, AtomicUsize, Ordering, PATIENCE, compiler_fence, fence};
use Ordering::{Acquire, Relaxed, Release, SeqCst};

/// How a thread's announcement becomes visible before its lookup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The reader pays: a fence on every call.
    Fence,
    /// The freeing thread pays: it makes every CPU pass a barrier.
    Barrier,
}

impl Order {
    /// What a reader does between its announcement and its lookup.
    #[inline]
    pub(crate) fn pass(self) {
        match self {
            Self::Barrier => compiler_fence(SeqCst),
            Self::Fence => fence(SeqCst),
        }
    }
}

/// One thread's announcement, on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Announcement {
    /// Identity of the thread that writes `depth`, claimed once and for ever; 0: nobody yet.
    pub(crate) owner: AtomicUsize,
    /// Sections that run: more than one when a signal handler interrupted one.
    pub(crate) depth: AtomicU32,
}

/// Who is inside a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Readers<'a> {
    /// A power of two of them, each written by one thread, with plain stores.
    pub(crate) threads: &'a [Announcement],
    /// For threads that find no place: written by many, with locked instructions.
    pub(crate) crowd: &'a Announcement,
}

/// A section that interrupts none of its thread; dropping it ends it.
#[derive(Debug)]
pub struct Alone<'a>(&'a Announcement);

/// A section of any thread; dropping it ends it.
#[derive(Debug)]
pub struct Section<'a> {
    at: &'a Announcement,
    shared: bool,
}

/// Places that a thread looks at before it joins the crowd.
const PROBES: usize = 8;

impl<'a> Readers<'a> {
    /// Begins a section in the frequent case: `None` means, use [`Readers::enter`].
    ///
    /// `thread` is an identity that no two running threads share; never 0. For
    /// [`Order::Barrier`] only. It stores constants: counting up and down in memory would make
    /// every call wait for the one before.
    #[inline]
    pub(crate) fn enter_alone(self, thread: usize) -> Option<Alone<'a>> {
        let at = self.threads.get(self.first(thread))?;
        if at.owner.load(Relaxed) != thread || at.depth.load(Relaxed) != 0 {
            return None;
        }
        // A signal handler before the store finds 0, and leaves 0.
        at.depth.store(1, Relaxed);
        compiler_fence(SeqCst);
        Some(Alone(at))
    }

    /// Begins a section of `thread`, whatever else runs.
    pub(crate) fn enter(self, thread: usize, order: Order) -> Section<'a> {
        let (at, shared) = self.find(thread);
        if shared {
            at.depth.fetch_add(1, Relaxed);
        } else {
            // A signal handler between the two leaves `depth` as it found it.
            at.depth.store(at.depth.load(Relaxed).wrapping_add(1), Relaxed);
        }
        order.pass();
        Section { at, shared }
    }

    /// The thread's own announcement, claimed at its first section, or the crowd's; whether it is
    /// the crowd's. A thread's answer never changes.
    #[inline]
    pub(crate) fn find(self, thread: usize) -> (&'a Announcement, bool) {
        let first = self.first(thread);
        for probe in 0..PROBES.min(self.threads.len()) {
            let Some(at) = self.threads.get((first + probe) & (self.threads.len() - 1)) else {
                break;
            };
            let mut owner = at.owner.load(Relaxed);
            if owner == 0 {
                // A signal handler of this thread may have claimed it in between.
                let claimed = at.owner.compare_exchange(0, thread, Relaxed, Relaxed);
                owner = claimed.map_or_else(|other| other, |_| thread);
            }
            if owner == thread {
                return (at, false);
            }
        }
        (self.crowd, true)
    }

    /// Where a thread's announcement is, unless another thread was there before.
    #[inline]
    fn first(self, thread: usize) -> usize {
        (thread.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) & self.threads.len().wrapping_sub(1)
    }

    /// Whether every section that ran when this was called has ended since.
    ///
    /// `barrier` makes every CPU pass a full barrier, or answers that it cannot. False means: not
    /// now; nothing may be let go, ask again later.
    pub(crate) fn all_passed(self, barrier: impl FnOnce() -> bool) -> bool {
        if !barrier() {
            return false;
        }
        fence(SeqCst);
        // Seen withdrawn once is enough: what the thread enters later finds the handle stale.
        let passed =
            |at: &Announcement| (0..PATIENCE).any(|_| at.depth.load(Acquire) == 0 || pause());
        passed(self.crowd) && self.threads.iter().all(passed)
    }

    /// In a forked child: withdraws what was announced by threads that are not there. `thread` is
    /// the only one that runs, and is in no section of the crowd.
    pub(crate) fn forget_but(self, thread: impl Fn(usize) -> bool) {
        self.crowd.depth.store(0, Relaxed);
        for at in self.threads.iter().filter(|at| !thread(at.owner.load(Relaxed))) {
            at.depth.store(0, Relaxed);
        }
    }
}

impl Drop for Alone<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: everything that the section did comes before its end.
        self.0.depth.store(0, Release);
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        if self.shared {
            self.at.depth.fetch_sub(1, Release);
        } else {
            self.at.depth.store(self.at.depth.load(Relaxed).wrapping_sub(1), Release);
        }
    }
}

fn pause() -> bool {
    std::hint::spin_loop();
    false
}
