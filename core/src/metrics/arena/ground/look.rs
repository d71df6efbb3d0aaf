//! What an arena file says of itself, for people: read, never mapped.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{
    super::members::{PID, STARTED},
    Ground, LAYOUT_VERSION, MEMBER_WORDS, MEMBERS, MEMBERS_AT, Word,
    file::Header,
    platform,
};
use crate::model::{Error, ErrorKind};

/// An arena file as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArenaFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Identity of the arena: 128 bits.
    pub id: u128,
    /// Version of its layout.
    pub layout_version: u64,
    /// When it was made, in nanoseconds since the Unix epoch.
    pub created_ns: u64,
    /// Whether it was made since the last boot, on this machine: only then can processes have it.
    pub this_boot: bool,
    /// Processes that have it now.
    pub processes: Vec<u32>,
    /// Processes that ever had it.
    pub joined: u64,
    /// Series in it.
    pub series: u64,
    /// Bytes of cells in use, over all planes.
    pub cell_bytes: u64,
    /// Bytes of label values.
    pub label_bytes: u64,
    /// Bytes of memory or disk that the file takes.
    pub disk_bytes: u64,
}

fn open(path: &Path) -> Result<File, Error> {
    // A FIFO would be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    rustix::fs::open(path, flags, Mode::empty())
        .map(File::from)
        .map_err(|error| Error::io(format_args!("open arena {}", path.display()), &error.into()))
}

impl ArenaFile {
    /// Reads what a file says of itself.
    ///
    /// # Errors
    /// Io; InvalidArgument for what is no regular file; Damaged or Conflict for what is no arena of
    /// this version.
    pub fn read(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let file = open(&path)?;
        let about = file
            .metadata()
            .map_err(|e| Error::io(format_args!("look at arena {}", path.display()), &e))?;
        if !about.is_file() {
            let message = format!("arena {}: is no regular file", path.display());
            return Err(Error::invalid("recording.arena", message));
        }
        let header = Header::read(&path, &file, about.len())?;
        header.extent()?;
        let word = |word| header.word(word);
        let this_boot = [word(Word::BootLow), word(Word::BootHigh)] == platform::boot_id()
            && word(Word::Numbering) == platform::process_numbering();
        let process = |member: usize| {
            let at = MEMBERS_AT / 8 + member * MEMBER_WORDS;
            let (pid, started) = (header.number(at + PID) as u32, header.number(at + STARTED));
            (this_boot && pid != 0 && platform::is_alive(pid, started)).then_some(pid)
        };
        Ok(Self {
            id: u128::from(word(Word::IdLow)) | u128::from(word(Word::IdHigh)) << 64,
            layout_version: LAYOUT_VERSION,
            created_ns: word(Word::Created),
            this_boot,
            processes: (0..MEMBERS - 1).filter_map(process).collect(),
            joined: word(Word::Joined),
            series: word(Word::Series),
            cell_bytes: word(Word::Charged),
            label_bytes: word(Word::TextBytes),
            disk_bytes: about.blocks() * 512,
            path,
        })
    }

    /// Removes the file, if no process has it.
    ///
    /// # Errors
    /// Unavailable where a process has it, or is about to; Io.
    pub fn remove(&self) -> Result<(), Error> {
        let busy = |why: &str| {
            let message = format!("arena {}: {why}", self.path.display());
            Err(Error::new(ErrorKind::Unavailable, message))
        };
        let file = open(&self.path)?;
        // As one that opens it does: none can begin to have it now.
        if rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return busy("a process is opening it, or about to end");
        }
        let now = Self::read(&self.path)?;
        if now.id != self.id {
            return busy("it was replaced meanwhile");
        }
        if let Some(pid) = now.processes.first() {
            return busy(&format!("process {pid} has it"));
        }
        std::fs::remove_file(&self.path)
            .map_err(|error| Error::io(format_args!("remove {}", self.path.display()), &error))
    }
}

impl Ground {
    /// Identity of the arena.
    pub(crate) fn id(&self) -> u128 {
        use std::sync::atomic::Ordering::Relaxed;
        let word = |word| u128::from(self.word(word).load(Relaxed));
        word(Word::IdLow) | word(Word::IdHigh) << 64
    }
}
