//! Exports to the targets of the configuration: own sync → gather → exporter → destination, under a
//! lease.
//!
//! One attempt per run, on the caller's thread. What a run did, and whether and when to try again, is
//! its [`Run`]: a scheduler, a job queue or a cron line decides by it.

mod delivery;
mod settings;
mod standing;
mod stop;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use super::{
    Engine,
    config::{Config, TargetConfig, TargetData, TargetDestination},
    exports::Report,
    share::{Tell, jitter},
};
pub use standing::TargetStanding;
pub use stop::Stop;

use crate::{
    export::{
        Again, Ending, ExportMeter, Failure, Fencing, Fingerprint, History, Registrar, Resting,
        Run, Skip,
        timing::{Backoff, Expiry, Window},
        wake,
    },
    model::{Clock, CorrelationId, Error, ErrorKind, Mutex, fork},
    store::{LeaseStanding, Leases, Locking, Strategy},
};

/// How a target is exported, once.
#[derive(Debug, Clone, Default)]
pub struct RunOptions {
    /// Which attempt this is, for a caller who counts them (a job queue); the first is 1. `None`: the
    /// engine counts.
    pub attempt: Option<u32>,
    /// How long it may take; `None`: as the target says.
    pub timeout: Option<Duration>,
    /// Whether this process has data of its own to export.
    pub part: Part,
    /// Ends it early: it then fails, for now.
    pub stop: Stop,
}

/// What a process is to those that share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Part {
    /// It records: it syncs before it exports, and exports its own data where no lease can be had.
    #[default]
    Member,
    /// It only looks: a command that exports what others recorded.
    Observer,
}

/// A target, and how it stands.
#[derive(Debug, Clone)]
pub struct TargetStatus {
    /// Its name.
    pub name: String,
    /// What it writes.
    pub exporter: String,
    /// `scheduled`, `threshold`, `event`.
    pub strategy: &'static str,
    /// From one start to the next; `None`: it waits for changes or for an event.
    pub interval: Option<Duration>,
    /// `file`, `http`, `stdout`, `plugin`.
    pub destination: &'static str,
    /// The file, or the URL without what may be secret in it; `None`: that is a secret, or it is neither.
    pub place: Option<String>,
    /// What keeps a former holder of its lease from committing.
    pub fencing: Fencing,
    /// Whether it is enabled.
    pub enabled: bool,
    /// Attempts that failed since the last success or the last series of attempts.
    pub failed_attempts: u32,
    /// When this process last delivered it, Unix ns; 0: never.
    pub last_success_ns: u64,
    /// When a schedule exports it or looks at it next, Unix ns; `None`: none runs, or it waits for
    /// an event.
    pub next_run_ns: Option<u64>,
}

/// The engine's side of its targets.
#[derive(Debug)]
pub(super) struct Targets {
    states: BTreeMap<String, Mutex<State>>,
    pub(super) history: History,
    pub(super) meter: ExportMeter,
    expiry: Mutex<Expiry>,
}

/// How one target stands.
#[derive(Debug, Default)]
struct State {
    /// The process that exports it now; 0: none does.
    running: u64,
    /// Attempts that failed in the series that goes on.
    failed: u32,
    last_success_ns: u64,
    /// A lease that keeps others out until the next start, and the process that has it.
    resting: Option<(u64, Resting)>,
    next_run_ns: Option<(u64, u64)>,
    /// The lease that the run has which goes on, and its process; the file that it writes.
    held: Option<(u64, Resting)>,
    temporary: Option<PathBuf>,
    /// The `Idempotency-Key` of the series of attempts that goes on.
    key: Option<String>,
    /// What was exported last; for thresholds.
    exported: Option<Fingerprint>,
}

/// Who asks for a run, besides what they may choose.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order {
    pub(super) tell: Tell,
    pub(super) by: By,
}

