//! An engine's part in what instances share: connect, sync, aggregate, leave.
//!
//! Everything runs on the caller's thread, before the store's deadline. A store that fails again and
//! again is left alone for a while; nothing of that reaches recording.

use std::{
    fs, mem,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    Engine,
    config::{Config, StoreKind, StrategyConfig},
};
use crate::{
    model::{Error, ErrorKind, LongMutex, fork},
    snapshot::{self, Snapshot},
    store::{Lease, Store},
    sync::{GaugeModes, Mishaps, Overview, Session, Settings, Synced},
};

/// The first time that a failing store is left alone; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a store is used for, by what it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Totals of all instances, exact, in atomic steps of the store.
    DistributedAtomic,
    /// This instance's totals only.
    LocalOnly,
}

impl Strategy {
    /// Its name in configurations and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::DistributedAtomic => "distributed_atomic",
            Self::LocalOnly => "local_only",
        }
    }
}

/// Who is told of a sync: the host's listeners, on a thread of the host only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    Listeners,
    Nobody,
}

/// How sharing stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncStatus {
    /// The kind of the store: `none`, `file`, `sqlite`, `redis`.
    pub store: &'static str,
    /// What it is used for.
    pub strategy: Strategy,
    /// Who publishes now, once it has.
    pub identity: Option<String>,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Syncs that failed.
    pub failures: u64,
    /// Failures since the last success.
    pub failures_in_a_row: u32,
    /// When the last one succeeded, Unix ns; 0: none did.
    pub last_success_ns: u64,
    /// What the last one failed with, until one succeeds.
    pub last_error: Option<String>,
    /// What happened to this instance's records.
    pub mishaps: Mishaps,
}

/// What all instances have, or what this one has.
#[derive(Debug)]
pub struct Shared {
    /// Ready to export.
    pub snapshot: Snapshot,
    /// Live instances; 1 where nothing is shared.
    pub instances: usize,
    /// What was noticed; `None` where nothing is shared.
    pub overview: Option<Notices>,
}

/// What an aggregate noticed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Notices {
    /// Families that instances disagree on.
    pub conflicts: Vec<crate::sync::Conflict>,
    /// Gauge families without a declared mode that several instances have.
    pub undeclared: Vec<String>,
    /// Values that did not fit and were clamped.
    pub clamped: u64,
    /// Series that could not be read.
    pub damaged: u64,
}

/// The engine's side of a store.
#[derive(Debug)]
pub(super) struct Share {
    state: LongMutex<State>,
    /// The process that may sync: a forked child records into its parent's cells, or has its values.
    generation: u64,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    syncs: u64,
    failures: u64,
    in_a_row: u32,
    last_success_ns: u64,
    last_error: Option<String>,
    /// Until then the store is left alone.
    pause_until: Option<Duration>,
    /// It failed: what it can is tried again before it is used.
    doubtful: bool,
}

impl Default for Share {
    fn default() -> Self {
        Self { state: LongMutex::default(), generation: fork::generation() }
    }
}

fn kind_name(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::None => "none",
        StoreKind::File => "file",
        StoreKind::Sqlite => "sqlite",
        StoreKind::Redis => "redis",
    }
}

/// What a configuration comes down to.
pub(super) fn strategy(config: &Config) -> Strategy {
    match (config.store.kind, config.sync.strategy) {
        (StoreKind::None | StoreKind::File, _) | (_, StrategyConfig::LocalOnly) => {
            Strategy::LocalOnly
        }
        _ => Strategy::DistributedAtomic,
    }
}

/// Host and process, unless the configuration has a name.
pub(super) fn instance(config: &Config) -> String {
    config.sync.instance.clone().unwrap_or_else(|| {
        let host = fs::read_to_string("/proc/sys/kernel/hostname");
        let host = host.map_or_else(|_| "localhost".into(), |host| host.trim().to_owned());
        format!("{host}:{}", std::process::id())
    })
}

