//! Series by their labels against a plain map: whatever is looked up, held, removed, expired and
//! made again, in whatever order.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use proptest::prelude::*;
use tallyport_core::{
    metrics::{Cells, Counter, Limits, Metrics, Share},
    model::{Clock, ErrorKind, SystemClock, Value},
    snapshot::{Snapshot, Snapshots},
};

/// One test at a time: a thread of another one that was preempted in a lookup would keep what is
/// gone from being used again, or from expiring, for as long.
static ALONE: Mutex<()> = Mutex::new(());

/// A clock that moves when it is told to.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Hand {
    fn forward(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap(), Relaxed);
    }
}

impl Clock for Hand {
    fn unix_ns(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(Relaxed))
    }
}

const TIMEOUT: Duration = Duration::from_secs(80);
const SWEEP: Duration = Duration::from_secs(10);

fn expiring() -> (Metrics, Arc<Hand>) {
    let clock = Arc::new(Hand::default());
    let limits = Limits { series_idle_timeout: Some(TIMEOUT), ..Limits::default() };
    let same: Arc<dyn Clock> = Arc::<Hand>::clone(&clock);
    (Metrics::new(limits, Cells::PerCpu, &Share::Auto, &[], same).unwrap(), clock)
}

/// Counters by their label values, sorted by label name.
fn counters(snapshot: &Snapshot) -> BTreeMap<Vec<String>, u64> {
    let read = |view: &tallyport_plugin_api::Snapshot<'_>| {
        let mut all = BTreeMap::new();
        for family in view.families() {
            for series in family.series() {
                let labels = series.labels().map(|(_, value)| value.to_owned()).collect();
                let Value::U64(value) = series.value() else { panic!("not a counter") };
                assert!(all.insert(labels, value).is_none(), "a series twice");
            }
        }
        Ok::<_, tallyport_plugin_api::Error>(all)
    };
    snapshot.read(read).unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    /// By the family object, by the one that orders the names in another way, by name and labels.
    Add(usize, usize, u64),
    Hold(usize),
    AddHeld(usize, u64),
    LetGo(usize),
    Remove(usize),
    Clear,
    /// A sweep comes due, and a snapshot is compared.
    Sweep,
    Snapshot,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let series = 0..40_usize;
    let step = prop_oneof![
        8 => (0..3_usize, series.clone(), 0..100_u64).prop_map(|(how, s, n)| Step::Add(how, s, n)),
        2 => series.clone().prop_map(Step::Hold),
        3 => (0..8_usize, 0..100_u64).prop_map(|(held, n)| Step::AddHeld(held, n)),
        2 => (0..8_usize).prop_map(Step::LetGo),
        3 => series.prop_map(Step::Remove),
        1 => Just(Step::Clear),
        3 => Just(Step::Sweep),
        2 => Just(Step::Snapshot),
    ];
    prop::collection::vec(step, 1..400)
}

/// What the plain map knows of a series.
#[derive(Debug, Default)]
struct Known {
    count: u64,
    touched: bool,
    idle: u32,
    /// Tells a series from an earlier one of the same labels.
    born: usize,
}

struct Held {
    counter: Counter,
    series: usize,
    born: usize,
    count: u64,
}

