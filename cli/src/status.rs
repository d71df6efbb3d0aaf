//! `tallyport status`: how an arena, a store and the targets stand, for people and programs. It only
//! looks: an arena is read and never mapped, no instance is registered or retired, no lease is taken.

mod targets;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use tallyport_core::{
    engine::{
        Engine,
        config::{Config, ShareConfig, StoreKind},
    },
    metrics::ArenaFile,
    model::{Error, ErrorKind},
    sync::Member,
};

use self::targets::{Target, targets};
use crate::{
    arena::{Arena, used_by},
    console::Console,
    engine::{ConfigArg, Opened},
    exit::{Exit, Failure},
    report::{self, Report},
};

const HELP: &str = "\
Examples:
  tallyport status --config tallyport.toml
  tallyport status --arena /run/shop/metrics.arena
  tallyport status --config tallyport.toml --report json

Of each target it shows who has its lease, what the last run did by whichever process, and when a
schedule runs it next. What each line means is in docs/OPERATIONS.md. It ends with 7 when the arena or the store cannot be
read (8: not in time); the report is printed all the same.";

/// The flags of `status`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Arena file [default: recording.arena]
    #[arg(long, value_name = "FILE")]
    arena: Option<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    report: Report,
}

/// The report; its keys never change their meaning.
#[derive(Serialize)]
struct Status {
    schema: &'static str,
    service_name: String,
    /// The configuration file; absent: none.
    config: Option<String>,
    /// Absent: none is configured or named.
    arena: Option<ArenaStatus>,
    store: StoreStatus,
    /// What is exported, by name.
    targets: Vec<Target>,
}

/// What an arena says, or why it cannot be read.
#[derive(Serialize)]
struct ArenaStatus {
    path: PathBuf,
    error: Option<String>,
    state: Option<Arena>,
}

#[derive(Serialize)]
struct StoreStatus {
    kind: &'static str,
    strategy: &'static str,
    /// False: the strategy is what is expected of such a store, which was not asked.
    probed: bool,
    /// What the store, used so, cannot do.
    cannot: Option<&'static str>,
    /// Why it cannot be read.
    error: Option<String>,
    instances: Vec<Instance>,
}

#[derive(Serialize)]
struct Instance {
    id: String,
    name: String,
    series: u64,
    /// False: its lease has ended, and the next one that syncs retires it.
    alive: bool,
}

impl From<Member> for Instance {
    fn from(member: Member) -> Self {
        let Member { id, name, expired, series } = member;
        Self { id: id.to_string(), name, series, alive: !expired }
    }
}

/// Looks, reports, and fails where something could not be read.
pub(crate) fn run(args: &StatusArgs, console: Console) -> Result<(), Failure> {
    let config = args.config.load()?;
    if config.is_none() && args.arena.is_none() {
        let failure = Failure::usage("status needs to know of what: --config FILE or --arena FILE");
        return Err(failure.hint("a configuration names an arena, a store and what is exported"));
    }
    let config = config.unwrap_or_default();
    let path = args.arena.clone().or_else(|| config.recording.arena.clone());
    let mut failures = Vec::new();
    let arena = path.map(|path| match ArenaFile::read(&path) {
        Ok(file) => ArenaStatus { path, error: None, state: Some(file.into()) },
        Err(error) => {
            let error = keep(&mut failures, "cannot read the arena", error);
            ArenaStatus { path, error: Some(error), state: None }
        }
    });
    let service_name = config.service_name.clone();
    let origin = config.source.origin().to_owned();
    let made = absent(&config);
    let engine = looking(config)?;
    let store = store(&engine, made, &mut failures);
    let readable = arena.as_ref().filter(|arena| arena.error.is_none()).map(|arena| &*arena.path);
    let targets = targets(&engine, readable, store.error.is_none()).unwrap_or_else(|error| {
        keep(&mut failures, "cannot read how the targets stand", error);
        targets::unasked(&engine)
    });
    let status = Status {
        schema: "tallyport.status/1",
        service_name,
        config: Some(origin).filter(|origin| !origin.is_empty()),
        arena,
        store,
        targets,
    };
    match args.report {
        Report::Json => report::print_json(&status)?,
        Report::Text => report::print(&report::table(&rows(&status)))?,
    }
    let mut failures = failures.into_iter();
    let first = failures.next();
    failures.for_each(|failure| console.warn(failure.message));
    first.map_or(Ok(()), Err)
}

/// Notes why something could not be read; returns the sentence.
fn keep(failures: &mut Vec<Failure>, what: &str, error: Error) -> String {
    let exit = if error.kind() == ErrorKind::Timeout { Exit::Timeout } else { Exit::State };
    let sentence = error.to_string();
    failures.push(Failure::new(exit, what, error));
    sentence
}

/// An engine that looks: it records nowhere, and needs no exporter.
fn looking(mut config: Config) -> Result<Engine, Failure> {
    config.recording.share = ShareConfig::Auto;
    config.recording.arena = None;
    config.plugins.clear();
    Ok(Opened::new(Some(config))?.engine)
}

fn store(engine: &Engine, made: Result<(), Error>, failures: &mut Vec<Failure>) -> StoreStatus {
    let shared = engine.sync_status().strategy.is_shared();
    let members = if shared { made.and_then(|()| engine.members()) } else { Ok(Vec::new()) };
    let (instances, error) = match members {
        Ok(members) => (members.into_iter().map(Instance::from).collect(), None),
        Err(error) => (Vec::new(), Some(keep(failures, "cannot read the store", error))),
    };
    // After it was asked, if it was.
    let known = engine.sync_status();
    StoreStatus {
        kind: known.store,
        strategy: known.strategy.name(),
        probed: known.probed,
        cannot: known.cannot,
        error,
        instances,
    }
}

/// Whether the store would be made by looking at it.
fn absent(config: &Config) -> Result<(), Error> {
    if config.store.kind != StoreKind::Sqlite {
        return Ok(());
    }
    let path = config.base_dir.join(config.store.path.clone().unwrap_or_default());
    let there = path.symlink_metadata().map(drop);
    there.map_err(|error| Error::io(format_args!("store `{}`", path.display()), &error))
}

fn rows(status: &Status) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
    if !status.service_name.is_empty() {
        row("service", status.service_name.clone());
    }
    if let Some(config) = &status.config {
        row("configuration", config.clone());
    }
    match &status.arena {
        None => row("arena", "none".to_owned()),
        Some(ArenaStatus { path, error, state }) => {
            row("arena", path.display().to_string());
            if let Some(error) = error {
                row("  error", error.clone());
            }
            if let Some(arena) = state {
                row("  used by", used_by(&arena.processes, arena.this_boot));
                row("  series", arena.series.to_string());
                row("  bytes of cells", arena.cell_bytes.to_string());
                row("  bytes of label values", arena.label_bytes.to_string());
                row("  bytes on disk", arena.disk_bytes.to_string());
            }
        }
    }
    let store = &status.store;
    row("store", store.kind.to_owned());
    row("  strategy", store.strategy.to_owned());
    if let Some(sentence) = store.cannot {
        row("  cannot", sentence.to_owned());
    }
    if let Some(error) = &store.error {
        row("  error", error.clone());
    }
    for instance in &store.instances {
        let Instance { id, name, series, alive } = instance;
        let state = if *alive { "alive" } else { "ended: to be retired by the next sync" };
        row("  instance", format!("{name} ({id}): {series} series, {state}"));
    }
    rows.extend(targets::rows(&status.targets));
    rows
}
