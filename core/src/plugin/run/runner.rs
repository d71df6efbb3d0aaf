//! A registered exporter at work: rules before a call, a backend for it, notes after it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    About, Backend, Blame, Export, Failed, Health, Limits, Source, Syncs, Wanted, Zombies,
    health::{Pass, Refused, Rules},
    meter::{Meter, Seen},
};
use crate::{
    metrics::Metrics,
    model::{Clock, Error, ErrorKind, Mutex, MutexGuard, SystemClock, TurnLock, fork},
    plugin::{host::Output, secrets::Hidden},
    snapshot::Snapshot,
};

/// What one successful export did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Name of the exporter.
    pub exporter: String,
    /// Format that was written.
    pub format: String,
    /// Media type of the format.
    pub content_type: String,
    /// Series in the snapshot.
    pub series: u64,
    /// Bytes written to the output.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// What the exporters of an engine share.
#[derive(Debug, Clone)]
pub(crate) struct Runtime {
    pub(crate) clock: Arc<dyn Clock>,
    /// Where exporters are counted; `None`: nowhere.
    pub(crate) metrics: Option<Arc<Metrics>>,
    pub(crate) zombies: Arc<Zombies>,
}

impl Runtime {
    pub(crate) fn new(clock: Arc<dyn Clock>, metrics: Option<Arc<Metrics>>) -> Self {
        Self { clock, metrics, zombies: Arc::default() }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock::default()), None)
    }
}

/// An exporter with its limits and its health. Any thread.
#[derive(Debug)]
pub(in crate::plugin) struct Runner {
    name: String,
    about: About,
    source: Arc<dyn Source>,
    options: Hidden,
    limits: Limits,
    runtime: Runtime,
    meter: Meter,
    state: Mutex<State>,
    /// Held while an instance is made, so that no two are.
    starting: TurnLock,
}

#[derive(Debug)]
struct State {
    rules: Rules,
    /// Of the process that the rules speak of.
    generation: u64,
    backend: Option<Live>,
    /// Syncs that the exporter has not heard of.
    untold: Syncs,
}

/// An instance, and the process that it serves: a forked child has its own.
#[derive(Debug, Clone)]
struct Live {
    backend: Arc<dyn Backend>,
    generation: u64,
}

impl Live {
    fn new(backend: &Arc<dyn Backend>) -> Self {
        Self { backend: Arc::clone(backend), generation: fork::generation() }
    }

    fn is_ours(&self) -> bool {
        self.generation == fork::generation()
    }
}

/// A call that was let through: it is settled when it is dropped, as one that showed nothing unless
/// it was told otherwise.
struct Admitted<'a> {
    runner: &'a Runner,
    pass: Pass,
    /// What the call ran on; `None`: it could not be made.
    on: Option<Arc<dyn Backend>>,
    ended: Result<(), Blame>,
}

impl Runner {
    /// Makes the first instance.
    ///
    /// # Errors
    /// What [`Source::start`] answers.
    pub(in crate::plugin) fn start(
        name: &str,
        source: Arc<dyn Source>,
        options: &str,
        limits: Limits,
        runtime: Runtime,
    ) -> Result<Self, Error> {
        let options = Hidden::from(options);
        let wanted = Wanted { name, options: &options, limits: &limits, zombies: &runtime.zombies };
        let backend = Arc::clone(&source).start(&wanted).map_err(|failed| failed.error)?;
        let (backend, generation) = (Some(Live::new(&backend)), fork::generation());
        Ok(Self {
            name: name.to_owned(),
            about: source.about(),
            source,
            options,
            limits,
            meter: Meter::new(name, runtime.metrics.clone()),
            runtime,
            state: Mutex::new(State {
                rules: Rules::new(),
                generation,
                backend,
                untold: Syncs::default(),
            }),
            starting: TurnLock::default(),
        })
    }

    /// What the exporter says of itself.
    pub(in crate::plugin) fn about(&self) -> &About {
        &self.about
    }

    /// Whether it is called, and if not, why.
    pub(in crate::plugin) fn health(&self) -> Health {
        self.state().rules.health()
    }

