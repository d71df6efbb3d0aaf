//! Exports to the targets of the configuration, and their schedule (docs/EXPORTING.md).

use std::{ffi::c_char, time::Duration};

use serde_json::{Value, json};
use tallyport_core::{
    engine::{Engine, RunOptions},
    export::{Ending, Run},
    model::Error,
};
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};

use crate::{boundary::fallible, buf::tallyport_buf, engine::tallyport_engine};

/// Exports a target of the configuration, once, on this thread: one attempt.
///
/// OK: it was delivered, or another process's lease made it needless. `report` is filled in either
/// way, also when the attempt failed: a JSON object with `ending` ("delivered", "skipped", "failed"),
/// `attempt`, `retry_after_ms` (when to try again; null: not), `retryable` (whether a later attempt may
/// do), `data` (`of`: "all" or "own"; null: none was read), `fencing`, `token`, `series`, `bytes`,
/// `duration_ms`, `error`, … `attempt` is for callers who count (a job queue): the first is 1;
/// 0: the engine counts. It may block for some times `store.deadline_ms` and for the target's
/// `timeout_ms`.
///
/// Threads: any thread; a run of a target that is running is skipped. Ownership: returns owned
/// `report` (free with tallyport_buf_free) and `err`; borrows `target`. Errors: NOT_FOUND for a target
/// that is not configured; the failure of the export; INVALID_UTF8, NULL_ARGUMENT, BAD_HANDLE,
/// POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_target_export(
    engine: *const tallyport_engine,
    target: tallyport_str,
    attempt: u32,
    report: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let out = call.out("report", report, tallyport_buf::EMPTY)?;
        let state = call.engine(engine)?;
        let run = export(&state.engine, call.text("target", target)?, attempt)?;
        out.set(tallyport_buf::from_vec(run.to_json().to_string().into_bytes()));
        ended(run)
    })
}

/// As tallyport_target_export, with a name that a NUL ends.
///
/// Threads: any thread. Ownership: as tallyport_target_export. Errors: the same. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_target_export_z(
    engine: *const tallyport_engine,
    target: *const c_char,
    attempt: u32,
    report: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let out = call.out("report", report, tallyport_buf::EMPTY)?;
        let state = call.engine(engine)?;
        let run = export(&state.engine, call.z("target", target)?, attempt)?;
        out.set(tallyport_buf::from_vec(run.to_json().to_string().into_bytes()));
        ended(run)
    })
}

fn export(engine: &Engine, target: &str, attempt: u32) -> Result<Run, Error> {
    let attempt = Some(attempt).filter(|attempt| *attempt > 0);
    engine.export_target(target, &RunOptions { attempt, ..RunOptions::default() })
}

fn ended(run: Run) -> Result<(), Error> {
    match run.ending {
        Ending::Failed { error, .. } => Err(error),
        Ending::Delivered | Ending::Skipped(_) => Ok(()),
    }
}

/// Starts a thread that exports every enabled target of the configuration when it is due.
///
/// It calls no function of the host: no event is published by it and no log function called; what it
/// did is under `export` of tallyport_engine_status, and in `tallyport_export_*`. It blocks the host's
/// signals, and ends with tallyport_schedule_stop or tallyport_engine_close. A forked child has none,
/// and may start its own.
///
/// Threads: any thread. Ownership: returns owned `err`. Errors: ALREADY_EXISTS, NOT_FOUND where no
/// target is enabled, IO, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_schedule_start(
    engine: *const tallyport_engine,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| { call.engine(engine)?.engine.start_schedule() })
}

/// Ends the thread of tallyport_schedule_start, after it exported every target for the last time;
/// without one, a no-op.
///
/// It waits for `timeout_ms` at most. What is not done by then (TIMEOUT) ends by itself, after the step
/// that it is in; that may be after tallyport_engine_close.
///
/// Threads: any thread. Ownership: returns owned `err`. Errors: TIMEOUT, NULL_ARGUMENT, BAD_HANDLE,
/// POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_schedule_stop(
    engine: *const tallyport_engine,
    timeout_ms: u64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.engine(engine)?.engine.stop_schedule(Duration::from_millis(timeout_ms))
    })
}

/// How exports stand, for the engine's status.
pub(crate) fn status(engine: &Engine) -> Value {
    let targets: Vec<Value> = engine
        .target_status()
        .into_iter()
        .map(|target| {
            json!({
                "name": target.name,
                "exporter": target.exporter,
                "enabled": target.enabled,
                "strategy": target.strategy,
                "destination": target.destination,
                "fencing": target.fencing.name(),
                "failed_attempts": target.failed_attempts,
                "last_success_ns": target.last_success_ns,
                "next_run_ns": target.next_run_ns,
            })
        })
        .collect();
    let history: Vec<Value> = engine.export_history().iter().map(Run::to_json).collect();
    json!({ "scheduled": engine.schedule_runs(), "targets": targets, "history": history })
}
