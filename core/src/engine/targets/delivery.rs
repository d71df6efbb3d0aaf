//! One attempt: synced, admitted by the lease, gathered, written by the exporter, delivered.

use std::time::Duration;

use super::{
    super::{
        Engine,
        config::{ShareConfig, TargetConfig, WithoutLease},
        exports::Report,
        share::instance,
    },
    Part, State, Stop, lease_of,
};
use crate::{
    export::{
        Admission, Destination, Ending, Failure, Fencing, Fingerprint, Gathered, Guard, Parcel,
        Registrar, Resting, Run, Strategy, admit,
    },
    model::{Error, ErrorKind, Mutex, fork},
    plugin::Outcome,
    snapshot::Snapshot,
    store::Owner,
};

/// What one attempt is made of.
pub(super) struct Attempt<'a> {
    pub(super) engine: &'a Engine,
    pub(super) name: &'a str,
    pub(super) target: &'a TargetConfig,
    pub(super) state: &'a Mutex<State>,
    pub(super) report: &'a Report<'a>,
    pub(super) part: Part,
    pub(super) stop: &'a Stop,
    /// When it began, and how long it may take.
    pub(super) start: Duration,
    pub(super) timeout: Duration,
    pub(super) rest: Duration,
}

impl Attempt<'_> {
    /// Makes it. What it did goes into `run`; the lease that rests afterwards is returned.
    pub(super) fn make(
        &self,
        run: &mut Run,
        resting: Option<Resting>,
    ) -> Result<Option<Resting>, Failure> {
        let inner = &*self.engine.0;
        let (plugin, format) = inner.plugins.select(&self.target.exporter)?;
        run.exporter = plugin.name().to_owned();
        run.format = format.clone().unwrap_or_default();
        let destination = inner.config.destination(self.target)?;

        let mut because = None;
        let mut guard = None;
        if self.engine.exports_all(self.target) {
            // Whoever exports: what this instance has is in it only once it is in the store.
            let synced = self.sync();
            match self.admit(resting) {
                Admission::Held(held) => {
                    synced?;
                    run.token = Some(held.token());
                    self.state.lock().held = Some((fork::generation(), held.resting()));
                    run.fencing = destination.fencing(held.locking());
                    guard = Some(held);
                }
                Admission::Taken(skip) => {
                    synced?;
                    run.ending = Ending::Skipped(skip);
                    return Ok(None);
                }
                Admission::Unknown(error) => because = Some(self.alone(error)?),
            }
        }
        self.report.requested(Some(plugin.name()), format.as_deref());
        if guard.is_some() {
            self.engine.outlast(self.timeout);
        }
        let own = self.fingerprint()?;
        let (snapshot, gathered) = self.gather(guard.as_mut(), because)?;
        run.gathered = Some(gathered);
        if let (Destination::Plugin, Some(guard)) = (&destination, &mut guard) {
            // The exporter sends by itself, at any time of its call.
            guard.confirm(self.left()?)?;
        }
        let mut delivery = destination.open()?;
        self.state.lock().temporary = delivery.temporary();
        let mut failed = None;
        let done = plugin.export(&snapshot, format.as_deref(), &mut |bytes| {
            let kept = guard.as_mut().map_or(Ok(()), Guard::keep);
            kept.and_then(|()| self.left().map(drop)).map_err(|failure| {
                let error = failure.error.clone();
                failed = Some(failure);
                error
            })?;
            delivery.write(bytes)
        });
        let outcome = match (failed, done) {
            // That explains more than what the exporter made of it.
            (Some(failure), _) => return Err(failure),
            (None, done) => done?,
        };
        let Outcome { format, content_type, series, bytes, .. } = outcome;
        (run.format, run.series, run.bytes) = (format, series, bytes);
        let left = self.left()?;
        if let Some(guard) = &mut guard
            && destination != Destination::Plugin
        {
            // Not shorter than the delivery may take.
            guard.confirm(left)?;
        }
        let key = self.key(run);
        // A file of its own data does not compare: the tokens are of those that export for all.
        let token = run.token.filter(|_| run.fencing == Fencing::Fenced);
        let parcel = Parcel::new(&content_type, token, key, left);
        destination.commit(delivery, &parcel, inner.metrics.clock().unix_ns())?;
        run.ending = Ending::Delivered;
        if let Some(own) = own {
            inner.targets.exported(self.name, own);
        }
        Ok(guard.and_then(|guard| {
            // From the start of this run to that of the next one.
            let passed = inner.metrics.clock().monotonic().saturating_sub(self.start);
            guard.finish(self.rest.saturating_sub(passed))
        }))
    }

    /// What a receiver knows the attempts of one export by: the first one's token, or its id.
    fn key(&self, run: &Run) -> String {
        let first = || match run.token {
            Some(token) => format!("{}-{token}", lease_of(self.name)),
            None => run.export_id.clone(),
        };
        self.state.lock().key.get_or_insert_with(first).clone()
    }

    fn sync(&self) -> Result<(), Failure> {
        match self.part {
            Part::Member => Ok(self.engine.sync_as(self.report.tells()).map(drop)?),
            Part::Observer => Ok(()),
        }
    }

    fn admit(&self, resting: Option<Resting>) -> Admission<'_> {
        let config = &self.engine.0.config;
        let owner = Owner(crate::model::random());
        let term = Duration::from_millis(config.export.lease_ms);
        let holder = instance(config);
        admit(self.engine, &lease_of(self.name), (owner, &holder), term, resting)
    }

    /// What a run does that cannot ask for a lease: the reason is said.
    fn alone(&self, error: Error) -> Result<String, Failure> {
        let context = format!("the lease of target `{}`", self.name);
        let error = error.context(context);
        if self.part == Part::Observer || self.target.without_lease == WithoutLease::Fail {
            return Err(error.into());
        }
        tracing::warn!(target_name = self.name, "this instance exports its own data: {error}");
        Ok(error.to_string())
    }

    /// What is exported.
    fn gather(
        &self,
        guard: Option<&mut Guard<'_>>,
        because: Option<String>,
    ) -> Result<(Snapshot, Gathered), Failure> {
        let Some(guard) = guard else {
            let share = self.engine.0.config.recording.share;
            if self.part == Part::Observer && share != ShareConfig::File {
                let message = format!(
                    "target `{}` exports what this process recorded, which is nothing: hosts export \
                     it themselves, unless they share a store or an arena file",
                    self.name
                );
                return Err(Error::new(ErrorKind::Unsupported, message).into());
            }
            return Ok((self.engine.snapshot()?, Gathered::Own { because }));
        };
        let shared = self.engine.read_shared()?;
        guard.keep()?;
        self.left()?;
        Ok((shared.snapshot, Gathered::Shared { instances: shared.instances }))
    }

    /// What this instance has, where its changes are counted.
    fn fingerprint(&self) -> Result<Option<Fingerprint>, Error> {
        let strategy = self.engine.0.config.strategy_of(self.target);
        let counts = matches!(strategy, Strategy::Threshold { .. });
        counts.then(|| Fingerprint::of(&self.engine.snapshot()?)).transpose()
    }

    /// What is left of its time.
    fn left(&self) -> Result<Duration, Failure> {
        if self.stop.is_stopped() {
            let message = format!("target `{}`: it was told to end before it delivered", self.name);
            return Err(Error::new(ErrorKind::Cancelled, message).into());
        }
        let now = self.engine.clock().monotonic();
        let left = (self.start + self.timeout).saturating_sub(now);
        if !left.is_zero() {
            return Ok(left);
        }
        let message = format!("target `{}`: the deadline of {:?} passed", self.name, self.timeout);
        Err(Error::new(ErrorKind::Timeout, message).into())
    }
}
