//! What instrumentation costs a program that does ten microseconds of work per event.
//!
//! Plain and instrumented work alternate in small blocks; each round gives one difference.

use std::{hint::black_box, time::Instant};

use tallyport_core::engine::config::CellsConfig;

use super::Task;
use crate::{
    dataset::{self, BOUNDS, Random},
    measure::{Plan, on_threads},
    peers::{Family, tallyport},
    report::{Role, Row, Section},
    targets::OURS,
};

const WORK_NS: f64 = 10_000.0;
/// Events of a block, and pairs of blocks of a round.
const EVENTS: usize = 10;
const BLOCKS: usize = 100;

/// Measures the group.
///
/// # Errors
/// What the engine says.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let engine = tallyport::engine(CellsConfig::PerCpu)?;
    let metrics = engine.metrics();
    let counter = metrics.counter("requests_total", &[]).map_err(|e| e.to_string())?;
    let histogram = metrics.histogram("wait_seconds", &BOUNDS, &[]).map_err(|e| e.to_string())?;
    let family = tallyport::Ours::new()?;
    let sets = dataset::thousand();
    let steps = steps();
    let held = overhead(task.plan, steps, |_| {
        counter.inc();
        histogram.observe(0.3);
    });
    let timed = overhead(task.plan, steps, |event| {
        let start = Instant::now();
        family.add(sets[event % sets.len()], 1);
        histogram.observe(start.elapsed().as_secs_f64());
    });
    let rows = vec![
        Row::new(Role::Ours, OURS, held),
        Row::new(Role::Ours, "Tallyport, lookup by labels and two clock readings", timed),
    ];
    let title = "10 µs of work, 1 counter and 1 histogram";
    Ok(vec![Section::new("overhead", title, "% more time", rows)])
}

/// Percent that `instrument` adds to an event, one sample a round.
///
/// A round alternates between blocks of a few events, and compares the medians of their times: a
/// block that was interrupted does not count.
fn overhead(plan: Plan, steps: u64, instrument: impl Fn(usize) + Sync) -> Vec<f64> {
    let block = |first: usize, event: &dyn Fn(usize)| {
        let start = Instant::now();
        (first..first + EVENTS).for_each(event);
        start.elapsed().as_nanos() as f64
    };
    let plain = |_| work(steps);
    let instrumented = |event| {
        work(steps);
        instrument(event);
    };
    let round = |_| {
        let both = |n| (block(n * EVENTS, &plain), block(n * EVENTS, &instrumented));
        let (plain, instrumented): (Vec<f64>, Vec<f64>) = (0..BLOCKS).map(both).unzip();
        (median(instrumented) / median(plain) - 1.0) * 100.0
    };
    let rounds = on_threads(1, |_| (0..=plan.rounds).map(round).collect::<Vec<_>>());
    // The first warms up.
    rounds.into_iter().flatten().skip(1).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

#[inline(never)]
fn work(steps: u64) {
    let mut random = Random::new(steps);
    for _ in 0..steps {
        black_box(random.next());
    }
}

/// Steps of work that take ten microseconds here.
fn steps() -> u64 {
    let trial = 100_000;
    let best = on_threads(1, |_| {
        let sample = |_| {
            let start = Instant::now();
            work(trial);
            start.elapsed().as_nanos() as f64
        };
        (0..20).map(sample).fold(f64::INFINITY, f64::min)
    });
    (WORK_NS * trial as f64 / best[0]) as u64
}
