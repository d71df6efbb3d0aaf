//! What an arena file holds, read into private memory.

use std::{fs::File, os::unix::fs::FileExt, path::Path, sync::atomic::Ordering::Relaxed};

use rustix::{
    fs::{Mode, OFlags, SeekFrom},
    io::Errno,
};

use super::{
    super::END_BITS, Extent, GAUGE_PLANE_BYTES, Ground, HEADER_BYTES, HEADER_USED, PLANE_BYTES,
    Word, file::Header, platform,
};
use crate::model::{Error, ErrorKind};

/// Most bytes that are read: more is no arena that a process of this host recorded in.
const MAX_BYTES: usize = 16 << 30;

/// Reads the parts of a file that are in use.
///
/// # Errors
/// Io; Damaged or Conflict for what is no arena of this version; Limit for one that is too large.
pub(super) fn read(path: &Path) -> Result<Ground, Error> {
    let fails = |what: &str, error: &std::io::Error| {
        Error::io(format_args!("{what} arena {}", path.display()), error)
    };
    // A FIFO would be waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty());
    let file = file.map(File::from).map_err(|error| fails("open", &error.into()))?;
    let about = file.metadata().map_err(|error| fails("look at", &error))?;
    if !about.is_file() {
        let message = format!("arena {}: is no regular file", path.display());
        return Err(Error::invalid("recording.arena", message));
    }
    // Read page by page: pages that are read ahead together would need room together when a process
    // that has the file writes to one of them (Mapping::use_single_pages).
    if let Err(error) = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::Random) {
        return Err(fails("read", &error.into()));
    }
    let header = Header::read(path, &file, about.len())?;
    let extent = header.extent()?;
    let mapping =
        platform::Mapping::private(extent.len()).map_err(|error| fails("copy", &error))?;
    let path = Some(path.to_owned());
    let mut ground = Ground { mapping, extent, backed: false, anew: false, path };
    let mut left = MAX_BYTES;
    for (start, bytes) in in_use(&header, &file, extent) {
        match ground.copy(&file, start, bytes, left) {
            Ok(copied) => left -= copied,
            Err(error) => return Err(fails("read", &error)),
        }
        if left == 0 {
            return header.refuse(ErrorKind::Limit, "has more than 16 GiB in use");
        }
    }
    Ok(ground)
}

/// The ranges of a file that processes use.
fn in_use(header: &Header<'_>, file: &File, extent: Extent) -> Vec<(usize, usize)> {
    let mut heap = [0; 8];
    // Shorter than its header says: then nothing is found there.
    let used =
        file.read_exact_at(&mut heap, HEADER_BYTES as u64).map(|()| u64::from_le_bytes(heap));
    let used = used.map_or(0, |used| usize::try_from(used).unwrap_or(usize::MAX));
    let word = |word| usize::try_from(header.word(word)).unwrap_or(usize::MAX);
    let gauges = word(Word::Gauges).min(GAUGE_PLANE_BYTES);
    let space = header.word(Word::Space);
    let low = (space as u32 as usize * 8).min(PLANE_BYTES);
    let high = ((space >> END_BITS) as usize * 8).min(PLANE_BYTES);
    let mut ranges = vec![(0, HEADER_USED), (HEADER_BYTES, used.min(extent.heap))];
    let members = (0..extent.members).map(|member| extent.gauges_at() + member * GAUGE_PLANE_BYTES);
    ranges.extend(members.map(|start| (start, gauges)));
    for plane in 0..=extent.cpus as usize {
        let start = extent.planes_at() + plane * PLANE_BYTES;
        ranges.extend([(start, low), (start + PLANE_BYTES - high, high)]);
    }
    ranges
}

impl Ground {
    /// Copies what the file has of a range; how many bytes that were, at most `most`.
    fn copy(
        &mut self,
        file: &File,
        start: usize,
        bytes: usize,
        most: usize,
    ) -> std::io::Result<usize> {
        let end = (start + bytes).min(self.extent.len());
        let (mut at, mut copied) = (start, 0);
        while at < end && copied < most {
            let data = match rustix::fs::seek(file, SeekFrom::Data(at as u64)) {
                Ok(data) => data as usize,
                Err(Errno::NXIO) => break,
                // A file system that does not say.
                Err(_) => at,
            };
            if data >= end {
                break;
            }
            let hole = rustix::fs::seek(file, SeekFrom::Hole(data as u64));
            let until = hole.map_or(end, |hole| hole as usize).min(end).min(data + (most - copied));
            // SAFETY: inside the mapping, which this thread alone knows yet.
            // Test: a_copy_holds_what_the_file_held.
            let into = unsafe {
                std::slice::from_raw_parts_mut(self.at(data).as_ptr(), until.saturating_sub(data))
            };
            let mut filled = 0;
            while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                match file.read_at(rest, (data + filled) as u64) {
                    // Cut off meanwhile: what is missing reads as zeros.
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            copied += until - data;
            at = until.max(at + 1);
        }
        Ok(copied)
    }

    /// Whether it is the copy of a file: others made what it holds.
    pub(crate) fn is_copy(&self) -> bool {
        self.path.is_some() && !self.is_shared() && self.word(Word::Magic).load(Relaxed) != 0
    }
}
