//! A server: its threads, from their start to their end.

use std::{
    convert::Infallible,
    fmt, mem,
    net::SocketAddr,
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use crossbeam::channel::{self, Receiver, RecvTimeoutError, Sender};

use super::{
    Counts, Settings, Site,
    answer::Account,
    desk::Desk,
    meter::Meter,
    poller::{Connections, Poller},
    socket::{Bell, Listener},
    workers::{self, Shared},
};
use crate::{
    metrics::Metrics,
    model::{Error, Mutex, fork, own_thread, platform::SignalsBlocked},
};

/// Serves until it is stopped or dropped. A forked child's copy serves nothing and may be dropped.
pub struct Server {
    running: Option<Running>,
    address: SocketAddr,
    /// The process whose threads they are.
    generation: u64,
}

struct Running {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Disconnected when all threads ended.
    ended: Receiver<Infallible>,
}

/// How a server stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Everything that was asked was answered, and every thread ended.
    Done,
    /// Its time was over before: connections were closed, and a thread that still writes metrics ends
    /// when the exporter returns.
    Late,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Server {
    /// Listens and starts the threads. `metrics`: where it counts what it does.
    ///
    /// The threads take none of the host's signals, and log to a process-wide subscriber only.
    ///
    /// # Errors
    /// Io, naming the address, when it cannot listen there or no thread can be started.
    pub fn start(
        settings: Settings,
        site: Arc<dyn Site>,
        metrics: Option<&Metrics>,
    ) -> Result<Self, Error> {
        let wanted = settings.listen;
        let listener = Listener::bind(wanted);
        let bound = listener.and_then(|listener| Ok((listener.address()?, listener, Bell::new()?)));
        let (address, listener, bell) = bound.map_err(|error| {
            Error::io(format_args!("listen on {wanted}"), &error).with_field("serve.listen")
        })?;
        let (workers, waiting) = (settings.workers, settings.bounds.waiting);
        let shared = Arc::new(Shared {
            desk: ArcSwap::from_pointee(Desk { site, settings }),
            account: Arc::new(Account::default()),
            meter: Meter::new(metrics),
            bell,
            stop: Mutex::new(None),
        });
        let (orders, ordered) = channel::bounded(waiting.max(1));
        let (answered, answers) = channel::unbounded();
        let (ending, ended) = channel::bounded(0);
        let mut server = Self {
            running: Some(Running { shared: Arc::clone(&shared), threads: Vec::new(), ended }),
            address,
            generation: fork::generation(),
        };
        let _blocked = SignalsBlocked::new();
        for number in 1..=workers.max(1) {
            let (shared, ordered) = (Arc::clone(&shared), ordered.clone());
            let answered = answered.clone();
            let work = move || workers::run(&shared, &ordered, &answered);
            server.spawn(format!("tallyport-http-{number}"), &ending, work)?;
        }
        let connections = Connections::default();
        let poller = Poller { shared, listener: Some(listener), orders, answers, connections };
        server.spawn("tallyport-http".to_owned(), &ending, move || poller.run())?;
        tracing::info!(%address, "metrics are served");
        Ok(server)
    }

    fn spawn(
        &mut self,
        name: String,
        ending: &Sender<Infallible>,
        run: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        let ending = ending.clone();
        let run = move || {
            own_thread::mark();
            run();
            drop(ending);
        };
        let thread = thread::Builder::new().name(name).spawn(run);
        let thread = thread.map_err(|error| Error::io("start a thread that serves", &error))?;
        if let Some(running) = &mut self.running {
            running.threads.push(thread);
        }
        Ok(())
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether this process is the one that serves.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.generation == fork::generation()
    }

    /// What it did.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counter()()
    }

    /// What it did, also after it stopped.
    pub fn counter(&self) -> impl Fn() -> Counts + use<> {
        let running = self.running.as_ref().filter(|_| self.is_own());
        let shared = running.map(|running| Arc::clone(&running.shared));
        move || shared.as_ref().map_or_else(Counts::default, |shared| shared.meter.counts())
    }

    /// Serves this from now on. Where it listens, its number of threads and how many requests wait
    /// stay as they are.
    pub fn replace(&self, settings: Settings, site: Arc<dyn Site>) {
        if let Some(running) = self.running.as_ref().filter(|_| self.is_own()) {
            running.shared.desk.store(Arc::new(Desk { site, settings }));
            running.shared.bell.ring();
        }
    }

    /// Stops: what was asked is answered, for as long as `within` allows.
    pub fn stop(mut self, within: Duration) -> Stopped {
        self.end(within)
    }

    fn end(&mut self, within: Duration) -> Stopped {
        let Some(running) = self.running.take() else { return Stopped::Done };
        if !self.is_own() {
            // The parent's threads and locks: there is nothing here to wait for.
            mem::forget(running);
            return Stopped::Done;
        }
        let Running { shared, threads, ended } = running;
        let until = Instant::now() + within;
        *shared.stop.lock() = Some(until);
        shared.bell.ring();
        let own = thread::current().id();
        if threads.iter().any(|thread| thread.thread().id() == own) {
            // On one of them: it would wait for itself.
            return Stopped::Late;
        }
        // The poller closes at that time what is left, and then the workers find no more to do.
        let grace = Duration::from_millis(100);
        if ended.recv_deadline(until + grace) != Err(RecvTimeoutError::Disconnected) {
            return Stopped::Late;
        }
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the metrics endpoint had panicked");
            }
        }
        Stopped::Done
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}
