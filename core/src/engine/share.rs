//! An engine's part in what instances share: connect, sync, aggregate, leave.
//!
//! Everything runs on the caller's thread, before the deadlines of the store and of a sync. A store that fails again and
//! again is left alone for a while; nothing of that reaches recording.

mod calls;

use std::{
    fmt, fs, mem,
    ops::{Deref, DerefMut},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use once_cell::race::OnceBox;

use super::{
    Engine,
    config::{Config, StoreKind},
    connect::{HostStore, Plan, connect, expected, kind, kind_name, place, plan},
};
use crate::{
    export::timing::Backoff,
    model::{Error, ErrorKind, LongMutex, LongMutexGuard, Mutex, fork, own_thread},
    snapshot::Snapshot,
    store::{Lease, Strategy},
    sync::{GaugeModes, Mishaps, Session, Settings},
};

/// How long a store that failed again and again is left alone, and one that kept nothing. Many instances
/// lose the same store at once: they do not come back all together.
const PAUSE: Backoff =
    Backoff { retries: u32::MAX, first: Duration::from_secs(1), longest: Duration::from_secs(60) };
/// The first time after which a failed background sync is tried again; it doubles up to the interval.
const FIRST_RETRY: Duration = Duration::from_millis(250);

/// What a store that kept nothing cannot do, for people.
const KEPT_NOTHING: &str = "nothing is shared: the store did not give back what was written. It is tried \
                            again, after a second at first, after a minute at most";

/// Who is told of a sync: the host's listeners, on a thread of the host only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    Listeners,
    Nobody,
}

/// How sharing stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncStatus {
    /// The kind of the store: `none`, `null`, `file`, `sqlite`, `redis`, `memcached`, `host`.
    pub store: &'static str,
    /// What it is used for; before it was asked, what it is expected to be.
    pub strategy: Strategy,
    /// Whether it was asked what it can.
    pub probed: bool,
    /// What it cannot do, for people.
    pub cannot: Option<&'static str>,
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
    /// Syncs that were another process's turn, or left to it.
    pub skipped: u64,
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
pub(super) struct Share {
    /// Of the process that opened the engine; those of its children follow.
    first: Had,
    /// Makes the host's own store, if the host gave one.
    host: Mutex<Option<Arc<HostStore>>>,
    /// Whether the host gave a store of its own. Changed with the lock of the background thread, so that
    /// there is never both.
    pub(super) has_host: AtomicBool,
}

/// How one process shares. A forked child begins anew, with a connection of its own: what its parent's
/// thread may have been in the middle of is left alone.
#[derive(Debug)]
struct Had {
    generation: u64,
    state: LongMutex<State>,
    /// The thread that has the state, which may be inside a function of the host's store.
    holder: AtomicUsize,
    next: OnceBox<Had>,
}

impl Had {
    fn new(host: Option<Arc<HostStore>>) -> Self {
        let state = LongMutex::new(State { host, ..State::default() });
        let (holder, next) = (AtomicUsize::new(0), OnceBox::new());
        Self { generation: fork::generation(), state, holder, next }
    }
}

impl Drop for Had {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // The parent's connections: to end them is to talk on them.
            mem::forget(mem::take(self.state.get_mut()));
        }
    }
}

#[derive(Default)]
struct State {
    session: Option<Session>,
    /// What the store turned out to be used for.
    found: Option<Strategy>,
    /// Makes the host's own store, if the host gave one.
    host: Option<Arc<HostStore>>,
    syncs: u64,
    skipped: u64,
    failures: u64,
    in_a_row: u32,
    /// Failures since the last success that were others' coming first: the store is there.
    contended: u32,
    last_success_ns: u64,
    last_error: Option<String>,
    /// How often the store was found to keep nothing, and when it is tried again.
    in_vain: u32,
    probe_at: Option<Duration>,
    /// Until then the store is left alone.
    pause_until: Option<Duration>,
    /// It failed: what it can is tried again before it is used.
    doubtful: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Default for Share {
    fn default() -> Self {
        Self { first: Had::new(None), host: Mutex::default(), has_host: AtomicBool::new(false) }
    }
}

thread_local! {
    /// Its address is this thread's.
    static HERE: u8 = const { 0 };
}

/// The state, had by this thread.
struct Locked<'a> {
    state: LongMutexGuard<'a, State>,
    holder: &'a AtomicUsize,
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.holder.store(0, Relaxed);
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

fn settings(config: &Config, kind: StoreKind) -> Settings {
    let sync = &config.sync;
    let hours = |hours: u64| Duration::from_secs(hours.saturating_mul(3600));
    Settings {
        name: instance(config),
        lease: Lease { alive: config.sync_lease(), data: hours(sync.metrics_retention_hours) },
        retired_retention: hours(sync.retired_retention_hours),
        patience: Duration::from_millis(config.store.deadline_ms),
        // They are with the families.
        gauge_modes: GaugeModes::default(),
        include_instances: sync.include_instances,
        place: place(config, kind),
    }
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
        self.last_error = Some(error.to_string());
        if error.is_contended() {
            self.contended = self.contended.saturating_add(1);
            return;
        }
        self.doubtful = true;
        self.in_a_row = self.in_a_row.saturating_add(1);
        if breaker == 0 || self.in_a_row < breaker {
            return;
        }
        let pause = PAUSE.delay(self.in_a_row - breaker + 1, None, jitter());
        self.pause_until = pause.map(|pause| now + pause);
    }

    /// Failures since the last success, of every kind.
    fn failed_in_a_row(&self) -> u32 {
        self.in_a_row.saturating_add(self.contended)
    }

