//! What instances share through the store of the configuration (docs/STORES.md).

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tallyport_core::engine::Engine;
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status};

use crate::{
    boundary::fallible, engine::tallyport_engine, handles::Object,
    snapshot::tallyport_snapshot_handle,
};

/// Writes what changed to the store, and retires the instances that ended. Runs on this thread.
///
/// After OK every value that was recorded before the call is in the store; what fails is written by
/// the next one. Without a store in the configuration it does nothing. It may block for some times
/// `store.deadline_ms`.
///
/// Of processes that share an arena any may sync, forked children too, one at a time: while another one
/// does so, nothing is sent, which is OK, and counted in `sync.skipped` of the engine's status.
///
/// Threads: any thread; a second call waits for the first. Ownership: returns owned `err`. Errors:
/// what the store answers (IO, TIMEOUT, LIMIT, CONFLICT, CONFIG, DAMAGED), UNAVAILABLE while a failing
/// store is left alone, UNSUPPORTED for a store that this build lacks, for one that cannot do what the
/// configuration demands, and inside a function of the host's store,
/// NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_sync(
    engine: *const tallyport_engine,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| { call.engine(engine)?.engine.sync().map(drop) })
}

/// Starts a thread that syncs every `sync.interval_ms`, at once for the first time.
///
/// Failures are logged, counted in `tallyport_sync_failures_total`, and shown by
/// tallyport_engine_status. The thread blocks the host's signals, and ends with
/// tallyport_sync_stop or tallyport_engine_close. A forked child has none, and may start its own: of
/// processes that share an arena one publishes, until it ends.
///
/// Threads: any thread. Ownership: returns owned `err`. Errors: ALREADY_EXISTS, UNSUPPORTED with a
/// store of the host's own (tallyport_store_attach), IO, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_sync_start(
    engine: *const tallyport_engine,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| { call.engine(engine)?.engine.start_sync() })
}

/// Ends the thread of tallyport_sync_start, after the sync that it is in; without one, a no-op.
///
/// It waits for that for `timeout_ms` at most, and does not sync for the last time:
/// tallyport_sync_leave does.
///
/// Threads: any thread. Ownership: returns owned `err`. Errors: TIMEOUT when the thread had not ended by
/// then (it does so by itself), NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_sync_stop(
    engine: *const tallyport_engine,
    timeout_ms: u64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.engine(engine)?.engine.stop_sync(Duration::from_millis(timeout_ms))
    })
}

/// Syncs for the last time, and retires this instance at once: its counts stay, its gauges go.
///
/// Without it the instance is retired when its lease ends. A later sync goes on under another
/// identity, and doubles nothing. Where other processes have the same arena, it is tallyport_sync.
///
/// Threads: any thread. Ownership: returns owned `err`. Errors: as tallyport_sync. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_sync_leave(
    engine: *const tallyport_engine,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| { call.engine(engine)?.engine.leave().map(drop) })
}

/// Syncs, and takes a snapshot of what all instances have; where nothing is shared, of this one.
///
/// Threads: any thread. Ownership: returns owned `snapshot` (free with tallyport_snapshot_free) and
/// `err`. Errors: as tallyport_sync, and those of tallyport_snapshot_take. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_snapshot_take_shared(
    engine: *const tallyport_engine,
    snapshot: *mut *mut tallyport_snapshot_handle,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("snapshot", snapshot, || {
            Ok(Object::Snapshot(Arc::new(call.engine(engine)?.engine.shared()?.snapshot)))
        })
    })
}

/// How sharing stands, for the engine's status.
pub(crate) fn status(engine: &Engine) -> Value {
    let status = engine.sync_status();
    let mishaps = status.mishaps;
    json!({
        "store": status.store,
        "strategy": status.strategy.name(),
        "probed": status.probed,
        "cannot": status.cannot,
        "interval_ms": engine.config().sync.interval_ms,
        "identity": status.identity,
        "syncs": status.syncs,
        "skipped": status.skipped,
        "failures": status.failures,
        "failures_in_a_row": status.failures_in_a_row,
        "last_success_ns": status.last_success_ns,
        "last_error": status.last_error,
        "mishaps": {
            "retired": mishaps.retired,
            "lost": mishaps.lost,
            "reset": mishaps.resets,
            "rollback": mishaps.rollbacks,
            "ambiguous": mishaps.ambiguous,
        },
    })
}
