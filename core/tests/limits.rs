//! At the limits, and from inside the engine's own log lines: nothing is lost, nothing hangs.

// A helper that fails is a test that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, Barrier, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use tallyport_core::{
    engine::{
        Engine,
        config::{self, Config},
    },
    event::{Listen, QueueLimits},
    metrics::{Cells, Description, Limits, Metrics, Share},
    model::{ErrorKind, GaugeMode, Kind, Number, SystemClock, Value},
    snapshot::{Snapshot, Snapshots},
};
use tracing::{Dispatch, Event, Metadata, Subscriber, span};

/// One test at a time: a thread of another one that was preempted in a lookup keeps what is gone
/// from making room, for as long.
static ALONE: Mutex<()> = Mutex::new(());

fn metrics_with(limits: Limits) -> Metrics {
    Metrics::new(limits, Cells::Shared, &Share::Auto, &[], Arc::new(SystemClock::default()))
        .unwrap()
}

/// Counters by name and the value of their first label.
fn counters(snapshot: &Snapshot) -> BTreeMap<(String, String), u64> {
    let read = |view: &tallyport_plugin_api::Snapshot<'_>| {
        let mut all = BTreeMap::new();
        for family in view.families() {
            for series in family.series() {
                let label = series.labels().next().map_or("", |(_, value)| value).to_owned();
                if let Value::U64(value) = series.value() {
                    assert!(all.insert((family.name().to_owned(), label), value).is_none());
                }
            }
        }
        Ok::<_, tallyport_plugin_api::Error>(all)
    };
    snapshot.read(read).unwrap()
}

/// Does something for every log line, but not for the lines that this causes.
struct OnEvent<F>(F);

impl<F: Fn() + 'static> Subscriber for OnEvent<F> {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &Event<'_>) {
        thread_local!(static INSIDE: Cell<bool> = const { Cell::new(false) });
        if !INSIDE.replace(true) {
            (self.0)();
            INSIDE.set(false);
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// Runs `body` where each log line calls `on_event`; fails when it does not come back.
fn logged(on_event: impl Fn() + Send + Sync + 'static, body: impl FnOnce() + Send + 'static) {
    let (done, finished) = mpsc::channel();
    thread::spawn(move || {
        tracing::dispatcher::with_default(&Dispatch::new(OnEvent(on_event)), body);
        done.send(()).unwrap();
    });
    finished.recv_timeout(Duration::from_secs(20)).expect("a log line waits for its own lock");
}

#[test]
fn a_subscriber_may_count_lines_in_the_family_that_is_at_its_limit() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits { max_series_per_family: 2, ..Limits::default() };
    let metrics = Arc::new(metrics_with(limits));
    let (inside, outside) = (Arc::clone(&metrics), Arc::clone(&metrics));
    logged(
        move || inside.counter("lines_total", &[("level", "warn")]).unwrap().inc(),
        move || {
            for level in ["a", "b", "c", "d"] {
                outside.counter("lines_total", &[("level", level)]).unwrap().inc();
            }
        },
    );
    let all = counters(&Snapshots::default().take(&metrics).unwrap());
    let folded = all[&("lines_total".to_owned(), "true".to_owned())];
    assert_eq!(folded, 3, "two past the limit, and the one line that says so");
}

#[test]
fn a_family_at_its_limit_is_an_event_once() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let config = Config {
        limits: config::Limits { max_series_per_family: 2, ..config::Limits::default() },
        ..Config::default()
    };
    let engine = Engine::builder().config(config).build().unwrap();
    let queue = engine
        .events()
        .subscribe_queued(Listen::to(&["metrics.series_overflow"]), QueueLimits::default())
        .unwrap();
    for name in ["a_total", "b_total"] {
        for id in 0..10 {
            engine.metrics().counter(name, &[("id", &id.to_string())]).unwrap().inc();
        }
    }
    for name in ["a_total", "b_total"] {
        let event = queue.next(Duration::ZERO).unwrap();
        let family = event.lend(|event| event.field("family").map(|field| field.to_json()));
        assert_eq!(family, Some(name.into()));
    }
    assert!(queue.next(Duration::ZERO).is_err());
}

#[test]
fn a_subscriber_may_take_a_snapshot_while_one_is_taken() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let engine = Engine::builder().build().unwrap();
    // The engine's own name, taken by something else: each snapshot says so.
    engine.metrics().gauge("tallyport_dropped_samples_total", &[]).unwrap().set(1.0);
    engine.metrics().histogram("h", &[], &[]).unwrap().observe(f64::NAN);
    let (inside, outside) = (engine.clone(), engine);
    logged(
        move || drop(inside.snapshot().unwrap()),
        move || assert_eq!(outside.snapshot().unwrap().series_count(), 2),
    );
}