/// What follows a run.
#[derive(Debug, Clone, Copy)]
pub(super) enum By {
    /// Whatever its caller does.
    Caller,
    /// A schedule's next run: after an interval, if it has one.
    Schedule(Option<Duration>),
}

impl By {
    /// How long the lease is kept after a success, so that others leave the interval to this process.
    /// They come when it would be late: with the usual jitter, a tenth of the interval before it would.
    fn rest(self) -> Duration {
        match self {
            Self::Schedule(Some(interval)) => interval.mul_f64(0.8),
            Self::Schedule(None) | Self::Caller => Duration::ZERO,
        }
    }
}

impl Targets {
    pub(super) fn new(config: &Config, meter: ExportMeter) -> Self {
        let states = config.targets.keys().map(|name| (name.clone(), Mutex::default()));
        let history = History::new(config.export.history);
        Self { states: states.collect(), history, meter, expiry: Mutex::default() }
    }

    fn state(&self, name: &str) -> Option<&Mutex<State>> {
        self.states.get(name)
    }

    /// Notes when a schedule comes to a target next, Unix ns.
    pub(super) fn plan(&self, name: &str, next: Option<u64>) {
        if let Some(state) = self.state(name) {
            state.lock().next_run_ns = next.map(|next| (fork::generation(), next));
        }
    }

    /// What was exported last.
    pub(super) fn changed(&self, name: &str, now: &Fingerprint) -> u64 {
        let Some(state) = self.state(name) else { return 0 };
        let state = state.lock();
        let nothing = Fingerprint::default();
        now.changed_since(state.exported.as_ref().unwrap_or(&nothing))
    }

    /// Notes what an export was made of.
    pub(super) fn exported(&self, name: &str, what: Fingerprint) {
        if let Some(state) = self.state(name) {
            let old = state.lock().exported.replace(what);
            drop(old);
        }
    }
}

impl Config {
    fn window(&self) -> Window {
        let export = &self.export;
        Window {
            retention: Duration::from_millis(export.retention_window_ms),
            margin: Duration::from_millis(export.safety_margin_ms),
        }
    }

    /// The time between two exports of a target.
    pub(super) fn interval(&self, target: &TargetConfig) -> Duration {
        target.interval_ms.map_or_else(|| self.window().interval(), Duration::from_millis)
    }
}

fn backoff(target: &TargetConfig) -> Backoff {
    Backoff {
        retries: target.retries,
        first: Duration::from_millis(target.retry_ms),
        longest: Duration::from_millis(target.max_retry_ms),
    }
}

/// The name of a target's lease.
fn lease_of(target: &str) -> String {
    format!("export:{target}")
}

/// Ends the run of a target, whatever happens in it.
struct Running<'a>(&'a Mutex<State>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        (state.running, state.held) = (0, None);
        let temporary = state.temporary.take();
        drop(state);
        drop(temporary);
    }
}

impl Engine {
    /// Exports a target of the configuration, once, on this thread: `export.requested` and
    /// `export.completed` or `export.failed` are published.
    ///
    /// A run that another process's lease made needless is a success; one that failed says whether and
    /// when to try again.
    ///
    /// # Errors
    /// NotFound for a target that the configuration does not have.
    pub fn export_target(&self, name: &str, options: &RunOptions) -> Result<Run, Error> {
        let order = Order { tell: Tell::Listeners, by: By::Caller };
        self.run_target(name, options, order)
    }

