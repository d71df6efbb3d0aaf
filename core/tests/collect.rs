//! Functions that are asked for values before a snapshot.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread::{self, ThreadId},
    time::Duration,
};

use tallyport_core::{
    engine::{Engine, config::Config},
    metrics::{Ask, Collector, Threads},
    model::{Error, ErrorKind},
};

fn engine() -> Engine {
    Engine::builder().build().unwrap()
}

fn gauge(engine: &Engine, name: &str) -> f64 {
    let _ = engine.snapshot().unwrap();
    engine.metrics().gauge(name, &[]).unwrap().value()
}

fn counter(engine: &Engine, name: &str) -> u64 {
    let _ = engine.snapshot().unwrap();
    engine.metrics().counter(name, &[]).unwrap().value()
}

/// Says when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        assert!(!self.0.swap(true, SeqCst), "dropped twice");
    }
}

#[test]
fn a_gauge_function_is_asked_by_the_thread_that_takes_a_snapshot() {
    let engine = engine();
    let asked = Arc::new(Mutex::new(Vec::<ThreadId>::new()));
    let by = Arc::clone(&asked);
    let function = move || {
        let mut by = by.lock().unwrap();
        by.push(thread::current().id());
        by.len() as f64
    };
    let _collector = engine.metrics().gauge_fn("depth", &[("queue", "mail")], function).unwrap();
    assert!(asked.lock().unwrap().is_empty());
    let other = thread::scope(|scope| {
        let taken = scope.spawn(|| engine.snapshot().map(|_| thread::current().id()));
        taken.join().unwrap().unwrap()
    });
    let _ = engine.snapshot().unwrap();
    assert_eq!(*asked.lock().unwrap(), [other, thread::current().id()]);
    let depth = engine.metrics().gauge("depth", &[("queue", "mail")]).unwrap();
    assert_eq!(depth.value(), 2.0);
}

#[test]
fn a_counter_function_adds_what_its_total_rose_by() {
    let engine = engine();
    let total = Arc::new(AtomicU64::new(5));
    let read = Arc::clone(&total);
    let collector = engine.metrics().counter_fn("bytes_total", &[], move || read.load(SeqCst));
    let collector = collector.unwrap();
    assert_eq!(counter(&engine, "bytes_total"), 5);
    assert_eq!(counter(&engine, "bytes_total"), 5);
    total.store(12, SeqCst);
    assert_eq!(counter(&engine, "bytes_total"), 12);
    // What the total is of began anew.
    total.store(3, SeqCst);
    assert_eq!(counter(&engine, "bytes_total"), 15);
    drop(collector);
    total.store(100, SeqCst);
    assert_eq!(counter(&engine, "bytes_total"), 15);
}

#[test]
fn totals_that_are_no_totals_are_failures() {
    let engine = engine();
    let totals = Mutex::new(vec![2.5, -1.0, f64::INFINITY, f64::NAN, 1.5]);
    let ask = Ask::CounterF64(Box::new(move || Ok(totals.lock().unwrap().pop().unwrap())));
    let _collector = engine.metrics().collector("s_total", &[], Threads::Any, ask).unwrap();
    for expected in [1.5, 1.5, 1.5, 1.5, 2.5] {
        let _ = engine.snapshot().unwrap();
        assert_eq!(engine.metrics().counter_f64("s_total", &[]).unwrap().value(), expected);
    }
    let info = engine.metrics().collectors().remove(0);
    assert_eq!((info.calls, info.failures, info.kind), (2, 3, "counter_f64"));
    assert!(info.last_error.unwrap().contains("a total of -1"));
}

