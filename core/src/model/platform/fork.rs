//! `pthread_atfork`, and a mark that the kernel does not copy into children.

use std::{
    ptr,
    sync::atomic::{
        AtomicPtr, AtomicU32,
        Ordering::{Acquire, Release},
    },
};

static FIRST: AtomicU32 = AtomicU32::new(0);
/// A word that lives as long as the process: [`FIRST`], then one of a page that forks wipe.
static MARK: AtomicPtr<AtomicU32> = AtomicPtr::new((&raw const FIRST).cast_mut());

/// 0 until somebody stores something else; 0 again in a forked child, where [`is_wiped`].
#[inline]
pub(crate) fn mark() -> &'static AtomicU32 {
    let mark = MARK.load(Acquire);
    // SAFETY: a static, or a word of a page that is never unmapped; zeros are a value of it.
    // Test: a_raw_child_is_another_generation.
    unsafe { &*mark }
}

/// Whether the mark is one that forks wipe.
pub(crate) fn is_wiped() -> bool {
    !ptr::eq(mark(), &raw const FIRST)
}

/// Has the mark from now on in a page that forks wipe, with this value; false where the system has
/// no such thing.
#[cfg(target_os = "linux")]
pub(crate) fn set_mark(value: u32) -> bool {
    let Ok(page) = super::Mapping::private(PAGE) else { return false };
    let at = page.base();
    // SAFETY: advice on our own mapping, which holds nothing yet.
    if unsafe { libc::madvise(at.as_ptr().cast(), PAGE, libc::MADV_WIPEONFORK) } != 0 {
        return false;
    }
    // For the life of the process.
    std::mem::forget(page);
    let word = at.cast::<AtomicU32>().as_ptr();
    // SAFETY: the mapping's first bytes, aligned to a page, which nobody else knows.
    unsafe { &*word }.store(value, Release);
    MARK.store(word, Release);
    true
}

#[cfg(target_os = "linux")]
const PAGE: usize = 4096;

#[cfg(not(target_os = "linux"))]
pub(crate) fn set_mark(_value: u32) -> bool {
    false
}

/// Has these called around every fork that the C library makes: in the forking thread before it, and
/// after it in either process.
pub(crate) fn register(prepare: extern "C" fn(), parent: extern "C" fn(), child: extern "C" fn()) {
    // SAFETY: functions of this library, which is never unloaded while they may be called: the C
    // library forgets them when it is. Test: a_child_exports_while_its_parents_threads_work.
    let status = unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
    if status != 0 {
        tracing::error!(status, "the C library takes no fork handlers: forks are not waited for");
    }
}

/// Whether this is the only thread; false where nobody says.
pub(crate) fn is_single_threaded() -> bool {
    #[cfg(target_os = "linux")]
    {
        // The folder has a link for itself, one for its name, and one from each thread's folder.
        rustix::fs::stat(c"/proc/self/task").is_ok_and(|folder| folder.st_nlink == 3)
    }
    #[cfg(not(target_os = "linux"))]
    {
        false
    }
}