    /// Calls of it that hang and were given up.
    pub(in crate::plugin) fn zombies(&self) -> usize {
        self.runtime.zombies.of(&self.name)
    }

    /// Calls that wait for their turn.
    pub(in crate::plugin) fn queue_length(&self) -> usize {
        self.live().map_or(0, |backend| backend.queue_length())
    }

    /// The helper process that it runs in.
    pub(in crate::plugin) fn process(&self) -> Option<u32> {
        self.live()?.process()
    }

    /// Writes a snapshot in a format of the exporter to `out`, which is called on this thread.
    pub(in crate::plugin) fn export(
        &self,
        snapshot: &Snapshot,
        format: &str,
        out: Output<'_>,
    ) -> Result<Outcome, Error> {
        let known = self.about.formats.iter().find(|known| known.name == format);
        let Some(format) = known else {
            let message = format!("exporter `{}` does not write `{format}`", self.name);
            return Err(Error::new(ErrorKind::Unsupported, message).with_field("format"));
        };
        let admitted = self.admit().inspect_err(|refused| self.meter.refused(refused))?;
        let start = Instant::now();
        let export = Export { snapshot, format: &format.name };
        let done = admitted.run(Ok(()), |backend| backend.export(&export, out));
        let duration = start.elapsed();
        self.meter.made(done.as_ref().copied(), duration);
        let bytes = done?;
        Ok(Outcome {
            exporter: self.name.clone(),
            format: format.name.clone(),
            content_type: format.content_type.clone(),
            series: snapshot.series_count(),
            bytes,
            duration,
        })
    }

    /// Has the exporter deliver what it buffered.
    pub(in crate::plugin) fn flush(&self) -> Result<(), Error> {
        // An exporter without a flush always succeeds in it: that says nothing about its health.
        self.admit()?.run(Err(Blame::Caller), |backend| backend.flush())
    }

    /// Tells the exporter of a sync, where it wants to know. One that is busy or left alone is told at
    /// the next sync: no sync waits for an export.
    pub(in crate::plugin) fn synced(&self, sync: &Syncs) {
        if !self.source.hears_syncs() {
            return;
        }
        let untold = {
            let mut state = self.state();
            state.untold.add(sync.clone());
            // Nothing is made or tried again for this.
            let there = state.backend.as_ref().is_some_and(Live::is_ours);
            if !there || state.rules.health() != Health::Ready {
                return;
            }
            std::mem::take(&mut state.untold)
        };
        let told = self.admit().and_then(|admitted| {
            admitted.run(Err(Blame::Caller), |backend| backend.synced(&untold))
        });
        match told {
            Ok(true) => {}
            Ok(false) => {
                let mut state = self.state();
                let later = std::mem::replace(&mut state.untold, untold);
                if later.count > 0 {
                    state.untold.add(later);
                }
            }
            Err(error) => {
                tracing::warn!(plugin = self.name, "was perhaps not told of a sync: {error}");
            }
        }
    }

    /// Brings what the metrics say of it up to date.
    pub(in crate::plugin) fn observe(&self) {
        self.meter.observe(|| Seen {
            health: self.health(),
            queue_length: self.queue_length(),
            zombies: self.zombies(),
        });
    }

    /// Takes what the metrics say of it now out; what they counted stays.
    pub(in crate::plugin) fn forget(&self) {
        self.meter.forget();
    }

