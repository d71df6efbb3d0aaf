//! A host in miniature: it calls an exporter's table as the ABI says and keeps what comes back.

use core::{
    ffi::c_void,
    ptr, slice,
    sync::atomic::{AtomicU64, Ordering},
};
use std::sync::{Mutex, PoisonError};

use super::Frozen;
use crate::{
    Exporter,
    abi::{
        TALLYPORT_LIMIT, TALLYPORT_OK, TALLYPORT_PLUGIN_ABI, TALLYPORT_UNSUPPORTED, tallyport_call,
        tallyport_error, tallyport_exporter, tallyport_host, tallyport_plugin_v1, tallyport_sink,
        tallyport_snapshot, tallyport_status, tallyport_str,
    },
    export::vtable,
    raw,
};

/// What an exporter reported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// What the function returned.
    pub status: tallyport_status,
    /// What it set as the error's message.
    pub message: String,
    /// What it set as the error's details.
    pub details: Vec<(String, String)>,
}

/// How one export is driven.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Format to ask for.
    pub format: &'a str,
    /// Bytes after which the sink answers `limit_status`.
    pub limit: usize,
    /// What the sink answers past the limit.
    pub limit_status: tallyport_status,
    /// How often the call says that it is not cancelled, before it says that it is; `None`: always.
    pub cancel_at: Option<u64>,
}

impl<'a> Run<'a> {
    /// A run that nothing stops.
    #[must_use]
    pub fn new(format: &'a str) -> Self {
        Self { format, limit: usize::MAX, limit_status: TALLYPORT_LIMIT, cancel_at: None }
    }
}

/// An exporter that was created through its table, and the host that did it.
#[derive(Debug)]
pub struct Harness {
    table: tallyport_plugin_v1,
    exporter: *mut tallyport_exporter,
    host: Box<tallyport_host>,
    log: Box<Log>,
}

// SAFETY: the exporter is Send + Sync by the trait's bounds, the SDK's table functions take shared
// references, and the host's own state is behind a mutex. Test: a_panic_poisons_and_is_reported.
unsafe impl Send for Harness {}
// SAFETY: as above.
unsafe impl Sync for Harness {}

type Log = Mutex<Vec<(i32, String)>>;

impl Harness {
    /// Calls `create` with `options`, a JSON object or "".
    ///
    /// # Errors
    /// What `create` reported.
    pub fn create<E: Exporter>(options: &str) -> Result<Self, Failure> {
        let table = vtable::<E>();
        let log = Box::new(Log::default());
        let host = Box::new(tallyport_host {
            struct_size: size_of::<tallyport_host>() as u32,
            abi: TALLYPORT_PLUGIN_ABI,
            host_data: (&raw const *log).cast_mut().cast::<c_void>(),
            log: Some(write_log),
            error_set: Some(error_set),
            error_detail: Some(error_detail),
            sink_write: Some(sink_write),
            sink_reserve: None,
            sink_commit: None,
            mono_ns: None,
            get_service: None,
        });
        let mut harness = Self { table, exporter: ptr::null_mut(), host, log };
        let mut failure = Failure::default();
        let error = (&raw mut failure).cast::<tallyport_error>();
        failure.status = match table.create {
            // SAFETY: a table of this SDK; all pointers live during the call, the host during
            // the exporter's life. Test: a_panic_poisons_and_is_reported.
            Some(create) => unsafe {
                create(&raw const *harness.host, raw::text(options), &mut harness.exporter, error)
            },
            None => TALLYPORT_UNSUPPORTED,
        };
        if failure.status == TALLYPORT_OK { Ok(harness) } else { Err(failure) }
    }

    /// Exports in `format`; the bytes that the sink got.
    ///
    /// # Errors
    /// What `export_snapshot` reported.
    pub fn export(&self, format: &str, snapshot: &Frozen) -> Result<Vec<u8>, Failure> {
        let (bytes, result) = self.run(Run::new(format), snapshot);
        result.map(|()| bytes)
    }

    /// Exports as `run` says; the bytes that the sink got, and what was reported.
    pub fn run(&self, run: Run<'_>, snapshot: &Frozen) -> (Vec<u8>, Result<(), Failure>) {
        let mut end =
            SinkEnd { bytes: Vec::new(), limit: run.limit, limit_status: run.limit_status };
        let sink = (&raw mut end).cast::<tallyport_sink>();
        let result = snapshot.lend(|snapshot| {
            self.call(run.format, run.cancel_at, |call, error| match self.table.export_snapshot {
                // SAFETY: a table of this SDK, its own exporter, and pointers that live during
                // the call. Test: a_panic_poisons_and_is_reported.
                Some(export) => unsafe { export(self.exporter, call, snapshot, sink, error) },
                None => TALLYPORT_UNSUPPORTED,
            })
        });
        (end.bytes, result)
    }

    /// Exports a snapshot that is NULL.
    ///
    /// # Errors
    /// What `export_snapshot` reported.
    pub fn export_null(&self, format: &str) -> Result<(), Failure> {
        let (snapshot, sink) = (ptr::null::<tallyport_snapshot>(), ptr::null_mut());
        self.call(format, None, |call, error| match self.table.export_snapshot {
            // SAFETY: as in `run`; the ABI lets a plugin check for NULL, and the SDK does.
            Some(export) => unsafe { export(self.exporter, call, snapshot, sink, error) },
            None => TALLYPORT_UNSUPPORTED,
        })
    }

    /// Calls `flush`.
    ///
    /// # Errors
    /// What it reported.
    pub fn flush(&self) -> Result<(), Failure> {
        self.call("", None, |call, error| match self.table.flush {
            // SAFETY: as in `run`.
            Some(flush) => unsafe { flush(self.exporter, call, error) },
            None => TALLYPORT_OK,
        })
    }

