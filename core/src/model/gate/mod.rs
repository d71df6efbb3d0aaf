//! The fork gate: nobody holds a lock of ours while the process forks.
//!
//! Whoever takes a [`Mutex`](super::Mutex) goes in first, and out after it gave the lock back. A fork
//! closes the gate, waits until every other thread is out, and opens it afterwards, in the parent and
//! in the child. So a child finds every such lock free and what it guards whole, whatever its
//! parent's threads were doing, and no order of locks has to be kept (docs/FORK.md).
//!
//! A thread that is inside is let in again, so a fork never waits for one that waits for the gate.
//! The wait is bounded: a fork that would wait for longer goes on and is counted.

mod passage;

use std::{
    cell::Cell,
    sync::atomic::{
        AtomicU32, AtomicU64, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    fork,
    grace::{self, Announcement, readers, sync},
    platform::{barrier, this_thread},
};
use passage::Passage;
use readers::Readers;

/// Threads with an announcement of their own.
const THREADS: usize = 256;

/// How long a fork waits for those inside.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// When somebody who found it closed opens it: whoever closed it forgot it.
const FORGOTTEN: Duration = Duration::from_secs(30);

static INSIDE: [Announcement; THREADS] = [const { Announcement::nobody() }; THREADS];
static CROWD: Announcement = Announcement::nobody();
static CLOSER: AtomicUsize = AtomicUsize::new(0);
static PASSAGE: Passage<'_> =
    Passage { inside: Readers { threads: &INSIDE, crowd: &CROWD }, closer: &CLOSER };

static CLOSED: AtomicU64 = AtomicU64::new(0);
static LATE: AtomicU64 = AtomicU64::new(0);
static REOPENED: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// How often this thread is inside.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// What the gate did so far, in this process and those that it was forked from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forks {
    /// Times that it was closed, which every fork does that the C library sees.
    pub closed: u64,
    /// Forks that did not wait until everybody was out: their children may meet locks that nobody
    /// gives back, and then say so.
    pub late: u64,
    /// Times that it was closed for too long, and opened by somebody else.
    pub reopened: u32,
}

/// Being inside; dropping it goes out.
#[derive(Debug)]
pub struct Inside(
    /// Of this thread only.
    std::marker::PhantomData<*mut ()>,
);

impl Inside {
    /// Goes in; waits while another thread forks.
    #[must_use]
    pub fn new() -> Self {
        enter();
        Self(std::marker::PhantomData)
    }
}

impl Default for Inside {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        leave();
    }
}

/// Runs `f` inside: a fork waits for its end. It must be short, and wait for nobody. (A step of SQLite
/// is longer, and gives way where it waits: it asks `is_closing`.)
pub(crate) fn within<R>(f: impl FnOnce() -> R) -> R {
    let _inside = Inside::new();
    f()
}

/// Whether another thread has it closed: who is inside is waited for.
#[cfg(feature = "store-sqlite")]
pub(crate) fn is_closing() -> bool {
    let closer = CLOSER.load(SeqCst);
    closer != 0 && closer != this_thread()
}

/// Whether this thread has it closed.
#[cfg(feature = "store-sqlite")]
pub(crate) fn is_closed_here() -> bool {
    CLOSER.load(SeqCst) == this_thread()
}

/// What the gate did so far.
#[must_use]
pub fn forks() -> Forks {
    Forks {
        closed: CLOSED.load(Relaxed),
        late: LATE.load(Relaxed),
        reopened: REOPENED.load(Relaxed),
    }
}

/// Goes in, once more if this thread is inside.
#[inline]
pub(super) fn enter() {
    DEPTH.with(|depth| {
        let before = depth.get();
        if before == 0 {
            fork::notice();
        }
        depth.set(before + 1);
        if before == 0
            && let Err(closer) = PASSAGE.enter(this_thread(), grace::order())
        {
            enter_later(closer);
        }
    });
}

/// Goes out.
#[inline]
pub(super) fn leave() {
    DEPTH.with(|depth| {
        let after = depth.get().saturating_sub(1);
        if after == 0 {
            PASSAGE.leave(this_thread());
        }
        depth.set(after);
    });
}

