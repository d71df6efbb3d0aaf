//! Whole lives of exporters: many, several at once, on several threads, across a fork.

use std::{collections::BTreeMap, thread, time::Duration};

use tallyport_plugin_api::{
    abi::{
        TALLYPORT_CANCELLED, TALLYPORT_CAP_CONCURRENT, TALLYPORT_CAP_FORK_AWARE, TALLYPORT_LIMIT,
    },
    testing::Frozen,
};

use super::{config, hosts};
use crate::{
    data,
    sys::{
        call::{CallShape, Cancel},
        desk::{HostShape, Misuse, Refuse, Sink},
        instance::{Ask, Instance},
        process,
    },
    trial::{Done, Stop, Trial, broken, expect_no_panic, expect_ok, expect_same, lend},
};

/// A life with everything in it, from refused options to `destroy`; what was done wrong in it.
///
/// Statuses are not judged: other cases do that.
pub(super) fn rich(trial: &Trial<'_>) -> Result<BTreeMap<Misuse, String>, Stop> {
    let mut found = BTreeMap::new();
    // Not what is no UTF-8: a host promises that, and a plugin may repeat it in its refusal.
    let options = config::garbage_options().into_iter();
    for options in options.filter(|options| std::str::from_utf8(options).is_ok()) {
        let made = Instance::create(trial.exporter, HostShape::default(), &options);
        found.append(&mut match made.map_err(Stop::Fail)? {
            Ok(instance) => instance.destroy(),
            Err((_, misuse)) => misuse,
        });
    }
    let instance = trial.create()?;
    if trial.needs_metrics().is_ok() {
        for format in trial.formats() {
            for frozen in [data::standard(), data::numbers(), data::empty(), data::unknown()] {
                trial.ask(&instance, format, &lend(&frozen)?, Ask::default())?;
            }
            hosts::refused(trial, &instance, format)?;
        }
    }
    instance.on_sync().map_err(broken)?;
    instance.flush().map_err(broken)?;
    instance.shutdown().map_err(broken)?;
    found.append(&mut instance.destroy());
    Ok(found)
}

pub(super) fn shutdown_twice(trial: &mut Trial<'_>) -> Done {
    if trial.exporter.raw.shutdown.is_none() {
        return Stop::skip("its `shutdown` is NULL");
    }
    let instance = trial.create()?;
    if trial.needs_metrics().is_ok() {
        trial.export(&instance, trial.format(), &lend(&data::standard())?)?;
    }
    trial.shutdown(&instance)?;
    if let Some(answer) = instance.shutdown().map_err(broken)? {
        expect_no_panic(&answer, "a second `shutdown`")?;
    }
    Ok(())
}

/// A life as most are.
fn plain(trial: &Trial<'_>, lent: &crate::sys::snapshot::Lent) -> Done {
    let instance = trial.create()?;
    if trial.needs_metrics().is_ok() {
        trial.export(&instance, trial.format(), lent)?;
    }
    instance.on_sync().map_err(broken)?;
    instance.flush().map_err(broken)?;
    trial.shutdown(&instance)
}

pub(super) fn many(trial: &mut Trial<'_>) -> Done {
    const LIVES: u64 = 300;
    /// Less than the smallest block that an allocator hands out.
    const PER_LIFE: u64 = 16;
    let lent = lend(&data::standard())?;
    // What is made once and kept is no leak.
    for _ in 0..50 {
        plain(trial, &lent)?;
    }
    // A leak grows every time; a buffer that found its size once does not.
    let mut grown = 0;
    for _ in 0..3 {
        let before = process::allocated();
        for _ in 0..LIVES {
            plain(trial, &lent)?;
        }
        grown = process::allocated().saturating_sub(before);
        if grown <= LIVES * PER_LIFE {
            return Ok(());
        }
    }
    let each = grown / LIVES;
    Stop::fail(format!("{LIVES} lives left {grown} bytes of memory behind, {each} each"))
}

