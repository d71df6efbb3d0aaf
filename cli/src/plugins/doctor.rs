//! `tallyport plugins doctor`: each step from a path to a first export, with its time and verdict.
//!
//! What can be known without running the file's code is read here; its code runs in a process of
//! its own (the kit's probe).

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use serde::Serialize;
use tallyport_core::plugin::{Sha256, Trust, inspect_file};
use tallyport_kit::{Check, probe};

use super::{check, links::Links};
use crate::{
    exit::{Exit, Failure},
    report::{self, Report},
};

pub(super) const HELP: &str = "\
Examples:
  tallyport plugins doctor ./libstatsd_lines.so
  tallyport plugins doctor ./libstatsd_lines.so --options '{\"prefix\": \"app.\"}' --report json

The file's code runs in a process of its own, which is killed at the time limit.
Exit codes: 0 a host would load it (advice or not), 9 no host would.";

/// Names of a list that are shown.
const MOST_NAMES: usize = 8;

/// The flags of `plugins doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Plugin file
    file: PathBuf,
    /// Options of its exporters, as a JSON object
    #[arg(long, value_name = "JSON", default_value = "", hide_default_value = true)]
    options: String,
    /// Time limit of what runs the file's code, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// How to print the result
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    report: Report,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, and could be better or fail elsewhere.
    Advice,
    Refused,
}

/// One step; the keys never change their meaning.
#[derive(Debug, Serialize)]
struct Step {
    name: String,
    verdict: Verdict,
    microseconds: u64,
    text: String,
    /// What to do about it, for all but `ok`.
    advice: Option<&'static str>,
}

#[derive(Serialize)]
struct Examined {
    schema: &'static str,
    file: PathBuf,
    verdict: Verdict,
    steps: Vec<Step>,
}

/// Examines.
pub(crate) fn run(args: &DoctorArgs) -> Result<(), Failure> {
    let options = check::options(&args.options)?;
    let mut steps = Steps::default();
    let file = std::path::absolute(&args.file).unwrap_or_else(|_| args.file.clone());
    let whole = before_code(&file, &mut steps);
    if whole {
        let limit = Duration::from_secs(args.timeout);
        let probe = probe(&Check {
            file: file.clone(),
            exporter: None,
            cases: Vec::new(),
            seed: 0,
            series: 0,
            rounds: 0,
            options,
            limit,
            jobs: 1,
            program: check::program()?,
        });
        let probe = probe.map_err(|e| Failure::new(Exit::Unexpected, "doctor", e))?;
        // The first two were told above, from the outside.
        let told = ["resolve", "verify"];
        for step in probe.steps.into_iter().filter(|step| !told.contains(&step.name.as_str())) {
            let verdict = if step.ok { Verdict::Ok } else { Verdict::Refused };
            let advice = (!step.ok).then(|| after_code(&step.name)).flatten();
            steps.0.push(Step {
                name: step.name,
                verdict,
                microseconds: step.microseconds,
                text: step.text,
                advice,
            });
        }
    }
    let has = |verdict| steps.0.iter().any(|step| step.verdict == verdict);
    let verdict = match () {
        () if has(Verdict::Refused) => Verdict::Refused,
        () if has(Verdict::Advice) => Verdict::Advice,
        () => Verdict::Ok,
    };
    let refused = steps.0.iter().find(|step| step.verdict == Verdict::Refused);
    let refused = refused.map(|step| format!("{}: {}", step.name, step.text));
    let examined = Examined {
        schema: "tallyport.plugin-doctor/1",
        file: file.clone(),
        verdict,
        steps: steps.0,
    };
    match args.report {
        Report::Json => report::print_json(&examined)?,
        Report::Text => report::print(&text(&examined))?,
    }
    match refused {
        None => Ok(()),
        Some(reason) => {
            let what = format!("plugin `{}`", file.display());
            Err(Failure::new(Exit::PluginRefused, what, reason))
        }
    }
}

#[derive(Default)]
struct Steps(Vec<Step>);

impl Steps {
    fn push(
        &mut self,
        name: &str,
        start: Instant,
        verdict: Verdict,
        text: impl Into<String>,
        advice: Option<&'static str>,
    ) {
        let microseconds = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.0.push(Step {
            name: name.to_owned(),
            verdict,
            microseconds,
            text: text.into(),
            advice,
        });
    }

    /// A step that is fine, or not as it should be.
    fn advise(
        &mut self,
        name: &str,
        start: Instant,
        fine: bool,
        text: impl Into<String>,
        advice: &'static str,
    ) {
        let verdict = if fine { Verdict::Ok } else { Verdict::Advice };
        self.push(name, start, verdict, text, (!fine).then_some(advice));
    }
}