fn settings(config: &Config) -> Settings {
    let sync = &config.sync;
    let hours = |hours: u64| Duration::from_secs(hours.saturating_mul(3600));
    Settings {
        name: instance(config),
        lease: Lease {
            alive: Duration::from_millis(sync.lease_ms),
            data: hours(sync.metrics_retention_hours),
        },
        retired_retention: hours(sync.retired_retention_hours),
        // They are with the families.
        gauge_modes: GaugeModes::default(),
        include_instances: sync.include_instances,
    }
}

/// Connects to the store of a configuration, and tries with a real write what it can.
fn connect(config: &Config) -> Result<Box<dyn Store>, Error> {
    let deadline = Duration::from_millis(config.store.deadline_ms);
    match config.store.kind {
        StoreKind::None | StoreKind::File => {
            Err(Error::new(ErrorKind::Internal, "a store that nothing is shared through"))
        }
        StoreKind::Sqlite => connect_sqlite(config, deadline),
        StoreKind::Redis => connect_redis(config, deadline),
    }
}

#[cfg(feature = "store-sqlite")]
fn connect_sqlite(config: &Config, deadline: Duration) -> Result<Box<dyn Store>, Error> {
    let path = config.store.path.clone().unwrap_or_default();
    let path = config.base_dir.join(path);
    Ok(Box::new(crate::store::SqliteStore::open(&path, deadline)?))
}

#[cfg(not(feature = "store-sqlite"))]
fn connect_sqlite(_: &Config, _: Duration) -> Result<Box<dyn Store>, Error> {
    Err(absent("SQLite", "store-sqlite"))
}

#[cfg(feature = "store-redis")]
fn connect_redis(config: &Config, deadline: Duration) -> Result<Box<dyn Store>, Error> {
    let store = &config.store;
    let url = match (&store.url, &store.url_file) {
        (Some(url), _) => url.clone(),
        (None, Some(file)) => {
            let path = config.base_dir.join(file);
            let text = fs::read_to_string(&path).map_err(|error| {
                Error::io(format_args!("read `store.url_file` `{}`", path.display()), &error)
                    .with_field("store.url_file")
            })?;
            text.trim().to_owned()
        }
        (None, None) => String::new(),
    };
    let settings = crate::store::RedisSettings {
        url,
        namespace: store.namespace.clone(),
        shards: store.shards,
        deadline,
    };
    Ok(Box::new(crate::store::RedisStore::connect(&settings)?))
}

#[cfg(not(feature = "store-redis"))]
fn connect_redis(_: &Config, _: Duration) -> Result<Box<dyn Store>, Error> {
    Err(absent("Redis", "store-redis"))
}

#[cfg(not(all(feature = "store-redis", feature = "store-sqlite")))]
fn absent(what: &str, feature: &str) -> Error {
    let message = format!("this build has no {what} store (cargo feature `{feature}`)");
    Error::new(ErrorKind::Unsupported, message).with_field("store.kind")
}

impl State {
    /// Refuses while the store is left alone.
    fn admit(&self, now: Duration) -> Result<(), Error> {
        match self.pause_until.and_then(|until| until.checked_sub(now)) {
            Some(left) if !left.is_zero() => {
                let reason = self.last_error.as_deref().unwrap_or("");
                let message = format!(
                    "the store is left alone for {:.1} s more, after {} failures in a row: {reason}",
                    left.as_secs_f64(),
                    self.in_a_row
                );
                Err(Error::new(ErrorKind::Unavailable, message))
            }
            _ => Ok(()),
        }
    }

    fn failed(&mut self, error: &Error, now: Duration, breaker: u32) {
        self.failures += 1;
        self.doubtful = true;
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.last_error = Some(error.to_string());
        if breaker == 0 || self.in_a_row < breaker {
            return;
        }
        let doubled = FIRST_PAUSE.saturating_mul(1 << (self.in_a_row - breaker).min(16));
        let pause = doubled.min(LONGEST_PAUSE);
        // Many instances lose the same store at once: they do not come back all together.
        self.pause_until = Some(now + pause.mul_f64(0.5 + jitter()));
    }

