//! `src/model/gate/passage.rs` under loom: every order in which the CPU may run threads that go in
//! and one that forks.
//!
//! What the lock guards is a cell: a fork reads it, because the kernel copies it. As in
//! grace_model.rs, the compiler fence of those that go in is a full fence when the closer passed a
//! `membarrier`; without it the model must see a thread inside a closed gate.

#![allow(clippy::unwrap_used)] // helpers of tests
// loom's cells are Sync for loom alone.
#![allow(clippy::arc_with_non_send_sync)]

#[path = "../src/model/gate/passage.rs"]
#[allow(dead_code, unreachable_pub)]
mod passage;
#[path = "../src/model/grace/readers.rs"]
#[allow(dead_code, unreachable_pub)]
mod readers;

/// What both import: loom's atomics in the place of std's.
mod sync {
    use std::cell::Cell;

    pub(crate) use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering, fence};

    pub(crate) const PATIENCE: usize = 1;

    thread_local! {
        // loom runs the threads of a model on one thread of the system.
        pub(crate) static MEMBARRIER: Cell<bool> = const { Cell::new(true) };
    }

    pub(crate) fn compiler_fence(order: Ordering) {
        if MEMBARRIER.get() {
            fence(order);
        }
    }
}

use std::sync::Arc;

use loom::{cell::UnsafeCell, thread};
use passage::Passage;
use readers::{Announcement, Order, Readers};
use sync::{AtomicU32, AtomicUsize, MEMBARRIER, Ordering};

const FORKER: usize = 9;

struct Model {
    inside: [Announcement; 2],
    crowd: Announcement,
    closer: AtomicUsize,
    /// What a lock guards; loom reports an access that races with a write.
    guarded: UnsafeCell<u32>,
}

fn announcement(owner: usize) -> Announcement {
    Announcement { owner: AtomicUsize::new(owner), depth: AtomicU32::new(0) }
}

impl Model {
    fn new(owners: [usize; 2]) -> Arc<Self> {
        Arc::new(Self {
            inside: owners.map(announcement),
            crowd: announcement(0),
            closer: AtomicUsize::new(0),
            guarded: UnsafeCell::new(0),
        })
    }

    fn passage(&self) -> Passage<'_> {
        let inside = Readers { threads: &self.inside, crowd: &self.crowd };
        Passage { inside, closer: &self.closer }
    }

    /// Takes a lock that no other thread of the model takes, if the gate is open.
    fn change(&self, thread: usize, order: Order) -> bool {
        let inside = self.passage().enter(thread, order).is_ok();
        if inside {
            // SAFETY: what the model proves of a fork; loom fails the test otherwise.
            self.guarded.with_mut(|guarded| unsafe { *guarded += 1 });
            self.passage().leave(thread);
        }
        inside
    }

    /// Forks, if everybody is out when it looks.
    fn fork(&self) -> bool {
        self.passage().close(FORKER).unwrap();
        // The closer's barrier: loom's full fence here, those of the others in `compiler_fence`.
        sync::fence(Ordering::SeqCst);
        let empty = self.passage().is_empty_but(FORKER, false);
        if empty {
            // SAFETY: as above.
            let before = self.guarded.with(|guarded| unsafe { *guarded });
            // SAFETY: as above.
            self.guarded.with(|guarded| assert_eq!(unsafe { *guarded }, before));
        }
        assert!(self.passage().open(FORKER));
        empty
    }
}

/// A thread that goes in twice beside one that forks.
fn change_while_forking(owners: [usize; 2], order: Order) {
    loom::model(move || {
        let model = Model::new(owners);
        let changer = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                model.change(1, order);
                model.change(1, order);
            })
        };
        model.fork();
        changer.join().unwrap();
        assert!(model.change(1, order), "it is open again");
        assert!(model.fork(), "nobody is inside any more");
    });
}

#[test]
fn a_fork_finds_nobody_inside() {
    for owners in [[1, 1], [0, 0], [7, 8]] {
        change_while_forking(owners, Order::Barrier);
        change_while_forking(owners, Order::Fence);
    }
}

#[test]
fn of_two_forks_one_waits_for_the_others_end() {
    loom::model(|| {
        let model = Model::new([0, 0]);
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                let closed = model.passage().close(3).is_ok();
                if closed {
                    // SAFETY: as in `change`: who closed it is alone.
                    model.guarded.with_mut(|guarded| unsafe { *guarded += 1 });
                    assert!(model.passage().open(3));
                }
            })
        };
        if model.passage().close(FORKER).is_ok() {
            // SAFETY: as above.
            model.guarded.with_mut(|guarded| unsafe { *guarded += 1 });
            assert!(!model.passage().open(3), "another's gate is not opened");
            assert!(model.passage().open(FORKER));
        }
        other.join().unwrap();
    });
}

#[test]
fn the_model_sees_that_the_barrier_is_needed() {
    let seen = std::panic::catch_unwind(|| {
        MEMBARRIER.set(false);
        change_while_forking([1, 1], Order::Barrier);
    });
    assert!(seen.is_err(), "without membarrier a thread may be inside a closed gate");
}

#[test]
fn a_child_forgets_who_was_inside_but_itself() {
    loom::model(|| {
        let model = Model::new([1, 2]);
        let passage = model.passage();
        passage.enter(1, Order::Fence).unwrap();
        passage.enter(2, Order::Fence).unwrap();
        passage.enter(4, Order::Fence).unwrap();
        passage.close(5).unwrap();
        // Thread 2 forked: it is inside, and the only one.
        passage.reset(2, true);
        passage.close(2).unwrap();
        assert!(passage.is_empty_but(2, true));
        assert!(!passage.is_empty_but(3, false));
        assert!(passage.open(2));
        passage.leave(2);
        passage.close(3).unwrap();
        assert!(passage.is_empty_but(3, false));
        // As does one of the crowd.
        passage.reset(6, true);
        assert_eq!(model.crowd.depth.load(Ordering::Relaxed), 1);
        passage.leave(6);
        assert_eq!(model.crowd.depth.load(Ordering::Relaxed), 0);
    });
}
