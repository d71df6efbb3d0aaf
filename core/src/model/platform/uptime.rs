//! The clock that no adjustment moves and that suspended time counts in.

use std::mem::MaybeUninit;

#[cfg(target_os = "linux")]
const CLOCK: libc::clockid_t = libc::CLOCK_BOOTTIME;
// Where there is no such clock: the one that goes on is close to it.
#[cfg(not(target_os = "linux"))]
const CLOCK: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// Nanoseconds since the system started. Async-signal-safe.
pub(crate) fn uptime_ns() -> u64 {
    let mut now = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: fills a structure of our own; a clock that is not there leaves it at zero.
    // Test: leases_of_an_earlier_boot_have_ended.
    unsafe { libc::clock_gettime(CLOCK, now.as_mut_ptr()) };
    // SAFETY: zeroed, and then filled in; integers.
    let now = unsafe { now.assume_init() };
    now.tv_sec.cast_unsigned().saturating_mul(1_000_000_000) + now.tv_nsec.cast_unsigned()
}

/// Milliseconds since the system started.
#[cfg(feature = "store-sqlite")]
pub(crate) fn uptime_ms() -> i64 {
    (uptime_ns() / 1_000_000).cast_signed()
}