    /// The session, connected at first use.
    fn session(&mut self, config: &Config) -> Result<&mut Session, Error> {
        if self.session.is_none() {
            let store = connect(config)?;
            let strategy = Strategy::DistributedAtomic.name();
            let kind = kind_name(config.store.kind);
            let scope =
                if config.store.kind == StoreKind::Sqlite { "this host" } else { "all hosts" };
            tracing::info!(store = kind, strategy, scope, "totals are shared");
            self.session = Some(Session::new(store, settings(config)));
        }
        let session = self.session.as_mut();
        let session =
            session.ok_or_else(|| Error::new(ErrorKind::Internal, "there is no session"))?;
        if mem::take(&mut self.doubtful)
            && let Err(error) = session.probe()
        {
            self.doubtful = true;
            return Err(error);
        }
        Ok(session)
    }
}

fn status(config: &Config, state: &State) -> SyncStatus {
    let session = state.session.as_ref();
    SyncStatus {
        store: kind_name(config.store.kind),
        strategy: strategy(config),
        identity: session.map(|session| session.identity().to_string()),
        syncs: state.syncs,
        failures: state.failures,
        failures_in_a_row: state.in_a_row,
        last_success_ns: state.last_success_ns,
        last_error: state.last_error.clone(),
        mishaps: session.map(Session::mishaps).unwrap_or_default(),
    }
}

/// From 0 to 1, evenly enough.
pub(super) fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
}

impl Share {
    pub(super) fn own_process(&self) -> Result<(), Error> {
        if fork::generation() == self.generation {
            return Ok(());
        }
        let message = "this process was forked from the one that shares, whose syncs publish what both \
                       record: open an engine in the child for totals of its own";
        Err(Error::new(ErrorKind::Unsupported, message))
    }
}

impl Engine {
    /// Writes what changed to the store, and retires the instances that ended. On this thread.
    ///
    /// After Ok every value that was recorded before the call is in the store. What fails is written
    /// by the next one. Where nothing is shared it does nothing; with a `file` store it saves this
    /// instance's snapshot file.
    ///
    /// # Errors
    /// What the store answers, Timeout, Unavailable while a failing store is left alone,
    /// Unsupported for a store that this build lacks and in a forked child.
    pub fn sync(&self) -> Result<Synced, Error> {
        self.sync_as(Tell::Listeners)
    }

    pub(super) fn sync_as(&self, tell: Tell) -> Result<Synced, Error> {
        self.0.share.own_process()?;
        let config = &self.0.config;
        match (strategy(config), config.store.kind) {
            (Strategy::LocalOnly, StoreKind::File) => self.synced(tell, |_, snapshot| {
                let path = self.own_file();
                snapshot::save(snapshot, &path)?;
                Ok(Synced { series: snapshot.series_count(), ..Synced::default() })
            }),
            (Strategy::LocalOnly, _) => Ok(Synced::default()),
            _ => self.synced(tell, |state, snapshot| state.session(config)?.sync(snapshot)),
        }
    }

