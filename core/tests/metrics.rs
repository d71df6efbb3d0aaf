//! Metrics as a program sees them: identity, conflicts, limits, exactness.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use proptest::prelude::*;
use tallyport_core::{
    engine::Engine,
    metrics::{Cells, Description, Limits, Metrics, OVERFLOW_LABEL, Share},
    model::{ErrorKind, GaugeMode, Kind, Number, SystemClock, Value},
    snapshot::{Snapshot, Snapshots},
};

fn metrics_with(limits: Limits) -> Metrics {
    Metrics::new(limits, Cells::PerCpu, &Share::Auto, &[], Arc::new(SystemClock::default()))
        .unwrap()
}

fn metrics() -> Metrics {
    metrics_with(Limits::default())
}

/// Name and labels.
type Key = (String, Vec<(String, String)>);

/// Every value of a snapshot by name and labels; histograms as count, sum and buckets.
fn flat(snapshot: &Snapshot) -> BTreeMap<Key, Vec<f64>> {
    let read = |view: &tallyport_plugin_api::Snapshot<'_>| {
        let mut all = BTreeMap::new();
        for family in view.families() {
            for series in family.series() {
                let labels = series.labels().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                let values = match (series.histogram(), series.value()) {
                    (Some(h), _) => {
                        let mut values = vec![h.count as f64, h.sum];
                        values.extend(h.buckets.iter().map(|count| *count as f64));
                        values
                    }
                    (None, Value::U64(value)) => vec![value as f64],
                    (None, Value::I64(value)) => vec![value as f64],
                    (None, Value::F64(value)) => vec![value],
                };
                assert!(all.insert((family.name().to_owned(), labels), values).is_none());
            }
        }
        Ok::<_, tallyport_plugin_api::Error>(all)
    };
    snapshot.read(read).unwrap()
}

fn key(name: &str, labels: &[(&str, &str)]) -> Key {
    (name.into(), labels.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect())
}

#[test]
fn a_series_is_its_name_and_its_label_set_in_any_order() {
    let metrics = metrics();
    let one = metrics.counter("requests_total", &[("method", "GET"), ("code", "200")]).unwrap();
    let two = metrics.counter("requests_total", &[("code", "200"), ("method", "GET")]).unwrap();
    let other = metrics.counter("requests_total", &[("code", "500"), ("method", "GET")]).unwrap();
    one.inc();
    two.add(2);
    other.add(10);
    assert_eq!((one.value(), two.value(), other.value()), (3, 3, 10));
    assert_eq!(metrics.series_count(), 2);
}

#[test]
fn label_texts_are_compared_in_full() {
    let metrics = metrics();
    metrics.counter("c_total", &[("ab", "c")]).unwrap().add(1);
    metrics.counter("c_total", &[("a", "bc")]).unwrap().add(2);
    let all = flat(&Snapshots::default().take(&metrics).unwrap());
    assert_eq!(all[&key("c_total", &[("ab", "c")])], [1.0]);
    assert_eq!(all[&key("c_total", &[("a", "bc")])], [2.0]);
}

#[test]
fn every_kind_records_what_it_says() {
    let metrics = metrics();
    metrics.counter_f64("cpu_seconds_total", &[]).unwrap().add(0.25).unwrap();
    let in_flight = metrics.up_down_counter("in_flight", &[]).unwrap();
    in_flight.add(3);
    in_flight.sub(5);
    let balance = metrics.up_down_counter_f64("balance", &[]).unwrap();
    balance.sub(1.5).unwrap();
    let temperature = metrics.gauge("temperature", &[]).unwrap();
    temperature.set(20.5);
    temperature.add(1.0);
    temperature.sub(0.5);
    let sizes = metrics.histogram("sizes", &[1.0, 2.0], &[]).unwrap();
    for value in [0.5, 1.0, 1.5, 2.0, 3.0] {
        sizes.observe(value);
    }
    let all = flat(&Snapshots::default().take(&metrics).unwrap());
    assert_eq!(all[&key("cpu_seconds_total", &[])], [0.25]);
    assert_eq!(all[&key("in_flight", &[])], [-2.0]);
    assert_eq!(all[&key("balance", &[])], [-1.5]);
    assert_eq!(all[&key("temperature", &[])], [21.0]);
    // Upper bounds are inclusive.
    assert_eq!(all[&key("sizes", &[])], [5.0, 8.0, 2.0, 2.0, 1.0]);
    assert_eq!(sizes.totals(), (5, 8.0));
}

