//! Snapshots: taken, saved for another process, loaded from one.

use std::{ffi::c_char, sync::Arc};

use tallyport_core::{
    model::Error,
    snapshot::{self, Snapshot},
};
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};

use crate::{
    boundary::{fallible, plain},
    engine::tallyport_engine,
    handles::{self, Object},
};

/// A snapshot that the host holds. Immutable; it needs no engine. Opaque.
///
/// (tallyport_snapshot, in tallyport_plugin.h, is what an exporter reads of it.)
pub struct tallyport_snapshot_handle {
    _private: (),
}

pub(crate) fn lookup(handle: *const tallyport_snapshot_handle) -> Result<Arc<Snapshot>, Error> {
    handles::lookup("snapshot", handle, |object| match object {
        Object::Snapshot(snapshot) => Some(Arc::clone(snapshot)),
        _ => None,
    })
}

/// Reads every value once, while other threads go on recording.
///
/// Not an instant: each value lies between the start and the end of the call. A histogram's count,
/// sum and buckets cover the same observations.
///
/// Threads: any thread. Ownership: returns owned `snapshot` (free with tallyport_snapshot_free) and
/// `err`. Errors: LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_snapshot_take(
    engine: *const tallyport_engine,
    snapshot: *mut *mut tallyport_snapshot_handle,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("snapshot", snapshot, || {
            Ok(Object::Snapshot(Arc::new(call.engine(engine)?.engine.snapshot()?)))
        })
    })
}

/// Writes a snapshot to a file, atomically: a reader sees the old file or the new one, whole.
///
/// A new file is its owner's only (0600); an existing one keeps its mode.
///
/// Threads: any thread. Ownership: borrows both; returns owned `err`. Errors: IO with the OS error;
/// an existing file is then untouched; INVALID_ARGUMENT, NULL_ARGUMENT, BAD_HANDLE. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_snapshot_save(
    snapshot: *const tallyport_snapshot_handle,
    path: tallyport_str,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let snapshot = lookup(snapshot)?;
        snapshot::save(&snapshot, call.path_or_refuse("path", path)?)
    })
}

/// As tallyport_snapshot_save, with a path that a NUL ends.
///
/// Threads: any thread. Ownership: as tallyport_snapshot_save. Errors: the same. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_snapshot_save_z(
    snapshot: *const tallyport_snapshot_handle,
    path: *const c_char,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let snapshot = lookup(snapshot)?;
        snapshot::save(&snapshot, call.z_path("path", path)?)
    })
}

/// Reads a snapshot file, which may be damaged or hostile.
///
/// Threads: any thread. Ownership: borrows `path`; returns owned `snapshot` (free with
/// tallyport_snapshot_free) and `err`. Errors: IO, DAMAGED with the reason, INVALID_ARGUMENT,
/// NULL_ARGUMENT. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_snapshot_load(
    path: tallyport_str,
    snapshot: *mut *mut tallyport_snapshot_handle,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("snapshot", snapshot, || {
            let loaded = snapshot::load(call.path_or_refuse("path", path)?)?;
            Ok(Object::Snapshot(Arc::new(loaded)))
        })
    })
}

/// As tallyport_snapshot_load, with a path that a NUL ends.
///
/// Threads: any thread. Ownership: as tallyport_snapshot_load. Errors: the same. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_snapshot_load_z(
    path: *const c_char,
    snapshot: *mut *mut tallyport_snapshot_handle,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("snapshot", snapshot, || {
            let loaded = snapshot::load(call.z_path("path", path)?)?;
            Ok(Object::Snapshot(Arc::new(loaded)))
        })
    })
}

/// Number of series in a snapshot; 0 when `snapshot` is no live handle.
///
/// Threads: any thread. Ownership: borrows. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_snapshot_series_count(
    snapshot: *const tallyport_snapshot_handle,
) -> u64 {
    plain!(0, lookup(snapshot).map_or(0, |snapshot| snapshot.series_count()))
}

/// Frees a snapshot; calls that use it end as if it were there.
///
/// Threads: any thread. Ownership: takes `snapshot`; NULL and a stale handle are no-ops. Errors:
/// none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_snapshot_free(snapshot: *mut tallyport_snapshot_handle) {
    plain!((), {
        handles::remove(snapshot, |object| matches!(object, Object::Snapshot(_)));
    });
}
