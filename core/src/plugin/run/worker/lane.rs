//! Threads of one exporter with a bounded queue, which can be left when they hang.
//!
//! There is one thread, unless the exporter is CONCURRENT: then another one starts when a call would
//! wait, up to a number, and all of them serve the same queue. Order of locks: a lane's before a
//! job's.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Weak},
    thread::{self, ThreadId},
    time::Instant,
};

use super::{
    super::{Blame, Export, Failed, Limits},
    Zombies,
    job::{Job, Task},
};
use crate::{
    model::{Condvar, Error, ErrorKind, Mutex, own_thread, platform::SignalsBlocked},
    plugin::exporter::Exporter,
};

/// The threads of one exporter, and what they are to do.
#[derive(Debug)]
pub(super) struct Lane {
    name: String,
    capacity: usize,
    /// Most threads that make calls.
    most: usize,
    /// Most bytes of an export.
    budget: u64,
    zombies: Arc<Zombies>,
    state: Mutex<State>,
    /// There is something to do.
    for_threads: Condvar,
    /// A call or a thread ended.
    for_callers: Condvar,
}

#[derive(Debug, Default)]
struct State {
    jobs: VecDeque<Arc<Job>>,
    /// For `cancel` and further threads; those that run hold the exporter.
    exporter: Weak<Exporter>,
    /// The exporter's `cancel` runs: the next call waits for its end, or it would be cancelled.
    cancelling: bool,
    closed: bool,
    /// Threads that hang and that nobody waits for; counted in `zombies`.
    hanging: usize,
    /// Threads inside the exporter's code, or on their way.
    threads: usize,
    /// Of them, those that make calls, and how many of those have none.
    own: Vec<ThreadId>,
    /// Calls that they make.
    running: usize,
    starting: usize,
    idle: usize,
    stop_by_ns: u64,
}

/// One of a lane's threads; it is counted until this is dropped, panic or not.
struct Counted(Arc<Lane>);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.threads -= 1;
        let here = thread::current().id();
        state.own.retain(|own| *own != here);
        let ended = state.hanging.saturating_sub(state.threads);
        state.hanging -= ended;
        drop(state);
        for _ in 0..ended {
            self.0.zombies.remove(&self.0.name);
        }
        self.0.for_callers.notify_all();
    }
}

impl Lane {
    /// A lane of one thread, or of several for an exporter that may be called at the same time.
    pub(super) fn new(name: &str, most: usize, limits: &Limits, zombies: Arc<Zombies>) -> Self {
        Self {
            name: name.to_owned(),
            capacity: limits.queue,
            most,
            budget: limits.max_output_bytes,
            zombies,
            state: Mutex::default(),
            for_threads: Condvar::new(),
            for_callers: Condvar::new(),
        }
    }

    /// Starts the first thread: it makes the exporter, and serves its calls until the lane is closed.
    pub(super) fn start(
        self: &Arc<Self>,
        make: impl FnOnce() -> Result<Exporter, Failed> + Send + 'static,
        first: Arc<Job>,
    ) -> io::Result<()> {
        let mut state = self.state.lock();
        state.starting += 1;
        let counted = self.count(&mut state);
        drop(state);
        spawn("tallyport-run", counted, move |lane| {
            lane.arrived();
            match make() {
                Ok(exporter) => {
                    let exporter = Arc::new(exporter);
                    lane.state.lock().exporter = Arc::downgrade(&exporter);
                    lane.finish(&first, Ok(0));
                    lane.serve(exporter);
                }
                Err(failed) => lane.finish(&first, Err(failed)),
            }
        })
    }

    /// One more thread, from now on.
    fn count(self: &Arc<Self>, state: &mut State) -> Counted {
        state.threads += 1;
        Counted(Arc::clone(self))
    }

    /// A thread that makes calls begins.
    fn arrived(&self) {
        let mut state = self.state.lock();
        state.starting -= 1;
        state.own.push(thread::current().id());
    }

