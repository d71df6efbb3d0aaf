//! How the command ends: the exit codes, and the failure that carries one with its message.

use std::{fmt, io};

use tallyport_core::model::{Error, ErrorKind};

/// The exit codes. Their numbers and meanings never change; `tallyport --help` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done. Plugins that were not needed may have failed: warnings say so.
    Ok = 0,
    /// Nothing below fits: a bug, or the machine.
    Unexpected = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is invalid.
    Config = 3,
    /// Some targets failed.
    Partial = 4,
    /// All targets failed, and a later try may succeed.
    Retry = 5,
    /// Skipped because another process had the lock, with `--fail-on-skip`.
    Skipped = 6,
    /// A snapshot or an arena is missing, unreadable or damaged.
    State = 7,
    /// A deadline passed.
    Timeout = 8,
    /// A plugin that is required, or that the command needs, was refused.
    PluginRefused = 9,
    /// All targets failed, and a later try will fail too.
    Failed = 10,
    /// SIGINT ended it: what was asked was answered, no lease and no unfinished file is left behind.
    Interrupted = 130,
    /// The reader of stdout went away: the code that a shell shows for the signal.
    Pipe = 141,
    /// SIGTERM ended it, as above.
    Terminated = 143,
}

impl Exit {
    /// Every code with its line in the help.
    pub(crate) const ALL: [(Self, &str); 14] = [
        (Self::Ok, "done"),
        (Self::Unexpected, "unexpected: a bug, or the machine"),
        (Self::Usage, "usage: the command line is wrong"),
        (Self::Config, "the configuration is invalid"),
        (Self::Partial, "partial: some targets failed"),
        (Self::Retry, "all targets failed, a later try may succeed (a full disk)"),
        (Self::Skipped, "skipped: another process exports or publishes, with --fail-on-skip"),
        (Self::State, "the snapshot or arena is missing, unreadable or damaged"),
        (Self::Timeout, "a deadline passed"),
        (Self::PluginRefused, "a plugin that is required or needed was refused"),
        (Self::Failed, "all targets failed, a later try will fail too"),
        (Self::Interrupted, "ended by SIGINT: what was asked was answered, nothing is left behind"),
        (Self::Pipe, "the reader of stdout went away; no message, as `head` expects"),
        (Self::Terminated, "ended by SIGTERM: what was asked was answered, nothing is left behind"),
    ];

    /// The number.
    pub(crate) const fn code(self) -> u8 {
        self as u8
    }
}

/// Why the command failed: what a person reads, and how the process ends.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The code.
    pub(crate) exit: Exit,
    /// `what: reason`; empty: nothing is said.
    pub(crate) message: String,
    /// Lines that are printed as they are, for example `file:line:column: …`.
    pub(crate) details: Vec<String>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// `tallyport: what: reason`.
    pub(crate) fn new(exit: Exit, what: impl fmt::Display, reason: impl fmt::Display) -> Self {
        Self { exit, message: format!("{what}: {reason}"), details: Vec::new(), hint: None }
    }

    /// Ends so without a word.
    pub(crate) fn quiet(exit: Exit) -> Self {
        Self { exit, message: String::new(), details: Vec::new(), hint: None }
    }

    /// The command line is wrong in a way that clap cannot see.
    pub(crate) fn usage(reason: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, "usage", reason)
    }

    /// Adds what to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds lines below the message.
    pub(crate) fn details(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.details.extend(lines);
        self
    }

    /// Writing to `what` failed: quiet when a pipe's reader went away, else retryable or not.
    pub(crate) fn write(what: impl fmt::Display, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::quiet(Exit::Pipe);
        }
        let exit = if passes(error.kind()) { Exit::Retry } else { Exit::Failed };
        Self::new(exit, what, error)
    }

    /// An export failed in the exporter.
    pub(crate) fn export(error: &Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::Unsupported => Exit::Usage,
            ErrorKind::Io | ErrorKind::Cancelled | ErrorKind::Unavailable => Exit::Retry,
            ErrorKind::Damaged => Exit::State,
            ErrorKind::Timeout => Exit::Timeout,
            ErrorKind::Internal => Exit::Unexpected,
            _ => Exit::Failed,
        };
        Self::new(exit, "export", error)
    }
}

/// Whether the machine's refusal may be over at a later try.
fn passes(kind: io::ErrorKind) -> bool {
    use io::ErrorKind as K;
    matches!(
        kind,
        K::StorageFull
            | K::QuotaExceeded
            | K::Interrupted
            | K::WouldBlock
            | K::OutOfMemory
            | K::ResourceBusy
            | K::TimedOut
            | K::StaleNetworkFileHandle
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_documentation() {
        let numbers: Vec<_> = Exit::ALL.iter().map(|(exit, _)| exit.code()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130, 141, 143]);
    }

    #[test]
    fn a_full_disk_passes_and_a_missing_folder_does_not() {
        let of = |kind: io::ErrorKind| Failure::write("output", &kind.into()).exit;
        assert_eq!(of(io::ErrorKind::StorageFull), Exit::Retry);
        assert_eq!(of(io::ErrorKind::NotFound), Exit::Failed);
        assert_eq!(of(io::ErrorKind::PermissionDenied), Exit::Failed);
        assert_eq!(of(io::ErrorKind::BrokenPipe), Exit::Pipe);
    }
}
