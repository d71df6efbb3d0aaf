//! The probe: a file is tried in the helper program before its code runs in the host.
//!
//! A damaged or hanging file kills or blocks the helper, which has a time limit, and not the host.
//! The helper is started by posix_spawn (what std does for a command like this one): nothing runs
//! between fork and exec. Helper and host talk in lines over the helper's stdout, so that it does
//! not matter when somebody else reaps the child (ECHILD): what it said counts, and its exit status
//! where there is one. What the probe does not see: code that behaves otherwise in the host.

use std::{
    ffi::OsString,
    io::{self, PipeReader, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};

use super::{
    pin::{PinnedLibrary, Sha256},
    verify::refused,
};
use crate::model::{Error, ErrorKind};

/// When a file is tried in the helper program first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Probe {
    /// A file without a pin, where the helper is found; else with a warning.
    #[default]
    Auto,
    /// Every file; one that cannot be tried is not loaded.
    Always,
    /// No file.
    Never,
}

/// How every line of the helper begins. Another protocol has another number.
pub const PROBE_LINE: &str = "tallyport-probe/1 ";
/// Longest line of the helper that is read; it bounds the text of errors too.
const MAX_LINE: usize = 8192;
/// How much of what the helper says on stderr is shown.
const MAX_STDERR: usize = 2048;

/// What the helper is to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeJob {
    /// The plugin file.
    pub file: PathBuf,
    /// What it was when the host read it: another file is not loaded.
    pub sha256: Sha256,
    /// Whether the very bytes are loaded, and not what is under that path.
    pub pinned: bool,
    /// What a pinned file needs besides the system's libraries.
    pub libraries: Vec<PinnedLibrary>,
}

const PINNED: &str = "pinned";

impl ProbeJob {
    /// What a helper reads with [`ProbeJob::from_args`].
    pub(super) fn to_args(&self) -> Vec<OsString> {
        let how = if self.pinned { PINNED } else { "in-place" };
        let mut args = vec![how.into(), self.sha256.to_string().into(), self.file.clone().into()];
        for PinnedLibrary { name, path, sha256 } in &self.libraries {
            args.extend([name.into(), sha256.to_string().into(), path.clone().into()]);
        }
        args
    }

    /// What the host asked for; `None`: that is no host of this version.
    #[must_use]
    pub fn from_args(mut args: impl Iterator<Item = OsString>) -> Option<Self> {
        let pinned = args.next()? == PINNED;
        let hash = |text: OsString| text.to_str()?.parse().ok();
        let (sha256, file) = (hash(args.next()?)?, args.next()?.into());
        let mut libraries = Vec::new();
        while let Some(name) = args.next() {
            let name = name.into_string().ok()?;
            let (sha256, path) = (hash(args.next()?)?, args.next()?.into());
            libraries.push(PinnedLibrary { name, path, sha256 });
        }
        Some(Self { file, sha256, pinned, libraries })
    }
}

/// Why a file did not pass the probe.
pub(super) enum Failed {
    /// The helper could not be started: nothing is known of the file.
    NotStarted(io::Error),
    /// The file is not to be loaded.
    Refused(Error),
}

/// Tries a file in the helper at `helper`.
///
/// A file is refused for what the loader there said, and when it crashes, hangs or ends the process.
pub(super) fn run(helper: &Path, job: &ProbeJob, limit: Duration) -> Result<(), Failed> {
    let start = Instant::now();
    let file = &*job.file;
    let mut command = Command::new(helper);
    command.arg("probe").args(job.to_args());
    // A group of its own: what the file starts ends with it.
    command.stdin(Stdio::null()).process_group(0);
    let heard = Heard::listen(&mut command, start + limit).map_err(Failed::NotStarted)?;
    heard.verdict(limit).map_err(|verdict| {
        Failed::Refused(match verdict {
            Verdict::Loader(kind, message) => Error::new(kind, message).with_field("path"),
            Verdict::Broken(reason) => refused(file, reason),
            Verdict::NoHelper => {
                let (helper, name) = (helper.display(), super::helper::HELPER_NAME);
                let reason = format!("`{helper}` is not the {name} of this version");
                refused(file, format!("it could not be tried: {reason}"))
            }
        })
    })
}

