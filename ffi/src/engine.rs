//! Engines: opened from a configuration or none, asked for their state, closed.

use std::{
    ffi::c_char,
    path::{Path, PathBuf},
    ptr,
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use serde_json::{Value, json};
use tallyport_builtin_exporters::EXPORTERS;
use tallyport_core::{
    engine::{
        Engine,
        config::{Config, ShareConfig},
        forks,
    },
    metrics::Cells,
    model::{Error, ErrorKind, GaugeMode, Kind, Mutex, Number},
};
use tallyport_plugin_api::abi::{tallyport_error, tallyport_status, tallyport_str};
use tracing::{Dispatch, dispatcher::DefaultGuard, subscriber::NoSubscriber};

use crate::{
    boundary::{Call, Out, fallible, plain},
    buf::tallyport_buf,
    callback::LogFunction,
    collector,
    handles::{self, Object},
    log::{self, LogTo},
    log_ring,
    options::{TALLYPORT_NONE, cells, share, tallyport_engine_options},
    plugin, serve, sync, target,
};

/// An engine: metrics, exporters, their configuration. Opaque.
pub struct tallyport_engine {
    _private: (),
}

/// What an engine's handle leads to.
pub(crate) struct EngineState {
    /// `None` once it was closed; calls that run still have their own clone.
    engine: Mutex<Option<Engine>>,
    dispatch: Dispatch,
    /// Whether the host has a log function, and is still to be told.
    logs: AtomicBool,
    poisoned: AtomicBool,
}

/// A call on an engine: what the engine logs goes to its host.
pub(crate) struct Entered {
    pub(crate) engine: Engine,
    state: Arc<EngineState>,
    _log: DefaultGuard,
}

impl EngineState {
    /// Cold calls are refused from now on.
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Relaxed);
    }

    /// Where a call logs that is not on the engine itself, if anywhere: not after it was closed.
    pub(crate) fn log(&self) -> Option<&Dispatch> {
        Some(&self.dispatch).filter(|_| self.logs.load(Acquire))
    }
}

impl Entered {
    /// For handles whose calls log as the engine does.
    pub(crate) fn state(&self) -> Arc<EngineState> {
        Arc::clone(&self.state)
    }
}

impl Call {
    /// The engine that the call is on.
    pub(crate) fn engine(&self, handle: *const tallyport_engine) -> Result<Entered, Error> {
        let state = handles::lookup("engine", handle, |object| match object {
            Object::Engine(state) => Some(Arc::clone(state)),
            _ => None,
        })?;
        if state.poisoned.load(Relaxed) {
            let message = "the engine panicked in an earlier call; recording goes on, close it";
            return Err(Error::new(ErrorKind::Poisoned, message).with_field("engine"));
        }
        let Some(engine) = state.engine.lock().clone() else {
            return Err(handles::stale("engine"));
        };
        self.is_on(&state);
        let log = tracing::dispatcher::set_default(&state.dispatch);
        Ok(Entered { engine, state, _log: log })
    }
}

/// Opens an engine from a configuration file, or with the defaults for an empty path.
///
/// The exporters `prometheus`, `json` and `csv` are linked in. A plugin of the configuration that
/// cannot be loaded is listed by tallyport_engine_status, unless it is `required`. No thread is
/// started, unless the configuration gives a plugin a deadline.
///
/// Threads: any thread. Ownership: borrows `config_path`; returns owned `engine` (free with
/// tallyport_engine_close) and `err` (free with tallyport_error_free). Errors: CONFIG with every
/// problem and its place, what a required plugin answers, IO, LIMIT. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_engine_open(
    config_path: tallyport_str,
    engine: *mut *mut tallyport_engine,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let out = call.out("engine", engine, ptr::null_mut())?;
        open(Request { path: call.path("config_path", config_path)?, ..Request::default() }, out)
    })
}

/// As tallyport_engine_open, with a path that a NUL ends; NULL: no configuration.
///
/// Threads: any thread. Ownership: as tallyport_engine_open. Errors: the same. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_engine_open_z(
    config_path: *const c_char,
    engine: *mut *mut tallyport_engine,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let out = call.out("engine", engine, ptr::null_mut())?;
        let none = config_path.is_null();
        let path = if none { Path::new("") } else { call.z_path("config_path", config_path)? };
        open(Request { path, ..Request::default() }, out)
    })
}

