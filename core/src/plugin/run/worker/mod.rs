//! Calls on threads of the exporter's own, so that a caller can leave one that hangs: one thread, or
//! up to [`THREADS`] for an exporter that is CONCURRENT.
//!
//! A call is a [`Job`]: its caller puts it in the bounded queue of the [`Lane`], takes the bytes that
//! it writes from the job and hands them to its own output, until the job is over or its deadline
//! passes. Then a job that still waits is withdrawn; one that runs is cancelled (by `cancel`, which is
//! for all calls that run, only where it is alone or does not heed its own flag for half the grace),
//! and after the grace the lane is abandoned: what hangs keeps its thread, its exporter and all that it was lent, and is
//! counted as a zombie until it ends. The caller goes on. Deadlines are real time, and include the
//! wait in the queue.

mod job;
mod lane;
mod zombies;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use tallyport_plugin_api::abi::TALLYPORT_LOG_ERROR;

pub(crate) use self::zombies::Zombies;
use self::{
    job::{Job, Next, Task},
    lane::Lane,
};
use super::{Backend, Blame, Export, Failed, Limits, Mailbox, Syncs, Wanted, emit, forked};
use crate::{
    model::{Error, ErrorKind, fork},
    plugin::{
        exporter::{Exporter, reentered},
        host::{Context, Control, Output, contained, monotonic_ns, output_panicked},
        table::Table,
    },
};

/// Most threads of an exporter that may be called at the same time.
const THREADS: usize = 4;