/// What a probe said, and how it ended.
#[derive(Debug, Default)]
struct Heard {
    answer: Answer,
    stderr: Vec<u8>,
    /// `None`: it ran into its time limit, or somebody else reaped it.
    status: Option<ExitStatus>,
    timed_out: bool,
    seen_to_end: bool,
}

/// The helper's own lines, in between what the file prints.
#[derive(Debug, Default)]
struct Answer {
    line: Vec<u8>,
    /// The last thing that it began to do.
    stage: Option<String>,
    done: bool,
    /// Status and message of the loader.
    refused: Option<(i32, String)>,
}

enum Verdict {
    Loader(ErrorKind, String),
    Broken(String),
    NoHelper,
}

impl Heard {
    fn listen(command: &mut Command, deadline: Instant) -> io::Result<Self> {
        let (out, out_writer) = io::pipe()?;
        let (err, err_writer) = io::pipe()?;
        let mut child = command.stdout(out_writer).stderr(err_writer).spawn()?;
        // The command keeps its ends of the pipes open.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut heard = Self::default();
        let listened = heard.until_end(&child, [out, err], deadline);
        // Also when listening failed: nothing of it stays behind.
        heard.reap(&mut child, deadline);
        listened.map(|()| heard)
    }

    /// Reads until the helper ended or the deadline passed.
    fn until_end(
        &mut self,
        child: &Child,
        pipes: [PipeReader; 2],
        deadline: Instant,
    ) -> io::Result<()> {
        let ended = end_of(child);
        let mut pipes = pipes.map(Some);
        loop {
            // Whatever it said before it ended is in the pipes when its end is seen.
            let over = is_ready(ended.as_ref(), deadline, &pipes)?;
            let mut read = false;
            for (index, pipe) in pipes.iter_mut().enumerate() {
                let Some(open) = pipe else { continue };
                if !readable(open.as_fd())? {
                    continue;
                }
                let mut bytes = [0; 4096];
                match open.read(&mut bytes)? {
                    0 => *pipe = None,
                    len => {
                        read = true;
                        let bytes = bytes.get(..len).unwrap_or_default();
                        if index == 0 { self.answer.take(bytes) } else { self.take_stderr(bytes) }
                    }
                }
            }
            let silent = pipes.iter().all(Option::is_none);
            // Its children may keep the pipes; without a descriptor of the process, they tell.
            if (over && !read) || (silent && ended.is_none()) {
                self.seen_to_end = over;
                return Ok(());
            }
            if Instant::now() >= deadline {
                self.timed_out = true;
                return Ok(());
            }
        }
    }

    fn take_stderr(&mut self, bytes: &[u8]) {
        self.stderr.extend_from_slice(bytes);
        let surplus = self.stderr.len().saturating_sub(MAX_STDERR);
        self.stderr.drain(..surplus);
    }

