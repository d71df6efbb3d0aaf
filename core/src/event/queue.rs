//! A subscriber's queue: events that wait until the host drains them.
//!
//! A forked child begins with an empty one: what waits is its parent's to handle.

use std::{
    collections::VecDeque,
    sync::atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
    time::{Duration, Instant},
};

use super::{
    listener::QueueLimits,
    payload::{Event, OwnedEvent},
};
use crate::model::{Condvar, Mutex, fork};

/// Events in order, up to a number and a size. Any thread puts them in and takes them out.
#[derive(Debug)]
pub(super) struct Queue {
    limits: QueueLimits,
    /// Events and bytes that are in it, or on their way.
    events: AtomicUsize,
    bytes: AtomicUsize,
    /// The fork generation that it is of.
    generation: AtomicU64,
    waiting: Mutex<Waiting>,
    came: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// With the bytes that each counts as.
    events: VecDeque<(OwnedEvent, usize)>,
    closed: bool,
}

/// Why nothing was taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Nothing {
    Came,
    /// It is empty, and stays so.
    WillCome,
}

impl Queue {
    pub(super) fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            events: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            generation: AtomicU64::new(fork::generation()),
            waiting: Mutex::default(),
            came: Condvar::new(),
        }
    }

    /// Puts a copy of an event in; false when there is no room, or it is closed.
    pub(super) fn push(&self, event: &Event<'_>) -> bool {
        self.forget_the_parents();
        // Looked at first, so that a full queue costs no copy.
        if self.events.load(Relaxed) >= self.limits.events {
            return false;
        }
        if self.events.fetch_add(1, Relaxed) >= self.limits.events {
            self.events.fetch_sub(1, Relaxed);
            return false;
        }
        let weight = event.weight();
        if self.bytes.fetch_add(weight, Relaxed) + weight > self.limits.bytes {
            self.gone(weight);
            return false;
        }
        let owned = event.to_owned();
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            drop(waiting);
            self.gone(weight);
            return false;
        }
        waiting.events.push_back((owned, weight));
        drop(waiting);
        self.came.notify_one();
        true
    }

    /// Takes the oldest event out; waits for one up to `timeout`.
    pub(super) fn pop(&self, timeout: Duration) -> Result<OwnedEvent, Nothing> {
        self.forget_the_parents();
        let until = Instant::now().checked_add(timeout);
        let mut waiting = self.waiting.lock();
        loop {
            if let Some((event, weight)) = waiting.events.pop_front() {
                drop(waiting);
                self.gone(weight);
                return Ok(event);
            }
            if waiting.closed {
                return Err(Nothing::WillCome);
            }
            match until {
                Some(until) if Instant::now() >= until => return Err(Nothing::Came),
                Some(until) => {
                    self.came.wait_until(&mut waiting, until);
                }
                None => self.came.wait(&mut waiting),
            }
        }
    }

    /// Takes nothing in from now on. What is in it can still be taken out.
    pub(super) fn close(&self) {
        self.waiting.lock().closed = true;
        self.came.notify_all();
    }

    /// Events in it.
    pub(super) fn len(&self) -> usize {
        self.forget_the_parents();
        self.waiting.lock().events.len()
    }

    fn gone(&self, weight: usize) {
        self.events.fetch_sub(1, Relaxed);
        self.bytes.fetch_sub(weight, Relaxed);
    }

    /// In a forked child, at the first use: empties it, and counts from nothing. What was on its way
    /// was so on threads that are not here.
    fn forget_the_parents(&self) {
        let generation = fork::generation();
        if self.generation.load(Acquire) == generation {
            return;
        }
        let mut waiting = self.waiting.lock();
        if self.generation.load(Relaxed) != generation {
            waiting.events.clear();
            self.events.store(0, Relaxed);
            self.bytes.store(0, Relaxed);
            self.generation.store(generation, Release);
        }
    }
}
