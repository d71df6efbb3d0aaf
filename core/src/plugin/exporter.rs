//! One instance of an exporter, and the calls on it: the only place that calls into a plugin.
//!
//! Calls run on whichever thread makes them. Without CONCURRENT they take turns. An instance that
//! reports a panic is poisoned: later calls are refused, and it is destroyed without a shutdown. Who
//! calls, for how long, and what follows a failure is decided in `run/`.

use std::{
    ptr,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Instant,
};

use tallyport_plugin_api::{
    abi::{
        TALLYPORT_LOG_ERROR, TALLYPORT_OK, TALLYPORT_PANIC, TALLYPORT_POISONED, tallyport_call,
        tallyport_error, tallyport_export_result, tallyport_exporter, tallyport_status,
        tallyport_sync_result,
    },
    text,
};

use super::{
    host::{Context, Control, ErrorSlot, Output, SinkSlot, is_cancelled},
    run::{Blame, Export, Failed, Syncs},
    table::Table,
};
use crate::{
    model::{Error, ErrorKind, TurnGuard, TurnLock, fork, gate},
    snapshot::Snapshot,
};

/// Numbers of calls, unique in the process.
static NEXT_CALL: AtomicU64 = AtomicU64::new(1);

/// A live exporter. Dropping it shuts it down and destroys it, on the thread that does.
#[derive(Debug)]
pub(super) struct Exporter {
    table: Arc<Table>,
    raw: *mut tallyport_exporter,
    /// Its services; the plugin holds a pointer to them until `destroy` returned.
    context: Arc<Context>,
    turn: TurnLock,
    /// Who has the turn: the address of a thread-local, 0 for nobody.
    holder: AtomicUsize,
    waiting: AtomicUsize,
    /// Calls that run; changes inside the gate, so a forked child knows whether it is whole.
    running: AtomicUsize,
    poisoned: AtomicBool,
    /// By when to have shut down; see [`Control::deadline_ns`].
    stop_by_ns: AtomicU64,
    /// Of the process that it serves: a forked child has a copy that it must not touch, unless
    /// [`Exporter::after_fork`] made it its own.
    generation: AtomicU64,
}

// SAFETY: the ABI lets every thread call an exporter, one at a time unless CONCURRENT, which
// `turn` enforces. Test: concurrent_load_unregister_and_export_is_exact.
unsafe impl Send for Exporter {}
// SAFETY: as above.
unsafe impl Sync for Exporter {}

/// A call that runs, with the turn where calls take turns.
struct Turn<'a> {
    exporter: &'a Exporter,
    guard: Option<TurnGuard<'a>>,
}

impl<'a> Turn<'a> {
    fn begin(exporter: &'a Exporter, guard: Option<TurnGuard<'a>>) -> Self {
        gate::within(|| exporter.running.fetch_add(1, Relaxed));
        Self { exporter, guard }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.guard.is_some() {
            self.exporter.holder.store(0, Release);
        }
        gate::within(|| self.exporter.running.fetch_sub(1, Relaxed));
    }
}

impl Exporter {
    /// Makes an instance from its options (a JSON object, or empty).
    pub(super) fn create(
        table: Arc<Table>,
        context: Arc<Context>,
        options: &str,
    ) -> Result<Self, Failed> {
        let mut raw = ptr::null_mut();
        let mut error = ErrorSlot::default();
        let what = format!("plugin `{}` could not be created", context.plugin);
        let failed = |kind, what| Blame::Exporter.of(Error::new(kind, what));
        let Some(create) = table.raw.create else {
            return Err(failed(ErrorKind::Internal, what));
        };
        // SAFETY: the plugin's function; all arguments live until it returns, the context until
        // `destroy` did. Test: plugin_defects_have_their_status.
        let status =
            unsafe { create(&raw const context.table, text(options), &raw mut raw, error.lend()) };
        if status != TALLYPORT_OK {
            return Err(blame(status).of(error.into_error(&what, status)));
        }
        if raw.is_null() {
            let message = format!("{what}: it answered OK and gave no exporter");
            return Err(failed(ErrorKind::PluginAbi, message));
        }
        Ok(Self {
            table,
            raw,
            context,
            turn: TurnLock::default(),
            holder: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            poisoned: AtomicBool::new(false),
            stop_by_ns: AtomicU64::new(0),
            generation: AtomicU64::new(fork::generation()),
        })
    }

