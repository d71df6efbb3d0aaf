//! What an arena lies in: one block of header, tables and planes, in private memory or in a file
//! that processes share.
//!
//! ```text
//! [header 64 KiB][heap: families, rows, texts][a gauge plane per process][shared plane][CPU planes…]
//! ```
//!
//! The whole block is mapped once, at its greatest size, and never again: address space costs
//! nothing until it is used. Nothing in a shared block is a lock and nobody waits for anybody's
//! half-done change: words change by one atomic instruction, pieces are filled before a word leads
//! to them. Whatever is read from it may be damaged, so every offset is checked against the block.

mod copy;
mod file;
mod look;
#[cfg(test)]
mod tests;

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::fs::{FallocateFlags, FlockOperation, MemfdFlags, Mode, OFlags, SealFlags};

pub use look::ArenaFile;

use super::{PLANE_BYTES, place};
use crate::model::{Error, TextHash, platform};

/// Bytes before the heap.
pub(super) const HEADER_BYTES: usize = 64 << 10;
/// Bytes of the header that are used, and so backed in a file.
const HEADER_USED: usize = MEMBERS_AT + MEMBERS * MEMBER_WORDS * 8;
/// Where the table of processes starts.
const MEMBERS_AT: usize = 4096;
/// Processes that have gauges of their own; the last place is for all further ones.
pub(super) const MEMBERS: usize = 128;
/// Words of a process in the table.
pub(super) const MEMBER_WORDS: usize = 4;
/// Bytes of one process's gauges.
pub(super) const GAUGE_PLANE_BYTES: usize = 1 << GAUGE_PLANE_SHIFT;
/// log2 of the distance between two processes' gauges.
pub(super) const GAUGE_PLANE_SHIFT: u32 = 23;
/// Heap bytes that may be asked for, the least last. No more than what is needed: a leak checker reads
/// all of a writable mapping, and to read a page of a shared one is to get memory for it.
const HEAP_BYTES: [usize; 5] = [16 << 30, 4 << 30, 1 << 30, 256 << 20, 64 << 20];
/// Heap bytes of a file.
const FILE_HEAP_BYTES: usize = 2 << 30;
/// Heap bytes of a file that are backed at once.
const BACKED_AT_ONCE: usize = 64 << 10;

/// Bytes behind the last plane: a damaged offset may say that the largest cell begins at its end.
const SPARE_BYTES: usize = 64 << 10;

/// "TALLYPRT".
const MAGIC: u64 = u64::from_le_bytes(*b"TALLYPRT");
/// Version of everything in the block.
pub(super) const LAYOUT_VERSION: u64 = 2;

/// Words of the header. What many processes write lies on lines of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(crate) enum Word {
    Magic = 0,
    Version = 1,
    IdLow = 2,
    IdHigh = 3,
    BootLow = 4,
    BootHigh = 5,
    Length = 6,
    HeapBytes = 7,
    Cpus = 8,
    Members = 9,
    HashStart = 10,
    HashMix = 11,
    /// Nanoseconds since the Unix epoch.
    Created = 12,
    /// Inode of the namespace in which its processes are numbered.
    Numbering = 13,
    /// Changes with names and labels.
    Generation = 64,
    /// Units of 8 bytes of the planes in use: from the start in the low half, from the end in the
    /// high one.
    Space = 72,
    /// Bytes of gauges in use.
    Gauges = 73,
    /// Bytes of heap that have memory, in a file.
    Backed = 74,
    /// Bytes of cells in use over all planes.
    Charged = 80,
    /// Series.
    Series = 88,
    /// Bytes of label texts.
    TextBytes = 89,
    /// Number of the last text.
    Serial = 90,
    /// Samples that were not recorded.
    DroppedNan = 104,
    DroppedOverflow = 105,
    /// How many of these were brought into the engine's own counters.
    ToldNan = 106,
    ToldOverflow = 107,
    /// Processes that came so far.
    Joined = 112,
    /// What is published of it (`metrics/ledger.rs`): whose turn it is.
    LedgerOwner = 120,
    /// Bytes in use and in which piece.
    LedgerState = 121,
    LedgerWrites = 122,
    /// Where the two pieces lie, and their bytes.
    LedgerAt = 123,
    LedgerOtherAt = 124,
    LedgerSize = 125,
    LedgerOtherSize = 126,
    /// Who published last, and when: nanoseconds since the boot.
    PublishedBy = 127,
    PublishedAt = 128,
}

