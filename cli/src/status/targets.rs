//! The targets in `tallyport status`: what is exported where, who has the lease, the last run, the next.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tallyport_core::{
    engine::{Engine, TargetStanding},
    export::LastRun,
    model::{Error, SystemClock},
    snapshot,
};
use tallyport_plugin_api::{Error as ApiError, Value};

/// What hosts say of their exports in their own metrics.
const LAST_SUCCESS: &str = "tallyport_export_last_success_timestamp_seconds";

/// A target; its keys never change their meaning.
#[derive(Serialize)]
pub(super) struct Target {
    name: String,
    exporter: String,
    enabled: bool,
    /// `scheduled`, `threshold`, `event`.
    strategy: &'static str,
    /// Of `scheduled`.
    interval_ms: Option<u64>,
    /// `file`, `http`, `stdout`, `plugin`.
    destination: &'static str,
    /// The file, or the URL without what may be secret in it.
    place: Option<String>,
    /// `fenced`, `advisory`, `none`.
    fencing: &'static str,
    /// Absent: it has none, each process exports what it recorded.
    lease: Option<Lease>,
    /// Absent: nothing is known of one.
    last_run: Option<LastRun>,
    /// Of what was delivered, by `last_run` and by the metrics of an arena's processes, Unix ns; absent:
    /// nothing is known of it.
    last_success_ns: Option<u64>,
    /// Absent: no schedule is known of.
    next_run_ns: Option<u64>,
}

