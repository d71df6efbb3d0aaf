//! A data race on purpose: a sanitizer that does not report it is not on.

use std::{cell::UnsafeCell, thread};

struct Shared(UnsafeCell<u64>);

// SAFETY: it is not. That is the point: ThreadSanitizer must report the writes below, and
// tests/tsan.sh fails when it does not.
unsafe impl Sync for Shared {}

/// Two threads write one word without synchronisation.
pub(crate) fn plant() {
    let shared = Shared(UnsafeCell::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let shared = &shared;
                for round in 0..1000 {
                    // SAFETY: inside the cell's life; racing is the purpose.
                    unsafe { shared.0.get().write_volatile(round) };
                    thread::yield_now();
                }
            });
        }
    });
}
