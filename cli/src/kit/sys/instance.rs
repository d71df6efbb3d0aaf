//! One exporter that was created, and the calls on it.

use std::{
    collections::BTreeMap,
    ptr,
    time::{Duration, Instant},
};

use tallyport_plugin_api::abi::{
    TALLYPORT_OK, tallyport_call, tallyport_error, tallyport_export_result, tallyport_exporter,
    tallyport_status, tallyport_str, tallyport_sync_result,
};

use super::{
    call::{Call, CallShape},
    desk::{Desk, Fault, HostShape, Misuse, Sink},
    file::Exporter,
    memory::Loan,
    snapshot::Lent,
};

/// What a call answered.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) status: tallyport_status,
    pub(crate) fault: Fault,
}

impl Answer {
    pub(crate) fn ok(&self) -> bool {
        self.status == TALLYPORT_OK
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", crate::words::status(self.status))?;
        match self.fault.message.as_str() {
            "" if self.ok() => Ok(()),
            "" => write!(f, ", without a message"),
            text => write!(f, " ({})", crate::words::short(text)),
        }
    }
}

/// How an export is to go.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    pub(crate) call: CallShape,
    pub(crate) sink: Sink,
}

/// How an export went.
#[derive(Debug)]
pub(crate) struct Exported {
    pub(crate) call: Call,
    pub(crate) answer: Answer,
    pub(crate) sink: Sink,
    pub(crate) polls: u64,
    pub(crate) took: Duration,
}

/// A live exporter. Dropping it destroys it.
#[derive(Debug)]
pub(crate) struct Instance<'a> {
    exporter: &'a Exporter,
    raw: *mut tallyport_exporter,
    desk: Desk,
    /// The options that it was created with: closed, their addresses still taken.
    _options: Loan,
}

// SAFETY: [any thread] by the ABI; the cases keep to one call at a time unless CONCURRENT.
// Test: the_samples_pass_every_case.
unsafe impl Send for Instance<'_> {}
// SAFETY: as above.
unsafe impl Sync for Instance<'_> {}

impl<'a> Instance<'a> {
    /// Calls `create`. The second: what it answered, and what it did wrong, when it gave nothing.
    #[allow(clippy::type_complexity)] // one caller, which takes it apart at once
    pub(crate) fn create(
        exporter: &'a Exporter,
        shape: HostShape,
        config: &[u8],
    ) -> Result<Result<Self, (Answer, BTreeMap<Misuse, String>)>, String> {
        let desk = Desk::open(shape)?;
        let own = Loan::of(config, 1)?;
        let options = tallyport_str {
            ptr: if config.is_empty() { ptr::null() } else { own.start().cast() },
            len: config.len(),
        };
        let mut raw = ptr::null_mut();
        let answer = answer(&desk, |error| match exporter.raw.create {
            // SAFETY: the plugin's function; what is lent lives until it returns, the desk until
            // `destroy` did. Test: the_samples_pass_every_case.
            Some(create) => unsafe { create(desk.table(), options, &raw mut raw, error) },
            None => TALLYPORT_OK,
        });
        // Options are borrowed for this call only.
        own.close()?;
        if !answer.ok() {
            desk.closed();
            return Ok(Err((answer, desk.misuse())));
        }
        if raw.is_null() {
            return Err("`create` answered OK and gave no exporter".to_owned());
        }
        Ok(Ok(Self { exporter, raw, desk, _options: own }))
    }

    /// Exports a snapshot in a format, with the lifecycle calls around it, if there are any.
    pub(crate) fn export(
        &self,
        format: &str,
        snapshot: &Lent,
        ask: Ask,
    ) -> Result<Exported, String> {
        let call = Call::lend(format, ask.call)?;
        let sink = self.desk.lend_sink(ask.sink);
        let start = Instant::now();
        let lifecycle = self.exporter.lifecycle;
        let mut done = Answer::default();
        if let Some(request) = lifecycle.and_then(|lifecycle| lifecycle.on_export_request) {
            // SAFETY: the plugin's function on its own live exporter, with what is lent to it.
            done = self.answer(|error| unsafe { request(self.raw, call.table(), error) });
        }
        if done.ok() {
            done = self.answer(|error| match self.exporter.raw.export_snapshot {
                // SAFETY: as above. Test: the_samples_pass_every_case.
                Some(export) => unsafe {
                    export(self.raw, call.table(), snapshot.table_ptr(), sink, error)
                },
                None => TALLYPORT_OK,
            });
        }
        let took = start.elapsed();
        let sink = self.desk.take_sink(sink);
        if let Some(complete) = lifecycle.and_then(|lifecycle| lifecycle.on_export_complete) {
            let result = tallyport_export_result {
                struct_size: size_of::<tallyport_export_result>() as u32,
                status: done.status,
                bytes: sink.bytes.len() as u64,
                duration_ns: u64::try_from(took.as_nanos()).unwrap_or(u64::MAX),
            };
            // SAFETY: as above.
            unsafe { complete(self.raw, call.table(), &raw const result) };
        }
        let polls = call.polls();
        call.over();
        Ok(Exported { call, answer: done, sink, polls, took })
    }

