//! Processes: the case's own, its group as a whole, and a fork of it.

use std::{
    io::{self, Read, Write},
    os::unix::process::CommandExt,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

/// How often an end is looked for.
const TICK: Duration = Duration::from_millis(2);

/// A process that leads a group of its own.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) child: Child,
}

/// How the leader of a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Signal(i32),
    /// It did not end in time, and was killed with its group.
    Timeout,
}

impl Group {
    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        Ok(Self { child: command.process_group(0).spawn()? })
    }

    /// Waits for the leader to end, at most until `limit`, then kills what is left of the group.
    ///
    /// The second: whether something was left.
    pub(crate) fn end(&mut self, limit: Instant) -> io::Result<(End, bool)> {
        use std::os::unix::process::ExitStatusExt;
        let group = libc::pid_t::try_from(self.child.id()).unwrap_or(0);
        let in_time = loop {
            if ended(group) {
                break true;
            }
            if Instant::now() >= limit {
                break false;
            }
            thread::sleep(TICK);
        };
        if !in_time {
            kill_group(group);
        }
        let status = self.child.wait()?;
        // The leader is reaped: who still answers to the group was left behind.
        let left = kill_group(group) && in_time;
        let end = match (in_time, status.code(), status.signal()) {
            (false, ..) => End::Timeout,
            (true, Some(code), _) => End::Exit(code),
            (true, None, signal) => End::Signal(signal.unwrap_or(0)),
        };
        Ok((end, left))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A runner that gives up leaves nothing behind; a group that ended is not there.
        if let Ok(None) = self.child.try_wait() {
            kill_group(libc::pid_t::try_from(self.child.id()).unwrap_or(0));
            let _ = self.child.wait();
        }
    }
}

/// Whether the child ended; it is not reaped, so its number stays its own.
fn ended(pid: libc::pid_t) -> bool {
    // SAFETY: an all-zero siginfo_t is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let id = libc::id_t::try_from(pid).unwrap_or(0);
    // SAFETY: waits for our own child; `info` is ours.
    let status = unsafe { libc::waitid(libc::P_PID, id, &raw mut info, flags) };
    // SAFETY: filled by waitid, or zero.
    status != 0 || unsafe { info.si_pid() } == pid
}

/// Kills a group; whether it was there.
fn kill_group(group: libc::pid_t) -> bool {
    // 0 and 1 would be our own group, and everybody.
    // SAFETY: a signal to a group that this process started.
    group > 1 && unsafe { libc::kill(-group, libc::SIGKILL) } == 0
}

/// Prepares this process for a case: no core file, and an end when the runner ends.
pub(crate) fn prepare() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: limits of our own process.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &raw const none) };
    #[cfg(target_os = "linux")]
    {
        let signal: libc::c_ulong = libc::SIGKILL as libc::c_ulong;
        // SAFETY: asks for a signal to our own process.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal) };
    }
}

/// Runs `body` in a fork of this process. What it returns comes back; so does how it died.
///
/// The fork ends without running anything else, and must return within `limit`.
pub(crate) fn fork(
    limit: Duration,
    body: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let pipe = io::pipe().map_err(|error| format!("the kit has no pipe: {error}"))?;
    let (mut read, mut write) = pipe;
    // SAFETY: the kit has one thread here, so the child is whole on its side; threads of the
    // plugin are missing in it, which is the point. Test: the_kit_fails_what_is_bad_under_the_name_of_the_case.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let text = body().err().unwrap_or_default();
        let _ = write.write_all(text.as_bytes());
        // SAFETY: ends the fork without destructors that belong to the parent.
        unsafe { libc::_exit(if text.is_empty() { 0 } else { 1 }) };
    }
    drop(write);
    if pid < 0 {
        return Err(format!("the kit cannot fork: {}", io::Error::last_os_error()));
    }
    let until = Instant::now() + limit;
    while !ended(pid) && Instant::now() < until {
        thread::sleep(TICK);
    }
    let in_time = ended(pid);
    if !in_time {
        // SAFETY: our own child, not reaped yet.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    let mut text = String::new();
    // The fork is gone, so this ends; a text that is cut still says something.
    let _ = read.read_to_string(&mut text);
    if !in_time {
        return Err(format!("it did not come back within {} s", limit.as_secs()));
    }
    if libc::WIFSIGNALED(status) {
        let signal = crate::words::signal(libc::WTERMSIG(status));
        return Err(format!("it died of {signal}"));
    }
    match (libc::WEXITSTATUS(status), text.as_str()) {
        (0, "") => Ok(()),
        (code, "") => Err(format!("it ended the process with code {code}")),
        (_, text) => Err(text.to_owned()),
    }
}

/// Bytes that the allocator has given out, in this process.
pub(crate) fn allocated() -> u64 {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: reads the allocator's own counters.
        let counters = unsafe { libc::mallinfo2() };
        (counters.uordblks + counters.hblkhd) as u64
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    0
}
