//! One helper process as the host sees it: it is started, told what to load, and called.
//!
//! Everything that comes back is checked. A helper that breaks the conversation, is silent for too
//! long or is gone is never talked to again: the [`Failed`] says how it ended, and it is killed.

use std::{
    ffi::OsString,
    io,
    os::{fd::BorrowedFd, unix::ffi::OsStringExt},
    path::PathBuf,
    time::{Duration, Instant},
};

use tallyport_plugin_api::abi::{TALLYPORT_LOG_ERROR, TALLYPORT_LOG_WARN};
use tracing::level_filters::LevelFilter;

use super::{
    call::{Call, Sink, Times},
    channel::{NotSent, Received, Receiver, Sender, pair, split},
    child::Child,
    memory::{MemoryFile, Plan, SLOTS},
    messages::{self, Description, FromHelper, ToHelper},
    voice::number,
    wire::Frame,
};
use crate::{
    model::{Error, ErrorKind},
    plugin::{
        HelperLimits, ProbeJob, filtered,
        host::Output,
        run::{self, Blame, Failed, emit, forked},
    },
    snapshot::Snapshot,
};

/// How long a helper may take to start, to load its file, or to create an exporter.
pub(super) const START: Duration = Duration::from_secs(30);
/// How long a process whose socket closed may take to be gone: it is ending already.
const ENDING: Duration = Duration::from_secs(2);

/// What a helper is started with.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    /// The program `tallyport-plugin-host`.
    pub(crate) helper: PathBuf,
    /// The plugin's file, and what it was when it was looked at.
    pub(crate) job: ProbeJob,
    pub(crate) limits: HelperLimits,
}

/// Why the conversation is over.
#[derive(Debug)]
enum Trouble {
    /// The helper is gone.
    Gone,
    /// It says nothing, or takes nothing in.
    Silent,
    /// It said something that it may not say.
    Broke(String),
    /// It said that it cannot go on.
    GaveUp(Error),
    /// This process was forked during the call: the helper talks with its parent.
    Forked,
}

impl From<NotSent> for Trouble {
    fn from(error: NotSent) -> Self {
        match error {
            NotSent::Closed => Self::Gone,
            NotSent::Late => Self::Silent,
            NotSent::Other(error) => Self::Broke(format!("its socket: {error}")),
        }
    }
}

/// A live helper.
#[derive(Debug)]
pub(super) struct Client {
    child: Child,
    sender: Sender,
    receiver: Receiver,
    output: MemoryFile,
    /// What was read from a slot: a copy, which the helper cannot change any more.
    chunk: Vec<u8>,
    /// What errors and logs call the plugin.
    name: String,
    last_call: u64,
    schema_id: Option<u64>,
    values: Option<MemoryFile>,
}

impl Client {
    /// Starts a helper and has it load the file, in `time`.
    pub(super) fn start(
        launch: &Launch,
        name: &str,
        time: Duration,
    ) -> Result<(Self, Vec<Description>), Failed> {
        let until = Instant::now() + time;
        let mut client = Self::spawn(launch, name).map_err(|e| Blame::Exporter.of(e))?;
        let what = "loading";
        let hello = ToHelper::Hello {
            host_pid: std::process::id(),
            limits: launch.limits.clone(),
            log_level: LevelFilter::current().into_level().map_or(0, number).cast_unsigned(),
            slots: SLOTS,
        };
        let output = Some(client.output.descriptor());
        let loaded = client.tell(&hello, output, until).and_then(|()| {
            match client.hear(until)? {
                FromHelper::Ready => {}
                other => return Err(out_of_turn(&other)),
            }
            let job = launch.job.to_args().into_iter().map(OsString::into_vec).collect();
            client.tell(&ToHelper::Load { job, name: name.to_owned() }, None, until)?;
            match client.hear(until)? {
                FromHelper::Loaded(tables) => Ok(tables),
                other => Err(out_of_turn(&other)),
            }
        });
        match loaded {
            Ok(tables) => Ok((client, tables)),
            Err(trouble) => Err(client.lost(what, format!("in {time:?}"), trouble)),
        }
    }

