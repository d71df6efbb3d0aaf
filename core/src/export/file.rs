//! A file that is replaced as a whole: a reader sees the old one or the new one.
//!
//! It is written beside its target, synced and renamed, and the folder is synced. The temporary file
//! is called `.tallyport-….tmp`, which no collector of text files picks up; it is removed when
//! the export fails, and by the next one where a process was killed.

use std::{
    fmt,
    fs::{self, File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use tempfile::{NamedTempFile, TempPath};

use super::fence::Fence;
use crate::{
    model::{Error, ErrorKind},
    store::FencingToken,
};

/// Exporters may write in small pieces.
const BUFFER_BYTES: usize = 64 * 1024;
const PREFIX: &str = ".tallyport-";
const SUFFIX: &str = ".tmp";
/// A temporary file that nothing touched for so long belongs to nobody any more.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Why a file was not replaced. It is as it was, unless the folder's sync is what failed.
#[derive(Debug)]
pub enum FileTrouble {
    /// What is there cannot be replaced: a link, a folder, something else.
    NotRegular(Occupied),
    /// The system refused; on what.
    System(String, io::Error),
    /// The fence refused.
    Fence(Error),
}

/// What stands where a file should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occupied {
    /// A symbolic link: in a folder that others may write, it may lead anywhere.
    Link,
    /// A folder.
    Folder,
    /// A FIFO, a socket, a device.
    Special,
}

impl fmt::Display for Occupied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "it is a symbolic link, not a regular file",
            Self::Folder => "it is a directory, not a regular file",
            Self::Special => "it is not a regular file",
        })
    }
}

impl FileTrouble {
    /// The error of an export to `path`.
    pub(super) fn into_error(self, path: &Path) -> Error {
        match self {
            Self::NotRegular(what) => {
                let message = format!("file `{}`: {what}: name the file itself", path.display());
                Error::new(ErrorKind::Config, message).with_field("path")
            }
            Self::System(what, error) => Error::io(what, &error).with_field("path"),
            Self::Fence(error) => error,
        }
    }
}

/// A file that is being written, beside the one that it will replace. Dropped, it is removed.
#[derive(Debug)]
pub struct AtomicFile {
    out: BufWriter<File>,
    temporary: TempPath,
    path: PathBuf,
}

impl AtomicFile {
    /// Makes ready to write; the file itself is not touched.
    ///
    /// It gets `mode`; without one, the mode that the old file has, or what the umask leaves.
    ///
    /// # Errors
    /// For what is no regular file, and what the system refuses.
    pub fn begin(path: &Path, mode: Option<u32>) -> Result<Self, FileTrouble> {
        let existing = existing(path)?;
        let made = beside(path, existing.as_ref(), mode);
        let (out, temporary) = made.map_err(|error| {
            let what = format!("file `{}`, a file beside it", path.display());
            FileTrouble::System(what, plain(error))
        })?;
        step();
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        Ok(Self { out, temporary, path: path.to_owned() })
    }

    /// Where it is written until it is committed.
    #[must_use]
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)
    }

    /// Puts it in the place of the old one. With a token only if no higher one, nor this one, did so
    /// before.
    ///
    /// # Errors
    /// What the system refuses, and the fence.
    pub fn commit(self, token: Option<FencingToken>) -> Result<(), FileTrouble> {
        let Self { out, temporary, path } = self;
        let what = |part: &str| format!("file `{}`{part}", path.display());
        let fail = |error: io::Error| FileTrouble::System(what(""), error);
        let out = match out.into_inner() {
            Ok(out) => out,
            Err(error) => {
                let (error, unwritten) = error.into_parts();
                // Without another attempt to write what is left.
                drop(unwritten.into_parts());
                return Err(fail(error));
            }
        };
        step();
        out.sync_all().map_err(fail)?;
        step();
        let folder = File::open(folder_of(&path)).map_err(fail)?;
        {
            let fence =
                token.map(|_| Fence::lock(&path)).transpose().map_err(FileTrouble::Fence)?;
            step();
            if let (Some(fence), Some(token)) = (&fence, token) {
                fence.pass(token).map_err(FileTrouble::Fence)?;
                step();
            }
            temporary.persist(&path).map_err(|error| fail(error.error))?;
            step();
        }
        match folder.sync_all() {
            // Some file systems have no such thing.
            Err(error) if error.kind() != io::ErrorKind::InvalidInput => {
                Err(FileTrouble::System(what(", its folder"), error))
            }
            _ => Ok(()),
        }
    }
}

