//! Who runs this process, and whether its environment is somebody else's.

/// Whether the process has more rights than who started it (a setuid program, file capabilities):
/// what that user controls, the environment above all, must not be believed then.
pub(crate) fn is_secure_execution() -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: reads a number that the kernel gave at the start of the program.
        // Test: a_setuid_host_believes_no_environment.
        let flag = unsafe { libc::getauxval(libc::AT_SECURE) };
        flag != 0
    }
    #[cfg(not(target_os = "linux"))]
    {
        use rustix::process::{getegid, geteuid, getgid, getuid};
        getuid() != geteuid() || getgid() != getegid()
    }
}

/// Closes every descriptor but the standard ones: for a program at its very beginning, which must
/// not keep what its parent left open.
pub(crate) fn close_inherited() {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: nothing of this program has a descriptor yet, so none of its own is closed.
        // Test: the_helper_keeps_no_descriptor_of_its_host.
        unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    }
}

/// The user whose rights count.
pub(crate) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}
