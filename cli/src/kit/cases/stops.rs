//! What ends an export early: a sink that refuses, a call that is withdrawn, a deadline.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tallyport_plugin_api::abi::{
    TALLYPORT_CANCELLED, TALLYPORT_CAP_CANCEL, TALLYPORT_IO, TALLYPORT_LIMIT, TALLYPORT_TIMEOUT,
};

use crate::{
    data,
    sys::{
        call::{CallShape, Cancel},
        desk::{Misuse, Refuse, Sink},
        instance::{Ask, Exported, Instance},
        snapshot::Lent,
    },
    trial::{Done, GRACE, Stop, Trial, expect_ok, expect_same, lend},
    words,
};

/// Series of a snapshot whose export takes several writes.
const SEVERAL: u32 = 4_000;

fn with_sink(refuse: Refuse) -> Ask {
    Ask { sink: Sink { refuse, ..Sink::default() }, ..Ask::default() }
}

fn with_cancel(cancel: Cancel) -> Ask {
    Ask { call: CallShape { cancel, ..CallShape::default() }, ..Ask::default() }
}

/// What the sink gets when nothing stops the export.
struct Whole {
    lent: Lent,
    bytes: Vec<u8>,
    writes: usize,
    polls: u64,
}

impl Whole {
    fn of(
        trial: &Trial<'_>,
        instance: &Instance<'_>,
        format: &str,
        series: u32,
    ) -> Result<Self, Stop> {
        let lent = lend(&data::many(series))?;
        let done = trial.ask(instance, format, &lent, Ask::default())?;
        expect_ok(&done.answer, "an export that nothing stops")?;
        let Exported { sink, polls, .. } = done;
        Ok(Self { lent, bytes: sink.bytes, writes: sink.writes, polls })
    }

    /// The exporter still does what it did before.
    fn again(&self, trial: &Trial<'_>, instance: &Instance<'_>, format: &str, after: &str) -> Done {
        let done = trial.ask(instance, format, &self.lent, Ask::default())?;
        expect_ok(&done.answer, &format!("the export after {after}"))?;
        let what = format!("the export after {after} and the one before");
        expect_same(&done.sink.bytes, &self.bytes, &what)
    }
}

pub(super) fn short_sink(trial: &mut Trial<'_>) -> Done {
    trial.needs_output()?;
    for format in trial.formats() {
        let instance = trial.create()?;
        let whole = Whole::of(trial, &instance, format, SEVERAL)?;
        for _ in 0..trial.rounds {
            let statuses = [TALLYPORT_LIMIT, TALLYPORT_IO, TALLYPORT_CANCELLED];
            let status = pick(trial, &statuses, TALLYPORT_LIMIT);
            let refuse = if trial.rng.below(2) == 0 {
                Refuse::PastByte(trial.rng.below(whole.bytes.len() as u64) as usize, status)
            } else {
                Refuse::AtWrite(trial.rng.below(whole.writes as u64) as usize, status)
            };
            let done = trial.ask(&instance, format, &whole.lent, with_sink(refuse))?;
            let Some(refused) = done.sink.refused else { continue };
            let refused = words::status(refused);
            if done.answer.ok() {
                return Stop::fail(format!("the sink answered {refused}, and the export OK"));
            }
            // The header: CANCELLED or LIMIT mean: stop and return that status.
            if status != TALLYPORT_IO && done.answer.status != status {
                let text = format!("the sink answered {refused}, and the export {}", done.answer);
                return Stop::fail(text);
            }
        }
        whole.again(trial, &instance, format, "a sink that refused")?;
    }
    Ok(())
}

fn pick(trial: &mut Trial<'_>, of: &[i32], or: i32) -> i32 {
    let at = trial.rng.below(of.len() as u64) as usize;
    of.get(at).copied().unwrap_or(or)
}

pub(super) fn late_writes(trial: &mut Trial<'_>) -> Done {
    trial.needs_output()?;
    for format in trial.formats() {
        let instance = trial.create()?;
        let whole = Whole::of(trial, &instance, format, SEVERAL)?;
        for _ in 0..trial.rounds {
            let at = trial.rng.below(whole.writes as u64) as usize;
            let ask = with_sink(Refuse::AtWrite(at, TALLYPORT_CANCELLED));
            let done = trial.ask(&instance, format, &whole.lent, ask)?;
            if done.sink.late_writes > 0 {
                let times = done.sink.late_writes;
                let text = format!("the sink answered CANCELLED to write {at}, and was written to");
                return Stop::fail(format!("{text} {times} times more"));
            }
        }
    }
    Ok(())
}

