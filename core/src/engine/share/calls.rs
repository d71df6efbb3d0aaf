//! What a host calls: connect, sync, aggregate, leave.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use super::{
    super::{
        Engine,
        config::StoreKind,
        connect::{HostStore, Plan, expected, kind, kind_name, plan},
    },
    Notices, Shared, State, SyncStatus, Tell, instance, status,
};
use crate::{
    model::{Error, ErrorKind},
    plugin::Syncs,
    snapshot::{self, Snapshot},
    store::{Store, Strategy},
    sync::{Overview, Session, Synced},
};

impl Engine {
    /// Shares through a store of the host's own: `make` returns what keeps its items. It is called
    /// when the store is first used, on the threads that call [`Engine::sync`] and the like.
    ///
    /// The configuration's `store.kind` is `host`, or absent.
    ///
    /// # Errors
    /// AlreadyExists when there is one, Config for another kind of store, Unsupported in a forked
    /// child, and while syncs run in the background.
    pub fn set_store(
        &self,
        make: impl Fn() -> Result<Box<dyn crate::store::KeyValue>, Error> + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.0.share.own_process()?;
        let configured = self.0.config.store.kind;
        if !matches!(configured, StoreKind::None | StoreKind::Host) {
            let message = format!(
                "the host gives a store of its own, and the configuration's is \"{}\"",
                kind_name(configured)
            );
            return Err(Error::new(ErrorKind::Config, message).with_field("store.kind"));
        }
        // In this order: a function of a store, which has the state, may end the thread.
        let mut state = self.0.share.lock()?;
        if state.host.is_some() {
            let message = "the host has given a store of its own already";
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        self.0.background.without(|| self.0.share.has_host.store(true, Relaxed))?;
        let make: Arc<HostStore> = Arc::new(make);
        *self.0.share.host.lock() = Some(Arc::clone(&make));
        state.host = Some(make);
        Ok(())
    }

    /// Writes what changed to the store, and retires the instances that ended. On this thread.
    ///
    /// After Ok every value that was recorded before the call is in the store. What fails is written
    /// by the next one. Where nothing is shared it does nothing; with a `file` store it saves this
    /// instance's snapshot file.
    ///
    /// Of the processes that share an arena any may sync, one at a time: while another one does so,
    /// nothing is sent, and [`Synced::skipped_for`] says whose turn it was.
    ///
    /// # Errors
    /// What the store answers, Timeout, Unavailable while a failing store is left alone and where other
    /// instances came first at each try, which a later call may not meet; Unsupported for a store that this build lacks, and in a forked child that has a copy of its
    /// parent's values; Conflict where the arena is published to another store, Damaged where it does
    /// not say how far it was.
    pub fn sync(&self) -> Result<Synced, Error> {
        self.sync_as(Tell::Listeners)
    }

    pub(in crate::engine) fn sync_as(&self, tell: Tell) -> Result<Synced, Error> {
        self.shared_by(tell, Session::sync, |engine, snapshot| {
            snapshot::save(snapshot, &engine.own_file())?;
            Ok(Synced { series: snapshot.series_count(), ..Synced::default() })
        })
    }

    /// Writes for the last time, and retires this instance at once: its counts stay, its gauges go.
    ///
    /// Without it the instance is retired when its lease ends. A later sync goes on under another
    /// identity. Where other processes have the same arena, it syncs: they go on.
    ///
    /// # Errors
    /// As [`Engine::sync`].
    pub fn leave(&self) -> Result<Synced, Error> {
        if self.is_shared()? && self.0.metrics.processes().len() > 1 {
            return self.sync();
        }
        self.shared_by(Tell::Listeners, Session::withdraw, |engine, _| {
            let path = engine.own_file();
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(Error::io(format_args!("remove `{}`", path.display()), &error))
                }
                _ => Ok(Synced::default()),
            }
        })
    }

    /// Does with the store, or with this instance's file, what the configuration comes down to.
    fn shared_by(
        &self,
        tell: Tell,
        through: impl FnOnce(&mut Session, &Snapshot) -> Result<Synced, Error>,
        to_file: impl FnOnce(&Self, &Snapshot) -> Result<Synced, Error>,
    ) -> Result<Synced, Error> {
        self.has_own_totals()?;
        match self.plan_now()? {
            Plan::Alone => Ok(Synced::default()),
            Plan::File => self.synced(tell, |_, snapshot| to_file(self, &snapshot()?)),
            Plan::Shared(_) => self.synced(tell, |state, snapshot| {
                let Some(session) = state.session(self, self.end_of_sync())? else {
                    return Ok(Synced::default());
                };
                if let Some(other) = self.whose_turn(tell, session)? {
                    return Ok(Synced { skipped_for: Some(other), ..Synced::default() });
                }
                // Taken in the turn: an older one would take back what another process published.
                let done = snapshot().and_then(|snapshot| through(session, &snapshot));
                session.end();
                done
            }),
        }
    }

    /// When a sync that begins now has to end.
    fn end_of_sync(&self) -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(self.0.config.sync.deadline_ms))
    }

    /// The process whose turn to publish the arena it is, if it is not this one's: it is then.
    fn whose_turn(&self, tell: Tell, session: &mut Session) -> Result<Option<u32>, Error> {
        // Background syncs leave it to the process that published last, while it is there.
        let patience = self.0.config.sync_interval().mul_f64(1.5);
        match session.other_publisher() {
            Some((other, ago)) if tell == Tell::Nobody && ago < patience => Ok(Some(other)),
            _ => session.begin(),
        }
    }

    /// Refuses in a child that has a copy of its parent's values.
    fn has_own_totals(&self) -> Result<(), Error> {
        if self.0.share.own_process().is_ok() || self.0.metrics.is_safe_in_children() {
            return Ok(());
        }
        let message = "this process was forked, and this system copied the values of its parent, which \
                       publishes them: open an engine in the child for totals of its own";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// Syncs, and reads what all instances have; where nothing is shared, what this one has.
    ///
    /// # Errors
    /// As [`Engine::sync`].
    pub fn shared(&self) -> Result<Shared, Error> {
        self.shared_as(Tell::Listeners)
    }

    pub(in crate::engine) fn shared_as(&self, tell: Tell) -> Result<Shared, Error> {
        if self.is_shared()? {
            self.sync_as(tell)?;
            // It may have found that the store keeps nothing.
            if self.0.share.lock()?.session.is_some() {
                return self.read_shared();
            }
        }
        Ok(Shared { snapshot: self.snapshot()?, instances: 1, overview: None })
    }

    fn is_shared(&self) -> Result<bool, Error> {
        Ok(matches!(self.plan_now()?, Plan::Shared(_)))
    }

    fn plan_now(&self) -> Result<Plan, Error> {
        Ok(self.0.share.lock()?.plan(&self.0.config, self.0.metrics.clock().monotonic()))
    }

    /// Reads what all instances have, without being one of them.
    ///
    /// # Errors
    /// As [`Engine::sync`]; Unsupported where nothing is shared.
    pub fn read_shared(&self) -> Result<Shared, Error> {
        let config = &self.0.config;
        let own = self.snapshot()?;
        let mut state = self.0.share.lock()?;
        let session = match state.plan(config, self.0.metrics.clock().monotonic()) {
            Plan::Shared(_) => state.session(self, self.end_of_sync())?,
            Plan::Alone | Plan::File => None,
        };
        let Some(session) = session else {
            let kind = kind_name(kind(config, state.host.is_some()));
            let message = format!("a store of kind `{kind}` has no totals of all instances");
            return Err(Error::new(ErrorKind::Unsupported, message).with_field("store.kind"));
        };
        let (overview, retirement) = session.aggregate(&own)?;
        drop(state);
        self.0.sync_meter.retired(&retirement);
        let Overview { snapshot, instances, conflicts, undeclared, clamped, damaged } = overview;
        for conflict in &conflicts {
            let (metric, shown_as) = (&conflict.family, conflict.shown_as.join(", "));
            tracing::warn!(metric, shown_as, "instances disagree on what this metric is");
        }
        if !undeclared.is_empty() {
            let metrics = undeclared.join(", ");
            tracing::warn!(
                metrics,
                "gauges of several instances without a mode: describe them with one, or name them in \
                 [sync.gauge_modes]"
            );
        }
        let overview = Some(Notices { conflicts, undeclared, clamped, damaged });
        Ok(Shared { snapshot, instances, overview })
    }

    /// Calls `act` with the store that instances share, once; waits for a sync that runs.
    ///
    /// # Errors
    /// Unsupported where nothing is shared and in a forked child, Unavailable while a failing store is
    /// left alone, what connecting to it or `act` answered.
    pub(in crate::engine) fn with_store(
        &self,
        act: &mut dyn FnMut(&mut dyn Store) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.0.share.own_process()?;
        let config = &self.0.config;
        let mut state = self.0.share.lock()?;
        let now = self.0.metrics.clock().monotonic();
        let session = match state.plan(config, now) {
            Plan::Shared(_) => {
                state.admit(now)?;
                // Each step of whatever it is has its deadline.
                state.session(self, None)?
            }
            Plan::Alone | Plan::File => None,
        };
        let session = session.ok_or_else(|| {
            let message = "no store is shared: `[store]` in the configuration";
            Error::new(ErrorKind::Unsupported, message).with_field("store.kind")
        })?;
        act(session.store())
    }

    /// What the configuration and a store of the host's own lead to expect, without asking the store.
    pub(in crate::engine) fn expected_strategy(&self) -> Strategy {
        let config = &self.0.config;
        expected(plan(config, self.0.share.has_host.load(Relaxed)), config)
    }

    /// How long a background sync waits after one that failed.
    pub(in crate::engine) fn sync_retry_in(&self) -> Duration {
        let interval = self.0.config.sync_interval();
        match self.0.share.lock() {
            Ok(state) => state.retry_in(self.0.metrics.clock().monotonic(), interval),
            Err(_) => interval,
        }
    }

    /// How sharing stands. Waits for a sync that runs.
    #[must_use]
    pub fn sync_status(&self) -> SyncStatus {
        let config = &self.0.config;
        match self.0.share.lock() {
            Ok(state) => status(config, &state),
            Err(error) => {
                let mut status = status(config, &State::default());
                status.last_error = Some(error.to_string());
                status
            }
        }
    }

    /// The snapshot file of a file store.
    fn own_file(&self) -> PathBuf {
        let config = &self.0.config;
        let folder = config.base_dir.join(config.store.path.clone().unwrap_or_default());
        let named = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name: String = instance(config).chars().map(named).collect();
        folder.join(format!("{name}.tlysnap"))
    }

    /// Does one sync, and notes how it went.
    fn synced(
        &self,
        tell: Tell,
        act: impl FnOnce(&mut State, &dyn Fn() -> Result<Snapshot, Error>) -> Result<Synced, Error>,
    ) -> Result<Synced, Error> {
        let config = &self.0.config;
        let clock = self.0.metrics.clock();
        let mut state = self.0.share.lock()?;
        state.admit(clock.monotonic())?;
        let start = Instant::now();
        let before = state.session.as_ref().map(Session::mishaps).unwrap_or_default();
        // After the lock: what was recorded while another one synced is in this one.
        let result = act(&mut state, &|| self.snapshot());
        match &result {
            Ok(done) if done.skipped_for.is_some() => {
                state.skipped += 1;
                return result;
            }
            Ok(_) => {
                state.syncs += 1;
                (state.in_a_row, state.contended) = (0, 0);
                (state.last_error, state.pause_until) = (None, None);
                state.last_success_ns = clock.unix_ns();
            }
            Err(error) => {
                state.failed(error, clock.monotonic(), config.sync.breaker_failures);
            }
        }
        let after = state.session.as_ref().map(Session::mishaps).unwrap_or_default();
        let told = status(config, &state);
        drop(state);
        self.0.sync_meter.record(&result, start.elapsed(), (before, after));
        if let (Ok(done), Tell::Listeners) = (&result, tell) {
            let fields = [
                ("store", told.store.into()),
                ("strategy", told.strategy.name().into()),
                ("series", done.series.into()),
                ("bytes", done.bytes.into()),
                ("duration", start.elapsed().as_secs_f64().into()),
            ];
            if let Err(error) = self.0.events.publish("cache.synced", &fields) {
                tracing::error!("cache.synced was not published: {error}");
            }
        }
        if let Ok(done) = &result {
            self.0.plugins.synced(&Syncs {
                count: 1,
                series: done.series,
                bytes: done.bytes,
                duration: start.elapsed(),
                store: told.store.into(),
                strategy: told.strategy.name().into(),
            });
        }
        result
    }
}
