//! Locks and generations across forks of every kind, each in a child of its own.
//!
//! One test, so that nothing else runs while it forks past the C library's handlers.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Barrier,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tallyport_core::{
    engine::{after_fork_child, after_fork_parent, before_fork, forks},
    model::{LongMutex, Mutex, TurnLock, fork, grace},
};

/// A child that is not done by then hangs: SIGALRM ends it.
const CHILD_SECONDS: u32 = 30;

#[derive(Clone, Copy)]
enum How {
    Fork,
    Clone,
}

/// Runs `body` in a child; it must not panic.
fn in_child(how: How, body: impl FnOnce()) {
    let child = match how {
        // SAFETY: the child runs `body` and exits.
        How::Fork => unsafe { libc::fork() },
        // SAFETY: as above, and no other thread is doing anything.
        How::Clone => unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32 },
    };
    assert!(child >= 0);
    if child == 0 {
        // SAFETY: takes a number.
        unsafe { libc::alarm(CHILD_SECONDS) };
        let done = catch_unwind(AssertUnwindSafe(body));
        // SAFETY: ends the child.
        unsafe { libc::_exit(i32::from(done.is_err())) };
    }
    let mut status = -1;
    // SAFETY: waits for our own child.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0), "status {status:#x}; 14: it hung");
}

static CHILDREN: AtomicU32 = AtomicU32::new(0);

fn child_began() {
    // What it may ask: it is called once the process is another.
    assert!(fork::generation() > 0);
    CHILDREN.fetch_add(1, Relaxed);
}

/// Whether taking the lock panics, as it does when nobody can give it back.
fn is_lost<R>(lock: impl FnOnce() -> R) -> bool {
    let start = Instant::now();
    let taken = catch_unwind(AssertUnwindSafe(|| drop(lock())));
    assert!(start.elapsed() < Duration::from_secs(10));
    taken.is_err_and(|payload| {
        payload
            .downcast_ref::<String>()
            .map_or(payload.downcast_ref::<&str>().copied(), |text| Some(&**text))
            .is_some_and(|text| text.contains("a fork left behind"))
    })
}

#[test]
fn a_child_knows_that_it_is_one_and_never_waits_for_ever() {
    every_child_is_another_generation();
    a_fork_waits_for_who_has_a_lock();
    a_raw_child_says_what_it_can_never_have();
    a_fork_that_waits_in_vain_goes_on();
    grace_is_for_those_that_are_there();
}

fn every_child_is_another_generation() {
    assert!(fork::on_child(child_began) && fork::on_child(child_began));
    let own = fork::generation();
    for how in [How::Fork, How::Clone, How::Fork, How::Clone] {
        in_child(how, || {
            let child = fork::generation();
            assert_ne!(child, own);
            assert_eq!(CHILDREN.load(Relaxed), 1);
            after_fork_child();
            after_fork_parent();
            assert_eq!((fork::generation(), CHILDREN.load(Relaxed)), (child, 1));
            in_child(how, || {
                assert!(fork::generation() != child && fork::generation() != own);
                assert_eq!(CHILDREN.load(Relaxed), 2);
            });
        });
    }
    for how in [How::Fork, How::Clone] {
        before_fork();
        before_fork();
        in_child(how, || {
            drop(Mutex::new(()).lock());
            assert_eq!(CHILDREN.load(Relaxed), 1);
        });
        after_fork_parent();
        drop(Mutex::new(()).lock());
    }
    assert_eq!((fork::generation(), CHILDREN.load(Relaxed)), (own, 0));
}

/// Runs `during` while another thread has what `lock` answers; that thread then gives it back.
fn while_held<G>(lock: impl FnOnce() -> G + Send, during: impl FnOnce()) {
    let (is_held, is_over) = (Barrier::new(2), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let held = lock();
            is_held.wait();
            is_over.wait();
            drop(held);
        });
        is_held.wait();
        during();
        is_over.wait();
    });
}

fn a_fork_waits_for_who_has_a_lock() {
    let (short, is_held) = (Mutex::new(0), Barrier::new(2));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut value = short.lock();
            *value = 1;
            is_held.wait();
            thread::sleep(Duration::from_millis(100));
            *value = 2;
        });
        is_held.wait();
        let late = forks().late;
        in_child(How::Fork, || assert_eq!(*short.lock(), 2));
        assert_eq!(forks().late, late);
    });
    // The forking thread's own lock goes on in the child.
    let held = short.lock();
    in_child(How::Fork, || {
        drop(held);
        drop(short.lock());
    });
}

fn a_raw_child_says_what_it_can_never_have() {
    let (short, long, turn) = (Mutex::new(()), LongMutex::new(()), TurnLock::default());
    while_held(|| short.lock(), || in_child(How::Clone, || assert!(is_lost(|| short.lock()))));
    for how in [How::Clone, How::Fork] {
        while_held(|| long.lock(), || in_child(how, || assert!(is_lost(|| long.lock()))));
        while_held(
            || turn.lock(),
            || {
                in_child(how, || {
                    let start = Instant::now();
                    drop(turn.lock());
                    drop(turn.lock());
                    assert!(start.elapsed() < Duration::from_secs(1));
                })
            },
        );
    }
    drop((short.lock(), long.lock(), turn.lock()));
}

fn a_fork_that_waits_in_vain_goes_on() {
    let (short, other) = (Mutex::new(()), Mutex::new(()));
    while_held(
        || short.lock(),
        || {
            let late = forks().late;
            in_child(How::Fork, || {
                assert_eq!(forks().late, late + 1);
                drop(other.lock());
                assert!(is_lost(|| short.lock()));
                // Who is not there is not waited for.
                let start = Instant::now();
                in_child(How::Fork, || drop(other.lock()));
                assert!(start.elapsed() < Duration::from_secs(1));
            });
            assert_eq!(forks().late, late + 1);
        },
    );
    drop(short.lock());
}

fn grace_is_for_those_that_are_there() {
    grace::prepare();
    while_held(grace::enter_with_care, || {
        assert!(!grace::all_passed());
        for how in [How::Fork, How::Clone] {
            in_child(how, || {
                drop(Mutex::new(()).lock());
                assert!(grace::all_passed());
                grace::within(|| assert!(!grace::all_passed()));
                assert!(grace::all_passed());
            });
        }
        grace::within(|| in_child(How::Fork, || assert!(!grace::all_passed())));
    });
    assert!(grace::all_passed());
}
