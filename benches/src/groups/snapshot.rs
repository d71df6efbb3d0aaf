//! Snapshots of a million series: alone, while two threads write, after one more series.
//!
//! With as many writers as CPUs a snapshot takes CPU time from somebody, so times here are CPU
//! times of the threads: what an add costs a writer, and what a snapshot costs its caller.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tallyport_core::{engine::Engine, metrics::Counter};

use super::Task;
use crate::{
    dataset,
    measure::{Contender, compare},
    peers::{self, tallyport::Ours},
    raw::system,
    report::{Role, Row, Section},
    targets::OURS,
};

const SERIES: usize = 1_000_000;
const WRITERS: usize = 2;

/// Measures the group.
///
/// # Errors
/// What the engine says.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let family = Ours::new()?;
    peers::fill(&family, SERIES);
    let engine = family.0;
    let mut rows = compare(&[alone(&engine), one_more(&engine), copy()], 1, task.plan.slow());
    let (snapshots, slow_down) = beside_writers(&engine, task)?;
    rows.insert(1, snapshots);
    let title = format!("snapshot of {SERIES} series");
    Ok(vec![
        Section::new("snapshot", title, "ns per series", rows),
        Section::new("snapshot", "writers' slow-down", "% more CPU time per add", vec![slow_down]),
    ])
}

fn alone(engine: &Engine) -> Contender {
    let engine = engine.clone();
    let run = move |_, times| {
        for _ in 0..times {
            assert!(black_box(engine.snapshot()).is_ok());
        }
    };
    Contender::new(Role::Ours, OURS, run).per(SERIES)
}

/// One new series before each snapshot, which makes the schema a new one.
fn one_more(engine: &Engine) -> Contender {
    let (engine, added) = (engine.clone(), Arc::new(AtomicUsize::new(0)));
    let more = engine.clone();
    let prepare = move || {
        let text = format!("extra-{}", added.fetch_add(1, Relaxed));
        let labels = [("instance", &*text), ("route", "/"), ("code", "200")];
        assert!(more.metrics().counter(dataset::NAME, &labels).is_ok());
    };
    let run = move |_, times| {
        for _ in 0..times {
            assert!(black_box(engine.snapshot()).is_ok());
        }
    };
    let contender = Contender::new(Role::Ours, "Tallyport, one series more", run);
    contender.per(SERIES).prepare(prepare)
}

/// Copying as many values from one array to a fresh one.
fn copy() -> Contender {
    let values: Vec<u64> = (0..SERIES).map(dataset::value).collect();
    let run = move |_, times| {
        for _ in 0..times {
            black_box(black_box(&values).clone());
        }
    };
    Contender::new(Role::Limit, "limit: copy of an array", run).per(SERIES)
}

/// Snapshots beside writers: CPU time per series, and by how much an add got slower.
fn beside_writers(engine: &Engine, task: Task) -> Result<(Row, Row), String> {
    let handles: Result<Vec<Counter>, _> = (0..1024)
        .map(|n| {
            let [a, b, c] = dataset::set(n * (SERIES / 1024));
            let labels = [("instance", a), ("route", b), ("code", c)];
            engine.metrics().counter(dataset::NAME, &labels)
        })
        .collect();
    let handles = handles.map_err(|e| e.to_string())?;
    let (rounds, phase) = if task.quick { (5, 30) } else { (21, 120) };
    let phase = Duration::from_millis(phase);
    let (mut costs, mut slow_downs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let quiet = writers(&handles, || thread::sleep(phase));
        let (mut taken, mut used) = (0_u32, Duration::ZERO);
        let busy = writers(&handles, || {
            let begin = system::thread_cpu_time();
            let end = std::time::Instant::now() + 2 * phase;
            while std::time::Instant::now() < end {
                assert!(black_box(engine.snapshot()).is_ok());
                taken += 1;
            }
            used = system::thread_cpu_time() - begin;
        });
        costs.push(used.as_nanos() as f64 / f64::from(taken.max(1)) / SERIES as f64);
        slow_downs.push((busy / quiet - 1.0) * 100.0);
    }
    Ok((
        Row::new(Role::Ours, "Tallyport, 2 threads write", costs),
        Row::new(Role::Ours, OURS, slow_downs),
    ))
}

/// CPU nanoseconds per add of threads that write while `meanwhile` runs.
fn writers(handles: &[Counter], meanwhile: impl FnOnce()) -> f64 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut adds = 0_u64;
                    let begin = system::thread_cpu_time();
                    while !stop.load(Relaxed) {
                        for n in 0..4096 {
                            let handle = &handles[(n * 7 + writer * 512) % handles.len()];
                            black_box(handle).inc();
                        }
                        adds += 4096;
                    }
                    let used = system::thread_cpu_time() - begin;
                    used.as_nanos() as f64 / adds as f64
                })
            })
            .collect();
        meanwhile();
        stop.store(true, Relaxed);
        let costs = workers.into_iter().map(|worker| worker.join().unwrap_or(f64::NAN));
        costs.sum::<f64>() / WRITERS as f64
    })
}
