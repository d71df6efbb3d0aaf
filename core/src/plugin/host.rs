//! What the host lends to plugins: its services, an error to fill, a sink to write to.
//!
//! Plugins hand these pointers back, so every function checks them for NULL, bounds what it
//! copies, and contains panics of the host's own callbacks. Error, sink and call lie on the stack of
//! the thread that calls the plugin, which is not always the one that asked for the call: they live
//! until the call really returns, however long its caller waits.

use std::{
    ffi::c_void,
    panic::{AssertUnwindSafe, catch_unwind},
    slice,
    sync::{
        Arc, Weak,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
};

use tallyport_plugin_api::abi::{
    TALLYPORT_INTERNAL, TALLYPORT_NULL_ARGUMENT, TALLYPORT_OK, TALLYPORT_PLUGIN_ABI,
    tallyport_call, tallyport_error, tallyport_host, tallyport_sink, tallyport_status,
    tallyport_str,
};
use tracing::Dispatch;

use super::{
    run::{Blame, Failed, Mailbox, emit},
    secrets::filtered,
};
use crate::model::{Error, ErrorKind};

/// Longest text that is copied from a plugin; the rest is cut.
const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Most that `sink_reserve` lends at once.
const MAX_RESERVE_BYTES: usize = 64 << 20;
/// Most details of one error.
const MAX_DETAILS: usize = 32;
/// Longest message of an error with its details: statistics keep the last one of each plugin.
const MAX_MESSAGE_BYTES: usize = 2 * MAX_TEXT_BYTES;

/// Where an export's bytes go.
pub(crate) type Output<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Error>;

/// The services of one exporter: the table, and what its functions need.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) table: tallyport_host,
    /// Name under which the exporter is registered.
    pub(super) plugin: String,
    log: Log,
}

/// Where an exporter's log lines go.
#[derive(Debug)]
enum Log {
    /// At once to where the engine logged when the exporter was made: the exporter may log from
    /// threads of its own.
    Engine(Dispatch),
    /// To whoever calls it next.
    Mailbox(Arc<Mailbox>),
}

impl Context {
    /// Services of an exporter that runs on its callers' threads.
    pub(super) fn to_current_log(plugin: &str) -> Arc<Self> {
        Self::new(plugin, Log::Engine(tracing::dispatcher::get_default(Clone::clone)))
    }

    /// Services of an exporter that runs on a thread of ours.
    pub(super) fn to_mailbox(plugin: &str, mailbox: Arc<Mailbox>) -> Arc<Self> {
        Self::new(plugin, Log::Mailbox(mailbox))
    }

    /// Shared, because the table points to its context, and so does the plugin.
    fn new(plugin: &str, log: Log) -> Arc<Self> {
        Arc::new_cyclic(|own: &Weak<Self>| Self {
            table: tallyport_host {
                struct_size: size_of::<tallyport_host>() as u32,
                abi: TALLYPORT_PLUGIN_ABI,
                host_data: own.as_ptr().cast_mut().cast::<c_void>(),
                log: Some(log_line),
                error_set: Some(error_set),
                error_detail: Some(error_detail),
                sink_write: Some(sink_write),
                sink_reserve: Some(sink_reserve),
                sink_commit: Some(sink_commit),
                mono_ns: Some(mono_ns),
                get_service: Some(get_service),
            },
            plugin: plugin.to_owned(),
            log,
        })
    }

    /// Logs a line about the exporter, or one of its own.
    pub(super) fn say(&self, level: i32, line: String) {
        match &self.log {
            // A subscriber of the host that panics must not unwind into the plugin.
            Log::Engine(dispatch) => {
                let emit = || emit(&self.plugin, level, &line);
                let _ = contained(|| tracing::dispatcher::with_default(dispatch, emit));
            }
            Log::Mailbox(mailbox) => mailbox.put(level, line),
        }
    }
}

/// How a running call is withdrawn, from any thread.
#[derive(Debug, Default)]
pub(super) struct Control {
    cancelled: AtomicBool,
    /// [`monotonic_ns`] by which to return; 0: none.
    pub(super) deadline_ns: u64,
}

impl Control {
    pub(super) fn with_deadline(deadline_ns: u64) -> Self {
        Self { cancelled: AtomicBool::new(false), deadline_ns }
    }

    /// The plugin is told so when it asks.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Release);
    }

    fn is_cancelled(&self) -> bool {
        let late = || self.deadline_ns != 0 && monotonic_ns() >= self.deadline_ns;
        self.cancelled.load(Acquire) || late()
    }
}

/// An error that a plugin fills during a call.
#[derive(Debug, Default)]
pub(super) struct ErrorSlot {
    message: String,
    details: Vec<(String, String)>,
}

impl ErrorSlot {
    pub(super) fn lend(&mut self) -> *mut tallyport_error {
        std::ptr::from_mut(self).cast()
    }

