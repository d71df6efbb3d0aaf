//! A Redis that refuses, forgets, stops or answers nonsense.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::net::UnixStream,
    thread,
    time::{Duration, Instant},
};

use rustix::{
    net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket},
    process::{Pid, Signal, kill_process},
};
use tallyport_core::{
    model::{Error, ErrorKind},
    store::{Memcached, RedisSettings, RedisStore, Store},
};

use crate::{
    cuts::{self, Place},
    instances::{Instance, named, redis},
    proxy::Proxy,
    testing::RedisServer,
};

fn settings(url: String, deadline: Duration) -> RedisSettings {
    RedisSettings { url, namespace: "shared".into(), shards: 1, deadline: deadline.into() }
}

fn connected(url: String, deadline: Duration) -> Instance {
    let store = RedisStore::connect(&settings(url, deadline)).unwrap();
    Instance::new(Box::new(store), named("a"))
}

#[test]
fn a_redis_that_lost_everything_is_told_everything_again() {
    let server = RedisServer::start(&[]);
    let mut a = Instance::new(Box::new(redis(&server, "n")), named("a"));
    let mut b = Instance::new(Box::new(redis(&server, "n")), named("b"));
    for instance in [&mut a, &mut b] {
        instance.add("requests", "/", 5);
        instance.sync();
    }
    assert_eq!(a.total("requests", "/"), 10);
    server.command(&["FLUSHALL"]);
    a.add("requests", "/", 1);
    a.sync();
    assert_eq!(a.total("requests", "/"), 6, "b has not synced yet");
    b.sync();
    assert_eq!(a.total("requests", "/"), 11);
    assert_eq!((a.session.mishaps().resets, b.session.mishaps().resets), (1, 1));
}

#[test]
fn a_redis_that_was_restarted_empty_is_told_everything_again() {
    let server = RedisServer::start(&[]);
    let mut a = connected(server.url(), Duration::from_secs(10));
    a.add("requests", "/", 5);
    a.sync();
    let port = server.port();
    drop(server);
    a.add("requests", "/", 2);
    let snapshot = a.snapshot();
    assert!(a.session.sync(&snapshot).is_err());
    let _server = RedisServer::start_at(port, &[]);
    a.sync();
    assert_eq!(a.total("requests", "/"), 7);
    // The scripts were gone too.
    assert_eq!(a.session.mishaps().resets, 1);
}

#[test]
fn an_evicted_record_is_sent_again_and_nothing_doubles() {
    let server = RedisServer::start(&[]);
    let mut a = connected(server.url(), Duration::from_secs(10));
    a.add("requests", "/", 5);
    a.sync();
    let record = format!("{{tallyport:shared:0}}:i:{}", a.session.identity());
    assert_eq!(server.command(&["DEL", &record]), ":1\r\n");
    assert_eq!(a.total("requests", "/"), 0);
    a.sync();
    assert_eq!(a.total("requests", "/"), 5);
    assert_eq!(a.session.mishaps().lost, 1);
}

#[test]
fn whatever_key_of_a_shard_is_evicted_who_lives_is_told() {
    let server = RedisServer::start(&[]);
    let keys = || {
        let reply = server.command(&["KEYS", "{tallyport:shared:0}:*"]);
        let keys = reply.lines().filter(|line| line.starts_with('{')).map(str::to_owned);
        keys.collect::<Vec<_>>()
    };
    let mut a = connected(server.url(), Duration::from_secs(10));
    let mut b = connected(server.url(), Duration::from_secs(10));
    for one in [&mut a, &mut b] {
        one.add("requests", "/", 5);
        one.sync();
    }
    let all = keys();
    assert_eq!(all.len(), 3, "two records and what the shard hangs on: {all:?}");
    let told = |one: &Instance| one.session.mishaps().lost + one.session.mishaps().resets;
    for key in keys() {
        let before = told(&a) + told(&b);
        assert_eq!(server.command(&["DEL", &key]), ":1\r\n");
        a.sync();
        b.sync();
        assert!(told(&a) + told(&b) > before, "{key} is gone, and nobody was told");
        assert_eq!((a.total("requests", "/"), b.total("requests", "/")), (10, 10), "{key}");
    }
}

