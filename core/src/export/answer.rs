//! What an attempt ends with: whether a later one may succeed, and when.

use std::time::Duration;

use crate::model::{Error, ErrorKind};

/// Why an attempt failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What went wrong.
    pub error: Error,
    /// Whether a later attempt may succeed.
    pub again: Again,
    /// How long the receiver wants to be left alone.
    pub demanded: Option<Duration>,
}

/// Whether a later attempt may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// It may.
    Later,
    /// It fails in the same way until somebody changes something.
    Never,
}

impl Failure {
    /// What the receiver will answer again and again.
    pub(super) fn for_good(error: Error) -> Self {
        Self { error, again: Again::Never, demanded: None }
    }

    /// What may be over later.
    pub(super) fn for_now(error: Error) -> Self {
        Self { error, again: Again::Later, demanded: None }
    }
}

impl From<Error> for Failure {
    /// By its kind; of what the system refused, by its number.
    fn from(error: Error) -> Self {
        use ErrorKind as K;
        let again = match error.kind() {
            K::Io => match error.os_error() {
                Some(number) if lasts(number) => Again::Never,
                _ => Again::Later,
            },
            K::Timeout
            | K::Unavailable
            | K::Cancelled
            | K::PluginFailed
            | K::Panic
            | K::Poisoned
            | K::Limit
            | K::Conflict => Again::Later,
            _ => Again::Never,
        };
        Self { error, again, demanded: None }
    }
}

/// Whether the system will refuse for the same reason until somebody changes something.
fn lasts(number: i32) -> bool {
    matches!(
        number,
        libc::ENOENT
            | libc::EACCES
            | libc::EPERM
            | libc::EROFS
            | libc::ENOTDIR
            | libc::EISDIR
            | libc::ELOOP
            | libc::ENAMETOOLONG
            | libc::EINVAL
            | libc::EBADF
            | libc::ENXIO
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_full_disk_passes_and_a_missing_folder_does_not() {
        let of =
            |number| Failure::from(Error::io("x", &io::Error::from_raw_os_error(number))).again;
        for passes in [libc::ENOSPC, libc::EDQUOT, libc::EIO, libc::ENOMEM, libc::EMFILE] {
            assert_eq!(of(passes), Again::Later);
        }
        for stays in [libc::ENOENT, libc::EACCES, libc::EROFS] {
            assert_eq!(of(stays), Again::Never);
        }
        let of = |kind| Failure::from(Error::new(kind, "")).again;
        assert_eq!(of(ErrorKind::Unavailable), Again::Later);
        assert_eq!(of(ErrorKind::Config), Again::Never);
    }
}
