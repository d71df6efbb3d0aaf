//! The last run of a target by whichever process, as it is kept beside the lease: for people who look.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Again, Ending, Run};

/// Bytes of an error's text that are kept.
const ERROR_BYTES: usize = 500;

/// What the last run of a target did, by whom, and when it is run next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    /// Which process, for people.
    pub by: String,
    /// When it ended, Unix ns, by that process's clock.
    pub ended_ns: u64,
    /// `delivered` or `failed`.
    pub ending: String,
    /// Which attempt it was; the first is 1.
    pub attempt: u32,
    /// Series.
    pub series: u64,
    /// Bytes that the exporter wrote.
    pub bytes: u64,
    /// How long it took.
    pub duration_ms: f64,
    /// The token of its lease.
    pub token: Option<u64>,
    /// Its id, as in events and logs.
    pub export_id: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Whether a later attempt may succeed; absent: nothing failed.
    pub retryable: Option<bool>,
    /// When that process's schedule runs it next, Unix ns, jitter aside; absent: no schedule does.
    pub next_run_ns: Option<u64>,
}

impl LastRun {
    /// What is kept of a run; `None` for one that did nothing.
    pub(crate) fn of(run: &Run, by: &str, next: Option<Duration>) -> Option<Self> {
        let (error, again) = match &run.ending {
            Ending::Skipped(_) => return None,
            Ending::Delivered => (None, None),
            Ending::Failed { error, again, .. } => (Some(error.to_string()), Some(*again)),
        };
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let ended_ns = run.started_ns.saturating_add(ns(run.duration));
        Some(Self {
            by: by.to_owned(),
            ended_ns,
            ending: run.ending_name().to_owned(),
            attempt: run.attempt,
            series: run.series,
            bytes: run.bytes,
            duration_ms: run.duration.as_secs_f64() * 1e3,
            token: run.token.map(|token| token.0),
            export_id: run.export_id.clone(),
            error: error.map(|mut text| {
                text.truncate(text.floor_char_boundary(ERROR_BYTES));
                text
            }),
            retryable: again.map(|again| again == Again::Later),
            next_run_ns: next.map(|next| ended_ns.saturating_add(ns(next))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::{Fencing, Skip},
        model::{Error, ErrorKind},
        store::FencingToken,
    };

    fn run(ending: Ending) -> Run {
        Run {
            export_id: "e-1".into(),
            target: "main".into(),
            destination: "file",
            exporter: "csv".into(),
            format: "csv".into(),
            attempt: 2,
            started_ns: 1_000,
            duration: Duration::from_nanos(500),
            gathered: None,
            fencing: Fencing::Fenced,
            token: Some(FencingToken(7)),
            series: 3,
            bytes: 40,
            ending,
        }
    }

    #[test]
    fn what_is_kept_of_a_run_is_short_and_is_read_again() {
        let long = "ü".repeat(1_000);
        let error = Error::new(ErrorKind::Io, long);
        let failed = Ending::Failed { error, again: Again::Later, retry: None };
        let kept = LastRun::of(&run(failed), "web:7", Some(Duration::from_nanos(250))).unwrap();
        assert_eq!((kept.ended_ns, kept.next_run_ns), (1_500, Some(1_750)));
        assert_eq!(kept.retryable, Some(true));
        assert!(kept.error.as_ref().unwrap().len() <= ERROR_BYTES);
        let text = serde_json::to_string(&kept).unwrap();
        assert_eq!(serde_json::from_str::<LastRun>(&text).unwrap(), kept);
        let skipped = run(Ending::Skipped(Skip::Overlap));
        assert_eq!(LastRun::of(&skipped, "web:7", None), None);
    }
}
