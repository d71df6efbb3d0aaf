//! `src/model/lock/word.rs` under loom: threads that take a lock, wait for it and give it back.
//!
//! The kernel's part is modelled by its contract: a thread sleeps only while the word is what it
//! expects. A wake-up that goes missing is a deadlock, which loom reports.

#![allow(clippy::unwrap_used)] // helpers of tests
// loom's cells are Sync for loom alone.
#![allow(clippy::arc_with_non_send_sync)]

#[path = "../src/model/lock/word.rs"]
#[allow(dead_code, unreachable_pub)]
mod word;

/// What `word` imports.
mod sync {
    use std::time::Instant;

    pub(crate) use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::sync::{Condvar, Mutex};

    loom::lazy_static! {
        static ref SLEEPERS: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
    }

    pub(crate) fn wait_on(word: &AtomicU32, expected: u32, _until: Option<Instant>) {
        let awake = SLEEPERS.0.lock().unwrap();
        if word.load(Ordering::SeqCst) == expected {
            drop(SLEEPERS.1.wait(awake).unwrap());
        }
    }

    pub(crate) fn wake_one(_word: &AtomicU32) {
        let _awake = SLEEPERS.0.lock().unwrap();
        SLEEPERS.1.notify_one();
    }

    pub(crate) fn wake_all(_word: &AtomicU32) {
        let _awake = SLEEPERS.0.lock().unwrap();
        SLEEPERS.1.notify_all();
    }
}

use std::sync::Arc;

use loom::{cell::UnsafeCell, thread};
use sync::AtomicU32;
use word::{SharedWord, Word};

const TAG: u32 = 5;

struct Model {
    word: Word,
    shared: SharedWord,
    /// What the lock guards; loom reports an access that races with a write.
    guarded: UnsafeCell<u32>,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            word: Word(AtomicU32::new(0)),
            shared: SharedWord(AtomicU32::new(0)),
            guarded: UnsafeCell::new(0),
        })
    }

    fn add(&self) {
        // SAFETY: what the model proves; loom fails the test otherwise.
        self.guarded.with_mut(|guarded| unsafe { *guarded += 1 });
    }

    /// As `raw.rs` locks; `after_wait` is what a thread takes it with that waited.
    fn change(&self, after_wait: fn(&Word, u32) -> bool) {
        let mut taken = self.word.take(TAG);
        while !taken {
            self.word.wait(None);
            taken = after_wait(&self.word, TAG);
        }
        self.add();
        self.word.give_back();
    }
}

/// Every order with so many switches that no thread asked for; all of them would take hours.
fn model(switches: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(switches);
    builder.check(body);
}

fn three_threads(after_wait: fn(&Word, u32) -> bool) {
    model(2, move || {
        let model = Model::new();
        assert!(model.word.take(TAG));
        let others: Vec<_> = (0..2)
            .map(|_| {
                let model = Arc::clone(&model);
                thread::spawn(move || model.change(after_wait))
            })
            .collect();
        model.add();
        model.word.give_back();
        others.into_iter().for_each(|other| other.join().unwrap());
        // SAFETY: nobody else is there.
        assert_eq!(model.guarded.with(|guarded| unsafe { *guarded }), 3);
        assert!(!model.word.is_held());
    });
}

#[test]
fn one_at_a_time_has_it_and_nobody_is_forgotten() {
    three_threads(Word::take_after_wait);
}

#[test]
fn the_model_sees_a_waiter_that_is_forgotten() {
    let seen = std::panic::catch_unwind(|| three_threads(Word::take));
    assert!(seen.is_err(), "a thread that waited and does not say that others may wait");
}

#[test]
fn a_lock_of_another_process_is_told_and_taken_by_one() {
    loom::model(|| {
        let model = Model::new();
        assert!(model.word.take(TAG));
        assert!(model.word.is_of_another(TAG + 1) && !model.word.is_of_another(TAG));
        assert!(!model.word.take_from_another(TAG));
        let other = {
            let model = Arc::clone(&model);
            thread::spawn(move || {
                if model.word.take_from_another(TAG + 1) {
                    model.add();
                    model.word.give_back();
                }
            })
        };
        if model.word.take_from_another(TAG + 1) {
            model.add();
            model.word.give_back();
        }
        other.join().unwrap();
        assert!(!model.word.is_held());
        assert!(!model.word.is_of_another(TAG + 2));
    });
}

#[test]
fn a_writer_waits_for_readers_and_they_for_nobody() {
    model(2, || {
        let model = Model::new();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let model = Arc::clone(&model);
                thread::spawn(move || {
                    if model.shared.try_share() {
                        // SAFETY: as in `add`.
                        model.guarded.with(|guarded| unsafe { *guarded });
                        model.shared.unshare();
                    }
                })
            })
            .collect();
        while !model.shared.try_take() {
            model.shared.wait();
        }
        model.add();
        model.shared.give_back();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert!(!model.shared.is_used());
    });
}