/// Where an arena's memory comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Share {
    /// A memory file: children of a fork record into the same cells.
    #[default]
    Auto,
    /// Private memory: a child of a fork starts at zero, with cells of its own.
    Reset,
    /// A file: every process of this host that opens it records into the same cells.
    File(PathBuf),
    /// What a file holds now, in private memory: to be looked at. The file is read and never mapped,
    /// because it may be damaged, or be cut off meanwhile.
    Copy(PathBuf),
}

/// The block. Any thread.
#[derive(Debug)]
pub(crate) struct Ground {
    mapping: platform::Mapping,
    extent: Extent,
    /// Whether memory must be got before it is touched: a hole of a full file system kills.
    backed: bool,
    /// Whether a forked child has other values than its parent had when it forked.
    anew: bool,
    path: Option<PathBuf>,
}

/// CPU planes, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Planes(pub(super) Vec<u32>);

/// How large the parts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    heap: usize,
    members: usize,
    /// CPU planes.
    cpus: u32,
}

impl Extent {
    fn gauges_at(self) -> usize {
        HEADER_BYTES + self.heap
    }

    fn planes_at(self) -> usize {
        self.gauges_at() + self.members * GAUGE_PLANE_BYTES
    }

    fn len(self) -> usize {
        self.planes_at() + (1 + self.cpus as usize) * PLANE_BYTES + SPARE_BYTES
    }
}

impl Ground {
    /// Gets a block; `cpus`: how many CPU planes are wanted, `wanted`: how many bytes of heap, which
    /// may be fewer. A file has its own sizes.
    ///
    /// # Errors
    /// Io when the system has no address space, or a file cannot be opened; Damaged, Conflict or
    /// Unsupported for a file that is not an arena of this version, boot and machine.
    pub(crate) fn new(share: &Share, cpus: u32, wanted: usize) -> Result<Arc<Self>, Error> {
        let ground = match share {
            Share::File(path) => Self::open(path)?,
            Share::Auto => match Self::reserve((cpus, MEMBERS, wanted), in_memory_file) {
                Ok(ground) => ground,
                Err(error) => {
                    tracing::warn!("no memory file ({error}): children of a fork start at zero");
                    Self::private(cpus, wanted)?
                }
            },
            Share::Reset => Self::private(cpus, wanted)?,
            Share::Copy(path) => copy::read(path)?,
        };
        // A huge page for one cell of one CPU would cost 2 MiB a plane.
        if let Err(error) = ground.mapping.use_small_pages() {
            tracing::debug!("an arena may use huge pages: {error}");
        }
        Ok(Arc::new(ground))
    }

    fn private(cpus: u32, wanted: usize) -> Result<Self, Error> {
        let ground = Self::reserve((cpus, 1, wanted), platform::Mapping::private)
            .map_err(|error| Error::io(format_args!("reserve address space for series"), &error))?;
        let from = ground.extent.gauges_at();
        let wiped = ground.mapping.wipe_on_fork(from, ground.extent.len() - from);
        if let Err(error) = &wiped {
            tracing::debug!("a forked child starts with a copy of the values: {error}");
        }
        Ok(Self { anew: wiped.is_ok(), ..ground })
    }

