//! Families by label values: recording without a handle for each series.
//!
//! A family's handle fixes the label names once; a call brings the values, in the order of the names.
//! An empty value is no label. Past a limit of series, what is added goes to the family's overflow
//! series, whatever the values are. Finding a series takes no lock and no allocation; where threads
//! share a handle they share the count of its users, so a handle for each of them scales best.

use std::sync::Arc;

use tallyport_core::model::Error;
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};
use tracing::dispatcher;

use crate::{
    boundary::{Call, fallible, plain},
    engine::{EngineState, Entered, tallyport_engine},
    handles::{self, Object},
};

/// Values of a call that are read without an allocation.
const FEW: usize = 8;

/// What a family's handle leads to.
pub(crate) struct FamilyState<F> {
    family: F,
    /// For what a new series has to say.
    engine: Arc<EngineState>,
}

/// A family of counters of u64 amounts. Opaque.
pub struct tallyport_counter_family {
    _private: (),
}

/// The family of counters of u64 amounts with these label names, made on first use.
///
/// Threads: any thread. Ownership: borrows `name` and `label_names`; returns owned `family` (free with
/// tallyport_counter_family_free) and `err`. Errors: INVALID_ARGUMENT with the field, INVALID_UTF8,
/// CONFLICT with what the family is, LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_family_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    label_names: *const tallyport_str,
    label_count: usize,
    family: *mut *mut tallyport_counter_family,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("family", family, || {
            let entered = call.engine(engine)?;
            let name = call.text("name", name)?;
            let names = call.texts("label_names", label_names, label_count)?;
            let family = entered.engine.metrics().counter_family(name, &names);
            Ok(Object::CounterFamily(state(&entered, family)?))
        })
    })
}

/// Adds `amount` to the series with these values, made on first use.
///
/// Threads: any thread, not in a signal handler. Ownership: borrows `values`; returns owned `err`.
/// Errors: INVALID_ARGUMENT when `value_count` is not the number of label names, or for a value that
/// is too long; LIMIT, INVALID_UTF8, NULL_ARGUMENT,
/// BAD_HANDLE. Nothing is recorded then. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_family_add(
    family: *const tallyport_counter_family,
    values: *const tallyport_str,
    value_count: usize,
    amount: u64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let state = handles::lookup("family", family, |object| match object {
            Object::CounterFamily(state) => Some(Arc::clone(state)),
            _ => None,
        })?;
        state.record(call, values, value_count, |family, values| family.add(values, amount))
    })
}

/// Frees a family's handle; its series stay, with their values.
///
/// Threads: any thread. Ownership: takes `family`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_family_free(family: *mut tallyport_counter_family) {
    plain!((), {
        handles::remove(family, |object| matches!(object, Object::CounterFamily(_)));
    });
}

/// A family of counters of f64 amounts. Opaque.
pub struct tallyport_counter_f64_family {
    _private: (),
}

/// The family of counters of f64 amounts with these label names, made on first use.
///
/// Threads: any thread. Ownership: borrows `name` and `label_names`; returns owned `family` (free with
/// tallyport_counter_f64_family_free) and `err`. Errors: INVALID_ARGUMENT with the field, INVALID_UTF8,
/// CONFLICT with what the family is, LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_f64_family_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    label_names: *const tallyport_str,
    label_count: usize,
    family: *mut *mut tallyport_counter_f64_family,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("family", family, || {
            let entered = call.engine(engine)?;
            let name = call.text("name", name)?;
            let names = call.texts("label_names", label_names, label_count)?;
            let family = entered.engine.metrics().counter_f64_family(name, &names);
            Ok(Object::CounterF64Family(state(&entered, family)?))
        })
    })
}

