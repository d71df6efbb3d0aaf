//! One call on a helper: its time, and where its output goes.

use std::time::{Duration, Instant};

use tallyport_plugin_api::abi::TALLYPORT_OK;

use crate::{
    model::{Error, ErrorKind},
    plugin::{
        host::{Output, contained, monotonic_ns, output_panicked},
        run::{Blame, Failed},
    },
};

/// How long a call without a deadline may go on without a byte of output.
const STALL: Duration = Duration::from_secs(60);
/// How long a plugin may go on after its output was refused.
const REFUSED: Duration = Duration::from_secs(5);

/// When a call must be over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// What the configuration says; `None`: [`STALL`] is the rule.
    pub(super) deadline: Option<(Duration, Instant)>,
    pub(super) grace: Duration,
}

/// A call that runs.
pub(super) struct Call {
    pub(super) id: u64,
    pub(super) times: Times,
    /// What is waited for must have come by then.
    pub(super) until: Instant,
    pub(super) cancelled: bool,
}

impl Call {
    pub(super) fn new(times: Times, id: u64) -> Self {
        let until = times.deadline.map_or_else(|| Instant::now() + STALL, |(_, at)| at);
        Self { id, times, until, cancelled: false }
    }

    /// In the clock of both processes; 0: none.
    pub(super) fn deadline_ns(&self) -> u64 {
        self.times.deadline.map_or(0, |(_, at)| {
            let left = at.saturating_duration_since(Instant::now());
            monotonic_ns().saturating_add(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX))
        })
    }

    /// Output came.
    pub(super) fn progress(&mut self, just_refused: bool) {
        if self.times.deadline.is_some() {
            return;
        }
        let time = if just_refused { REFUSED.max(self.times.grace) } else { STALL };
        self.until = Instant::now() + time;
    }

    pub(super) fn is_late(&self) -> bool {
        self.times.deadline.is_some_and(|(_, at)| Instant::now() >= at)
    }

    /// The time that was too short, in words that follow "did not return".
    pub(super) fn limit(&self) -> String {
        match self.times.deadline {
            Some((time, _)) => format!("in {time:?} (`deadline_ms`)"),
            None => format!("and wrote nothing in {STALL:?} (`deadline_ms` sets another time)"),
        }
    }
}

/// The caller's output, as the helper's bytes reach it.
pub(super) struct Sink<'a> {
    pub(super) out: Output<'a>,
    pub(super) budget: u64,
    pub(super) written: u64,
    pub(super) failed: Option<Failed>,
}

impl Sink<'_> {
    pub(super) fn write(&mut self, bytes: &[u8]) -> i32 {
        if let Some(failed) = &self.failed {
            return failed.error.kind().status();
        }
        let failed = if bytes.len() as u64 > self.budget.saturating_sub(self.written) {
            let message = format!("it wrote more than {} bytes (`max_output_bytes`)", self.budget);
            Blame::Exporter.of(Error::new(ErrorKind::Limit, message))
        } else {
            let out = &mut self.out;
            match contained(|| out(bytes)) {
                Some(Ok(())) => {
                    self.written += bytes.len() as u64;
                    return TALLYPORT_OK;
                }
                Some(Err(error)) => Blame::Caller.of(error),
                None => Blame::Caller.of(output_panicked()),
            }
        };
        let status = failed.error.kind().status();
        self.failed = Some(failed);
        status
    }
}
