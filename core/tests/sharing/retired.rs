//! What is left of instances that ended: for how long, how exactly, and where a store lost it.

use std::{fs, path::Path, sync::Arc, time::Duration};

use tallyport_core::{
    engine::{Engine, config::Config},
    store::{Lease, MemoryStore},
    sync::Settings,
};

use crate::{
    agree::on_every_store,
    engine::Hand,
    instances::{Instance, named, redis, values},
    items::{memcached, store_of},
    memory_items::MemoryItems,
    testing::{MemcachedServer, RedisServer},
};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_fold_changes_no_sum_of_floats() {
    on_every_store(|kind, open| {
        let seconds = |instance: &Instance, value| {
            instance.metrics.counter_f64("seconds", &[]).unwrap().add(value).unwrap();
            instance.metrics.histogram("took", &[1.0], &[]).unwrap().observe(value);
        };
        // Added from left to right some orders of these give 0.6, others the next double.
        let mut all: Vec<Instance> =
            ["a", "b", "c"].iter().map(|name| Instance::new(open(), named(name))).collect();
        for (instance, value) in all.iter_mut().zip([0.3, 0.1, 0.2]) {
            seconds(instance, value);
            instance.sync();
        }
        let mut observer = Instance::new(open(), named("observer"));
        for left in (0..=all.len()).rev() {
            let now = values(&observer.everyone().snapshot);
            assert_eq!(now["seconds{}"], "0.6", "{kind}, {left} left");
            assert_eq!(now["took{}"], "3 0.6 [3, 0]", "{kind}, {left} left");
            if let Some(mut one) = all.pop() {
                let last = one.snapshot();
                one.session.withdraw(&last).unwrap();
            }
        }
    });
}

/// Of instances that live through anything but the days that pass here.
fn patient(name: &str) -> Settings {
    let lease = Lease { alive: HOUR, data: 100 * HOUR };
    Settings { lease, retired_retention: 24 * HOUR, ..named(name) }
}

#[test]
fn what_nobody_has_any_more_is_dropped_after_its_time_and_begins_anew() {
    let clock = Arc::new(Hand::default());
    let store = MemoryStore::new(Arc::clone(&clock) as _);
    let open = |name| Instance::new(Box::new(store.clone()), patient(name));
    let (mut ended, mut other) = (open("ended"), open("other"));
    ended.add("requests", "/", 3);
    ended.add("requests", "/both", 3);
    other.add("requests", "/both", 1);
    let last = ended.snapshot();
    ended.session.withdraw(&last).unwrap();
    let day = |other: &mut Instance| {
        for _ in 0..25 {
            other.sync();
            clock.pass(HOUR / 2);
            other.sync();
            clock.pass(HOUR / 2);
        }
    };
    other.sync();
    assert_eq!(other.total("requests", "/"), 3);
    day(&mut other);
    let snapshot = other.snapshot();
    let (_, done) = other.session.aggregate(&snapshot).unwrap();
    assert_eq!((done.dropped_series, done.dropped_tombstones), (1, 0));
    // What another one has stays.
    let both =
        |other: &mut Instance| (other.total("requests", "/"), other.total("requests", "/both"));
    assert_eq!(both(&mut other), (0, 4));
    other.add("requests", "/", 2);
    other.sync();
    assert_eq!(both(&mut other), (2, 4));
}

#[test]
fn what_an_instance_counted_before_it_was_retired_stays_as_long_as_it_lives() {
    let clock = Arc::new(Hand::default());
    let store = MemoryStore::new(Arc::clone(&clock) as _);
    let open = |name| Instance::new(Box::new(store.clone()), patient(name));
    let (mut one, mut observer) = (open("one"), open("observer"));
    one.add("requests", "/", 3);
    one.sync();
    // It slept, and was folded.
    clock.pass(2 * HOUR);
    assert_eq!(observer.total("requests", "/"), 3);
    for _ in 0..60 {
        one.sync();
        clock.pass(HOUR / 2);
    }
    assert_eq!(one.session.mishaps().retired, 1);
    assert_eq!(observer.total("requests", "/"), 3, "a day later");
    one.add("requests", "/", 1);
    one.sync();
    assert_eq!(observer.total("requests", "/"), 4);
}

