//! Threads that the host asked for: one that syncs at an interval, one that exports on schedule.
//!
//! Such a thread runs no code of the host: it publishes no event, and logs only to a process-wide
//! subscriber. What it did is in the status and in the metrics. A forked child has none, and may
//! start its own.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    Engine, Inner,
    share::{Tell, jitter},
};
use crate::{
    event::Subscription,
    model::{Condvar, Error, ErrorKind, Mutex, fork, own_thread, platform::SignalsBlocked},
};

/// What wakes a thread up.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rings: Mutex<Rings>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Rings {
    stopped: bool,
    ended: bool,
    /// By when to have ended, where somebody waits for it.
    until: Option<Instant>,
    /// Numbers that were rung.
    numbers: BTreeSet<usize>,
}

/// Why a thread woke up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// It is to end.
    Stop,
    /// Its time has come, or these numbers were rung.
    Go(BTreeSet<usize>),
}

impl Bell {
    /// Waits for a ring, up to a time; `None`: for as long as it takes.
    pub(super) fn wait(&self, time: Option<Duration>) -> Woken {
        let mut rings = self.rings.lock();
        // A time that no clock reaches is none.
        let until = time.and_then(|time| Instant::now().checked_add(time));
        while !rings.stopped && rings.numbers.is_empty() {
            match until {
                None => self.changed.wait(&mut rings),
                Some(until) if self.changed.wait_until(&mut rings, until) => break,
                Some(_) => {}
            }
        }
        if rings.stopped { Woken::Stop } else { Woken::Go(mem::take(&mut rings.numbers)) }
    }

    /// Wakes the thread up, for this number.
    pub(super) fn ring(&self, number: usize) {
        let mut rings = self.rings.lock();
        if rings.numbers.insert(number) {
            self.changed.notify_all();
        }
    }

    /// Whether the thread is to end.
    pub(super) fn is_stopped(&self) -> bool {
        self.rings.lock().stopped
    }

    /// What is left until it has to have ended; `None`: for as long as it takes.
    pub(super) fn left(&self) -> Option<Duration> {
        let until = self.rings.lock().until;
        until.map(|until| until.saturating_duration_since(Instant::now()))
    }

    fn stop(&self, until: Option<Instant>) {
        let mut rings = self.rings.lock();
        (rings.stopped, rings.until) = (true, until);
        drop(rings);
        self.changed.notify_all();
    }

    fn ended(&self) {
        self.rings.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for the thread's end, up to a time; true when it came.
    fn wait_for_end(&self, until: Instant) -> bool {
        let mut rings = self.rings.lock();
        !self.changed.wait_while_until(&mut rings, |rings| !rings.ended, until)
    }
}

/// Says that a thread ended, however it did.
struct Ended(Arc<Bell>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended();
    }
}

/// A thread, if there is one.
#[derive(Debug)]
pub(super) struct Background {
    /// What it is called, and what it does.
    name: &'static str,
    worker: Mutex<Option<Worker>>,
}

#[derive(Debug)]
struct Worker {
    bell: Arc<Bell>,
    thread: Option<JoinHandle<()>>,
    /// What rings the bell; ends with it.
    subscriptions: Vec<Subscription>,
    /// The process whose thread it is.
    generation: u64,
}

impl Worker {
    fn is_here(&self) -> bool {
        self.generation == fork::generation()
    }
}