/// Opens an engine from options: configuration file or text, log function, limits.
///
/// What the options set comes before the configuration.
///
/// Threads: any thread. Ownership: borrows `options`; of it, `log_fn` and `log_data` are used until
/// the engine is closed. Returns owned `engine` (free with tallyport_engine_close) and `err` (free
/// with tallyport_error_free). Errors: as tallyport_engine_open; INVALID_ARGUMENT with the field.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_engine_open_with(
    options: *const tallyport_engine_options,
    engine: *mut *mut tallyport_engine,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let out = call.out("engine", engine, ptr::null_mut())?;
        let options = call.options("options", options)?;
        if options.reserved != 0 {
            return Err(Error::invalid("options.reserved", "`options.reserved` is not 0"));
        }
        let limit = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        open(
            Request {
                path: call.path("options.config_path", options.config_path)?,
                toml: call.text_or_none("options.config_toml", options.config_toml)?,
                base_dir: call.path("options.base_dir", options.base_dir)?,
                service_name: call.text_or_none("options.service_name", options.service_name)?,
                limits: [
                    options.max_series,
                    options.max_series_per_family,
                    options.max_cell_bytes,
                    options.max_label_bytes,
                ]
                .map(limit),
                idle_timeout: options.series_idle_timeout_s,
                bounds: call.numbers(
                    "options.default_bounds",
                    options.default_bounds,
                    options.default_bound_count,
                )?,
                cells: cells(options.cells)?,
                share: share(options.share)?,
                arena: call.path("options.arena", options.arena)?,
                log: log_to(&options)?,
                log_level: options.log_level,
            },
            out,
        )
    })
}

/// Closes an engine: its exporters deliver what they buffered, are shut down and destroyed.
///
/// Calls of other threads that run on the engine end as if it were open; the last of them then
/// destroys the exporters. Recording handles stay valid and record where nobody looks; free them
/// too. Snapshots stay valid.
///
/// Threads: any thread. Ownership: takes `engine`; NULL and a stale handle are no-ops. Errors:
/// none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_engine_close(engine: *mut tallyport_engine) {
    plain!((), |_call| {
        let held = log::hold();
        let state = handles::lookup("engine", engine, |object| match object {
            Object::Engine(state) => Some(Arc::clone(state)),
            _ => None,
        });
        if handles::remove(engine, |object| matches!(object, Object::Engine(_)))
            && let Ok(state) = state
        {
            state.logs.store(false, Release);
            let engine = state.engine.lock().take();
            tracing::dispatcher::with_default(&state.dispatch, || drop(engine));
            handles::reclaim();
        }
        drop(held);
    });
}

/// The engine's state as a JSON object; it waits for a sync that runs.
///
/// Keys: `schema` (1), `version`, `service_name`, `series`, `cells`, `families` (each with name, kind,
/// number, help, unit, bounds, gauge_mode, series), `dropped` (nan, overflow), `plugins` as
/// tallyport_plugins_list, `events`, `collectors` as tallyport_collectors_list, `sync` (store, strategy,
/// cannot, interval_ms, identity, syncs, skipped, failures, last_success_ns, last_error, …), `export`
/// (scheduled; targets with name, enabled, next_run_ns, …; history, as tallyport_target_export
/// reports), `serve`, `load_failures`, `process`, `fork`.
///
/// Threads: any thread. Ownership: returns owned `buf` (free with tallyport_buf_free) and `err`.
/// Errors: NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_engine_status(
    engine: *const tallyport_engine,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| { call.fill_json(buf, || Ok(status(&call.engine(engine)?.engine))) })
}

/// What an engine is opened from.
struct Request<'a> {
    path: &'a Path,
    toml: Option<&'a str>,
    base_dir: &'a Path,
    service_name: Option<&'a str>,
    /// Series, series of a family, bytes of cells and of label values; 0: the configuration's.
    limits: [usize; 4],
    /// Seconds; 0: the configuration's, TALLYPORT_NONE: none.
    idle_timeout: u64,
    bounds: &'a [f64],
    cells: Option<Cells>,
    share: Option<ShareConfig>,
    /// Empty: the configuration's.
    arena: &'a Path,
    log: LogTo,
    log_level: i32,
}

impl Default for Request<'_> {
    fn default() -> Self {
        Self {
            path: Path::new(""),
            toml: None,
            base_dir: Path::new(""),
            service_name: None,
            limits: [0; 4],
            idle_timeout: 0,
            bounds: &[],
            cells: None,
            share: None,
            arena: Path::new(""),
            log: LogTo::Nobody,
            log_level: 0,
        }
    }
}

