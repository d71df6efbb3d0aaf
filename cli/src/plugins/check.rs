//! `tallyport plugins check`: the conformance kit for people, and the process of one case.

use std::{
    env,
    ffi::OsString,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Duration,
};

use clap::{Args, builder::NonEmptyStringValueParser};
use serde::Serialize;
use tallyport_kit::{CaseReport, Check, CheckError, ChildArgs, FileReport, Verdict, run_child};

use crate::{
    console::Console,
    exit::{Exit, Failure},
    report::{self, Report},
};

pub(super) const HELP: &str = "\
Examples:
  tallyport plugins check ./libstatsd_lines.so
  tallyport plugins check ./libmany.so@statsd --options '{\"prefix\": \"app.\"}'
  tallyport plugins check ./libstatsd_lines.so --case short-sink --seed 17
  tallyport plugins check --list

Each case runs in a process of its own, which is killed at its time limit. The file may lie in a
build tree: its owner and mode are not looked at, which hosts do.
Exit codes: 0 every promise is kept, 9 a case failed or no host would load the file.";

/// The verb that the kit starts for each case; not for people.
pub(super) const CASE_VERB: &str = "run-case";

/// The flags of `plugins check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Plugin file; with @ID only the exporter of that id
    #[arg(value_name = "FILE[@ID]", required_unless_present = "list")]
    what: Option<PathBuf>,
    /// Run this case only; may be given several times
    #[arg(long, value_name = "NAME")]
    case: Vec<String>,
    /// List the cases and what they promise
    #[arg(long)]
    list: bool,
    /// Options of the exporters, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    options: String,
    /// What random cases follow from; without it, another one each time
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Rounds of random cases
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,
    /// Series of the case `many-series`
    #[arg(long, value_name = "NUMBER", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=5_000_000))]
    series: u32,
    /// Time limit of a case in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Cases that run at the same time [default: one for each processor, at most 4]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// How to print the result
    #[arg(long, value_enum, value_name = "KIND", default_value = "text", alias = "format")]
    report: Report,
}

/// What the kit hands to the process of a case; the order is the kit's.
#[derive(Debug, Args)]
pub(crate) struct CaseArgs {
    file: PathBuf,
    // An id may begin with a hyphen.
    #[arg(allow_hyphen_values = true)]
    exporter: String,
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    case: String,
    seed: u64,
    series: u32,
    rounds: u32,
    options: String,
    result: PathBuf,
}

/// Runs one case in this process.
pub(crate) fn run_case(args: &CaseArgs) -> Result<(), Failure> {
    let written = run_child(&ChildArgs {
        file: args.file.clone(),
        exporter: args.exporter.clone(),
        case: args.case.clone(),
        seed: args.seed,
        series: args.series,
        rounds: args.rounds,
        options: args.options.clone(),
        result: args.result.clone(),
    });
    if written {
        return Ok(());
    }
    let reason = format!("`{}` cannot be written", args.result.display());
    Err(Failure::new(Exit::Unexpected, "the result of a case", reason))
}

/// The command, as the kit starts it again for each case.
pub(super) fn program() -> Result<Vec<OsString>, Failure> {
    let own = env::current_exe();
    let own = own.map_err(|e| Failure::new(Exit::Unexpected, "the command's own file", e))?;
    Ok(vec![own.into(), "plugins".into(), CASE_VERB.into()])
}

#[derive(Serialize)]
struct Listed {
    schema: &'static str,
    cases: Vec<ListedCase>,
}

#[derive(Serialize)]
struct ListedCase {
    name: &'static str,
    promise: &'static str,
}

fn list(report: Report) -> Result<(), Failure> {
    let cases = tallyport_kit::cases();
    match report {
        Report::Json => {
            let cases = cases.map(|(name, promise)| ListedCase { name, promise }).collect();
            report::print_json(&Listed { schema: "tallyport.plugin-cases/1", cases })
        }
        Report::Text => {
            let rows = cases.map(|(name, promise)| vec![name.to_owned(), promise.to_owned()]);
            report::print(&report::table(&rows.collect::<Vec<_>>()))
        }
    }
}

/// `FILE@ID` as a file and an id, unless there is a file of the whole name.
fn split(what: &Path) -> (PathBuf, Option<String>) {
    let text = what.to_str().filter(|_| !what.exists());
    match text.and_then(|text| text.rsplit_once('@')) {
        Some((file, id)) if !file.is_empty() && !id.is_empty() && !id.contains('/') => {
            (PathBuf::from(file), Some(id.to_owned()))
        }
        _ => (what.to_owned(), None),
    }
}

/// The options of the command line: a JSON object, or empty.
pub(super) fn options(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    if !text.is_empty() {
        let read: Result<serde_json::Map<String, serde_json::Value>, _> =
            serde_json::from_str(text);
        read.map_err(|e| Failure::usage(format_args!("--options is no JSON object: {e}")))?;
    }
    Ok(text.to_owned())
}