    /// The error of a call that answered `status`; `what` names the plugin and the action.
    pub(super) fn into_error(self, what: &str, status: tallyport_status) -> Error {
        let mut message = match self.message.as_str() {
            "" => format!("{what}: status {status}, without a message"),
            text => format!("{what}: {text}"),
        };
        for (key, value) in &self.details {
            message.push_str(&format!("; {key}: {value}"));
        }
        if message.len() > MAX_MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
            message.push('…');
        }
        let error = Error::new(ErrorKind::from_status(status), message);
        match self.details.into_iter().find(|(key, _)| key == "option") {
            Some((_, option)) => error.with_field(option),
            None => error,
        }
    }
}

/// A sink during one export, on the thread that runs it.
pub(super) struct SinkSlot<'a> {
    out: Output<'a>,
    /// Most bytes that it takes.
    budget: u64,
    /// Bytes that reached the output.
    pub(super) written: u64,
    /// Why the output refused; nothing is written after that.
    pub(super) failed: Option<Failed>,
    reserved: Vec<u8>,
    /// Bytes of `reserved` that the plugin may write to and commit; `None`: nothing is lent.
    lent: Option<usize>,
}

impl<'a> SinkSlot<'a> {
    pub(super) fn new(out: Output<'a>, budget: u64) -> Self {
        Self { out, budget, written: 0, failed: None, reserved: Vec::new(), lent: None }
    }

    pub(super) fn lend(&mut self) -> *mut tallyport_sink {
        std::ptr::from_mut(self).cast()
    }

    fn write(&mut self, bytes: &[u8]) -> tallyport_status {
        if let Some(status) = self.refusal() {
            return status;
        }
        if bytes.is_empty() {
            return TALLYPORT_OK;
        }
        let failed = if bytes.len() as u64 > self.budget - self.written {
            let message = format!("it wrote more than {} bytes (`max_output_bytes`)", self.budget);
            Blame::Exporter.of(Error::new(ErrorKind::Limit, message))
        } else {
            let out = &mut self.out;
            match contained(|| out(bytes)) {
                Some(Ok(())) => {
                    self.written += bytes.len() as u64;
                    return TALLYPORT_OK;
                }
                Some(Err(error)) => Blame::Caller.of(error),
                None => Blame::Caller.of(output_panicked()),
            }
        };
        self.failed = Some(failed);
        self.refusal().unwrap_or(TALLYPORT_INTERNAL)
    }

    /// The status of a sink that takes nothing more. A plugin returns it as its own, so a panic of
    /// the output's is not passed on: it would count as the plugin's.
    fn refusal(&self) -> Option<tallyport_status> {
        self.failed.as_ref().map(|failed| match failed.error.kind() {
            ErrorKind::Panic | ErrorKind::Poisoned => ErrorKind::Cancelled.status(),
            kind => kind.status(),
        })
    }
}

/// What an output that panicked answers.
pub(super) fn output_panicked() -> Error {
    Error::new(ErrorKind::Panic, "the destination of an export panicked")
}

/// Runs code of the host's that must not unwind into a plugin; `None`: it panicked.
pub(super) fn contained<R>(body: impl FnOnce() -> R) -> Option<R> {
    // A payload whose drop panics would unwind from here after all: it is forgotten.
    catch_unwind(AssertUnwindSafe(body)).map_err(std::mem::forget).ok()
}

/// The context behind a table.
///
/// # Safety
/// `host` is NULL or a table that [`Context::new`] made and that is alive.
unsafe fn context<'a>(host: *const tallyport_host) -> Option<&'a Context> {
    // SAFETY: the caller vouches for it; the ABI makes the plugin vouch to the caller.
    let data = unsafe { host.as_ref() }?.host_data;
    // SAFETY: set by `Context::new` to the context itself.
    unsafe { data.cast::<Context>().as_ref() }
}

/// Copies text of a plugin, cut to a bound, invalid UTF-8 replaced, secrets masked.
///
/// # Safety
/// `text` is as the ABI says during the call.
unsafe fn copy(text: tallyport_str) -> String {
    let len = text.len.min(MAX_TEXT_BYTES);
    if text.ptr.is_null() || len == 0 {
        return String::new();
    }
    // SAFETY: not NULL, and the plugin vouches for its own text.
    let bytes = unsafe { slice::from_raw_parts(text.ptr.cast::<u8>(), len) };
    filtered(String::from_utf8_lossy(bytes).into_owned())
}

unsafe extern "C" fn log_line(host: *const tallyport_host, level: i32, message: tallyport_str) {
    // SAFETY: the ABI: plugins pass the table that they were lent.
    let Some(context) = (unsafe { context(host) }) else { return };
    // SAFETY: the ABI.
    context.say(level, unsafe { copy(message) });
}