    fn admit(&self) -> Result<Admitted<'_>, Error> {
        let now = self.runtime.clock.monotonic();
        let mut state = self.state();
        let pass = state.rules.pass(now);
        let failures = state.rules.failures();
        drop(state);
        let pass = pass.map_err(|refused| self.refused(refused, failures))?;
        Ok(Admitted { runner: self, pass, on: None, ended: Err(Blame::Caller) })
    }

    fn refused(&self, refused: Refused, failures: u32) -> Error {
        let Refused { health, wait } = refused;
        let name = &self.name;
        let (kind, why) = match health {
            Health::GivenUp => {
                let message = format!(
                    "plugin `{name}` panicked, also after it was made anew {} times; replace or \
                     reload it",
                    self.limits.max_restarts
                );
                return Error::new(ErrorKind::Poisoned, message);
            }
            Health::Poisoned => (ErrorKind::Poisoned, "panicked in an earlier call".to_owned()),
            _ if failures > 0 => {
                (ErrorKind::Unavailable, format!("failed {failures} times in a row"))
            }
            _ => (ErrorKind::Unavailable, "did not return from an earlier call".to_owned()),
        };
        let message = if wait.is_zero() {
            format!("plugin `{name}` {why}; another call is trying it again")
        } else {
            format!("plugin `{name}` {why}; it is tried again in {wait:.1?}")
        };
        Error::new(kind, message)
    }

    /// The live instance, made if there is none.
    fn backend(&self) -> Result<Arc<dyn Backend>, Failed> {
        if let Some(backend) = self.live() {
            return Ok(backend);
        }
        let _only = self.starting.lock();
        if let Some(backend) = self.live() {
            return Ok(backend);
        }
        let wanted = Wanted {
            name: &self.name,
            options: &self.options,
            limits: &self.limits,
            zombies: &self.runtime.zombies,
        };
        let inherited = self.state().backend.take();
        if let Some(Live { backend, .. }) = &inherited
            && backend.after_fork()
        {
            self.state().backend = Some(Live::new(backend));
            tracing::info!(plugin = self.name, "goes on in a forked process");
            return Ok(Arc::clone(backend));
        }
        // What a forked child inherited is leaked: its threads and locks are not there.
        std::mem::forget(inherited);
        let backend = Arc::clone(&self.source).start(&wanted)?;
        self.state().backend = Some(Live::new(&backend));
        tracing::info!(plugin = self.name, "made anew");
        Ok(backend)
    }

    fn live(&self) -> Option<Arc<dyn Backend>> {
        let state = self.state();
        let live = state.backend.as_ref().filter(|live| live.is_ours());
        live.map(|live| Arc::clone(&live.backend))
    }

    /// The state; in a forked child without the trial that a thread of its parent's made.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        let generation = fork::generation();
        if state.generation != generation {
            state.generation = generation;
            state.rules.forked();
            // They were its parent's.
            state.untold = Syncs::default();
        }
        state
    }

    fn settle(&self, pass: Pass, on: Option<&Arc<dyn Backend>>, ended: Result<(), Blame>) {
        let now = self.runtime.clock.monotonic();
        let mut state = self.state();
        let same = |live: &Live| on.is_some_and(|on| Arc::ptr_eq(on, &live.backend));
        let current = state.backend.as_ref().is_some_and(same);
        // What an instance did that was replaced meanwhile says nothing about this one.
        let ended = if current || on.is_none() { ended } else { ended.and(Err(Blame::Caller)) };
        let before = state.rules.health();
        state.rules.settle(pass, ended, &self.limits, now);
        let after = state.rules.health();
        let useless = matches!(ended, Err(Blame::Panic | Blame::Lost)) && current;
        let useless = if useless { state.backend.take() } else { None };
        drop(state);
        // Shuts the instance down, unless other calls still run on it.
        drop(useless);
        if before != after && !matches!((before, after), (Health::HalfOpen, Health::Open)) {
            tracing::warn!(plugin = self.name, "is {after} now, was {before}");
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let inherited = self.state.get_mut().backend.take_if(|live| !live.is_ours());
        std::mem::forget(inherited);
    }
}

impl Admitted<'_> {
    /// Makes the call; `success` is what its success says.
    fn run<R>(
        mut self,
        success: Result<(), Blame>,
        body: impl FnOnce(&dyn Backend) -> Result<R, Failed>,
    ) -> Result<R, Error> {
        let done = self.backend().and_then(|backend| body(&*backend));
        self.ended = done.as_ref().map_or_else(|failed| Err(failed.blame), |_| success);
        drop(self);
        done.map_err(|failed| failed.error)
    }

    fn backend(&mut self) -> Result<Arc<dyn Backend>, Failed> {
        let backend = self.runner.backend()?;
        self.on = Some(Arc::clone(&backend));
        Ok(backend)
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.runner.settle(self.pass, self.on.as_ref(), self.ended);
    }
}
