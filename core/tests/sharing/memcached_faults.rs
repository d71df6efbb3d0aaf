//! A memcached that forgets, refuses, stops or answers nonsense.

use std::{
    fs,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tallyport_core::{
    model::{Error, ErrorKind},
    store::{KeyValue, Lease, Memcached},
    sync::Settings,
};

use crate::{
    cuts::{self, Place},
    instances::{Instance, named, values},
    items::{memcached, memcached_at, store_in},
    proxy::Proxy,
    redis_faults::nonsense,
    testing::MemcachedServer,
};

fn at(server: &MemcachedServer) -> Instance {
    Instance::new(memcached(server), named("a"))
}

fn statistic(server: &MemcachedServer, name: &str) -> u64 {
    let mut client = Memcached::connect(&server.address(), Duration::from_secs(10)).unwrap();
    let all = client.statistics().unwrap();
    let found = all.iter().find(|(known, _)| known == name);
    found.unwrap().1.parse().unwrap()
}

#[test]
fn what_a_memcached_lost_is_sent_again_and_counted() {
    let server = MemcachedServer::start(&[]);
    let (mut a, mut b) = (at(&server), at(&server));
    for instance in [&mut a, &mut b] {
        instance.add("requests", "/", 5);
        instance.sync();
    }
    assert_eq!(a.total("requests", "/"), 10);
    server.command("flush_all");
    a.add("requests", "/", 1);
    a.sync();
    assert_eq!(a.total("requests", "/"), 6, "b has not synced yet");
    b.sync();
    assert_eq!(a.total("requests", "/"), 11);
    assert_eq!((a.session.mishaps().resets, b.session.mishaps().resets), (1, 1));
    let record = format!("tallyport:shared:i:{}", a.session.identity());
    assert_eq!(server.command(&format!("delete {record}")), "DELETED\r\n");
    a.sync();
    assert_eq!(a.total("requests", "/"), 11);
    assert_eq!(a.session.mishaps().lost, 1);
    // Restarted empty.
    let port = server.port();
    drop(server);
    a.add("requests", "/", 2);
    let snapshot = a.snapshot();
    assert_eq!(a.session.sync(&snapshot).unwrap_err().kind(), ErrorKind::Io);
    let _server = MemcachedServer::start_at(port, &[]);
    a.sync();
    // Its connection went, which costs nothing.
    b.sync();
    assert_eq!(b.total("requests", "/"), 13);
    assert_eq!((a.session.mishaps().resets, b.session.mishaps().resets), (2, 2));
}

#[test]
fn series_beyond_the_largest_item_are_in_several() {
    let server = MemcachedServer::start(&[]);
    let (mut a, mut b) = (at(&server), at(&server));
    // Six MiB of texts.
    for number in 0..12_000 {
        a.add("requests", &format!("{}{number}", "x".repeat(500)), 1);
    }
    a.sync();
    assert_eq!(values(&b.everyone().snapshot).len(), 12_000);
    let last = a.snapshot();
    assert_eq!(a.session.withdraw(&last).unwrap().retirement.folded, 1);
    assert_eq!(values(&b.everyone().snapshot).len(), 12_000);
    // One that is too large by itself is refused by name of the limit, and nothing is lost.
    b.add("requests", &"y".repeat(1 << 20), 1);
    let snapshot = b.snapshot();
    let error = b.session.sync(&snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    // The server itself says so too.
    let mut client = Memcached::connect(&server.address(), Duration::from_secs(10)).unwrap();
    client.begin();
    let error = client.set("large", &vec![7; 2 << 20], Duration::from_secs(9)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("too large"), "{error}");
    assert!(client.add("small", b"1", Duration::from_secs(9)).unwrap());
}

/// As a host does that finds others at it each time, and does not even wait: again.
fn until_it_goes(mut act: impl FnMut() -> Result<(), Error>) {
    loop {
        match act() {
            Ok(()) => return,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
                assert!(error.to_string().contains("changed under"), "{error}");
            }
        }
    }
}

#[test]
fn sixty_four_writers_at_once_lose_and_double_nothing() {
    const WRITERS: usize = 64;
    let server = MemcachedServer::start(&["-c", "512"]);
    let (start, acknowledged) = (Arc::new(Barrier::new(WRITERS)), Arc::new(AtomicU64::new(0)));
    let address = server.address();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (start, acknowledged) = (Arc::clone(&start), Arc::clone(&acknowledged));
            let address = address.clone();
            thread::spawn(move || {
                // However slow the machine is: who goes last has waited for all.
                let store = memcached_at(&address, Duration::from_secs(600));
                let mut one = Instance::new(store, named(&format!("w{writer}")));
                start.wait();
                // All register at once, and each leaves three times: a storm on the one ledger.
                for _ in 0..3 {
                    one.add("requests", "/", 1);
                    until_it_goes(|| {
                        let snapshot = one.snapshot();
                        one.session.sync(&snapshot).map(drop)
                    });
                    acknowledged.fetch_add(1, SeqCst);
                    until_it_goes(|| {
                        let last = one.snapshot();
                        one.session.withdraw(&last).map(drop)
                    });
                }
                one.session.mishaps()
            })
        })
        .collect();
    let (mut observer, mut seen, began) = (at(&server), 0, Instant::now());
    // Until all are done, or one failed: then `join` says why.
    while !writers.iter().all(|writer| writer.is_finished()) {
        assert!(began.elapsed() < Duration::from_secs(900), "the writers wait for one another");
        let least = acknowledged.load(SeqCst);
        let now = observer.total("requests", "/");
        assert!(now >= least && now >= seen, "{now} of {least}, after {seen}");
        seen = now;
    }
    for writer in writers {
        let mishaps = writer.join().unwrap();
        assert_eq!((mishaps.lost, mishaps.resets, mishaps.ambiguous), (0, 0, 0));
    }
    assert_eq!(observer.total("requests", "/"), 3 * WRITERS as u64);
    assert_eq!(statistic(&server, "evictions"), 0);
}

