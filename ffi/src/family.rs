//! Families: what a name means, and taking series out again.

use tallyport_core::{
    metrics::Description,
    model::{Error, Kind, Number},
};
use tallyport_plugin_api::abi::{
    TALLYPORT_KIND_COUNTER, TALLYPORT_KIND_GAUGE, TALLYPORT_KIND_HISTOGRAM,
    TALLYPORT_KIND_UP_DOWN_COUNTER, TALLYPORT_NUMBER_F64, TALLYPORT_NUMBER_I64,
    TALLYPORT_NUMBER_U64, tallyport_error, tallyport_status, tallyport_str,
};

use crate::{
    boundary::fallible,
    engine::tallyport_engine,
    options::{cells, gauge_mode, tallyport_family_options, tallyport_label},
};

/// Fixes what a family is, and sets its help, unit and gauge mode once. Optional: first use fixes what
/// it is too.
///
/// Threads: any thread. Ownership: borrows `options`; returns owned `err`. Errors: CONFLICT with
/// what the family is already, INVALID_ARGUMENT with the field, INVALID_UTF8, NULL_ARGUMENT,
/// BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_family_describe(
    engine: *const tallyport_engine,
    options: *const tallyport_family_options,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        let options = call.options("options", options)?;
        let kind = kind(options.kind)?;
        entered.engine.metrics().describe(&Description {
            name: call.text("options.name", options.name)?,
            kind,
            number: number(kind, options.number)?,
            bounds: call.numbers("options.bounds", options.bounds, options.bound_count)?,
            help: call.text("options.help", options.help)?,
            unit: call.text("options.unit", options.unit)?,
            cells: cells(options.cells)?,
            mode: gauge_mode(options.gauge_mode)?,
        })
    })
}

/// Takes one series out of the exports. Handles to it stay valid and record where nobody looks.
///
/// Threads: any thread. Ownership: borrows `name` and `labels`; returns owned `err`. Errors:
/// NOT_FOUND, INVALID_ARGUMENT with the field, INVALID_UTF8, NULL_ARGUMENT, BAD_HANDLE, POISONED.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_series_remove(
    engine: *const tallyport_engine,
    name: tallyport_str,
    labels: *const tallyport_label,
    label_count: usize,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        let name = call.text("name", name)?;
        entered.engine.metrics().remove(name, &call.labels(labels, label_count)?)
    })
}

/// Takes all series of a family out of the exports; the family stays described.
///
/// Threads: any thread. Ownership: borrows `name`; returns owned `err`. Errors: NOT_FOUND,
/// INVALID_UTF8, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_family_clear(
    engine: *const tallyport_engine,
    name: tallyport_str,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        entered.engine.metrics().clear(call.text("name", name)?)
    })
}

fn kind(number: u32) -> Result<Kind, Error> {
    match number {
        TALLYPORT_KIND_COUNTER => Ok(Kind::Counter),
        TALLYPORT_KIND_UP_DOWN_COUNTER => Ok(Kind::UpDownCounter),
        TALLYPORT_KIND_GAUGE => Ok(Kind::Gauge),
        TALLYPORT_KIND_HISTOGRAM => Ok(Kind::Histogram),
        _ => Err(Error::invalid("options.kind", format!("{number} is no TALLYPORT_KIND_*"))),
    }
}

fn number(kind: Kind, number: u32) -> Result<Number, Error> {
    match (kind, number) {
        (Kind::Counter, 0 | TALLYPORT_NUMBER_U64) => Ok(Number::U64),
        (Kind::UpDownCounter, 0 | TALLYPORT_NUMBER_I64) => Ok(Number::I64),
        (Kind::Gauge | Kind::Histogram, 0) | (_, TALLYPORT_NUMBER_F64) => Ok(Number::F64),
        _ => {
            let message = format!("{number} is no TALLYPORT_NUMBER_* that a {kind:?} can have");
            Err(Error::invalid("options.number", message))
        }
    }
}
