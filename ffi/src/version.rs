//! What the library is: version, ABI, names of statuses, misuse.

use std::ffi::{CStr, c_char};

use tallyport_plugin_api::abi::{
    TALLYPORT_ALREADY_EXISTS, TALLYPORT_BAD_HANDLE, TALLYPORT_CANCELLED, TALLYPORT_CLOSED,
    TALLYPORT_CONFIG, TALLYPORT_CONFLICT, TALLYPORT_DAMAGED, TALLYPORT_INTERNAL,
    TALLYPORT_INVALID_ARGUMENT, TALLYPORT_INVALID_UTF8, TALLYPORT_IO, TALLYPORT_LIMIT,
    TALLYPORT_NOT_FOUND, TALLYPORT_NULL_ARGUMENT, TALLYPORT_OK, TALLYPORT_PANIC,
    TALLYPORT_PLUGIN_ABI_MISMATCH, TALLYPORT_PLUGIN_FAILED, TALLYPORT_PLUGIN_REFUSED,
    TALLYPORT_POISONED, TALLYPORT_TIMEOUT, TALLYPORT_UNAVAILABLE, TALLYPORT_UNSUPPORTED,
    tallyport_status,
};

use crate::{boundary::plain, handles};

/// Version of this interface, major << 16 | minor. A library serves older minors of its major.
pub const TALLYPORT_ABI_VERSION: u32 = 0x1_0000;

const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version,
        Err(_) => c"",
    };

/// Version of the library, for example `0.1.0`; compare with TALLYPORT_VERSION_STRING.
///
/// Threads: any thread. Ownership: static text. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_version() -> *const c_char {
    plain!(c"".as_ptr(), VERSION.as_ptr())
}

/// Whether the library fits the header: call it with TALLYPORT_ABI_VERSION.
///
/// Threads: any thread. Ownership: nothing. Errors: UNSUPPORTED when it does not. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_abi_check(abi: u32) -> tallyport_status {
    plain!(
        TALLYPORT_UNSUPPORTED,
        if serves(TALLYPORT_ABI_VERSION, abi) { TALLYPORT_OK } else { TALLYPORT_UNSUPPORTED }
    )
}

/// Whether a library of one version of the interface serves a header of another: its own while the
/// major is 0, from 1 on every one of its major that is not newer (docs/ABI.md).
fn serves(own: u32, header: u32) -> bool {
    let (major, minor) = (own >> 16, own & 0xffff);
    match major {
        0 => header == own,
        _ => header >> 16 == major && header & 0xffff <= minor,
    }
}

/// Name of a status, for example `NOT_FOUND`; `UNKNOWN` for a number that is none.
///
/// Threads: any thread; async-signal-safe. Ownership: static text. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_status_name(status: tallyport_status) -> *const c_char {
    plain!(c"".as_ptr(), name(status).as_ptr())
}

/// Recording calls of this process that recorded nothing: their handle was NULL, stale or of
/// another type.
///
/// Threads: any thread; async-signal-safe. Ownership: nothing. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_misuse_count() -> u64 {
    plain!(0, handles::misuse())
}

fn name(status: tallyport_status) -> &'static CStr {
    match status {
        TALLYPORT_OK => c"OK",
        TALLYPORT_INVALID_ARGUMENT => c"INVALID_ARGUMENT",
        TALLYPORT_INVALID_UTF8 => c"INVALID_UTF8",
        TALLYPORT_NULL_ARGUMENT => c"NULL_ARGUMENT",
        TALLYPORT_BAD_HANDLE => c"BAD_HANDLE",
        TALLYPORT_CONFLICT => c"CONFLICT",
        TALLYPORT_LIMIT => c"LIMIT",
        TALLYPORT_NOT_FOUND => c"NOT_FOUND",
        TALLYPORT_ALREADY_EXISTS => c"ALREADY_EXISTS",
        TALLYPORT_CONFIG => c"CONFIG",
        TALLYPORT_IO => c"IO",
        TALLYPORT_PLUGIN_REFUSED => c"PLUGIN_REFUSED",
        TALLYPORT_PLUGIN_ABI_MISMATCH => c"PLUGIN_ABI_MISMATCH",
        TALLYPORT_PLUGIN_FAILED => c"PLUGIN_FAILED",
        TALLYPORT_PANIC => c"PANIC",
        TALLYPORT_POISONED => c"POISONED",
        TALLYPORT_CANCELLED => c"CANCELLED",
        TALLYPORT_TIMEOUT => c"TIMEOUT",
        TALLYPORT_UNSUPPORTED => c"UNSUPPORTED",
        TALLYPORT_DAMAGED => c"DAMAGED",
        TALLYPORT_CLOSED => c"CLOSED",
        TALLYPORT_INTERNAL => c"INTERNAL",
        TALLYPORT_UNAVAILABLE => c"UNAVAILABLE",
        _ => c"UNKNOWN",
    }
}

#[cfg(test)]
mod tests {
    use super::serves;

    #[test]
    fn from_major_1_on_a_library_serves_every_older_header_of_its_major() {
        let version = |major: u32, minor: u32| major << 16 | minor;
        assert!(serves(version(0, 1), version(0, 1)));
        assert!(!serves(version(0, 2), version(0, 1)));
        assert!(serves(version(1, 2), version(1, 0)));
        assert!(serves(version(1, 2), version(1, 2)));
        assert!(!serves(version(1, 2), version(1, 3)));
        assert!(!serves(version(1, 2), version(0, 1)));
        assert!(!serves(version(1, 2), version(2, 0)));
    }
}
