//! Exports: into a buffer, a descriptor, or the host's function.

use std::ffi::{c_char, c_void};

use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};

use crate::{
    boundary::fallible,
    buf::tallyport_buf,
    engine::tallyport_engine,
    snapshot::{self, tallyport_snapshot_handle},
};

/// Takes a snapshot and writes it to a buffer.
///
/// `selector` is an exporter's name (`prometheus`), a format (`openmetrics`), or `name/format`. It
/// runs on this thread, or on the exporter's own where it has a deadline, while others go on
/// recording.
///
/// Threads: any thread. Ownership: borrows `selector`; returns owned `buf` (free with
/// tallyport_buf_free) and `err`. Errors: NOT_FOUND with what is registered, UNSUPPORTED for a
/// format of another exporter, what the exporter answers, TIMEOUT and LIMIT by its configuration,
/// UNAVAILABLE and POISONED for a while after it failed, NULL_ARGUMENT, BAD_HANDLE, POISONED.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_export(
    engine: *const tallyport_engine,
    selector: tallyport_str,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill(buf, || {
            let entered = call.engine(engine)?;
            entered.engine.export_to_vec(call.text("selector", selector)?)
        })
    })
}

/// As tallyport_export, with a selector that a NUL ends.
///
/// Threads: any thread. Ownership: as tallyport_export. Errors: the same. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_export_z(
    engine: *const tallyport_engine,
    selector: *const c_char,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill(buf, || {
            let entered = call.engine(engine)?;
            entered.engine.export_to_vec(call.z("selector", selector)?)
        })
    })
}

/// Takes a snapshot and writes it to a file descriptor, as it is made.
///
/// A descriptor that would block is waited for. When it fails, what was written stays written.
/// SIGPIPE is the host's, as with any write(2).
///
/// Threads: any thread. Ownership: borrows `selector`; `fd` stays yours and open. Returns owned
/// `err`. Errors: as tallyport_export; IO with the OS error. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_export_fd(
    engine: *const tallyport_engine,
    selector: tallyport_str,
    fd: i32,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        let selector = call.text("selector", selector)?;
        let mut write = call.descriptor(fd)?;
        entered.engine.export(selector, &mut write).map(drop)
    })
}

/// Takes a snapshot and hands it to `write` piece by piece, as it is made.
///
/// `write` gets `data` and borrowed bytes, and answers 0 to go on; anything else stops the export.
/// It runs on this thread, may call this library, and must return: no exception, no longjmp.
///
/// Threads: any thread. Ownership: borrows `selector` and `data`; returns owned `err`. Errors: as
/// tallyport_export; CANCELLED when `write` stopped it. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_export_cb(
    engine: *const tallyport_engine,
    selector: tallyport_str,
    write: Option<unsafe extern "C" fn(data: *mut c_void, bytes: *const u8, len: usize) -> i32>,
    data: *mut c_void,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        let selector = call.text("selector", selector)?;
        let mut write = call.writer(write, data)?;
        entered.engine.export(selector, &mut write).map(drop)
    })
}

/// Writes a snapshot that was taken or loaded before to a buffer.
///
/// The snapshot may be of another engine; the exporters are those of `engine`.
///
/// Threads: any thread. Ownership: borrows `snapshot` and `selector`; returns owned `buf` (free
/// with tallyport_buf_free) and `err`. Errors: as tallyport_export. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_export_snapshot(
    engine: *const tallyport_engine,
    snapshot: *const tallyport_snapshot_handle,
    selector: tallyport_str,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill(buf, || {
            let entered = call.engine(engine)?;
            let snapshot = snapshot::lookup(snapshot)?;
            let selector = call.text("selector", selector)?;
            let mut bytes = Vec::new();
            entered.engine.export_snapshot(&snapshot, selector, &mut |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })?;
            Ok(bytes)
        })
    })
}
