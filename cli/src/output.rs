//! Where an export goes: stdout, or a file that is replaced as a whole.
//!
//! A file is written beside its target, synced and renamed, so a reader sees the old one or the
//! new one. The temporary file is called `.tallyport-….tmp`, which no collector of text files
//! picks up; it is removed when the export fails.

use std::{
    fs::{self, File, Permissions},
    io::{self, BufWriter, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use tallyport_core::model::Error;
use tempfile::{NamedTempFile, TempPath};

use crate::{
    exit::{Exit, Failure},
    report,
};

/// Plugins may write in small pieces.
const BUFFER_BYTES: usize = 64 * 1024;

/// What `--output` names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    File(PathBuf),
}

impl Target {
    /// `-` is stdout, `./-` a file of that name.
    pub(crate) fn new(path: &Path) -> Self {
        if path == Path::new("-") { Self::Stdout } else { Self::File(path.to_owned()) }
    }

    /// Its name in messages and reports.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Stdout => "-".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// Makes ready to write; the target itself is not touched.
    pub(crate) fn open(&self) -> Result<Writer, Failure> {
        match self {
            Self::Stdout => {
                let out = report::stdout().map_err(|error| Failure::write("stdout", &error))?;
                Ok(Writer::new(out, "stdout".to_owned(), None))
            }
            Self::File(path) => {
                let what = format!("output `{}`", path.display());
                let existing = existing(path)?;
                let (out, temporary) = beside(path, existing.as_ref()).map_err(|error| {
                    Failure::write(format_args!("{what}, a file beside it"), &error)
                })?;
                Ok(Writer::new(out, what, Some((temporary, path.clone()))))
            }
        }
    }
}

/// What stands at the path: a regular file or nothing, else a failure.
fn existing(path: &Path) -> Result<Option<fs::Metadata>, Failure> {
    let what = format!("output `{}`", path.display());
    // A link is not followed: in a folder that others may write, it may lead anywhere.
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failure::write(what, &error)),
    };
    if metadata.is_file() {
        return Ok(Some(metadata));
    }
    let refused = |reason: &str| Failure::new(Exit::Failed, &what, reason);
    Err(if metadata.is_symlink() {
        refused("it is a symbolic link, not a regular file")
            .hint("name the file itself, or use `--output -` for stdout")
    } else if metadata.is_dir() {
        refused("it is a directory, not a regular file")
    } else {
        refused("it is not a regular file").hint("use `--output -` and redirect stdout")
    })
}

/// A temporary file in the folder of `path`, with the mode that the target has or would get.
fn beside(path: &Path, existing: Option<&fs::Metadata>) -> io::Result<(File, TempPath)> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".tallyport-").suffix(".tmp");
    let temporary = match existing {
        None => {
            // As `>` would: the umask takes away from that.
            let mode = Permissions::from_mode(0o666);
            builder.permissions(mode).tempfile_in(folder(path))?
        }
        Some(existing) => {
            let temporary = builder.tempfile_in(folder(path))?;
            keep_owner_and_mode(&temporary, existing)?;
            temporary
        }
    };
    Ok(temporary.into_parts())
}

fn keep_owner_and_mode(temporary: &NamedTempFile, existing: &fs::Metadata) -> io::Result<()> {
    let own = temporary.as_file().metadata()?;
    if (own.uid(), own.gid()) != (existing.uid(), existing.gid()) {
        // Only root may give files away. The mode counts more: without it nobody else reads.
        let _ = fchown(temporary.as_file(), Some(existing.uid()), Some(existing.gid()));
    }
    let mode = Permissions::from_mode(existing.mode() & 0o777);
    temporary.as_file().set_permissions(mode)
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Takes the pieces of one export.
pub(crate) struct Writer {
    out: BufWriter<File>,
    what: String,
    replaces: Option<(TempPath, PathBuf)>,
    failed: Option<io::Error>,
}

impl Writer {
    fn new(out: File, what: String, replaces: Option<(TempPath, PathBuf)>) -> Self {
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        Self { out, what, replaces, failed: None }
    }

    /// Takes a piece.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(|error| {
            let own = Error::io(&self.what, &error);
            self.failed = Some(error);
            own
        })
    }

    /// Ends an export that failed; the failure, if it was the target's and not the exporter's.
    ///
    /// What is buffered still goes to stdout: a reader may want to see how far it came.
    pub(crate) fn abandon(mut self) -> Option<Failure> {
        if self.failed.is_none() && self.replaces.is_none() {
            self.failed = self.out.flush().err();
        }
        let failure = self.failed.as_ref().map(|error| Failure::write(&self.what, error));
        // Without another attempt to write what is left.
        drop(self.out.into_parts());
        failure
    }

    /// Ends an export that succeeded: only now the target is replaced.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        let Self { out, what, replaces, .. } = self;
        let fail = |error: &io::Error| Failure::write(&what, error);
        let out = match out.into_inner() {
            Ok(out) => out,
            Err(error) => {
                let (error, unwritten) = error.into_parts();
                drop(unwritten.into_parts());
                return Err(fail(&error));
            }
        };
        let Some((temporary, path)) = replaces else { return Ok(()) };
        out.sync_all().map_err(|error| fail(&error))?;
        temporary.persist(&path).map_err(|error| fail(&error.error))?;
        let synced = File::open(folder(&path)).and_then(|folder| folder.sync_all());
        synced.map_err(|error| Failure::write(format_args!("{what}, its folder"), &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dash_is_stdout_and_a_path_is_a_file() {
        assert_eq!(Target::new(Path::new("-")), Target::Stdout);
        assert_eq!(Target::new(Path::new("./-")), Target::File(PathBuf::from("./-")));
    }

    #[test]
    fn a_target_without_a_folder_is_beside_us() {
        assert_eq!(folder(Path::new("metrics.prom")), Path::new("."));
        assert_eq!(folder(Path::new("/var/metrics.prom")), Path::new("/var"));
    }
}
