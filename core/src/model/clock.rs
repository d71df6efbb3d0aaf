//! Time enters the engine here, so that every rule about it is tested without sleeping.

use std::{
    fmt::Debug,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Wall time and monotonic time.
pub trait Clock: Debug + Send + Sync {
    /// Nanoseconds since the Unix epoch; 0 for a wall clock before it.
    fn unix_ns(&self) -> u64;
    /// Monotonic time since an arbitrary start.
    fn monotonic(&self) -> Duration;
}

/// The system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn unix_ns(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}
