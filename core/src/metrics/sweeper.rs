//! When to look for idle series.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::table::IDLE_SWEEPS;

/// Spaces sweeps so that a series goes after [`IDLE_SWEEPS`] of them, and never before the timeout.
#[derive(Debug)]
pub(super) struct Sweeper {
    /// Least time between two sweeps, in nanoseconds; 0: none.
    every: u64,
    /// Monotonic time of the last one, in nanoseconds.
    last: AtomicU64,
}

impl Sweeper {
    pub(super) fn new(timeout: Option<Duration>, now: Duration) -> Self {
        let every =
            timeout.map_or(0, |timeout| ns(timeout).div_ceil(u64::from(IDLE_SWEEPS)).max(1));
        Self { every, last: AtomicU64::new(ns(now)) }
    }

    /// Whether it is time; true for one caller.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        if self.every == 0 {
            return false;
        }
        let (now, last) = (ns(now), self.last.load(Relaxed));
        now.saturating_sub(last) >= self.every
            && self.last.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
