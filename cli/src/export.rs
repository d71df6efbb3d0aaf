//! `tallyport export`: a snapshot file, an arena, or what a store has, through an exporter to stdout or
//! a file; or the targets of the configuration.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use serde::Serialize;
use tallyport_core::{
    model::{Error, ErrorKind, SystemClock},
    plugin::Outcome,
    snapshot::{self, Snapshot},
};

use crate::{
    console::Console,
    engine::{ConfigArg, Opened},
    exit::{Exit, Failure},
    interrupt::Shift,
    output::Target,
    report::{self, Report},
    targets::{self, Lock, Wanted},
};

const USAGE: &str =
    "tallyport export <--from <FILE>|--arena <FILE>|--shared|--all|--target <NAME>> [OPTIONS]";

const HELP: &str = "\
Examples:
  tallyport export --from app.snap --format openmetrics
  tallyport export --arena /run/shop/metrics.arena --format prometheus
  tallyport export --from app.snap --format csv --config tallyport.toml
  tallyport export --from app.snap --format prometheus --output /var/lib/node/app.prom
  tallyport export --from app.snap --format json --output app.json --report json
  tallyport export --shared --config tallyport.toml --format prometheus
  tallyport export --all --config tallyport.toml --timeout 30s

A host saves a snapshot file with tallyport_snapshot_save(), and records into an arena file with
share = \"file\" in its [recording]: that one is read while it is used, and no process notices.
The file that --output names is replaced as a whole, by a rename, and keeps its mode; on a failure
it stays as it was.
A target of the configuration is tried once: the exit code says whether to come again. Where another
process has its lease nothing is done, and that is success (--lock, --fail-on-skip).
SIGINT and SIGTERM end it with 130 and 143: no lease and no unfinished file is left behind.
The report goes to stderr; as JSON it goes to stdout when the data goes to a file.";

/// The flags of `export`.
#[derive(Debug, Args)]
#[command(after_help = HELP, override_usage = USAGE)]
pub(crate) struct ExportArgs {
    /// Snapshot file that a host saved
    // It or the store, and the format, are required, by `run`: clap cannot say what they are.
    #[arg(long, value_name = "FILE", conflicts_with = "shared")]
    from: Option<PathBuf>,
    /// Arena file that processes record into
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "shared"])]
    arena: Option<PathBuf>,
    /// What all instances have that share the configuration's store
    #[arg(long)]
    shared: bool,
    /// A target of the configuration; may be given several times
    #[arg(short, long, value_name = "NAME", conflicts_with_all = ["from", "arena", "shared", "format", "output"])]
    target: Vec<String>,
    /// Every enabled target of the configuration
    #[arg(long, conflicts_with_all = ["from", "arena", "shared", "format", "output", "target"])]
    all: bool,
    /// Of targets: what to do while another process has the lease
    #[arg(long, value_enum, value_name = "HOW", default_value = "skip")]
    lock: Lock,
    /// Of targets: how long it may take, such as 30s; waiting included
    #[arg(long, value_name = "TIME", value_parser = targets::time)]
    timeout: Option<Duration>,
    /// Of targets: exit with 6 when one was skipped and none failed
    #[arg(long)]
    fail_on_skip: bool,
    /// What to write: an exporter's name, a format, or EXPORTER/FORMAT
    #[arg(short, long, value_name = "NAME")]
    format: Option<String>,
    #[command(flatten)]
    config: ConfigArg,
    /// File to write; `-` is stdout
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
    /// Say what was exported; json: one object, with its version in `schema`
    #[arg(long, value_enum, value_name = "KIND")]
    report: Option<Report>,
}

/// The report of an export; its keys never change their meaning.
#[derive(Serialize)]
struct Exported<'a> {
    schema: &'static str,
    exporter: &'a str,
    format: &'a str,
    content_type: &'a str,
    series: u64,
    bytes: u64,
    duration_ms: f64,
    output: String,
}