#[test]
fn a_list_of_instances_that_is_none_is_an_error_of_whoever_reads_it() {
    let server = RedisServer::start(&[]);
    let mut a = connected(server.url(), Duration::from_secs(10));
    a.add("requests", "/", 5);
    a.sync();
    let total = "{tallyport:shared:0}:total";
    let id = a.session.identity().to_string();
    for list in [&id[1..], "nobody", &format!("{id}  "), &format!("{id} x ")] {
        server.command(&["HSET", total, "i", list]);
        let error = a.try_everyone().map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged, "{list:?}: {error}");
    }
    server.command(&["HSET", total, "i", ""]);
    a.sync();
    assert_eq!(a.total("requests", "/"), 5, "who is in no list enters it again");
}

#[test]
fn keys_of_someone_else_are_left_as_they_are() {
    let server = RedisServer::start(&[]);
    let mut a = connected(server.url(), Duration::from_secs(10));
    let key = "{tallyport:shared:0}:total";
    server.command(&["FLUSHALL"]);
    server.command(&["SET", key, "mine"]);
    a.add("requests", "/", 2);
    let snapshot = a.snapshot();
    let error = a.session.sync(&snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    assert_eq!(server.command(&["GET", key]), "$4\r\nmine\r\n");
    assert_eq!(server.command(&["DBSIZE"]), ":1\r\n", "something else was written");
    server.command(&["FLUSHALL"]);
    a.sync();
    assert_eq!(a.total("requests", "/"), 2);
}

#[test]
fn a_record_that_someone_else_wrote_over_is_left_as_it_is() {
    let server = RedisServer::start(&[]);
    let mut a = connected(server.url(), Duration::from_secs(10));
    let mut b = connected(server.url(), Duration::from_secs(10));
    for one in [&mut a, &mut b] {
        one.add("requests", "/", 5);
        one.sync();
    }
    let record = format!("{{tallyport:shared:0}}:i:{}", a.session.identity());
    assert_eq!(server.command(&["SET", &record, "mine"]), "+OK\r\n");
    a.add("requests", "/", 1);
    b.add("requests", "/", 1);
    for round in 1..=2 {
        let (last, theirs) = (a.snapshot(), b.snapshot());
        let errors = [
            a.session.sync(&last).unwrap_err(),
            a.session.aggregate(&last).map(drop).unwrap_err(),
            b.session.aggregate(&theirs).map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
            assert!(error.to_string().contains("WRONGTYPE"), "{error}");
        }
        // It is somebody else's: what it has itself is published all the same.
        let done = b.sync();
        assert_eq!((done.series, done.retirement.unreadable), (2 - round, 1));
        assert_eq!(server.command(&["GET", &record]), "$4\r\nmine\r\n");
    }
    // Once it is gone, that is a record that was lost.
    server.command(&["DEL", &record]);
    a.sync();
    b.sync();
    assert_eq!((a.total("requests", "/"), b.total("requests", "/")), (12, 12));
    assert_eq!((a.session.mishaps().lost, b.session.mishaps().lost), (1, 0));
}

#[test]
fn a_redis_without_memory_refuses_whole_steps() {
    let server = RedisServer::start(&[]);
    let mut a = connected(server.url(), Duration::from_secs(10));
    a.add("requests", "/", 5);
    a.sync();
    server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    a.add("requests", "/", 2);
    let snapshot = a.snapshot();
    let error = a.session.sync(&snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("OOM"), "{error}");
    let refused = RedisStore::connect(&settings(server.url(), Duration::from_secs(5)));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Limit, "the probe writes");
    assert_eq!(a.total("requests", "/"), 5, "reading goes on");
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    a.sync();
    assert_eq!(a.total("requests", "/"), 7);
}

#[test]
fn a_redis_without_its_replicas_refuses_whole_steps() {
    let server = RedisServer::start(&[]);
    let mut a = connected(server.url(), Duration::from_secs(10));
    a.add("requests", "/", 5);
    a.sync();
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    a.add("requests", "/", 2);
    let snapshot = a.snapshot();
    let error = a.session.sync(&snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("NOREPLICAS"), "{error}");
    let refused = RedisStore::connect(&settings(server.url(), Duration::from_secs(5)));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable, "the probe writes");
    assert_eq!(a.total("requests", "/"), 5, "reading goes on");
    server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]);
    a.sync();
    assert_eq!(a.total("requests", "/"), 7);
    assert_eq!(a.session.mishaps(), Default::default());
}