    /// Writes a snapshot to `out`, at most `budget` bytes, on this thread. Returns how many.
    pub(super) fn export(
        &self,
        export: &Export<'_>,
        out: Output<'_>,
        budget: u64,
        control: &Control,
    ) -> Result<u64, Failed> {
        self.export_and_settle(export, out, &mut || Ok(()), budget, control)
    }

    /// As [`Exporter::export`] to an output that takes bytes before they are where they belong:
    /// `settle` says how that ended, and the exporter is told of the end after it.
    pub(super) fn export_and_settle(
        &self,
        export: &Export<'_>,
        out: Output<'_>,
        settle: &mut dyn FnMut() -> Result<(), Error>,
        budget: u64,
        control: &Control,
    ) -> Result<u64, Failed> {
        let _turn = self.take_turn()?;
        let start = Instant::now();
        let call = call(control, export.format);
        let mut sink = SinkSlot::new(out, budget);
        let mut done = self.run(&call, export.snapshot, &mut sink);
        if let Err(error) = settle()
            && done.is_ok()
        {
            done = Err(Blame::Caller.of(error));
        }
        self.complete(&call, &done, sink.written, start);
        done.map(|()| sink.written)
    }

    fn run(
        &self,
        call: &tallyport_call,
        snapshot: &Snapshot,
        sink: &mut SinkSlot<'_>,
    ) -> Result<(), Failed> {
        let refused = "refused the export";
        let request = self.table.lifecycle().and_then(|lifecycle| lifecycle.on_export_request);
        if let Some(request) = request {
            // SAFETY: the plugin's function on its own live exporter; call and error live until
            // it returns. Test: lifecycle_calls_surround_an_export.
            self.checked(refused, |error| unsafe { request(self.raw, call, error) })?;
        }
        let Some(export) = self.table.raw.export_snapshot else {
            return Err(Blame::Exporter.of(Error::new(ErrorKind::Internal, "no export function")));
        };
        let done = snapshot.lend(|raw| {
            let sink = sink.lend();
            // SAFETY: as above; snapshot and sink live until it returns.
            // Test: the_same_numbers_leave_through_every_plugin.
            self.checked("export failed", |error| unsafe {
                export(self.raw, call, raw, sink, error)
            })
        });
        // What the sink said explains more than what the plugin made of it.
        let Some(failed) = sink.failed.take() else { return done };
        let blame = if self.is_poisoned() { Blame::Panic } else { failed.blame };
        Err(blame.of(failed.error.context(format_args!("plugin `{}`", self.context.plugin))))
    }

    fn complete(
        &self,
        call: &tallyport_call,
        done: &Result<(), Failed>,
        bytes: u64,
        start: Instant,
    ) {
        let complete = self.table.lifecycle().and_then(|lifecycle| lifecycle.on_export_complete);
        let Some(complete) = complete.filter(|_| !self.is_poisoned()) else { return };
        let status =
            done.as_ref().err().map_or(TALLYPORT_OK, |failed| failed.error.kind().status());
        let result = tallyport_export_result {
            struct_size: size_of::<tallyport_export_result>() as u32,
            status,
            bytes,
            duration_ns: u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
        };
        // SAFETY: the plugin's function on its own live exporter; both structs outlive the call.
        unsafe { complete(self.raw, call, &raw const result) };
    }

    /// Has the exporter deliver what it buffered.
    pub(super) fn flush(&self, control: &Control) -> Result<(), Failed> {
        let Some(flush) = self.table.raw.flush else { return Ok(()) };
        let _turn = self.take_turn()?;
        let call = call(control, "");
        // SAFETY: the plugin's function on its own live exporter.
        self.checked("flush failed", |error| unsafe { flush(self.raw, &raw const call, error) })
    }

    /// Tells the exporter of syncs; false: it is busy, and was not told.
    pub(super) fn synced(&self, syncs: &Syncs, control: &Control) -> Result<bool, Failed> {
        let on_sync = self.table.lifecycle().and_then(|lifecycle| lifecycle.on_sync);
        let Some(on_sync) = on_sync else { return Ok(true) };
        let Some(_turn) = self.try_turn()? else { return Ok(false) };
        let call = call(control, "");
        let result = tallyport_sync_result {
            struct_size: size_of::<tallyport_sync_result>() as u32,
            syncs: syncs.count,
            series: syncs.series,
            bytes: syncs.bytes,
            duration_ns: u64::try_from(syncs.duration.as_nanos()).unwrap_or(u64::MAX),
            store: text(&syncs.store),
            strategy: text(&syncs.strategy),
        };
        // SAFETY: the plugin's function on its own live exporter; call, result and its texts outlive
        // the call. Test: a_sync_is_told_to_the_exporters_that_want_to_know.
        unsafe { on_sync(self.raw, &raw const call, &raw const result) };
        Ok(true)
    }