    /// How long a background sync waits after a failure: until the store is asked again, or else less
    /// than until the next one would come.
    fn retry_in(&self, now: Duration, interval: Duration) -> Duration {
        let retry = Backoff { retries: u32::MAX, first: FIRST_RETRY, longest: interval };
        let paused = self.pause_until.and_then(|until| until.checked_sub(now));
        let paused = paused.filter(|left| !left.is_zero());
        paused.or_else(|| retry.delay(self.failed_in_a_row(), None, jitter())).unwrap_or(interval)
    }

    /// What a configuration comes down to now, with what is known of the store.
    fn plan(&self, config: &Config, now: Duration) -> Plan {
        match self.probe_at {
            Some(at) if now < at => Plan::Alone,
            _ => plan(config, self.host.is_some()),
        }
    }

    /// The store does not give back what was written. It may have lost one item by chance, or come to
    /// itself: it is tried again, ever more rarely.
    fn keeps_nothing(&mut self, kind: StoreKind, now: Duration) {
        if self.in_vain == 0 {
            tracing::warn!(store = kind_name(kind), "{KEPT_NOTHING}");
        }
        self.in_vain = self.in_vain.saturating_add(1);
        self.found = Some(Strategy::LocalOnly);
        self.probe_at = PAUSE.delay(self.in_vain, None, jitter()).map(|pause| now + pause);
    }

    /// The session, connected at first use; `None` for a store that keeps nothing, as far as is known. What
    /// is done with it ends at `end`, if there is one.
    fn session(
        &mut self,
        engine: &Engine,
        end: Option<Instant>,
    ) -> Result<Option<&mut Session>, Error> {
        let (config, metrics) = (&engine.0.config, &engine.0.metrics);
        if self.host.is_some() && own_thread::is_own() {
            let message = "the host's own store is called on the host's threads only";
            return Err(Error::new(ErrorKind::Unsupported, message).with_field("store.kind"));
        }
        if self.session.is_none() {
            let kind = kind(config, self.host.is_some());
            let store = connect(config, kind, self.host.as_ref(), metrics.clock(), end)?;
            let Some(store) = store else {
                self.keeps_nothing(kind, metrics.clock().monotonic());
                return Ok(None);
            };
            self.found = Some(store.strategy());
            (self.in_vain, self.probe_at) = (0, None);
            self.session = Some(Session::of(metrics, store, settings(config, kind)));
        }
        if let Some(session) = &mut self.session {
            session.end_by(end);
        }
        if let Some(session) = self.session.as_mut().filter(|_| mem::take(&mut self.doubtful))
            && let Err(error) = session.probe()
        {
            self.doubtful = true;
            return Err(error);
        }
        Ok(self.session.as_mut())
    }
}

fn status(config: &Config, state: &State) -> SyncStatus {
    let session = state.session.as_ref();
    let has_host = state.host.is_some();
    let strategy = state.found.unwrap_or_else(|| expected(plan(config, has_host), config));
    let kind = kind(config, has_host);
    let cannot = if state.in_vain > 0 { Some(KEPT_NOTHING) } else { strategy.cannot() };
    SyncStatus {
        store: kind_name(kind),
        strategy,
        probed: state.found.is_some(),
        cannot: cannot.filter(|_| kind != StoreKind::None),
        identity: session.map(|session| session.identity().to_string()),
        syncs: state.syncs,
        failures: state.failures,
        failures_in_a_row: state.failed_in_a_row(),
        last_success_ns: state.last_success_ns,
        last_error: state.last_error.clone(),
        skipped: state.skipped,
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
        if fork::generation() == self.first.generation {
            return Ok(());
        }
        let message = "this process was forked from the one that opened the engine, whose this is";
        Err(Error::new(ErrorKind::Unsupported, message))
    }

    /// The state, unless this is called from inside a function of the host's store, which has it.
    fn lock(&self) -> Result<Locked<'_>, Error> {
        let here = HERE.with(|here| std::ptr::from_ref(here).addr());
        let had = self.had();
        if had.holder.load(Relaxed) == here {
            let message = "called by a function of the host's store, in the middle of a sync";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let state = had.state.lock();
        had.holder.store(here, Relaxed);
        Ok(Locked { state, holder: &had.holder })
    }

    /// This process's.
    fn had(&self) -> &Had {
        let here = fork::generation();
        let mut had = &self.first;
        while had.generation != here {
            had = had.next.get_or_init(|| Box::new(Had::new(self.host.lock().clone())));
        }
        had
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn who_others_came_before_waits_ever_longer_and_does_not_give_the_store_up() {
        const BREAKER: u32 = 3;
        let (mut state, now, interval) =
            (State::default(), Duration::ZERO, Duration::from_secs(30));
        let contended = Error::new(ErrorKind::Unavailable, "others").with_contention();
        for attempt in 0..10 {
            state.failed(&contended, now, BREAKER);
            state.admit(now).unwrap();
            assert!(!state.doubtful);
            let usual = (FIRST_RETRY * (1 << attempt)).min(interval);
            let waits: BTreeSet<_> = (0..20).map(|_| state.retry_in(now, interval)).collect();
            assert!(waits.len() > 10, "all at once: {waits:?}");
            let around = usual.mul_f64(0.5)..=usual.mul_f64(1.5);
            assert!(waits.iter().all(|wait| around.contains(wait)), "{attempt}: {waits:?}");
        }
        assert_eq!((state.failures, state.failed_in_a_row()), (10, 10));
        // What it does fail with is counted as before.
        let away = Error::new(ErrorKind::Io, "away");
        for _ in 1..BREAKER {
            state.failed(&away, now, BREAKER);
            state.admit(now).unwrap();
        }
        state.failed(&away, now, BREAKER);
        assert!(state.doubtful && state.admit(now).is_err());
    }
}