    pub(super) fn run_target(
        &self,
        name: &str,
        options: &RunOptions,
        order: Order,
    ) -> Result<Run, Error> {
        let inner = &*self.0;
        let (Some(target), Some(state)) =
            (inner.config.targets.get(name), inner.targets.state(name))
        else {
            return Err(self.unknown_target(name));
        };
        let clock = inner.metrics.clock();
        let id = CorrelationId::generate();
        let start = clock.monotonic();
        let mut run = Run {
            export_id: id.as_str().to_owned(),
            target: name.to_owned(),
            destination: target.destination.name(),
            exporter: String::new(),
            format: String::new(),
            attempt: 1,
            started_ns: clock.unix_ns(),
            duration: Duration::ZERO,
            gathered: None,
            fencing: Fencing::Absent,
            token: None,
            series: 0,
            bytes: 0,
            ending: Ending::Skipped(Skip::Overlap),
        };
        let resting = {
            let mut state = state.lock();
            let here = fork::generation();
            run.attempt = options.attempt.unwrap_or(state.failed.saturating_add(1)).max(1);
            if state.running == here {
                drop(state);
                self.ended(&run);
                return Ok(run);
            }
            state.running = here;
            if run.attempt == 1 {
                state.key = None;
            }
            state.resting.take().filter(|(owner, _)| *owner == here).map(|(_, resting)| resting)
        };
        let running = Running(state);
        let report = Report::new(&inner.events, id, &target.exporter)
            .of_target(name, run.attempt)
            .telling(order.tell);
        let timeout = options.timeout.unwrap_or(Duration::from_millis(target.timeout_ms));
        let attempt = delivery::Attempt {
            engine: self,
            name,
            target,
            state,
            report: &report,
            part: options.part,
            stop: &options.stop,
            start,
            timeout,
            rest: order.by.rest(),
        };
        let done = attempt.make(&mut run, resting);
        run.duration = clock.monotonic().saturating_sub(start);
        let mut state = state.lock();
        match done {
            Ok(resting) => {
                if let Ending::Delivered = run.ending {
                    (state.failed, state.last_success_ns) = (0, clock.unix_ns());
                }
                state.resting = resting.map(|resting| (fork::generation(), resting));
            }
            Err(Failure { error, again, demanded }) => {
                let retry = match again {
                    Again::Never => None,
                    Again::Later => backoff(target).delay(run.attempt, demanded, jitter()),
                };
                state.failed = if retry.is_some() { run.attempt } else { 0 };
                run.ending = Ending::Failed { error, again, retry };
            }
        }
        drop(state);
        drop(running);
        if self.exports_all(target) {
            self.outlive(target, &run);
            self.note(&run, order.by);
        }
        report.ended(&run);
        self.ended(&run);
        Ok(run)
    }

    /// How long one attempt may take, as a target says.
    pub(super) fn timeout_of(&self, name: &str) -> Duration {
        let target = self.0.config.targets.get(name);
        Duration::from_millis(target.map_or(0, |target| target.timeout_ms))
    }

    /// Whether a target exports what all instances have.
    fn exports_all(&self, target: &TargetConfig) -> bool {
        target.data != TargetData::Own && self.expected_strategy().is_shared()
    }

    /// Notes a run that ended.
    fn ended(&self, run: &Run) {
        self.0.targets.meter.record(run);
        if let Ending::Failed { error, retry, .. } = &run.ending {
            let (target, attempt) = (&run.target, run.attempt);
            match retry {
                Some(retry) => {
                    tracing::warn!(target_name = target, attempt, ?retry, "export failed: {error}");
                }
                None => {
                    tracing::error!(
                        target_name = target,
                        attempt,
                        "export failed for good: {error}"
                    );
                }
            }
        }
        self.0.targets.history.add(run.clone());
    }

    /// Has what waits for the next export of a target live until then, after one of them.
    fn outlive(&self, target: &TargetConfig, run: &Run) {
        let config = &self.0.config;
        let (window, now) = (config.window(), self.0.metrics.clock().monotonic());
        let life = match &run.ending {
            Ending::Skipped(_) => None,
            Ending::Failed { retry: Some(delay), .. } => {
                self.0.targets.expiry.lock().after_failure(now, *delay, window)
            }
            Ending::Failed { .. } | Ending::Delivered => {
                let next = now + config.interval(target);
                self.0.targets.expiry.lock().until(now, next, window)
            }
        };
        self.extend(life);
    }

