//! Bytes that the library hands out.

use std::ptr;

use crate::boundary::plain;

/// Bytes that a call handed out: `len` bytes at `ptr`, of `cap` that belong to them.
///
/// Begin with `tallyport_buf buf = {0};` and give it to one call at a time: a call that fills it
/// overwrites it. A copy of the struct is no second buffer.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_buf {
    /// First byte; NULL when there is none.
    pub ptr: *mut u8,
    /// Length in bytes.
    pub len: usize,
    /// The library's own.
    pub cap: usize,
}

impl tallyport_buf {
    pub(crate) const EMPTY: Self = Self { ptr: ptr::null_mut(), len: 0, cap: 0 };
}

/// Frees the bytes of `buf` and empties it.
///
/// Threads: one thread at a time per buffer. Ownership: takes the bytes; the struct stays yours.
/// NULL, an empty and an already freed buffer are no-ops. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_buf_free(buf: *mut tallyport_buf) {
    plain!((), |call| call.free_buf(buf));
}