/// Adds `amount` to the series with these values, made on first use.
///
/// Threads: any thread, not in a signal handler. Ownership: borrows `values`; returns owned `err`.
/// Errors: INVALID_ARGUMENT when `value_count` is not the number of label names, or for a value that
/// is too long; INVALID_ARGUMENT for a negative, NaN or infinite amount too; LIMIT, INVALID_UTF8, NULL_ARGUMENT,
/// BAD_HANDLE. Nothing is recorded then. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_f64_family_add(
    family: *const tallyport_counter_f64_family,
    values: *const tallyport_str,
    value_count: usize,
    amount: f64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let state = handles::lookup("family", family, |object| match object {
            Object::CounterF64Family(state) => Some(Arc::clone(state)),
            _ => None,
        })?;
        state.record(call, values, value_count, |family, values| family.add(values, amount))
    })
}

/// Frees a family's handle; its series stay, with their values.
///
/// Threads: any thread. Ownership: takes `family`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_counter_f64_family_free(
    family: *mut tallyport_counter_f64_family,
) {
    plain!((), {
        handles::remove(family, |object| matches!(object, Object::CounterF64Family(_)));
    });
}

/// A family of up-down counters of i64 amounts. Opaque.
pub struct tallyport_up_down_counter_family {
    _private: (),
}

/// The family of up-down counters of i64 amounts with these label names, made on first use.
///
/// Threads: any thread. Ownership: borrows `name` and `label_names`; returns owned `family` (free with
/// tallyport_up_down_counter_family_free) and `err`. Errors: INVALID_ARGUMENT with the field, INVALID_UTF8,
/// CONFLICT with what the family is, LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_up_down_counter_family_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    label_names: *const tallyport_str,
    label_count: usize,
    family: *mut *mut tallyport_up_down_counter_family,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("family", family, || {
            let entered = call.engine(engine)?;
            let name = call.text("name", name)?;
            let names = call.texts("label_names", label_names, label_count)?;
            let family = entered.engine.metrics().up_down_counter_family(name, &names);
            Ok(Object::UpDownCounterFamily(state(&entered, family)?))
        })
    })
}

/// Adds `amount`, which may be negative, to the series with these values, made on first use.
///
/// Threads: any thread, not in a signal handler. Ownership: borrows `values`; returns owned `err`.
/// Errors: INVALID_ARGUMENT when `value_count` is not the number of label names, or for a value that
/// is too long; LIMIT, INVALID_UTF8, NULL_ARGUMENT,
/// BAD_HANDLE. Nothing is recorded then. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_up_down_counter_family_add(
    family: *const tallyport_up_down_counter_family,
    values: *const tallyport_str,
    value_count: usize,
    amount: i64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let state = handles::lookup("family", family, |object| match object {
            Object::UpDownCounterFamily(state) => Some(Arc::clone(state)),
            _ => None,
        })?;
        state.record(call, values, value_count, |family, values| family.add(values, amount))
    })
}

/// Frees a family's handle; its series stay, with their values.
///
/// Threads: any thread. Ownership: takes `family`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_up_down_counter_family_free(
    family: *mut tallyport_up_down_counter_family,
) {
    plain!((), {
        handles::remove(family, |object| matches!(object, Object::UpDownCounterFamily(_)));
    });
}

/// A family of up-down counters of f64 amounts. Opaque.
pub struct tallyport_up_down_counter_f64_family {
    _private: (),
}

/// The family of up-down counters of f64 amounts with these label names, made on first use.
///
/// Threads: any thread. Ownership: borrows `name` and `label_names`; returns owned `family` (free with
/// tallyport_up_down_counter_f64_family_free) and `err`. Errors: INVALID_ARGUMENT with the field, INVALID_UTF8,
/// CONFLICT with what the family is, LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_up_down_counter_f64_family_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    label_names: *const tallyport_str,
    label_count: usize,
    family: *mut *mut tallyport_up_down_counter_f64_family,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("family", family, || {
            let entered = call.engine(engine)?;
            let name = call.text("name", name)?;
            let names = call.texts("label_names", label_names, label_count)?;
            let family = entered.engine.metrics().up_down_counter_f64_family(name, &names);
            Ok(Object::UpDownCounterF64Family(state(&entered, family)?))
        })
    })
}