    /// Tells of a sync, if it wants to hear of them.
    pub(crate) fn on_sync(&self) -> Result<(), String> {
        let lifecycle = self.exporter.lifecycle;
        let Some(on_sync) = lifecycle.and_then(|lifecycle| lifecycle.on_sync) else {
            return Ok(());
        };
        let call = Call::lend("", CallShape::default())?;
        // Texts that are gone after the call, so that who keeps them is found.
        let store = Loan::of(b"sqlite", 1)?;
        let strategy = Loan::of(b"distributed_atomic", 1)?;
        let lent = |loan: &Loan, len| tallyport_str { ptr: loan.start().cast(), len };
        let result = tallyport_sync_result {
            struct_size: size_of::<tallyport_sync_result>() as u32,
            syncs: 1,
            series: 12,
            bytes: 3_456,
            duration_ns: 789_000,
            store: lent(&store, 6),
            strategy: lent(&strategy, 18),
        };
        // SAFETY: the plugin's function on its own live exporter, with what is lent to it.
        // Test: the_samples_pass_every_case.
        unsafe { on_sync(self.raw, call.table(), &raw const result) };
        call.over();
        store.close()?;
        strategy.close()
    }

    /// Calls `flush`, if there is one.
    pub(crate) fn flush(&self) -> Result<Option<Answer>, String> {
        let Some(flush) = self.exporter.raw.flush else { return Ok(None) };
        // SAFETY: the plugin's function on its own live exporter.
        self.outside(|call, error| unsafe { flush(self.raw, call, error) }).map(Some)
    }

    /// Calls `shutdown`, if there is one.
    pub(crate) fn shutdown(&self) -> Result<Option<Answer>, String> {
        let Some(shutdown) = self.exporter.raw.shutdown else { return Ok(None) };
        // SAFETY: the plugin's function on its own live exporter.
        self.outside(|call, error| unsafe { shutdown(self.raw, call, error) }).map(Some)
    }

    /// Calls `cancel`, if there is one.
    pub(crate) fn cancel(&self) {
        if let Some(cancel) = self.exporter.raw.cancel {
            // SAFETY: the plugin's function, [any thread, during a call].
            unsafe { cancel(self.raw) };
        }
    }

    /// Calls `after_fork_child`, if there is one.
    pub(crate) fn after_fork_child(&self) {
        if let Some(after) = self.exporter.raw.after_fork_child {
            // SAFETY: the plugin's function, in a forked child and before any other.
            unsafe { after(self.raw) };
        }
    }

    /// What the plugin did wrong with the services.
    pub(crate) fn misuse(&self) -> BTreeMap<Misuse, String> {
        self.desk.misuse()
    }

    /// Calls `destroy`, and tells what the plugin did wrong with the services in its whole life.
    pub(crate) fn destroy(self) -> BTreeMap<Misuse, String> {
        let notes = std::sync::Arc::clone(self.desk.notes());
        drop(self);
        notes.lending().misuse.clone()
    }

    fn end(&self) {
        if let Some(destroy) = self.exporter.raw.destroy {
            // SAFETY: the last call on the exporter; nobody else holds it.
            unsafe { destroy(self.raw) };
        }
        self.desk.closed();
    }

    fn outside(
        &self,
        run: impl FnOnce(*const tallyport_call, *mut tallyport_error) -> tallyport_status,
    ) -> Result<Answer, String> {
        let call = Call::lend("", CallShape::default())?;
        let answer = self.answer(|error| run(call.table(), error));
        Ok(answer)
    }

    fn answer(&self, run: impl FnOnce(*mut tallyport_error) -> tallyport_status) -> Answer {
        answer(&self.desk, run)
    }
}

impl Drop for Instance<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

fn answer(desk: &Desk, run: impl FnOnce(*mut tallyport_error) -> tallyport_status) -> Answer {
    let error = desk.lend_error();
    let status = run(error);
    let fault = desk.take_error(error);
    if !fault.message.is_empty() && fault.code != status {
        let (code, status) = (crate::words::status(fault.code), crate::words::status(status));
        let text = || format!("it set an error with {code} and answered {status}");
        desk.notes().lending().note(Misuse::Domain, text);
    }
    Answer { status, fault }
}