#[test]
fn evictions_are_found_out_reported_and_healed() {
    // The least memory that it takes, in items that fill it.
    let server = MemcachedServer::start(&["-m", "8", "-o", "no_modern"]);
    let mut a = at(&server);
    let mut b = at(&server);
    for number in 0..2000 {
        a.add("requests", &format!("{}{number}", "x".repeat(300)), 1);
        b.add("requests", &format!("{}{number}", "x".repeat(300)), 1);
    }
    a.sync();
    b.sync();
    let mut other = Memcached::connect(&server.address(), Duration::from_secs(10)).unwrap();
    let whole = 4000;
    let mut told = 0;
    let sum = |one: &mut Instance| {
        let snapshot = one.snapshot();
        let overview = one.session.aggregate(&snapshot).map(|(overview, _)| overview);
        let all = overview.map(|overview| values(&overview.snapshot));
        all.map(|all| all.values().map(|value| value.parse::<u64>().unwrap()).sum::<u64>())
    };
    let (start, mut round) = (Instant::now(), 0);
    while told == 0 {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing of it was evicted");
        for number in 0..200 {
            other.begin();
            round += 1;
            // Of all sizes: memcached evicts among those of about one size.
            let size = (round * 7919) % 260_000 + 50;
            let key = format!("other:{round}:{number}");
            other.set(&key, &vec![1; size], Duration::from_secs(60)).unwrap();
        }
        for one in [&mut a, &mut b] {
            let snapshot = one.snapshot();
            // It may be evicted under the very sync.
            let _ = one.session.sync(&snapshot);
            if let Ok(sum) = sum(one) {
                assert!(sum <= whole, "doubled: {sum}");
            }
        }
        told = [&a, &b].map(|one| one.session.mishaps()).iter().map(|m| m.lost + m.resets).sum();
    }
    assert!(statistic(&server, "evictions") > 0);
    // The others go: it is told again what it lost, and all is there.
    server.command("flush_all");
    let start = Instant::now();
    loop {
        for one in [&mut a, &mut b] {
            let snapshot = one.snapshot();
            let _ = one.session.sync(&snapshot);
        }
        if sum(&mut b).is_ok_and(|sum| sum == whole) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "it is not healed");
    }
}