unsafe extern "C" fn error_set(
    _host: *const tallyport_host,
    error: *mut tallyport_error,
    _code: tallyport_status,
    message: tallyport_str,
) {
    // SAFETY: the ABI: plugins pass the error that they were lent for this call.
    let Some(slot) = (unsafe { error.cast::<ErrorSlot>().as_mut() }) else { return };
    // SAFETY: the ABI. The code is the one that the call returns; it is taken from there.
    slot.message = unsafe { copy(message) };
}

unsafe extern "C" fn error_detail(
    _host: *const tallyport_host,
    error: *mut tallyport_error,
    key: tallyport_str,
    value: tallyport_str,
) {
    // SAFETY: the ABI: plugins pass the error that they were lent for this call.
    let Some(slot) = (unsafe { error.cast::<ErrorSlot>().as_mut() }) else { return };
    if slot.details.len() < MAX_DETAILS {
        // SAFETY: the ABI.
        let key = unsafe { copy(key) };
        // SAFETY: the ABI.
        let value = unsafe { copy(value) };
        slot.details.push((key, value));
    }
}

unsafe extern "C" fn sink_write(
    _host: *const tallyport_host,
    sink: *mut tallyport_sink,
    bytes: *const u8,
    len: usize,
) -> tallyport_status {
    // SAFETY: the ABI: plugins pass the sink that they were lent for this call.
    let Some(slot) = (unsafe { sink.cast::<SinkSlot<'_>>().as_mut() }) else {
        return TALLYPORT_NULL_ARGUMENT;
    };
    slot.lent = None;
    if len == 0 {
        return TALLYPORT_OK;
    }
    if bytes.is_null() || len > isize::MAX as usize {
        return TALLYPORT_NULL_ARGUMENT;
    }
    // SAFETY: not NULL, and the plugin vouches for its own bytes.
    slot.write(unsafe { slice::from_raw_parts(bytes, len) })
}

unsafe extern "C" fn sink_reserve(
    _host: *const tallyport_host,
    sink: *mut tallyport_sink,
    min_len: usize,
    bytes: *mut *mut u8,
    len: *mut usize,
) -> tallyport_status {
    // SAFETY: the ABI: plugins pass the sink that they were lent for this call.
    let Some(slot) = (unsafe { sink.cast::<SinkSlot<'_>>().as_mut() }) else {
        return TALLYPORT_NULL_ARGUMENT;
    };
    // SAFETY: the plugin vouches for its own variable, or passes NULL.
    let (Some(bytes), Some(len)) = (unsafe { bytes.as_mut() }, unsafe { len.as_mut() }) else {
        return TALLYPORT_NULL_ARGUMENT;
    };
    if let Some(status) = slot.refusal() {
        return status;
    }
    if min_len > MAX_RESERVE_BYTES {
        return ErrorKind::Limit.status();
    }
    if slot.reserved.len() < min_len.max(1) {
        slot.reserved.resize(min_len.max(64 * 1024), 0);
    }
    *bytes = slot.reserved.as_mut_ptr();
    *len = slot.reserved.len();
    slot.lent = Some(*len);
    TALLYPORT_OK
}

unsafe extern "C" fn sink_commit(
    _host: *const tallyport_host,
    sink: *mut tallyport_sink,
    len: usize,
) -> tallyport_status {
    // SAFETY: the ABI: plugins pass the sink that they were lent for this call.
    let Some(slot) = (unsafe { sink.cast::<SinkSlot<'_>>().as_mut() }) else {
        return TALLYPORT_NULL_ARGUMENT;
    };
    // Once for each `sink_reserve`: what is left in the buffer was written before.
    if slot.lent.take().is_none_or(|lent| len > lent) {
        return ErrorKind::InvalidArgument.status();
    }
    let reserved = std::mem::take(&mut slot.reserved);
    let status = slot.write(reserved.get(..len).unwrap_or(&[]));
    slot.reserved = reserved;
    status
}

unsafe extern "C" fn mono_ns(_host: *const tallyport_host) -> u64 {
    monotonic_ns()
}

/// CLOCK_MONOTONIC in nanoseconds: the clock that a plugin in any language can read by itself.
pub(super) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every supported system and `time` is ours.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    if status != 0 {
        return 0;
    }
    time.tv_sec
        .cast_unsigned()
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec.cast_unsigned())
}

unsafe extern "C" fn get_service(
    _host: *const tallyport_host,
    _id: tallyport_str,
) -> *const c_void {
    // No further service exists in this version.
    std::ptr::null()
}

/// `tallyport_call.is_cancelled`.
pub(super) unsafe extern "C" fn is_cancelled(call: *const tallyport_call) -> i32 {
    // SAFETY: the ABI: plugins pass the call that they were lent.
    let Some(call) = (unsafe { call.as_ref() }) else { return TALLYPORT_INTERNAL };
    // SAFETY: every call has its `Control` there, which lives as long.
    // Test: a_call_is_told_that_it_was_cancelled.
    match unsafe { call.host_data.cast::<Control>().as_ref() } {
        Some(control) => i32::from(control.is_cancelled()),
        None => TALLYPORT_INTERNAL,
    }
}
