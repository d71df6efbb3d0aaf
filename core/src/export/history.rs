//! What the last runs of all targets did.

use std::{collections::VecDeque, time::Duration};

use serde_json::{Value, json};

use super::{Fencing, Gathered};
use crate::{
    model::{Error, Mutex},
    store::FencingToken,
};

/// How one run of a target ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// It was delivered.
    Delivered,
    /// Somebody else exports: that is success.
    Skipped(Skip),
    /// It was not delivered.
    Failed {
        /// Why.
        error: Error,
        /// Whether a later attempt may succeed at all.
        again: super::Again,
        /// When to try again; `None`: the attempts of this export are used up, or would all fail.
        retry: Option<Duration>,
    },
}

/// Why a run did nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Skip {
    /// Another process has the lease: who, and for how long at most.
    Leased {
        /// Who, for people.
        holder: String,
        /// Until its lease ends, unless it is renewed.
        left: Duration,
    },
    /// The same target is being exported by this process.
    Overlap,
}

impl Skip {
    /// Its name in metrics and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Leased { .. } => "leased",
            Self::Overlap => "overlap",
        }
    }
}

/// One run of a target.
#[derive(Debug, Clone)]
pub struct Run {
    /// Unique; the correlation id of its events.
    pub export_id: String,
    /// The target.
    pub target: String,
    /// `file`, `http`, `stdout`, `plugin`.
    pub destination: &'static str,
    /// The exporter, once it was found.
    pub exporter: String,
    /// The format.
    pub format: String,
    /// Which attempt this was; the first is 1.
    pub attempt: u32,
    /// When it began, Unix ns.
    pub started_ns: u64,
    /// How long it took.
    pub duration: Duration,
    /// What was exported.
    pub gathered: Option<Gathered>,
    /// What keeps a former holder from committing.
    pub fencing: Fencing,
    /// The token of its lease; `None`: it had none.
    pub token: Option<FencingToken>,
    /// Series.
    pub series: u64,
    /// Bytes that the exporter wrote.
    pub bytes: u64,
    /// How it ended.
    pub ending: Ending,
}

impl Run {
    /// Whether it was delivered, or somebody else delivers.
    #[must_use]
    pub fn is_success(&self) -> bool {
        !matches!(self.ending, Ending::Failed { .. })
    }

    /// It as JSON, for reports and the C API; keys never change their meaning.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let millis = |time: &Duration| time.as_secs_f64() * 1e3;
        let (mut error, mut code, mut again, mut retry) = (None, None, None, None);
        let (mut skipped, mut holder, mut left) = (None, None, None);
        match &self.ending {
            Ending::Delivered => {}
            Ending::Skipped(skip) => {
                skipped = Some(skip.name());
                if let Skip::Leased { holder: who, left: time } = skip {
                    (holder, left) = (Some(who), Some(millis(time)));
                }
            }
            Ending::Failed { error: what, again: may, retry: after } => {
                (error, code) = (Some(what.to_string()), Some(what.kind().status()));
                again = Some(*may == super::Again::Later);
                retry = after.as_ref().map(millis);
            }
        }
        let data = self.gathered.as_ref().map(|gathered| match gathered {
            Gathered::Shared { instances } => json!({ "of": "all", "instances": instances }),
            Gathered::Own { because } => json!({ "of": "own", "because": because }),
        });
        json!({
            "export_id": self.export_id,
            "target": self.target,
            "destination": self.destination,
            "exporter": self.exporter,
            "format": self.format,
            "attempt": self.attempt,
            "started_ns": self.started_ns,
            "duration_ms": millis(&self.duration),
            "data": data,
            "fencing": self.fencing.name(),
            "token": self.token.map(|token| token.0),
            "series": self.series,
            "bytes": self.bytes,
            "ending": self.ending_name(),
            "skipped": skipped,
            "holder": holder,
            "holder_left_ms": left,
            "error": error,
            "code": code,
            "retryable": again,
            "retry_after_ms": retry,
        })
    }

    /// `delivered`, `skipped` or `failed`.
    #[must_use]
    pub fn ending_name(&self) -> &'static str {
        match self.ending {
            Ending::Delivered => "delivered",
            Ending::Skipped(_) => "skipped",
            Ending::Failed { .. } => "failed",
        }
    }
}

/// A bounded list of runs, the newest last.
#[derive(Debug)]
pub struct History {
    runs: Mutex<VecDeque<Run>>,
    limit: usize,
}

impl History {
    /// One that keeps this many.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { runs: Mutex::default(), limit }
    }

    /// Adds a run, and forgets the oldest one where there are too many.
    pub fn add(&self, run: Run) {
        let mut runs = self.runs.lock();
        runs.push_back(run);
        let old: Vec<Run> = (self.limit..runs.len()).filter_map(|_| runs.pop_front()).collect();
        drop(runs);
        drop(old);
    }

    /// The runs, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Run> {
        self.runs.lock().iter().cloned().collect()
    }
}
