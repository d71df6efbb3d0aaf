//! Waiting for a word to change.

#[cfg(target_os = "linux")]
mod system {
    use std::{sync::atomic::AtomicU32, time::Instant};

    use rustix::thread::futex::{Flags, Timespec, wait, wake};

    /// Sleeps while the word is `expected`; wakes up for no reason too.
    pub(crate) fn wait_on(word: &AtomicU32, expected: u32, until: Option<Instant>) {
        let left = until.map(|until| {
            let left = until.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        // Whatever it answers, the caller looks at the word again.
        let _ = wait(word, Flags::PRIVATE, expected, left.as_ref());
    }

    pub(crate) fn wake_one(word: &AtomicU32) {
        let _ = wake(word, Flags::PRIVATE, 1);
    }

    pub(crate) fn wake_all(word: &AtomicU32) {
        let _ = wake(word, Flags::PRIVATE, i32::MAX.cast_unsigned());
    }
}

/// Untested: looks again after a short sleep.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::{
        sync::atomic::{AtomicU32, Ordering::Relaxed},
        time::{Duration, Instant},
    };

    pub(crate) fn wait_on(word: &AtomicU32, expected: u32, _until: Option<Instant>) {
        if word.load(Relaxed) == expected {
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    pub(crate) fn wake_one(_word: &AtomicU32) {}

    pub(crate) fn wake_all(_word: &AtomicU32) {}
}

pub(crate) use system::{wait_on, wake_all, wake_one};
