//! Who is inside SQLite, and forks.
//!
//! SQLite keeps its locks of a file in a table of the process, behind mutexes of its own, and does not
//! look which process it is in. A child that was forked in the middle of a step inherits entries and
//! mutexes that no thread of it gives back. So a step is inside the gate: a fork waits for its end, and a
//! step that only waits for another process's lock gives way to the fork and begins again after it.
//!
//! A fork that waited in vain (it is bounded) is noted before it takes place. Its child never
//! calls SQLite: there is no call that makes those tables and mutexes anew.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::{Duration, Instant},
};

use crate::model::{
    fork::{self, Hooks},
    gate::{self, Inside},
};

/// Longest time between two looks at a lock, and at the gate.
const PAUSE: Duration = Duration::from_millis(10);

/// Threads that are in a step.
static RUNNING: AtomicU32 = AtomicU32::new(0);
/// Threads that fork though somebody is in a step.
static LATE: AtomicU32 = AtomicU32::new(0);
/// This process was forked in the middle of a step.
static TORN: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// This thread is one of [`LATE`].
    static IS_LATE: Cell<bool> = const { Cell::new(false) };
}

static HOOKS: Hooks = Hooks { before, in_parent, in_child };

fn before() {
    // A step that runs now was waited for; and who did not get the gate cannot keep steps from beginning.
    tell_late(RUNNING.load(SeqCst) > 0 || !gate::is_closed_here());
}

fn in_parent() {
    tell_late(false);
}

fn tell_late(is_late: bool) {
    let was_late = IS_LATE.replace(is_late);
    if is_late && !was_late {
        LATE.fetch_add(1, Relaxed);
    } else if was_late && !is_late {
        LATE.fetch_sub(1, Relaxed);
    }
}

fn in_child() {
    let running = RUNNING.swap(0, Relaxed);
    let late = LATE.swap(0, Relaxed);
    IS_LATE.set(false);
    if running > 0 || late > 0 {
        TORN.store(true, Relaxed);
    }
}

/// This process cannot use SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It was forked while another thread was in a step.
    Torn,
    /// Forks cannot be told of.
    Untold,
}

/// Being in a step: SQLite may be called until it is dropped.
#[derive(Debug)]
pub(super) struct Step(
    /// Left last.
    Inside,
);

impl Step {
    /// Begins one; waits while another thread forks.
    pub(super) fn begin() -> Result<Self, Refusal> {
        if !fork::on_fork(&HOOKS) {
            return Err(Refusal::Untold);
        }
        loop {
            let inside = Inside::new();
            if TORN.load(Relaxed) {
                return Err(Refusal::Torn);
            }
            // Said, then looked: a fork that no longer waits for this thread sees it, or is seen.
            RUNNING.fetch_add(1, SeqCst);
            let step = Self(inside);
            if !gate::is_closing() {
                return Ok(step);
            }
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // Before it goes out, and after all that SQLite did.
        RUNNING.fetch_sub(1, SeqCst);
    }
}

/// Waiting for another process's lock: until a time, or until a fork wants this thread out.
#[derive(Debug)]
pub(super) struct Waiting {
    until: Instant,
    gave_way: Arc<AtomicBool>,
}

impl Waiting {
    pub(super) fn until(until: Instant) -> Self {
        Self { until, gave_way: Arc::default() }
    }

    /// Whether the step ended for a fork, and may begin again.
    pub(super) fn gave_way(&self) -> bool {
        self.gave_way.load(Relaxed) && Instant::now() < self.until
    }

    /// What SQLite asks when a lock is taken: whether to look again. It has waited then.
    pub(super) fn handler(&self) -> impl FnMut(i32) -> bool + Send + use<> {
        let (until, gave_way) = (self.until, Arc::clone(&self.gave_way));
        move |looks| {
            if gate::is_closing() {
                gave_way.store(true, Relaxed);
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            // 1 ms, 2 ms, 3 ms …
            let pause = Duration::from_millis(u64::from(looks.unsigned_abs()) + 1).min(PAUSE);
            thread::sleep(pause.min(left));
            !left.is_zero()
        }
    }
}
