//! Four threads record, two export, one loads and unregisters plugins, one listens to events by turns;
//! the totals are exact.
//!
//! With `--shared-cells` all cells are shared: per-CPU ones are added to in assembly, which a
//! sanitizer does not see. A program of its own, so that ThreadSanitizer and other tools can run it:
//! `stress --seconds 10 --plugin libx.so [--plugin liby.so@exporter]`. With `--planted-race` it also makes
//! a data race, to show that the tool that runs it is on. Exit code 1 says what was not exact.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a program

use std::{
    collections::HashMap,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
    time::{Duration, Instant},
};

use tallyport_core::{
    engine::{
        Engine,
        config::{CellsConfig, Config, PluginConfig, RunConfig},
    },
    event::{Listen, QueueLimits, Subscription},
    model::{Error, ErrorKind, Value},
};

mod race;

const RECORDERS: usize = 4;
const EXPORTERS: usize = 2;
/// Label values of series that come and go.
const PASSING: &str = "passing-";
const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Default)]
struct Options {
    seconds: u64,
    plugins: Vec<PluginConfig>,
    shared_cells: bool,
    planted_race: bool,
}

fn options() -> Result<Options, String> {
    let mut options = Options { seconds: 10, ..Options::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--seconds" => options.seconds = value()?.parse().map_err(|e| format!("{e}"))?,
            "--plugin" => options.plugins.push(plugin(&value()?)),
            "--shared-cells" => options.shared_cells = true,
            "--planted-race" => options.planted_race = true,
            other => return Err(format!("unknown argument {other}")),
        }
    }
    // Each once on its callers' threads and once on a thread of its own.
    let run = RunConfig { deadline_ms: Some(600_000), queue: 64, ..RunConfig::default() };
    let on_worker = |plugin: &PluginConfig| PluginConfig { run: run.clone(), ..plugin.clone() };
    let on_workers: Vec<_> = options.plugins.iter().map(on_worker).collect();
    options.plugins.extend(on_workers);
    if options.plugins.is_empty() && !options.planted_race {
        return Err("--plugin FILE is needed".into());
    }
    Ok(options)
}

/// `FILE` or `FILE@EXPORTER`.
fn plugin(argument: &str) -> PluginConfig {
    let (path, exporter) = match argument.split_once('@') {
        Some((path, exporter)) => (path, Some(exporter.to_owned())),
        None => (argument, None),
    };
    PluginConfig { path: Some(path.into()), exporter, ..PluginConfig::default() }
}

/// What one thread recorded, by key.
type Counts = HashMap<&'static str, u64>;