#[test]
fn a_user_who_may_not_write_is_refused_at_connect() {
    let server = RedisServer::start(&[]);
    server.command(&["ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-hset"]);
    let url = format!("redis://reader:secret@127.0.0.1:{}/", server.port());
    let error = RedisStore::connect(&settings(url, Duration::from_secs(5))).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Config, "{text}");
    assert!(text.contains("can't run this command"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    let url = format!("redis://reader:wrong@127.0.0.1:{}/", server.port());
    let error = RedisStore::connect(&settings(url, Duration::from_secs(5))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[test]
fn a_user_who_may_no_longer_write_is_told_and_goes_on_when_it_may() {
    let server = RedisServer::start(&[]);
    let may = |rules: &[&str]| {
        let user = ["ACL", "SETUSER", "writer", "on", ">secret", "~*"];
        assert_eq!(server.command(&[&user, rules].concat()), "+OK\r\n");
    };
    may(&["+@all"]);
    let url = format!("redis://writer:secret@127.0.0.1:{}/", server.port());
    let mut a = connected(url, Duration::from_secs(10));
    let mut observer = connected(server.url(), Duration::from_secs(10));
    let mut recorded = 5;
    a.add("requests", "/", 5);
    a.sync();
    // All that writes; one command of a script; scripts; the keys.
    for taken in [&["-@write"][..], &["-hset"], &["-evalsha"], &["resetkeys", "~other"]] {
        may(taken);
        let before = recorded;
        for _ in 0..2 {
            a.add("requests", "/", 1);
            recorded += 1;
            let snapshot = a.snapshot();
            let error = a.session.sync(&snapshot).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.kind(), ErrorKind::Config, "{taken:?}: {text}");
            assert!(text.contains("the user needs"), "{taken:?}: {text}");
            assert!(!text.contains("secret"), "{taken:?}: {text}");
            assert_eq!(observer.total("requests", "/"), before, "{taken:?}");
        }
        may(&["resetkeys", "~*", "+@all"]);
        a.sync();
        assert_eq!(observer.total("requests", "/"), recorded, "{taken:?}");
    }
    assert_eq!(a.session.mishaps(), Default::default());
}

#[test]
fn a_stopped_redis_costs_the_deadline_and_no_count() {
    let server = RedisServer::start(&[]);
    let mut a = connected(server.url(), Duration::from_millis(500));
    a.add("requests", "/", 5);
    a.sync();
    let process = Pid::from_raw(server.process().cast_signed()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    for _ in 0..3 {
        a.add("requests", "/", 1);
        let (start, snapshot) = (Instant::now(), a.snapshot());
        let error = a.session.sync(&snapshot).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(5), "{took:?}");
    }
    kill_process(process, Signal::CONT).unwrap();
    // What was sent before arrives now, late; what is sent again changes nothing.
    let start = Instant::now();
    loop {
        let snapshot = a.snapshot();
        match a.session.sync(&snapshot) {
            Ok(_) => break,
            Err(error) => assert!(start.elapsed() < Duration::from_secs(20), "{error}"),
        }
    }
    assert_eq!(a.total("requests", "/"), 8);
}

#[test]
fn a_connection_that_is_cut_at_every_byte_loses_and_doubles_nothing() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(server.port());
    let mut a = connected(proxy.url(), Duration::from_secs(5));
    let mut observer = connected(server.url(), Duration::from_secs(5));
    a.add("requests", "/", 1);
    a.sync();
    let (mut recorded, mut failed) = (1, 0);
    for half_closed in [false, true] {
        proxy.half_close(half_closed);
        for to_server in [true, false] {
            let whole = {
                proxy.allow(u64::MAX, u64::MAX);
                let before = proxy.passed(to_server);
                a.add("requests", "/", 1);
                recorded += 1;
                a.sync();
                proxy.passed(to_server) - before
            };
            assert!(whole > 100, "{whole}");
            for bytes in (0..whole + 20).step_by(if half_closed { 5 } else { 1 }) {
                let (up, down) = if to_server { (bytes, u64::MAX) } else { (u64::MAX, bytes) };
                proxy.allow(up, down);
                a.add("requests", "/", 1);
                recorded += 1;
                let snapshot = a.snapshot();
                failed += u64::from(a.session.sync(&snapshot).is_err());
                if bytes % 16 == 0 {
                    let seen = observer.total("requests", "/");
                    assert!(seen <= recorded, "doubled at {bytes}: {seen} of {recorded}");
                }
                proxy.allow(u64::MAX, u64::MAX);
                a.sync();
                if bytes % 16 == 0 {
                    assert_eq!(observer.total("requests", "/"), recorded, "cut at {bytes}");
                }
            }
        }
    }
    assert!(failed > 500, "only {failed} syncs were cut");
    assert_eq!(observer.total("requests", "/"), recorded);
    assert_eq!(a.session.mishaps(), Default::default());
}

fn over_a_proxy(act: impl FnOnce(&Place<'_>)) {
    let server = RedisServer::start(&[]);
    let connect = |address: &str, namespace: &str| -> Box<dyn Store> {
        let settings = settings(redis_url(address), Duration::from_secs(5));
        let settings = RedisSettings { namespace: namespace.into(), ..settings };
        Box::new(RedisStore::connect(&settings).unwrap())
    };
    let address = format!("127.0.0.1:{}", server.port());
    act(&Place { proxy: &Proxy::start(server.port()), address, connect: &connect });
}

#[test]
fn a_first_sync_that_is_cut_at_many_bytes_loses_and_doubles_nothing() {
    over_a_proxy(|place| cuts::a_first_sync_that_is_cut_is_exact(place, 11));
}

#[test]
fn a_withdrawal_that_is_cut_at_many_bytes_loses_and_doubles_nothing() {
    over_a_proxy(|place| cuts::a_withdrawal_that_is_cut_and_repeated_is_exact(place, 37));
}

#[test]
fn an_aggregate_that_is_cut_at_many_bytes_loses_and_doubles_nothing() {
    over_a_proxy(|place| cuts::an_aggregate_that_is_cut_is_exact(place, 41));
}

#[test]
fn a_sync_that_is_answered_with_garbage_loses_and_doubles_nothing() {
    let replies: [&[u8]; 6] = [
        b"+OK\r\n",
        b":1\r\n",
        b"$-1\r\n",
        b"*0\r\n",
        b"*3\r\n$1\r\n1\r\n$1\r\n0\r\n$1\r\n0\r\n",
        b"-ERR unknown command\r\n",
    ];
    over_a_proxy(|place| {
        cuts::a_sync_that_is_answered_with_garbage_is_exact(place, &replies, &[], 17)
    });
}

#[test]
fn an_aggregate_that_is_answered_with_garbage_is_exact_or_told() {
    // Not what says that there is nothing: who is told so believes it.
    let replies: [&[u8]; 4] = [
        b"+OK\r\n",
        b":1\r\n",
        b"*3\r\n$1\r\n1\r\n$1\r\n0\r\n$1\r\n0\r\n",
        b"-ERR unknown command\r\n",
    ];
    over_a_proxy(|place| {
        cuts::an_aggregate_that_is_answered_with_garbage_is_exact_or_told(place, &replies, 29);
    });
}

#[test]
fn a_slow_redis_is_waited_for_until_the_deadline() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(server.port());
    let mut a = connected(proxy.url(), Duration::from_millis(800));
    proxy.delay(Duration::from_millis(10));
    a.add("requests", "/", 5);
    a.sync();
    proxy.delay(Duration::from_millis(900));
    a.add("requests", "/", 1);
    let (start, snapshot) = (Instant::now(), a.snapshot());
    assert_eq!(a.session.sync(&snapshot).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    proxy.delay(Duration::ZERO);
    a.sync();
    assert_eq!(a.total("requests", "/"), 6);
}

#[test]
fn a_slow_redis_is_waited_for_no_longer_than_the_sync_may_take() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(server.port());
    let mut a = connected(proxy.url(), Duration::from_secs(60));
    a.add("requests", "/", 5);
    a.sync();
    // There and back: ten seconds for each exchange.
    proxy.delay(Duration::from_secs(5));
    a.add("requests", "/", 1);
    let (start, snapshot) = (Instant::now(), a.snapshot());
    a.session.end_by(Some(start + Duration::from_millis(300)));
    let error = a.session.sync(&snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    proxy.delay(Duration::ZERO);
    a.session.end_by(None);
    a.sync();
    assert_eq!(a.total("requests", "/"), 6);
}

#[test]
fn a_socket_that_takes_no_connection_costs_the_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sock");
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&socket, 0).unwrap();
    // One waits to be taken, and there is room for no other.
    let _waiting = UnixStream::connect(&path).unwrap();
    let deadline = Duration::from_millis(400);
    let path = path.to_str().unwrap();
    let redis = || RedisStore::connect(&settings(format!("redis+unix://{path}"), deadline)).err();
    let memcached = || Memcached::connect(path, deadline).err();
    for connect in [&redis as &dyn Fn() -> Option<Error>, &memcached] {
        let start = Instant::now();
        let error = connect().unwrap();
        let took = start.elapsed();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        assert!(error.to_string().contains("the deadline passed"), "{error}");
        assert!(took >= deadline - Duration::from_millis(20), "{took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

fn redis_url(address: &str) -> String {
    format!("redis://{address}/")
}

/// A server that reads a request and answers with these bytes, `each` at a time.
pub(crate) fn nonsense(reply: Vec<u8>, pause: Duration) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request = [0; 1024];
            let _ = socket.read(&mut request);
            if pause.is_zero() {
                let _ = socket.write_all(&reply);
                continue;
            }
            for byte in &reply {
                // The pause is what is tested: a server that sends a byte at a time.
                thread::sleep(pause);
                if socket.write_all(&[*byte]).is_err() {
                    break;
                }
            }
        }
    });
    format!("127.0.0.1:{port}")
}