/// What stands at the path: a regular file or nothing.
fn existing(path: &Path) -> Result<Option<fs::Metadata>, FileTrouble> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(FileTrouble::System(format!("file `{}`", path.display()), error));
        }
    };
    if metadata.is_file() {
        return Ok(Some(metadata));
    }
    Err(FileTrouble::NotRegular(match () {
        () if metadata.is_symlink() => Occupied::Link,
        () if metadata.is_dir() => Occupied::Folder,
        () => Occupied::Special,
    }))
}

/// The system's own error: tempfile puts the path around it, and leaves its kind only.
fn plain(error: io::Error) -> io::Error {
    let number = match error.kind() {
        _ if error.raw_os_error().is_some() => return error,
        io::ErrorKind::NotFound => libc::ENOENT,
        io::ErrorKind::PermissionDenied => libc::EACCES,
        io::ErrorKind::NotADirectory => libc::ENOTDIR,
        io::ErrorKind::ReadOnlyFilesystem => libc::EROFS,
        io::ErrorKind::StorageFull => libc::ENOSPC,
        io::ErrorKind::QuotaExceeded => libc::EDQUOT,
        _ => return error,
    };
    io::Error::from_raw_os_error(number)
}

/// A temporary file in the folder of `path`, with the mode that the target has or gets.
fn beside(
    path: &Path,
    existing: Option<&fs::Metadata>,
    mode: Option<u32>,
) -> io::Result<(File, TempPath)> {
    let folder = folder_of(path);
    remove_abandoned(folder);
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    let temporary = match (existing, mode) {
        (None, None) => {
            // As `>` would: the umask takes away from that.
            builder.permissions(Permissions::from_mode(0o666)).tempfile_in(folder)?
        }
        (existing, mode) => {
            let temporary = builder.tempfile_in(folder)?;
            if let Some(existing) = existing {
                keep_owner(&temporary, existing)?;
            }
            let old = existing.map_or(0o600, |existing| existing.mode() & 0o777);
            let mode = Permissions::from_mode(mode.unwrap_or(old));
            temporary.as_file().set_permissions(mode)?;
            temporary
        }
    };
    Ok(temporary.into_parts())
}

fn keep_owner(temporary: &NamedTempFile, existing: &fs::Metadata) -> io::Result<()> {
    let own = temporary.as_file().metadata()?;
    if (own.uid(), own.gid()) != (existing.uid(), existing.gid()) {
        // Only root may give files away. The mode counts more: without it nobody else reads.
        let _ = fchown(temporary.as_file(), Some(existing.uid()), Some(existing.gid()));
    }
    Ok(())
}

