//! The functions of the host table: what a plugin hands over is looked at before it is used.

use std::{ffi::c_void, ptr, slice, sync::Arc, thread};

use tallyport_plugin_api::abi::{
    TALLYPORT_INVALID_ARGUMENT, TALLYPORT_LIMIT, TALLYPORT_LOG_ERROR, TALLYPORT_LOG_TRACE,
    TALLYPORT_NULL_ARGUMENT, TALLYPORT_OK, tallyport_error, tallyport_host, tallyport_sink,
    tallyport_status, tallyport_str,
};

use super::{
    call::monotonic_ns,
    desk::{Lending, Misuse, Notes, Sink, notes},
    memory::Loan,
};

/// Most that `sink_reserve` lends.
const MAX_RESERVE: usize = 64 << 20;
/// Longest text that is a text.
const MAX_TEXT: usize = 16 << 20;

/// Text of the plugin; what is wrong with it becomes a finding.
///
/// # Safety
/// `text` is readable for its length, unless it is NULL: so says the ABI.
unsafe fn read(lending: &mut Lending, what: &str, text: tallyport_str) -> String {
    if text.len == 0 {
        return String::new();
    }
    if text.ptr.is_null() || text.len > MAX_TEXT {
        lending.note(Misuse::Text, || {
            format!("the {what} is {:p} with a length of {}", text.ptr, text.len)
        });
        return String::new();
    }
    // SAFETY: the caller passes on what the ABI promises; a lie here kills the case's process.
    let bytes = unsafe { slice::from_raw_parts(text.ptr.cast::<u8>(), text.len) };
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        lending.note(Misuse::Text, || format!("the {what} is not UTF-8 at byte {at}"));
    }
    String::from_utf8_lossy(bytes).into_owned()
}

fn live(host: *const tallyport_host, service: &str) -> Option<Arc<Notes>> {
    let notes = notes(host)?;
    let mut lending = notes.lending();
    if lending.destroyed {
        lending.note(Misuse::AfterDestroy, || format!("`{service}` was called after `destroy`"));
    }
    drop(lending);
    Some(notes)
}

pub(super) unsafe extern "C" fn log(
    host: *const tallyport_host,
    level: i32,
    message: tallyport_str,
) {
    let Some(notes) = live(host, "log") else { return };
    let mut lending = notes.lending();
    if !(TALLYPORT_LOG_ERROR..=TALLYPORT_LOG_TRACE).contains(&level) {
        lending.note(Misuse::Domain, || format!("`log` was called with level {level}"));
    }
    // SAFETY: the ABI: the message is readable.
    unsafe { read(&mut lending, "message of `log`", message) };
}

/// The error, on the thread that it was lent to; what is wrong becomes a finding.
fn on_error(
    host: *const tallyport_host,
    error: *mut tallyport_error,
    service: &str,
    set: impl FnOnce(&mut Lending, usize),
) {
    let Some(notes) = live(host, service) else { return };
    let mut lending = notes.lending();
    let key = error.addr();
    match lending.errors.get(&key).map(|fault| fault.thread) {
        None => lending.note(Misuse::Handle, || {
            format!("`{service}` was called with {error:p}, which is no error of a running call")
        }),
        Some(owner) => {
            if owner != Some(thread::current().id()) {
                let text = || format!("`{service}` was called on another thread than the call's");
                lending.note(Misuse::Thread, text);
            }
            set(&mut lending, key);
        }
    }
}

pub(super) unsafe extern "C" fn error_set(
    host: *const tallyport_host,
    error: *mut tallyport_error,
    code: tallyport_status,
    message: tallyport_str,
) {
    on_error(host, error, "error_set", |lending, key| {
        // SAFETY: the ABI: the message is readable.
        let message = unsafe { read(lending, "message of an error", message) };
        if let Some(fault) = lending.errors.get_mut(&key) {
            fault.code = code;
            fault.message = message;
        }
    });
}

pub(super) unsafe extern "C" fn error_detail(
    host: *const tallyport_host,
    error: *mut tallyport_error,
    key: tallyport_str,
    value: tallyport_str,
) {
    on_error(host, error, "error_detail", |lending, slot| {
        // SAFETY: the ABI: the text is readable.
        let key = unsafe { read(lending, "key of an error's detail", key) };
        // SAFETY: as above.
        let value = unsafe { read(lending, "value of an error's detail", value) };
        if let Some(fault) = lending.errors.get_mut(&slot) {
            fault.details.push((key, value));
        }
    });
}