pub(super) fn side_by_side(trial: &mut Trial<'_>) -> Done {
    trial.needs_output()?;
    let (first, second) = (data::standard(), data::numbers());
    let format = trial.format();
    let [expected_first, expected_second] =
        [trial.reference(format, &first)?, trial.reference(format, &second)?];
    let (lent_first, lent_second) = (lend(&first)?, lend(&second)?);
    let one = trial.create()?;
    let other = trial.create()?;
    for _ in 0..3 {
        let bytes = trial.export(&one, format, &lent_first)?;
        expect_same(&bytes, &expected_first, "an export beside another exporter and one alone")?;
        let bytes = trial.export(&other, format, &lent_second)?;
        expect_same(&bytes, &expected_second, "an export beside another exporter and one alone")?;
    }
    trial.shutdown(&one)?;
    drop(one);
    let bytes = trial.export(&other, format, &lent_second)?;
    let what = "an export after another exporter was destroyed and one before";
    expect_same(&bytes, &expected_second, what)?;
    trial.shutdown(&other)
}

/// Runs a step on a thread of its own.
fn elsewhere<T: Send>(step: impl FnOnce() -> Result<T, Stop> + Send) -> Result<T, Stop> {
    thread::scope(|scope| scope.spawn(step).join())
        .unwrap_or_else(|_| Err(broken("a thread of the kit panicked")))
}

pub(super) fn threads(trial: &mut Trial<'_>) -> Done {
    trial.needs_metrics()?;
    let frozen = data::standard();
    let format = trial.format();
    let trial = &*trial;
    let expected = elsewhere(|| trial.reference(format, &frozen))?;
    let instance = elsewhere(|| trial.create())?;
    let lent = lend(&frozen)?;
    for _ in 0..2 {
        let bytes = elsewhere(|| trial.export(&instance, format, &lent))?;
        expect_same(&bytes, &expected, "exports on two threads")?;
    }
    elsewhere(|| instance.flush().map_err(broken))?;
    elsewhere(|| trial.shutdown(&instance))?;
    elsewhere(|| {
        drop(instance);
        Ok(())
    })
}

pub(super) fn concurrent(trial: &mut Trial<'_>) -> Done {
    const THREADS: usize = 4;
    const EXPORTS: usize = 25;
    trial.needs_metrics()?;
    if !trial.has(TALLYPORT_CAP_CONCURRENT) {
        return Stop::skip("it does not declare CONCURRENT");
    }
    let snapshots = [data::standard(), data::numbers(), data::many(500)];
    let format = trial.format();
    let trial = &*trial;
    let expected: Vec<Vec<u8>> =
        snapshots.iter().map(|frozen| trial.reference(format, frozen)).collect::<Result<_, _>>()?;
    let instance = trial.create()?;
    let work = |number: usize| {
        for round in 0..EXPORTS {
            let at = (number + round) % snapshots.len();
            let (Some(frozen), Some(expected)) = (snapshots.get(at), expected.get(at)) else {
                return Ok(());
            };
            let bytes = trial.export(&instance, format, &lend(frozen)?)?;
            expect_same(&bytes, expected, "an export beside others and one alone")?;
        }
        Ok(())
    };
    let done: Vec<Done> = thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> =
            (0..THREADS).map(|number| scope.spawn(move || work(number))).collect();
        let join = |thread: thread::ScopedJoinHandle<'_, Done>| {
            thread.join().unwrap_or_else(|_| Err(broken("a thread of the kit panicked")))
        };
        running.into_iter().map(join).collect()
    });
    done.into_iter().collect::<Done>()?;
    trial.shutdown(&instance)
}

pub(super) fn fork(trial: &mut Trial<'_>) -> Done {
    const LIMIT: Duration = Duration::from_secs(5);
    trial.needs_metrics()?;
    let frozen = data::standard();
    let format = trial.format();
    let expected = trial.reference(format, &frozen)?;
    let lent = lend(&frozen)?;
    let instance = trial.create()?;
    trial.export(&instance, format, &lent)?;
    let aware = trial.has(TALLYPORT_CAP_FORK_AWARE);
    let said = process::fork(LIMIT, || {
        let in_child = || -> Done {
            if aware {
                instance.after_fork_child();
                let bytes = trial.export(&instance, format, &lent)?;
                expect_same(&bytes, &expected, "exports before and after a fork")?;
            }
            // Without FORK_AWARE the inherited one is never called again.
            let bytes = trial.reference(format, &frozen)?;
            expect_same(&bytes, &expected, "exports before a fork and of a new exporter after it")
        };
        in_child().map_err(|stop| match stop {
            Stop::Fail(text) | Stop::Skip(text) | Stop::Broken(text) => text,
        })
    });
    let how = if aware { "after `after_fork_child`" } else { "with an exporter created anew" };
    said.map_err(|text| Stop::Fail(format!("in a forked child, {how}: {text}")))?;
    let bytes = trial.export(&instance, format, &lent)?;
    expect_same(&bytes, &expected, "exports of the parent before and after a fork")?;
    trial.shutdown(&instance)
}

