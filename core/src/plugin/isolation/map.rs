//! The helper's side of shared memory: mapped, because plugins read it by address.
//!
//! The host seals the size of every file, and that is checked here: then no access is past the end.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, OwnedFd},
    ptr::{self, NonNull},
    slice,
};

use rustix::{
    fs::{SealFlags, fcntl_get_seals},
    mm::{MapFlags, ProtFlags, mmap, munmap},
};

use super::messages::Slots;
use crate::snapshot::Block;

/// A memory file, mapped whole.
#[derive(Debug)]
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: memory that is reachable from every thread; who may write it is said below.
// Test: the_same_bytes_leave_through_a_helper.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &OwnedFd, len: u64, protection: ProtFlags) -> io::Result<Self> {
        let seals = fcntl_get_seals(file)?;
        let size = File::from(file.try_clone()?).metadata()?.len();
        if !seals.contains(SealFlags::SHRINK) || size < len || len == 0 {
            return Err(io::Error::other("memory that is shorter than said, or can become so"));
        }
        let len = usize::try_from(len).map_err(io::Error::other)?;
        // Faulted in at once: one call instead of thousands of faults.
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists,
        // and lies inside a file that cannot become shorter.
        // Test: memory_that_can_shrink_or_is_too_short_is_not_mapped.
        let base = unsafe { mmap(ptr::null_mut(), len, protection, flags, file.as_fd(), 0) }?;
        let base = NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap gave NULL"))?;
        Ok(Self { base, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and len are those of the mapping, and whoever borrowed from it is done.
        // Test: the_same_bytes_leave_through_a_helper.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Columns that the host wrote.
#[derive(Debug)]
pub(super) struct Columns(Mapping);

impl Columns {
    pub(super) fn new(file: &OwnedFd, len: u64) -> io::Result<Self> {
        Mapping::new(file, len, ProtFlags::READ).map(Self)
    }
}

impl Block for Columns {
    fn bytes(&self) -> &[u8] {
        // SAFETY: mapped for as long as `self`, and written by the host between calls only, while
        // nothing is borrowed. Test: the_same_bytes_leave_through_a_helper.
        unsafe { slice::from_raw_parts(self.0.base.as_ptr(), self.0.len) }
    }
}

/// Where output is left for the host.
#[derive(Debug)]
pub(super) struct Output {
    memory: Mapping,
    slots: Slots,
}

impl Output {
    pub(super) fn new(file: &OwnedFd, slots: Slots) -> io::Result<Self> {
        let len = u64::from(slots.count) * u64::from(slots.bytes);
        let memory = Mapping::new(file, len, ProtFlags::READ | ProtFlags::WRITE)?;
        Ok(Self { memory, slots })
    }

    pub(super) fn slots(&self) -> Slots {
        self.slots
    }

    /// Copies into a slot as much as fits after `at`; answers how much that was.
    pub(super) fn fill(&mut self, slot: u32, at: usize, bytes: &[u8]) -> usize {
        let size = self.slots.bytes as usize;
        let len = bytes.len().min(size.saturating_sub(at));
        if slot >= self.slots.count || len == 0 {
            return 0;
        }
        let to = self.memory.base.as_ptr().wrapping_add(slot as usize * size + at);
        // SAFETY: inside the slot, which lies inside the mapping (`new`); `bytes` is not part of it,
        // as nobody is lent any of it. The host reads a slot by a system call, and only one that
        // was handed over. Test: the_same_bytes_leave_through_a_helper.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, len) };
        len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::isolation::memory::MemoryFile;

    fn owned(file: &MemoryFile) -> OwnedFd {
        file.descriptor().as_fd().try_clone_to_owned().unwrap()
    }

    #[test]
    fn memory_that_can_shrink_or_is_too_short_is_not_mapped() {
        let sealed = MemoryFile::new("sealed", 8192).unwrap();
        sealed.write(b"abc", 4096).unwrap();
        assert!(Columns::new(&owned(&sealed), 8193).is_err());
        assert!(Columns::new(&owned(&sealed), 0).is_err());
        let columns = Columns::new(&owned(&sealed), 8192).unwrap();
        assert_eq!(&columns.bytes()[4096..4099], b"abc");
        let file = tempfile::tempfile().unwrap();
        file.set_len(8192).unwrap();
        assert!(Columns::new(&file.into(), 8192).is_err(), "a file without seals");
        let open = rustix::fs::memfd_create("open", rustix::fs::MemfdFlags::ALLOW_SEALING).unwrap();
        rustix::fs::ftruncate(&open, 8192).unwrap();
        assert!(Columns::new(&open, 8192).is_err(), "memory that can shrink");
    }

    #[test]
    fn slots_are_filled_up_to_their_end_and_no_further() {
        let slots = Slots { count: 2, bytes: 4096 };
        let file = MemoryFile::new("slots", 8192).unwrap();
        let mut output = Output::new(&owned(&file), slots).unwrap();
        assert_eq!(output.fill(0, 0, &[1; 5000]), 4096);
        assert_eq!(output.fill(1, 4095, &[2; 2]), 1);
        assert_eq!(output.fill(1, 4096, &[2; 2]), 0);
        assert_eq!(output.fill(2, 0, &[3; 2]), 0);
        let mut bytes = vec![0; 8192];
        file.read(&mut bytes, 0).unwrap();
        assert!(bytes[..4096].iter().all(|byte| *byte == 1));
        assert!(bytes[4096..8191].iter().all(|byte| *byte == 0) && bytes[8191] == 2);
        assert!(Output::new(&owned(&file), Slots { count: 3, bytes: 4096 }).is_err());
    }
}