    /// Calls `shutdown`.
    ///
    /// # Errors
    /// What it reported.
    pub fn shutdown(&self) -> Result<(), Failure> {
        self.call("", None, |call, error| match self.table.shutdown {
            // SAFETY: as in `run`.
            Some(shutdown) => unsafe { shutdown(self.exporter, call, error) },
            None => TALLYPORT_OK,
        })
    }

    /// The table.
    #[cfg(test)]
    pub(crate) fn table(&self) -> &tallyport_plugin_v1 {
        &self.table
    }

    /// The exporter, for calls that are not in the table.
    #[cfg(test)]
    pub(crate) fn exporter(&self) -> *mut tallyport_exporter {
        self.exporter
    }

    /// Makes calls that are not in the table, with a call and an error that are lent.
    #[cfg(test)]
    pub(crate) fn around(
        &self,
        body: impl FnOnce(*const tallyport_call, *mut tallyport_error) -> tallyport_status,
    ) -> Result<(), Failure> {
        self.call("", None, body)
    }

    /// Calls `cancel`.
    pub fn cancel(&self) {
        if let Some(cancel) = self.table.cancel {
            // SAFETY: as in `run`.
            unsafe { cancel(self.exporter) };
        }
    }

    /// Calls `destroy` now; what the exporter logged in its life, with levels.
    #[must_use]
    pub fn destroy(mut self) -> Vec<(i32, String)> {
        self.release();
        core::mem::take(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn release(&mut self) {
        let exporter = core::mem::replace(&mut self.exporter, ptr::null_mut());
        if let Some(destroy) = self.table.destroy.filter(|_| !exporter.is_null()) {
            // SAFETY: its own exporter, once, and no call runs: `self` is borrowed mutably.
            unsafe { destroy(exporter) };
        }
    }

    fn call(
        &self,
        format: &str,
        cancel_at: Option<u64>,
        body: impl FnOnce(*const tallyport_call, *mut tallyport_error) -> tallyport_status,
    ) -> Result<(), Failure> {
        let polls = AtomicU64::new(cancel_at.unwrap_or(u64::MAX));
        let call = tallyport_call {
            struct_size: size_of::<tallyport_call>() as u32,
            flags: 0,
            call_id: 1,
            deadline_ns: 0,
            host_data: (&raw const polls).cast_mut().cast::<c_void>(),
            is_cancelled: Some(is_cancelled),
            format: raw::text(format),
            traceparent: raw::text(""),
        };
        let mut failure = Failure::default();
        let error = (&raw mut failure).cast::<tallyport_error>();
        failure.status = body(&raw const call, error);
        if failure.status == TALLYPORT_OK { Ok(()) } else { Err(failure) }
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.release();
    }
}

struct SinkEnd {
    bytes: Vec<u8>,
    limit: usize,
    limit_status: tallyport_status,
}

unsafe extern "C" fn sink_write(
    _host: *const tallyport_host,
    sink: *mut tallyport_sink,
    bytes: *const u8,
    len: usize,
) -> tallyport_status {
    // SAFETY: the SDK hands back the sink that `run` lent, or the NULL of `export_null`.
    let Some(end) = (unsafe { sink.cast::<SinkEnd>().as_mut() }) else {
        return TALLYPORT_UNSUPPORTED;
    };
    // SAFETY: the SDK hands over a slice.
    let bytes = unsafe { slice::from_raw_parts(bytes, len) };
    let room = end.limit.saturating_sub(end.bytes.len());
    end.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    if room < len { end.limit_status } else { TALLYPORT_OK }
}

unsafe extern "C" fn error_set(
    _host: *const tallyport_host,
    error: *mut tallyport_error,
    _code: tallyport_status,
    message: tallyport_str,
) {
    // SAFETY: the SDK hands back the error that was lent.
    if let Some(failure) = unsafe { error.cast::<Failure>().as_mut() } {
        failure.message = owned(message);
    }
}

unsafe extern "C" fn error_detail(
    _host: *const tallyport_host,
    error: *mut tallyport_error,
    key: tallyport_str,
    value: tallyport_str,
) {
    // SAFETY: as in `error_set`.
    if let Some(failure) = unsafe { error.cast::<Failure>().as_mut() } {
        failure.details.push((owned(key), owned(value)));
    }
}

unsafe extern "C" fn write_log(host: *const tallyport_host, level: i32, message: tallyport_str) {
    // SAFETY: the SDK hands back the host's table.
    let Some(host) = (unsafe { host.as_ref() }) else { return };
    // SAFETY: `create` pointed it to the log, which outlives the exporter.
    let Some(log) = (unsafe { host.host_data.cast::<Log>().as_ref() }) else { return };
    log.lock().unwrap_or_else(PoisonError::into_inner).push((level, owned(message)));
}

unsafe extern "C" fn is_cancelled(call: *const tallyport_call) -> i32 {
    // SAFETY: the SDK hands back the call that was lent.
    let Some(call) = (unsafe { call.as_ref() }) else { return 0 };
    // SAFETY: `call` pointed it to the number, which outlives the call.
    let polls = unsafe { call.host_data.cast::<AtomicU64>().as_ref() };
    let less = |left: u64| left.checked_sub(1);
    let relaxed = Ordering::Relaxed;
    i32::from(polls.is_some_and(|polls| polls.fetch_update(relaxed, relaxed, less).is_err()))
}

fn owned(text: tallyport_str) -> String {
    // SAFETY: the SDK hands over a &str. Test: a_panic_poisons_and_is_reported.
    unsafe { raw::str_from(text) }.unwrap_or("(not text)").to_owned()
}