/// A lease; without a holder nobody has it.
#[derive(Serialize)]
struct Lease {
    holder: Option<String>,
    /// That of the last grant that the store remembers.
    token: Option<u64>,
    /// When it ends unless it is renewed, Unix ns.
    expires_ns: Option<u64>,
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    ns(since)
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The targets of an engine, with what its store says of them, if it can be asked, and what the metrics
/// of an arena do.
pub(super) fn targets(
    engine: &Engine,
    arena: Option<&Path>,
    ask: bool,
) -> Result<Vec<Target>, Error> {
    let mut targets = match ask {
        true => engine.target_standings()?.into_iter().map(Target::from).collect(),
        false => unasked(engine),
    };
    if let Some(arena) = arena.filter(|_| !targets.is_empty()) {
        let delivered = delivered(arena)?;
        for target in &mut targets {
            let known = delivered.iter().find(|(name, _)| *name == target.name);
            let known = known.map(|(_, seconds)| (seconds * 1e9) as u64);
            target.last_success_ns = target.last_success_ns.max(known);
        }
    }
    Ok(targets)
}

/// The targets as they are configured.
pub(super) fn unasked(engine: &Engine) -> Vec<Target> {
    let alone = |status| TargetStanding { status, lease: None, last_run: None };
    engine.target_status().into_iter().map(alone).map(Target::from).collect()
}

impl From<TargetStanding> for Target {
    fn from(standing: TargetStanding) -> Self {
        let TargetStanding { status, lease, last_run } = standing;
        let delivered = last_run.as_ref().filter(|run| run.ending == "delivered");
        Self {
            name: status.name,
            exporter: status.exporter,
            enabled: status.enabled,
            strategy: status.strategy,
            interval_ms: status.interval.map(|interval| interval.as_millis() as u64),
            destination: status.destination,
            place: status.place,
            fencing: status.fencing.name(),
            lease: lease.map(|standing| {
                let (holder, left) = standing.holder.unzip();
                Lease {
                    holder,
                    token: standing.token.map(|token| token.0),
                    expires_ns: left.map(|left| now_ns().saturating_add(ns(left))),
                }
            }),
            last_success_ns: delivered.map(|run| run.ended_ns),
            next_run_ns: last_run.as_ref().and_then(|run| run.next_run_ns),
            last_run,
        }
    }
}

/// When a process of an arena last delivered each target, Unix seconds.
fn delivered(arena: &Path) -> Result<Vec<(String, f64)>, Error> {
    let snapshot = snapshot::of_arena(arena, Arc::new(SystemClock::default()))?;
    let mut found: Vec<(String, f64)> = Vec::new();
    snapshot.read(|view| {
        for family in view.families().filter(|family| family.name() == LAST_SUCCESS) {
            for series in family.series() {
                let target = series.labels().find(|(name, _)| *name == "target");
                let (Some((_, target)), Value::F64(seconds)) = (target, series.value()) else {
                    continue;
                };
                found.push((target.to_owned(), seconds));
            }
        }
        Ok::<_, ApiError>(())
    })?;
    // Of several processes the last one counts.
    found.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(found)
}

/// A time as people say it.
fn span(ns: u64) -> String {
    match ns / 1_000_000_000 {
        0 => format!("{} ms", ns / 1_000_000),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// How long ago something was, by this machine's clock.
fn ago(at_ns: u64, now: u64) -> String {
    match now.checked_sub(at_ns) {
        Some(past) => format!("{} ago", span(past)),
        None => format!("{} ahead of this machine's clock", span(at_ns - now)),
    }
}

/// The rows of targets for people.
pub(super) fn rows(targets: &[Target]) -> Vec<Vec<String>> {
    let now = now_ns();
    let mut rows = Vec::new();
    for target in targets {
        let mut row = |name: &str, value: String| rows.push(vec![name.to_owned(), value]);
        row("target", what(target));
        row("  lease", lease(target, now));
        match (&target.last_run, target.last_success_ns) {
            (Some(run), _) => row("  last run", last_run(run, now)),
            (None, Some(at)) => row("  last run", format!("delivered {}", ago(at, now))),
            (None, None) => row("  last run", "none is known".to_owned()),
        }
        if let Some(next) = target.next_run_ns {
            row(
                "  next run",
                match next.checked_sub(now) {
                    Some(left) => format!("in {}", span(left)),
                    None => format!("was due {}", ago(next, now)),
                },
            );
        }
    }
    rows
}

fn what(target: &Target) -> String {
    let Target { name, exporter, destination, strategy, .. } = target;
    let place = target.place.as_ref().map_or_else(String::new, |place| format!(" `{place}`"));
    let every = target.interval_ms.map_or_else(String::new, |interval| {
        format!(" every {}", span(interval.saturating_mul(1_000_000)))
    });
    let off = if target.enabled { "" } else { ", disabled" };
    format!("{name}: {exporter} to {destination}{place}, {strategy}{every}{off}")
}

fn lease(target: &Target, now: u64) -> String {
    let fencing = target.fencing;
    match &target.lease {
        None if fencing == "none" => "none: each process exports what it recorded".to_owned(),
        None => format!("{fencing}; the store was not asked"),
        Some(Lease { token, holder, expires_ns }) => {
            let token = token.map_or_else(String::new, |token| format!(" (token {token})"));
            match (holder, expires_ns) {
                (Some(holder), Some(end)) => {
                    let left = span(end.saturating_sub(now));
                    format!("{fencing}; {holder} has it for {left}{token}")
                }
                _ if token.is_empty() => format!("{fencing}; nobody has had it"),
                _ => format!("{fencing}; nobody has it{token}"),
            }
        }
    }
}

fn last_run(run: &LastRun, now: u64) -> String {
    let LastRun { by, series, bytes, attempt, .. } = run;
    let when = ago(run.ended_ns, now);
    match &run.error {
        None => format!("{} {when} by {by}: {series} series, {bytes} bytes", run.ending),
        Some(error) => {
            let again =
                if run.retryable == Some(true) { "a later try may succeed" } else { "for good" };
            format!("{} {when} by {by}, attempt {attempt}: {error} ({again})", run.ending)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        for (seconds, text) in [
            (0.25, "250 ms"),
            (1.0, "1 s"),
            (119.9, "119 s"),
            (125.0, "2 min"),
            (7_300.0, "2 h"),
            (200_000.0, "2 days"),
        ] {
            assert_eq!(span((seconds * 1e9) as u64), text);
        }
        assert_eq!(ago(5_000_000_000, 8_000_000_000), "3 s ago");
        assert_eq!(ago(8_000_000_000, 5_000_000_000), "3 s ahead of this machine's clock");
    }
}
