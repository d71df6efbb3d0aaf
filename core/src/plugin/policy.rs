//! Whose files are loaded: the owner and the mode of a file and of every folder above it.
//!
//! Code that another user could have written is not run. A file is trusted when root, the user of
//! this process or an owner that the configuration trusts owns it and nobody else can write to it
//! or put another in its place. A sha256 pin says more than that, so it replaces these rules: see
//! `pin.rs`. docs/SECURITY.md has them for people.

use std::{
    fmt,
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::verify::refused;
use crate::model::{
    Error, ErrorKind,
    platform::{effective_user, is_secure_execution},
};

/// Whom this process trusts with its code.
#[derive(Debug, Clone)]
pub struct Trust {
    owners: Vec<u32>,
    user: u32,
    privileged: bool,
}

const STICKY: u32 = 0o1000;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const OTHERS_READ: u32 = 0o004;

/// The largest file that is read as a secret.
const MAX_SECRET_BYTES: u64 = 64 << 10;

impl Default for Trust {
    fn default() -> Self {
        Self::new(&[])
    }
}

impl Trust {
    /// Trusts root, the user of this process, and `owners`.
    #[must_use]
    pub fn new(owners: &[u32]) -> Self {
        let user = effective_user();
        let privileged = user == 0 || is_secure_execution();
        Self { owners: owners.to_vec(), user, privileged }
    }

    /// Whether a file would be believed for who owns it; the path that it really has.
    ///
    /// # Errors
    /// PluginRefused, naming the file and what to do.
    pub fn admits(&self, path: &Path) -> Result<PathBuf, Error> {
        let opened = self.open(path).map_err(|reason| reason.of_plugin(path));
        opened.map(|(_, real)| real)
    }

    /// Opens a file that is believed for who owns it, and returns the path that it really has.
    pub(super) fn open(&self, path: &Path) -> Result<(File, PathBuf), Reason> {
        let real = real_path(path)?;
        let file = open(&real, libc::O_NOFOLLOW)?;
        self.check(&real, &regular(&file)?, "it")?;
        for folder in real.ancestors().skip(1) {
            let metadata = fs::symlink_metadata(folder)?;
            self.check(folder, &metadata, &format!("its folder `{}`", folder.display()))?;
        }
        Ok((file, real))
    }

    /// Reads a secret from a file that only trusted users and its group can read, without the line
    /// end at its end. Links are followed: secrets of containers are links.
    pub(crate) fn read_secret(&self, path: &Path) -> Result<String, Reason> {
        let file = open(path, 0)?;
        let metadata = regular(&file)?;
        self.check(path, &metadata, "it")?;
        let mode = metadata.mode() & 0o7777;
        if mode & OTHERS_READ != 0 {
            let quoted = shell_quoted(path);
            return Err(Reason::Untrusted(format!(
                "everybody can read it (mode {mode:04o}): `chmod o-rwx {quoted}`"
            )));
        }
        let mut bytes = Vec::new();
        file.take(MAX_SECRET_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_SECRET_BYTES {
            return Err(Reason::Unusable("it is larger than a secret is (64 KiB)"));
        }
        let mut text = String::from_utf8(bytes).map_err(|_| Reason::Unusable("it is not UTF-8"))?;
        for end in ["\n", "\r"] {
            if text.ends_with(end) {
                text.pop();
            }
        }
        Ok(text)
    }

    fn check(&self, at: &Path, metadata: &Metadata, what: &str) -> Result<(), Reason> {
        let (owner, mode, user) = (metadata.uid(), metadata.mode(), self.user);
        let quoted = shell_quoted(at);
        if owner != 0 && owner != user && !self.owners.contains(&owner) {
            return Err(Reason::Untrusted(format!(
                "{what} belongs to user {owner}, who is neither root nor the user of this process \
                 ({user}): `chown {user} {quoted}`, or list {owner} in `loading.trusted_owners`"
            )));
        }
        // In a sticky folder nobody but its owner and a file's owner replaces the file.
        if metadata.is_dir() && mode & STICKY != 0 {
            return Ok(());
        }
        let (who, letter) = match () {
            () if mode & OTHERS_WRITE != 0 => ("everybody".to_owned(), 'o'),
            () if mode & GROUP_WRITES != 0 => (format!("group {}", metadata.gid()), 'g'),
            () => return Ok(()),
        };
        let mode = mode & 0o7777;
        let reason =
            format!("{who} can write to {what} (mode {mode:04o}): `chmod {letter}-w {quoted}`");
        if letter == 'o' || self.privileged {
            return Err(Reason::Untrusted(reason));
        }
        tracing::warn!(file = %at.display(), "{reason}");
        Ok(())
    }
}

/// Why a file is not opened.
#[derive(Debug)]
pub(crate) enum Reason {
    /// Somebody who is not trusted could have written it.
    Untrusted(String),
    /// It is no file that can be loaded.
    Unusable(&'static str),
    /// The system refused.
    System(io::Error),
}

impl From<io::Error> for Reason {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted(reason) => f.write_str(reason),
            Self::Unusable(reason) => f.write_str(reason),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl Reason {
    /// The error of a plugin file that was refused for this.
    pub(super) fn of_plugin(self, path: &Path) -> Error {
        match self {
            Self::Untrusted(reason) => refused(path, format!("{reason}, or pin it with `sha256`")),
            Self::Unusable(reason) => refused(path, reason),
            Self::System(error) => {
                Error::io(format_args!("plugin file `{}`", path.display()), &error)
                    .with_kind(ErrorKind::PluginRefused)
                    .with_field("path")
            }
        }
    }
}

/// Opens a file whose content is pinned: who owns it, and what links to it, says nothing then.
pub(super) fn open_pinned(path: &Path) -> Result<File, Reason> {
    let file = open(path, 0)?;
    regular(&file)?;
    Ok(file)
}

/// The path without links and `..` in its folders; the last name stays as it is.
fn real_path(path: &Path) -> Result<PathBuf, Reason> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Reason::Unusable("it names no file"));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    Ok(folder.canonicalize()?.join(name))
}

fn open(path: &Path, flags: i32) -> Result<File, Reason> {
    // Non-blocking: opening a FIFO would wait for a writer for ever.
    let flags = flags | libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY;
    OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(
        |error| match fs::read_link(path) {
            Ok(to) if flags & libc::O_NOFOLLOW != 0 => Reason::Untrusted(format!(
                "it is a symbolic link, to `{}`: give the path of the file itself",
                to.display()
            )),
            _ => Reason::System(error),
        },
    )
}

fn regular(file: &File) -> Result<Metadata, Reason> {
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok(metadata)
    } else {
        Err(Reason::Unusable("it is not a regular file"))
    }
}

/// A path as a shell takes it.
fn shell_quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-+:@%,".contains(&b);
    if text.bytes().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}