#[test]
fn a_full_memcached_that_does_not_evict_is_an_error_and_loses_nothing() {
    let server = MemcachedServer::start(&["-m", "8", "-M"]);
    let mut a = at(&server);
    a.add("requests", "/", 5);
    a.sync();
    let mut other = Memcached::connect(&server.address(), Duration::from_secs(10)).unwrap();
    let mut number = 0;
    let error = loop {
        other.begin();
        number += 1;
        let set = other.set(&format!("other:{number}"), &vec![1; 300_000], Duration::from_secs(60));
        if let Err(error) = set {
            break error;
        }
        assert!(number < 1000, "it is never full");
    };
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    for number in 0..5000 {
        a.add("requests", &format!("{}{number}", "x".repeat(300)), 1);
    }
    let snapshot = a.snapshot();
    let error = a.session.sync(&snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert_eq!(a.total("requests", "/"), 5);
    // With more memory it is told everything.
    let port = server.port();
    drop(server);
    let _server = MemcachedServer::start_at(port, &[]);
    a.sync();
    assert_eq!(values(&a.everyone().snapshot).len(), 5001);
}

#[test]
fn a_stopped_memcached_costs_the_deadline_and_no_count() {
    let server = MemcachedServer::start(&[]);
    let store = memcached_at(&server.address(), Duration::from_millis(500));
    let mut a = Instance::new(store, named("a"));
    a.add("requests", "/", 5);
    a.sync();
    let process = Pid::from_raw(server.process().cast_signed()).unwrap();
    kill_process(process, Signal::STOP).unwrap();
    // Its threads stop one after the other.
    let is_stopped = |stat: String| stat.rsplit(") ").next().unwrap().starts_with('T');
    while !fs::read_dir(format!("/proc/{}/task", server.process())).unwrap().all(|task| {
        let stat = task.unwrap().path().join("stat");
        is_stopped(fs::read_to_string(stat).unwrap())
    }) {
        thread::yield_now();
    }
    for _ in 0..3 {
        a.add("requests", "/", 1);
        let (start, snapshot) = (Instant::now(), a.snapshot());
        let error = a.session.sync(&snapshot).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(450) && took < Duration::from_secs(5), "{took:?}");
    }
    kill_process(process, Signal::CONT).unwrap();
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
fn a_memcached_connection_that_is_cut_at_every_byte_loses_and_doubles_nothing() {
    let server = MemcachedServer::start(&[]);
    let proxy = Proxy::start(server.port());
    let alive = Lease { alive: Duration::from_secs(3600), data: Duration::from_secs(86_400) };
    let settings = Settings { lease: alive, ..named("a") };
    let deadline = Duration::from_secs(5);
    let mut a = Instance::new(memcached_at(&proxy.address(), deadline), settings);
    let mut observer = at(&server);
    a.add("requests", "/", 1);
    a.sync();
    let (mut recorded, mut failed, mut offsets) = (1, 0, 0);
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
            assert!(whole > 300, "{whole}");
            let step = if half_closed { 5 } else { 1 };
            for bytes in (0..whole + 20).step_by(step) {
                let (up, down) = if to_server { (bytes, u64::MAX) } else { (u64::MAX, bytes) };
                proxy.allow(up, down);
                a.add("requests", "/", 1);
                recorded += 1;
                let snapshot = a.snapshot();
                failed += u64::from(a.session.sync(&snapshot).is_err());
                offsets += 1;
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
    assert!(failed * 2 > offsets, "only {failed} of {offsets} syncs were cut");
    assert_eq!(observer.total("requests", "/"), recorded);
    let mishaps = a.session.mishaps();
    assert_eq!((mishaps.lost, mishaps.resets, mishaps.ambiguous), (0, 0, 0));
}

fn over_a_proxy(act: impl FnOnce(&Place<'_>)) {
    let server = MemcachedServer::start(&[]);
    let connect = |address: &str, namespace: &str| {
        store_in(Memcached::connect(address, Duration::from_secs(5)).unwrap(), namespace, None)
    };
    let proxy = Proxy::start(server.port());
    act(&Place { proxy: &proxy, address: server.address(), connect: &connect });
}

#[test]
fn a_first_memcached_sync_that_is_cut_at_many_bytes_loses_and_doubles_nothing() {
    over_a_proxy(|place| cuts::a_first_sync_that_is_cut_is_exact(place, 23));
}

#[test]
fn a_memcached_withdrawal_that_is_cut_at_many_bytes_loses_and_doubles_nothing() {
    over_a_proxy(|place| cuts::a_withdrawal_that_is_cut_and_repeated_is_exact(place, 37));
}

#[test]
fn a_memcached_aggregate_that_is_cut_at_many_bytes_loses_and_doubles_nothing() {
    over_a_proxy(|place| cuts::an_aggregate_that_is_cut_is_exact(place, 37));
}

#[test]
fn a_memcached_sync_that_is_answered_with_garbage_loses_and_doubles_nothing() {
    let replies: [&[u8]; 3] =
        [b"STORED\r\n", b"VALUE mine 0 1 1\r\nx\r\nEND\r\n", b"SERVER_ERROR busy\r\n"];
    let lies: [&[u8]; 2] = [b"EXISTS\r\n", b"NOT_FOUND\r\n"];
    over_a_proxy(|place| {
        cuts::a_sync_that_is_answered_with_garbage_is_exact(place, &replies, &lies, 13)
    });
}

#[test]
fn a_memcached_aggregate_that_is_answered_with_garbage_is_exact_or_told() {
    let replies: [&[u8]; 4] = [
        b"STORED\r\n",
        b"EXISTS\r\n",
        b"VALUE mine 0 1 1\r\nx\r\nEND\r\n",
        b"SERVER_ERROR busy\r\n",
    ];
    over_a_proxy(|place| {
        cuts::an_aggregate_that_is_answered_with_garbage_is_exact_or_told(place, &replies, 41);
    });
}

#[test]
fn a_slow_memcached_is_waited_for_until_the_deadline() {
    let server = MemcachedServer::start(&[]);
    let proxy = Proxy::start(server.port());
    let mut a =
        Instance::new(memcached_at(&proxy.address(), Duration::from_millis(800)), named("a"));
    proxy.delay(Duration::from_millis(10));
    a.add("requests", "/", 5);
    a.sync();
    proxy.delay(Duration::from_millis(300));
    a.add("requests", "/", 1);
    let (start, snapshot) = (Instant::now(), a.snapshot());
    assert_eq!(a.session.sync(&snapshot).unwrap_err().kind(), ErrorKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    proxy.delay(Duration::ZERO);
    a.sync();
    assert_eq!(a.total("requests", "/"), 6);
}

#[test]
fn a_slow_memcached_is_waited_for_no_longer_than_the_sync_may_take() {
    let server = MemcachedServer::start(&[]);
    let proxy = Proxy::start(server.port());
    let deadline = Duration::from_secs(60);
    let mut a = Instance::new(memcached_at(&proxy.address(), deadline), named("a"));
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
fn nonsense_from_a_memcached_is_an_error() {
    let replies: [&[u8]; 7] = [
        b"",
        b"hello, this is no memcached\r\n",
        b"-ERR unknown command\r\n",
        b"STAT item_size_max 99999999999999999999\r\n",
        b"ERROR\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"VALUE a 0 99999999999999 1\r\n",
    ];
    for reply in replies {
        let address = nonsense(reply.to_vec(), Duration::ZERO);
        let error = Memcached::connect(&address, Duration::from_secs(2)).unwrap_err();
        let kinds = [ErrorKind::Io, ErrorKind::Damaged, ErrorKind::Timeout];
        let text = String::from_utf8_lossy(reply).into_owned();
        assert!(kinds.contains(&error.kind()), "{text:?}: {error:?}");
        assert!(error.to_string().contains(&address), "{error}");
    }
    let address = nonsense(vec![b'S'; 100_000], Duration::from_millis(20));
    let start = Instant::now();
    let error = Memcached::connect(&address, Duration::from_millis(400)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn items_of_someone_else_are_left_as_they_are() {
    let server = MemcachedServer::start(&[]);
    let mut a = at(&server);
    assert_eq!(server.command("set tallyport:shared:ledger 0 0 4\r\nmine"), "STORED\r\n");
    a.add("requests", "/", 1);
    let snapshot = a.snapshot();
    let error = a.session.sync(&snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    assert!(error.to_string().contains("tallyport:shared:ledger"), "{error}");
    assert!(server.command("get tallyport:shared:ledger").contains("\r\nmine\r\n"));
    server.command("delete tallyport:shared:ledger");
    a.sync();
    assert_eq!(a.total("requests", "/"), 1);
}
