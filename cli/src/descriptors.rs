//! Whether stdout was open when the process began.
//!
//! Before `main`, std opens /dev/null in place of a standard descriptor that is closed, so that
//! another file does not take its number. A report would then go nowhere and count as printed.
//! Constructors run before that.

#[cfg(target_os = "linux")]
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[cfg(target_os = "linux")]
static STDOUT_CLOSED: AtomicBool = AtomicBool::new(false);

// SAFETY: an array of such functions is what the section holds; it needs nothing of std.
// Test: a_closed_stdout_is_an_error.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

#[cfg(target_os = "linux")]
extern "C" fn look() {
    // SAFETY: asks for the flags of a descriptor number; nothing is opened, closed or read.
    let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
    STDOUT_CLOSED.store(flags == -1, Relaxed);
}

/// Whether what is written to stdout goes nowhere because it was closed (`>&-`).
pub(crate) fn stdout_was_closed() -> bool {
    #[cfg(target_os = "linux")]
    {
        STDOUT_CLOSED.load(Relaxed)
    }
    #[cfg(not(target_os = "linux"))]
    false
}