/// Adds `amount`, which may be negative, to the series with these values, made on first use.
///
/// Threads: any thread, not in a signal handler. Ownership: borrows `values`; returns owned `err`.
/// Errors: INVALID_ARGUMENT when `value_count` is not the number of label names, or for a value that
/// is too long; INVALID_ARGUMENT for a NaN or infinite amount too; LIMIT, INVALID_UTF8, NULL_ARGUMENT,
/// BAD_HANDLE. Nothing is recorded then. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_up_down_counter_f64_family_add(
    family: *const tallyport_up_down_counter_f64_family,
    values: *const tallyport_str,
    value_count: usize,
    amount: f64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let state = handles::lookup("family", family, |object| match object {
            Object::UpDownCounterF64Family(state) => Some(Arc::clone(state)),
            _ => None,
        })?;
        state.record(call, values, value_count, |family, values| family.add(values, amount))
    })
}

/// Frees a family's handle; its series stay, with their values.
///
/// Threads: any thread. Ownership: takes `family`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_up_down_counter_f64_family_free(
    family: *mut tallyport_up_down_counter_f64_family,
) {
    plain!((), {
        handles::remove(family, |object| matches!(object, Object::UpDownCounterF64Family(_)));
    });
}

/// A family of gauges. Opaque.
pub struct tallyport_gauge_family {
    _private: (),
}

/// The family of gauges with these label names, made on first use.
///
/// Threads: any thread. Ownership: borrows `name` and `label_names`; returns owned `family` (free with
/// tallyport_gauge_family_free) and `err`. Errors: INVALID_ARGUMENT with the field, INVALID_UTF8,
/// CONFLICT with what the family is, LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_family_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    label_names: *const tallyport_str,
    label_count: usize,
    family: *mut *mut tallyport_gauge_family,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("family", family, || {
            let entered = call.engine(engine)?;
            let name = call.text("name", name)?;
            let names = call.texts("label_names", label_names, label_count)?;
            let family = entered.engine.metrics().gauge_family(name, &names);
            Ok(Object::GaugeFamily(state(&entered, family)?))
        })
    })
}

/// Sets the series with these values, made on first use.
///
/// Threads: any thread, not in a signal handler. Ownership: borrows `values`; returns owned `err`.
/// Errors: INVALID_ARGUMENT when `value_count` is not the number of label names, or for a value that
/// is too long; LIMIT past a limit of series too, as gauges cannot be folded; LIMIT, INVALID_UTF8, NULL_ARGUMENT,
/// BAD_HANDLE. Nothing is recorded then. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_family_set(
    family: *const tallyport_gauge_family,
    values: *const tallyport_str,
    value_count: usize,
    value: f64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let state = handles::lookup("family", family, |object| match object {
            Object::GaugeFamily(state) => Some(Arc::clone(state)),
            _ => None,
        })?;
        state.record(call, values, value_count, |family, values| family.set(values, value))
    })
}

/// Adds `amount`, which may be negative, to the series with these values, made on first use.
///
/// Threads: any thread, not in a signal handler. Ownership: borrows `values`; returns owned `err`.
/// Errors: INVALID_ARGUMENT when `value_count` is not the number of label names, or for a value that
/// is too long; LIMIT past a limit of series too, as gauges cannot be folded; LIMIT, INVALID_UTF8, NULL_ARGUMENT,
/// BAD_HANDLE. Nothing is recorded then. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_family_add(
    family: *const tallyport_gauge_family,
    values: *const tallyport_str,
    value_count: usize,
    amount: f64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let state = handles::lookup("family", family, |object| match object {
            Object::GaugeFamily(state) => Some(Arc::clone(state)),
            _ => None,
        })?;
        state.record(call, values, value_count, |family, values| family.add(values, amount))
    })
}

