//! A helper process from outside: whether it lives, how it ended, and its end.
//!
//! The host may reap children itself (forking servers do), so an exit status can be gone: that is
//! an ending too. Nobody is signalled by number but a child that was not reaped yet: its number
//! cannot be another process's.

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process_group,
        pidfd_open, pidfd_send_signal, waitid, waitpid,
    },
};

use super::{LOST_SOCKET, channel::wait_for, spawn::spawn};
use crate::model::fork;

/// How long a process may take to be gone after SIGKILL; only one that the kernel holds takes long.
const KILLED: Duration = Duration::from_secs(5);

/// A child of this process, until its end was seen.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    /// `None` on a kernel without them (before 5.3).
    pidfd: Option<OwnedFd>,
    /// Of the process that started it: in a forked copy of the host it is somebody else's.
    generation: u64,
    ended: Option<Ending>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Exited(i32),
    Killed(i32),
    /// Somebody else took its status.
    Unknown,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exited(LOST_SOCKET) => {
                f.write_str("ended, because something in it closed its socket to this process")
            }
            Self::Exited(code) => write!(f, "ended with exit code {code}"),
            Self::Killed(signal) => {
                let (name, why) = match signal {
                    libc::SIGSEGV => ("SIGSEGV", ": a memory fault"),
                    libc::SIGABRT => ("SIGABRT", ": it aborted"),
                    libc::SIGBUS => ("SIGBUS", ": a memory fault"),
                    libc::SIGFPE => ("SIGFPE", ": an arithmetic fault"),
                    libc::SIGILL => ("SIGILL", ": an invalid instruction"),
                    libc::SIGTRAP => ("SIGTRAP", ": a breakpoint"),
                    libc::SIGKILL => {
                        ("SIGKILL", ": somebody killed it, or the system ran out of memory")
                    }
                    libc::SIGTERM => ("SIGTERM", ": somebody ended it"),
                    libc::SIGXCPU => ("SIGXCPU", ": a call used more than its `cpu_seconds`"),
                    libc::SIGXFSZ => ("SIGXFSZ", ": a file grew too large"),
                    libc::SIGSYS => ("SIGSYS", ": a forbidden system call"),
                    libc::SIGPIPE => ("SIGPIPE", ": it wrote to a closed pipe"),
                    _ => return write!(f, "was killed by signal {signal}"),
                };
                write!(f, "was killed by signal {signal} ({name}){why}")
            }
            Self::Unknown => {
                f.write_str("ended; the program reaps its children itself, so how is not known")
            }
        }
    }
}

impl Child {
    pub(super) fn start(program: &Path, socket: &OwnedFd) -> io::Result<Self> {
        let pid = spawn(program, &[c"tallyport-plugin-host", c"serve"], socket)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok();
        Ok(Self { pid, pidfd, generation: fork::generation(), ended: None })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Readable when it is gone.
    pub(super) fn watch(&self) -> io::Result<Option<OwnedFd>> {
        self.pidfd.as_ref().map(OwnedFd::try_clone).transpose()
    }

    /// Whether this process started it, and not one that this one was forked from.
    pub(super) fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }

    /// Waits for its end; `None`: it still runs.
    pub(super) fn wait(&mut self, until: Instant) -> Option<Ending> {
        // Where there is no pidfd it is looked at, ever less often.
        let mut pause = Duration::from_micros(50);
        loop {
            if let Some(ended) = self.try_wait() {
                return Some(ended);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            match &self.pidfd {
                Some(pidfd) => {
                    let _ = wait_for(pidfd.as_fd(), Some(until));
                }
                None => {
                    thread::sleep(pause.min(left));
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
            }
        }
    }

    fn try_wait(&mut self) -> Option<Ending> {
        if self.ended.is_some() {
            return self.ended;
        }
        if !self.is_ours() {
            return Some(Ending::Unknown);
        }
        // What it started ends with it, while its number is still its own.
        let exited = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if let Ok(Some(_)) = waitid(WaitId::Pid(self.pid), exited) {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        self.ended = match waitpid(Some(self.pid), WaitOptions::NOHANG) {
            Ok(None) | Err(Errno::INTR) => None,
            Ok(Some((_, status))) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Some(Ending::Exited(code)),
                (_, Some(signal)) => Some(Ending::Killed(signal)),
                _ => None,
            },
            Err(_) => match &self.pidfd {
                // Not ours to wait for, and yet running: the host ignores SIGCHLD.
                Some(pidfd) => {
                    let now = Some(Instant::now());
                    let gone = wait_for(pidfd.as_fd(), now).unwrap_or(true);
                    gone.then_some(Ending::Unknown)
                }
                None => Some(Ending::Unknown),
            },
        };
        self.ended
    }

    /// Ends it and all that it started, and sees to it that no zombie is left.
    pub(super) fn kill(&mut self) -> Option<Ending> {
        if let Some(ended) = self.try_wait() {
            return Some(ended);
        }
        let running = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Still our child, so its number is its own: the group has that number.
        if waitid(WaitId::Pid(self.pid), running).is_ok() {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        if let Some(pidfd) = &self.pidfd {
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
        self.wait(Instant::now() + KILLED)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill().is_none() {
            tracing::warn!(pid = self.pid(), "a plugin's helper process does not end when killed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_name_signal_or_code() {
        let says = |ending: Ending, what: &str| {
            assert!(ending.to_string().contains(what), "{ending}");
        };
        says(Ending::Exited(3), "exit code 3");
        says(Ending::Killed(11), "signal 11 (SIGSEGV)");
        says(Ending::Killed(9), "out of memory");
        says(Ending::Killed(63), "signal 63");
        says(Ending::Unknown, "reaps its children itself");
    }
}
