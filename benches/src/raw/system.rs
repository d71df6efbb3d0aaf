//! What the measuring threads ask of the system: their CPU, their priority, their CPU time.

use std::{ffi::CStr, mem, time::Duration};

/// CPUs that this process may run on.
#[must_use]
pub fn cpus() -> Vec<usize> {
    // SAFETY: a cpu_set_t is plain bits; zero is the empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the kernel writes at most the size that it is told.
    let status = unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) };
    if status != 0 {
        return vec![0];
    }
    let limit = usize::try_from(libc::CPU_SETSIZE).unwrap_or(1024);
    // SAFETY: `cpu` is below CPU_SETSIZE.
    (0..limit).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

/// Keeps the calling thread on one CPU. False when the system refuses.
pub fn pin(cpu: usize) -> bool {
    // SAFETY: as in `cpus`.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: callers pass CPUs that `cpus` named.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: reads the set only.
    unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) == 0 }
}

/// Lets the calling thread run before every normal one. False when the system refuses.
pub fn real_time() -> bool {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: reads the struct only; the policy ends with the thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const param) == 0 }
}

/// CPU time that the calling thread used so far.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists for every thread and `time` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Bytes of a memory page.
#[must_use]
pub fn page_bytes() -> u64 {
    // SAFETY: asks for a constant.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}

/// Version of the C library that runs.
#[must_use]
pub fn glibc() -> String {
    // SAFETY: glibc answers a static text.
    let text = unsafe { CStr::from_ptr(libc::gnu_get_libc_version()) };
    text.to_string_lossy().into_owned()
}