/// Frees a family's handle; its series stay, with their values.
///
/// Threads: any thread. Ownership: takes `family`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_gauge_family_free(family: *mut tallyport_gauge_family) {
    plain!((), {
        handles::remove(family, |object| matches!(object, Object::GaugeFamily(_)));
    });
}

/// A family of histograms. Opaque.
pub struct tallyport_histogram_family {
    _private: (),
}

/// The family of histograms with these label names, made on first use.
///
/// `bounds`: `bound_count` finite, increasing upper bounds; none means those of the family, or the
/// engine's default for a new one. +Inf is implied.
///
/// Threads: any thread. Ownership: borrows `name`, `bounds` and `label_names`; returns owned `family` (free with
/// tallyport_histogram_family_free) and `err`. Errors: INVALID_ARGUMENT with the field, INVALID_UTF8,
/// CONFLICT with what the family is, LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_histogram_family_get(
    engine: *const tallyport_engine,
    name: tallyport_str,
    bounds: *const f64,
    bound_count: usize,
    label_names: *const tallyport_str,
    label_count: usize,
    family: *mut *mut tallyport_histogram_family,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.give("family", family, || {
            let entered = call.engine(engine)?;
            let name = call.text("name", name)?;
            let bounds = call.numbers("bounds", bounds, bound_count)?;
            let names = call.texts("label_names", label_names, label_count)?;
            let family = entered.engine.metrics().histogram_family(name, bounds, &names);
            Ok(Object::HistogramFamily(state(&entered, family)?))
        })
    })
}

/// Counts `value` in the series with these values, made on first use.
///
/// As tallyport_histogram_observe: NaN is dropped and counted as such.
///
/// Threads: any thread, not in a signal handler. Ownership: borrows `values`; returns owned `err`.
/// Errors: INVALID_ARGUMENT when `value_count` is not the number of label names, or for a value that
/// is too long; LIMIT, INVALID_UTF8, NULL_ARGUMENT,
/// BAD_HANDLE. Nothing is recorded then. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_histogram_family_observe(
    family: *const tallyport_histogram_family,
    values: *const tallyport_str,
    value_count: usize,
    value: f64,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let state = handles::lookup("family", family, |object| match object {
            Object::HistogramFamily(state) => Some(Arc::clone(state)),
            _ => None,
        })?;
        state.record(call, values, value_count, |family, values| family.observe(values, value))
    })
}

/// Frees a family's handle; its series stay, with their values.
///
/// Threads: any thread. Ownership: takes `family`; NULL and a stale handle are no-ops. Errors: none.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_histogram_family_free(family: *mut tallyport_histogram_family) {
    plain!((), {
        handles::remove(family, |object| matches!(object, Object::HistogramFamily(_)));
    });
}

fn state<F>(entered: &Entered, family: Result<F, Error>) -> Result<Arc<FamilyState<F>>, Error> {
    let family = family.map_err(|error| in_arguments(error, "label_names"))?;
    Ok(Arc::new(FamilyState { family, engine: entered.state() }))
}

impl<F> FamilyState<F> {
    /// Records in the series with these values.
    fn record(
        &self,
        call: &Call,
        values: *const tallyport_str,
        count: usize,
        record: impl FnOnce(&F, &[&str]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut few = [""; FEW];
        let mut many = Vec::new();
        let values = call.texts_in("values", values, count, &mut few, &mut many)?;
        let done = match self.engine.log() {
            Some(log) => dispatcher::with_default(log, || record(&self.family, values)),
            None => record(&self.family, values),
        };
        done.map_err(|error| in_arguments(error, "values"))
    }
}

/// An error about labels, said of the argument that brought them.
fn in_arguments(error: Error, field: &str) -> Error {
    match error.field() {
        Some("labels") => error.with_field(field),
        _ => error,
    }
}
