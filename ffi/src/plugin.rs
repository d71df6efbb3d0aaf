//! Exporter plugins of an engine: loaded from files, or tables in the host program.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use tallyport_core::{
    engine::{
        Engine,
        config::{
            ConfigErrors, HelperConfig, IsolationConfig, LibraryConfig, PluginConfig, RunConfig,
        },
    },
    model::Error,
    plugin::{Health, PluginInfo, Statistics},
};
use tallyport_plugin_api::abi::{
    tallyport_error, tallyport_plugin_v1, tallyport_status, tallyport_str,
};

use crate::{
    boundary::{Call, fallible},
    buf::tallyport_buf,
    engine::tallyport_engine,
    options::{TALLYPORT_NONE, isolation, probe, tallyport_library, tallyport_plugin_options},
};

/// Loads an exporter as a configuration would, and registers it.
///
/// A file with several exporters registers each under its own id, unless `options->exporter` names
/// one. The file stays mapped for the life of the process.
///
/// Threads: any thread. Ownership: borrows `options`; returns owned `err`. Errors: PLUGIN_REFUSED
/// and PLUGIN_ABI_MISMATCH with file and reason, ALREADY_EXISTS, CONFIG for options that break the
/// exporter's schema, INVALID_ARGUMENT with the field, what the exporter answers, NULL_ARGUMENT,
/// BAD_HANDLE, POISONED. Since: 0.1.
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
        let options = call.object("options_json", options_json)?;
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
    fallible!(err, |call| { call.fill_json(buf, || Ok(list(&call.engine(engine)?.engine))) })
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
    let found = names.filter_map(|name| plugins.by_name(&name));
    found.map(|plugin| describe(&plugin.info(), &plugin.statistics())).collect()
}

/// An exporter as JSON.
pub(crate) fn describe(about: &PluginInfo, did: &Statistics) -> Value {
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
        "process": about.process,
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
    let helper = helper_limits(&options);
    let plugin = PluginConfig {
        path: Some(path.to_path_buf()).filter(|path| !path.as_os_str().is_empty()),
        exporter: exporter.map(str::to_owned),
        sha256: call.text_or_none("options.sha256", options.sha256)?.map(str::to_owned),
        libraries: libraries(call, &options)?,
        probe: probe(options.probe)?,
        isolation: isolation(options.isolation)?,
        helper,
        run: run_limits(&options),
        options: call.object("options.options_json", options.options_json)?,
        ..PluginConfig::default()
    };
    if plugin.isolation == IsolationConfig::None && plugin.helper != HelperConfig::default() {
        let message = "`options` limits a helper process (`address_space_bytes`, `cpu_seconds`, \
                       `open_files`) without TALLYPORT_ISOLATION_PROCESS";
        return Err(Error::invalid("options.isolation", message));
    }
    plugin.check("options").map_err(|errors| in_options(&errors))?;
    Ok((name, plugin))
}

/// The libraries that the options pin, by name.
fn libraries(
    call: &Call,
    options: &tallyport_plugin_options,
) -> Result<BTreeMap<String, LibraryConfig>, Error> {
    let raw = call.array("options.libraries", options.libraries, options.library_count)?;
    let read = |(at, library): (usize, &tallyport_library)| {
        let field = |part: &str| format!("options.libraries[{at}].{part}");
        let path = call.path_or_refuse(&field("path"), library.path)?.to_path_buf();
        let sha256 = call.text_of(|| field("sha256"), library.sha256)?.to_owned();
        Ok((
            call.text_of(|| field("name"), library.name)?.to_owned(),
            LibraryConfig { path, sha256 },
        ))
    };
    raw.iter().enumerate().map(read).collect()
}

fn helper_limits(options: &tallyport_plugin_options) -> HelperConfig {
    let set = |number: u64| Some(number).filter(|number| *number != 0);
    HelperConfig {
        address_space_bytes: set(options.address_space_bytes),
        cpu_seconds: set(options.cpu_seconds),
        open_files: set(options.open_files),
    }
}

/// The limits that the options set; 0: the default.
fn run_limits(options: &tallyport_plugin_options) -> RunConfig {
    let default = RunConfig::default();
    let or = |number: u64, default: u64| if number == 0 { default } else { number };
    let count = |number: u32, default: usize| match number {
        0 => default,
        _ => usize::try_from(number).unwrap_or(usize::MAX),
    };
    RunConfig {
        deadline_ms: Some(options.deadline_ms).filter(|ms| *ms != 0),
        grace_ms: or(options.grace_ms, default.grace_ms),
        drain_ms: or(options.drain_ms, default.drain_ms),
        queue: count(options.queue, default.queue),
        max_zombies: count(options.max_zombies, default.max_zombies),
        max_output_bytes: or(options.max_output_bytes, default.max_output_bytes),
        breaker_failures: match options.breaker_failures {
            0 => None,
            TALLYPORT_NONE => Some(0),
            failures => Some(failures),
        },
        backoff_ms: or(options.backoff_ms, default.backoff_ms),
        max_backoff_ms: or(options.max_backoff_ms, default.max_backoff_ms),
        max_restarts: match options.max_restarts {
            0 => default.max_restarts,
            TALLYPORT_NONE => 0,
            restarts => restarts,
        },
    }
}

/// What is wrong with the table `plugins.options`, said of the fields of the options.
fn in_options(errors: &ConfigErrors) -> Error {
    let field = |text: &str| {
        let text = text.replace("plugins.options.", "options.");
        text.replace("options.run.", "options.").replace("options.helper.", "options.")
    };
    let key = errors.problems.first().map(|problem| field(&problem.key));
    Error::invalid(&key.unwrap_or_default(), field(&errors.to_string()))
}