/// The sink, as `on_error` for errors; NULL_ARGUMENT where there is none.
fn on_sink(
    host: *const tallyport_host,
    sink: *mut tallyport_sink,
    service: &str,
    body: impl FnOnce(&mut Sink) -> Result<tallyport_status, (Misuse, String)>,
) -> tallyport_status {
    let Some(notes) = live(host, service) else { return TALLYPORT_NULL_ARGUMENT };
    let mut lending = notes.lending();
    let Some(mut found) = lending.sinks.remove(&sink.addr()) else {
        lending.note(Misuse::Handle, || {
            format!("`{service}` was called with {sink:p}, which is no sink of a running call")
        });
        return TALLYPORT_NULL_ARGUMENT;
    };
    if found.thread != Some(thread::current().id()) {
        let text = || format!("`{service}` was called on another thread than the call's");
        lending.note(Misuse::Thread, text);
    }
    // The lock is not held meanwhile: a slow output, other threads, and bytes that may fault.
    drop(lending);
    if !found.pause.is_zero() {
        thread::sleep(found.pause);
    }
    let late = found.late_writes;
    let answer = body(&mut found);
    let mut lending = notes.lending();
    if found.late_writes > late {
        let status = found.refused.unwrap_or(TALLYPORT_OK);
        lending.note(Misuse::LateWrite, || {
            format!("`{service}` was called after the sink had answered status {status}")
        });
    }
    lending.sinks.insert(sink.addr(), found);
    answer.unwrap_or_else(|(misuse, text)| {
        lending.note(misuse, || text);
        TALLYPORT_INVALID_ARGUMENT
    })
}

pub(super) unsafe extern "C" fn sink_write(
    host: *const tallyport_host,
    sink: *mut tallyport_sink,
    bytes: *const u8,
    len: usize,
) -> tallyport_status {
    on_sink(host, sink, "sink_write", |sink| {
        sink.end_window();
        if len == 0 {
            return Ok(TALLYPORT_OK);
        }
        if bytes.is_null() || len > isize::MAX as usize {
            return Err((Misuse::Domain, format!("`sink_write` of {len} bytes at {bytes:p}")));
        }
        // SAFETY: the ABI: the bytes are readable.
        Ok(sink.write(unsafe { slice::from_raw_parts(bytes, len) }))
    })
}

pub(super) unsafe extern "C" fn sink_reserve(
    host: *const tallyport_host,
    sink: *mut tallyport_sink,
    min_len: usize,
    bytes: *mut *mut u8,
    len: *mut usize,
) -> tallyport_status {
    on_sink(host, sink, "sink_reserve", |sink| {
        sink.end_window();
        if bytes.is_null() || len.is_null() {
            return Err((Misuse::Domain, "`sink_reserve` has no place for its answer".to_owned()));
        }
        if let Some(refused) = sink.refused {
            sink.late_writes += 1;
            return Ok(refused);
        }
        if min_len > MAX_RESERVE {
            return Ok(TALLYPORT_LIMIT);
        }
        let lent = if sink.narrow { min_len } else { min_len.max(1).next_multiple_of(4096) };
        let window = Loan::window(lent, 1).map_err(|text| (Misuse::Domain, text))?;
        // SAFETY: not NULL; the ABI makes the plugin vouch for its own variable.
        unsafe { ptr::write(bytes, window.start_mut()) };
        // SAFETY: as above.
        unsafe { ptr::write(len, lent) };
        sink.windows += 1;
        sink.window = Some((window, lent));
        Ok(TALLYPORT_OK)
    })
}

pub(super) unsafe extern "C" fn sink_commit(
    host: *const tallyport_host,
    sink: *mut tallyport_sink,
    len: usize,
) -> tallyport_status {
    on_sink(host, sink, "sink_commit", |sink| {
        let Some((bytes, lent)) = sink.end_window() else {
            let text = "`sink_commit` was called with nothing reserved".to_owned();
            return Err((Misuse::Commit, text));
        };
        let Some(bytes) = bytes.get(..len) else {
            let text = format!("`sink_commit` of {len} bytes, {lent} were lent");
            return Err((Misuse::Commit, text));
        };
        Ok(if bytes.is_empty() { TALLYPORT_OK } else { sink.write(bytes) })
    })
}

pub(super) unsafe extern "C" fn mono_ns(host: *const tallyport_host) -> u64 {
    let _ = live(host, "mono_ns");
    monotonic_ns()
}

pub(super) unsafe extern "C" fn get_service(
    host: *const tallyport_host,
    id: tallyport_str,
) -> *const c_void {
    if let Some(notes) = live(host, "get_service") {
        // SAFETY: the ABI: the name is readable.
        unsafe { read(&mut notes.lending(), "name of a service", id) };
    }
    ptr::null()
}
