//! What the calling convention says that a function leaves as it was, and a broken one does not.

/// Sets the processor's direction flag right, and tells whether a function left it wrong: copies of
/// memory would run backwards from then on.
pub(crate) fn reset_direction() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let flags: u64;
        // SAFETY: reads the flags over the stack, and clears one that every function may rely on.
        // Test: a_direction_that_was_left_wrong_is_found.
        unsafe { std::arch::asm!("pushfq", "pop {}", "cld", out(reg) flags) };
        flags & 0x400 != 0
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Has malloc fill what it hands out and what it gets back with something that is not zero.
pub(crate) fn fill_new_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const M_PERTURB: libc::c_int = -6;
        // SAFETY: sets a number of the allocator's; no memory that is in use changes.
        // Test: bytes_that_passed_are_not_tried_again.
        unsafe { libc::mallopt(M_PERTURB, 0xa5) };
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    #[test]
    fn a_direction_that_was_left_wrong_is_found() {
        assert!(!reset_direction());
        // SAFETY: nothing runs between this and the next line, which sets it right.
        unsafe { std::arch::asm!("std") };
        assert!(reset_direction());
        assert!(!reset_direction());
    }
}
