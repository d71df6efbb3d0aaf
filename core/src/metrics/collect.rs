//! Functions that are called before a snapshot: for values that are asked for, not kept.
//!
//! They run on the thread that takes the snapshot, one after the other, in the order of their
//! registration, with no lock held; each runs on one thread at a time. Inside one, snapshots are
//! taken as the values are: no function is called in another. A function that fails or panics is
//! counted and logged, and disturbs nobody else. What it has to do with a snapshot is not here.

use std::{
    cell::Cell,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use super::handle::{Counter, CounterF64, Gauge};
use crate::model::{Error, ErrorKind, Mutex, TurnLock, fork, own_thread, panic_text};

/// What a function is asked for. It answers on the thread that takes a snapshot.
pub type Asked<T> = Box<dyn Fn() -> Result<T, Error> + Send + Sync>;

/// A function, and what becomes of its answer.
pub enum Ask {
    /// Any value: the gauge is set to it.
    Gauge(Asked<f64>),
    /// A total that never falls: what it rose by is added to the counter. One that fell began anew.
    Counter(Asked<u64>),
    /// As `Counter`, for finite totals that are not negative.
    CounterF64(Asked<f64>),
    /// Nothing: the function records what it likes, through handles of its own.
    All(Asked<()>),
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

impl Ask {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Gauge(_) => "gauge",
            Self::Counter(_) => "counter",
            Self::CounterF64(_) => "counter_f64",
            Self::All(_) => "all",
        }
    }
}

/// On which threads a function may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Threads {
    /// On those that ask for a snapshot themselves. One that this library takes on a thread of its own
    /// (a sync in the background) has the values of the last call.
    #[default]
    Hosts,
    /// On any.
    Any,
}

/// A function and where its answers go.
pub(super) enum Way {
    Gauge(Gauge, Asked<f64>),
    Counter(Counter, Told<u64>, Asked<u64>),
    CounterF64(CounterF64, Told<f64>, Asked<f64>),
    All(Asked<()>),
}

/// The last total, and the process that heard it.
pub(super) struct Told<T>(Mutex<(u64, Option<T>)>);

impl<T> Default for Told<T> {
    fn default() -> Self {
        Self(Mutex::new((fork::generation(), None)))
    }
}

impl<T: Copy + PartialOrd + std::ops::Sub<Output = T> + Default> Told<T> {
    /// What is to be added for a new total.
    ///
    /// A forked child's first total is where it begins: what its parent counted, the parent adds.
    fn rise(&self, total: T) -> T {
        let now = fork::generation();
        let mut told = self.0.lock();
        let (generation, last) = std::mem::replace(&mut *told, (now, Some(total)));
        match last {
            _ if generation != now => T::default(),
            Some(last) if last <= total => total - last,
            _ => total,
        }
    }
}

impl Way {
    fn ask(&self) -> Result<(), Error> {
        match self {
            Self::Gauge(gauge, function) => gauge.set(function()?),
            Self::Counter(counter, told, function) => counter.add(told.rise(function()?)),
            Self::CounterF64(counter, told, function) => {
                let total = function()?;
                if !(total >= 0.0 && total.is_finite()) {
                    let message = format!("a total of {total}: it must be finite and >= 0");
                    return Err(Error::invalid("total", message));
                }
                counter.add(told.rise(total))?;
            }
            Self::All(function) => function()?,
        }
        Ok(())
    }
}

thread_local! {
    /// A function runs on this thread.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// A function runs on this thread, until this is dropped.
struct Inside {
    before: bool,
}

impl Inside {
    fn enter() -> Self {
        Self { before: INSIDE.replace(true) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.before);
    }
}

/// One registered function.
pub(super) struct Entry {
    name: String,
    kind: &'static str,
    threads: Threads,
    calls: AtomicU64,
    failures: AtomicU64,
    last_error: Mutex<Option<String>>,
    /// It is not called any more.
    ended: AtomicBool,
    /// Held while it runs.
    turn: TurnLock,
    /// `None` once it was let go.
    way: Mutex<Option<Arc<Way>>>,
}

/// What a function is and did, for introspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorInfo {
    /// Its series, or the name that it was given.
    pub name: String,
    /// `gauge`, `counter`, `counter_f64` or `all`.
    pub kind: &'static str,
    /// Calls that succeeded.
    pub calls: u64,
    /// Calls that failed or panicked.
    pub failures: u64,
    /// Message of the last of them.
    pub last_error: Option<String>,
}

impl Entry {
    pub(super) fn new(name: String, kind: &'static str, threads: Threads, way: Way) -> Self {
        Self {
            name,
            kind,
            threads,
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            last_error: Mutex::default(),
            ended: AtomicBool::new(false),
            turn: TurnLock::default(),
            way: Mutex::new(Some(Arc::new(way))),
        }
    }

    fn may_run_here(&self) -> bool {
        self.threads == Threads::Any || !own_thread::is_own()
    }

