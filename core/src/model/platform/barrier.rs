//! `membarrier`: a full barrier on every CPU that runs a thread of this process.

#[cfg(target_os = "linux")]
mod system {
    // include/uapi/linux/membarrier.h
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: takes numbers only, and changes nothing but the order of memory accesses.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    pub(crate) fn register() -> bool {
        membarrier(REGISTER_PRIVATE_EXPEDITED)
    }

    pub(crate) fn pass() -> bool {
        // A forked child may have to register anew.
        membarrier(PRIVATE_EXPEDITED) || (register() && membarrier(PRIVATE_EXPEDITED))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(crate) fn register() -> bool {
        false
    }

    pub(crate) fn pass() -> bool {
        false
    }
}

pub(crate) use system::{pass, register};
