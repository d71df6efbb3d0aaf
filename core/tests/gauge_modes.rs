//! Gauges that several processes of one arena set: one value by the mode of their family.
//!
//! Two engines that open one file are two processes to it.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex},
};

use tallyport_core::{
    engine::{Engine, config::Config},
    metrics::{Cells, Description, Limits, Metrics, Share},
    model::{ErrorKind, GaugeMode, Kind, Number, SystemClock, Value},
    snapshot::{self, Snapshot, Snapshots},
};
use tracing::{Dispatch, Event, Metadata, Subscriber, field, span};

const MODES: [GaugeMode; 5] =
    [GaugeMode::Sum, GaugeMode::Max, GaugeMode::Min, GaugeMode::Mean, GaugeMode::Last];

fn open(path: &Path) -> Metrics {
    let clock = Arc::new(SystemClock::default());
    let share = Share::File(path.to_owned());
    Metrics::new(Limits::default(), Cells::PerCpu, &share, &[], clock).unwrap()
}

fn what(name: &str, kind: Kind, mode: GaugeMode) -> Description<'_> {
    let number = if kind == Kind::Gauge { Number::F64 } else { Number::U64 };
    Description { name, kind, number, bounds: &[], help: "", unit: "", cells: None, mode }
}

fn gauge(name: &str, mode: GaugeMode) -> Description<'_> {
    what(name, Kind::Gauge, mode)
}

/// The values of each gauge family, in order.
fn values(snapshot: &Snapshot) -> BTreeMap<String, Vec<f64>> {
    let read = snapshot.read(|view| {
        let mut all = BTreeMap::new();
        for family in view.families().filter(|family| family.kind() == Kind::Gauge) {
            let value = |value| if let Value::F64(value) = value { value } else { f64::NAN };
            let values = family.series().map(|series| value(series.value()));
            all.insert(family.name().to_owned(), values.collect::<Vec<_>>());
        }
        Ok::<_, tallyport_plugin_api::Error>(all)
    });
    read.unwrap()
}

fn taken(metrics: &Metrics) -> BTreeMap<String, Vec<f64>> {
    values(&Snapshots::default().take(metrics).unwrap())
}

#[test]
fn each_mode_makes_one_value_of_those_that_processes_set() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.arena");
    let (one, other) = (open(&path), open(&path));
    for mode in MODES {
        // A handle that was there before the mode was said counts as one that comes later.
        let early = one.gauge(mode.name(), &[]).unwrap();
        early.set(1.0);
        other.describe(&gauge(mode.name(), mode)).unwrap();
        early.set(3.0);
        other.gauge(mode.name(), &[]).unwrap().set(7.0);
        early.set(2.0);
    }
    let expected = [9.0, 7.0, 2.0, 4.5, 2.0];
    let expected =
        MODES.iter().zip(expected).map(|(mode, value)| (mode.name().into(), vec![value]));
    let expected: BTreeMap<String, Vec<f64>> = expected.collect();
    assert_eq!(taken(&one), expected);
    assert_eq!(taken(&other), expected);
    // And in what reads the file from outside.
    let copy = snapshot::of_arena(&path, Arc::new(SystemClock::default())).unwrap();
    assert_eq!(values(&copy), expected);
    // What is set later is the last one, whoever sets it.
    other.gauge("last", &[]).unwrap().add(1.0);
    assert_eq!(taken(&one)["last"], [8.0]);
    // A process that ends takes its values along.
    drop(other);
    assert!(MODES.iter().all(|mode| taken(&one)[mode.name()] == [2.0]));
}

#[test]
fn a_schema_that_is_kept_follows_who_comes_and_which_mode_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.arena");
    let (one, snapshots) = (open(&path), Snapshots::default());
    let now = |metrics: &Metrics| values(&snapshots.take(metrics).unwrap())["level"].clone();
    one.gauge("level", &[]).unwrap().set(1.0);
    assert_eq!(now(&one), [1.0]);
    let other = open(&path);
    other.gauge("level", &[]).unwrap().set(2.0);
    assert_eq!(now(&one), [1.0, 2.0]);
    one.describe(&gauge("level", GaugeMode::Sum)).unwrap();
    assert_eq!(now(&one), [3.0]);
    let third = open(&path);
    third.gauge("level", &[]).unwrap().set(4.0);
    assert_eq!(now(&one), [7.0]);
    drop(other);
    assert_eq!(now(&one), [5.0]);
}