    /// Calls it, after a call of another thread that runs. What went wrong, if that is to be told.
    fn call(&self) -> Option<Error> {
        let turn = self.turn.lock();
        let way = (!self.ended.load(Acquire)).then(|| self.way.lock().clone()).flatten();
        let done = way.map(|way| {
            let inside = Inside::enter();
            // The share of it goes inside too: in a child of a fork that it made it may be the last.
            let done = catch_unwind(AssertUnwindSafe(move || way.ask()));
            drop(inside);
            done.unwrap_or_else(|payload| Err(Error::new(ErrorKind::Panic, panic_text(payload))))
        });
        drop(turn);
        // Somebody ended it during the call, and could not wait: the last call lets go.
        if self.ended.load(Acquire)
            && let Some(_turn) = self.turn.try_lock()
        {
            self.let_go();
        }
        match done? {
            Ok(()) => {
                self.calls.fetch_add(1, Relaxed);
                None
            }
            Err(error) => {
                self.failed(&error);
                Some(error)
            }
        }
    }

    #[cold]
    fn failed(&self, error: &Error) {
        *self.last_error.lock() = Some(error.to_string());
        let failures = self.failures.fetch_add(1, Relaxed) + 1;
        // One that always fails fills no log: the 1st, 2nd, 4th, 8th … failure is written.
        if failures.is_power_of_two() {
            tracing::warn!(collector = self.name, failures, "a collect function failed: {error}");
        }
    }

    /// Ends it. No call of it runs when this returns, unless this thread is inside a function: then
    /// the last call lets go of it.
    fn end(&self) {
        self.ended.store(true, Release);
        let turn = match INSIDE.get() {
            true => self.turn.try_lock(),
            false => Some(self.turn.lock()),
        };
        if turn.is_some() {
            self.let_go();
        }
    }

    /// Drops the function, in its turn. What it owns may call the library, and may panic as it goes.
    fn let_go(&self) {
        let _inside = Inside::enter();
        let way = self.way.lock().take();
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(way))) {
            let what = panic_text(payload);
            tracing::warn!(collector = self.name, "a collect function failed as it ended: {what}");
        }
    }

    fn info(&self) -> CollectorInfo {
        CollectorInfo {
            name: self.name.clone(),
            kind: self.kind,
            calls: self.calls.load(Relaxed),
            failures: self.failures.load(Relaxed),
            last_error: self.last_error.lock().clone(),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Most functions of an engine.
const MAX_COLLECTORS: usize = 65_536;

/// The functions of an engine, in the order of their registration.
#[derive(Debug, Default)]
pub(super) struct Collectors {
    list: Mutex<Vec<Arc<Entry>>>,
}

impl Collectors {
    /// Refuses a name in use, and one too many.
    fn admit(list: &[Arc<Entry>], name: &str) -> Result<(), Error> {
        if list.iter().any(|known| known.name == name) {
            let message = format!("`{name}` has a collect function already; end that one first");
            return Err(Error::new(ErrorKind::AlreadyExists, message).with_field("name"));
        }
        if list.len() >= MAX_COLLECTORS {
            let message = format!("an engine has at most {MAX_COLLECTORS} collect functions");
            return Err(Error::new(ErrorKind::Limit, message));
        }
        Ok(())
    }

    pub(super) fn add(self: &Arc<Self>, entry: Entry) -> Result<Collector, Error> {
        let entry = Arc::new(entry);
        let mut list = self.list.lock();
        // What is refused is dropped without the lock: it is the host's code.
        let admitted = Self::admit(&list, &entry.name);
        if admitted.is_ok() {
            list.push(Arc::clone(&entry));
        }
        drop(list);
        let of = Arc::downgrade(self);
        admitted.map(|()| Collector { of, entry, left: AtomicBool::new(false) })
    }

    /// Calls every function that may be called on this thread; `failed` is told of each that failed.
    pub(super) fn run(&self, mut failed: impl FnMut(&str)) {
        if INSIDE.get() {
            return;
        }
        let list = {
            let list = self.list.lock();
            if list.is_empty() {
                return;
            }
            list.clone()
        };
        for entry in list.iter().filter(|entry| entry.may_run_here()) {
            if entry.call().is_some() {
                failed(&entry.name);
            }
        }
    }

    /// Ends every function, for good.
    pub(super) fn end(&self) {
        let list = std::mem::take(&mut *self.list.lock());
        list.iter().rev().for_each(|entry| entry.end());
    }

    pub(super) fn infos(&self) -> Vec<CollectorInfo> {
        let list = self.list.lock().clone();
        list.iter().map(|entry| entry.info()).collect()
    }
}

/// A registered function. It ends when this is dropped, or with its engine.
///
/// Dropping it waits for a call that runs; inside a function it does not, and then the last call lets
/// go of it. Do not drop it with a lock held that the function takes.
#[derive(Debug)]
#[must_use = "the function ends when this is dropped"]
pub struct Collector {
    of: Weak<Collectors>,
    entry: Arc<Entry>,
    /// Nothing is left to do when this is dropped.
    left: AtomicBool,
}

impl Collector {
    /// Ends the function, as dropping this does.
    pub fn end(&self) {
        if self.left.swap(true, Relaxed) {
            return;
        }
        if let Some(of) = self.of.upgrade() {
            // The entry has this share still: nothing of the host's goes with the lock held.
            of.list.lock().retain(|known| !Arc::ptr_eq(known, &self.entry));
        }
        self.entry.end();
    }

    /// Leaves the function to the engine, with which it ends.
    pub fn keep(self) {
        self.left.store(true, Relaxed);
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.end();
    }
}