/// An exporter on threads of its own.
pub(in crate::plugin) struct Worker {
    name: String,
    lane: Arc<Lane>,
    mailbox: Arc<Mailbox>,
    limits: Limits,
    deadline: Duration,
    /// Of the process that has the thread.
    generation: u64,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Worker {
    /// Starts the thread and makes the instance on it. Every call, this one too, takes `deadline`
    /// at most.
    pub(in crate::plugin) fn start(
        table: Arc<Table>,
        wanted: &Wanted<'_>,
        deadline: Duration,
    ) -> Result<Self, Failed> {
        let Wanted { name, options, limits, zombies } = *wanted;
        let hanging = zombies.of(name);
        if hanging >= limits.max_zombies {
            let message = format!(
                "plugin `{name}` is not started again: it hangs in {hanging} calls \
                 (`max_zombies`); only the end of the process frees their threads"
            );
            return Err(Blame::Lost.of(Error::new(ErrorKind::Unavailable, message)));
        }
        let most = if table.is_concurrent() { THREADS } else { 1 };
        let mailbox = Arc::new(Mailbox::default());
        let worker = Self {
            name: name.to_owned(),
            lane: Arc::new(Lane::new(name, most, limits, Arc::clone(zombies))),
            mailbox: Arc::clone(&mailbox),
            limits: limits.clone(),
            deadline,
            generation: fork::generation(),
        };
        let create = worker.job(Task::Create);
        let options = options.clone();
        let context = Context::to_mailbox(name, mailbox);
        let make = move || Exporter::create(table, context, &options);
        let started = worker.lane.start(make, Arc::clone(&create));
        if let Err(error) = started {
            let error = Error::io(format_args!("plugin `{name}`: starting its thread"), &error);
            return Err(Blame::Caller.of(error));
        }
        worker.attend(&create, &mut |_| Ok(()))?;
        Ok(worker)
    }

    fn job(&self, task: Task) -> Arc<Job> {
        let control = Control::with_deadline(in_ns(self.deadline));
        Arc::new(Job::new(task, Instant::now() + self.deadline, control))
    }

    fn call(&self, task: Task, out: Output<'_>) -> Result<u64, Failed> {
        if self.lane.is_here() {
            return Err(Blame::Caller.of(reentered(&self.name)));
        }
        let job = self.job(task);
        self.lane.submit(&job)?;
        self.attend(&job, out)
    }

    /// Serves a job on its caller's thread until it is over.
    fn attend(&self, job: &Arc<Job>, out: Output<'_>) -> Result<u64, Failed> {
        let mut refused = None;
        let done = loop {
            // The output and the log function may fork: in the child the lane's thread is not there.
            let ours = self.generation == fork::generation();
            match job.next(if ours { job.deadline } else { Instant::now() }) {
                Next::Bytes(bytes) if refused.is_none() => {
                    let wrote = contained(|| out(&bytes)).unwrap_or_else(|| Err(output_panicked()));
                    if let Err(error) = wrote {
                        job.close();
                        refused = Some(error);
                    }
                }
                Next::Bytes(_) => {}
                Next::Over(Err(failed)) if self.was_cancelled(job, &failed) => {
                    let late = self.timeout(&format!("{} did not return", job.task.name()));
                    break Err(Blame::Exporter.of(late));
                }
                Next::Over(done) => break done,
                Next::Late if !ours => break Err(forked(&self.name, job.task.name())),
                Next::Late => break self.end(job),
            }
            self.mailbox.deliver(&self.name);
        };
        self.mailbox.deliver(&self.name);
        let Some(error) = refused else { return done };
        // What the output said explains more than what the exporter made of it.
        let blame = match done {
            Err(Failed { blame: blame @ (Blame::Panic | Blame::Lost), .. }) => blame,
            _ => Blame::Caller,
        };
        Err(blame.of(error.context(format_args!("plugin `{}`", self.name))))
    }

    /// Whether an exporter that watches its deadline ended a call because of it.
    fn was_cancelled(&self, job: &Job, failed: &Failed) -> bool {
        failed.blame == Blame::Exporter
            && failed.error.kind() == ErrorKind::Cancelled
            && Instant::now() >= job.deadline
    }

    fn timeout(&self, what: &str) -> Error {
        let (name, deadline) = (&self.name, self.deadline);
        let message = format!("plugin `{name}`: {what} in {deadline:?} (`deadline_ms`)");
        Error::new(ErrorKind::Timeout, message)
    }

    /// The deadline passed: withdraws the job, or cancels it and gives it up after the grace.
    fn end(&self, job: &Arc<Job>) -> Result<u64, Failed> {
        let what = job.task.name();
        if self.lane.withdraw(job) {
            return Err(Blame::Caller.of(self.timeout(&format!("{what} did not get its turn"))));
        }
        job.control.cancel();
        job.close();
        let late = Instant::now() + self.limits.grace;
        // `cancel` ends the others too.
        if !self.lane.has_others() || !self.lane.wait_for(job, late - self.limits.grace / 2) {
            self.lane.cancel(job);
        }
        if !self.lane.wait_for(job, late)
            && let Some(zombies) = self.lane.abandon(Some(job))
        {
            self.mailbox.deliver(&self.name);
            self.mailbox.close();
            let line = format!("{what} hangs and was given up; {zombies} of its threads hang");
            emit(&self.name, TALLYPORT_LOG_ERROR, &line);
            let grace = self.limits.grace;
            let hangs = format!("{what}, also cancelled and given {grace:?} more, did not return");
            return Err(Blame::Lost.of(self.timeout(&hangs)));
        }
        let late = self.timeout(&format!("{what} did not return"));
        match job.next(Instant::now()) {
            // An exporter that delivers by itself did so: to say otherwise would send it again.
            Next::Over(Ok(bytes)) if job.is_whole() => Ok(bytes),
            Next::Over(Err(Failed { error, blame: Blame::Panic })) => {
                Err(Blame::Panic.of(late.context(error)))
            }
            _ => Err(Blame::Exporter.of(late)),
        }
    }
}

impl Backend for Worker {
    fn export(&self, export: &Export<'_>, out: Output<'_>) -> Result<u64, Failed> {
        let (snapshot, format) = (export.snapshot.clone(), export.format.to_owned());
        self.call(Task::Export { snapshot, format }, out)
    }

    fn flush(&self) -> Result<(), Failed> {
        self.call(Task::Flush, &mut |_| Ok(())).map(drop)
    }

    fn synced(&self, syncs: &Syncs) -> Result<bool, Failed> {
        if self.lane.is_busy() {
            return Ok(false);
        }
        self.call(Task::Synced(syncs.clone()), &mut |_| Ok(())).map(|told| told == 1)
    }

    fn queue_length(&self) -> usize {
        self.lane.queue_length()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if self.generation != fork::generation() {
            // A forked child has a copy without the thread.
            return;
        }
        let drain = self.limits.drain;
        let ended = self.lane.stop(Instant::now() + drain, in_ns(drain));
        self.mailbox.deliver(&self.name);
        if !ended && let Some(zombies) = self.lane.abandon(None) {
            let line = format!(
                "shutdown did not return in {drain:?} (`drain_ms`) and was given up; {zombies} of \
                 its threads hang"
            );
            emit(&self.name, TALLYPORT_LOG_ERROR, &line);
        }
        self.mailbox.close();
    }
}

/// A time from now, on the clock that plugins read.
fn in_ns(time: Duration) -> u64 {
    let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    monotonic_ns().saturating_add(time)
}