    fn spawn(launch: &Launch, name: &str) -> Result<Self, Error> {
        let failed = |error: io::Error| system(name, &error);
        let output = u64::from(SLOTS.count) * u64::from(SLOTS.bytes);
        let output = MemoryFile::new("tallyport-output", output).map_err(failed)?;
        let (ours, theirs) = pair().map_err(failed)?;
        let child = Child::start(&launch.helper, &theirs).map_err(|error| {
            let helper = launch.helper.display();
            let what = format!("plugin `{name}`: start its helper process `{helper}`");
            Error::io(what, &error).with_kind(ErrorKind::PluginRefused)
        })?;
        let peer = child.watch().map_err(failed)?;
        let (sender, receiver) = split(ours, peer, false);
        Ok(Self {
            child,
            sender,
            receiver,
            output,
            chunk: vec![0; SLOTS.bytes as usize],
            name: name.to_owned(),
            last_call: 0,
            schema_id: None,
            values: None,
        })
    }

    /// Has the helper make the one instance that it has, in `time`.
    pub(super) fn create(
        &mut self,
        name: &str,
        id: &str,
        options: &str,
        time: Duration,
    ) -> Result<(), Failed> {
        let until = Instant::now() + time;
        name.clone_into(&mut self.name);
        let (exporter, options) = (id.to_owned(), options.into());
        let created = self.tell(&ToHelper::Create { exporter, options }, None, until);
        let created = created.and_then(|()| match self.hear(until)? {
            FromHelper::Created => Ok(()),
            other => Err(out_of_turn(&other)),
        });
        created.map_err(|trouble| self.lost("its creation", format!("in {time:?}"), trouble))
    }

    /// The helper's process.
    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Itself, if it can serve this process. One that a forked child inherited is left as it is.
    pub(super) fn if_usable(mut self) -> Option<Self> {
        if !self.child.is_ours() {
            std::mem::forget(self);
            return None;
        }
        self.is_alive().then_some(self)
    }

    /// Whether the helper is there and has nothing to say: between calls it may only log.
    pub(super) fn is_alive(&mut self) -> bool {
        while !self.receiver.is_quiet() {
            match self.receiver.receive(Some(Instant::now())) {
                Received::Message(frame, _) if self.log(&frame).is_ok() => {}
                _ => return false,
            }
        }
        true
    }

    /// Exports, and returns the bytes that reached `out`.
    pub(super) fn export(
        &mut self,
        export: &run::Export<'_>,
        budget: u64,
        times: Times,
        out: Output<'_>,
    ) -> Result<u64, Failed> {
        let what = "an export";
        let mut call = Call::new(times, self.next_call());
        let handed = self.hand_over(export, budget, &call);
        let handed = handed.map_err(|(trouble, limit)| self.lost(what, limit, trouble))?;
        if let Err(error) = handed {
            return Err(Blame::Caller.of(error));
        }
        let mut sink = Sink { out, budget, written: 0, failed: None };
        loop {
            let heard = match self.hear(call.until) {
                Err(Trouble::Silent) if !call.cancelled => {
                    self.withdraw(&mut call).map_err(|t| self.lost(what, call.limit(), t))?;
                    continue;
                }
                other => other.map_err(|trouble| self.lost(what, call.limit(), trouble))?,
            };
            match heard {
                FromHelper::Chunk { call_id, slot, len } if call_id == call.id => {
                    let passed = self.pass_on(slot, len, &mut sink, &mut call);
                    passed.map_err(|trouble| self.lost(what, call.limit(), trouble))?;
                }
                FromHelper::Done { call_id, failure } if call_id == call.id => {
                    let failure = failure.map(messages::Failure::into_error);
                    return self.done(&call, sink, failure);
                }
                other => return Err(self.lost(what, call.limit(), out_of_turn(&other))),
            }
        }
    }

