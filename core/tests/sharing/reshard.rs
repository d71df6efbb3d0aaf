//! A Redis namespace that is created anew with another number of shards, under instances that go on.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tallyport_core::{
    engine::{Engine, config::Config},
    store::{Lease, RedisSettings, RedisStore, Store},
    sync::{Settings, members, retire::Retirement},
};

use crate::{
    instances::{DEADLINE, Instance, named, values},
    testing::RedisServer,
};

const KEY: &str = "{tallyport:shared}:shards";

fn store(server: &RedisServer, shards: u32) -> RedisStore {
    let (url, namespace) = (server.url(), "shared".into());
    RedisStore::connect(&RedisSettings { url, namespace, shards, deadline: DEADLINE.into() })
        .unwrap()
}

fn engine(server: &RedisServer, shards: u32) -> Engine {
    let toml = format!(
        "schema = 1\n[store]\nkind = 'redis'\nurl = '{}'\nnamespace = 'shared'\nshards = {shards}\n",
        server.url()
    );
    Engine::builder().config(Config::parse(&toml, "test", Path::new("")).unwrap()).build().unwrap()
}

fn add(one: &Engine, amount: u64) {
    one.metrics().counter("requests", &[]).unwrap().add(amount);
}

fn read(one: &Engine) -> (usize, String) {
    let all = one.read_shared().unwrap();
    (all.instances, values(&all.snapshot)["requests{}"].clone())
}

#[test]
fn engines_follow_a_store_that_was_emptied_and_created_with_other_shards() {
    for (before, after) in [(4, 2), (4, 3), (2, 5)] {
        let server = RedisServer::start(&[]);
        let old: Vec<_> = (0..12).map(|_| engine(&server, before)).collect();
        for one in &old {
            add(one, 10);
            one.sync().unwrap();
        }
        assert_eq!(read(&old[0]), (12, "120".into()));
        // One has ended: what it counted is lost with the store, as ever.
        old[11].leave().unwrap();
        assert_eq!(read(&old[0]), (11, "120".into()));
        server.command(&["FLUSHALL"]);
        let new = engine(&server, after);
        add(&new, 1);
        new.sync().unwrap();
        // Also who only looks, and before it publishes.
        assert_eq!((read(&new), read(&old[3])), ((1, "1".into()), (1, "1".into())));
        for (synced, one) in old[..11].iter().enumerate() {
            add(one, 1);
            one.sync().unwrap();
            let seen = (synced + 2, (11 * (synced + 1) + 1).to_string());
            assert_eq!((read(&new), read(one)), (seen.clone(), seen), "{before} to {after}");
        }
        for one in &old[..11] {
            add(one, 1);
            one.sync().unwrap();
            let status = one.sync_status();
            assert_eq!((status.failures, status.last_error), (0, None));
            assert_eq!(one.members().unwrap().len(), 12);
        }
        assert_eq!(read(&new), (12, "133".into()));
        // Each ends once, in the shard that it is in now.
        for one in &old[..11] {
            assert_eq!(one.leave().unwrap().retirement.folded, 1);
        }
        assert_eq!((read(&new), read(&old[0])), ((1, "133".into()), (1, "133".into())));
    }
}

#[test]
fn instances_follow_other_shards_of_a_store_that_kept_the_rest() {
    for (before, after) in [(4, 2), (4, 3), (3, 8)] {
        let server = RedisServer::start(&[]);
        let alive = Duration::from_millis(if after == 3 { 300 } else { 90_000 });
        let lease = Lease { alive, ..Settings::default().lease };
        let mut all: Vec<_> = (0..16)
            .map(|n| {
                let settings = Settings { lease, ..named(&format!("i{n}")) };
                Instance::new(Box::new(store(&server, before)), settings)
            })
            .collect();
        for one in &mut all {
            one.add("requests", "/", 7);
            one.sync();
            // With a base: each was folded once before.
            let last = one.snapshot();
            one.session.withdraw(&last).unwrap();
            one.add("requests", "/", 3);
            one.sync();
        }
        let mut new = Instance::new(Box::new(store(&server, before)), named("new"));
        assert_eq!(new.total("requests", "/"), 160);
        // The number alone is evicted, and fixed anew by somebody else.
        server.command(&["DEL", KEY]);
        assert_eq!(store(&server, after).shards(), after);
        for one in &mut all {
            one.sync();
            assert!(new.total("requests", "/") <= 160, "doubled: {before} to {after}");
        }
        assert_eq!(new.total("requests", "/"), 160, "{before} to {after}");
        for one in &mut all {
            one.add("requests", "/", 1);
            one.sync();
        }
        assert_eq!(new.total("requests", "/"), 176, "{before} to {after}");
        // Records that stayed in a shard that is not theirs are folded there once their leases end.
        let start = Instant::now();
        while alive < Duration::from_secs(1) && new.everyone().instances > 0 {
            assert_eq!(new.total("requests", "/"), 176);
            assert!(start.elapsed() < Duration::from_secs(60), "some are never folded");
            std::thread::yield_now();
        }
        for one in &mut all {
            one.add("requests", "/", 1);
            one.sync();
        }
        assert_eq!(new.total("requests", "/"), 192, "{before} to {after}");
        // All are there, where no lease can have ended on the way.
        let there = members(&mut store(&server, after), &mut Retirement::default()).unwrap().len();
        assert!(there >= 16 || alive < DEADLINE, "{there}");
    }
}