/// Values that differ in every way: lengths around the words of the comparison, shared texts.
fn values(series: usize) -> [String; 2] {
    let lengths = [1, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 100];
    let text = |n: usize| "v".repeat(lengths[n % lengths.len()] - 1) + ["a", "b", "c"][n % 3];
    [text(series), text(series / 12 + 5)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn equals_a_plain_map(steps in steps()) {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let (metrics, clock) = expiring();
        let snapshots = Snapshots::default();
        let family = metrics.counter_family("c_total", &["y", "x"]).unwrap();
        let other = metrics.counter_family("c_total", &["x", "y"]).unwrap();
        let mut map: BTreeMap<usize, Known> = BTreeMap::new();
        let mut held: Vec<Held> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            let mut touch = |series: usize, amount: u64| {
                let born = Known { born: number, ..Known::default() };
                let known = map.entry(series).or_insert(born);
                known.count += amount;
                known.touched = true;
                known.idle = 0;
                (known.born, known.count)
            };
            match step {
                Step::Add(how, series, amount) => {
                    let [x, y] = values(series);
                    match how {
                        0 => family.add(&[&y, &x], amount).unwrap(),
                        1 => other.add(&[&x, &y], amount).unwrap(),
                        _ => metrics
                            .counter("c_total", &[("y", &y), ("x", &x)])
                            .unwrap()
                            .add(amount),
                    }
                    touch(series, amount);
                }
                Step::Hold(series) => {
                    let [x, y] = values(series);
                    let counter = family.get(&[&y, &x]).unwrap();
                    let (born, count) = touch(series, 0);
                    prop_assert_eq!(counter.value(), count);
                    held.push(Held { counter: counter.clone(), series, born, count });
                }
                Step::AddHeld(index, amount) if index < held.len() => {
                    let one = &mut held[index];
                    one.counter.add(amount);
                    one.count += amount;
                    // A handle of a series that was taken out records where nobody looks.
                    if let Some(known) = map.get_mut(&one.series)
                        && known.born == one.born
                    {
                        known.count += amount;
                    }
                }
                Step::LetGo(index) if index < held.len() => {
                    let one = held.swap_remove(index);
                    if let Some(known) = map.get_mut(&one.series)
                        && known.born == one.born
                    {
                        known.touched = true;
                    }
                }
                Step::Remove(series) => {
                    let [x, y] = values(series);
                    let removed = metrics.remove("c_total", &[("x", &x), ("y", &y)]);
                    match map.remove(&series) {
                        Some(_) => removed.unwrap(),
                        None => prop_assert_eq!(removed.unwrap_err().kind(), ErrorKind::NotFound),
                    }
                }
                Step::Clear => {
                    metrics.clear("c_total").unwrap();
                    map.clear();
                }
                Step::Sweep => {
                    clock.forward(SWEEP);
                    map.retain(|series, known| {
                        let pinned =
                            held.iter().any(|one| one.series == *series && one.born == known.born);
                        if pinned || known.touched {
                            known.touched = false;
                            known.idle = 0;
                            return true;
                        }
                        known.idle += 1;
                        known.idle < 8
                    });
                }
                _ => {}
            }
            if matches!(step, Step::Sweep | Step::Snapshot) {
                let expected: BTreeMap<Vec<String>, u64> =
                    map.iter().map(|(s, known)| (values(*s).to_vec(), known.count)).collect();
                prop_assert_eq!(counters(&snapshots.take(&metrics).unwrap()), expected);
                prop_assert_eq!(metrics.series_count(), map.len());
            }
            for one in &held {
                let known = map.get(&one.series).filter(|known| known.born == one.born);
                match known {
                    Some(known) => prop_assert_eq!(one.counter.value(), known.count),
                    // Nothing of another series reaches what this handle adds to.
                    None => prop_assert!(one.counter.value() >= one.count),
                }
            }
        }
    }
}

#[test]
fn an_idle_series_goes_after_the_timeout_and_not_before() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (metrics, clock) = expiring();
    let snapshots = Snapshots::default();
    let take = || counters(&snapshots.take(&metrics).unwrap()).len();
    metrics.counter("c_total", &[("a", "idle")]).unwrap().inc();
    let held = metrics.counter("c_total", &[("a", "held")]).unwrap();
    // Snapshots every second: a series may not go before its time, nor stay for an eighth more.
    let mut second = 0;
    while take() == 2 {
        clock.forward(Duration::from_secs(1));
        second += 1;
        assert!(second <= 91, "80 seconds and an eighth");
    }
    assert!(second >= 80, "{second}");
    assert_eq!(metrics.expired(), 1);
    drop(held);
    // Without snapshots nobody looks; the first one then may not take what was just used.
    clock.forward(TIMEOUT * 10);
    assert_eq!(take(), 1);
    for _ in 0..20 {
        clock.forward(SWEEP);
        take();
    }
    assert_eq!((take(), metrics.expired(), metrics.series_count()), (0, 2, 0));
}

