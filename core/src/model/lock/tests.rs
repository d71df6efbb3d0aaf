//! Locks under threads.

use std::{
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use super::*;

const ROUNDS: usize = 20_000;

#[test]
fn what_a_lock_guards_is_changed_by_one_at_a_time() {
    let (short, long, turn) = (Mutex::new(0_usize), LongMutex::new(0_usize), TurnLock::default());
    let (turns, inside) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    *short.lock() += 1;
                    *long.lock() += 1;
                    let _turn = turn.lock();
                    assert_eq!(inside.fetch_add(1, Relaxed), 0);
                    turns.fetch_add(1, Relaxed);
                    inside.fetch_sub(1, Relaxed);
                }
            });
        }
    });
    assert_eq!((*short.lock(), *long.lock()), (4 * ROUNDS, 4 * ROUNDS));
    assert_eq!(turns.into_inner() as usize, 4 * ROUNDS);
}

#[test]
fn a_lock_is_waited_for_up_to_a_time() {
    let lock = LongMutex::new(());
    let held = lock.lock();
    thread::scope(|scope| {
        scope.spawn(|| {
            let start = Instant::now();
            assert!(lock.try_lock_for(Duration::from_millis(20)).is_none());
            assert!(start.elapsed() >= Duration::from_millis(20));
            assert!(lock.try_lock().is_none());
        });
        // One that waits for longer has it when it comes free, though the other one gave up.
        let waiter = scope.spawn(|| drop(lock.lock()));
        thread::sleep(Duration::from_millis(40));
        drop(held);
        waiter.join().unwrap();
    });
    assert!(lock.try_lock_for(Duration::ZERO).is_some());
}

#[test]
fn readers_share_and_a_writer_waits_for_them() {
    let lock = LongRwLock::new(0);
    let reader = lock.try_read().unwrap();
    assert!(lock.try_read().is_some());
    assert!(lock.try_write().is_none());
    thread::scope(|scope| {
        let writer = scope.spawn(|| *lock.write() += 1);
        thread::sleep(Duration::from_millis(20));
        // A writer that waits keeps no reader out.
        assert_eq!(lock.try_read().as_deref(), Some(&0));
        drop(reader);
        writer.join().unwrap();
    });
    assert_eq!(*lock.read(), 1);
}

#[test]
fn a_condition_is_waited_for() {
    let (lock, changed) = (Mutex::new(0), Condvar::new());
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut value = lock.lock();
                while *value < 100 {
                    changed.wait(&mut value);
                }
            });
        }
        for _ in 0..100 {
            *lock.lock() += 1;
            changed.notify_all();
        }
    });
    let mut value = lock.lock();
    let soon = Instant::now() + Duration::from_millis(10);
    assert!(changed.wait_while_until(&mut value, |value| *value == 100, soon));
    assert!(Instant::now() >= soon);
    assert!(!changed.wait_while_until(&mut value, |value| *value == 0, soon));
}