    /// Whether [`Exporter::cancel`] does anything.
    pub(super) fn can_cancel(&self) -> bool {
        self.table.raw.cancel.is_some()
    }

    /// Has running calls return early. Any thread, while a call runs.
    pub(super) fn cancel(&self) {
        if let Some(cancel) = self.table.raw.cancel {
            // SAFETY: the plugin's function on its own live exporter, [any thread, during a call],
            // which the caller sees to. Test: misbehaving_plugins_have_their_status.
            unsafe { cancel(self.raw) };
        }
    }

    /// In a forked child: has a plugin that is FORK_AWARE make this copy usable, if no call ran on
    /// it when the process forked. Answers whether it is; before any other call.
    pub(super) fn after_fork(&self) -> bool {
        let Some(after_fork) = self.table.after_fork_child() else { return false };
        if self.running.load(Relaxed) > 0 || self.is_poisoned() {
            return false;
        }
        self.waiting.store(0, Relaxed);
        self.generation.store(fork::generation(), Relaxed);
        // SAFETY: the plugin's function on its own exporter, in a forked child before any other
        // call, which the caller sees to. Test: a_child_keeps_what_a_fork_aware_exporter_has.
        unsafe { after_fork(self.raw) };
        true
    }

    /// By when to have shut down when it is dropped, in nanoseconds of the plugin's clock.
    pub(super) fn stop_by(&self, deadline_ns: u64) {
        self.stop_by_ns.store(deadline_ns, Relaxed);
    }

    /// Calls that wait for their turn.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned.load(Acquire)
    }

    fn checked(
        &self,
        what: &str,
        call: impl FnOnce(*mut tallyport_error) -> tallyport_status,
    ) -> Result<(), Failed> {
        let mut error = ErrorSlot::default();
        let status = call(error.lend());
        if status == TALLYPORT_OK {
            return Ok(());
        }
        let blame = blame(status);
        if blame == Blame::Panic {
            self.poisoned.store(true, Release);
        }
        Err(blame
            .of(error.into_error(&format!("plugin `{}`: {what}", self.context.plugin), status)))
    }

    /// Waits for the turn, unless this very thread has it: that would wait for ever.
    fn take_turn(&self) -> Result<Turn<'_>, Failed> {
        self.check_poison()?;
        if self.table.is_concurrent() {
            return Ok(Turn::begin(self, None));
        }
        let here = here();
        if self.holder.load(Acquire) == here {
            return Err(Blame::Caller.of(reentered(&self.context.plugin)));
        }
        self.waiting.fetch_add(1, Relaxed);
        let guard = self.turn.lock();
        self.waiting.fetch_sub(1, Relaxed);
        self.begin_turn(guard, here)
    }

    /// The turn, unless somebody has it: this very thread, say.
    fn try_turn(&self) -> Result<Option<Turn<'_>>, Failed> {
        self.check_poison()?;
        if self.table.is_concurrent() {
            return Ok(Some(Turn::begin(self, None)));
        }
        let guard = self.turn.try_lock();
        guard.map(|guard| self.begin_turn(guard, here())).transpose()
    }

    fn begin_turn<'a>(&'a self, guard: TurnGuard<'a>, here: usize) -> Result<Turn<'a>, Failed> {
        self.holder.store(here, Release);
        let turn = Turn::begin(self, Some(guard));
        // Whoever had the turn before may have panicked.
        self.check_poison()?;
        Ok(turn)
    }

    fn check_poison(&self) -> Result<(), Failed> {
        if !self.is_poisoned() {
            return Ok(());
        }
        let message = format!("plugin `{}` panicked in an earlier call", self.context.plugin);
        Err(Blame::Caller.of(Error::new(ErrorKind::Poisoned, message)))
    }
}

/// This thread, as a number.
fn here() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| ptr::from_ref(here).addr())
}

/// The error of a call on an exporter from inside a call on it.
pub(super) fn reentered(plugin: &str) -> Error {
    let message = format!("plugin `{plugin}` is exporting on this very thread");
    Error::new(ErrorKind::InvalidArgument, message)
}

