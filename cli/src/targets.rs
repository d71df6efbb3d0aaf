//! `tallyport export --target NAME|--all`: the configuration's targets, one attempt each.

use std::{
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use serde_json::{Value, json};
use tallyport_core::{
    engine::{
        Part, RunOptions,
        config::{Config, TargetDestination},
    },
    export::{Again, Ending, Gathered, Run, Skip},
    model::ErrorKind,
};

use crate::{
    console::Console,
    engine::Opened,
    exit::{Exit, Failure},
    interrupt::Shift,
    report::{self, Report},
};

/// What is done while another process has the lease of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Lock {
    Skip,
    Wait,
}

/// The longest time between two looks at a lease that another process has.
const LOOK: Duration = Duration::from_millis(200);

/// What is exported, and how.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// Names; none: all that are enabled.
    pub(crate) names: &'a [String],
    pub(crate) lock: Lock,
    pub(crate) timeout: Option<Duration>,
    pub(crate) fail_on_skip: bool,
    pub(crate) report: Option<Report>,
}

/// A time on the command line: `500ms`, `30s`, `5m`, `1h`; a bare number is seconds.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = text.strip_suffix(unit).unwrap_or("");
    let millis = match unit {
        "ms" => 1,
        "" | "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a time is a number and ms, s, m or h, such as 30s".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "a time begins with a whole number".to_owned())?;
    match number.checked_mul(millis) {
        Some(0) | None => Err("it must be more than nothing, and less than an age".into()),
        Some(millis) => Ok(Duration::from_millis(millis)),
    }
}

/// Exports the targets, one after the other.
pub(crate) fn run(
    config: Config,
    wanted: &Wanted<'_>,
    console: Console,
    shift: &Shift,
) -> Result<(), Failure> {
    let names = chosen(&config, wanted.names)?;
    let prints = names.iter().any(|name| {
        let target = config.targets.get(name);
        target.is_some_and(|target| target.destination == TargetDestination::Stdout)
    });
    let opened = Opened::new(Some(config))?;
    opened.required()?;
    opened.warn(console);
    shift.has_engine(&opened.engine);
    let until = wanted.timeout.map(|timeout| Instant::now() + timeout);
    let mut runs = Vec::new();
    for name in &names {
        let run = export(&opened, name, wanted, until, shift)?;
        tell(&run, wanted.report, console);
        runs.push(run);
        if shift.stop().is_stopped() {
            break;
        }
    }
    if wanted.report == Some(Report::Json) {
        let all: Vec<Value> = runs.iter().map(Run::to_json).collect();
        let all = json!({ "schema": "tallyport.targets/1", "targets": all });
        if prints {
            console.data(&report::json(&all)?);
        } else {
            report::print_json(&all)?;
        }
    }
    verdict(&runs, wanted)
}

/// The targets that are meant, in the order of the configuration for all of them.
fn chosen(config: &Config, names: &[String]) -> Result<Vec<String>, Failure> {
    let known = || {
        let known: Vec<_> = config.targets.keys().map(String::as_str).collect();
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    };
    if let Some(unknown) = names.iter().find(|name| !config.targets.contains_key(*name)) {
        let reason = format!("no target is called `{unknown}`; configured: {}", known());
        return Err(Failure::new(Exit::Usage, "export", reason));
    }
    if !names.is_empty() {
        return Ok(names.to_vec());
    }
    let enabled = config.targets.iter().filter(|(_, target)| target.enabled);
    let enabled: Vec<String> = enabled.map(|(name, _)| name.clone()).collect();
    if enabled.is_empty() {
        let reason = format!("no target is enabled; configured: {}", known());
        return Err(Failure::new(Exit::Usage, "export", reason)
            .hint("a target is a table `[targets.NAME]` of the configuration"));
    }
    Ok(enabled)
}