    /// Writes for the last time, and retires this instance at once: its counts stay, its gauges go.
    ///
    /// Without it the instance is retired when its lease ends. A later sync goes on under another
    /// identity.
    ///
    /// # Errors
    /// As [`Engine::sync`].
    pub fn leave(&self) -> Result<Synced, Error> {
        self.0.share.own_process()?;
        let config = &self.0.config;
        match (strategy(config), config.store.kind) {
            (Strategy::LocalOnly, StoreKind::File) => {
                let path = self.own_file();
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        Err(Error::io(format_args!("remove `{}`", path.display()), &error))
                    }
                    _ => Ok(Synced::default()),
                }
            }
            (Strategy::LocalOnly, _) => Ok(Synced::default()),
            _ => self.synced(Tell::Listeners, |state, snapshot| {
                state.session(config)?.withdraw(snapshot)
            }),
        }
    }

    /// Syncs, and reads what all instances have; where nothing is shared, what this one has.
    ///
    /// # Errors
    /// As [`Engine::sync`].
    pub fn shared(&self) -> Result<Shared, Error> {
        if strategy(&self.0.config) == Strategy::LocalOnly {
            return Ok(Shared { snapshot: self.snapshot()?, instances: 1, overview: None });
        }
        self.sync()?;
        self.read_shared()
    }

    /// Reads what all instances have, without being one of them.
    ///
    /// # Errors
    /// As [`Engine::sync`]; Unsupported where nothing is shared.
    pub fn read_shared(&self) -> Result<Shared, Error> {
        self.0.share.own_process()?;
        let config = &self.0.config;
        if strategy(config) == Strategy::LocalOnly {
            let message = format!(
                "a store of kind `{}` has no totals of all instances",
                kind_name(config.store.kind)
            );
            return Err(Error::new(ErrorKind::Unsupported, message).with_field("store.kind"));
        }
        let own = self.snapshot()?;
        let mut state = self.0.share.state.lock();
        let (overview, _) = state.session(config)?.aggregate(&own)?;
        drop(state);
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
    pub(super) fn with_store(
        &self,
        act: &mut dyn FnMut(&mut dyn Store) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.0.share.own_process()?;
        let config = &self.0.config;
        if strategy(config) == Strategy::LocalOnly {
            let message = "no store is shared: `[store]` in the configuration";
            return Err(Error::new(ErrorKind::Unsupported, message).with_field("store.kind"));
        }
        let mut state = self.0.share.state.lock();
        state.admit(self.0.metrics.clock().monotonic())?;
        act(state.session(config)?.store())
    }

    /// How sharing stands. Waits for a sync that runs.
    #[must_use]
    pub fn sync_status(&self) -> SyncStatus {
        let config = &self.0.config;
        if let Err(error) = self.0.share.own_process() {
            // Of the parent's, which may have been in the middle of a sync.
            let mut status = status(config, &State::default());
            status.last_error = Some(error.to_string());
            return status;
        }
        status(config, &self.0.share.state.lock())
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
        act: impl FnOnce(&mut State, &Snapshot) -> Result<Synced, Error>,
    ) -> Result<Synced, Error> {
        let config = &self.0.config;
        let clock = self.0.metrics.clock();
        let mut state = self.0.share.state.lock();
        state.admit(clock.monotonic())?;
        // After the lock: what was recorded while another one synced is in this one.
        let snapshot = self.snapshot()?;
        let start = Instant::now();
        let before = state.session.as_ref().map(Session::mishaps).unwrap_or_default();
        let result = act(&mut state, &snapshot);
        match &result {
            Ok(_) => {
                state.syncs += 1;
                (state.in_a_row, state.last_error, state.pause_until) = (0, None, None);
                state.last_success_ns = clock.unix_ns();
            }
            Err(error) => {
                state.failed(error, clock.monotonic(), config.sync.breaker_failures);
            }
        }
        let after = state.session.as_ref().map(Session::mishaps).unwrap_or_default();
        drop(state);
        self.0.sync_meter.record(&result, start.elapsed(), (before, after));
        if let (Ok(done), Tell::Listeners) = (&result, tell) {
            let fields = [
                ("store", kind_name(config.store.kind).into()),
                ("strategy", strategy(config).name().into()),
                ("series", done.series.into()),
                ("bytes", done.bytes.into()),
                ("duration", start.elapsed().as_secs_f64().into()),
            ];
            if let Err(error) = self.0.events.publish("cache.synced", &fields) {
                tracing::error!("cache.synced was not published: {error}");
            }
        }
        result
    }
}
