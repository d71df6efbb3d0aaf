//! Sockets that a forked child does not keep: whoever talks to them talks to its parent.
//!
//! A child that kept a listening socket would keep its port after the parent ended, and answer nobody.
//! So each is noted here, by its number, from inside the gate; a child closes what is noted before
//! anything else. A number is closed only if it still means the same file: a child that was made past
//! the C library may have closed and opened others before it comes here.

use std::{
    os::fd::{AsFd, AsRawFd, RawFd},
    sync::atomic::{
        AtomicU64, AtomicUsize,
        Ordering::{AcqRel, Acquire, Release},
    },
};

use crate::model::fork;

/// Higher numbers are not noted. Memory is used for the numbers that are.
const NUMBERS: usize = 1 << 16;

/// The file that is noted under each number; 0: none.
static NOTED: [AtomicU64; NUMBERS] = [const { AtomicU64::new(0) }; NUMBERS];
/// One more than the highest number that was ever noted.
static END: AtomicUsize = AtomicUsize::new(0);

fn place(number: RawFd) -> Option<(usize, &'static AtomicU64)> {
    let number = usize::try_from(number).ok()?;
    NOTED.get(number).map(|place| (number, place))
}

/// What a descriptor leads to; never 0.
fn file(descriptor: impl AsFd) -> u64 {
    rustix::fs::fstat(descriptor).map_or(0, |about| about.st_ino).max(1)
}

/// Notes a descriptor that was opened, in the same passage of the gate. False: its number is too high.
pub(crate) fn note(descriptor: impl AsFd) -> bool {
    if !fork::on_child(close_noted) {
        return false;
    }
    let Some((number, place)) = place(descriptor.as_fd().as_raw_fd()) else { return false };
    END.fetch_max(number + 1, AcqRel);
    place.store(file(descriptor), Release);
    true
}

/// Before it is closed, in the same passage of the gate.
pub(crate) fn forget(descriptor: impl AsFd) {
    if let Some((_, place)) = place(descriptor.as_fd().as_raw_fd()) {
        place.store(0, Release);
    }
}

/// In a child: closes what its parent had noted. System calls that are async-signal-safe, no more.
fn close_noted() {
    let noted = NOTED.iter().take(END.load(Acquire));
    for (number, place) in (0..).zip(noted) {
        let wanted = place.swap(0, AcqRel);
        if wanted == 0 {
            continue;
        }
        // SAFETY: borrowed for a question that fails on a number that is not open.
        let descriptor = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        if file(descriptor) == wanted {
            // SAFETY: the copy of a socket whose owner runs in the parent only: nobody here uses or
            // closes it. Test: a_forked_child_keeps_no_socket_of_its_parents_server.
            unsafe { libc::close(number) };
        }
    }
}