/// Who is to blame for a status that a plugin answered.
fn blame(status: tallyport_status) -> Blame {
    match status {
        // The SDKs poison an instance by themselves where a call without a status panics.
        TALLYPORT_PANIC | TALLYPORT_POISONED => Blame::Panic,
        _ => Blame::Exporter,
    }
}

fn call(control: &Control, format: &str) -> tallyport_call {
    tallyport_call {
        struct_size: size_of::<tallyport_call>() as u32,
        flags: 0,
        call_id: NEXT_CALL.fetch_add(1, Relaxed),
        deadline_ns: control.deadline_ns,
        host_data: ptr::from_ref(control).cast_mut().cast(),
        is_cancelled: Some(is_cancelled),
        format: text(format),
        traceparent: text(""),
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        if self.generation.load(Relaxed) != fork::generation() {
            // The copy of a forked child: locks and threads of its own are not there.
            return;
        }
        if let Some(shutdown) = self.table.raw.shutdown.filter(|_| !self.is_poisoned()) {
            let control = Control::with_deadline(self.stop_by_ns.load(Relaxed));
            let call = call(&control, "");
            // SAFETY: the plugin's function on its own exporter, which nobody else holds.
            let done = self.checked("shutdown failed", |error| unsafe {
                shutdown(self.raw, &raw const call, error)
            });
            if let Err(failed) = done {
                self.context.say(TALLYPORT_LOG_ERROR, failed.error.to_string());
            }
        }
        if let Some(destroy) = self.table.raw.destroy {
            // SAFETY: the last call on the exporter; its services are dropped after it.
            unsafe { destroy(self.raw) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Barrier, atomic::AtomicU32},
        thread,
        time::Duration,
    };

    use tallyport_plugin_api::abi::{
        TALLYPORT_PLUGIN_ABI, tallyport_format, tallyport_host, tallyport_plugin_v1,
        tallyport_sink, tallyport_snapshot, tallyport_str,
    };

    use super::*;
    use crate::engine::Engine;

    static CALLS: AtomicU32 = AtomicU32::new(0);

    unsafe extern "C" fn create(
        host: *const tallyport_host,
        _options: tallyport_str,
        exporter: *mut *mut tallyport_exporter,
        _error: *mut tallyport_error,
    ) -> tallyport_status {
        // SAFETY: the host's place for a pointer; the host's table stands for an exporter.
        unsafe { exporter.write(host.cast_mut().cast()) };
        TALLYPORT_OK
    }

    unsafe extern "C" fn destroy(_exporter: *mut tallyport_exporter) {}

    unsafe extern "C" fn panics(
        _exporter: *mut tallyport_exporter,
        _call: *const tallyport_call,
        _snapshot: *const tallyport_snapshot,
        _sink: *mut tallyport_sink,
        _error: *mut tallyport_error,
    ) -> tallyport_status {
        CALLS.fetch_add(1, Relaxed);
        // Long enough for the others to come and wait for their turn.
        thread::sleep(Duration::from_millis(50));
        TALLYPORT_PANIC
    }

    /// Uses the sink in ways that the ABI does not allow.
    unsafe extern "C" fn commits_twice(
        exporter: *mut tallyport_exporter,
        _call: *const tallyport_call,
        _snapshot: *const tallyport_snapshot,
        sink: *mut tallyport_sink,
        _error: *mut tallyport_error,
    ) -> tallyport_status {
        let host = exporter.cast::<tallyport_host>().cast_const();
        // SAFETY: `create` stored the host's table there.
        let table = unsafe { &*host };
        let (Some(reserve), Some(commit), Some(write)) =
            (table.sink_reserve, table.sink_commit, table.sink_write)
        else {
            return TALLYPORT_PANIC;
        };
        let (mut bytes, mut len) = (ptr::null_mut(), 0);
        // SAFETY: the host's functions and sink, and variables of our own.
        let mut reserved = || unsafe { reserve(host, sink, 4, &raw mut bytes, &raw mut len) };
        // SAFETY: as above.
        let commit = |len| unsafe { commit(host, sink, len) };
        // SAFETY: as above, with text of our own.
        let write = |text: &[u8]| unsafe { write(host, sink, text.as_ptr(), text.len()) };
        let invalid = ErrorKind::InvalidArgument.status();
        let answers = [
            (commit(0), invalid),
            (reserved(), TALLYPORT_OK),
            (commit(0), TALLYPORT_OK),
            (commit(0), invalid),
            (reserved(), TALLYPORT_OK),
            (write(b"ab"), TALLYPORT_OK),
            (commit(4), invalid),
        ];
        if answers.iter().all(|(got, wanted)| got == wanted) {
            TALLYPORT_OK
        } else {
            TALLYPORT_PANIC
        }
    }

    fn exporter(
        export: unsafe extern "C" fn(
            *mut tallyport_exporter,
            *const tallyport_call,
            *const tallyport_snapshot,
            *mut tallyport_sink,
            *mut tallyport_error,
        ) -> tallyport_status,
    ) -> Exporter {
        let formats = [tallyport_format { name: text("x"), content_type: text("y") }];
        let table = tallyport_plugin_v1 {
            struct_size: size_of::<tallyport_plugin_v1>() as u32,
            abi: TALLYPORT_PLUGIN_ABI,
            caps: 0,
            id: text("test"),
            version: text("1"),
            vendor: text(""),
            description: text(""),
            formats: formats.as_ptr(),
            format_count: 1,
            signals: 1,
            config_schema_json: text(""),
            create: Some(create),
            export_snapshot: Some(export),
            flush: None,
            cancel: None,
            shutdown: None,
            destroy: Some(destroy),
            after_fork_child: None,
            get_extension: None,
        };
        // SAFETY: a whole table; what it points to is read before this returns.
        let table = unsafe { Table::read(&raw const table, size_of_val(&table), "test") };
        Exporter::create(Arc::new(table.unwrap()), Context::to_current_log("test"), "").unwrap()
    }

    fn run(exporter: &Exporter, snapshot: &Snapshot, out: Output<'_>) -> Result<u64, Failed> {
        let export = Export { snapshot, format: "x" };
        exporter.export(&export, out, u64::MAX, &Control::default())
    }

    fn snapshot() -> Snapshot {
        Engine::builder().build().unwrap().snapshot().unwrap()
    }

    #[test]
    fn who_waited_for_its_turn_does_not_call_a_poisoned_exporter() {
        let (exporter, snapshot) = (exporter(panics), snapshot());
        let barrier = Barrier::new(4);
        let mut kinds: Vec<_> = thread::scope(|scope| {
            let export = || {
                barrier.wait();
                run(&exporter, &snapshot, &mut |_| Ok(())).unwrap_err().error.kind()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(export)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        kinds.sort_by_key(|kind| *kind != ErrorKind::Panic);
        assert_eq!(CALLS.load(Relaxed), 1);
        assert_eq!(kinds[0], ErrorKind::Panic);
        assert!(kinds[1..].iter().all(|kind| *kind == ErrorKind::Poisoned), "{kinds:?}");
    }

    #[test]
    fn what_a_sink_lends_is_committed_once() {
        let mut written = Vec::new();
        let done = run(&exporter(commits_twice), &snapshot(), &mut |bytes| {
            assert!(!bytes.is_empty(), "an output is not called for nothing");
            written.extend_from_slice(bytes);
            Ok(())
        });
        assert_eq!((done.unwrap(), written.as_slice()), (2, &b"ab"[..]));
    }

    /// A payload whose drop panics too.
    struct Grenade;

    impl Drop for Grenade {
        fn drop(&mut self) {
            std::panic::panic_any("again");
        }
    }

    unsafe extern "C" fn writes(
        exporter: *mut tallyport_exporter,
        _call: *const tallyport_call,
        _snapshot: *const tallyport_snapshot,
        sink: *mut tallyport_sink,
        _error: *mut tallyport_error,
    ) -> tallyport_status {
        let host = exporter.cast::<tallyport_host>().cast_const();
        // SAFETY: `create` stored the host's table there.
        let write = unsafe { (*host).sink_write };
        // SAFETY: the host's function and sink, with text of our own.
        write.map_or(TALLYPORT_OK, |write| unsafe { write(host, sink, b"ab".as_ptr(), 2) })
    }

    #[test]
    fn an_output_that_panics_twice_is_contained() {
        let mut grenade = |_: &[u8]| std::panic::panic_any(Grenade);
        let failed = run(&exporter(writes), &snapshot(), &mut grenade).unwrap_err();
        assert_eq!((failed.error.kind(), failed.blame), (ErrorKind::Panic, Blame::Caller));
    }
}