#[cold]
fn enter_later(mut closer: usize) {
    let mut pause = Pause::default();
    while let Err(now) = PASSAGE.enter(this_thread(), grace::order()) {
        if now != closer {
            (closer, pause) = (now, Pause::default());
        }
        if pause.waits_for_longer_than(FORGOTTEN) && PASSAGE.open(closer) {
            REOPENED.fetch_add(1, Relaxed);
        }
    }
}

/// Closes it and waits until every other thread is out; for a fork. Does nothing when this thread
/// has it closed already.
pub(super) fn close() {
    let own = this_thread();
    if CLOSER.load(Relaxed) == own {
        return;
    }
    let mut pause = Pause::default();
    // Of two threads that fork at once the second one waits for the first one's end.
    while PASSAGE.close(own).is_err() {
        if pause.waits_for_longer_than(PATIENCE) {
            LATE.fetch_add(1, Relaxed);
            return;
        }
    }
    CLOSED.fetch_add(1, Relaxed);
    let inside = DEPTH.with(Cell::get) > 0;
    if !all_cpus_passed() {
        // Whoever is going in has seen the closed gate long before.
        thread::sleep(Duration::from_millis(1));
    }
    while !PASSAGE.is_empty_but(own, inside) {
        if pause.waits_for_longer_than(PATIENCE) {
            LATE.fetch_add(1, Relaxed);
            return;
        }
    }
}

fn all_cpus_passed() -> bool {
    std::sync::atomic::fence(SeqCst);
    grace::order() == readers::Order::Fence || barrier::pass()
}

/// Opens it, if this thread closed it.
pub(super) fn open() {
    PASSAGE.open(this_thread());
}

/// In a forked child.
pub(super) fn reset() {
    PASSAGE.reset(this_thread(), DEPTH.with(Cell::get) > 0);
}

/// Ever longer waits.
#[derive(Default)]
struct Pause {
    rounds: u32,
    since: Option<Instant>,
}

impl Pause {
    /// Waits a little; whether that makes too long.
    fn waits_for_longer_than(&mut self, most: Duration) -> bool {
        self.rounds += 1;
        match self.rounds {
            ..64 => std::hint::spin_loop(),
            64..80 => thread::yield_now(),
            _ => thread::sleep(Duration::from_micros(50)),
        }
        self.rounds >= 64 && self.since.get_or_insert_with(Instant::now).elapsed() > most
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, atomic::AtomicBool};

    use super::*;

    /// The gate is the process's: tests that close it run one at a time.
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

    #[test]
    fn who_closes_it_sees_everybody_out_and_is_let_in() {
        let _alone = ALONE.lock().unwrap();
        let (inside, done) = (AtomicU32::new(0), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Relaxed) {
                        within(|| {
                            within(|| inside.fetch_add(1, Relaxed));
                            inside.fetch_sub(1, Relaxed);
                        });
                    }
                });
            }
            for _ in 0..2000 {
                close();
                close();
                for _ in 0..20 {
                    assert_eq!(inside.load(Relaxed), 0);
                }
                within(|| ());
                open();
                open();
            }
            done.store(true, Relaxed);
        });
    }

    #[test]
    fn a_thread_that_stays_inside_delays_a_fork_for_a_bounded_time_and_is_counted() {
        let _alone = ALONE.lock().unwrap();
        let (is_in, may_leave) = (Barrier::new(2), Barrier::new(2));
        thread::scope(|scope| {
            scope.spawn(|| {
                within(|| {
                    is_in.wait();
                    may_leave.wait();
                });
            });
            is_in.wait();
            let (before, start) = (forks(), Instant::now());
            close();
            assert!((PATIENCE..3 * PATIENCE).contains(&start.elapsed()));
            open();
            assert_eq!(forks().late, before.late + 1);
            may_leave.wait();
        });
    }

    #[test]
    fn a_thread_that_is_inside_closes_it_too() {
        let _alone = ALONE.lock().unwrap();
        within(|| {
            let before = forks();
            close();
            open();
            assert_eq!(forks().late, before.late);
            assert_eq!(forks().closed, before.closed + 1);
        });
    }
}
