//! How things are timed: every contender of a group in turn, round by round, in one process.
//!
//! A round runs each contender for a few milliseconds on threads that are pinned to a CPU each
//! and, where the system lets them, run before every normal thread. The time of an operation is a
//! thread's own elapsed time over its own operations, so "flat" means the same number with more
//! threads. Starting points move from round to round, so none always follows the same other.

use std::{
    sync::atomic::{AtomicUsize, Ordering::AcqRel},
    thread,
    time::{Duration, Instant},
};

use crate::{
    raw::system,
    report::{Role, Row},
};

/// How long and how often to measure.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Rounds; each gives one sample of each contender.
    pub rounds: usize,
    /// What one contender takes of one round.
    pub slice: Duration,
}

impl Plan {
    /// The plan of a full run, or of a quick look.
    #[must_use]
    pub fn new(quick: bool) -> Self {
        if quick {
            Self { rounds: 7, slice: Duration::from_millis(1) }
        } else {
            Self { rounds: 41, slice: Duration::from_millis(5) }
        }
    }

    /// The same with rounds that take a second or more by themselves.
    #[must_use]
    pub fn slow(self) -> Self {
        Self { rounds: if self.rounds < 15 { 3 } else { 15 }, slice: Duration::ZERO }
    }
}

type Run = Box<dyn Fn(usize, u64) + Send + Sync>;

/// Something that is timed: a loop over operations.
pub struct Contender {
    name: String,
    role: Role,
    /// Runs operations: number of the thread, how many.
    run: Run,
    /// Before each round, not timed.
    prepare: Option<Box<dyn Fn() + Send + Sync>>,
    /// Parts of an operation that one sample counts: series of an export, for instance.
    parts: f64,
    /// Takes part in every `every`th round only, because it is slow.
    every: usize,
}

impl Contender {
    /// A loop that runs its second argument's number of operations on thread number `0..`.
    pub fn new(
        role: Role,
        name: impl Into<String>,
        run: impl Fn(usize, u64) + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), role, run: Box::new(run), prepare: None, parts: 1.0, every: 1 }
    }

    /// Times an operation per part of it.
    #[must_use]
    pub fn per(mut self, parts: usize) -> Self {
        self.parts = parts.max(1) as f64;
        self
    }

    /// What comes before each round and is not timed.
    #[must_use]
    pub fn prepare(mut self, prepare: impl Fn() + Send + Sync + 'static) -> Self {
        self.prepare = Some(Box::new(prepare));
        self
    }

    /// One round in three is enough.
    #[must_use]
    pub fn slow(mut self) -> Self {
        self.every = 3;
        self
    }

    /// Nanoseconds per part of `times` operations on each of `threads` threads.
    fn sample(&self, threads: usize, times: u64) -> f64 {
        if let Some(prepare) = &self.prepare {
            prepare();
        }
        let elapsed = on_threads(threads, |thread| {
            let start = Instant::now();
            (self.run)(thread, times);
            start.elapsed()
        });
        let total: Duration = elapsed.iter().sum();
        total.as_nanos() as f64 / elapsed.len() as f64 / times as f64 / self.parts
    }

    /// How many operations fill `slice`; also warms up caches, predictors and tables.
    fn calibrate(&self, threads: usize, slice: Duration) -> u64 {
        if slice.is_zero() {
            self.sample(threads, 1);
            return 1;
        }
        let mut times = 64;
        loop {
            let took = self.sample(threads, times) * self.parts * times as f64;
            let wanted = slice.as_nanos() as f64;
            if took >= wanted / 4.0 || times >= 1 << 40 {
                return ((times as f64 * wanted / took.max(1.0)) as u64).max(1);
            }
            times *= 4;
        }
    }
}

/// Runs `work` on pinned threads that start together, and gathers what they answer.
pub fn on_threads<R: Send>(threads: usize, work: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let cpus = system::cpus();
    let ready = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|thread| {
                let (work, ready, cpu) = (&work, &ready, cpus[thread % cpus.len()]);
                scope.spawn(move || {
                    system::pin(cpu);
                    system::real_time();
                    ready.fetch_add(1, AcqRel);
                    while ready.load(std::sync::atomic::Ordering::Acquire) < threads {
                        std::hint::spin_loop();
                    }
                    work(thread)
                })
            })
            .collect();
        let answers = workers.into_iter().map(|worker| match worker.join() {
            Ok(answer) => answer,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        answers.collect()
    })
}

/// Whether every thread can have a CPU of its own.
#[must_use]
pub fn fits(threads: usize) -> bool {
    system::cpus().len() >= threads
}

/// Times all contenders, interleaved.
#[must_use]
pub fn compare(contenders: &[Contender], threads: usize, plan: Plan) -> Vec<Row> {
    let times: Vec<u64> =
        contenders.iter().map(|contender| contender.calibrate(threads, plan.slice)).collect();
    let mut samples = vec![Vec::with_capacity(plan.rounds); contenders.len()];
    for round in 0..plan.rounds {
        for turn in 0..contenders.len() {
            let index = (turn + round) % contenders.len();
            let contender = &contenders[index];
            if round % contender.every == 0 {
                samples[index].push(contender.sample(threads, times[index]));
            }
        }
    }
    contenders
        .iter()
        .zip(samples)
        .map(|(contender, samples)| Row::new(contender.role, &contender.name, samples))
        .collect()
}
