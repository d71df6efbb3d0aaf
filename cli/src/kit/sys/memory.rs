//! Memory that is lent: up against a page that nobody may touch.
//!
//! A read past the end faults at once, and so does a write after [`Loan::lock`] and any use after
//! [`Loan::close`]: the process of the case dies of SIGSEGV, which its parent reports.

use std::{io, ptr};

const PAGE: usize = 4096;
/// What lies between the start of the mapping and what is lent.
const SLACK: u8 = 0xA5;

/// A mapping of its own, with a guard page after it.
#[derive(Debug)]
pub(crate) struct Loan {
    base: *mut u8,
    /// Bytes of the mapping without the guard page.
    room: usize,
    /// Where the content starts.
    at: usize,
}

// SAFETY: the mapping belongs to this value alone, and who shares it reads only.
// Test: the_kit_fails_what_is_bad_under_the_name_of_the_case.
unsafe impl Send for Loan {}
// SAFETY: as above.
unsafe impl Sync for Loan {}

impl Loan {
    /// A copy of `bytes` that starts at a multiple of `align` and ends at the guard page
    /// (or as close to it as `align` allows).
    pub(crate) fn of(bytes: &[u8], align: usize) -> Result<Self, String> {
        let loan = Self::window(bytes.len(), align)?;
        // SAFETY: the mapping holds as many bytes after `at`, writable, and is nobody else's.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), loan.start_mut(), bytes.len()) };
        Ok(loan)
    }

    /// Makes it read-only: whoever writes faults.
    pub(crate) fn lock(&self) -> Result<(), String> {
        self.protect(libc::PROT_READ)
    }

    /// `len` writable bytes that end at the guard page.
    pub(crate) fn window(len: usize, align: usize) -> Result<Self, String> {
        let align = align.clamp(1, PAGE);
        let room = len.max(1).next_multiple_of(PAGE);
        // A row of bytes behind the last whole element keeps the start aligned.
        let at = (room - len) / align * align;
        // SAFETY: a fresh private mapping; the kernel chooses where.
        let base = unsafe {
            let (read, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE);
            libc::mmap(ptr::null_mut(), room + PAGE, read, flags | libc::MAP_ANONYMOUS, -1, 0)
        };
        if base == libc::MAP_FAILED {
            return Err(format!("the kit has no memory: {}", io::Error::last_os_error()));
        }
        let loan = Self { base: base.cast(), room, at };
        // SAFETY: the first bytes of our own mapping.
        unsafe { ptr::write_bytes(loan.base, SLACK, at) };
        // SAFETY: the last page of our own mapping.
        let guarded =
            unsafe { libc::mprotect(loan.base.wrapping_add(room).cast(), PAGE, libc::PROT_NONE) };
        if guarded == 0 { Ok(loan) } else { Err("the kit cannot guard memory".to_owned()) }
    }

    /// First byte of what is lent.
    pub(crate) fn start(&self) -> *const u8 {
        self.start_mut().cast_const()
    }

    /// First byte of a window.
    pub(crate) fn start_mut(&self) -> *mut u8 {
        self.base.wrapping_add(self.at)
    }

    /// The first `len` bytes of a window, as the plugin left them.
    pub(crate) fn written(&self, len: usize) -> Vec<u8> {
        let len = len.min(self.room - self.at);
        // SAFETY: inside the mapping, which is readable until it is closed.
        unsafe { std::slice::from_raw_parts(self.start(), len) }.to_vec()
    }

    /// Ends the loan: whoever touches it now faults. The addresses stay taken until it is dropped.
    pub(crate) fn close(&self) -> Result<(), String> {
        self.protect(libc::PROT_NONE)
    }

    fn protect(&self, how: libc::c_int) -> Result<(), String> {
        // SAFETY: our own mapping; nobody of ours reads it after it was closed.
        let done = unsafe { libc::mprotect(self.base.cast(), self.room, how) };
        if done == 0 { Ok(()) } else { Err("the kit cannot protect memory".to_owned()) }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // SAFETY: our own mapping, whole; it was lent for a call that is over.
        unsafe { libc::munmap(self.base.cast(), self.room + PAGE) };
    }
}

/// The bytes of an ABI struct, and garbage after it where a host is newer.
pub(crate) fn bytes_of<T: Copy>(value: &T, size: usize) -> Vec<u8> {
    let own = size_of::<T>();
    let mut bytes = vec![0xEE; own.max(size)];
    // SAFETY: both are at least `own` bytes long. Padding is never read: the ABI's structs have
    // none (layout.rs of the plugin API).
    unsafe { ptr::copy_nonoverlapping(ptr::from_ref(value).cast::<u8>(), bytes.as_mut_ptr(), own) };
    bytes.truncate(size);
    bytes
}