    /// How an export ended whose helper goes on.
    fn done(&self, call: &Call, sink: Sink<'_>, failure: Option<Error>) -> Result<u64, Failed> {
        let context = format_args!("plugin `{}`", self.name).to_string();
        // What the sink said explains more than what the plugin made of it, and that it was
        // withdrawn more than both.
        let late = call.cancelled || call.is_late();
        if late && (failure.is_some() || sink.failed.is_some()) {
            let message = format!("{context}: an export did not return {}", call.limit());
            return Err(Blame::Exporter.of(Error::new(ErrorKind::Timeout, message)));
        }
        match (sink.failed, failure) {
            (Some(failed), _) => Err(failed.blame.of(failed.error.context(context))),
            (None, Some(error)) => Err(blame(&error).of(error)),
            (None, None) => Ok(sink.written),
        }
    }

    /// Has the exporter deliver what it buffered.
    pub(super) fn flush(&mut self, times: Times) -> Result<(), Failed> {
        let call = Call::new(times, self.next_call());
        let order = ToHelper::Flush { call_id: call.id, deadline_ns: call.deadline_ns() };
        let failure = self.ask(&order, "a flush", call)?;
        failure.map_or(Ok(()), |error| Err(blame(&error).of(error)))
    }

    /// Tells the exporter of syncs.
    pub(super) fn synced(&mut self, syncs: &run::Syncs, times: Times) -> Result<(), Failed> {
        let call = Call::new(times, self.next_call());
        let (call_id, deadline_ns) = (call.id, call.deadline_ns());
        let order = ToHelper::Synced { call_id, deadline_ns, syncs: syncs.clone() };
        let failure = self.ask(&order, "on_sync", call)?;
        failure.map_or(Ok(()), |error| Err(blame(&error).of(error)))
    }

    /// Has the exporter shut down, and the helper end, both in `time`.
    pub(super) fn shut_down(self, time: Duration) {
        let Some(mut this) = self.if_usable() else { return };
        let deadline = Some((time, Instant::now() + time));
        let call = Call::new(Times { deadline, grace: Duration::ZERO }, this.next_call());
        let (until, deadline_ns) = (call.until, call.deadline_ns());
        let order = ToHelper::Shutdown { call_id: call.id, deadline_ns };
        match this.ask(&order, "its shutdown", call) {
            // What still runs when the time is over is killed as `this` is dropped.
            Ok(_) => drop(this.child.wait(until)),
            Err(failed) => emit(&this.name, TALLYPORT_LOG_ERROR, &failed.error.to_string()),
        }
    }

    /// A call without output.
    fn ask(
        &mut self,
        order: &ToHelper,
        what: &str,
        mut call: Call,
    ) -> Result<Option<Error>, Failed> {
        let told = self.tell(order, None, call.until);
        told.map_err(|trouble| self.lost(what, call.limit(), trouble))?;
        loop {
            match self.hear(call.until) {
                Ok(FromHelper::Done { call_id, failure }) if call_id == call.id => {
                    let failure = failure.map(messages::Failure::into_error);
                    return Ok(failure);
                }
                Err(Trouble::Silent) if !call.cancelled => {
                    self.withdraw(&mut call).map_err(|t| self.lost(what, call.limit(), t))?;
                }
                Ok(other) => return Err(self.lost(what, call.limit(), out_of_turn(&other))),
                Err(trouble) => return Err(self.lost(what, call.limit(), trouble)),
            }
        }
    }

    fn next_call(&mut self) -> u64 {
        self.last_call += 1;
        self.last_call
    }

    /// Gives the helper what it does not have yet, and the order. The inner error is the host's own.
    fn hand_over(
        &mut self,
        export: &run::Export<'_>,
        budget: u64,
        call: &Call,
    ) -> Result<Result<(), Error>, (Trouble, String)> {
        let snapshot = export.snapshot;
        let plan = Plan::of(snapshot);
        let news = match self.news(snapshot, &plan) {
            Ok(news) => news,
            // The host has no memory or no descriptor left: the helper is as it was.
            Err(error) => return Ok(Err(system(&self.name, &error))),
        };
        let order = ToHelper::Export(messages::Export {
            call_id: call.id,
            deadline_ns: call.deadline_ns(),
            budget,
            format: export.format.to_owned(),
            schema_id: snapshot.schema_id,
            time_unix_ns: snapshot.time_unix_ns,
            series_count: snapshot.series_count,
            columns: plan.columns,
        });
        let tell = || {
            if let Some(schema) = news.schema {
                let schema_id = snapshot.schema_id;
                let message = ToHelper::Schema { schema_id, bytes: schema.len() };
                self.tell(&message, Some(schema.descriptor()), call.until)?;
                self.schema_id = Some(schema_id);
            }
            if let Some(values) = news.values {
                let message = ToHelper::Values { bytes: values.len() };
                self.tell(&message, Some(values.descriptor()), call.until)?;
                self.values = Some(values);
            }
            self.tell(&order, None, call.until)
        };
        tell().map(Ok).map_err(|trouble| (trouble, call.limit()))
    }