#[test]
fn another_mode_is_a_conflict_that_names_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.arena");
    let (one, other) = (open(&path), open(&path));
    one.describe(&gauge("level", GaugeMode::Sum)).unwrap();
    other.describe(&gauge("level", GaugeMode::Undeclared)).unwrap();
    other.describe(&gauge("level", GaugeMode::Sum)).unwrap();
    let error = other.describe(&gauge("level", GaugeMode::Max)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("has gauge mode sum"), "{error}");
    assert!(error.to_string().contains("described with max"), "{error}");
    assert_eq!(other.families()[0].mode, GaugeMode::Sum);
    let error = one.describe(&what("c_total", Kind::Counter, GaugeMode::Sum)).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("mode")));
    assert_eq!(one.families().len(), 1);
}

#[test]
fn the_configuration_says_modes_as_a_description_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.arena");
    // Made by somebody else, before and after.
    let other = open(&path);
    other.gauge("before", &[]).unwrap().set(1.0);
    other.describe(&gauge("taken", GaugeMode::Min)).unwrap();
    let text = format!(
        "schema = 1\n[recording]\nshare = \"file\"\narena = {path:?}\n[sync.gauge_modes]\n\
         before = \"sum\"\nafter = \"sum\"\nown = \"sum\"\ntaken = \"max\"\n"
    );
    let config = Config::parse(&text, "test", folder.path()).unwrap();
    let engine = Engine::builder().config(config).build().unwrap();
    let one = engine.metrics();
    other.gauge("after", &[]).unwrap().set(1.0);
    for name in ["before", "after", "own"] {
        one.gauge(name, &[]).unwrap().set(2.0);
    }
    other.gauge("own", &[]).unwrap().set(1.0);
    let all = values(&engine.snapshot().unwrap());
    assert!(["before", "after", "own"].iter().all(|name| all[*name] == [3.0]), "{all:?}");
    let error = one.describe(&gauge("own", GaugeMode::Max)).unwrap_err();
    assert!(error.to_string().contains("sum") && error.to_string().contains("max"), "{error}");
    // What the arena has stays.
    let mode = |name: &str| one.families().into_iter().find(|family| family.name == name);
    assert_eq!(mode("taken").unwrap().mode, GaugeMode::Min);
    // One that nobody has yet.
    let text = "schema = 1\n[sync.gauge_modes]\nfresh = \"sum\"\n";
    let config = Config::parse(text, "test", folder.path()).unwrap();
    let engine = Engine::builder().config(config).build().unwrap();
    let error = engine.metrics().describe(&gauge("fresh", GaugeMode::Max)).unwrap_err();
    assert_eq!((error.kind(), error.field()), (ErrorKind::Conflict, Some("mode")));
    assert!(error.to_string().contains("gauge_modes] says sum"), "{error}");
}

/// Keeps the metrics that warnings name.
#[derive(Clone, Default)]
struct Warned(Arc<Mutex<Vec<String>>>);

impl field::Visit for Warned {
    fn record_debug(&mut self, field: &field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "metric" {
            self.0.lock().unwrap().push(format!("{value:?}"));
        }
    }
}

impl Subscriber for Warned {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        *about.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_gauge_without_a_mode_stays_one_series_per_process_and_is_warned_of_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.arena");
    let (one, other) = (open(&path), open(&path));
    for (metrics, value) in [(&one, 1.0), (&other, 2.0)] {
        metrics.gauge("level", &[]).unwrap().set(value);
        metrics.describe(&gauge("known", GaugeMode::Max)).unwrap();
        metrics.gauge("known", &[]).unwrap().set(value);
    }
    let warned = Warned::default();
    // With one subscriber alone, a thread of another test that has none would decide for all.
    let _second = Dispatch::new(Warned::default());
    tracing::dispatcher::with_default(&Dispatch::new(warned.clone()), || {
        for round in 0..3 {
            assert_eq!(taken(&one)["level"], [1.0, 2.0]);
            one.gauge("more", &[("round", &round.to_string())]).unwrap();
        }
    });
    assert_eq!(*warned.0.lock().unwrap(), ["\"level\""]);
}