/// One attempt; with `--lock wait`, once the lease can be had.
fn export(
    opened: &Opened,
    name: &str,
    wanted: &Wanted<'_>,
    until: Option<Instant>,
    shift: &Shift,
) -> Result<Run, Failure> {
    loop {
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        let stop = shift.stop().clone();
        let options = RunOptions { timeout, part: Part::Observer, stop, ..RunOptions::default() };
        let run = opened
            .engine
            .export_target(name, &options)
            .map_err(|error| Failure::new(Exit::Usage, "export", error))?;
        let Ending::Skipped(Skip::Leased { left, .. }) = &run.ending else { return Ok(run) };
        let over = until.is_some_and(|until| Instant::now() >= until);
        if wanted.lock == Lock::Skip || over || shift.stop().is_stopped() {
            return Ok(run);
        }
        let rest = until.map_or(LOOK, |until| until.saturating_duration_since(Instant::now()));
        thread::sleep((*left).min(LOOK).min(rest).max(Duration::from_millis(1)));
    }
}

/// Says what a run did: a failure always, the rest when it was asked for.
fn tell(run: &Run, report: Option<Report>, console: Console) {
    let Run { target, exporter, series, bytes, duration, destination, .. } = run;
    let note = |text: String| {
        if report == Some(Report::Text) {
            console.note(text);
        }
    };
    match &run.ending {
        Ending::Delivered => {
            let data = match &run.gathered {
                Some(Gathered::Shared { instances }) => format!(" of {instances} instances"),
                _ => String::new(),
            };
            note(format!(
                "target `{target}`: {series} series{data} by `{exporter}`: {bytes} bytes to \
                 {destination} ({}) in {duration:.1?}",
                run.fencing.name()
            ));
        }
        Ending::Skipped(Skip::Leased { holder, left }) => note(format!(
            "target `{target}`: skipped: `{holder}` exports it, and has its lease for {left:.1?}"
        )),
        Ending::Skipped(Skip::Overlap) => note(format!("target `{target}`: skipped: it runs")),
        Ending::Failed { error, again, .. } => {
            let later = match again {
                Again::Later => "a later try may succeed",
                Again::Never => "a later try will fail too",
            };
            console.data(&format!("tallyport: target `{target}`: {error} ({later})"));
        }
    }
}

/// How the command ends.
fn verdict(runs: &[Run], wanted: &Wanted<'_>) -> Result<(), Failure> {
    let failed = runs.iter().filter(|run| !run.is_success()).count();
    let ended = |test: &dyn Fn(&Ending) -> bool| runs.iter().any(|run| test(&run.ending));
    let quiet = |exit| Failure { exit, message: String::new(), details: Vec::new(), hint: None };
    if failed == 0 {
        let skipped = ended(&|ending| matches!(ending, Ending::Skipped(_)));
        return match () {
            () if !skipped => Ok(()),
            // Who waits wants an export: the time for it is over.
            () if wanted.lock == Lock::Wait => {
                let reason = "another process kept the lease until the deadline";
                Err(Failure::new(Exit::Timeout, "export", reason))
            }
            () if wanted.fail_on_skip => {
                let reason = "skipped: another process exports";
                Err(Failure::new(Exit::Skipped, "export", reason))
            }
            () => Ok(()),
        };
    }
    if failed < runs.len() {
        let reason = format!("{failed} of {} targets failed", runs.len());
        return Err(Failure::new(Exit::Partial, "export", reason));
    }
    let late = |ending: &Ending| matches!(ending, Ending::Failed { error, .. } if error.kind() == ErrorKind::Timeout);
    let later = |ending: &Ending| matches!(ending, Ending::Failed { again: Again::Later, .. });
    Err(match () {
        () if runs.iter().all(|run| late(&run.ending)) => quiet(Exit::Timeout),
        () if ended(&later) => quiet(Exit::Retry),
        () => quiet(Exit::Failed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let millis = |text| time(text).map(|time| time.as_millis());
        assert_eq!(millis("500ms"), Ok(500));
        assert_eq!(millis("30s"), Ok(30_000));
        assert_eq!(millis("30"), Ok(30_000));
        assert_eq!(millis("5m"), Ok(300_000));
        assert_eq!(millis("1h"), Ok(3_600_000));
        for bad in
            ["", "s", "0s", "-1s", "1.5s", "1d", "99999999999999999999h", "18446744073709551615h"]
        {
            assert!(time(bad).is_err(), "{bad}");
        }
    }
}