/// Exports; what is cheap to find wrong is found before any plugin runs.
pub(crate) fn run(args: &ExportArgs, console: Console, shift: &Shift) -> Result<(), Failure> {
    if args.all || !args.target.is_empty() {
        return run_targets(args, console, shift);
    }
    if args.timeout.is_some() || args.fail_on_skip || args.lock != Lock::Skip {
        let reason = "--lock, --timeout and --fail-on-skip are for targets: --target NAME, --all";
        return Err(Failure::usage(reason));
    }
    if args.from.is_none() && args.arena.is_none() && !args.shared {
        let failure = Failure::usage(
            "export needs a snapshot file, an arena or a store: --from FILE, --arena FILE, --shared; or \
             targets: --target NAME, --all",
        );
        return Err(failure.hint(
            "a host writes one with tallyport_snapshot_save(), the other with `share = \"file\"`",
        ));
    }
    let Some(format) = &args.format else {
        let failure = Failure::usage("export needs to know what to write: --format NAME");
        return Err(failure.hint("`tallyport plugins list` shows exporters and their formats"));
    };
    let config = args.config.load()?;
    let (read, what) = match (&args.from, &args.arena) {
        (Some(from), _) => (Some(snapshot::load(from)), "cannot read the snapshot"),
        (None, Some(arena)) => {
            let clock = Arc::new(SystemClock::default());
            (Some(snapshot::of_arena(arena, clock)), "cannot read the arena")
        }
        (None, None) => (None, ""),
    };
    let file = read.transpose().map_err(|error| Failure::new(Exit::State, what, error))?;
    let opened = Opened::new(config)?;
    opened.required()?;
    opened.check(format)?;
    opened.warn(console);
    let snapshot = match file {
        Some(snapshot) => snapshot,
        None => shared(&opened, console)?,
    };

    let target = Target::new(&args.output);
    let mut writer = target.open()?;
    if let Some(file) = writer.temporary() {
        shift.has_file(file);
    }
    let done = opened.engine.export_snapshot(&snapshot, format, &mut |bytes| {
        if shift.stop().is_stopped() {
            return Err(Error::new(ErrorKind::Cancelled, "it was told to end"));
        }
        writer.write(bytes)
    });
    let outcome = match done {
        Ok(outcome) => outcome,
        Err(error) => return Err(writer.abandon().unwrap_or_else(|| Failure::export(&error))),
    };
    writer.finish()?;
    match args.report {
        None => Ok(()),
        Some(Report::Text) => {
            console.note(sentence(&outcome, &target));
            Ok(())
        }
        Some(Report::Json) => json(&outcome, &target, console),
    }
}

/// Exports targets of the configuration.
fn run_targets(args: &ExportArgs, console: Console, shift: &Shift) -> Result<(), Failure> {
    let Some(config) = args.config.load()? else {
        return Err(Failure::usage("targets are in a configuration: --config FILE"));
    };
    let wanted = Wanted {
        names: &args.target,
        lock: args.lock,
        timeout: args.timeout,
        fail_on_skip: args.fail_on_skip,
        report: args.report,
    };
    targets::run(config, &wanted, console, shift)
}

/// Reads what all instances have, as somebody who only looks.
fn shared(opened: &Opened, console: Console) -> Result<Snapshot, Failure> {
    let all = opened.engine.read_shared().map_err(|error| {
        let exit = match error.kind() {
            ErrorKind::Timeout => Exit::Timeout,
            ErrorKind::Unsupported | ErrorKind::InvalidArgument | ErrorKind::Config => Exit::Config,
            _ => Exit::State,
        };
        Failure::new(exit, "cannot read the store", error)
    })?;
    let notices = all.overview.unwrap_or_default();
    for conflict in &notices.conflicts {
        let (family, shown_as) = (&conflict.family, conflict.shown_as.join(", "));
        console.warn(format!("instances disagree on what `{family}` is; shown apart: {shown_as}"));
    }
    for family in &notices.undeclared {
        console.warn(format!("gauge `{family}` of several instances has no [sync.gauge_modes]"));
    }
    if notices.damaged > 0 {
        console.warn(format!("{} series of the store are damaged", notices.damaged));
    }
    Ok(all.snapshot)
}

fn sentence(outcome: &Outcome, target: &Target) -> String {
    let Outcome { exporter, format, content_type, series, bytes, duration } = outcome;
    let output = match target {
        Target::Stdout => "stdout".to_owned(),
        Target::File(_) => format!("`{}`", target.name()),
    };
    format!(
        "exported {series} series by `{exporter}` as {format} ({content_type}): \
         {bytes} bytes to {output} in {duration:.1?}"
    )
}

fn json(outcome: &Outcome, target: &Target, console: Console) -> Result<(), Failure> {
    let report = Exported {
        schema: "tallyport.export/1",
        exporter: &outcome.exporter,
        format: &outcome.format,
        content_type: &outcome.content_type,
        series: outcome.series,
        bytes: outcome.bytes,
        duration_ms: outcome.duration.as_secs_f64() * 1e3,
        output: target.name(),
    };
    match target {
        Target::File(_) => report::print_json(&report),
        Target::Stdout => {
            console.data(&report::json(&report)?);
            Ok(())
        }
    }
}
