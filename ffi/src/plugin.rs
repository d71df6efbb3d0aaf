//! Exporter plugins of an engine: loaded from files, or tables in the host program.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tallyport_core::{
    engine::{Engine, config::PluginConfig},
    model::Error,
    plugin::{Health, Plugin},
};
use tallyport_plugin_api::abi::{
    tallyport_error, tallyport_plugin_v1, tallyport_status, tallyport_str,
};

use crate::{
    boundary::{Call, fallible},
    buf::tallyport_buf,
    engine::tallyport_engine,
    options::tallyport_plugin_options,
};

/// Loads an exporter as a configuration would, and registers it.
///
/// A file with several exporters registers each under its own id, unless `options->exporter` names
/// one. The file stays mapped for the life of the process.
///
/// Threads: any thread. Ownership: borrows `options`; returns owned `err`. Errors: PLUGIN_REFUSED
/// and PLUGIN_ABI_MISMATCH with file and reason, ALREADY_EXISTS, CONFIG for options that break the
/// exporter's schema, what the exporter answers, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_plugin_load(
    engine: *const tallyport_engine,
    options: *const tallyport_plugin_options,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        let (name, plugin) = request(call, options)?;
        entered.engine.load_plugin(name, &plugin).map(drop)
    })
}

/// Loads an exporter in the place of the one of that name, which serves until the new one does.
///
/// Threads: any thread. Ownership: borrows `options`; returns owned `err`. Errors: as
/// tallyport_plugin_load, the old one then goes on serving; NOT_FOUND when nothing has that name.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_plugin_replace(
    engine: *const tallyport_engine,
    options: *const tallyport_plugin_options,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        let (name, plugin) = request(call, options)?;
        entered.engine.replace_plugin(name, &plugin).map(drop)
    })
}

/// Loads the file of an exporter anew, as it is now, in the place of what was loaded from it.
///
/// Options and limits stay. The old one serves until the new one does, and exports that run on it end
/// on it. Replace the file by a rename; one that is overwritten in place damages the one that runs.
///
/// Threads: any thread. Ownership: borrows `name`; returns owned `err`. Errors: as
/// tallyport_plugin_load, the old one then goes on serving; NOT_FOUND when nothing has that name,
/// UNSUPPORTED for an exporter that came from no file, LIMIT when `loading.max_images` versions are
/// mapped. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_plugin_reload(
    engine: *const tallyport_engine,
    name: tallyport_str,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        entered.engine.reload_plugin(call.text("name", name)?)
    })
}

/// Registers an exporter of the host program: no file is involved.
///
/// Threads: any thread; the exporter's functions are called as tallyport_plugin.h says. Ownership:
/// borrows `name` and `options_json` (a JSON object, or empty); `table` and its functions stay
/// valid until the process ends. Returns owned `err`. Errors: PLUGIN_ABI_MISMATCH with the reason,
/// ALREADY_EXISTS, INVALID_ARGUMENT, CONFIG, what its create answers, NULL_ARGUMENT, BAD_HANDLE,
/// POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_plugin_register(
    engine: *const tallyport_engine,
    name: tallyport_str,
    table: *const tallyport_plugin_v1,
    options_json: tallyport_str,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        let name = call.text("name", name)?;
        let options = object("options_json", call.text("options_json", options_json)?)?;
        let table = call.plugin_table(table)?;
        entered.engine.register_plugin(name, Arc::new(table), options)
    })
}

/// Takes an exporter out. It is shut down here, or by the last export that still runs.
///
/// Threads: any thread. Ownership: borrows `name`; returns owned `err`. Errors: NOT_FOUND,
/// NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_plugin_unregister(
    engine: *const tallyport_engine,
    name: tallyport_str,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        entered.engine.plugins().unregister(call.text("name", name)?)
    })
}

/// The exporters in order of registration as a JSON array, with formats and statistics.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_plugins_list(
    engine: *const tallyport_engine,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let out = call.out("buf", buf, tallyport_buf::EMPTY)?;
        let entered = call.engine(engine)?;
        out.set(tallyport_buf::from_vec(list(&entered.engine).to_string().into_bytes()));
        Ok(())
    })
}

/// Has every exporter deliver what it buffered.
///
/// Threads: any thread. Ownership: returns owned `err`. Errors: what the first exporter that fails
/// answers (all are asked), NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_plugins_flush(
    engine: *const tallyport_engine,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| call.engine(engine)?.engine.plugins().flush())
}

/// The exporters as JSON, for this file's list and the engine's status.
pub(crate) fn list(engine: &Engine) -> Value {
    let plugins = engine.plugins();
    let names = plugins.list().into_iter().map(|plugin| plugin.name);
    names.filter_map(|name| plugins.by_name(&name)).map(|plugin| describe(&plugin)).collect()
}

fn describe(plugin: &Plugin) -> Value {
    let (about, did) = (plugin.info(), plugin.statistics());
    let formats: Vec<Value> = about
        .formats
        .iter()
        .map(|format| json!({ "name": format.name, "content_type": format.content_type }))
        .collect();
    json!({
        "name": about.name,
        "id": about.id,
        "version": about.version,
        "vendor": about.vendor,
        "description": about.description,
        "origin": about.origin,
        "state": about.health.name(),
        "queue_length": about.queue_length,
        "zombies": about.zombies,
        "poisoned": matches!(about.health, Health::Poisoned | Health::GivenUp),
        "formats": formats,
        "exports": did.exports,
        "failures": did.failures,
        "bytes": did.bytes,
        "total_seconds": did.total_duration.as_secs_f64(),
        "last_seconds": did.last_duration.as_secs_f64(),
        "last_error": did.last_error,
    })
}

fn request(
    call: &Call,
    options: *const tallyport_plugin_options,
) -> Result<(&str, PluginConfig), Error> {
    let options = call.options("options", options)?;
    let name = call.text("options.name", options.name)?;
    let path = call.path("options.path", options.path)?;
    let exporter = call.text_or_none("options.exporter", options.exporter)?;
    let json = call.text("options.options_json", options.options_json)?;
    let plugin = PluginConfig {
        path: Some(path.to_path_buf()).filter(|path| !path.as_os_str().is_empty()),
        exporter: exporter.map(str::to_owned),
        options: object("options.options_json", json)?,
        ..PluginConfig::default()
    };
    Ok((name, plugin))
}

fn object(field: &str, json: &str) -> Result<Map<String, Value>, Error> {
    if json.is_empty() {
        return Ok(Map::new());
    }
    serde_json::from_str(json)
        .map_err(|error| Error::invalid(field, format!("`{field}` is not a JSON object: {error}")))
}