    /// The largest block that there is address space for.
    fn reserve(
        (cpus, members, wanted): (u32, usize, usize),
        map: impl Fn(usize) -> io::Result<platform::Mapping>,
    ) -> io::Result<Self> {
        let mut last = io::ErrorKind::OutOfMemory.into();
        let enough = HEAP_BYTES.into_iter().filter(|heap| *heap >= wanted).min();
        let most = enough.unwrap_or(16 << 30);
        let extents = HEAP_BYTES.into_iter().filter(|heap| *heap <= most);
        let extents = extents.map(|heap| Extent { heap, members, cpus });
        let fewest = Extent { heap: 64 << 20, members: 1, cpus: 0 };
        for extent in extents.chain([fewest]) {
            match map(extent.len()) {
                Ok(mapping) => {
                    if extent.cpus < cpus {
                        tracing::warn!("no address space for {cpus} CPU planes: cells are shared");
                    }
                    let ground = Self { mapping, extent, backed: false, anew: false, path: None };
                    ground.begin();
                    return Ok(ground);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Writes the header of a new block, the magic last.
    fn begin(&self) {
        let [id_low, id_high] = TextHash::random().seeds();
        let [hash_start, hash_mix] = TextHash::random().seeds();
        let [boot_low, boot_high] = platform::boot_id();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let created = now.map_or(0, |now| u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
        let words = [
            (Word::Version, LAYOUT_VERSION),
            (Word::IdLow, id_low),
            (Word::IdHigh, id_high),
            (Word::BootLow, boot_low),
            (Word::BootHigh, boot_high),
            (Word::Length, self.extent.len() as u64),
            (Word::HeapBytes, self.extent.heap as u64),
            (Word::Cpus, u64::from(self.extent.cpus)),
            (Word::Members, self.extent.members as u64),
            (Word::HashStart, hash_start),
            (Word::HashMix, hash_mix),
            (Word::Created, created),
            (Word::Numbering, platform::process_numbering()),
            (Word::Generation, 1),
            (Word::Magic, MAGIC),
        ];
        for (word, value) in words {
            self.word(word).store(value, std::sync::atomic::Ordering::Release);
        }
    }

    /// Opens or makes the arena file at a path.
    fn open(path: &Path) -> Result<Self, Error> {
        let fails = |what: &str, error: &io::Error| {
            Error::io(format_args!("{what} arena {}", path.display()), error)
        };
        let file = file::open(path)?;
        // Held while the header is made or joined; the system lets it go when the process ends.
        rustix::fs::flock(&file, FlockOperation::LockExclusive)
            .map_err(|error| fails("lock", &error.into()))?;
        let length = file.metadata().map_err(|error| fails("look at", &error))?.len();
        let unlock = || rustix::fs::flock(&file, FlockOperation::Unlock);
        let handle = || file.try_clone().map(OwnedFd::from);
        let ground = if length == 0 {
            let made = Self::make(&file, handle);
            if made.is_err() {
                // Empty again, so that the next one begins anew.
                let _ = file.set_len(0);
            }
            made.map_err(|error| fails("make", &error))?
        } else {
            let header = file::Header::read(path, &file, length)?;
            let extent = header.extent()?;
            header.check_joinable()?;
            let mapping = handle().and_then(|file| on_disk(file, extent.len()));
            let mapping = mapping.map_err(|error| fails("map", &error))?;
            Self { mapping, extent, backed: true, anew: false, path: None }
        };
        unlock().map_err(|error| fails("unlock", &error.into()))?;
        Ok(Self { path: Some(path.to_owned()), ..ground })
    }

    fn make(file: &File, handle: impl FnOnce() -> io::Result<OwnedFd>) -> io::Result<Self> {
        let extent = Extent { heap: FILE_HEAP_BYTES, members: MEMBERS, cpus: place::planes() };
        check_file_size(extent.len())?;
        file.set_len(extent.len() as u64)?;
        rustix::fs::fallocate(file, FallocateFlags::empty(), 0, HEADER_USED as u64)?;
        let mapping = on_disk(handle()?, extent.len())?;
        let ground = Self { mapping, extent, backed: true, anew: false, path: None };
        // What is always read.
        ground.back_heap(1)?;
        ground.begin();
        Ok(ground)
    }

    /// A word of the header.
    #[inline]
    pub(crate) fn word(&self, word: Word) -> &AtomicU64 {
        self.header_word(word as usize)
    }

    /// A word of the table of processes.
    pub(super) fn member_word(&self, member: usize, word: usize) -> &AtomicU64 {
        let member = member.min(MEMBERS - 1);
        self.header_word(MEMBERS_AT / 8 + member * MEMBER_WORDS + word.min(MEMBER_WORDS - 1))
    }

    fn header_word(&self, index: usize) -> &AtomicU64 {
        let index = index.min(HEADER_BYTES / 8 - 1);
        // SAFETY: inside the header, which every block has.
        let word = unsafe { self.mapping.base().cast::<AtomicU64>().add(index) };
        // SAFETY: inside the mapping, aligned to 8, only ever accessed atomically.
        // Test: a_block_has_its_header.
        unsafe { word.as_ref() }
    }

    /// How many processes have gauges of their own here.
    pub(super) fn members(&self) -> usize {
        self.extent.members
    }

    /// Number of CPU planes.
    pub(super) fn cpus(&self) -> u32 {
        self.extent.cpus
    }

    /// Where the heap starts, and its bytes.
    pub(super) fn heap(&self) -> (NonNull<u8>, usize) {
        (self.at(HEADER_BYTES), self.extent.heap)
    }

    /// Where the shared plane starts.
    #[inline]
    pub(super) fn planes(&self) -> NonNull<u8> {
        self.at(self.extent.planes_at())
    }

    /// Where the gauges of the first process start.
    pub(super) fn gauges(&self) -> NonNull<u8> {
        self.at(self.extent.gauges_at())
    }

    #[inline]
    fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: the parts lie inside the mapping, which is as long as their sum.
        // Test: a_block_has_its_header.
        unsafe { self.mapping.base().add(offset) }
    }

    /// Whether other processes may have it, now or later.
    pub(crate) fn is_shared(&self) -> bool {
        self.mapping.file().is_some()
    }

    /// Whether a forked child records into the same cells, or starts at zero.
    pub(crate) fn is_safe_in_children(&self) -> bool {
        self.is_shared() || self.anew
    }

    /// The file of the block, if it has a name.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Seeds of the hash that all its processes use.
    pub(crate) fn hash(&self) -> TextHash {
        let [start, mix] =
            [Word::HashStart, Word::HashMix].map(|word| self.word(word).load(Relaxed));
        TextHash::from_seeds([start, mix])
    }

    /// Gets memory for the heap up to `end`, where that must be done before it is touched.
    pub(super) fn back_heap(&self, end: usize) -> io::Result<()> {
        if !self.backed {
            return Ok(());
        }
        let known = self.word(Word::Backed).load(Relaxed) as usize;
        if end <= known {
            return Ok(());
        }
        let whole = end.next_multiple_of(BACKED_AT_ONCE).min(self.extent.heap);
        let from = known.min(end) / 4096 * 4096;
        let got = match self.back(HEADER_BYTES + from, whole - from) {
            Ok(()) => whole,
            Err(_) => {
                let page = end.next_multiple_of(4096).min(self.extent.heap);
                self.back(HEADER_BYTES + from, page - from)?;
                page
            }
        };
        self.word(Word::Backed).fetch_max(got as u64, Relaxed);
        Ok(())
    }

    /// Gets memory for a range of the planes, in each of the first `planes` of them.
    pub(super) fn back_planes(&self, offset: usize, bytes: usize, planes: usize) -> io::Result<()> {
        if !self.backed {
            return Ok(());
        }
        (0..planes).try_for_each(|plane| {
            self.back(self.extent.planes_at() + plane * PLANE_BYTES + offset, bytes)
        })
    }

    /// Gets memory for a range of every process's gauges.
    pub(super) fn back_gauges(&self, offset: usize, bytes: usize) -> io::Result<()> {
        if !self.backed {
            return Ok(());
        }
        (0..self.extent.members).try_for_each(|member| {
            self.back(self.extent.gauges_at() + member * GAUGE_PLANE_BYTES + offset, bytes)
        })
    }

    /// Zeroes the first bytes of a process's gauges by giving their memory back; false where
    /// memory that was given back might not be got again.
    pub(super) fn give_gauges_back(&self, place: usize, bytes: usize) -> bool {
        let Some(file) = self.mapping.file().filter(|_| !self.backed) else { return false };
        if bytes == 0 {
            return true;
        }
        let from = (self.extent.gauges_at() + place * GAUGE_PLANE_BYTES) as u64;
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let length = bytes.next_multiple_of(4096) as u64;
        rustix::fs::fallocate(file, how, from, length).is_ok()
    }

    /// The CPU planes that have memory. To read a page of a shared block is to get memory for it,
    /// so nobody reads where nobody recorded.
    pub(super) fn touched(&self) -> Planes {
        let all = || (0..self.extent.cpus).collect();
        let Some(file) = self.mapping.file().filter(|_| !self.backed) else {
            return Planes(all());
        };
        let first = self.extent.planes_at() + PLANE_BYTES;
        let mut planes = Vec::new();
        let mut cpu = 0;
        while cpu < self.extent.cpus {
            let from = (first + cpu as usize * PLANE_BYTES) as u64;
            match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(from)) {
                Ok(data) => {
                    cpu = (data.saturating_sub(first as u64) / PLANE_BYTES as u64) as u32;
                    planes.push(cpu);
                    cpu += 1;
                }
                // Nothing behind it.
                Err(rustix::io::Errno::NXIO) => break,
                Err(_) => return Planes(all()),
            }
        }
        Planes(planes)
    }

    fn back(&self, start: usize, bytes: usize) -> io::Result<()> {
        let Some(file) = self.mapping.file() else { return Ok(()) };
        let from = start / 4096 * 4096;
        let end = (start + bytes).next_multiple_of(4096);
        let length = (end - from) as u64;
        loop {
            match rustix::fs::fallocate(file, FallocateFlags::empty(), from as u64, length) {
                Err(rustix::io::Errno::INTR) => {}
                done => return Ok(done?),
            }
        }
    }

    /// A description of the block's file of its own: a lock on one that children inherit would be
    /// theirs as well.
    fn describe(&self) -> Option<OwnedFd> {
        let mapped = self.mapping.file()?;
        let path = format!("/proc/self/fd/{}", mapped.as_raw_fd());
        rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).ok()
    }

    /// Runs `f` while nobody can open the file and no child is without a place in it; `None` where
    /// one is, or where another process asks the same.
    pub(super) fn while_closed<R>(&self, f: impl FnOnce() -> R) -> Option<R> {
        let file = self.describe()?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(f())
    }

    /// A lock that keeps others from [`Ground::while_closed`] as long as this process or a child has
    /// the descriptor; `None` where the system gives none.
    pub(super) fn lock_shared(&self) -> Option<OwnedFd> {
        let file = self.describe()?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::LockShared) {
                Err(rustix::io::Errno::INTR) => {}
                done => return done.ok().map(|()| file),
            }
        }
    }
}

/// Whether a file may become so long: to grow one past the limit ends the process with SIGXFSZ.
fn check_file_size(len: usize) -> io::Result<()> {
    match rustix::process::getrlimit(rustix::process::Resource::Fsize).current {
        Some(limit) if limit < len as u64 => Err(io::Error::other(format!(
            "it takes {len} bytes of address space, and the limit on file sizes (RLIMIT_FSIZE) is \
             {limit}"
        ))),
        _ => Ok(()),
    }
}

/// Memory of a file that has a name.
fn on_disk(file: OwnedFd, len: usize) -> io::Result<platform::Mapping> {
    let mapping = platform::Mapping::shared(file, len)?;
    mapping.use_single_pages()?;
    Ok(mapping)
}

/// Memory that children of a fork share: it can be neither shrunk nor sealed against writing.
fn in_memory_file(len: usize) -> io::Result<platform::Mapping> {
    check_file_size(len)?;
    let file = rustix::fs::memfd_create(
        "tallyport-arena",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    rustix::fs::ftruncate(&file, len as u64)?;
    rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    platform::Mapping::shared(file, len)
}
