//! Histograms: observations counted in buckets.

use std::ffi::c_char;

use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};

use crate::{
    boundary::{fallible, plain, record},
    engine::tallyport_engine,
    handles::{self, Object},
    options::tallyport_label,
};

/// One series of a histogram. Opaque.
pub struct tallyport_histogram {
    _private: (),
}

/// The histogram with these labels, created on first use.
///
/// `bounds`: `bound_count` finite, increasing upper bounds; none means those of the family, or the
/// engine's default for a new one. +Inf is implied.
///
/// A second call with the same name and labels gives a second handle of the same series.
///
/// Threads: any thread. Ownership: borrows `name`, `bounds` and `labels`; returns owned `histogram` (free with
/// tallyport_histogram_free) and `err`. Errors: INVALID_ARGUMENT with the field, INVALID_UTF8, CONFLICT
/// with what the family is, LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_histogram_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    bounds: *const f64,
    bound_count: usize,
    labels: *const tallyport_label,
    label_count: usize,
    histogram: *mut *mut tallyport_histogram,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("histogram", histogram, || {
            let entered = call.engine(engine)?;
            let name = call.text("name", name)?;
            let bounds = call.numbers("bounds", bounds, bound_count)?;
            let labels = call.labels(labels, label_count)?;
            let histogram = entered.engine.metrics().histogram(name, bounds, &labels)?;
            Ok(Object::Histogram(Box::new(histogram)))
        })
    })
}

/// As tallyport_histogram_get, with text that NULs end.
///
/// `labels` is name, value, name, value, …, NULL; NULL alone means no label.
///
/// Threads: any thread. Ownership: as tallyport_histogram_get. Errors: the same. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_histogram_get_z(
    engine: *const tallyport_engine,
    name: *const c_char,
    bounds: *const f64,
    bound_count: usize,
    labels: *const *const c_char,
    histogram: *mut *mut tallyport_histogram,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("histogram", histogram, || {
            let entered = call.engine(engine)?;
            let name = call.z("name", name)?;
            let bounds = call.numbers("bounds", bounds, bound_count)?;
            let labels = call.labels_z(labels)?;
            let histogram = entered.engine.metrics().histogram(name, bounds, &labels)?;
            Ok(Object::Histogram(Box::new(histogram)))
        })
    })
}

/// Counts `value` in the first bucket whose upper bound is not below it.
///
/// ±Inf counts in the outermost bucket and makes the sum infinite. NaN is not counted, but counted
/// as dropped (`tallyport_dropped_samples_total`).
///
/// Threads: any thread; async-signal-safe; after fork too, not in a vfork child. Ownership: borrows.
/// Errors: none; a NULL, stale or foreign handle records
/// nothing and counts in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_histogram_observe(
    histogram: *const tallyport_histogram,
    value: f64,
) {
    record!((), histogram, Histogram(histogram) => histogram.observe(value))
}

/// Number of observations; 0 for a NULL, stale or foreign handle.
///
/// Threads: any thread; async-signal-safe. Ownership: borrows. Errors: none; a wrong handle counts
/// in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_histogram_count(histogram: *const tallyport_histogram) -> u64 {
    record!(0, histogram, Histogram(histogram) => histogram.totals().0)
}

/// Sum of the observations; 0 for a NULL, stale or foreign handle.
///
/// Threads: any thread; async-signal-safe. Ownership: borrows. Errors: none; a wrong handle counts
/// in tallyport_misuse_count. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_histogram_sum(histogram: *const tallyport_histogram) -> f64 {
    record!(0.0, histogram, Histogram(histogram) => histogram.totals().1)
}

/// Frees a histogram's handle; the series stays, with its value.
///
/// A call of another thread that records through the handle at this very time counts in the same
/// series, or nowhere and in tallyport_misuse_count.
///
/// Threads: any thread. Ownership: takes `histogram`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_histogram_free(histogram: *mut tallyport_histogram) {
    plain!((), {
        handles::remove(histogram, |object| matches!(object, Object::Histogram(_)));
    });
}
