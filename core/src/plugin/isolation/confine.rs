//! The first things that a helper does, before any code of a plugin is loaded: it keeps the control
//! socket and nothing else that is open, and sets the limits that the configuration asks for.

use std::{
    fs,
    os::fd::{FromRawFd, OwnedFd},
    time::Duration,
};

use rustix::{
    io::{FdFlags, fcntl_setfd},
    net::{SocketType, sockopt::socket_type},
    process::{Resource, Rlimit, Signal, getpgrp, getpid, getrlimit, setrlimit},
};

use super::{CONTROL_DESCRIPTOR, LOST_SOCKET};
use crate::{model::Error, plugin::HelperLimits};

/// The control socket, and nothing but it and the three standard descriptors open.
///
/// Called once, by a `main` that has opened nothing yet.
///
/// # Errors
/// That descriptor 3 is no such socket: people do not start helpers.
pub(super) fn take_control_socket() -> Result<OwnedFd, String> {
    const USAGE: &str = "is started by the Tallyport library, with a socket as descriptor 3";
    // SAFETY: asks for a number's flags; a closed number is an answer.
    if unsafe { libc::fcntl(CONTROL_DESCRIPTOR, libc::F_GETFD) } < 0 {
        return Err(USAGE.to_owned());
    }
    // SAFETY: open, and by the contract of this function nobody else's.
    // Test: a_helper_that_people_start_says_so.
    let socket = unsafe { OwnedFd::from_raw_fd(CONTROL_DESCRIPTOR) };
    match socket_type(&socket) {
        Ok(SocketType::SEQPACKET) => {}
        _ => return Err(USAGE.to_owned()),
    }
    // What the plugin starts does not get it.
    fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(|error| error.to_string())?;
    close_from(CONTROL_DESCRIPTOR + 1);
    Ok(socket)
}

fn close_from(first: i32) {
    // SAFETY: nothing that this process opened itself has such a number (its contract), so nobody
    // uses what is closed. Test: a_helper_has_its_own_group_and_only_the_descriptors_it_needs.
    let status = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
    if status == 0 {
        return;
    }
    // Before Linux 5.9.
    let Ok(entries) = fs::read_dir("/proc/self/fd") else { return };
    let open = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    for descriptor in open.filter(|number| *number >= first).collect::<Vec<_>>() {
        // SAFETY: as above; the folder itself is closed already, and closing twice is an answer.
        unsafe { libc::close(descriptor) };
    }
}

/// Sets limits for good: neither the plugin nor what it starts can raise them again.
pub(super) fn apply(limits: &HelperLimits) -> Result<(), Error> {
    // A crash is told by its signal; nobody cleans up after helpers that leave core files.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let wanted = [
        ("address_space_bytes", Resource::As, limits.address_space_bytes),
        ("open_files", Resource::Nofile, limits.open_files),
    ];
    for (key, resource, limit) in wanted {
        let Some(limit) = limit else { continue };
        // No more than the host itself has.
        let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let limit = Some(limit.min(most));
        setrlimit(resource, Rlimit { current: limit, maximum: limit }).map_err(|error| {
            Error::io(format_args!("set the limit `{key}`"), &error.into()).with_field(key)
        })?;
    }
    Ok(())
}

/// Gives the next call its CPU time: the limit counts from the start of the process, the
/// configuration's from the start of the call.
pub(super) fn begin_call(limits: &HelperLimits) {
    let Some(seconds) = limits.cpu_seconds else { return };
    let maximum = getrlimit(Resource::Cpu).maximum;
    let end = cpu_time().as_secs().saturating_add(1).saturating_add(seconds);
    let current = Some(end.min(maximum.unwrap_or(u64::MAX)));
    // One that cannot be set leaves the last one, which is stricter.
    let _ = setrlimit(Resource::Cpu, Rlimit { current, maximum });
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Linux and `time` is ours.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Ends this process and all that the plugin started, at once: the host is gone.
pub(super) fn end_with_the_host() -> ! {
    // The group is our own where the library started us.
    if getpgrp() == getpid() {
        let _ = rustix::process::kill_current_process_group(Signal::KILL);
    }
    end_now(0)
}

/// Ends this process because its socket is no socket any more: the plugin closed it.
pub(super) fn end_without_socket() -> ! {
    end_now(LOST_SOCKET)
}

fn end_now(code: i32) -> ! {
    // SAFETY: ends the process without running anything of the plugin's.
    // Test: what_ends_the_helper_costs_one_export_and_says_how.
    unsafe { libc::_exit(code) }
}