fn record(engine: &Engine, thread: usize, stop: &AtomicBool) -> Result<Counts, Error> {
    let metrics = engine.metrics();
    let held = metrics.counter("held_total", &[])?;
    let looked_up = metrics.counter_family("looked_up_total", &["key"])?;
    let mut counts = Counts::new();
    for round in thread.. {
        if stop.load(Acquire) {
            break;
        }
        let Some(key) = KEYS.get(round % KEYS.len()) else { continue };
        held.inc();
        if round % 2 == 0 {
            looked_up.inc(&[key])?;
        } else {
            metrics.counter("looked_up_total", &[("key", key)])?.inc();
        }
        metrics.histogram("sizes", &[1.0, 2.0, 4.0], &[("key", key)])?.observe((round % 6) as f64);
        metrics.gauge("last", &[("key", key)])?.set(round as f64);
        *counts.entry(*key).or_default() += 1;
        // Series that come and go in the same table, looked up while another thread takes them out
        // and their rows become other series.
        if round % 20 == 0 {
            looked_up.add(&[&format!("{PASSING}{}", round % 331)], 1 << 40)?;
            let other = format!("{PASSING}{}", round * 7 % 331);
            match metrics.remove("looked_up_total", &[("key", &other)]) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(counts)
}

fn export(engine: &Engine, stop: &AtomicBool, exports: &AtomicU64) -> Result<(), String> {
    while !stop.load(Acquire) {
        for plugin in engine.plugins().list() {
            let mut bytes = 0_usize;
            let done = engine.export(&plugin.name, &mut |chunk| {
                bytes += chunk.len();
                Ok(())
            });
            match done {
                Ok(outcome) if bytes as u64 == outcome.bytes && bytes > 0 => {
                    exports.fetch_add(1, Relaxed);
                }
                Ok(outcome) => return Err(format!("{outcome:?} wrote {bytes} bytes")),
                // Unregistered between the list and the export.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(format!("{}: {error}", plugin.name)),
            }
        }
    }
    Ok(())
}

fn load(engine: &Engine, plugins: &[PluginConfig], stop: &AtomicBool) -> Result<u64, Error> {
    let mut loads = 0;
    while !stop.load(Acquire) {
        for (index, plugin) in plugins.iter().enumerate() {
            let name = format!("loaded{index}");
            engine.load_plugin(&name, plugin)?;
            engine.replace_plugin(&name, plugin)?;
            engine.plugins().unregister(&name)?;
            loads += 1;
        }
    }
    Ok(loads)
}

/// Counts the events that `pattern` means.
fn count(engine: &Engine, pattern: &str) -> Result<(Subscription, Arc<AtomicU64>), Error> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let subscription = engine.events().subscribe(Listen::to(&[pattern]), move |_| {
        counter.fetch_add(1, Relaxed);
        Ok(())
    })?;
    Ok((subscription, count))
}

/// Subscribes and ends again, while the others publish.
fn listen(engine: &Engine, stop: &AtomicBool) -> Result<u64, Error> {
    let mut heard = 0;
    while !stop.load(Acquire) {
        let (called, count) = count(engine, "export.*")?;
        let queue = engine.events().subscribe_queued(Listen::to(&["*"]), QueueLimits::default())?;
        heard += u64::from(queue.next(Duration::from_millis(20)).is_ok());
        called.end();
        // No call runs any more, so the count stands.
        let ended = count.load(Relaxed);
        heard += ended;
        drop(queue);
        if count.load(Relaxed) != ended {
            let message = "a function was called after its subscription ended";
            return Err(Error::new(ErrorKind::Internal, message));
        }
    }
    Ok(heard)
}

/// Compares the engine's totals with what the threads recorded.
fn check(engine: &Engine, recorded: &Counts) -> Result<(), String> {
    let snapshot = engine.snapshot().map_err(|e| e.to_string())?;
    let differences = snapshot.read(|view| {
        let mut differences = Vec::new();
        let mut differs = |what: String, have: u64, want: u64| {
            if have != want {
                differences.push(format!("{what}: {have}, recorded {want}"));
            }
        };
        for family in view.families() {
            for series in family.series() {
                let key = series.labels().next().map_or("", |(_, value)| value);
                let want = recorded.get(key).copied().unwrap_or(0);
                match (family.name(), series.value(), series.histogram()) {
                    ("held_total", Value::U64(have), _) => {
                        differs("held_total".into(), have, recorded.values().sum());
                    }
                    ("looked_up_total", Value::U64(have), _) if key.starts_with(PASSING) => {
                        differs(format!("low bits of {key}"), have % (1 << 40), 0);
                    }
                    ("looked_up_total", Value::U64(have), _) => differs(key.into(), have, want),
                    ("sizes", _, Some(sizes)) => {
                        differs(format!("sizes {key}"), sizes.count, want);
                        differs(format!("buckets {key}"), sizes.buckets.iter().sum(), want);
                    }
                    _ => {}
                }
            }
        }
        Ok::<_, tallyport_plugin_api::Error>(differences)
    });
    let differences = differences.map_err(|e| e.to_string())?;
    if differences.is_empty() { Ok(()) } else { Err(differences.join("\n")) }
}

fn run(options: &Options) -> Result<String, String> {
    let mut config = Config::default();
    if options.shared_cells {
        config.recording.cells = CellsConfig::Shared;
    }
    let engine = Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS);
    let engine = engine.config(config).build().map_err(|e| e.to_string())?;
    let (stop, exports) = (AtomicBool::new(false), AtomicU64::new(0));
    let (_completed, completed) = count(&engine, "export.completed").map_err(|e| e.to_string())?;
    let mut recorded = Counts::new();
    let mut failures = Vec::new();
    let (mut loads, mut heard) = (0, 0);
    thread::scope(|scope| {
        let recorders: Vec<_> = (0..RECORDERS)
            .map(|thread| {
                scope.spawn({
                    let (e, s) = (&engine, &stop);
                    move || record(e, thread, s)
                })
            })
            .collect();
        let exporters: Vec<_> =
            (0..EXPORTERS).map(|_| scope.spawn(|| export(&engine, &stop, &exports))).collect();
        let loader = scope.spawn(|| load(&engine, &options.plugins, &stop));
        let listener = scope.spawn(|| listen(&engine, &stop));
        let end = Instant::now() + Duration::from_secs(options.seconds);
        while Instant::now() < end && !loader.is_finished() {
            thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Release);
        for recorder in recorders {
            match recorder.join() {
                Ok(Ok(counts)) => {
                    for (key, count) in counts {
                        *recorded.entry(key).or_default() += count;
                    }
                }
                other => failures.push(format!("recorder: {other:?}")),
            }
        }
        for exporter in exporters {
            match exporter.join() {
                Ok(Ok(())) => {}
                other => failures.push(format!("exporter: {other:?}")),
            }
        }
        match loader.join() {
            Ok(Ok(done)) => loads = done,
            other => failures.push(format!("loader: {other:?}")),
        }
        match listener.join() {
            Ok(Ok(events)) => heard = events,
            other => failures.push(format!("listener: {other:?}")),
        }
    });
    if let Err(differences) = check(&engine, &recorded) {
        failures.push(differences);
    }
    let (exports, records) = (exports.load(Relaxed), recorded.values().sum::<u64>());
    let completed = completed.load(Relaxed);
    if completed != exports {
        failures.push(format!("{completed} events of {exports} exports"));
    }
    if [exports, loads, records, heard].contains(&0) {
        failures.push(format!(
            "too little happened: {exports} exports, {loads} loads, {heard} events heard"
        ));
    }
    if failures.is_empty() {
        Ok(format!(
            "exact: {records} rounds recorded, {exports} exports, {loads} loads, {heard} events"
        ))
    } else {
        Err(failures.join("\n"))
    }
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(message) => {
            eprintln!("stress: {message}");
            return ExitCode::from(2);
        }
    };
    if options.planted_race {
        race::plant();
        return ExitCode::SUCCESS;
    }
    match run(&options) {
        Ok(said) => {
            println!("{said}");
            ExitCode::SUCCESS
        }
        Err(said) => {
            eprintln!("stress: {said}");
            ExitCode::FAILURE
        }
    }
}