    /// Writes the values to where the helper has them mapped, or makes the memory that it lacks.
    fn news(&self, snapshot: &Snapshot, plan: &Plan) -> io::Result<News> {
        let known = self.schema_id == Some(snapshot.schema_id);
        let schema = if known { None } else { Some(plan.schema(snapshot)?) };
        // Memory of the size that the schema needs, so that a helper does not keep the largest.
        let fits = |file: &&MemoryFile| known && file.len() >= plan.values_bytes;
        let values = match self.values.as_ref().filter(fits) {
            Some(file) => {
                plan.values(snapshot, file)?;
                None
            }
            None => {
                let file = MemoryFile::new("tallyport-values", plan.values_bytes)?;
                plan.values(snapshot, &file)?;
                Some(file)
            }
        };
        Ok(News { schema, values })
    }

    /// Reads a slot, feeds the caller, and gives the slot back.
    fn pass_on(
        &mut self,
        slot: u32,
        len: u32,
        sink: &mut Sink<'_>,
        call: &mut Call,
    ) -> Result<(), Trouble> {
        let broke = |what: String| Err(Trouble::Broke(what));
        let chunk = match self.chunk.get_mut(..len as usize) {
            Some(chunk) if len > 0 && slot < SLOTS.count => chunk,
            _ => return broke(format!("it says that {len} bytes lie in slot {slot}")),
        };
        if let Err(error) = self.output.read(chunk, u64::from(slot) * u64::from(SLOTS.bytes)) {
            return broke(format!("its output cannot be read: {error}"));
        }
        let status = if call.cancelled {
            ErrorKind::Timeout.status()
        } else {
            let refused_before = sink.failed.is_some();
            let status = sink.write(chunk);
            // The time that the caller's output took is not the plugin's.
            call.progress(sink.failed.is_some() && !refused_before);
            status
        };
        if !call.cancelled && call.is_late() {
            self.withdraw(call)?;
        }
        self.tell(&ToHelper::Credit { slot, status }, None, call.until)
    }

    /// Tells the helper to come to an end, and gives it the grace to.
    fn withdraw(&mut self, call: &mut Call) -> Result<(), Trouble> {
        call.cancelled = true;
        call.until = Instant::now() + call.times.grace;
        // A helper that takes nothing in is told apart below: it is killed at the end of the grace.
        match self.tell(&ToHelper::Cancel { call_id: call.id }, None, call.until) {
            Err(Trouble::Silent) => Ok(()),
            other => other,
        }
    }

    fn tell(
        &self,
        message: &ToHelper,
        descriptor: Option<BorrowedFd<'_>>,
        until: Instant,
    ) -> Result<(), Trouble> {
        self.check_ours()?;
        Ok(self.sender.send(&message.frame(), descriptor, Some(until))?)
    }

    /// Whoever is called during a call (the output, a log function) may fork.
    fn check_ours(&self) -> Result<(), Trouble> {
        if self.child.is_ours() { Ok(()) } else { Err(Trouble::Forked) }
    }

