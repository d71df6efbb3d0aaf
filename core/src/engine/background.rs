//! Syncs at an interval, on a thread that the host asked for.
//!
//! The thread runs no code of the host: it publishes no event, and logs only to a process-wide
//! subscriber. What it did is in the status and in the metrics.

use std::{
    mem,
    sync::{Arc, Weak},
    thread::{self, JoinHandle},
    time::Duration,
};

use crossbeam::channel::{self, RecvTimeoutError, Sender};

use super::{
    Engine, Inner,
    share::{Tell, jitter},
};
use crate::model::{Error, ErrorKind, LongMutex, fork, own_thread, platform::SignalsBlocked};

/// The thread, if there is one.
#[derive(Debug, Default)]
pub(super) struct Background(LongMutex<Option<Worker>>);

#[derive(Debug)]
struct Worker {
    stop: Sender<()>,
    thread: JoinHandle<()>,
    /// The process whose thread it is.
    generation: u64,
}

impl Worker {
    /// Ends the thread and waits for it: for one sync at most, which has its deadlines.
    fn end(self) {
        let Self { stop, thread, generation } = self;
        drop(stop);
        if generation != fork::generation() {
            // The parent's: there is nothing here to wait for.
            mem::forget(thread);
        } else if thread.thread().id() != thread::current().id() && thread.join().is_err() {
            tracing::error!("the sync thread had panicked");
        }
    }
}

impl Background {
    pub(super) fn end(&self) {
        let worker = self.0.lock().take();
        if let Some(worker) = worker {
            worker.end();
        }
    }
}

impl Engine {
    /// Starts a thread that syncs every `sync.interval_ms`, give or take a tenth, at once for the
    /// first time. Failures are counted, and shown by [`Engine::sync_status`].
    ///
    /// The thread calls no code of the host: `cache.synced` is not published, and what it logs goes
    /// to a process-wide subscriber only.
    ///
    /// It ends with [`Engine::stop_sync`] or with the engine. A forked child has none.
    ///
    /// # Errors
    /// AlreadyExists when there is one, Unsupported in a forked child, Io when no thread can be
    /// started.
    pub fn start_sync(&self) -> Result<(), Error> {
        self.0.share.own_process()?;
        let mut worker = self.0.background.0.lock();
        if worker.is_some() {
            let message = "syncs run in the background already";
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let interval = Duration::from_millis(self.0.config.sync.interval_ms);
        let engine = Arc::downgrade(&self.0);
        let (stop, stopped) = channel::bounded(0);
        let _blocked = SignalsBlocked::new();
        let thread = thread::Builder::new().name("tallyport-sync".into()).spawn(move || {
            own_thread::mark();
            let mut wait = Duration::ZERO;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                if !sync(&engine) {
                    break;
                }
                wait = interval.mul_f64(0.9 + 0.2 * jitter());
            }
        });
        let thread = thread.map_err(|error| Error::io("start the sync thread", &error))?;
        *worker = Some(Worker { stop, thread, generation: fork::generation() });
        Ok(())
    }

    /// Ends the thread of [`Engine::start_sync`], after the sync that it is in. Without one it does
    /// nothing.
    ///
    /// It does not sync for the last time: [`Engine::leave`] does.
    pub fn stop_sync(&self) {
        if self.0.share.own_process().is_ok() {
            self.0.background.end();
        }
    }
}

/// Syncs once; false when the engine is gone.
fn sync(engine: &Weak<Inner>) -> bool {
    let Some(inner) = engine.upgrade() else { return false };
    let engine = Engine(inner);
    match engine.sync_as(Tell::Nobody) {
        Ok(_) => {}
        // That was logged when the store began to be left alone.
        Err(error) if error.kind() == ErrorKind::Unavailable => tracing::debug!("sync: {error}"),
        Err(error) => tracing::warn!("sync failed, the next one sends its changes: {error}"),
    }
    true
}
