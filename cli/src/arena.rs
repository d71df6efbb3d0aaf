//! `tallyport arena`: looks at arena files, and removes those that nobody has.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use serde::Serialize;
use tallyport_core::{
    metrics::ArenaFile,
    model::{Error, ErrorKind},
};

use crate::{
    console::Console,
    exit::{Exit, Failure},
    report::{self, Report},
};

const LS_HELP: &str = "\
Examples:
  tallyport arena ls /run/shop
  tallyport arena ls /run/shop --report json

Files are read and never mapped, so a damaged one does no harm. What is no arena is passed over.";

const INSPECT_HELP: &str = "\
Examples:
  tallyport arena inspect /run/shop/metrics.arena
  tallyport export --arena /run/shop/metrics.arena --format prometheus";

const GC_HELP: &str = "\
Examples:
  tallyport arena gc /run/shop --dry-run
  tallyport arena gc /run/shop --ended

An arena that was made before the last boot cannot be used again: it is removed. With --ended so is
one whose processes all ended, and its totals with it. One that a process has is never removed.";

/// The verbs of `arena`.
#[derive(Debug, Subcommand)]
pub(crate) enum ArenaVerb {
    /// List the arenas of a folder, with who has them
    #[command(after_help = LS_HELP)]
    Ls(LsArgs),
    /// Show what one arena holds
    #[command(after_help = INSPECT_HELP)]
    Inspect(InspectArgs),
    /// Remove the arenas of a folder that no process has
    #[command(after_help = GC_HELP)]
    Gc(GcArgs),
}

/// The flags of `arena ls`.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// Folder to look in
    folder: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    report: Report,
}

/// The flags of `arena inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Arena file
    file: PathBuf,
    /// How to print the result
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    report: Report,
}

/// The flags of `arena gc`.
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    /// Folder to look in
    folder: PathBuf,
    /// Remove those of this boot as well whose processes all ended
    #[arg(long)]
    ended: bool,
    /// Say what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// How to print the result
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    report: Report,
}

/// An arena; the keys never change their meaning.
#[derive(Serialize)]
pub(crate) struct Arena {
    path: PathBuf,
    /// 32 hexadecimal digits.
    id: String,
    layout_version: u64,
    created_unix_ns: u64,
    pub(crate) this_boot: bool,
    pub(crate) processes: Vec<u32>,
    joined: u64,
    pub(crate) series: u64,
    pub(crate) cell_bytes: u64,
    pub(crate) label_bytes: u64,
    pub(crate) disk_bytes: u64,
}

impl From<ArenaFile> for Arena {
    fn from(file: ArenaFile) -> Self {
        Self {
            path: file.path,
            id: format!("{:032x}", file.id),
            layout_version: file.layout_version,
            created_unix_ns: file.created_ns,
            this_boot: file.this_boot,
            processes: file.processes,
            joined: file.joined,
            series: file.series,
            cell_bytes: file.cell_bytes,
            label_bytes: file.label_bytes,
            disk_bytes: file.disk_bytes,
        }
    }
}

/// The result of `arena ls`; the keys never change their meaning.
#[derive(Serialize)]
struct Listed {
    schema: &'static str,
    arenas: Vec<Arena>,
    problems: Vec<String>,
}

/// The result of `arena inspect`.
#[derive(Serialize)]
struct Inspected {
    schema: &'static str,
    #[serde(flatten)]
    arena: Arena,
}

/// The result of `arena gc`.
#[derive(Serialize)]
struct Removed {
    schema: &'static str,
    dry_run: bool,
    removed: Vec<PathBuf>,
    kept: Vec<PathBuf>,
}

/// Runs a verb.
pub(crate) fn run(verb: &ArenaVerb, console: Console) -> Result<(), Failure> {
    match verb {
        ArenaVerb::Ls(args) => list(args, console),
        ArenaVerb::Inspect(args) => inspect(args),
        ArenaVerb::Gc(args) => collect(args, console),
    }
}

