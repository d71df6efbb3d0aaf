//! Forks, for hosts that know better than the C library when one comes.

use tallyport_core::engine;

use crate::boundary::plain;

/// Says that this thread is about to fork; waits, two seconds at most, until no other thread is in
/// the middle of something that a child would find half done.
///
/// A host need not call this: around `fork` the library's own handlers run, and calling both, in any
/// order and any number of times, is harmless. It is for children that are made past the C library
/// (`clone`, `_Fork`). Until tallyport_after_fork_parent was called, by this thread, cold calls of
/// other threads wait (half a minute at most, should it be forgotten); recording goes on.
///
/// docs/FORK.md says what each kind of child may do. posix_spawn and vfork call no handler and need
/// none; a vfork child must not record and must not call anything of this library.
///
/// Threads: any thread; fork: before it. Ownership: nothing. Errors: none; a wait in vain is logged
/// later and counted under `fork` of tallyport_engine_status. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_before_fork() {
    plain!((), engine::before_fork());
}

/// Says that the fork that tallyport_before_fork announced is over, or failed; in the parent, by the
/// thread that announced it.
///
/// Threads: the one that forked; fork: after it, in the parent. Ownership: nothing. Errors: none;
/// without an announcement it does nothing. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_after_fork_parent() {
    plain!((), engine::after_fork_parent());
}

/// Says that this process is a forked child, before it makes other calls.
///
/// A child notices that by itself at its first cold call; one that was made past the C library and
/// starts threads that record before it makes a cold call should say so first.
///
/// Threads: the only one; fork: after it, in the child. Ownership: nothing. Errors: none; in a
/// process that is no child, or said so before, it does nothing. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_after_fork_child() {
    plain!((), engine::after_fork_child());
}