impl Background {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, worker: Mutex::new(None) }
    }

    /// Whether this process has the thread.
    pub(super) fn runs(&self) -> bool {
        self.worker.lock().as_ref().is_some_and(Worker::is_here)
    }

    /// Starts it. `body` ends soon after its bell is stopped; `listen` makes what rings it.
    ///
    /// # Errors
    /// AlreadyExists when there is one, Io when no thread can be started, what `listen` answered.
    pub(super) fn start(
        &self,
        listen: impl FnOnce(&Arc<Bell>) -> Result<Vec<Subscription>, Error>,
        body: impl FnOnce(&Bell) + Send + 'static,
    ) -> Result<(), Error> {
        let bell = Arc::new(Bell::default());
        let place = Worker {
            bell: Arc::clone(&bell),
            thread: None,
            subscriptions: Vec::new(),
            generation: fork::generation(),
        };
        let mut worker = self.worker.lock();
        if worker.as_ref().is_some_and(Worker::is_here) {
            let message = format!("the thread `{}` runs already", self.name);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let inherited = worker.replace(place);
        drop(worker);
        // The parent's: neither its thread nor its subscriptions are this process's to end.
        mem::forget(inherited);
        let made = listen(&bell).and_then(|subscriptions| {
            let _blocked = SignalsBlocked::new();
            let own = Arc::clone(&bell);
            let thread = thread::Builder::new().name(self.name.into()).spawn(move || {
                own_thread::mark();
                let ended = Ended(own);
                body(&ended.0);
            });
            let what = format!("start the thread `{}`", self.name);
            Ok((thread.map_err(|error| Error::io(what, &error))?, subscriptions))
        });
        let mut worker = self.worker.lock();
        match made {
            Ok((thread, subscriptions)) => {
                // Somebody may have ended it meanwhile: then it ends, and nobody waits for it.
                if let Some(place) = worker.as_mut().filter(|it| Arc::ptr_eq(&it.bell, &bell)) {
                    (place.thread, place.subscriptions) = (Some(thread), subscriptions);
                }
                Ok(())
            }
            Err(error) => {
                if worker.as_ref().is_some_and(|it| Arc::ptr_eq(&it.bell, &bell)) {
                    *worker = None;
                }
                Err(error)
            }
        }
    }

    /// Ends the thread and waits for it, up to a time where one is given; true: it ended, or there
    /// was none.
    pub(super) fn end(&self, patience: Option<Duration>) -> bool {
        let worker = self.worker.lock().take();
        let Some(Worker { bell, thread, subscriptions, generation }) = worker else { return true };
        if generation != fork::generation() {
            // The parent's: there is nothing here to wait for.
            mem::forget((thread, subscriptions));
            return true;
        }
        drop(subscriptions);
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        bell.stop(until);
        let Some(thread) = thread else { return true };
        if thread.thread().id() == thread::current().id() {
            return true;
        }
        if let Some(until) = until
            && !bell.wait_for_end(until)
        {
            // It ends after what it is in; nobody waits for that.
            return false;
        }
        if thread.join().is_err() {
            tracing::error!(thread = self.name, "it had panicked");
        }
        true
    }

    /// Does something that must not be while the thread runs.
    ///
    /// # Errors
    /// Unsupported when it does.
    pub(super) fn without(&self, act: impl FnOnce()) -> Result<(), Error> {
        let worker = self.worker.lock();
        if worker.as_ref().is_some_and(Worker::is_here) {
            let message = "a store of the host's own is called on the host's threads only, and syncs run \
                           in the background";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        act();
        Ok(())
    }
}

impl Engine {
    /// Starts a thread that syncs every `sync.interval_ms`, give or take a tenth, at once for the
    /// first time; after a failure sooner, after a quarter of a second, half a one and so on, each half
    /// more or less. Failures are counted, and shown by [`Engine::sync_status`].
    ///
    /// The thread calls no code of the host: `cache.synced` is not published, and what it logs goes
    /// to a process-wide subscriber only.
    ///
    /// It ends with [`Engine::stop_sync`] or with the engine. A forked child has none, and may start its
    /// own: of processes that share an arena one publishes, and the others leave it to that one until it
    /// ends, or does not come back for half an interval.
    ///
    /// # Errors
    /// AlreadyExists when there is one, Unsupported with a store of the host's own, Io when no thread
    /// can be started.
    pub fn start_sync(&self) -> Result<(), Error> {
        let interval = self.0.config.sync_interval();
        let engine = Arc::downgrade(&self.0);
        // When the thread is noted already, or a store that comes now would not see it.
        let allowed = |_: &Arc<Bell>| {
            if self.0.share.has_host.load(Relaxed) {
                let message =
                    "the host's own store is called on the host's threads only: sync there";
                return Err(Error::new(ErrorKind::Unsupported, message).with_field("store.kind"));
            }
            Ok(Vec::new())
        };
        self.0.background.start(allowed, move |bell| {
            let mut wait = Duration::ZERO;
            while bell.wait(Some(wait)) != Woken::Stop {
                match sync(&engine) {
                    Some(Next::Interval) => wait = interval.mul_f64(0.9 + 0.2 * jitter()),
                    Some(Next::In(sooner)) => wait = sooner,
                    None => break,
                }
            }
        })
    }

    /// Ends the thread of [`Engine::start_sync`]: it ends the sync that it is in, and is waited for, at
    /// most `timeout`. Without one it does nothing.
    ///
    /// It does not sync for the last time: [`Engine::leave`] does.
    ///
    /// # Errors
    /// Timeout when it had not ended by then: it does so after what it is in.
    pub fn stop_sync(&self, timeout: Duration) -> Result<(), Error> {
        if self.0.background.end(Some(timeout)) {
            return Ok(());
        }
        let message =
            format!("the sync that runs in the background did not end within {timeout:?}");
        Err(Error::new(ErrorKind::Timeout, message))
    }
}

/// When the next sync is.
enum Next {
    Interval,
    In(Duration),
}

/// Syncs once; `None` when the engine is gone.
fn sync(engine: &Weak<Inner>) -> Option<Next> {
    let engine = Engine(engine.upgrade()?);
    let Err(error) = engine.sync_as(Tell::Nobody) else { return Some(Next::Interval) };
    // That was logged when the store began to be left alone, or others came first and it comes back.
    if error.kind() == ErrorKind::Unavailable {
        tracing::debug!("sync: {error}");
    } else {
        tracing::warn!("sync failed, the next one sends its changes: {error}");
    }
    Some(Next::In(engine.sync_retry_in()))
}
