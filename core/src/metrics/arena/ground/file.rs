//! Arena files: what one must be before it is mapped, and what one holds, read without mapping it.

use std::{
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
};

use rustix::fs::{Mode, OFlags};

use super::{Extent, HEADER_USED, LAYOUT_VERSION, MAGIC, MEMBERS, Word, place, platform};
use crate::model::{Error, ErrorKind, platform::FileSystem};

/// Opens the file, made with mode 0600 where there is none.
pub(super) fn open(path: &Path) -> Result<File, Error> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    // A FIFO would be waited for.
    let flags = flags | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
        .map(File::from)
        .map_err(|error| Error::io(format_args!("open arena {}", path.display()), &error.into()))?;
    let refuse = |kind: ErrorKind, why: &str| {
        let message = format!("arena {}: {why}", path.display());
        Err(Error::new(kind, message).with_field("recording.arena"))
    };
    let about = file
        .metadata()
        .map_err(|e| Error::io(format_args!("look at arena {}", path.display()), &e))?;
    if !about.is_file() {
        return refuse(ErrorKind::InvalidArgument, "is no regular file");
    }
    if about.mode() & 0o077 != 0 {
        return refuse(ErrorKind::InvalidArgument, "other users may open it; make its mode 0600");
    }
    if about.uid() != platform::effective_user() {
        return refuse(ErrorKind::InvalidArgument, "belongs to another user");
    }
    let kind = FileSystem::of(&file)
        .map_err(|e| Error::io(format_args!("look at arena {}", path.display()), &e))?;
    match kind {
        FileSystem::Local => Ok(file),
        FileSystem::Network(name) => {
            let why =
                format!("lies on a network file system ({name}); processes of one host share it");
            refuse(ErrorKind::Unsupported, &why)
        }
        FileSystem::CopyOnWrite(name) => {
            let why = format!(
                "lies on {name}, where an add to memory that is there may end the process when the \
                 disk is full; put it on a tmpfs such as /run or /dev/shm, or on ext4 or XFS"
            );
            refuse(ErrorKind::Unsupported, &why)
        }
    }
}

/// The header of a file, read.
pub(super) struct Header<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    /// Of the file.
    length: u64,
}

impl<'a> Header<'a> {
    /// Reads it: not by mapping, because the file may be shorter than a page.
    ///
    /// # Errors
    /// Damaged, where it is cut off.
    pub(super) fn read(path: &'a Path, file: &File, length: u64) -> Result<Self, Error> {
        let mut bytes = vec![0; HEADER_USED];
        let read = file.read_exact_at(&mut bytes, 0);
        let header = Self { path, bytes, length };
        match read {
            Ok(()) => Ok(header),
            Err(error) => header.refuse(
                ErrorKind::Damaged,
                &format!("is damaged: its header cannot be read ({error})"),
            ),
        }
    }

    pub(super) fn refuse<T>(&self, kind: ErrorKind, why: &str) -> Result<T, Error> {
        let message = format!("arena {}: {why}", self.path.display());
        Err(Error::new(kind, message).with_field("recording.arena"))
    }

    pub(super) fn word(&self, word: Word) -> u64 {
        self.number(word as usize)
    }

    /// The number that stands at a word's place.
    pub(super) fn number(&self, index: usize) -> u64 {
        let bytes = self.bytes.get(index * 8..).and_then(|rest| rest.first_chunk::<8>());
        bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// How large its parts are.
    ///
    /// # Errors
    /// Damaged or Conflict, for what is no arena of this version.
    pub(super) fn extent(&self) -> Result<Extent, Error> {
        if self.word(Word::Magic) != MAGIC {
            return self.refuse(ErrorKind::Damaged, "is no arena, or its making was cut off");
        }
        let version = self.word(Word::Version);
        if version != LAYOUT_VERSION {
            let why = format!(
                "has layout version {version}; this library has {LAYOUT_VERSION}; remove the file \
                 when no process uses it"
            );
            return self.refuse(ErrorKind::Conflict, &why);
        }
        let heap = usize::try_from(self.word(Word::HeapBytes)).unwrap_or(usize::MAX);
        let cpus = u32::try_from(self.word(Word::Cpus)).unwrap_or(u32::MAX);
        let sane = heap.is_multiple_of(4096)
            && (1 << 20..=16 << 30).contains(&heap)
            && cpus <= platform::MAX_CPUS
            && self.word(Word::Members) == MEMBERS as u64;
        let extent = Extent { heap: heap.min(16 << 30), members: MEMBERS, cpus: cpus.min(8192) };
        let length = extent.len() as u64;
        if !sane || self.word(Word::Length) != length || self.length != length {
            let why =
                format!("is damaged: it has {} bytes, and its header says otherwise", self.length);
            return self.refuse(ErrorKind::Damaged, &why);
        }
        Ok(extent)
    }

    /// Whether processes of this boot, machine and namespace may join those that have it.
    ///
    /// # Errors
    /// Conflict, where not.
    pub(super) fn check_joinable(&self) -> Result<(), Error> {
        let why = if [self.word(Word::BootLow), self.word(Word::BootHigh)] != platform::boot_id() {
            "was made before the last boot, or on another machine; look at it with `tallyport export \
             --arena`, and remove it"
                .to_owned()
        } else if self.word(Word::Numbering) != platform::process_numbering() {
            "belongs to processes of another PID namespace".to_owned()
        } else if self.word(Word::Cpus) != u64::from(place::planes()) {
            let (made, here) = (self.word(Word::Cpus), place::planes());
            format!("was made for {made} CPUs; this system has {here}")
        } else {
            return Ok(());
        };
        self.refuse(ErrorKind::Conflict, &why)
    }
}