#[test]
fn what_was_dropped_is_told_by_reason_past_every_limit() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let metrics = metrics_with(Limits { max_series: 1, ..Limits::default() });
    metrics.histogram("h", &[], &[]).unwrap();
    let folded = metrics.histogram("h", &[], &[("a", "b")]).unwrap();
    for _ in 0..5 {
        folded.observe(f64::NAN);
    }
    for id in ["1", "2", "3"] {
        assert_eq!(metrics.gauge("g", &[("id", id)]).unwrap_err().kind(), ErrorKind::Limit);
    }
    for _ in 0..2 {
        let all = counters(&Snapshots::default().take(&metrics).unwrap());
        let dropped =
            |reason: &str| all[&("tallyport_dropped_samples_total".into(), reason.into())];
        assert_eq!((dropped("nan"), dropped("overflow")), (5, 3));
    }
}

#[test]
fn without_memory_for_cells_label_sets_fold_too() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits { max_cell_bytes: 4096, ..Limits::default() };
    let metrics = metrics_with(limits);
    let one = |name: &str, id: &str| metrics.counter(name, &[("id", id)]).unwrap().inc();
    // 512 cells of 8 bytes; what the rest folds into is past the limit, one for each family.
    for id in 0..512 {
        one("c_total", &id.to_string());
    }
    for id in 0..100 {
        one("c_total", &format!("more {id}"));
        one("other_total", &id.to_string());
    }
    let refused = metrics.gauge("g", &[("id", "x")]).unwrap_err();
    assert_eq!(
        (refused.kind(), refused.field()),
        (ErrorKind::Limit, Some("limits.max_cell_bytes"))
    );
    assert_eq!(metrics.dropped().overflow, 1);
    let all = counters(&Snapshots::default().take(&metrics).unwrap());
    assert_eq!(all[&("c_total".to_owned(), "true".to_owned())], 100);
    assert_eq!(all[&("other_total".to_owned(), "true".to_owned())], 100);

    // What is removed makes room, when somebody asks for it.
    metrics.clear("c_total").unwrap();
    for id in 0..400 {
        one("c_total", &id.to_string());
    }
    let all = counters(&Snapshots::default().take(&metrics).unwrap());
    assert_eq!(all[&("c_total".to_owned(), "7".to_owned())], 1);
    assert!(!all.contains_key(&("c_total".to_owned(), "true".to_owned())));
}

#[test]
fn without_memory_for_label_values_label_sets_fold_too() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let limits = Limits { max_label_bytes: 4096, ..Limits::default() };
    let metrics = metrics_with(limits);
    let long = "x".repeat(1000);
    for id in 0..10 {
        metrics.counter("c_total", &[("id", &format!("{id}{long}"))]).unwrap().inc();
    }
    let refused = metrics.gauge("g", &[("id", &format!("g{long}"))]).unwrap_err();
    assert_eq!(refused.field(), Some("limits.max_label_bytes"));
    let all = counters(&Snapshots::default().take(&metrics).unwrap());
    assert_eq!(all[&("c_total".to_owned(), "true".to_owned())], 6);
}

#[test]
fn a_number_type_that_no_handle_has_is_refused() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let metrics = metrics_with(Limits::default());
    for (kind, number) in [
        (Kind::Counter, Number::I64),
        (Kind::UpDownCounter, Number::U64),
        (Kind::Gauge, Number::U64),
        (Kind::Gauge, Number::I64),
        (Kind::Histogram, Number::U64),
    ] {
        let (name, bounds, help, unit) = ("x", &[][..], "", "");
        let (cells, mode) = (None, GaugeMode::Undeclared);
        let what = Description { name, kind, number, bounds, help, unit, cells, mode };
        let error = metrics.describe(&what).unwrap_err();
        assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("number")));
    }
    assert!(metrics.families().is_empty());
}

#[test]
fn who_has_a_handle_finds_its_series_in_the_next_snapshot() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    const ROUNDS: usize = 3000;
    const THREADS: usize = 4;
    let (metrics, snapshots) = (metrics_with(Limits::default()), Snapshots::default());
    let barrier = Barrier::new(THREADS);
    let missed: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                scope.spawn(|| {
                    let mut missed = 0;
                    for round in 0..ROUNDS {
                        let id = round.to_string();
                        barrier.wait();
                        // One thread makes it, the others find it: each then looks for it.
                        metrics.counter("c_total", &[("id", &id)]).unwrap().inc();
                        let snapshot = snapshots.take(&metrics).unwrap();
                        let key = ("c_total".to_owned(), id.clone());
                        missed += usize::from(!counters(&snapshot).contains_key(&key));
                        if barrier.wait().is_leader() && round % 16 == 15 {
                            metrics.clear("c_total").unwrap();
                        }
                    }
                    missed
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(missed, 0);
}