impl Request<'_> {
    fn config(&self) -> Result<Config, Error> {
        let file = !self.path.as_os_str().is_empty();
        let mut config = match self.toml {
            Some(_) if file => {
                let message = "`config_toml` and `config_path` are both set; one of them is enough";
                return Err(Error::invalid("options.config_toml", message));
            }
            Some(text) => Config::parse(text, "config_toml", self.base_dir)?,
            None if file => Config::load(self.path)?,
            None => Config { base_dir: PathBuf::from(self.base_dir), ..Config::default() },
        };
        let [series, per_family, cell_bytes, label_bytes] = self.limits;
        let limits = &mut config.limits;
        for (place, limit) in [
            (&mut limits.max_series, series),
            (&mut limits.max_series_per_family, per_family),
            (&mut limits.max_cell_bytes, cell_bytes),
            (&mut limits.max_label_bytes, label_bytes),
        ] {
            if limit != 0 {
                *place = limit;
            }
        }
        match self.idle_timeout {
            0 => {}
            never if never == u64::from(TALLYPORT_NONE) => limits.series_idle_timeout = 0,
            seconds => limits.series_idle_timeout = seconds,
        }
        if let Some(name) = self.service_name {
            config.service_name = name.to_owned();
        }
        if let Some(cells) = self.cells {
            config.recording.cells = cells.into();
        }
        let recording = &mut config.recording;
        let arena = Some(self.arena).filter(|path| !path.as_os_str().is_empty());
        match (self.share, arena) {
            (share, Some(path)) => {
                recording.share = share.unwrap_or(ShareConfig::File);
                recording.arena = Some(path.to_owned());
            }
            (Some(share), None) => {
                recording.share = share;
                // The configuration's file, where another way to share is asked for in code.
                recording.arena = recording.arena.take().filter(|_| share == ShareConfig::File);
            }
            (None, None) => {}
        }
        if !self.bounds.is_empty() {
            config.histogram.default_bounds = self.bounds.to_vec();
        }
        Ok(config)
    }
}

/// What takes the messages of an engine with these options.
fn log_to(options: &tallyport_engine_options) -> Result<LogTo, Error> {
    match (LogFunction::of(options), options.log_ring.is_null()) {
        (Some(_), false) => {
            let message = "`log_fn` and `log_ring` are both set; messages go to one of them";
            Err(Error::invalid("options.log_ring", message))
        }
        (Some(function), true) => Ok(LogTo::Function(function)),
        (None, true) => Ok(LogTo::Nobody),
        (None, false) => log_ring::lookup("options.log_ring", options.log_ring).map(LogTo::Ring),
    }
}

fn open(request: Request<'_>, out: Out<'_, *mut tallyport_engine>) -> Result<(), Error> {
    let config = request.config()?;
    let dispatch = log::dispatch(request.log, request.log_level, config.log.level);
    let build = || Engine::builder().config(config).linked(&EXPORTERS).build();
    let engine = tracing::dispatcher::with_default(&dispatch, build)?;
    let state = EngineState {
        engine: Mutex::new(Some(engine)),
        logs: AtomicBool::new(!dispatch.is::<NoSubscriber>()),
        dispatch,
        poisoned: AtomicBool::new(false),
    };
    out.set(handles::give("engine", Object::Engine(Arc::new(state)))?);
    Ok(())
}

fn status(engine: &Engine) -> Value {
    let metrics = engine.metrics();
    let families: Vec<Value> = metrics
        .families()
        .into_iter()
        .map(|family| {
            json!({
                "name": family.name,
                "kind": kind(family.kind),
                "number": number(family.number),
                "help": family.help,
                "unit": family.unit,
                "bounds": family.bounds,
                "gauge_mode": (family.kind == Kind::Gauge).then(|| gauge_mode(family.mode)),
                "series": family.series,
            })
        })
        .collect();
    let failures: Vec<Value> = engine
        .load_failures()
        .iter()
        .map(|failure| {
            json!({
                "plugin": failure.plugin,
                "status": failure.error.kind().status(),
                "message": failure.error.to_string(),
                "field": failure.error.field(),
            })
        })
        .collect();
    let dropped = metrics.dropped();
    let (live, waiting) = handles::counts();
    let forks = forks();
    json!({
        "schema": 1,
        "version": env!("CARGO_PKG_VERSION"),
        "service_name": engine.config().service_name,
        "series": metrics.series_count(),
        "cells": match metrics.cells() {
            Cells::PerCpu => "percpu",
            Cells::Shared => "shared",
        },
        "families": families,
        "dropped": { "nan": dropped.nan, "overflow": dropped.overflow },
        "plugins": plugin::list(engine),
        "events": {
            "subscribers": engine.events().subscribers().len(),
            "handlers": engine.events().handlers().len(),
            "too_deep": engine.events().too_deep(),
        },
        "collectors": collector::list(engine),
        "sync": sync::status(engine),
        "export": target::status(engine),
        "serve": serve::status(engine),
        "load_failures": failures,
        "process": {
            "handles": live,
            "freed_handles_waiting": waiting,
            "misuse": handles::misuse(),
        },
        "fork": {
            "announced": forks.closed,
            "late": forks.late,
            "reopened": forks.reopened,
        },
    })
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::UpDownCounter => "up_down_counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

/// `null` for a gauge without one.
fn gauge_mode(mode: GaugeMode) -> Option<&'static str> {
    Some(mode.name()).filter(|_| mode != GaugeMode::Undeclared)
}

fn number(number: Number) -> &'static str {
    match number {
        Number::F64 => "f64",
        Number::U64 => "u64",
        Number::I64 => "i64",
    }
}