    /// The next message that is not a line of the log.
    fn hear(&mut self, until: Instant) -> Result<FromHelper, Trouble> {
        loop {
            self.check_ours()?;
            let frame = match self.receiver.receive(Some(until)) {
                Received::Message(frame, _) => frame,
                Received::Closed => return Err(Trouble::Gone),
                Received::Late => return Err(Trouble::Silent),
                Received::Bad(bad) => return Err(Trouble::Broke(bad.0)),
                Received::Other(error) => {
                    return Err(Trouble::Broke(format!("its socket: {error}")));
                }
            };
            if let Some(message) = self.log(&frame)? {
                return match message {
                    FromHelper::Failed(failure) => Err(Trouble::GaveUp(failure.into_error())),
                    message => Ok(message),
                };
            }
            // Lines alone do not keep a call alive.
            if Instant::now() >= until {
                return Err(Trouble::Silent);
            }
        }
    }

    /// Logs a line; other messages come back.
    fn log(&self, frame: &Frame) -> Result<Option<FromHelper>, Trouble> {
        match FromHelper::read(frame).map_err(|bad| Trouble::Broke(bad.0))? {
            FromHelper::Log { level, lost, message } => {
                if lost > 0 {
                    emit(
                        &self.name,
                        TALLYPORT_LOG_WARN,
                        &format!("{lost} lines of its log were lost"),
                    );
                }
                emit(&self.name, level.cast_signed(), &filtered(message));
                Ok(None)
            }
            other => Ok(Some(other)),
        }
    }

    /// What a helper that is gone said last, if that was why.
    fn last_words(&mut self) -> Option<Error> {
        loop {
            match self.receiver.receive(Some(Instant::now())) {
                Received::Message(frame, _) => match self.log(&frame) {
                    Ok(Some(FromHelper::Failed(failure))) => return Some(failure.into_error()),
                    Ok(_) => {}
                    Err(_) => return None,
                },
                _ => return None,
            }
        }
    }

    /// Ends the helper and says how and when it came to that.
    fn lost(&mut self, during: &str, limit: String, trouble: Trouble) -> Failed {
        let trouble = match trouble {
            // It may have said why, to a host that was sending at the time.
            Trouble::Gone => self.last_words().map_or(Trouble::Gone, Trouble::GaveUp),
            other => other,
        };
        let (name, pid) = (&self.name, self.child.pid());
        let (kind, message) = match trouble {
            Trouble::Forked => return forked(name, during),
            Trouble::GaveUp(error) => {
                self.child.kill();
                // Its words are the plugin's or the loader's: they name who and what already.
                return blame_of_end(&error).of(error);
            }
            Trouble::Gone => match self.child.wait(Instant::now() + ENDING) {
                Some(ending) => {
                    let message = format!("its helper process {pid} {ending}, during {during}");
                    (ErrorKind::PluginFailed, message)
                }
                None => {
                    let message = format!(
                        "its helper process {pid} closed the socket to this process, during \
                         {during}; it was killed"
                    );
                    (ErrorKind::PluginFailed, message)
                }
            },
            Trouble::Silent => {
                let message = format!(
                    "{during} did not return {limit}, nor when it was cancelled; its helper process \
                     {pid} was killed"
                );
                (ErrorKind::Timeout, message)
            }
            Trouble::Broke(what) => {
                let message = format!(
                    "its helper process {pid} broke the protocol, during {during}: {what}; it was \
                     killed"
                );
                (ErrorKind::PluginFailed, message)
            }
        };
        let error = Error::new(kind, format!("plugin `{name}`: {message}"));
        self.child.kill();
        Blame::Lost.of(error)
    }
}

/// What a helper does not have yet.
struct News {
    schema: Option<MemoryFile>,
    values: Option<MemoryFile>,
}

/// Who is to blame for what an exporter answered.
fn blame(error: &Error) -> Blame {
    match error.kind() {
        ErrorKind::Panic | ErrorKind::Poisoned => Blame::Panic,
        _ => Blame::Exporter,
    }
}

/// Who is to blame for what a helper said last.
fn blame_of_end(error: &Error) -> Blame {
    match blame(error) {
        Blame::Panic => Blame::Panic,
        _ => Blame::Lost,
    }
}

fn out_of_turn(message: &FromHelper) -> Trouble {
    let kind = message.frame().kind;
    Trouble::Broke(format!("it sent message {kind} out of turn"))
}

fn system(name: &str, error: &io::Error) -> Error {
    Error::io(format_args!("plugin `{name}`: make what its helper process needs"), error)
}