pub(super) fn random(trial: &mut Trial<'_>) -> Done {
    trial.needs_metrics()?;
    let snapshots =
        [data::standard(), data::numbers(), data::empty(), data::unknown(), data::many(300)];
    let formats: Vec<&str> = trial.formats().collect();
    let mut expected: BTreeMap<(usize, usize), Vec<u8>> = BTreeMap::new();
    let mut alive: Vec<Instance<'_>> = vec![trial.create()?];
    let mut told: Vec<&str> = Vec::new();
    for _ in 0..trial.rounds * 10 {
        let which = trial.rng.below(alive.len() as u64) as usize;
        let (snapshot, format) = (
            trial.rng.below(snapshots.len() as u64) as usize,
            trial.rng.below(formats.len() as u64) as usize,
        );
        let (Some(frozen), Some(name)) = (snapshots.get(snapshot), formats.get(format)) else {
            continue;
        };
        let step = trial.rng.below(STEPS.len() as u64);
        let step = Step { step, name, frozen };
        told.extend(STEPS.get(step.step as usize));
        let Some(instance) = alive.get(which) else { continue };
        let bytes = step.run(trial, instance)?;
        if let Some(bytes) = bytes {
            let known = match expected.entry((snapshot, format)) {
                std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                std::collections::btree_map::Entry::Vacant(room) => {
                    room.insert(trial.reference(name, frozen)?)
                }
            };
            let what = format!("after {}: an export and one by a new exporter", told.join(", "));
            expect_same(&bytes, known, &what)?;
        }
        match step.step {
            // A life ends, and another begins.
            9 => {
                trial.shutdown(&alive.swap_remove(which))?;
                alive.push(trial.create()?);
            }
            10 if alive.len() < 4 => alive.push(trial.create()?),
            10 => drop(alive.swap_remove(which)),
            _ => {}
        }
    }
    Ok(())
}

/// The steps of a random life, by number, as they are told.
const STEPS: [&str; 11] = [
    "export",
    "export",
    "export",
    "export",
    "export to a sink that is full",
    "export to a sink that cancels",
    "withdrawn export",
    "flush",
    "sync",
    "shutdown, destroy and create",
    "create or destroy",
];

/// A step of a random life.
struct Step<'a> {
    step: u64,
    name: &'a str,
    frozen: &'a Frozen,
}

impl Step<'_> {
    /// The bytes of an export that nothing stopped.
    fn run(&self, trial: &mut Trial<'_>, instance: &Instance<'_>) -> Result<Option<Vec<u8>>, Stop> {
        let ask = match self.step {
            0..=3 => Ask::default(),
            4 | 5 => {
                let status = if self.step == 4 { TALLYPORT_LIMIT } else { TALLYPORT_CANCELLED };
                let refuse = Refuse::PastByte(trial.rng.below(4_000) as usize, status);
                Ask { sink: Sink { refuse, ..Sink::default() }, ..Ask::default() }
            }
            6 => {
                let cancel = Cancel::AtPoll(trial.rng.below(8));
                Ask { call: CallShape { cancel, ..CallShape::default() }, ..Ask::default() }
            }
            7 => {
                if let Some(answer) = instance.flush().map_err(broken)? {
                    expect_ok(&answer, "`flush`")?;
                }
                return Ok(None);
            }
            8 => {
                instance.on_sync().map_err(broken)?;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        let free = self.step <= 3;
        let done = trial.ask(instance, self.name, &lend(self.frozen)?, ask)?;
        expect_no_panic(&done.answer, "an export")?;
        if free {
            expect_ok(&done.answer, "an export that nothing stops")?;
            return Ok(Some(done.sink.bytes));
        }
        Ok(None)
    }
}
