//! Starts a helper with posix_spawn: no code of the host's runs between fork and exec.
//!
//! The helper gets the control socket as descriptor 3, a process group of its own, no signal that is
//! blocked or ignored, and nothing on its standard input and output. What else the host has open
//! without close-on-exec it closes itself before anything else (`confine.rs`).

use std::{
    ffi::{CStr, CString},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
    ptr,
};

use rustix::{io::fcntl_dupfd_cloexec, process::Pid};

use super::CONTROL_DESCRIPTOR;

unsafe extern "C" {
    /// The process's own environment; POSIX has it in no header.
    static environ: *const *mut libc::c_char;
}

/// Starts `program` with `arguments`; the first is the name that it sees itself under.
pub(super) fn spawn(program: &Path, arguments: &[&CStr], socket: &OwnedFd) -> io::Result<Pid> {
    let program = CString::new(program.as_os_str().as_bytes())?;
    // Far from 3, because a descriptor that is duplicated to itself stays close-on-exec.
    let socket = fcntl_dupfd_cloexec(socket, 64)?;
    let actions = Actions::new(&socket)?;
    let attributes = Attributes::new()?;
    let mut arguments: Vec<*mut libc::c_char> =
        arguments.iter().map(|argument| argument.as_ptr().cast_mut()).collect();
    arguments.push(ptr::null_mut());
    let mut pid = 0;
    // SAFETY: program and arguments are C text and a NULL-terminated list that live until the call
    // returns, actions and attributes were initialised, the environment is the process's own.
    // Test: a_helper_has_its_own_group_and_only_the_descriptors_it_needs.
    let status = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            actions.0.as_ptr(),
            attributes.0.as_ptr(),
            arguments.as_ptr(),
            environ.cast(),
        )
    };
    check(status)?;
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("posix_spawn gave no process"))
}

fn check(status: libc::c_int) -> io::Result<()> {
    if status == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(status)) }
}

struct Actions(MaybeUninit<libc::posix_spawn_file_actions_t>);

impl Actions {
    fn new(socket: &OwnedFd) -> io::Result<Self> {
        const NULL: &CStr = c"/dev/null";
        let mut raw = MaybeUninit::uninit();
        // SAFETY: initialises our variable.
        check(unsafe { libc::posix_spawn_file_actions_init(raw.as_mut_ptr()) })?;
        let mut actions = Self(raw);
        let raw = actions.0.as_mut_ptr();
        for (descriptor, flags) in [(0, libc::O_RDONLY), (1, libc::O_WRONLY)] {
            // SAFETY: initialised above; the path is static.
            check(unsafe {
                libc::posix_spawn_file_actions_addopen(raw, descriptor, NULL.as_ptr(), flags, 0)
            })?;
        }
        // SAFETY: as above; the descriptor is open until the child was started.
        check(unsafe {
            libc::posix_spawn_file_actions_adddup2(raw, socket.as_raw_fd(), CONTROL_DESCRIPTOR)
        })?;
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: `new` initialised it.
        unsafe { libc::posix_spawn_file_actions_destroy(self.0.as_mut_ptr()) };
    }
}

struct Attributes(MaybeUninit<libc::posix_spawnattr_t>);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut raw = MaybeUninit::uninit();
        // SAFETY: initialises our variable.
        check(unsafe { libc::posix_spawnattr_init(raw.as_mut_ptr()) })?;
        let mut attributes = Self(raw);
        let raw = attributes.0.as_mut_ptr();
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: initialises our variable.
        unsafe { libc::sigemptyset(none.as_mut_ptr()) };
        // SAFETY: initialises our variable.
        unsafe { libc::sigfillset(all.as_mut_ptr()) };
        // SAFETY: both were initialised above.
        check(unsafe { libc::posix_spawnattr_setsigmask(raw, none.as_ptr()) })?;
        // SAFETY: as above. What cannot be set (KILL, STOP) the C library leaves out.
        check(unsafe { libc::posix_spawnattr_setsigdefault(raw, all.as_ptr()) })?;
        // SAFETY: initialised above; 0: a group that is called as the process is.
        check(unsafe { libc::posix_spawnattr_setpgroup(raw, 0) })?;
        let flags = libc::POSIX_SPAWN_SETPGROUP
            | libc::POSIX_SPAWN_SETSIGMASK
            | libc::POSIX_SPAWN_SETSIGDEF;
        // SAFETY: initialised above.
        check(unsafe { libc::posix_spawnattr_setflags(raw, flags as libc::c_short) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: `new` initialised it.
        unsafe { libc::posix_spawnattr_destroy(self.0.as_mut_ptr()) };
    }
}
