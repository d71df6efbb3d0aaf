//! How long an exporter may take, how much it may write, and how often it may fail.

use std::time::Duration;

/// Bounds on one exporter. The default sets no deadline, so nothing runs on another thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest time of a call, the wait for its turn included; `None`: calls run on the caller's
    /// thread for as long as they take.
    pub deadline: Option<Duration>,
    /// How long a call may go on after it was cancelled at its deadline, before it is given up.
    pub grace: Duration,
    /// How long shutdown may take, where there is a deadline.
    pub drain: Duration,
    /// Calls that may wait for their turn, where there is a deadline.
    pub queue: usize,
    /// Threads that may hang in calls that were given up; at that number no other one is started.
    pub max_zombies: usize,
    /// Most bytes of one export.
    pub max_output_bytes: u64,
    /// Failures in a row after which the exporter is left alone for a while; 0: never.
    pub breaker_failures: u32,
    /// How long it is left alone; doubles with each time that it fails again.
    pub backoff: Duration,
    /// The most that `backoff` doubles to.
    pub max_backoff: Duration,
    /// How often an exporter that panicked is made anew before it is given up. Counts anew after
    /// `max_backoff` without a panic.
    pub max_restarts: u32,
}

impl Limits {
    /// Failures in a row that open the circuit of an exporter with a deadline.
    pub const BREAKER_FAILURES: u32 = 5;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            deadline: None,
            grace: Duration::from_millis(500),
            drain: Duration::from_secs(5),
            queue: 16,
            max_zombies: 2,
            max_output_bytes: 1 << 30,
            breaker_failures: 0,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(300),
            max_restarts: 5,
        }
    }
}