#[test]
fn a_record_that_a_store_lost_is_counted_by_who_finds_it_out() {
    let (server, cache) = (RedisServer::start(&[]), MemcachedServer::start(&[]));
    let items = MemoryItems::new(true);
    for kind in ["redis", "memcached", "the host's own"] {
        let open = || match kind {
            "redis" => Box::new(redis(&server, "shared")) as _,
            "memcached" => memcached(&cache),
            _ => store_of(items.clone(), None),
        };
        let mut observer = Instance::new(open(), named("observer"));
        let lost = |observer: &mut Instance| {
            let snapshot = observer.snapshot();
            observer.session.aggregate(&snapshot).unwrap().1.lost
        };
        // One that ended in peace is not lost.
        let mut one = Instance::new(open(), named("one"));
        one.add("requests", "/", 5);
        one.sync();
        let last = one.snapshot();
        one.session.withdraw(&last).unwrap();
        assert_eq!(lost(&mut observer), 0, "{kind}");
        // This one is killed, and its record evicted before anybody folds it.
        let mut gone = Instance::new(open(), named("gone"));
        gone.add("requests", "/", 7);
        gone.sync();
        assert_eq!(observer.total("requests", "/"), 12, "{kind}");
        let id = gone.session.identity().to_string();
        drop(gone);
        match kind {
            "redis" => {
                let keys = server.command(&["KEYS", &format!("*:i:{id}")]);
                let key = keys.split("\r\n").find(|line| line.contains(&id)).unwrap();
                assert_eq!(server.command(&["DEL", key]), ":1\r\n");
            }
            "memcached" => {
                let deleted = cache.command(&format!("delete tallyport:shared:i:{id}"));
                assert_eq!(deleted, "DELETED\r\n");
            }
            _ => assert_eq!(items.lose(&format!("i:{id}")), 1),
        }
        assert_eq!(lost(&mut observer), 1, "{kind}");
        assert_eq!(lost(&mut observer), 0, "{kind}: once");
        assert_eq!(observer.total("requests", "/"), 5, "{kind}");
    }
}

#[test]
fn lost_records_are_in_the_metrics_of_who_finds_them_out() {
    let (folder, items) = (tempfile::tempdir().unwrap(), MemoryItems::new(true));
    let named = |name: &str| {
        let folder = folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        engine(&folder, &items)
    };
    let finder = named("finder");
    // Also of who only looks.
    for (found, looks_only) in [("1", false), ("2", true)] {
        let gone = named(found);
        gone.metrics().counter("requests", &[("path", "/")]).unwrap().add(5);
        gone.sync().unwrap();
        assert_eq!(items.lose(&format!("i:{}", gone.sync_status().identity.unwrap())), 1);
        drop(gone);
        if looks_only {
            finder.members().unwrap();
        } else {
            finder.shared().unwrap();
        }
        let own = values(&finder.snapshot().unwrap());
        assert_eq!(own["tallyport_sync_lost_records_total{}"], found);
    }
}

/// An engine of the arena in a folder, with a host's own store.
fn engine(folder: &Path, items: &MemoryItems) -> Engine {
    let arena = folder.join("metrics.arena");
    let text = format!(
        "schema = 1\n[recording]\nshare = 'file'\narena = {arena:?}\n[store]\nkind = 'host'\n\
         namespace = 'shared'\n"
    );
    fs::write(folder.join("tallyport.toml"), text).unwrap();
    let config = Config::load(folder.join("tallyport.toml")).unwrap();
    let engine = Engine::builder().config(config).build().unwrap();
    let items = items.clone();
    engine.set_store(move || Ok(Box::new(items.clone()))).unwrap();
    engine
}

#[test]
fn an_arena_of_several_processes_counts_once_where_nothing_can_be_swapped() {
    let folder = tempfile::tempdir().unwrap();
    let items = MemoryItems::new(false);
    let mut observer = Instance::new(store_of(items.clone(), None), named("observer"));
    let mut counted = 0;
    for _ in 0..3 {
        // Each time two others: their parents' slots lead to the same record.
        let engines = [engine(folder.path(), &items), engine(folder.path(), &items)];
        for engine in &engines {
            engine.metrics().counter("requests", &[("path", "/")]).unwrap().add(2);
            counted += 2;
            assert_eq!(engine.sync().unwrap().skipped_for, None);
            assert_eq!(observer.total("requests", "/"), counted);
        }
        assert_eq!(observer.everyone().instances, 1);
    }
}