pub(super) fn windows(trial: &mut Trial<'_>) -> Done {
    trial.needs_output()?;
    let mut used = 0;
    for format in trial.formats() {
        let instance = trial.create()?;
        let whole = Whole::of(trial, &instance, format, SEVERAL)?;
        // Windows that are no longer than was asked for: a write past one is a fault.
        let narrow = Sink { narrow: true, ..Sink::default() };
        let ask = Ask { sink: narrow, ..Ask::default() };
        let done = trial.ask(&instance, format, &whole.lent, ask)?;
        used += done.sink.windows;
        if let Some(text) = instance.misuse().get(&Misuse::Commit) {
            return Stop::fail(text.clone());
        }
        expect_ok(&done.answer, "an export with narrow windows")?;
        expect_same(&done.sink.bytes, &whole.bytes, "exports with wide and with narrow windows")?;
    }
    if used == 0 {
        return Stop::skip("it does not call sink_reserve");
    }
    Ok(())
}

/// What may come of an export that was told to stop: an end that says so, or the whole output.
fn expect_stopped(trial: &Trial<'_>, done: &Exported, whole: &Whole, what: &str) -> Done {
    match done.answer.status {
        TALLYPORT_CANCELLED | TALLYPORT_TIMEOUT => Ok(()),
        _ if done.answer.ok() && trial.needs_output().is_ok() => {
            let what = format!("{what} answered OK: its output and the whole one");
            expect_same(&done.sink.bytes, &whole.bytes, &what)
        }
        _ if done.answer.ok() => Ok(()),
        _ => Stop::fail(format!("{what} answered {}", done.answer)),
    }
}

pub(super) fn cancel(trial: &mut Trial<'_>) -> Done {
    trial.needs_metrics()?;
    let declared = trial.has(TALLYPORT_CAP_CANCEL);
    for format in trial.formats() {
        let instance = trial.create()?;
        let whole = Whole::of(trial, &instance, format, SEVERAL)?;
        if whole.polls == 0 && !declared {
            return Stop::skip(
                "it never asks whether it is cancelled, and does not declare CANCEL",
            );
        }
        for _ in 0..trial.rounds {
            let poll = trial.rng.below(whole.polls);
            let ask = with_cancel(Cancel::AtPoll(poll));
            let done = trial.ask(&instance, format, &whole.lent, ask)?;
            expect_stopped(trial, &done, &whole, &format!("a call withdrawn at poll {poll}"))?;
        }
        whole.again(trial, &instance, format, "one that was withdrawn")?;
        if !declared {
            continue;
        }
        for _ in 0..trial.rounds.min(10) {
            let after = Duration::from_micros(trial.rng.below(3_000));
            let done = cancelled(trial, &instance, format, &whole, after)?;
            expect_stopped(trial, &done, &whole, &format!("`cancel` after {after:?}"))?;
            // `cancel` is for the call that runs; the next one is another.
            whole.again(trial, &instance, format, "`cancel`")?;
        }
    }
    Ok(())
}

/// Exports, while another thread withdraws the call after a while and calls `cancel`.
fn cancelled(
    trial: &Trial<'_>,
    instance: &Instance<'_>,
    format: &str,
    whole: &Whole,
    after: Duration,
) -> Result<Exported, Stop> {
    let flag = Arc::new(AtomicBool::new(false));
    let mut ask = with_cancel(Cancel::When(Arc::clone(&flag)));
    ask.sink.pause = Duration::from_millis(1);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(after);
            flag.store(true, Relaxed);
            instance.cancel();
        });
        trial.ask(instance, format, &whole.lent, ask)
    })
}

pub(super) fn deadline(trial: &mut Trial<'_>) -> Done {
    trial.needs_metrics()?;
    if !trial.has(TALLYPORT_CAP_CANCEL) {
        return Stop::skip("it does not declare CANCEL");
    }
    let format = trial.format();
    let instance = trial.create()?;
    let whole = Whole::of(trial, &instance, format, 10 * SEVERAL)?;
    // An output so slow that the whole export would take far longer than it may.
    let pause = (2 * GRACE).checked_div(u32::try_from(whole.writes).unwrap_or(u32::MAX).max(1));
    let deadline = Duration::from_millis(20);
    let mut ask = Ask::default();
    ask.call.deadline = Some(deadline);
    ask.sink.pause = pause.unwrap_or_default().min(Duration::from_millis(500));
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(deadline);
            instance.cancel();
        });
        trial.ask(&instance, format, &whole.lent, ask)
    })?;
    if done.took > deadline + GRACE {
        let text = format!("a call with a deadline of {deadline:?} took {:?}", done.took);
        return Stop::fail(text);
    }
    expect_stopped(trial, &done, &whole, "a call past its deadline")?;
    whole.again(trial, &instance, format, "a deadline")
}
