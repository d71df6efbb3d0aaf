//! Who runs.

/// An identity of the running thread: its thread pointer, which needs no thread-local storage.
///
/// Even, never 0, shared with no other running thread.
#[inline]
pub(crate) fn this_thread() -> usize {
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    {
        let pointer: usize;
        // SAFETY: the ABI of x86-64 Linux: the word at %fs:0 is the thread pointer itself.
        unsafe {
            std::arch::asm!("mov {}, fs:[0]", out(reg) pointer,
                options(pure, readonly, nostack, preserves_flags));
        }
        pointer
    }
    #[cfg(all(target_arch = "aarch64", target_os = "linux"))]
    {
        let pointer: usize;
        // SAFETY: the ABI of aarch64 Linux: the register holds the thread pointer. Untested.
        unsafe {
            std::arch::asm!("mrs {}, tpidr_el0", out(reg) pointer,
                options(pure, nomem, nostack, preserves_flags));
        }
        pointer
    }
    #[cfg(not(all(any(target_arch = "x86_64", target_arch = "aarch64"), target_os = "linux")))]
    {
        // SAFETY: has no precondition.
        unsafe { libc::pthread_self() as usize }
    }
}
