//! Collect functions: a host's functions that are asked for values when a snapshot is taken.

use std::{ffi::c_void, sync::Arc};

use serde_json::{Value, json};
use tallyport_core::{
    engine::Engine,
    metrics::{CollectorInfo, Threads},
    model::Error,
};
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};

use crate::{
    boundary::{fallible, plain},
    buf::tallyport_buf,
    callback,
    engine::tallyport_engine,
    handles::{self, Object},
    log,
    options::tallyport_label,
};

/// A collect function that is registered. It ends when it is freed, or with its engine. Opaque.
pub struct tallyport_collector {
    _private: (),
}

/// In `threads`: a function may be called on threads that the library started too.
pub const TALLYPORT_THREADS_ANY: u32 = 1;

/// A function to ask when a snapshot is taken, for tallyport_collector_register: exactly one of
/// `gauge`, `counter`, `counter_f64` and `collect`. Each answers 0, or anything else for a failure,
/// which is counted and logged; the series then keeps its value.
///
/// It is called before values are read, with no lock held, on one thread at a time: whoever takes
/// another snapshot meanwhile waits. So do not take one (nor export) with a lock held that the
/// function takes. It may make every call of this library; in a snapshot that it takes itself, no
/// function is called. It must return: no exception and no longjmp.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_collector_options {
    /// sizeof(tallyport_collector_options).
    pub size: u32,
    /// 0.
    pub flags: u32,
    /// The metric. With `collect`, the function's name in lists and in the log.
    pub name: tallyport_str,
    /// Labels of the series; none with `collect`.
    pub labels: *const tallyport_label,
    /// Number of `labels`.
    pub label_count: usize,
    /// Writes what the gauge is now: any f64.
    pub gauge: Option<unsafe extern "C" fn(data: *mut c_void, value: *mut f64) -> i32>,
    /// Writes a total that never falls. What it rose by since the last call is added to the counter;
    /// one that fell began anew, and all of it is added. A forked child's first call adds nothing: it
    /// says where the child's total begins (take a snapshot at once where that matters).
    pub counter: Option<unsafe extern "C" fn(data: *mut c_void, total: *mut u64) -> i32>,
    /// As `counter`, for totals that are finite and not negative; another one is a failure.
    pub counter_f64: Option<unsafe extern "C" fn(data: *mut c_void, total: *mut f64) -> i32>,
    /// Records what it likes, through handles of its own.
    pub collect: Option<unsafe extern "C" fn(data: *mut c_void) -> i32>,
    /// Given to the function. Used from any thread that takes a snapshot.
    pub data: *mut c_void,
    /// Called once with `data`, on any thread, when nothing can call the function any more; may be
    /// NULL. It may call this library, and must return.
    pub free_data: Option<unsafe extern "C" fn(data: *mut c_void)>,
    /// 0: the function is called on threads of the host only: a snapshot that the library takes on one
    /// of its own (that of tallyport_sync_start) has the values of the last call.
    /// TALLYPORT_THREADS_ANY: on those too.
    pub threads: u32,
    /// 0.
    pub reserved: u32,
}

/// Registers a function that is asked for values whenever a snapshot is taken: by an export, a sync,
/// tallyport_snapshot_take, on the thread that asks for it. In a forked child it goes on.
///
/// Threads: any thread. Ownership: borrows `options`, but takes `data` of it also when it fails,
/// unless the options themselves are wrong: `free_data` is called once, when nothing can call the
/// function any more. Returns owned `collector` (free with tallyport_collector_free) and `err`.
/// Errors: what the call for the series' handle answers, INVALID_ARGUMENT with the field,
/// ALREADY_EXISTS when the series or name has a function, LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_collector_register(
    engine: *const tallyport_engine,
    options: *const tallyport_collector_options,
    collector: *mut *mut tallyport_collector,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let options = call.options("options", options)?;
        let ask = callback::collect(&options);
        call.give("collector", collector, || {
            let entered = call.engine(engine)?;
            let ask = ask?;
            let threads = match (options.threads, options.reserved) {
                (0, 0) => Threads::Hosts,
                (TALLYPORT_THREADS_ANY, 0) => Threads::Any,
                (0 | TALLYPORT_THREADS_ANY, _) => {
                    return Err(Error::invalid("options.reserved", "`options.reserved` is not 0"));
                }
                (number, _) => {
                    let message = format!("{number} is no TALLYPORT_THREADS_*");
                    return Err(Error::invalid("options.threads", message));
                }
            };
            let name = call.text("name", options.name).map_err(in_options)?;
            let labels = call.labels(options.labels, options.label_count).map_err(in_options)?;
            let metrics = entered.engine.metrics();
            let made = metrics.collector(name, &labels, threads, ask).map_err(in_options)?;
            Ok(Object::Collector(Arc::new(made)))
        })
    })
}

/// The collect functions of an engine, in the order of their registration, as a JSON array: name,
/// kind, calls, failures, last_error.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_collectors_list(
    engine: *const tallyport_engine,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| { call.fill_json(buf, || Ok(list(&call.engine(engine)?.engine))) })
}

/// The collect functions of an engine.
pub(crate) fn list(engine: &Engine) -> Value {
    let one = |info: &CollectorInfo| {
        json!({
            "name": info.name,
            "kind": info.kind,
            "calls": info.calls,
            "failures": info.failures,
            "last_error": info.last_error,
        })
    };
    engine.metrics().collectors().iter().map(one).collect()
}

/// Ends a collect function. It is not called any more when this returns, and no call of it runs: what
/// it uses may go. The series stays, with its value.
///
/// On a thread that is inside a collect function it does not wait for calls of other threads, as
/// those may wait for it; `free_data` tells when the last one ended. Do not hold a lock that the
/// function takes.
///
/// Threads: any thread. Ownership: takes `collector`; NULL and a stale handle are no-ops. Errors:
/// none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_collector_free(collector: *mut tallyport_collector) {
    plain!((), {
        let held = log::hold();
        let found = handles::with(collector, |object| match object {
            Object::Collector(collector) => Some(Arc::clone(collector)),
            _ => None,
        });
        // The handle's own share goes when no thread can be using it; the end is now.
        if handles::remove(collector, |object| matches!(object, Object::Collector(_)))
            && let Some(found) = found
        {
            found.end();
        }
        drop(held);
    });
}

/// An error's field, as the host knows it.
fn in_options(error: Error) -> Error {
    let field = error.field().map(|field| format!("options.{field}"));
    match field {
        Some(field) => error.with_field(&field),
        None => error,
    }
}

/// Sizes and offsets: part of the ABI.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<tallyport_collector_options>() == 96);
    assert!(offset_of!(tallyport_collector_options, flags) == 4);
    assert!(offset_of!(tallyport_collector_options, name) == 8);
    assert!(offset_of!(tallyport_collector_options, labels) == 24);
    assert!(offset_of!(tallyport_collector_options, label_count) == 32);
    assert!(offset_of!(tallyport_collector_options, gauge) == 40);
    assert!(offset_of!(tallyport_collector_options, counter) == 48);
    assert!(offset_of!(tallyport_collector_options, counter_f64) == 56);
    assert!(offset_of!(tallyport_collector_options, collect) == 64);
    assert!(offset_of!(tallyport_collector_options, data) == 72);
    assert!(offset_of!(tallyport_collector_options, free_data) == 80);
    assert!(offset_of!(tallyport_collector_options, threads) == 88);
    assert!(offset_of!(tallyport_collector_options, reserved) == 92);
};
