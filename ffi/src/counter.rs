//! Counters: sums that never fall, of u64 or f64 amounts.

use std::ffi::c_char;

use tallyport_plugin_api::abi::{
    TALLYPORT_BAD_HANDLE, TALLYPORT_INVALID_ARGUMENT, TALLYPORT_OK, tallyport_error,
    tallyport_status, tallyport_str,
};

use crate::{
    boundary::{fallible, plain, record},
    engine::tallyport_engine,
    handles::{self, Object},
    options::tallyport_label,
};

/// One series of a u64 counter. Opaque.
pub struct tallyport_counter {
    _private: (),
}

/// The u64 counter with these labels, created on first use.
///
/// A second call with the same name and labels gives a second handle of the same series.
///
/// Threads: any thread. Ownership: borrows `name` and `labels`; returns owned `counter` (free with
/// tallyport_counter_free) and `err`. Errors: INVALID_ARGUMENT with the field, INVALID_UTF8, CONFLICT
/// with what the family is, LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    labels: *const tallyport_label,
    label_count: usize,
    counter: *mut *mut tallyport_counter,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("counter", counter, || {
            let entered = call.engine(engine)?;
            let name = call.text("name", name)?;
            let labels = call.labels(labels, label_count)?;
            let counter = entered.engine.metrics().counter(name, &labels)?;
            Ok(Object::Counter(counter))
        })
    })
}

/// As tallyport_counter_get, with text that NULs end.
///
/// `labels` is name, value, name, value, …, NULL; NULL alone means no label.
///
/// Threads: any thread. Ownership: as tallyport_counter_get. Errors: the same. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_get_z(
    engine: *const tallyport_engine,
    name: *const c_char,
    labels: *const *const c_char,
    counter: *mut *mut tallyport_counter,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("counter", counter, || {
            let entered = call.engine(engine)?;
            let name = call.z("name", name)?;
            let labels = call.labels_z(labels)?;
            let counter = entered.engine.metrics().counter(name, &labels)?;
            Ok(Object::Counter(counter))
        })
    })
}

/// Adds `amount`. Cannot fail.
///
/// Threads: any thread; async-signal-safe; after fork too, not in a vfork child. Ownership: borrows.
/// Errors: none; a NULL, stale or foreign handle records
/// nothing and counts in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_add(counter: *const tallyport_counter, amount: u64) {
    record!((), counter, Counter(counter) => counter.add(amount))
}

/// The sum so far.
///
/// Threads: any thread; async-signal-safe. Ownership: borrows. Errors: 0 for a NULL, stale or
/// foreign handle, which counts in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_value(counter: *const tallyport_counter) -> u64 {
    record!(0, counter, Counter(counter) => counter.value())
}

/// Frees a counter's handle; the series stays, with its value.
///
/// A call of another thread that records through the handle at this very time counts in the same
/// series, or nowhere and in tallyport_misuse_count.
///
/// Threads: any thread. Ownership: takes `counter`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_free(counter: *mut tallyport_counter) {
    plain!((), {
        handles::remove(counter, |object| matches!(object, Object::Counter(_)));
    });
}

/// One series of an f64 counter. Opaque.
pub struct tallyport_counter_f64 {
    _private: (),
}

/// The f64 counter with these labels, created on first use.
///
/// A second call with the same name and labels gives a second handle of the same series.
///
/// Threads: any thread. Ownership: borrows `name` and `labels`; returns owned `counter` (free with
/// tallyport_counter_f64_free) and `err`. Errors: INVALID_ARGUMENT with the field, INVALID_UTF8, CONFLICT
/// with what the family is, LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_f64_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    labels: *const tallyport_label,
    label_count: usize,
    counter: *mut *mut tallyport_counter_f64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("counter", counter, || {
            let entered = call.engine(engine)?;
            let name = call.text("name", name)?;
            let labels = call.labels(labels, label_count)?;
            let counter = entered.engine.metrics().counter_f64(name, &labels)?;
            Ok(Object::CounterF64(counter))
        })
    })
}

/// Adds `amount`.
///
/// Threads: any thread; async-signal-safe; after fork too, not in a vfork child. Ownership: borrows.
/// Errors: INVALID_ARGUMENT for a negative, NaN or infinite amount (nothing is added); BAD_HANDLE for a
/// NULL, stale or foreign handle, which counts in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_f64_add(
    counter: *const tallyport_counter_f64,
    amount: f64,
) -> tallyport_status {
    record!(TALLYPORT_BAD_HANDLE, counter, CounterF64(counter) => {
        // The engine would allocate an error, which a signal handler must not.
        if amount >= 0.0 && amount.is_finite() {
            counter.add(amount).map_or(TALLYPORT_INVALID_ARGUMENT, |()| TALLYPORT_OK)
        } else {
            TALLYPORT_INVALID_ARGUMENT
        }
    })
}

/// The sum so far.
///
/// Threads: any thread; async-signal-safe. Ownership: borrows. Errors: 0 for a NULL, stale or
/// foreign handle, which counts in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_f64_value(counter: *const tallyport_counter_f64) -> f64 {
    record!(0.0, counter, CounterF64(counter) => counter.value())
}

/// Frees a counter's handle; the series stays, with its value.
///
/// A call of another thread that records through the handle at this very time counts in the same
/// series, or nowhere and in tallyport_misuse_count.
///
/// Threads: any thread. Ownership: takes `counter`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_f64_free(counter: *mut tallyport_counter_f64) {
    plain!((), {
        handles::remove(counter, |object| matches!(object, Object::CounterF64(_)));
    });
}