/// Removes what killed processes left behind long ago.
fn remove_abandoned(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours =
            name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if !ours {
            continue;
        }
        let age = entry.metadata().and_then(|metadata| metadata.modified());
        let age = age.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if age.is_some_and(|age| age > ABANDONED)
            && let Err(error) = fs::remove_file(entry.path())
        {
            tracing::debug!("`{}` was left behind and stays: {error}", entry.path().display());
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// One more step of an export to a file is done: a test kills the process there.
#[inline(always)]
pub(super) fn step() {
    #[cfg(test)]
    tests::step();
}

#[cfg(test)]
mod tests {
    use std::{
        os::unix::fs::symlink,
        process::Command,
        sync::atomic::{AtomicU32, Ordering::SeqCst},
    };

    use rustix::process::{Signal, getpid, kill_process};

    use super::*;

    /// Steps until this process kills itself; 0: never.
    static LEFT: AtomicU32 = AtomicU32::new(0);
    const PLACE: &str = "TALLYPORT_TEST_FILE";
    const KILLED: &str = "TALLYPORT_TEST_KILLED_AT";

    pub(super) fn step() {
        if LEFT.load(SeqCst) != 0 && LEFT.fetch_sub(1, SeqCst) == 1 {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    }

    fn replace(path: &Path, text: &[u8], token: Option<u64>) -> Result<(), Error> {
        let done = (|| {
            let mut file = AtomicFile::begin(path, None)?;
            let written = text.chunks(100).try_for_each(|piece| file.write(piece));
            written.map_err(|error| FileTrouble::System("write".into(), error))?;
            file.commit(token.map(FencingToken))
        })();
        done.map_err(|trouble| trouble.into_error(path))
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// This test's program is started again, and is killed at one step after the other.
    #[test]
    fn who_is_killed_at_any_step_leaves_the_old_file_or_the_new_one_whole() {
        let new = "new\n".repeat(50_000);
        if let Some(path) = std::env::var_os(PLACE) {
            LEFT.store(std::env::var(KILLED).unwrap().parse().unwrap(), SeqCst);
            let token = std::env::var("TALLYPORT_TEST_TOKEN").ok();
            replace(Path::new(&path), new.as_bytes(), token.map(|token| token.parse().unwrap()))
                .unwrap();
            return;
        }
        let name = "export::file::tests::who_is_killed_at_any_step_leaves_the_old_file_or_the_new_one_whole";
        for fenced in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("app.prom");
            let (mut at, mut kills, mut token) = (1, 0, 10);
            loop {
                fs::write(&path, "old").unwrap();
                let mut child = Command::new(std::env::current_exe().unwrap());
                child.args([name, "--exact"]).env(PLACE, &path).env(KILLED, at.to_string());
                if fenced {
                    child.env("TALLYPORT_TEST_TOKEN", token.to_string());
                }
                let status = child.output().unwrap().status;
                let now = fs::read_to_string(&path).unwrap();
                assert!(now == "old" || now == new, "torn at step {at}");
                token += 1;
                // Whatever it left behind holds nobody up, and no reader takes it for a result.
                replace(&path, b"next", fenced.then_some(token)).unwrap();
                assert_eq!(fs::read_to_string(&path).unwrap(), "next");
                token += 1;
                if status.success() {
                    assert_eq!(now, new);
                    break;
                }
                (at, kills) = (at + 1, kills + 1);
            }
            assert!(kills >= if fenced { 7 } else { 5 }, "{kills} steps");
            let left = names(folder.path()).iter().filter(|name| name.ends_with(".tmp")).count();
            assert!(left >= 3, "temporary files of the killed: {left}");
            // An hour later they are removed.
            let long_ago = SystemTime::now() - ABANDONED * 2;
            for name in names(folder.path()).iter().filter(|name| name.ends_with(".tmp")) {
                let file = File::options().write(true).open(folder.path().join(name)).unwrap();
                file.set_modified(long_ago).unwrap();
            }
            replace(&path, b"last", fenced.then_some(token)).unwrap();
            let expected: &[&str] =
                if fenced { &[".app.prom.fence", "app.prom"] } else { &["app.prom"] };
            assert_eq!(names(folder.path()), expected);
        }
    }

    #[test]
    fn an_overtaken_export_leaves_the_newer_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.prom");
        replace(&path, b"five", Some(5)).unwrap();
        for old in [4, 5] {
            let error = replace(&path, b"old", Some(old)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "five");
        // Without a lease, what is there is replaced, and what was overtaken stays so.
        replace(&path, b"own", None).unwrap();
        assert!(replace(&path, b"old", Some(5)).is_err());
        assert_eq!(names(folder.path()), [".app.prom.fence", "app.prom"]);
    }

    #[test]
    fn what_is_no_regular_file_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("secret"), "kept").unwrap();
        symlink(path("secret"), path("link")).unwrap();
        fs::create_dir(path("folder")).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, path("fifo"), rustix::fs::FileType::Fifo, mode, 0)
            .unwrap();
        for (name, what) in
            [("link", "symbolic link"), ("folder", "directory"), ("fifo", "not a regular file")]
        {
            let error = replace(&path(name), b"x", Some(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{name}");
            assert!(error.to_string().contains(what), "{error}");
        }
        assert_eq!(fs::read_to_string(path("secret")).unwrap(), "kept");
        assert_eq!(names(folder.path()), ["fifo", "folder", "link", "secret"]);
        let error = replace(&path("absent/app.prom"), b"x", None).unwrap_err();
        assert_eq!((error.kind(), error.os_error()), (ErrorKind::Io, Some(libc::ENOENT)));
    }

    #[test]
    fn a_mode_that_is_demanded_is_set_and_one_that_is_there_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.prom");
        for (demanded, expected) in [(Some(0o640), 0o640), (None, 0o640), (Some(0o600), 0o600)] {
            AtomicFile::begin(&path, demanded).unwrap().commit(None).unwrap();
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, expected);
        }
    }
}
