//! Checked bytes as a file that nobody can change any more, for the system's loader to open.
//!
//! A sealed memfd, which stays open for the life of the process; where that cannot be (no /proc, too
//! few descriptors), a copy in a private folder, which is removed once it is mapped. The system's
//! loader knows images by name: a descriptor's number that was used for one plugin and then for
//! another gives the first one again. So numbers only rise, a name that the loader knows is not
//! used, and of every staged image it is remembered what it holds.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{
    MemfdFlags, SealFlags, StatVfsMountFlags, fcntl_add_seals, memfd_create, statvfs,
};
use tempfile::TempDir;

use super::{
    image::{Opened, is_known, open},
    pin::Sha256,
    verify::refused,
};
use crate::model::{Error, Mutex};

/// The lowest descriptor for a plugin: below it, hosts look for free ones of their own.
const FIRST_DESCRIPTOR: RawFd = 200;
/// Longest name of a memfd in characters; the system takes 249 bytes.
const MAX_SHOWN: usize = 60;
/// Where a private folder may be made. Not what the environment says: it may be somebody else's.
const PRIVATE_FOLDERS: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// The process's staged images. The one place that knows which descriptors are plugins.
static STAGED: Mutex<Staged> = Mutex::new(Staged {
    next: FIRST_DESCRIPTOR,
    names: BTreeMap::new(),
    images: BTreeMap::new(),
    paths: BTreeMap::new(),
});

struct Staged {
    /// No plugin had this descriptor, nor one above it.
    next: RawFd,
    /// What the system's loader knows them by.
    names: BTreeMap<Sha256, PathBuf>,
    /// What an image holds, by the address of its link map.
    images: BTreeMap<usize, Sha256>,
    /// What files held that were opened by their path: the system's loader gives the same image for
    /// that path ever after.
    paths: BTreeMap<PathBuf, Sha256>,
}

/// Notes what a file held that the system's loader opened by its path.
pub(super) fn note_path(path: &Path, sha256: Sha256) {
    STAGED.lock().paths.entry(path.to_owned()).or_insert(sha256);
}

/// Whether the system's loader has another version under this path.
pub(super) fn is_other_version(path: &Path, sha256: Sha256) -> bool {
    STAGED.lock().paths.get(path).is_some_and(|known| *known != sha256)
}

/// How many files are staged, if this one is not: one more would be mapped for it.
pub(super) fn staged_without(sha256: Sha256) -> Option<usize> {
    let staged = STAGED.lock();
    (!staged.names.contains_key(&sha256)).then_some(staged.names.len())
}

/// A file that holds the bytes, until it is dropped.
#[derive(Debug)]
enum Keep {
    Descriptor(OwnedFd),
    Folder { _folder: TempDir },
}

/// Has the system's loader open these bytes, which messages call `path`; also whether they are new
/// to this process.
pub(super) fn open_bytes(
    path: &Path,
    bytes: &[u8],
    sha256: Sha256,
) -> Result<(Opened, bool), Error> {
    let known = STAGED.lock().names.get(&sha256).cloned();
    let fresh = known.is_none();
    // No lock is held while the file's constructors run.
    let (library, name, keep) = match known {
        Some(name) => (open(path, &name)?, name, None),
        None => {
            let staged = stage(path, bytes, sha256);
            let (name, keep) =
                staged.map_err(|error| refused(path, format!("no copy could be made: {error}")))?;
            (open(path, &name)?, name, Some(keep))
        }
    };
    let image = library.link_map().addr();
    let mut staged = STAGED.lock();
    let holds = *staged.images.entry(image).or_insert(sha256);
    staged.names.entry(sha256).or_insert(name);
    drop(staged);
    if let Some(Keep::Descriptor(descriptor)) = keep {
        // Open for life: a number that is closed is given to another file.
        std::mem::forget(descriptor);
    }
    if holds != sha256 {
        return Err(refused(path, "the system's loader gave the image of another plugin"));
    }
    Ok((library, fresh))
}

fn stage(path: &Path, bytes: &[u8], sha256: Sha256) -> io::Result<(PathBuf, Keep)> {
    match descriptor(path, bytes) {
        Ok(staged) => Ok(staged),
        Err(error) => {
            tracing::debug!("plugin: a private copy instead of a memfd: {error}");
            private_copy(bytes, sha256)
        }
    }
}

/// A sealed memfd under a number that no plugin had.
fn descriptor(path: &Path, bytes: &[u8]) -> io::Result<(PathBuf, Keep)> {
    // What /proc/PID/maps shows, for people.
    let file = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let shown: String = "tallyport-".chars().chain(file.chars()).take(MAX_SHOWN).collect();
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels before 6.3 do not know EXEC; later ones may be told to refuse without it.
    let made = memfd_create(&*shown, flags | MemfdFlags::EXEC);
    let mut file = File::from(made.or_else(|_| memfd_create(&*shown, flags))?);
    file.write_all(bytes)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    fcntl_add_seals(&file, seals)?;
    loop {
        let mut staged = STAGED.lock();
        let high = rustix::io::fcntl_dupfd_cloexec(&file, staged.next)?;
        staged.next = high.as_raw_fd().saturating_add(1);
        drop(staged);
        let name = PathBuf::from(format!("/proc/self/fd/{}", high.as_raw_fd()));
        let (there, ours) = (std::fs::metadata(&name)?, file.metadata()?);
        if (there.dev(), there.ino()) != (ours.dev(), ours.ino()) {
            return Err(io::Error::other("/proc is of another process"));
        }
        if !is_known(&name) {
            return Ok((name, Keep::Descriptor(high)));
        }
    }
}

/// A copy named by its hash in a folder of our own.
fn private_copy(bytes: &[u8], sha256: Sha256) -> io::Result<(PathBuf, Keep)> {
    let mut why = io::Error::other("there is no folder for it");
    for folder in PRIVATE_FOLDERS {
        match copy_into(Path::new(folder), bytes, sha256) {
            Ok(staged) => return Ok(staged),
            Err(error) => why = io::Error::new(error.kind(), format!("{folder}: {error}")),
        }
    }
    Err(why)
}

fn copy_into(folder: &Path, bytes: &[u8], sha256: Sha256) -> io::Result<(PathBuf, Keep)> {
    if statvfs(folder)?.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Err(io::Error::other("mounted noexec"));
    }
    // 0700, with a name that nobody else chose.
    let folder = tempfile::Builder::new().prefix("tallyport-plugin-").tempdir_in(folder)?;
    let name = folder.path().join(format!("{sha256}.so"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o500).open(&name)?;
    file.write_all(bytes)?;
    Ok((name, Keep::Folder { _folder: folder }))
}
