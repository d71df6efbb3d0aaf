//! A thread with a bounded queue, which can be left when it hangs.
//!
//! Order of locks: a lane's before a job's.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Weak},
    thread::{self, ThreadId},
    time::Instant,
};

use super::{
    super::{Blame, Export, Failed},
    Zombies,
    job::{Job, Task},
};
use crate::{
    model::{Condvar, Error, ErrorKind, Mutex, platform::SignalsBlocked},
    plugin::exporter::Exporter,
};

/// The thread of one exporter, and what it is to do.
#[derive(Debug)]
pub(super) struct Lane {
    name: String,
    capacity: usize,
    zombies: Arc<Zombies>,
    state: Mutex<State>,
    /// There is something to do.
    for_thread: Condvar,
    /// A call or a thread ended.
    for_callers: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Arc<Job>>,
    /// For `cancel`; the thread holds the exporter.
    exporter: Weak<Exporter>,
    /// The exporter's `cancel` runs: the next call waits for its end, or it would be cancelled.
    cancelling: bool,
    closed: bool,
    /// It hangs and nobody waits for it; counted in `zombies`.
    abandoned: bool,
    /// Threads inside the exporter's code, or on their way.
    threads: usize,
    own: Option<ThreadId>,
    stop_by_ns: u64,
}

/// One of a lane's threads; it is counted until this is dropped, panic or not.
struct Counted(Arc<Lane>);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.threads -= 1;
        let ended = state.threads == 0 && state.abandoned;
        drop(state);
        if ended {
            self.0.zombies.remove(&self.0.name);
        }
        self.0.for_callers.notify_all();
    }
}

impl Lane {
    pub(super) fn new(name: &str, capacity: usize, zombies: Arc<Zombies>) -> Self {
        Self {
            name: name.to_owned(),
            capacity,
            zombies,
            state: Mutex::default(),
            for_thread: Condvar::new(),
            for_callers: Condvar::new(),
        }
    }

    /// Starts the thread with `body`.
    pub(super) fn start(
        self: &Arc<Self>,
        body: impl FnOnce(&Self) + Send + 'static,
    ) -> io::Result<()> {
        self.spawn("tallyport-run", |lane| {
            lane.state.lock().own = Some(thread::current().id());
            body(lane);
        })
    }

    fn spawn(
        self: &Arc<Self>,
        name: &str,
        body: impl FnOnce(&Self) + Send + 'static,
    ) -> io::Result<()> {
        self.state.lock().threads += 1;
        // Handlers of the host run on the host's threads.
        let _blocked = SignalsBlocked::new();
        let counted = Counted(Arc::clone(self));
        // Not started: the closure is dropped, and the count with it.
        thread::Builder::new().name(name.to_owned()).spawn(move || body(&counted.0)).map(drop)
    }

    /// Makes the exporter and serves its calls, until the lane is closed.
    pub(super) fn work(
        &self,
        make: impl FnOnce() -> Result<Exporter, Failed>,
        first: &Job,
        budget: u64,
    ) {
        let exporter = match make() {
            Ok(exporter) => Arc::new(exporter),
            Err(failed) => return self.finish(first, Err(failed)),
        };
        self.state.lock().exporter = Arc::downgrade(&exporter);
        self.finish(first, Ok(0));
        while let Some(job) = self.next() {
            let done = match &job.task {
                Task::Export { snapshot, format } => {
                    let export = Export { snapshot, format };
                    let mut out = |bytes: &[u8]| job.write(bytes);
                    exporter.export(&export, &mut out, budget, &job.control)
                }
                Task::Flush => exporter.flush(&job.control).map(|()| 0),
                Task::Create => Ok(0),
            };
            self.finish(&job, done);
        }
        exporter.stop_by(self.state.lock().stop_by_ns);
        // Here it is shut down and destroyed.
        drop(exporter);
    }

    fn finish(&self, job: &Job, done: Result<u64, Failed>) {
        job.finish(done);
        // Under the lock, so that nobody is between looking and waiting.
        drop(self.state.lock());
        self.for_callers.notify_all();
    }

