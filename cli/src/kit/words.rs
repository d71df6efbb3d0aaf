//! Numbers of statuses and signals as the words that people know.

use tallyport_plugin_api::abi;

/// A status with its name.
pub(crate) fn status(status: i32) -> String {
    let name = match status {
        abi::TALLYPORT_OK => "OK",
        abi::TALLYPORT_INVALID_ARGUMENT => "INVALID_ARGUMENT",
        abi::TALLYPORT_INVALID_UTF8 => "INVALID_UTF8",
        abi::TALLYPORT_NULL_ARGUMENT => "NULL_ARGUMENT",
        abi::TALLYPORT_BAD_HANDLE => "BAD_HANDLE",
        abi::TALLYPORT_CONFLICT => "CONFLICT",
        abi::TALLYPORT_LIMIT => "LIMIT",
        abi::TALLYPORT_NOT_FOUND => "NOT_FOUND",
        abi::TALLYPORT_ALREADY_EXISTS => "ALREADY_EXISTS",
        abi::TALLYPORT_CONFIG => "CONFIG",
        abi::TALLYPORT_IO => "IO",
        abi::TALLYPORT_PLUGIN_REFUSED => "PLUGIN_REFUSED",
        abi::TALLYPORT_PLUGIN_ABI_MISMATCH => "PLUGIN_ABI_MISMATCH",
        abi::TALLYPORT_PLUGIN_FAILED => "PLUGIN_FAILED",
        abi::TALLYPORT_PANIC => "PANIC",
        abi::TALLYPORT_POISONED => "POISONED",
        abi::TALLYPORT_CANCELLED => "CANCELLED",
        abi::TALLYPORT_TIMEOUT => "TIMEOUT",
        abi::TALLYPORT_UNSUPPORTED => "UNSUPPORTED",
        abi::TALLYPORT_DAMAGED => "DAMAGED",
        abi::TALLYPORT_CLOSED => "CLOSED",
        abi::TALLYPORT_INTERNAL => "INTERNAL",
        other => return format!("the unknown status {other}"),
    };
    name.to_owned()
}

/// A signal with its name.
pub(crate) fn signal(number: i32) -> String {
    let name = match number {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGCHLD => "SIGCHLD",
        libc::SIGSYS => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// Text of a plugin, cut to what fits a line.
pub(crate) fn short(text: &str) -> String {
    const MOST: usize = 300;
    let line = text.lines().next().unwrap_or("");
    let cut = line.get(..line.floor_char_boundary(MOST)).unwrap_or("");
    if cut.len() < text.trim_end().len() { format!("{cut}…") } else { cut.to_owned() }
}

/// Where two outputs differ, with what stands there.
pub(crate) fn difference(one: &[u8], other: &[u8]) -> String {
    let at = one.iter().zip(other).position(|(a, b)| a != b);
    let at = at.unwrap_or_else(|| one.len().min(other.len()));
    let around = |bytes: &[u8]| {
        let start = at.saturating_sub(16);
        let end = (at + 24).min(bytes.len());
        format!("{:?}", String::from_utf8_lossy(bytes.get(start..end).unwrap_or(&[])))
    };
    format!(
        "at byte {at} of {} and {}: {} and {}",
        one.len(),
        other.len(),
        around(one),
        around(other)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_differ_where_the_first_byte_differs_or_one_ends() {
        assert!(difference(b"abc", b"abd").starts_with("at byte 2 of 3 and 3"));
        assert!(difference(b"abc", b"abcd").starts_with("at byte 3 of 3 and 4"));
        assert_eq!(short("one\ntwo"), "one…");
        assert_eq!(short("one\n"), "one");
    }
}