#[test]
fn churn_of_labels_takes_no_more_memory_than_what_lives() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits {
        max_label_bytes: 1 << 20,
        max_cell_bytes: 1 << 20,
        max_series_per_family: 400,
        ..Limits::default()
    };
    let metrics =
        Metrics::new(limits, Cells::PerCpu, &Share::Auto, &[], Arc::new(SystemClock::default()))
            .unwrap();
    let family = metrics.counter_family("c_total", &["pod"]).unwrap();
    // 200,000 series in all; 100 live at a time. Without reuse the limits would fold them.
    let pod = |n: usize| format!("pod-{n}-{}", "x".repeat(n % 50));
    for n in 0..200_000 {
        family.inc(&[&pod(n)]).unwrap();
        if n >= 100 {
            let removed = metrics.remove("c_total", &[("pod", &pod(n - 100))]);
            assert!(removed.is_ok(), "{n}: {removed:?} {:?}", metrics.dropped());
        }
    }
    let all = counters(&Snapshots::default().take(&metrics).unwrap());
    assert_eq!(all.len(), 100);
    assert!(all.iter().all(|(labels, count)| *count == 1 && labels[0].starts_with("pod-199")));
}

#[test]
fn adds_by_lookup_beside_removal_and_reuse_land_in_their_own_series() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    const LIVE: usize = 16;
    let metrics = Metrics::new(
        Limits::default(),
        Cells::PerCpu,
        &Share::Auto,
        &[],
        Arc::new(SystemClock::default()),
    )
    .unwrap();
    let family = metrics.counter_family("c_total", &["id"]).unwrap();
    // Each stable series is added to by one thread; others come and go around them in the rows.
    let done = AtomicBool::new(false);
    let sums = thread::scope(|scope| {
        let adders: Vec<_> = (0..2)
            .map(|thread| {
                let (family, done) = (&family, &done);
                scope.spawn(move || {
                    let names: Vec<String> = (0..LIVE).map(|n| format!("s{thread}-{n}")).collect();
                    let mut sums = vec![0_u64; LIVE];
                    let mut round = 0_usize;
                    while !done.load(Relaxed) || round < 10_000 {
                        family.add(&[&names[round % LIVE]], 1).unwrap();
                        sums[round % LIVE] += 1;
                        // A series that the remover takes out at any moment.
                        family.add(&[&format!("t{}", round % 97)], 1 << 40).unwrap();
                        round += 1;
                    }
                    names.into_iter().zip(sums).collect::<Vec<_>>()
                })
            })
            .collect();
        let snapshots = Snapshots::default();
        for round in 0..20_000 {
            let _ = metrics.remove("c_total", &[("id", &format!("t{}", round % 97))]);
            if round % 200 == 0 {
                for (labels, count) in counters(&snapshots.take(&metrics).unwrap()) {
                    let transient = labels[0].starts_with('t');
                    let clean = if transient { count % (1 << 40) == 0 } else { count < 1 << 40 };
                    assert!(clean, "{labels:?} has {count:#x}: an add of another series");
                }
            }
        }
        done.store(true, Relaxed);
        adders.into_iter().flat_map(|adder| adder.join().unwrap()).collect::<Vec<_>>()
    });
    let all = counters(&Snapshots::default().take(&metrics).unwrap());
    for (name, sum) in sums {
        assert_eq!(all[&vec![name]], sum);
    }
}

#[test]
fn ten_million_label_sets_fold_into_a_bounded_table() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let sets = 10_000_000_u64;
    let metrics = Metrics::new(
        Limits::default(),
        Cells::PerCpu,
        &Share::Auto,
        &[],
        Arc::new(SystemClock::default()),
    )
    .unwrap();
    let family = metrics.counter_family("c_total", &["id", "route"]).unwrap();
    let before = resident();
    thread::scope(|scope| {
        for thread in 0..2_u64 {
            let family = &family;
            scope.spawn(move || {
                for n in (thread..sets).step_by(2) {
                    family.inc(&[&format!("user-{n}"), "/api"]).unwrap();
                }
            });
        }
    });
    let grown = resident().saturating_sub(before);
    // 100,000 series of 45 bytes, their ids of 12 to 24 bytes with heads, and the tables' spare.
    assert!(grown < 32 << 20, "{grown} bytes");
    assert_eq!(metrics.series_count(), 100_001);
    let all = counters(&Snapshots::default().take(&metrics).unwrap());
    assert_eq!(all.values().sum::<u64>(), sets, "nothing is lost");
    assert_eq!(all[&vec!["true".to_owned()]], sets - 100_000);
}

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 4096
}