/// Checks.
pub(crate) fn run(args: &CheckArgs, console: Console) -> Result<(), Failure> {
    let Some(what) = args.what.as_ref().filter(|_| !args.list) else { return list(args.report) };
    let options = options(&args.options)?;
    let (file, exporter) = split(what);
    // Beside the command's own folder a relative path would mean another file in a case's process.
    let file = std::path::absolute(&file).unwrap_or(file);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let check = Check {
        file,
        exporter,
        cases: args.case.clone(),
        seed: args.seed.unwrap_or_else(|| RandomState::new().hash_one(0) >> 32),
        series: args.series,
        rounds: args.rounds,
        options,
        limit: Duration::from_secs(args.timeout),
        jobs: args.jobs.map_or(processors.min(4), usize::from),
        program: program()?,
    };
    let unprinted: Mutex<Option<Failure>> = Mutex::new(None);
    let last: Mutex<Option<String>> = Mutex::new(None);
    let say = |case: &CaseReport| {
        let mut text = line(case);
        if let (Some(id), Ok(mut last)) = (&case.exporter, last.lock())
            && last.as_ref() != Some(id)
        {
            text = format!("exporter {id}\n{text}");
            *last = Some(id.clone());
        }
        if args.report == Report::Text
            && let Err(failure) = report::print(&text)
            && let Ok(mut slot) = unprinted.lock()
        {
            slot.get_or_insert(failure);
        }
    };
    let done = check.run(&say).map_err(|error| match error {
        CheckError::Refused(text) => Failure::new(Exit::PluginRefused, "plugin refused", text),
        CheckError::Unknown(text) => {
            let failure = Failure::usage(text);
            failure.hint("`tallyport plugins check --list` and `plugins inspect` tell the names")
        }
        CheckError::Machine(text) => Failure::new(Exit::Unexpected, "check", text),
    })?;
    // A report that its reader never saw is no report.
    if let Some(failure) = unprinted.into_inner().unwrap_or(None) {
        return Err(failure);
    }
    match args.report {
        Report::Json => report::print_json(&done)?,
        Report::Text => {
            report::print(&summary(&done))?;
            for note in &done.notes {
                console.note(note);
            }
        }
    }
    verdict(&done)
}

fn line(case: &CaseReport) -> String {
    let word = match case.verdict {
        Verdict::Ok => "ok",
        Verdict::Failed => "FAILED",
        Verdict::Skipped => "skipped",
        Verdict::Broken => "BROKEN",
    };
    let text = match case.verdict {
        Verdict::Ok => case.promise.to_owned(),
        _ => crate::console::printable(&case.text, false).into_owned(),
    };
    let name = case.case;
    let mut out = format!("  {word:<8} {name:<16} {text} ({} ms)\n", case.milliseconds);
    if let Some(again) = &case.reproduce {
        out.push_str(&format!("           again: {again}\n"));
    }
    out
}

fn summary(done: &FileReport) -> String {
    let exporters: Vec<_> =
        done.exporters.iter().map(|one| format!("{} {}", one.id, one.version)).collect();
    let seconds = done.milliseconds as f64 / 1000.0;
    let broken = match done.broken {
        0 => String::new(),
        count => format!(", {count} that the kit could not run"),
    };
    format!(
        "{} {} ({}): {} passed, {} failed, {} skipped{broken} in {seconds:.1} s, seed {}",
        done.id,
        done.version,
        exporters.join(", "),
        done.passed,
        done.failed,
        done.skipped,
        done.seed
    )
}

fn verdict(done: &FileReport) -> Result<(), Failure> {
    let file = done.file.display();
    if done.failed > 0 {
        let count = done.failed;
        let word = if count == 1 { "case" } else { "cases" };
        let reason = format!("{count} {word} of {} failed", done.cases.len());
        return Err(Failure::new(Exit::PluginRefused, format_args!("plugin `{file}`"), reason));
    }
    if done.broken > 0 {
        let reason = format!("{} cases could not be run", done.broken);
        return Err(Failure::new(Exit::Unexpected, format_args!("plugin `{file}`"), reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exporter_is_named_after_the_last_at_sign_and_a_file_of_that_name_wins() {
        let of = |text: &str| split(Path::new(text));
        assert_eq!(of("a.so@b"), ("a.so".into(), Some("b".into())));
        assert_eq!(of("x@y/a.so"), ("x@y/a.so".into(), None));
        assert_eq!(of("x@y/a.so@b"), ("x@y/a.so".into(), Some("b".into())));
        assert_eq!(of("@b"), ("@b".into(), None));
        assert_eq!(of("a.so@"), ("a.so@".into(), None));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a@b");
        std::fs::write(&file, "").unwrap();
        assert_eq!(split(&file), (file, None));
    }
}
