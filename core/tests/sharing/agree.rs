//! The same assertions on every store.

use std::collections::BTreeMap;

use tallyport_core::{
    metrics::Description,
    model::{GaugeMode, Kind, Number},
    snapshot,
    store::{MemoryStore, RedisSettings, RedisStore, SqliteStore, Store},
    sync::Settings,
};

use crate::{
    instances::{DEADLINE, Instance, named, redis, values},
    items::{memcached, store_of},
    memory_items::MemoryItems,
    testing,
};

/// Runs a test with a way to open one new store of each kind.
pub(crate) fn on_every_store(test: impl Fn(&str, &dyn Fn() -> Box<dyn Store>)) {
    let memory = MemoryStore::default();
    test("memory", &|| Box::new(memory.clone()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    test("sqlite", &|| Box::new(SqliteStore::open(&path, DEADLINE).unwrap()));
    let server = testing::RedisServer::start(&[]);
    test("redis", &|| Box::new(redis(&server, "shared")));
    let server = testing::MemcachedServer::start(&[]);
    test("memcached", &|| memcached(&server));
    let items = MemoryItems::new(true);
    test("the host's own", &|| store_of(items.clone(), None));
}

#[test]
fn counters_of_all_instances_add_up_and_outlive_them() {
    on_every_store(|kind, open| {
        let mut a = Instance::new(open(), named("a"));
        let mut b = Instance::new(open(), named("b"));
        for instance in [&a, &b] {
            instance.add("requests", "/", 3);
            instance.metrics.counter_f64("seconds", &[]).unwrap().add(0.5).unwrap();
            instance.metrics.up_down_counter("in_flight", &[]).unwrap().add(2);
            let sizes = instance.metrics.histogram("sizes", &[1.0, 2.0], &[]).unwrap();
            for size in [0.5, 1.5, 9.0] {
                sizes.observe(size);
            }
        }
        a.add("requests", "/only/a", 1);
        a.sync();
        b.sync();
        let together = BTreeMap::from(
            [
                ("in_flight{}", "4"),
                ("requests{path=/only/a}", "1"),
                ("requests{path=/}", "6"),
                ("seconds{}", "1"),
                ("sizes{}", "6 22 [2, 2, 2]"),
            ]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
        );
        assert_eq!(values(&b.everyone().snapshot), together, "{kind}");
        assert_eq!(b.everyone().instances, 2, "{kind}");

        // It ends: what it counted stays, what it had in flight does not.
        let (last, before) = (a.snapshot(), a.session.identity());
        let done = a.session.withdraw(&last).unwrap();
        assert_eq!(done.retirement.folded, 1, "{kind}");
        let mut after = together;
        after.insert("in_flight{}".into(), "2".into());
        assert_eq!(values(&b.everyone().snapshot), after, "{kind}");
        assert_eq!(b.everyone().instances, 1, "{kind}");

        // It was not the end: under another identity nothing doubles.
        a.add("requests", "/", 10);
        a.sync();
        assert_ne!(a.session.identity(), before, "{kind}");
        // That was asked for.
        assert_eq!(a.session.mishaps(), Default::default(), "{kind}");
        after.insert("in_flight{}".into(), "4".into());
        after.insert("requests{path=/}".into(), "16".into());
        assert_eq!(values(&b.everyone().snapshot), after, "{kind}");
    });
}

#[test]
fn an_aggregate_reads_the_same_whoever_asks() {
    /// Help, unit and series of each family, in their order.
    fn shape(one: &mut Instance) -> Vec<(String, String, String, Vec<String>)> {
        let read = |view: &tallyport_plugin_api::Snapshot<'_>| {
            let told = |text: &str| text.to_owned();
            let families = view.families().map(|family| {
                let labels = family.series().map(|s| s.labels().map(|(_, v)| v).collect());
                (told(family.name()), told(family.help()), told(family.unit()), labels.collect())
            });
            Ok::<_, tallyport_plugin_api::Error>(families.collect())
        };
        one.everyone().snapshot.read(read).unwrap()
    }
    on_every_store(|kind, open| {
        let mut a = Instance::new(open(), named("a"));
        let mut b = Instance::new(open(), named("b"));
        let described = |help, unit| Description {
            name: "requests",
            kind: Kind::Counter,
            number: Number::U64,
            bounds: &[],
            help,
            unit,
            cells: None,
            mode: GaugeMode::Undeclared,
        };
        // Whose texts are the least is neither the first nor the last to tell them.
        b.metrics.describe(&described("Requests, by path.", "")).unwrap();
        a.metrics.describe(&described("All requests.", "requests")).unwrap();
        for (one, paths) in [(&b, ["/z", "/y"]), (&a, ["/y", "/x"])] {
            one.add("later", "/", 1);
            for path in paths {
                one.add("requests", path, 1);
            }
        }
        b.sync();
        a.sync();
        let mut c = Instance::new(open(), named("c"));
        c.add("requests", "/z", 1);
        c.sync();
        let first = shape(&mut a);
        let [(later, ..), (requests, help, unit, series)] = &first[..] else {
            panic!("{kind}: {first:?}");
        };
        assert_eq!((&**later, &**requests), ("later", "requests"), "{kind}");
        assert_eq!((&**help, &**unit), ("All requests.", "requests"), "{kind}");
        // By instance, and then as that has them; identities are by chance.
        let mut sorted = series.clone();
        sorted.sort();
        assert_eq!(sorted, ["/x", "/y", "/z"], "{kind}");
        for one in [&mut a, &mut b, &mut c] {
            assert_eq!(shape(one), first, "{kind}");
        }
    });
}

#[test]
fn only_what_changed_is_sent_and_texts_once() {
    on_every_store(|kind, open| {
        let mut a = Instance::new(open(), named("a"));
        let long = "x".repeat(500);
        for number in 0..100 {
            a.add("requests", &format!("{long}{number}"), 1);
        }
        let first = a.sync();
        assert_eq!(first.series, 100, "{kind}");
        assert!(first.bytes > 50_000, "{kind}: {first:?}");
        assert_eq!((a.sync().series, a.sync().bytes), (0, 0), "{kind}");
        a.add("requests", &format!("{long}7"), 1);
        let second = a.sync();
        assert_eq!(second.series, 1, "{kind}");
        assert!(second.bytes < 20, "{kind}: {second:?}");
    });
}

#[test]
fn gauges_become_one_by_their_mode_and_stay_apart_without_one() {
    let modes = [
        ("g_sum", GaugeMode::Sum, "6"),
        ("g_max", GaugeMode::Max, "4"),
        ("g_min", GaugeMode::Min, "2"),
        ("g_mean", GaugeMode::Mean, "3"),
        ("g_last", GaugeMode::Last, "4"),
    ];
    on_every_store(|kind, open| {
        let settings = |name: &str, include_instances| {
            let modes = modes.iter().map(|(name, mode, _)| (name.to_string(), *mode));
            Settings { gauge_modes: modes.collect(), include_instances, ..named(name) }
        };
        let mut a = Instance::new(open(), settings("a", false));
        let mut b = Instance::new(open(), settings("b", true));
        for (instance, value) in [(&mut a, 2.0), (&mut b, 4.0)] {
            for (name, ..) in modes {
                instance.metrics.gauge(name, &[]).unwrap().set(value);
            }
            instance.metrics.gauge("fact", &[("instance", "own")]).unwrap().set(value);
            instance.sync();
        }
        let overview = a.everyone();
        assert_eq!(overview.undeclared, ["fact"], "{kind}");
        let all = values(&overview.snapshot);
        for (name, _, value) in modes {
            assert_eq!(all[&format!("{name}{{}}")], value, "{kind} {name}");
        }
        assert_eq!(all["fact{exported_instance=own,instance=a}"], "2", "{kind}");
        assert_eq!(all["fact{exported_instance=own,instance=b}"], "4", "{kind}");
        let all = values(&b.everyone().snapshot);
        assert_eq!(all["g_sum{instance=a}"], "2", "{kind}");
        assert_eq!(all["g_sum{instance=b}"], "4", "{kind}");
        // A gauge that its instance removed is gone for all.
        b.metrics.remove("fact", &[("instance", "own")]).unwrap();
        b.sync();
        let overview = a.everyone();
        assert!(overview.undeclared.is_empty(), "{kind}");
        assert_eq!(values(&overview.snapshot)["fact{instance=own}"], "2", "{kind}");
    });
}

#[test]
fn a_removed_counter_stays_counted_and_goes_on_when_it_comes_again() {
    on_every_store(|kind, open| {
        let mut a = Instance::new(open(), named("a"));
        a.add("requests", "/", 5);
        a.sync();
        a.metrics.remove("requests", &[("path", "/")]).unwrap();
        a.sync();
        assert_eq!(values(&a.everyone().snapshot)["requests{path=/}"], "5", "{kind}");
        a.add("requests", "/", 2);
        a.sync();
        assert_eq!(values(&a.everyone().snapshot)["requests{path=/}"], "7", "{kind}");
    });
}

#[test]
fn series_that_come_and_go_do_not_pile_up_in_the_publisher() {
    on_every_store(|kind, open| {
        let mut a = Instance::new(open(), named("a"));
        let mut b = Instance::new(open(), named("b"));
        let (rounds, each) = (12, 1000);
        let mut most = 0;
        for round in 0..rounds {
            for number in 0..each {
                a.add("requests", &format!("/{round}/{number}"), 1);
            }
            a.metrics.gauge("level", &[]).unwrap().set(7.0);
            a.sync();
            for number in 0..each {
                let path = format!("/{round}/{number}");
                a.metrics.remove("requests", &[("path", &path)]).unwrap();
            }
            most = most.max(a.session.series());
        }
        a.sync();
        assert!(most < 6500, "{kind}: {most} series are kept, of {each} at a time");
        let all = values(&b.everyone().snapshot);
        assert_eq!(all["level{}"], "7", "{kind}");
        let sum: u64 = all
            .iter()
            .filter(|(key, _)| key.starts_with("requests"))
            .map(|(_, value)| value.parse::<u64>().unwrap())
            .sum();
        assert_eq!(sum, rounds * each, "{kind}");
        assert_eq!(a.session.mishaps(), Default::default(), "{kind}");
        assert_eq!(b.everyone().instances, 1, "{kind}");
    });
}

#[test]
fn families_that_instances_disagree_on_are_shown_apart() {
    on_every_store(|kind, open| {
        let mut a = Instance::new(open(), named("a"));
        let mut b = Instance::new(open(), named("b"));
        a.metrics.histogram("sizes", &[1.0, 2.0], &[]).unwrap().observe(1.5);
        b.metrics.histogram("sizes", &[1.0, 3.0], &[]).unwrap().observe(1.5);
        a.add("thing", "/", 1);
        b.metrics.gauge("thing", &[]).unwrap().set(8.0);
        a.sync();
        b.sync();
        for (own, other) in [(&mut a, "sizes{}"), (&mut b, "sizes{}")] {
            let overview = own.everyone();
            let families: Vec<_> = overview.conflicts.iter().map(|c| c.family.clone()).collect();
            assert_eq!(families, ["sizes", "thing"], "{kind}");
            let all = values(&overview.snapshot);
            assert_eq!(all.len(), 4, "{kind}: {all:?}");
            assert_eq!(all[other], "1 1.5 [0, 1, 0]", "{kind}");
            let apart = format!("{}{{}}", overview.conflicts[0].shown_as[0]);
            assert_eq!(all[&apart], "1 1.5 [0, 1, 0]", "{kind}");
        }
        assert_eq!(values(&a.everyone().snapshot)["thing{path=/}"], "1", "{kind}");
        assert_eq!(values(&b.everyone().snapshot)["thing{}"], "8", "{kind}");
    });
}

#[test]
fn a_sum_past_64_bits_is_clamped_and_counted() {
    on_every_store(|kind, open| {
        let mut a = Instance::new(open(), named("a"));
        let mut b = Instance::new(open(), named("b"));
        a.add("requests", "/", u64::MAX);
        b.add("requests", "/", u64::MAX - 1);
        a.sync();
        b.sync();
        let overview = a.everyone();
        assert_eq!(overview.clamped, 1, "{kind}");
        assert_eq!(values(&overview.snapshot)["requests{path=/}"], u64::MAX.to_string(), "{kind}");
        // What is kept is not clamped: it ends, and the sum still is whole.
        let last = b.snapshot();
        b.session.withdraw(&last).unwrap();
        assert_eq!(a.everyone().clamped, 1, "{kind}");
    });
}

#[test]
fn what_all_have_can_be_saved_for_another_process() {
    on_every_store(|kind, open| {
        let mut a = Instance::new(open(), named("a"));
        a.add("requests", "/", 5);
        a.metrics.histogram("sizes", &[], &[]).unwrap().observe(0.3);
        a.sync();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("all");
        snapshot::save(&a.everyone().snapshot, &path).unwrap();
        let loaded = values(&snapshot::load(&path).unwrap());
        assert_eq!(loaded["requests{path=/}"], "5", "{kind}");
        assert_eq!(loaded["sizes{}"].split(' ').next(), Some("1"), "{kind}");
    });
}

#[test]
fn redis_keeps_its_number_of_shards_and_its_namespaces_apart() {
    let server = testing::RedisServer::start(&[]);
    let mut other = redis(&server, "other");
    assert_eq!(other.shards(), 4);
    let settings = RedisSettings {
        url: server.url(),
        namespace: "shared".into(),
        shards: 2,
        deadline: DEADLINE.into(),
    };
    let mut a = Instance::new(Box::new(RedisStore::connect(&settings).unwrap()), named("a"));
    a.add("requests", "/", 5);
    a.sync();
    assert_eq!(redis(&server, "shared").shards(), 2, "as it was created");
    assert!((0..4).all(|shard| other.roll(shard).unwrap().instances.is_empty()));
}