#[test]
fn a_function_that_fails_or_panics_is_counted_and_disturbs_no_other() {
    let engine = engine();
    let fails = Ask::All(Box::new(|| Err(Error::new(ErrorKind::Io, "no disk"))));
    let panics = Ask::Gauge(Box::new(|| panic!("planted")));
    let metrics = engine.metrics();
    let _fails = metrics.collector("disks", &[], Threads::Hosts, fails).unwrap();
    let _panics = metrics.collector("heat", &[("at", "top")], Threads::Hosts, panics).unwrap();
    let _good = metrics.gauge_fn("good", &[], || 7.0).unwrap();
    for _ in 0..3 {
        assert_eq!(gauge(&engine, "good"), 7.0);
    }
    let failures = |name| {
        let labels = [("collector", name)];
        metrics.counter("tallyport_collect_failures_total", &labels).unwrap().value()
    };
    assert_eq!((failures("disks"), failures(r#"heat{"at": "top"}"#)), (3, 3));
    let infos = metrics.collectors();
    let told: Vec<_> = infos.iter().map(|info| (info.failures, info.last_error.clone())).collect();
    assert_eq!(told[0], (3, Some("no disk".to_owned())));
    assert_eq!(told[1], (3, Some("it panicked: planted".to_owned())));
    assert_eq!(told[2], (0, None));
}

#[test]
fn inside_a_function_snapshots_ask_nobody_and_it_may_end_itself() {
    let engine = engine();
    let calls = Arc::new(AtomicUsize::new(0));
    let gone = Arc::new(AtomicBool::new(false));
    let own: Arc<Mutex<Option<Collector>>> = Arc::default();
    let (of, counted, ended) = (engine.clone(), Arc::clone(&calls), Dropped(Arc::clone(&gone)));
    let held = Arc::clone(&own);
    let ask = Ask::All(Box::new(move || {
        counted.fetch_add(1, SeqCst);
        of.snapshot()?;
        drop(held.lock().unwrap().take());
        // It ended, but what it owns is there until it returns.
        assert!(!ended.0.load(SeqCst));
        Ok(())
    }));
    let collector = engine.metrics().collector("own", &[], Threads::Hosts, ask).unwrap();
    *own.lock().unwrap() = Some(collector);
    let _ = engine.snapshot().unwrap();
    assert!(gone.load(SeqCst));
    let _ = engine.snapshot().unwrap();
    assert_eq!(calls.load(SeqCst), 1);
    assert!(engine.metrics().collectors().is_empty());
}

#[test]
fn ending_a_function_waits_for_its_call() {
    let engine = engine();
    let (entered, runs) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let gone = Arc::new(AtomicBool::new(false));
    let running = Arc::new(AtomicBool::new(false));
    let (runs_now, wait) = (Arc::clone(&running), Mutex::new(wait));
    let owned = Dropped(Arc::clone(&gone));
    let ask = Ask::All(Box::new(move || {
        let _whole = &owned;
        runs_now.store(true, SeqCst);
        entered.send(()).unwrap();
        wait.lock().unwrap().recv().unwrap();
        runs_now.store(false, SeqCst);
        Ok(())
    }));
    let collector = engine.metrics().collector("slow", &[], Threads::Hosts, ask).unwrap();
    thread::scope(|scope| {
        let taker = scope.spawn(|| engine.snapshot().map(drop));
        runs.recv().unwrap();
        let ender = scope.spawn(|| {
            drop(collector);
            assert!(!running.load(SeqCst) && gone.load(SeqCst));
        });
        // It is taken out first, then waited for.
        while !engine.metrics().collectors().is_empty() {
            thread::yield_now();
        }
        assert!(!gone.load(SeqCst));
        release.send(()).unwrap();
        ender.join().unwrap();
        taker.join().unwrap().unwrap();
    });
}

#[test]
fn a_series_has_one_function_and_what_is_refused_is_let_go() {
    let engine = engine();
    let metrics = engine.metrics();
    let labels = [("b", "2"), ("a", "1")];
    let _first = metrics.gauge_fn("level", &labels, || 1.0).unwrap();
    let gone = Arc::new(AtomicBool::new(false));
    let owned = Dropped(Arc::clone(&gone));
    let second = metrics
        .gauge_fn("level", &[("a", "1"), ("b", "2")], move || f64::from(owned.0.load(SeqCst)));
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(gone.load(SeqCst));
    assert_eq!(metrics.gauge_fn("", &[], || 1.0).unwrap_err().field(), Some("name"));
    let all = || Ask::All(Box::new(|| Ok(())));
    let refused = metrics.collector("all", &labels, Threads::Hosts, all()).unwrap_err();
    assert_eq!(refused.field(), Some("labels"));
    let other_kind = metrics.counter_fn("level", &labels, || 1).unwrap_err();
    assert_eq!(other_kind.kind(), ErrorKind::Conflict);
}

#[test]
fn functions_end_with_their_engine() {
    let engine = engine();
    let gone = Arc::new(AtomicBool::new(false));
    let owned = Dropped(Arc::clone(&gone));
    let function = move || f64::from(owned.0.load(SeqCst));
    engine.metrics().gauge_fn("kept", &[], function).unwrap().keep();
    assert_eq!(gauge(&engine, "kept"), 0.0);
    let outlives = engine.metrics().gauge_fn("outlives", &[], || 1.0).unwrap();
    drop(engine);
    assert!(gone.load(SeqCst));
    drop(outlives);
}

#[test]
fn a_background_sync_asks_only_functions_that_allow_it() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "schema = 1\nstore = { kind = 'sqlite', path = 's.db' }\nsync.interval_ms = 10";
    let config = Config::parse(toml, "test", folder.path()).unwrap();
    let engine = Engine::builder().config(config).build().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let hosts = move || counted.fetch_add(1, SeqCst) as f64;
    let _hosts = engine.metrics().gauge_fn("hosts", &[], hosts).unwrap();
    let (asked, came) = mpsc::channel();
    let ask = Ask::Gauge(Box::new(move || {
        let _ = asked.send(thread::current().id());
        Ok(1.0)
    }));
    let any = engine.metrics().collector("any", &[], Threads::Any, ask).unwrap();
    engine.start_sync().unwrap();
    for _ in 0..3 {
        let by = came.recv_timeout(Duration::from_secs(30)).unwrap();
        assert_ne!(by, thread::current().id());
    }
    engine.stop_sync(Duration::from_secs(60)).unwrap();
    assert_eq!(calls.load(SeqCst), 0);
    engine.sync().unwrap();
    assert_eq!(calls.load(SeqCst), 1);
    drop(any);
}
