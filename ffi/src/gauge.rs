//! Gauges: values that are set.

use std::ffi::c_char;

use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};

use crate::{
    boundary::{fallible, plain, record},
    engine::tallyport_engine,
    handles::{self, Object},
    options::tallyport_label,
};

/// One series of a gauge. Opaque.
pub struct tallyport_gauge {
    _private: (),
}

/// The gauge with these labels, created on first use.
///
/// A second call with the same name and labels gives a second handle of the same series.
///
/// Threads: any thread. Ownership: borrows `name` and `labels`; returns owned `gauge` (free with
/// tallyport_gauge_free) and `err`. Errors: INVALID_ARGUMENT with the field, INVALID_UTF8, CONFLICT
/// with what the family is, LIMIT past a limit of series (gauges cannot be folded), NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    labels: *const tallyport_label,
    label_count: usize,
    gauge: *mut *mut tallyport_gauge,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("gauge", gauge, || {
            let entered = call.engine(engine)?;
            let name = call.text("name", name)?;
            let labels = call.labels(labels, label_count)?;
            let gauge = entered.engine.metrics().gauge(name, &labels)?;
            Ok(Object::Gauge(gauge))
        })
    })
}

/// As tallyport_gauge_get, with text that NULs end.
///
/// `labels` is name, value, name, value, …, NULL; NULL alone means no label.
///
/// Threads: any thread. Ownership: as tallyport_gauge_get. Errors: the same. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_get_z(
    engine: *const tallyport_engine,
    name: *const c_char,
    labels: *const *const c_char,
    gauge: *mut *mut tallyport_gauge,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("gauge", gauge, || {
            let entered = call.engine(engine)?;
            let name = call.z("name", name)?;
            let labels = call.labels_z(labels)?;
            let gauge = entered.engine.metrics().gauge(name, &labels)?;
            Ok(Object::Gauge(gauge))
        })
    })
}

/// Sets the value, to any f64. Cannot fail.
///
/// Threads: any thread; async-signal-safe; after fork too, not in a vfork child. Ownership: borrows.
/// Errors: none; a NULL, stale or foreign handle records
/// nothing and counts in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_set(gauge: *const tallyport_gauge, value: f64) {
    record!((), gauge, Gauge(gauge) => gauge.set(value))
}

/// Adds `amount`, which may be negative. Cannot fail.
///
/// Threads: any thread; async-signal-safe; after fork too, not in a vfork child. Ownership: borrows.
/// Errors: none; a NULL, stale or foreign handle records
/// nothing and counts in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_add(gauge: *const tallyport_gauge, amount: f64) {
    record!((), gauge, Gauge(gauge) => gauge.add(amount))
}

/// Subtracts `amount`. Cannot fail.
///
/// Threads: any thread; async-signal-safe; after fork too, not in a vfork child. Ownership: borrows.
/// Errors: none; a NULL, stale or foreign handle records
/// nothing and counts in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_sub(gauge: *const tallyport_gauge, amount: f64) {
    record!((), gauge, Gauge(gauge) => gauge.sub(amount))
}

/// The value.
///
/// Threads: any thread; async-signal-safe. Ownership: borrows. Errors: 0 for a NULL, stale or
/// foreign handle, which counts in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_value(gauge: *const tallyport_gauge) -> f64 {
    record!(0.0, gauge, Gauge(gauge) => gauge.value())
}

/// Frees a gauge's handle; the series stays, with its value.
///
/// A call of another thread that records through the handle at this very time counts in the same
/// series, or nowhere and in tallyport_misuse_count.
///
/// Threads: any thread. Ownership: takes `gauge`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_free(gauge: *mut tallyport_gauge) {
    plain!((), {
        handles::remove(gauge, |object| matches!(object, Object::Gauge(_)));
    });
}