/// What is known before any of the file's code runs; whether it may run.
fn before_code(file: &Path, steps: &mut Steps) -> bool {
    let start = Instant::now();
    match fs::canonicalize(file) {
        Ok(real) if real == file => {
            steps.push("resolve", start, Verdict::Ok, file.display().to_string(), None);
        }
        Ok(real) => {
            let text = format!("{} leads to {}", file.display(), real.display());
            steps.push("resolve", start, Verdict::Ok, text, None);
        }
        Err(error) => {
            let text = format!("{}: {error}", file.display());
            steps.push("resolve", start, Verdict::Refused, text, Some("name a file that is there"));
            return false;
        }
    }
    let start = Instant::now();
    match Trust::default().admits(file) {
        Ok(_) => {
            let text = "owned by root or this user, and nobody else can write to it";
            steps.push("owner", start, Verdict::Ok, text, None);
        }
        Err(error) => {
            let advice = "hosts refuse it where it lies, unless the configuration pins its sha256";
            steps.push("owner", start, Verdict::Advice, error.to_string(), Some(advice));
        }
    }
    let start = Instant::now();
    match inspect_file(file) {
        Ok(info) => {
            let (major, minor) = info.abi;
            let sdk = if info.rust { ", Rust SDK" } else { "" };
            let text = format!("`{}` {}, plugin ABI {major}.{minor}{sdk}", info.id, info.version);
            steps.push("verify", start, Verdict::Ok, text, None);
        }
        Err(error) => {
            steps.push("verify", start, Verdict::Refused, error.to_string(), None);
            return false;
        }
    }
    let start = Instant::now();
    if let Ok(bytes) = fs::read(file) {
        let text = format!("sha256 {} of {} bytes", Sha256::of(&bytes), bytes.len());
        steps.push("hash", start, Verdict::Ok, text, None);
    }
    if env::consts::OS == "linux" {
        linked(file, steps);
    }
    true
}

fn linked(file: &Path, steps: &mut Steps) {
    let start = Instant::now();
    let read = fs::read(file).map_err(|e| e.to_string()).and_then(|bytes| Links::read(&bytes));
    let links = match read {
        Ok(links) => links,
        Err(reason) => {
            steps.push("links", start, Verdict::Advice, reason, None);
            return;
        }
    };
    let needed = if links.needed.is_empty() { "nothing".into() } else { links.needed.join(", ") };
    steps.push("needs", start, Verdict::Ok, needed, None);
    let start = Instant::now();
    let paths = links.run_path.join(":");
    let own = paths.is_empty();
    steps.advise(
        "run path",
        start,
        own,
        if own { "none: needed libraries are the system's" } else { &paths },
        "a pinned plugin may need nothing from there: link it statically, or install it",
    );
    if let Some((major, minor)) = links.glibc {
        let text = format!("glibc {major}.{minor} or newer");
        steps.push("system", start, Verdict::Ok, text, None);
    }
    let flags = [
        (
            links.now,
            "-z now",
            "link with -Wl,-z,now: what is missing then fails the load, not a call",
        ),
        (
            links.nodelete,
            "-z nodelete",
            "link with -Wl,-z,nodelete: nobody can unmap it by mistake",
        ),
        (links.symbolic, "-Bsymbolic", "link with -Wl,-Bsymbolic: it then calls its own functions"),
        (links.relro, "-z relro", "link with -Wl,-z,relro: its tables cannot be overwritten"),
        (!links.static_tls, "no static TLS", "build with -fPIC: a late load may lack room for it"),
        (!links.executable_stack, "no executable stack", "link with -Wl,-z,noexecstack"),
    ];
    let have: Vec<_> = flags.iter().filter(|(fine, ..)| *fine).map(|(_, name, _)| *name).collect();
    if !have.is_empty() {
        steps.push("link flags", start, Verdict::Ok, have.join(", "), None);
    }
    for (_, name, advice) in flags.iter().filter(|(fine, ..)| !fine) {
        steps.advise("link flags", start, false, format!("lacks: {name}"), advice);
    }
    let of_cpp = match links.of_cpp {
        0 => String::new(),
        count => format!("; {count} of the C++ library, which no flag hides"),
    };
    let (fine, text) = match links.shown.is_empty() {
        true => (true, format!("only the entry point is shown{of_cpp}")),
        false => (false, format!("it shows {}{of_cpp}", names(&links.shown))),
    };
    let advice = "compile with -fvisibility=hidden: the entry point is all that a host needs";
    steps.advise("visibility", start, fine, text, advice);
    let (fine, text) = match links.interposable.is_empty() {
        true => (true, "a host with the same names takes no function's place".to_owned()),
        false => {
            let of = names(&links.interposable);
            (false, format!("a host with the same names takes the place of {of}"))
        }
    };
    let advice = "compile with -fvisibility=hidden and link with -Wl,-Bsymbolic";
    steps.advise("interposition", start, fine, text, advice);
}

fn names(all: &std::collections::BTreeSet<String>) -> String {
    let some: Vec<_> = all.iter().take(MOST_NAMES).map(|name| format!("`{name}`")).collect();
    match all.len().saturating_sub(MOST_NAMES) {
        0 => some.join(", "),
        more => format!("{} and {more} more", some.join(", ")),
    }
}

/// What to do about a step that runs the file's code.
fn after_code(step: &str) -> Option<&'static str> {
    let first = step.split(' ').next().unwrap_or(step);
    match first {
        "dlopen" => Some("link with -Wl,-z,defs, and install what it needs"),
        "entry" => Some("TALLYPORT_EXPORT makes the entry point visible"),
        "negotiate" => Some("build it against the headers of this host's version"),
        "layout" => Some("build it with the tallyport-plugin-api of this host's version"),
        "create" => Some("options that it needs are given with --options"),
        "process" => Some("run `tallyport plugins check` on it"),
        _ => None,
    }
}

fn text(examined: &Examined) -> String {
    let mut rows = Vec::new();
    for step in &examined.steps {
        let word = match step.verdict {
            Verdict::Ok => "ok",
            Verdict::Advice => "advice",
            Verdict::Refused => "REFUSED",
        };
        let milliseconds = format!("{:.1} ms", step.microseconds as f64 / 1000.0);
        rows.push(vec![word.to_owned(), step.name.clone(), milliseconds, step.text.clone()]);
        rows.extend(step.advice.map(|advice| vec![format!("         to do: {advice}")]));
    }
    report::table(&rows)
}