/// The arenas of a folder, by path, and what was wrong with files that look like some.
fn arenas(folder: &Path) -> Result<(Vec<ArenaFile>, Vec<Error>), Failure> {
    let unreadable = |error: std::io::Error| {
        let what = format!("`{}`: {error}", folder.display());
        Failure::new(Exit::State, "cannot read the folder", what)
    };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(unreadable)?.path());
    }
    paths.sort();
    let (mut arenas, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        match ArenaFile::read(path) {
            Ok(arena) => arenas.push(arena),
            // Of another version, or unreadable. What is damaged is mostly no arena at all.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::Io) => {
                problems.push(error);
            }
            Err(_) => {}
        }
    }
    Ok((arenas, problems))
}

/// Who has an arena, in words.
pub(crate) fn used_by(processes: &[u32], this_boot: bool) -> String {
    match processes.len() {
        0 if !this_boot => "of an earlier boot or another machine".to_owned(),
        0 => "nobody".to_owned(),
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    }
}

fn list(args: &LsArgs, console: Console) -> Result<(), Failure> {
    let (arenas, problems) = arenas(&args.folder)?;
    if args.report == Report::Json {
        return report::print_json(&Listed {
            schema: "tallyport.arenas/1",
            arenas: arenas.into_iter().map(Arena::from).collect(),
            problems: problems.iter().map(ToString::to_string).collect(),
        });
    }
    problems.iter().for_each(|problem| console.warn(problem));
    let mut rows = vec![["PATH", "SERIES", "BYTES", "USED BY"].map(str::to_owned).to_vec()];
    rows.extend(arenas.iter().map(|arena| {
        vec![
            arena.path.display().to_string(),
            arena.series.to_string(),
            arena.disk_bytes.to_string(),
            used_by(&arena.processes, arena.this_boot),
        ]
    }));
    report::print(&report::table(&rows))
}

fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let arena = ArenaFile::read(&args.file)
        .map_err(|error| Failure::new(Exit::State, "cannot read the arena", error))?;
    if args.report == Report::Json {
        let arena = Arena::from(arena);
        return report::print_json(&Inspected { schema: "tallyport.arena/1", arena });
    }
    let pids: Vec<String> = arena.processes.iter().map(ToString::to_string).collect();
    let pids = if pids.is_empty() { String::new() } else { format!(": {}", pids.join(", ")) };
    let rows = [
        ("path", arena.path.display().to_string()),
        ("id", format!("{:032x}", arena.id)),
        ("layout version", arena.layout_version.to_string()),
        ("used by", used_by(&arena.processes, arena.this_boot) + &pids),
        ("processes so far", arena.joined.to_string()),
        ("series", arena.series.to_string()),
        ("bytes of cells", arena.cell_bytes.to_string()),
        ("bytes of label values", arena.label_bytes.to_string()),
        ("bytes on disk", arena.disk_bytes.to_string()),
    ];
    let rows: Vec<_> = rows.map(|(name, value)| vec![name.to_owned(), value]).to_vec();
    report::print(&report::table(&rows))
}

fn collect(args: &GcArgs, console: Console) -> Result<(), Failure> {
    let (arenas, problems) = arenas(&args.folder)?;
    problems.iter().for_each(|problem| console.warn(problem));
    let (mut removed, mut kept) = (Vec::new(), Vec::new());
    for arena in arenas {
        let useless = !arena.this_boot || args.ended;
        if !useless || !arena.processes.is_empty() {
            kept.push(arena.path);
        } else if args.dry_run {
            removed.push(arena.path);
        } else {
            match arena.remove() {
                Ok(()) => removed.push(arena.path),
                Err(error) => {
                    console.warn(error);
                    kept.push(arena.path);
                }
            }
        }
    }
    if args.report == Report::Json {
        let dry_run = args.dry_run;
        return report::print_json(&Removed {
            schema: "tallyport.arena-gc/1",
            dry_run,
            removed,
            kept,
        });
    }
    let verb = if args.dry_run { "would remove" } else { "removed" };
    let lines = removed.iter().map(|path| format!("{verb} {}\n", path.display()));
    let kept = kept.iter().map(|path| format!("kept {}\n", path.display()));
    report::print(&lines.chain(kept).collect::<String>())
}