    /// Serves calls until the lane is closed.
    fn serve(&self, exporter: Arc<Exporter>) {
        while let Some(job) = self.next() {
            let done = match &job.task {
                Task::Export { snapshot, format } => {
                    let export = Export { snapshot, format };
                    let mut out = |bytes: &[u8]| job.write(bytes);
                    exporter.export(&export, &mut out, self.budget, &job.control)
                }
                Task::Flush => exporter.flush(&job.control).map(|()| 0),
                Task::Synced(syncs) => exporter.synced(syncs, &job.control).map(u64::from),
                Task::Create => Ok(0),
            };
            // Before its caller knows, who may come again at once.
            self.state.lock().running -= 1;
            self.finish(&job, done);
        }
        exporter.stop_by(self.state.lock().stop_by_ns);
        // Here it is shut down and destroyed, by the last thread that has it.
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
                        state.running += 1;
                        return Some(job);
                    }
                    continue;
                }
                if state.closed {
                    return None;
                }
            }
            state.idle += 1;
            self.for_threads.wait(&mut state);
            state.idle -= 1;
        }
    }

    /// Puts a call into the queue; where it would wait and another thread may serve it, starts one.
    pub(super) fn submit(self: &Arc<Self>, job: &Arc<Job>) -> Result<(), Failed> {
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
        let busy = state.jobs.len() > state.idle + state.starting;
        let more = busy && state.own.len() + state.starting < self.most;
        let exporter = if more { state.exporter.upgrade() } else { None };
        let further = exporter.map(|exporter| {
            state.starting += 1;
            (self.count(&mut state), exporter)
        });
        drop(state);
        self.for_threads.notify_one();
        if let Some((counted, exporter)) = further {
            let started = spawn("tallyport-run", counted, move |lane| {
                lane.arrived();
                lane.serve(exporter);
            });
            if started.is_err() {
                // The threads that there are serve it.
                self.state.lock().starting -= 1;
            }
        }
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
        let counted = self.count(&mut state);
        drop(state);
        let started = spawn("tallyport-stop", counted, move |lane| {
            exporter.cancel();
            // Before the lane's threads go on, so that one of them shuts it down.
            drop(exporter);
            lane.cancelled();
        });
        if started.is_err() {
            self.cancelled();
        }
    }

    fn cancelled(&self) {
        self.state.lock().cancelling = false;
        self.for_threads.notify_all();
        self.for_callers.notify_all();
    }

    /// Waits until a running call and its cancellation are over.
    pub(super) fn wait_for(&self, job: &Job, until: Instant) -> bool {
        let mut state = self.state.lock();
        let going_on = |state: &mut State| !job.is_over() || state.cancelling;
        !self.for_callers.wait_while_until(&mut state, going_on, until)
    }

    /// Whether other calls run beside one that does.
    pub(super) fn has_others(&self) -> bool {
        let state = self.state.lock();
        state.own.len() > state.idle + 1
    }

    /// Gives up a lane that hangs in `job`, and returns how many of that name hang now; `None`: it
    /// does not hang any more. Calls that run beside it go on, and are its last ones.
    pub(super) fn abandon(&self, job: Option<&Job>) -> Option<usize> {
        let mut state = self.state.lock();
        let over = match job {
            Some(job) => job.is_over() && !state.cancelling,
            None => state.hanging > 0,
        };
        if over || state.hanging >= state.threads {
            return None;
        }
        state.closed = true;
        state.hanging += 1;
        let waiting = std::mem::take(&mut state.jobs);
        let zombies = self.zombies.add(&self.name);
        drop(state);
        self.for_threads.notify_all();
        for job in waiting {
            job.finish(Err(self.given_up()));
        }
        Some(zombies)
    }

    /// Has the threads shut the exporter down after the calls that wait, and waits for their end.
    pub(super) fn stop(&self, until: Instant, stop_by_ns: u64) -> bool {
        let mut state = self.state.lock();
        state.closed = true;
        state.stop_by_ns = stop_by_ns;
        self.for_threads.notify_all();
        if state.hanging > 0 || state.own.contains(&thread::current().id()) {
            return true;
        }
        let alive = |state: &mut State| state.threads > 0;
        !self.for_callers.wait_while_until(&mut state, alive, until)
    }

    /// Whether this is one of the lane's own threads.
    pub(super) fn is_here(&self) -> bool {
        self.state.lock().own.contains(&thread::current().id())
    }

    /// Whether a call that comes now would wait for others.
    pub(super) fn is_busy(&self) -> bool {
        let state = self.state.lock();
        state.cancelling || state.running + state.jobs.len() >= self.most
    }

    pub(super) fn queue_length(&self) -> usize {
        self.state.lock().jobs.len()
    }
}

/// Starts a thread that was counted. If that fails, the closure is dropped, and the count with it.
fn spawn(
    name: &str,
    counted: Counted,
    body: impl FnOnce(&Lane) + Send + 'static,
) -> io::Result<()> {
    // Handlers of the host run on the host's threads.
    let _blocked = SignalsBlocked::new();
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            own_thread::mark();
            body(&counted.0);
        })
        .map(drop)
}
