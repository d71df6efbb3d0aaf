//! Threads that this library started: what asks the host's functions does not do so on them, unless
//! the host said that it may.

use std::cell::Cell;

thread_local! {
    static OWN: Cell<bool> = const { Cell::new(false) };
}

/// Says that the calling thread is one of ours. Its first words, where it is started.
pub fn mark() {
    // A thread that is ending asks nobody any more.
    let _ = OWN.try_with(|own| own.set(true));
}

/// Whether the calling thread is one of ours.
#[must_use]
pub fn is_own() -> bool {
    OWN.try_with(Cell::get).unwrap_or(false)
}