#[test]
fn amounts_outside_the_domain_are_refused_and_add_nothing() {
    let metrics = metrics();
    let counter = metrics.counter_f64("c_total", &[]).unwrap();
    for amount in [-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(counter.add(amount).unwrap_err().field(), Some("amount"));
    }
    let balance = metrics.up_down_counter_f64("b", &[]).unwrap();
    for amount in [f64::NAN, f64::INFINITY] {
        assert_eq!(balance.add(amount).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert_eq!((counter.value(), balance.value()), (0.0, 0.0));
}

/// docs/RECORDING.md, Numbers: what 64 bits cannot hold begins at 0 again, whichever cells are added up,
/// and what is added next counts from there.
#[test]
fn a_u64_counter_wraps_at_2_to_the_64_and_nothing_else_of_it_is_lost() {
    for cells in [Cells::PerCpu, Cells::Shared] {
        let metrics = Metrics::new(
            Limits::default(),
            cells,
            &Share::Auto,
            &[],
            Arc::new(SystemClock::default()),
        )
        .unwrap();
        let counter = metrics.counter("c_total", &[]).unwrap();
        counter.add(u64::MAX);
        assert_eq!(counter.value(), u64::MAX, "{cells:?}");
        counter.add(6);
        assert_eq!(counter.value(), 5, "{cells:?}");
        let level = metrics.up_down_counter("level", &[]).unwrap();
        level.add(i64::MAX);
        level.add(1);
        assert_eq!(level.value(), i64::MIN, "{cells:?}");
        level.sub(1);
        assert_eq!(level.value(), i64::MAX, "{cells:?}");
    }
}

#[test]
fn nan_observations_are_counted_as_dropped_and_infinities_are_kept() {
    let metrics = metrics();
    let sizes = metrics.histogram("sizes", &[1.0], &[]).unwrap();
    sizes.observe(f64::NAN);
    sizes.observe(f64::INFINITY);
    assert_eq!(sizes.totals(), (1, f64::INFINITY));
    assert_eq!(metrics.dropped().nan, 1);
    let snapshots = Snapshots::default();
    for _ in 0..2 {
        let all = flat(&snapshots.take(&metrics).unwrap());
        let dropped = key("tallyport_dropped_samples_total", &[("reason", "nan")]);
        assert_eq!(all[&dropped], [1.0]);
    }
}

#[test]
fn conflicts_name_both_sides() {
    let metrics = metrics();
    metrics.counter("a_total", &[]).unwrap();
    let wrong_kind = metrics.gauge("a_total", &[]).unwrap_err();
    assert_eq!(wrong_kind.kind(), ErrorKind::Conflict);
    let text = wrong_kind.to_string();
    assert!(text.contains("counter (u64)") && text.contains("gauge"), "{text}");
    let wrong_number = metrics.counter_f64("a_total", &[]).unwrap_err().to_string();
    assert!(wrong_number.contains("counter (f64)"), "{wrong_number}");
    metrics.histogram("h", &[1.0, 2.0], &[]).unwrap();
    metrics.histogram("h", &[], &[]).unwrap();
    let bounds = metrics.histogram("h", &[1.0, 3.0], &[]).unwrap_err().to_string();
    assert!(bounds.contains("[1.0, 2.0]") && bounds.contains("[1.0, 3.0]"), "{bounds}");
    let suffix = metrics.gauge("h_count", &[]).unwrap_err();
    assert_eq!(suffix.kind(), ErrorKind::Conflict);
    assert!(suffix.to_string().contains("`h`"), "{suffix}");
}

#[test]
fn help_is_set_once_and_empty_help_matches_any() {
    let metrics = metrics();
    let described = |help, unit| {
        let (kind, number) = (Kind::Histogram, Number::F64);
        let (cells, mode) = (None, GaugeMode::Undeclared);
        Description { name: "took_seconds", kind, number, bounds: &[], help, unit, cells, mode }
    };
    metrics.histogram("took_seconds", &[], &[]).unwrap();
    metrics.describe(&described("How long.", "")).unwrap();
    metrics.describe(&described("", "seconds")).unwrap();
    metrics.describe(&described("How long.", "seconds")).unwrap();
    let error = metrics.describe(&described("Other.", "")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    let families = metrics.families();
    assert_eq!((families[0].help.as_str(), families[0].unit.as_str()), ("How long.", "seconds"));
}

#[test]
fn bad_names_labels_and_bounds_are_errors_with_their_field() {
    let metrics = metrics();
    let field = |error: tallyport_core::model::Error| error.field().unwrap().to_owned();
    assert_eq!(field(metrics.counter("", &[]).unwrap_err()), "name");
    assert_eq!(field(metrics.counter("a\0b", &[]).unwrap_err()), "name");
    assert_eq!(field(metrics.counter("a", &[("", "x")]).unwrap_err()), "labels");
    assert_eq!(field(metrics.counter("a", &[("__x", "x")]).unwrap_err()), "labels");
    assert_eq!(field(metrics.counter("a", &[("x", "1"), ("x", "2")]).unwrap_err()), "labels");
    assert_eq!(field(metrics.histogram("h", &[], &[("le", "1")]).unwrap_err()), "labels");
    assert_eq!(field(metrics.counter("a", &[(OVERFLOW_LABEL, "1")]).unwrap_err()), "labels");
    for bounds in [&[1.0, 1.0][..], &[2.0, 1.0], &[f64::NAN], &[f64::INFINITY]] {
        assert_eq!(field(metrics.histogram("h", bounds, &[]).unwrap_err()), "bounds");
    }
    // A refused call leaves nothing behind.
    assert!(metrics.families().is_empty());
}

#[test]
fn past_the_limit_label_sets_fold_and_nothing_is_lost() {
    let limits = Limits { max_series_per_family: 10, ..Limits::default() };
    let metrics = metrics_with(limits);
    for i in 0..1000 {
        metrics.counter("c_total", &[("id", &i.to_string())]).unwrap().inc();
        metrics.histogram("h", &[1.0], &[("id", &i.to_string())]).unwrap().observe(0.5);
        let gauge = metrics.gauge("g", &[("id", &i.to_string())]);
        assert_eq!(gauge.is_ok(), i < 10);
    }
    assert_eq!(metrics.dropped().overflow, 990);
    let all = flat(&Snapshots::default().take(&metrics).unwrap());
    assert_eq!(all[&key("c_total", &[(OVERFLOW_LABEL, "true")])], [990.0]);
    assert_eq!(all[&key("h", &[(OVERFLOW_LABEL, "true")])][0], 990.0);
    let total: f64 = all.iter().filter(|((name, _), _)| name == "c_total").map(|(_, v)| v[0]).sum();
    assert_eq!(total, 1000.0);
    assert_eq!(metrics.series_count(), 11 + 11 + 10 + 1);
}

#[test]
fn the_engine_limit_holds_across_families() {
    let limits = Limits { max_series: 3, ..Limits::default() };
    let metrics = metrics_with(limits);
    for i in 0..5 {
        metrics.counter(&format!("c{i}_total"), &[("a", "b")]).unwrap().inc();
    }
    let all = flat(&Snapshots::default().take(&metrics).unwrap());
    assert_eq!(all[&key("c4_total", &[(OVERFLOW_LABEL, "true")])], [1.0]);
    assert_eq!(all[&key("c2_total", &[("a", "b")])], [1.0]);
}

#[test]
fn removed_series_leave_the_exports_and_their_handles_stay_valid() {
    let metrics = metrics();
    let old = metrics.counter("c_total", &[("a", "1")]).unwrap();
    old.add(5);
    metrics.remove("c_total", &[("a", "1")]).unwrap();
    assert_eq!(metrics.remove("c_total", &[("a", "1")]).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(metrics.remove("nothing", &[]).unwrap_err().kind(), ErrorKind::NotFound);
    old.add(5);
    let new = metrics.counter("c_total", &[("a", "1")]).unwrap();
    new.inc();
    assert_eq!((old.value(), new.value()), (10, 1));
    metrics.clear("c_total").unwrap();
    assert_eq!(metrics.series_count(), 0);
    assert!(flat(&Snapshots::default().take(&metrics).unwrap()).is_empty());
}

#[test]
fn a_handle_outlives_its_engine() {
    let engine = Engine::builder().build().unwrap();
    let counter = engine.metrics().counter("c_total", &[]).unwrap();
    drop(engine);
    counter.add(7);
    assert_eq!(counter.value(), 7);
}

#[test]
fn the_schema_changes_with_names_and_not_with_values() {
    let metrics = metrics();
    let snapshots = Snapshots::default();
    let counter = metrics.counter("c_total", &[]).unwrap();
    let first = snapshots.take(&metrics).unwrap();
    counter.inc();
    let second = snapshots.take(&metrics).unwrap();
    assert_eq!(first.schema_id(), second.schema_id());
    // What is refused changes nothing that an exporter keeps.
    assert!(metrics.gauge("c", &[]).is_err() && metrics.gauge("c_total", &[]).is_err());
    assert_eq!(second.schema_id(), snapshots.take(&metrics).unwrap().schema_id());
    metrics.counter("c_total", &[("a", "b")]).unwrap();
    assert_ne!(second.schema_id(), snapshots.take(&metrics).unwrap().schema_id());
    assert_eq!(flat(&first)[&key("c_total", &[])], [0.0]);
    assert_eq!(flat(&second)[&key("c_total", &[])], [1.0]);
}

#[test]
fn concurrent_recording_is_exact() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 20_000;
    let metrics = metrics();
    let snapshots = Snapshots::default();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let metrics = &metrics;
            scope.spawn(move || {
                let own = thread.to_string();
                for round in 0..ROUNDS {
                    // Looked up anew each time: creation races with the other threads.
                    let key = (round % 50).to_string();
                    metrics.counter("c_total", &[("k", &key)]).unwrap().inc();
                    metrics.counter_f64("f_total", &[("k", &key)]).unwrap().add(0.5).unwrap();
                    metrics.up_down_counter("u", &[("t", &own)]).unwrap().add(-1);
                    metrics.histogram("h", &[10.0, 20.0], &[]).unwrap().observe(round as f64);
                }
            });
        }
        for _ in 0..200 {
            let snapshot = snapshots.take(&metrics).unwrap();
            for ((name, labels), values) in flat(&snapshot) {
                if name == "h" {
                    let buckets: f64 = values[2..].iter().sum();
                    assert_eq!(values[0], buckets, "{labels:?}");
                }
            }
        }
    });
    let all = flat(&snapshots.take(&metrics).unwrap());
    let sum = |wanted: &str| -> f64 {
        all.iter().filter(|((name, _), _)| name == wanted).map(|(_, values)| values[0]).sum()
    };
    let adds = (THREADS * ROUNDS) as f64;
    assert_eq!(sum("c_total"), adds);
    assert_eq!(sum("f_total"), adds / 2.0);
    assert_eq!(sum("u"), -adds);
    let per_thread = (ROUNDS * (ROUNDS - 1) / 2) as f64;
    let expected = [adds, THREADS as f64 * per_thread, 88.0, 80.0, adds - 168.0];
    assert_eq!(all[&key("h", &[])], expected);
}

