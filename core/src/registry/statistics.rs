//! What an entry of a registry did: counted with plain atomic additions, so that many threads may
//! use one entry at once.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::model::Mutex;

/// Counts that go on while they are read.
#[derive(Debug, Default)]
#[repr(align(64))] // what counts shall not slow down who only reads the entry
pub struct Statistics {
    calls: AtomicU64,
    failures: AtomicU64,
    bytes: AtomicU64,
    total_ns: AtomicU64,
    last_ns: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// What an entry did since it was registered. Counts of calls that end meanwhile may be in some
/// of the fields only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that succeeded.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Bytes of the calls that succeeded.
    pub bytes: u64,
    /// Time of the calls that succeeded, where it is measured.
    pub total_duration: Duration,
    /// Time of the last of them.
    pub last_duration: Duration,
    /// Message of the last failure.
    pub last_error: Option<String>,
}

impl Statistics {
    /// Counts a call whose time is not measured.
    #[inline]
    pub fn called(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    /// Counts a call that succeeded.
    pub fn succeeded(&self, duration: Duration, bytes: u64) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.bytes.fetch_add(bytes, Relaxed);
        self.total_ns.fetch_add(ns, Relaxed);
        self.last_ns.store(ns, Relaxed);
        self.called();
    }

    /// Counts a call that failed, and says how many did.
    pub fn failed(&self, message: String) -> u64 {
        *self.last_error.lock() = Some(message);
        self.failures.fetch_add(1, Relaxed) + 1
    }

    /// The counts now.
    #[must_use]
    pub fn read(&self) -> Counts {
        Counts {
            calls: self.calls.load(Relaxed),
            failures: self.failures.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            total_duration: Duration::from_nanos(self.total_ns.load(Relaxed)),
            last_duration: Duration::from_nanos(self.last_ns.load(Relaxed)),
            last_error: self.last_error.lock().clone(),
        }
    }
}
