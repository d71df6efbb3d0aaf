//! What the file and its tables say, held against what they have.

use tallyport_core::model::schema::Schema;
use tallyport_plugin_api::abi::{
    TALLYPORT_CAP_CANCEL, TALLYPORT_CAP_FORK_AWARE, TALLYPORT_SIGNAL_METRICS,
    TALLYPORT_SIGNAL_TRACES,
};

use crate::trial::{Done, Stop, Trial};

pub(super) fn table(trial: &mut Trial<'_>) -> Done {
    let raw = &trial.exporter.raw;
    if trial.has(TALLYPORT_CAP_CANCEL) && raw.cancel.is_none() {
        return Stop::fail("it declares CANCEL, and its `cancel` is NULL");
    }
    if trial.has(TALLYPORT_CAP_FORK_AWARE) && raw.after_fork_child.is_none() {
        return Stop::fail("it declares FORK_AWARE, and its `after_fork_child` is NULL");
    }
    if raw.signals & (TALLYPORT_SIGNAL_METRICS | TALLYPORT_SIGNAL_TRACES) == 0 {
        return Stop::fail("it declares no signal: METRICS or TRACES");
    }
    for format in &trial.exporter.table.formats {
        if !format.content_type.contains('/') {
            let text = format!("`{}` is no media type", format.content_type);
            return Stop::fail(format!("format `{}`: {text}", format.name));
        }
    }
    if trial.exporter.has_extension("com.example.no-such-extension/1") {
        return Stop::fail("`get_extension` has an extension that does not exist");
    }
    let Some(schema) = &trial.exporter.table.options_schema else { return Ok(()) };
    match Schema::compile_foreign(schema) {
        Ok(_) => Ok(()),
        Err(error) => Stop::fail(format!("its options schema is no JSON Schema: {error}")),
    }
}

pub(super) fn entry(trial: &mut Trial<'_>) -> Done {
    if trial.file.serves(9 << 16) {
        return Stop::fail("`tallyport_plugin_query_v1` offers exporters to a host of ABI 9.0");
    }
    // Whatever it makes of no version at all, it comes back.
    let _ = trial.file.serves(0);
    let _ = trial.file.serves(u32::MAX);
    if !trial.file.answers_again() {
        return Stop::fail("`tallyport_plugin_query_v1` does not answer the same set again");
    }
    Ok(())
}
