//! The token of a file: what keeps a former holder's export from replacing a newer one.
//!
//! Beside `NAME` lies `.NAME.fence` with the highest token that was committed. Whoever commits locks
//! it, compares, writes its own token, and renames its file while it has the lock. The token is
//! written first: a process that is killed in between has burned its token and left the old file.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::file::step;
use crate::{
    model::{Error, ErrorKind},
    store::FencingToken,
};

/// How long a commit waits for another one's lock: that is held for a token, a sync and a rename.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two looks at a lock.
const PAUSE: Duration = Duration::from_millis(2);
/// Digits of a token and a newline: always written whole.
const BYTES: usize = 21;

/// Where a file's token lies.
pub(super) fn side_of(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".fence");
    path.with_file_name(name)
}

/// A file's fence, locked until it is dropped.
#[derive(Debug)]
pub(super) struct Fence {
    file: File,
    path: PathBuf,
}

impl Fence {
    /// Locks the fence of a file, which is made if there is none.
    ///
    /// # Errors
    /// Unavailable while another commit has it, Io.
    pub(super) fn lock(target: &Path) -> Result<Self, Error> {
        let path = side_of(target);
        let io =
            |error: &io::Error| Error::io(format_args!("the fence `{}`", path.display()), error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            // Not through a link: whoever may write in the folder could lead it elsewhere.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
            .map_err(|error| io(&error))?;
        if !file.metadata().map_err(|error| io(&error))?.is_file() {
            let message = format!("the fence `{}` is not a regular file", path.display());
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { file, path }),
                Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(PAUSE),
                Err(TryLockError::WouldBlock) => {
                    let message =
                        format!("`{}` is being replaced by another process", target.display());
                    return Err(Error::new(ErrorKind::Unavailable, message));
                }
                Err(TryLockError::Error(error)) => return Err(io(&error)),
            }
        }
    }

    /// The highest token that was committed; `None`: none was.
    fn token(&self) -> Result<Option<FencingToken>, Error> {
        let mut bytes = [0; BYTES + 1];
        let read = self.file.read_at(&mut bytes, 0);
        let read = read.map_err(|error| {
            Error::io(format_args!("read the fence `{}`", self.path.display()), &error)
        })?;
        if read == 0 {
            return Ok(None);
        }
        let text = bytes.get(..read).and_then(|bytes| str::from_utf8(bytes).ok());
        let digits = text.and_then(|text| text.strip_suffix('\n'));
        let digits = digits
            .filter(|text| text.len() == BYTES - 1 && text.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|text| text.parse().ok()).map(|token| Some(FencingToken(token))).ok_or_else(
            || {
                let message = format!(
                    "the fence `{}` is damaged: nothing can be told about who may replace the file; \
                     remove the fence if no other exporter runs",
                    self.path.display()
                );
                Error::new(ErrorKind::Damaged, message)
            },
        )
    }

    /// Notes a token, if it is higher than the one before.
    ///
    /// # Errors
    /// Conflict for a token that was overtaken, Damaged, Io.
    pub(super) fn pass(&self, token: FencingToken) -> Result<(), Error> {
        if let Some(last) = self.token()?.filter(|last| *last >= token) {
            let message = format!(
                "fencing token {token} was overtaken by {last}: another process exported meanwhile; if \
                 the store was made anew and its clock is behind, remove `{}`",
                self.path.display()
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let io = |error: &io::Error| {
            Error::io(format_args!("write the fence `{}`", self.path.display()), error)
        };
        let text = format!("{:0width$}\n", token.0, width = BYTES - 1);
        self.file.write_all_at(text.as_bytes(), 0).map_err(|error| io(&error))?;
        step();
        self.file.sync_data().map_err(|error| io(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn passes(path: &Path, token: u64) -> Result<(), ErrorKind> {
        let fence = Fence::lock(path).map_err(|error| error.kind())?;
        fence.pass(FencingToken(token)).map_err(|error| error.kind())
    }

    #[test]
    fn only_higher_tokens_pass() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.prom");
        assert_eq!(passes(&path, 7), Ok(()));
        for old in [7, 6, 0] {
            assert_eq!(passes(&path, old), Err(ErrorKind::Conflict));
        }
        assert_eq!(passes(&path, 1_700_000_000_000), Ok(()));
        assert_eq!(passes(&path, u64::MAX), Ok(()));
        assert_eq!(passes(&path, u64::MAX), Err(ErrorKind::Conflict));
    }

    #[test]
    fn a_damaged_fence_fails_closed_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.prom");
        for damaged in [
            "x",
            "12\n",
            "00000000000000000007",
            "99999999999999999999\n",
            "0000000000000000000-7\n",
            "+0000000000000000007\n",
            "000000000000000000007\n",
        ] {
            fs::write(side_of(&path), damaged).unwrap();
            let fence = Fence::lock(&path).unwrap();
            let error = fence.pass(FencingToken(9)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged, "{damaged:?}");
            assert!(error.to_string().contains(".app.prom.fence` is damaged"), "{error}");
        }
        fs::remove_file(side_of(&path)).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", side_of(&path)).unwrap();
        assert_eq!(Fence::lock(&path).unwrap_err().kind(), ErrorKind::Io);
    }

    #[test]
    fn a_second_commit_waits_and_then_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.prom");
        let first = Fence::lock(&path).unwrap();
        assert_eq!(Fence::lock(&path).unwrap_err().kind(), ErrorKind::Unavailable);
        drop(first);
        assert_eq!(passes(&path, 1), Ok(()));
    }
}