proptest! {
    /// Whatever is recorded in whatever order equals a plain map.
    #[test]
    fn metrics_equal_a_plain_map(
        adds in prop::collection::vec((0..3_usize, 0..4_usize, 0..4_usize, 0..100_u32), 1..200),
    ) {
        let metrics = metrics();
        let mut model: HashMap<_, f64> = HashMap::new();
        let values = ["", "a", "b", "ab"];
        for (kind, first, second, amount) in adds {
            let labels = [("x", values[first]), ("y", values[second])];
            let kept: Vec<_> = labels.into_iter().filter(|(_, value)| !value.is_empty()).collect();
            let name = ["c_total", "u", "f_total"][kind];
            match kind {
                0 => metrics.counter(name, &labels).unwrap().add(u64::from(amount)),
                1 => metrics.up_down_counter(name, &labels).unwrap().add(i64::from(amount)),
                _ => metrics.counter_f64(name, &labels).unwrap().add(f64::from(amount)).unwrap(),
            }
            *model.entry(key(name, &kept)).or_default() += f64::from(amount);
        }
        let all = flat(&Snapshots::default().take(&metrics).unwrap());
        let all: HashMap<_, _> = all.into_iter().map(|(key, values)| (key, values[0])).collect();
        prop_assert_eq!(all, model);
    }
}

/// The first cells of the shared plane lay on each other once.
#[test]
fn series_in_shared_cells_are_apart() {
    let metrics = Metrics::new(
        Limits::default(),
        Cells::Shared,
        &Share::Auto,
        &[],
        Arc::new(SystemClock::default()),
    )
    .unwrap();
    let series: Vec<_> = (0..50_u64)
        .map(|i| metrics.counter("a_total", &[("i", &i.to_string())]).unwrap())
        .collect();
    series.iter().zip(1..).for_each(|(series, amount)| series.add(amount));
    for (series, amount) in series.iter().zip(1..) {
        assert_eq!(series.value(), amount);
    }
}