    /// As [`Engine::outlive`], before one that may take so long.
    fn outlast(&self, timeout: Duration) {
        let (window, now) = (self.0.config.window(), self.0.metrics.clock().monotonic());
        let life = self.0.targets.expiry.lock().before(now, timeout, window);
        self.extend(life);
    }

    /// Has what instances published live for so long. A failure is no failure of the export.
    fn extend(&self, life: Option<Duration>) {
        let Some(life) = life else { return };
        if let Err(error) = self.leases(&mut |leases| leases.extend(life)) {
            // The next export tries again.
            *self.0.targets.expiry.lock() = Expiry::default();
            tracing::warn!("the life of shared data was not extended by {life:?}: {error}");
        }
    }

    fn unknown_target(&self, name: &str) -> Error {
        let known: Vec<_> = self.0.config.targets.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!("no target is called `{name}`; configured: {known}");
        Error::new(ErrorKind::NotFound, message).with_field("target")
    }

    /// The last runs of all targets, the oldest first.
    #[must_use]
    pub fn export_history(&self) -> Vec<Run> {
        self.0.targets.history.list()
    }

    /// The targets, and how they stand in this process. The store is not asked.
    #[must_use]
    pub fn target_status(&self) -> Vec<TargetStatus> {
        let config = &self.0.config;
        let mut all = Vec::new();
        for (name, target) in &config.targets {
            let Some(state) = self.0.targets.state(name) else { continue };
            let state = state.lock();
            let here = fork::generation();
            let next_run_ns = state.next_run_ns.filter(|(owner, _)| *owner == here);
            all.push(TargetStatus {
                name: name.clone(),
                exporter: target.exporter.clone(),
                strategy: target.strategy.name(),
                interval: match config.strategy_of(target) {
                    crate::export::Strategy::Scheduled { interval } => Some(interval),
                    _ => None,
                },
                destination: target.destination.name(),
                place: config.place_of(target),
                fencing: self.fencing(target),
                enabled: target.enabled,
                failed_attempts: state.failed,
                last_success_ns: state.last_success_ns,
                next_run_ns: next_run_ns.map(|(_, next)| next),
            });
        }
        all
    }

    /// What keeps a former holder of a target's lease from committing, as the configuration has it.
    fn fencing(&self, target: &TargetConfig) -> Fencing {
        let locking = match self.expected_strategy() {
            _ if !self.exports_all(target) => Locking::Absent,
            Strategy::DistributedAtomic => Locking::Fenced,
            Strategy::DistributedBasic => Locking::Unfenced,
            Strategy::DistributedManual | Strategy::LocalOnly => Locking::Absent,
        };
        Fencing::of(locking, target.destination == TargetDestination::File)
    }

    /// How the lease of a target stands in the store.
    ///
    /// # Errors
    /// NotFound; Unsupported where nothing is shared; what the store answers.
    pub fn target_lease(&self, name: &str) -> Result<LeaseStanding, Error> {
        if self.0.targets.state(name).is_none() {
            return Err(self.unknown_target(name));
        }
        let mut standing = LeaseStanding::default();
        self.leases(&mut |leases| {
            standing = leases.standing(&lease_of(name))?;
            Ok(())
        })?;
        Ok(standing)
    }

    /// Gives back the leases that rest: others need not wait for their end.
    pub(super) fn wake_leases(&self) {
        for (name, state) in &self.0.targets.states {
            let resting = state.lock().resting.take();
            if let Some((owner, resting)) = resting
                && owner == fork::generation()
            {
                wake(self, &lease_of(name), &resting);
            }
        }
    }
}

impl Registrar for Engine {
    fn leases(
        &self,
        act: &mut dyn FnMut(&mut dyn Leases) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.with_store(&mut |store| act(store))
    }

    fn clock(&self) -> &dyn Clock {
        &**self.0.metrics.clock()
    }
}
