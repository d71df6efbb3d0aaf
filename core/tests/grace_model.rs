//! `src/model/grace/readers.rs` under loom: every order in which the CPU may run a recording call and a free.
//!
//! The model of `membarrier` is its contract: when a freeing thread passes one, the compiler fence
//! of each reader has been a full fence. The planted bug shows that the model can see one.

#![allow(clippy::unwrap_used)] // helpers of tests
// loom's cells are Sync for loom alone.
#![allow(clippy::arc_with_non_send_sync)]

#[path = "../src/model/grace/readers.rs"]
#[allow(dead_code, unreachable_pub)]
mod grace;

/// What `grace` imports: loom's atomics in the place of std's.
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

use grace::{Announcement, Order, Readers};
use loom::{cell::UnsafeCell, thread};
use sync::{AtomicU32, AtomicUsize, MEMBARRIER, Ordering};

const DEAD: usize = 0;
const LIVE: usize = 1;
const REUSED: usize = 2;

/// A slot of the handle table and the announcements of two threads.
struct Model {
    number: AtomicUsize,
    /// Which series the slot holds; loom reports an access that races with a write.
    object: UnsafeCell<usize>,
    threads: [Announcement; 2],
    crowd: Announcement,
}

fn announcement(owner: usize) -> Announcement {
    Announcement { owner: AtomicUsize::new(owner), depth: AtomicU32::new(0) }
}

impl Model {
    fn new(owners: [usize; 2]) -> Arc<Self> {
        Arc::new(Self {
            number: AtomicUsize::new(LIVE),
            object: UnsafeCell::new(LIVE),
            threads: owners.map(announcement),
            crowd: announcement(0),
        })
    }

    fn readers(&self) -> Readers<'_> {
        Readers { threads: &self.threads, crowd: &self.crowd }
    }

    /// As `handles::found`: if the handle is live, the object is the one that it means.
    fn found(&self, handle: usize) -> bool {
        if self.number.load(Ordering::Acquire) != handle {
            return false;
        }
        self.object.with(|object| {
            // SAFETY: what the model proves; loom fails the test otherwise.
            assert_eq!(unsafe { *object }, handle, "a handle led to another series");
        });
        true
    }

    fn record(&self, thread: usize, order: Order, handle: usize) -> bool {
        if order == Order::Barrier
            && let Some(_section) = self.readers().enter_alone(thread)
        {
            return self.found(handle);
        }
        let _section = self.readers().enter(thread, order);
        self.found(handle)
    }

    /// As `handles::remove`, then `insert` of another series if the slot came free.
    fn free_and_reuse(&self) -> bool {
        self.number.swap(DEAD, Ordering::AcqRel);
        let passed = self.readers().all_passed(|| true);
        if passed {
            self.object.with_mut(|object| {
                // SAFETY: as above.
                unsafe { *object = REUSED };
            });
            self.number.store(REUSED, Ordering::Release);
        }
        passed
    }
}

/// A thread that records twice, one that frees: in every order each record counts in the old
/// series or nowhere.
fn record_while_freeing(owners: [usize; 2], order: Order) {
    loom::model(move || {
        let model = Model::new(owners);
        let recorder = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                let first = model.record(1, order, LIVE);
                let second = model.record(1, order, LIVE);
                assert!(first || !second, "a stale handle came back to life");
            })
        };
        model.free_and_reuse();
        recorder.join().unwrap();
        assert!(model.record(1, order, REUSED) || model.readers().all_passed(|| true));
    });
}

#[test]
fn a_thread_with_its_own_announcement_is_waited_for() {
    record_while_freeing([1, 1], Order::Barrier);
}

#[test]
fn a_thread_that_claims_its_announcement_is_waited_for() {
    record_while_freeing([0, 0], Order::Barrier);
    record_while_freeing([0, 0], Order::Fence);
}

#[test]
fn a_thread_in_the_crowd_is_waited_for() {
    record_while_freeing([8, 9], Order::Barrier);
    record_while_freeing([8, 9], Order::Fence);
}

#[test]
fn two_threads_in_the_crowd_are_waited_for() {
    loom::model(|| {
        let model = Model::new([8, 9]);
        let recorder = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.record(1, Order::Barrier, LIVE))
        };
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || model.record(2, Order::Barrier, LIVE))
        };
        model.free_and_reuse();
        recorder.join().unwrap();
        other.join().unwrap();
    });
}

#[test]
fn a_call_in_a_signal_handler_leaves_the_interrupted_one_announced() {
    loom::model(|| {
        let model = Model::new([1, 1]);
        let recorder = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                let _interrupted = model.readers().enter_alone(1).unwrap();
                model.record(1, Order::Barrier, LIVE);
                model.found(LIVE)
            })
        };
        model.free_and_reuse();
        recorder.join().unwrap();
    });
}

#[test]
fn the_model_sees_that_the_barrier_is_needed() {
    let seen = std::panic::catch_unwind(|| {
        MEMBARRIER.set(false);
        record_while_freeing([1, 1], Order::Barrier);
    });
    assert!(seen.is_err(), "without membarrier a record may touch what was freed");
}
