//! Grace for the whole process: who looks something up without a lock announces it, and who takes
//! something out of the tables waits for those who may have found it.
//!
//! One set of announcements serves every engine and the handles of the C API. [`within`] costs a
//! store at its start and one at its end; [`all_passed`] costs a `membarrier`.

pub(super) mod readers;
pub(super) mod sync;

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

pub(super) use readers::Announcement;
pub use readers::{Alone, Section};
use readers::{Order, Readers};

use super::platform::{barrier, this_thread};

/// Threads with an announcement of their own.
const THREADS: usize = 1024;

static ANNOUNCEMENTS: [Announcement; THREADS] = [const { Announcement::nobody() }; THREADS];
static CROWD: Announcement = Announcement::nobody();
/// Whether readers may leave the fence to the freeing thread.
static ORDER: AtomicU32 = AtomicU32::new(UNDECIDED);
const UNDECIDED: u32 = 0;
const WITH_BARRIER: u32 = 1;
const WITH_FENCE: u32 = 2;

/// Those of the process. A function, not a static: addresses and number are then known to the
/// compiler wherever a section begins.
#[inline(always)]
fn readers() -> Readers<'static> {
    Readers { threads: &ANNOUNCEMENTS, crowd: &CROWD }
}

impl Announcement {
    /// A place that no thread has yet.
    pub(super) const fn nobody() -> Self {
        Self { owner: AtomicUsize::new(0), depth: AtomicU32::new(0) }
    }
}

/// Decides how readers and freeing threads meet; before the first table that needs it.
pub fn prepare() {
    if ORDER.load(Relaxed) == UNDECIDED {
        let order = if barrier::register() { WITH_BARRIER } else { WITH_FENCE };
        // Of two threads at once both decide the same.
        ORDER.store(order, Relaxed);
    }
}

/// How readers and freeing threads meet.
#[inline]
pub(super) fn order() -> Order {
    if ORDER.load(Relaxed) == WITH_BARRIER { Order::Barrier } else { Order::Fence }
}

/// In a forked child, where no other thread runs: nobody is in a section whom the fork left behind.
pub(super) fn reset() {
    let own = this_thread();
    // A section of this thread's own may be going on.
    readers().forget_but(|owner| owner | 1 == own | 1);
}

/// Begins a section in the frequent case; `None` means, use [`enter_with_care`].
///
/// Any thread, async-signal-safe.
#[inline]
#[must_use]
pub fn enter_alone() -> Option<Alone<'static>> {
    readers().enter_alone(this_thread())
}

/// Begins a section whatever else runs: a thread's first one, one inside another, a thread past
/// those that have an announcement of their own, or where fences are needed.
#[cold]
#[inline(never)]
#[must_use]
pub fn enter_with_care() -> Section<'static> {
    match order() {
        Order::Barrier => readers().enter(this_thread(), Order::Barrier),
        // Thread pointers are even: under this identity `enter_alone` does not find the thread.
        Order::Fence => readers().enter(this_thread() | 1, Order::Fence),
    }
}

/// Runs `f` in a section: nothing that it finds is let go before it returns.
#[inline]
pub fn within<R>(f: impl FnOnce() -> R) -> R {
    match enter_alone() {
        Some(_section) => f(),
        None => {
            let _section = enter_with_care();
            f()
        }
    }
}

/// Whether every section that ran when this was called has ended since.
///
/// False means: not now; nothing may be let go, ask again later. Never call it in a section.
#[must_use]
pub fn all_passed() -> bool {
    let fenced = ORDER.load(Relaxed) != WITH_BARRIER;
    readers().all_passed(|| fenced || barrier::pass())
}
