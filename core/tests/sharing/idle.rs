//! Connections that the server closed while nobody used them: noticed, and made anew.

use std::time::{Duration, Instant};

use tallyport_core::store::{
    Batch, Claim, Epoch, Identity, KeyValue, Leases, Memcached, Owner, RedisSettings, RedisStore,
    Standing, Store, Wish,
};

use crate::{
    instances::{DEADLINE, Instance, named, redis},
    items::memcached_at,
    proxy::Proxy,
    testing::{MemcachedServer, RedisServer},
};

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::yield_now();
    }
}

/// Clients of a Redis beside the one that asks, which has the highest number.
fn clients(server: &RedisServer) -> usize {
    server.command(&["CLIENT", "LIST"]).lines().filter(|line| line.starts_with("id=")).count() - 1
}

fn at(url: String) -> RedisStore {
    let settings =
        RedisSettings { url, namespace: "shared".into(), shards: 1, deadline: DEADLINE.into() };
    RedisStore::connect(&settings).unwrap()
}

#[test]
fn a_connection_that_redis_closed_while_it_was_idle_costs_no_step() {
    let server = RedisServer::start(&[]);
    server.command(&["ACL", "SETUSER", "shop", "on", ">secret", "~*", "+@all"]);
    // With a login, which the new connection has to do again.
    let url = format!("redis://shop:secret@127.0.0.1:{}/2", server.port());
    let mut a = Instance::new(Box::new(at(url.clone())), named("a"));
    let mut leases = at(url);
    let kill = || {
        server.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
        until("clients stay", || clients(&server) == 0);
    };
    kill();
    for round in 1..=3 {
        // The first one registers, the others publish.
        a.add("requests", "/", 1);
        a.sync();
        kill();
        assert_eq!(a.total("requests", "/"), round);
        kill();
    }
    let (owner, term) = (Owner(7), Duration::from_secs(60));
    let wish = Wish { lease: "export", owner, holder: "a", term };
    assert!(matches!(leases.acquire(&wish).unwrap(), Claim::Granted(_)));

    // By its own timeout.
    server.command(&["CONFIG", "SET", "timeout", "1"]);
    until("Redis closes nothing", || clients(&server) == 0);
    a.add("requests", "/", 1);
    a.sync();
    server.command(&["CONFIG", "SET", "timeout", "0"]);
    assert_eq!(a.total("requests", "/"), 4);
    assert_eq!(a.session.mishaps(), Default::default());
}

#[test]
fn a_redis_that_was_restarted_between_two_syncs_costs_none() {
    let server = RedisServer::start(&[]);
    let mut a = Instance::new(Box::new(redis(&server, "n")), named("a"));
    a.add("requests", "/", 5);
    a.sync();
    let port = server.port();
    drop(server);
    let _server = RedisServer::start_at(port, &[]);
    a.add("requests", "/", 2);
    a.sync();
    assert_eq!(a.total("requests", "/"), 7);
    assert_eq!(a.session.mishaps().resets, 1);
}

#[test]
fn a_redis_connection_that_is_gone_without_a_word_is_made_anew_where_that_is_safe() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(server.port());
    // Whether a register took place nobody knows: it is not sent again, and a publish is.
    let mut bare = at(proxy.url());
    let (epoch, lease) = (Epoch(1), named("").lease);
    bare.register(Identity(8), "b", epoch, lease).unwrap();
    for to_server in [true, false] {
        let id = Identity(u128::from(to_server));
        proxy.cut_once(to_server);
        bare.register(id, "b", epoch, lease).unwrap_err();
        bare.register(id, "b", epoch, lease).unwrap();
        proxy.cut_once(to_server);
        let step = Batch { to: 1, ..Batch::default() };
        let answer = bare.publish(id, (epoch, epoch), lease, &[step]).unwrap();
        assert_eq!(answer.standing, Standing::Live(1));
    }
    server.command(&["FLUSHALL"]);
    let mut a = Instance::new(Box::new(at(proxy.url())), named("a"));
    a.add("requests", "/", 1);
    a.sync();
    for to_server in [true, false] {
        // Whatever a sync begins with, the connection is made anew.
        for _ in 0..2 {
            a.add("requests", "/", 1);
            proxy.cut_once(to_server);
            a.sync();
        }
    }
    assert_eq!(a.total("requests", "/"), 5);
    assert_eq!(a.session.mishaps(), Default::default());
    // Nobody answers at all: once is enough.
    proxy.allow(0, 0);
    let snapshot = a.snapshot();
    a.session.sync(&snapshot).unwrap_err();
    proxy.allow(u64::MAX, u64::MAX);
    assert_eq!(a.total("requests", "/"), 5);
}

#[test]
fn a_connection_that_memcached_closed_while_it_was_idle_costs_no_step() {
    let server = MemcachedServer::start(&["-o", "idle_timeout=1"]);
    let proxy = Proxy::start(server.port());
    let mut a = Instance::new(memcached_at(&server.address(), DEADLINE), named("a"));
    let mut kicks = 0;
    let mut kicked = || {
        until("memcached closes nothing", || {
            let statistics = server.command("stats");
            let line = statistics.lines().find_map(|line| line.strip_prefix("STAT idle_kicks "));
            let now: u64 = line.unwrap().trim().parse().unwrap();
            std::mem::replace(&mut kicks, now) < now
        });
    };
    for round in 1..=2 {
        kicked();
        a.add("requests", "/", 1);
        a.sync();
        assert_eq!(a.total("requests", "/"), round);
    }
    // Gone when it is asked: a read is asked again, a swap is not.
    let mut items = Memcached::connect(&proxy.address(), DEADLINE).unwrap();
    assert!(items.add("key", b"value", DEADLINE).unwrap());
    let item = items.get("key").unwrap().unwrap();
    proxy.cut_once(false);
    assert_eq!(items.get("key").unwrap().unwrap(), item);
    proxy.cut_once(false);
    items.cas("key", b"other", DEADLINE, item.token).unwrap_err();
    assert_eq!(items.get("key").unwrap().unwrap().bytes, b"other");
    assert_eq!(a.session.mishaps(), Default::default());
}