    /// Ends the helper and everything that it started.
    fn reap(&mut self, child: &mut Child, deadline: Instant) {
        // Where its end could not be waited for, it may be about to end by itself.
        while !self.timed_out && !self.seen_to_end && matches!(child.try_wait(), Ok(None)) {
            self.timed_out = Instant::now() >= deadline;
            std::thread::sleep(Duration::from_millis(1));
        }
        let pid = Pid::from_child(child);
        // Only while the child is there, ended or not, does its number belong to its group.
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if waitid(WaitId::Pid(pid), look).is_ok() {
            // No such group: it is gone.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        self.status = child.wait().ok().filter(|_| !self.timed_out);
    }

    fn verdict(self, limit: Duration) -> Result<(), Verdict> {
        let Some(stage) = &self.answer.stage else {
            // Not even its first line: it is something else, or it crashed before.
            return Err(Verdict::NoHelper);
        };
        if self.timed_out {
            let reason = format!("it hung in the probe (while {stage}, for {limit:?})");
            return Err(Verdict::Broken(self.untouched(&reason)));
        }
        if let Some((status, message)) = &self.answer.refused {
            return Err(Verdict::Loader(ErrorKind::from_status(*status), message.clone()));
        }
        if self.answer.done && self.status.is_none_or(|status| status.success()) {
            return Ok(());
        }
        let (signal, code) =
            self.status.map_or((None, None), |status| (status.signal(), status.code()));
        let how = match (signal, code) {
            (Some(signal), _) => {
                format!("it crashed in the probe ({}, while {stage})", signal_name(signal))
            }
            (None, Some(code)) => {
                format!("it ended the process in the probe (exit code {code}, while {stage})")
            }
            (None, None) => format!("it ended the process in the probe (while {stage})"),
        };
        Err(Verdict::Broken(self.untouched(&how)))
    }

    fn untouched(&self, reason: &str) -> String {
        let stderr = String::from_utf8_lossy(&self.stderr);
        match stderr.trim() {
            "" => format!("{reason}; its code did not run in this process"),
            said => format!("{reason}; its code did not run in this process. It said: {said}"),
        }
    }
}

impl Answer {
    fn take(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if byte != b'\n' {
                if self.line.len() < MAX_LINE {
                    self.line.push(byte);
                }
                continue;
            }
            let line = std::mem::take(&mut self.line);
            let Ok(line) = str::from_utf8(&line) else { continue };
            let Some(word) = line.strip_prefix(PROBE_LINE) else { continue };
            match word.strip_prefix("refused ").and_then(|rest| rest.split_once(' ')) {
                Some((status, message)) => {
                    let message = serde_json::from_str(message).unwrap_or_default();
                    self.refused = Some((status.parse().unwrap_or_default(), message));
                }
                None if word == "done" => (self.done, self.stage) = (true, Some("ending".into())),
                None => self.stage = Some(word.to_owned()),
            }
        }
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

/// Something that becomes readable when the process ended, where the system has that.
fn end_of(child: &Child) -> Option<OwnedFd> {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{PidfdFlags, pidfd_open};
        pidfd_open(Pid::from_child(child), PidfdFlags::empty()).ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = child;
        None
    }
}

/// Waits until there is something to read or the process ended; answers whether it ended.
fn is_ready(
    ended: Option<&OwnedFd>,
    deadline: Instant,
    pipes: &[Option<PipeReader>; 2],
) -> io::Result<bool> {
    let mut waited: Vec<PollFd<'_>> = Vec::with_capacity(3);
    waited.extend(pipes.iter().flatten().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
    waited.extend(ended.map(|ended| PollFd::new(ended, PollFlags::IN)));
    let left = deadline.saturating_duration_since(Instant::now());
    let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 3600, tv_nsec: 0 });
    match poll(&mut waited, Some(&left)) {
        // A signal of the host's.
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(ended.is_some() && waited.last().is_some_and(|fd| !fd.revents().is_empty())),
    }
}

fn readable(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut one = [PollFd::new(&fd, PollFlags::IN)];
    match poll(&mut one, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
        Ok(count) => Ok(count > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_its_arguments() {
        let library = PinnedLibrary {
            name: "liby.so.1".to_owned(),
            path: "/v/y.so".into(),
            sha256: Sha256::of(b"y"),
        };
        for (pinned, libraries) in [(false, vec![]), (true, vec![]), (true, vec![library])] {
            let (file, sha256) = ("/v/x\n.so".into(), Sha256::of(b"x"));
            let job = ProbeJob { file, sha256, pinned, libraries };
            assert_eq!(ProbeJob::from_args(job.to_args().into_iter()), Some(job));
        }
        assert_eq!(ProbeJob::from_args(["pinned".into()].into_iter()), None);
    }

    #[test]
    fn only_whole_lines_of_the_helper_count() {
        let mut answer = Answer::default();
        for piece in ["noise", "\ntallyport-pro", "be/1 loading\n", "\nxtallyport-probe/1 done\n"] {
            answer.take(piece.as_bytes());
        }
        assert_eq!((answer.stage.as_deref(), answer.done), (Some("loading"), false));
        answer.take(&vec![b'x'; 1 << 20]);
        assert!(answer.line.len() <= MAX_LINE);
        answer.take(b"\ntallyport-probe/1 refused 11 \"no \\\"x\\\"\"\n");
        assert_eq!(answer.refused, Some((11, "no \"x\"".to_owned())));
    }
}