#[test]
fn nonsense_from_a_server_is_an_error() {
    let replies: [&[u8]; 9] = [
        b"",
        b"hello, this is no Redis\r\n",
        b"*1000000000\r\n",
        b"$9000000000000000000\r\n",
        b"$-9\r\n",
        b"*-9\r\n",
        b":99999999999999999999999999\r\n:1\r\n",
        b"+OK\r\n$3\r\nabc\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ];
    for reply in replies {
        let address = nonsense(reply.to_vec(), Duration::ZERO);
        let error = RedisStore::connect(&settings(redis_url(&address), Duration::from_secs(2)));
        let error = error.unwrap_err();
        let text = String::from_utf8_lossy(reply).into_owned();
        assert!(
            [ErrorKind::Io, ErrorKind::Conflict, ErrorKind::Timeout].contains(&error.kind()),
            "{text:?}: {error:?}"
        );
    }
    let mut deep = b"*1\r\n".repeat(100_000);
    deep.extend_from_slice(b":1\r\n");
    let address = nonsense(deep, Duration::ZERO);
    assert!(RedisStore::connect(&settings(redis_url(&address), Duration::from_secs(2))).is_err());
}

#[test]
fn a_server_that_sends_a_byte_at_a_time_does_not_outlast_the_deadline() {
    let address = nonsense(vec![b'+'; 100_000], Duration::from_millis(20));
    let start = Instant::now();
    let settings = settings(redis_url(&address), Duration::from_millis(400));
    let error = RedisStore::connect(&settings).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn what_is_no_url_or_namespace_is_named_and_no_secret_shown() {
    let bad = |url: &str, namespace: &str| {
        let namespace = namespace.into();
        let settings = settings(url.into(), Duration::from_secs(1));
        RedisStore::connect(&RedisSettings { namespace, ..settings }).unwrap_err()
    };
    let error = bad("redis//user:secret@host", "n");
    assert_eq!((error.kind(), error.field()), (ErrorKind::InvalidArgument, Some("url")));
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(bad("rediss://user:secret@host", "n").field(), Some("url"));
    for namespace in ["", "a b", "a}b", &"n".repeat(129)] {
        let error = bad("redis://127.0.0.1:1", namespace);
        assert_eq!(error.field(), Some("namespace"), "{namespace:?}");
    }
}

#[test]
fn a_redis_that_evicts_is_found_out_and_healed() {
    let server = RedisServer::start(&["--maxmemory-policy", "allkeys-lru"]);
    let mut a = connected(server.url(), Duration::from_secs(10));
    for number in 0..500 {
        a.add("requests", &format!("/{number}"), 1);
    }
    a.sync();
    let sum = |one: &mut Instance| -> u64 {
        crate::instances::values(&one.everyone().snapshot)
            .values()
            .map(|value| value.parse::<u64>().unwrap())
            .sum()
    };
    assert_eq!(sum(&mut a), 500);
    // As much as it has now, and others want more.
    let info = server.command(&["INFO", "memory"]);
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).unwrap().trim();
    let most = used.parse::<u64>().unwrap() + (1 << 20);
    server.command(&["CONFIG", "SET", "maxmemory", &most.to_string()]);
    let (start, mut number) = (Instant::now(), 0);
    let told = |one: &Instance| one.session.mishaps().lost + one.session.mishaps().resets;
    while told(&a) == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing of it was evicted");
        for _ in 0..200 {
            number += 1;
            server.command(&["SET", &format!("other:{number}"), &"x".repeat(3000)]);
        }
        let snapshot = a.snapshot();
        // It may be evicted under the very sync.
        let _ = a.session.sync(&snapshot);
        let snapshot = a.snapshot();
        if let Ok((overview, _)) = a.session.aggregate(&snapshot) {
            let all = crate::instances::values(&overview.snapshot);
            let now: u64 = all.values().map(|value| value.parse::<u64>().unwrap()).sum();
            assert!(now <= 500, "doubled: {now}");
        }
    }
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    server.command(&["FLUSHALL"]);
    a.sync();
    assert_eq!(sum(&mut a), 500);
}
