//! `tallyport sync`: publishes an arena file to the store of the configuration, from outside.
//!
//! It joins the processes that have the arena, as one of them: whose turn it is, and how far the last
//! publisher was, lies in the file.

use std::path::{self, PathBuf};

use clap::Args;
use serde::Serialize;
use tallyport_core::{
    engine::{
        Engine,
        config::{ShareConfig, StoreKind},
    },
    metrics::ArenaFile,
    model::{Error, ErrorKind},
    sync::Synced,
};

use crate::{
    console::Console,
    engine::ConfigArg,
    exit::{Exit, Failure},
    report::{self, Report},
};

const HELP: &str = "\
Examples:
  tallyport sync --arena /run/shop/metrics.arena --config tallyport.toml
  tallyport sync --config tallyport.toml --report json

Hosts sync themselves: tallyport_sync, or a thread of tallyport_sync_start. This command publishes
for hosts that do not, and for arenas whose processes ended. It may run beside them: one process of
an arena publishes at a time, and nothing is counted twice.";

/// The flags of `sync`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct SyncArgs {
    /// Arena file that processes record into [default: `arena` of the configuration]
    #[arg(long, value_name = "FILE")]
    arena: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
    /// End with 6 where another process was publishing, instead of 0
    #[arg(long)]
    fail_on_skip: bool,
    /// Say what was published; json: one object, with its version in `schema`
    #[arg(long, value_enum, value_name = "KIND")]
    report: Option<Report>,
}

/// The report of a sync; its keys never change their meaning.
#[derive(Serialize)]
struct Published<'a> {
    schema: &'static str,
    arena: &'a str,
    series: u64,
    bytes: u64,
    retired_instances: u64,
    /// The process that was publishing; nothing was sent then.
    skipped_for: Option<u32>,
}

/// Publishes.
pub(crate) fn run(args: &SyncArgs, console: Console) -> Result<(), Failure> {
    let mut config = args.config.load()?.unwrap_or_default();
    let of_config = Some(&config.recording).filter(|of| of.share == ShareConfig::File);
    let arena = args.arena.clone().or_else(|| of_config.and_then(|of| of.arena.clone()));
    let Some(arena) = arena else {
        let failure = Failure::usage("sync needs an arena file: hosts without one sync themselves");
        return Err(failure.hint(
            "name it with --arena FILE, or with share = \"file\" in [recording] of the configuration",
        ));
    };
    if matches!(config.store.kind, StoreKind::None | StoreKind::Null | StoreKind::File) {
        let failure = Failure::new(Exit::Config, "config", "no store that instances share");
        return Err(
            failure.hint("name one in [store]: kind = \"sqlite\", \"redis\" or \"memcached\"")
        );
    }
    // Before the engine, which would make a file that is not there.
    ArenaFile::read(&arena).map_err(|error| unreadable(&error))?;
    let arena = path::absolute(&arena).unwrap_or(arena);
    config.recording.share = ShareConfig::File;
    config.recording.arena = Some(arena.clone());
    // It only passes by: it runs no code of plugins, and leaves nothing behind.
    config.recording.self_metrics = false;
    config.plugins.clear();
    let engine = Engine::builder().config(config).build().map_err(|error| unreadable(&error))?;
    let done = engine.sync().map_err(|error| failed(&error))?;
    let name = arena.display().to_string();
    match args.report {
        None => {}
        Some(Report::Text) => console.note(sentence(&done, &name)),
        Some(Report::Json) => report::print_json(&Published {
            schema: "tallyport.sync/1",
            arena: &name,
            series: done.series,
            bytes: done.bytes,
            retired_instances: done.retirement.folded,
            skipped_for: done.skipped_for,
        })?,
    }
    match done.skipped_for {
        Some(_) if args.fail_on_skip => {
            Err(Failure::new(Exit::Skipped, "sync", sentence(&done, &name)))
        }
        _ => Ok(()),
    }
}

fn sentence(done: &Synced, arena: &str) -> String {
    match done.skipped_for {
        Some(process) => format!("process {process} was publishing `{arena}`: nothing was sent"),
        None => format!(
            "published `{arena}`: {} series that changed, {} bytes, {} ended instances retired",
            done.series, done.bytes, done.retirement.folded
        ),
    }
}

fn unreadable(error: &Error) -> Failure {
    Failure::new(Exit::State, "cannot open the arena", error)
}

fn failed(error: &Error) -> Failure {
    let exit = match error.kind() {
        ErrorKind::Timeout => Exit::Timeout,
        ErrorKind::Io | ErrorKind::Unavailable => Exit::Retry,
        ErrorKind::Damaged => Exit::State,
        ErrorKind::Unsupported | ErrorKind::InvalidArgument | ErrorKind::Config => Exit::Config,
        ErrorKind::Internal => Exit::Unexpected,
        _ => Exit::Failed,
    };
    Failure::new(exit, "sync", error)
}
