//! Memory that is reserved at once and touched lazily: private, or a file's that processes share.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    ptr::NonNull,
};

/// Zeroed pages, unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    len: usize,
    /// What is mapped, where processes share it.
    file: Option<OwnedFd>,
}

// SAFETY: the mapping is plain memory; who writes it synchronises by itself (metrics/arena).
// Test: concurrent_recording_is_exact.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Reserves `len` bytes of zeros; a page costs memory when it is first written.
    pub(crate) fn private(len: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Ok(Self { base: map(len, flags, -1)?, len, file: None })
    }

    /// Reserves `len` bytes that nobody may touch.
    pub(crate) fn untouchable(len: usize) -> io::Result<Self> {
        let mapping = Self::private(len)?;
        // SAFETY: our own new mapping, which nobody knows. Test: nobody_may_touch_a_guard.
        let status = unsafe { libc::mprotect(mapping.base.as_ptr().cast(), len, libc::PROT_NONE) };
        if status == 0 { Ok(mapping) } else { Err(io::Error::last_os_error()) }
    }

    /// Maps the first `len` bytes of a file that is at least as long: every process that does so,
    /// and every child, sees the same memory.
    pub(crate) fn shared(file: OwnedFd, len: usize) -> io::Result<Self> {
        use std::os::fd::AsRawFd;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        let base = map(len, flags, file.as_raw_fd())?;
        Ok(Self { base, len, file: Some(file) })
    }

    /// Has the system read pages of a file one by one.
    ///
    /// A file system that reads ahead takes pages together (since Linux 6.16 on ext4, longer on
    /// XFS), and the first write to one of them then needs room for all: also where the file has
    /// none yet, so that a full disk would end a process that writes to memory it was given.
    pub(crate) fn use_single_pages(&self) -> io::Result<()> {
        // SAFETY: advice on our own mapping; its contents do not change.
        // Test: what_is_full_is_no_reason_to_crash, on ext4.
        let status =
            unsafe { libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_RANDOM) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The file that is mapped; `None`: private memory.
    pub(crate) fn file(&self) -> Option<BorrowedFd<'_>> {
        self.file.as_ref().map(AsFd::as_fd)
    }

    /// Has a child of a fork see zeros in a range of whole pages of private memory.
    pub(crate) fn wipe_on_fork(&self, start: usize, len: usize) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            if start.checked_add(len).is_none_or(|end| end > self.len) {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            // SAFETY: just bounded.
            let from = unsafe { self.base.add(start) };
            // SAFETY: advice on our own mapping; its contents do not change in this process.
            // Test: a_child_of_a_private_block_starts_at_zero.
            let status = unsafe { libc::madvise(from.as_ptr().cast(), len, libc::MADV_WIPEONFORK) };
            if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
        }
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (start, len);
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    /// First byte, aligned to a page.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Gives the memory of whole pages in a range back; they read as zeros, or as they were where
    /// the system does not do so.
    pub(crate) fn give_back(&self, start: usize, len: usize) -> io::Result<()> {
        const PAGE: usize = 64 << 10; // the largest of any system that this runs on
        if self.file.is_some() {
            return Ok(());
        }
        let end = start.saturating_add(len).min(self.len) / PAGE * PAGE;
        let Some(start) = start.checked_next_multiple_of(PAGE) else { return Ok(()) };
        if start >= end {
            return Ok(());
        }
        // SAFETY: just bounded.
        let from = unsafe { self.base.add(start) };
        // SAFETY: pages of our own private mapping, of which the caller has the range to itself.
        // Test: what_is_given_back_reads_as_zeros.
        let status =
            unsafe { libc::madvise(from.as_ptr().cast(), end - start, libc::MADV_DONTNEED) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Asks for pages of the smallest size, so that one touched word costs one of them.
    pub(crate) fn use_small_pages(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        {
            // SAFETY: advice on our own mapping; its contents do not change.
            let status = unsafe {
                libc::madvise(self.base.as_ptr().cast(), self.len, libc::MADV_NOHUGEPAGE)
            };
            if status != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

fn map(len: usize, flags: i32, file: i32) -> io::Result<NonNull<u8>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
    // Test: a_mapping_is_zeroed_and_writable.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, file, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    NonNull::new(base.cast()).ok_or_else(|| io::Error::other("mmap gave NULL"))
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: base and len are those of the mapping, and no reference to it is left: cells
        // keep the arena alive that owns it. Test: a_handle_outlives_its_engine.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_zeroed_and_writable() {
        let mapping = Mapping::private(1 << 20).unwrap();
        let _ = mapping.use_small_pages();
        let last = mapping.base().as_ptr().wrapping_add((1 << 20) - 1);
        // SAFETY: inside the mapping, which nobody else knows.
        assert_eq!(unsafe { last.read() }, 0);
        // SAFETY: as above.
        unsafe { last.write(7) };
        // SAFETY: as above.
        assert_eq!(unsafe { last.read() }, 7);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_given_back_reads_as_zeros() {
        let mapping = Mapping::private(1 << 20).unwrap();
        let at = |offset: usize| mapping.base().as_ptr().wrapping_add(offset);
        for offset in [1, 100_000, 200_000] {
            // SAFETY: inside the mapping, which nobody else knows.
            unsafe { at(offset).write(7) };
        }
        mapping.give_back(10, 150_000).unwrap();
        for (offset, kept) in [(1, 7), (100_000, 0), (200_000, 7)] {
            // SAFETY: as above.
            assert_eq!(unsafe { at(offset).read() }, kept, "{offset}");
        }
        mapping.give_back(usize::MAX - 5, 10).unwrap();
        mapping.give_back(5, usize::MAX).unwrap();
    }

    #[test]
    fn nobody_may_touch_a_guard() {
        let guard = Mapping::untouchable(1 << 20).unwrap();
        let (read, write) = std::io::pipe().unwrap();
        // SAFETY: the kernel refuses to read from memory that this process may not touch.
        let sent = unsafe { libc::write(fd(&write), guard.base().as_ptr().cast(), 8) };
        assert_eq!(sent, -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EFAULT));
        drop(read);
    }

    fn fd(pipe: &std::io::PipeWriter) -> i32 {
        use std::os::fd::AsRawFd;
        pipe.as_raw_fd()
    }

    #[test]
    fn a_mapping_that_cannot_be_is_an_error() {
        assert!(Mapping::private(usize::MAX / 2).is_err());
    }
}