    /// The next call, begun; `None`: the lane is closed.
    fn next(&self) -> Option<Arc<Job>> {
        let mut state = self.state.lock();
        loop {
            if !state.cancelling {
                if let Some(job) = state.jobs.pop_front() {
                    if job.begin() {
                        return Some(job);
                    }
                    continue;
                }
                if state.closed {
                    return None;
                }
            }
            self.for_thread.wait(&mut state);
        }
    }

    /// Puts a call into the queue.
    pub(super) fn submit(&self, job: &Arc<Job>) -> Result<(), Failed> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(self.given_up());
        }
        if state.jobs.len() >= self.capacity {
            let message = format!(
                "plugin `{}`: {} calls wait for it already (`queue`)",
                self.name, self.capacity
            );
            return Err(Blame::Caller.of(Error::new(ErrorKind::Limit, message)));
        }
        state.jobs.push_back(Arc::clone(job));
        drop(state);
        self.for_thread.notify_one();
        Ok(())
    }

    fn given_up(&self) -> Failed {
        let message = format!("plugin `{}` did not return from an earlier call", self.name);
        Blame::Caller.of(Error::new(ErrorKind::Unavailable, message))
    }

    /// Takes a call out of the queue, if it has not begun.
    pub(super) fn withdraw(&self, job: &Arc<Job>) -> bool {
        let mut state = self.state.lock();
        let withdrawn = job.withdraw();
        if withdrawn {
            state.jobs.retain(|other| !Arc::ptr_eq(other, job));
        }
        withdrawn
    }

    /// Has the exporter cancel a running call, on a thread for it: `cancel` may hang as well.
    pub(super) fn cancel(self: &Arc<Self>, job: &Job) {
        let mut state = self.state.lock();
        let exporter = state.exporter.upgrade().filter(|exporter| exporter.can_cancel());
        let Some(exporter) = exporter.filter(|_| !job.is_over() && !state.cancelling) else {
            return;
        };
        state.cancelling = true;
        drop(state);
        let started = self.spawn("tallyport-stop", move |lane| {
            exporter.cancel();
            // Before the lane's thread goes on, so that it is the one that shuts it down.
            drop(exporter);
            lane.cancelled();
        });
        if started.is_err() {
            self.cancelled();
        }
    }

    fn cancelled(&self) {
        self.state.lock().cancelling = false;
        self.for_thread.notify_one();
        self.for_callers.notify_all();
    }

    /// Waits until a running call and its cancellation are over.
    pub(super) fn wait_for(&self, job: &Job, until: Instant) -> bool {
        let mut state = self.state.lock();
        let going_on = |state: &mut State| !job.is_over() || state.cancelling;
        !self.for_callers.wait_while_until(&mut state, going_on, until)
    }

    /// Gives up a lane that hangs in `job`, and returns how many of that name hang now; `None`: it
    /// does not hang any more.
    pub(super) fn abandon(&self, job: Option<&Job>) -> Option<usize> {
        let mut state = self.state.lock();
        let over = job.is_some_and(|job| job.is_over() && !state.cancelling);
        if over || state.threads == 0 || state.abandoned {
            return None;
        }
        (state.closed, state.abandoned) = (true, true);
        let waiting = std::mem::take(&mut state.jobs);
        let zombies = self.zombies.add(&self.name);
        drop(state);
        for job in waiting {
            job.finish(Err(self.given_up()));
        }
        Some(zombies)
    }

    /// Has the thread shut the exporter down after the calls that wait, and waits for its end.
    pub(super) fn stop(&self, until: Instant, stop_by_ns: u64) -> bool {
        let mut state = self.state.lock();
        state.closed = true;
        state.stop_by_ns = stop_by_ns;
        self.for_thread.notify_one();
        if state.abandoned || state.own == Some(thread::current().id()) {
            return true;
        }
        let alive = |state: &mut State| state.threads > 0;
        !self.for_callers.wait_while_until(&mut state, alive, until)
    }

    /// Whether this is the lane's own thread.
    pub(super) fn is_here(&self) -> bool {
        self.state.lock().own == Some(thread::current().id())
    }

    pub(super) fn queue_length(&self) -> usize {
        self.state.lock().jobs.len()
    }
}
