//! How targets stand, over real stores: who has the lease, what the last run did, when the next one is.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tallyport_core::{
    engine::{Engine, TargetStanding},
    export::Fencing,
};

use crate::{
    add, engine, export,
    testing::{MemcachedServer, RedisServer},
};

const TARGETS: &str = "[targets.file]\nexporter = 'prometheus'\npath = 'out.prom'\n\
                       interval_ms = 600000\n\
                       [targets.own]\nexporter = 'csv'\npath = 'own.csv'\ndata = 'own'\n\
                       [targets.push]\nexporter = 'csv'\ndestination = 'http'\nretries = 1\n\
                       [targets.push.http]\nurl = 'http://127.0.0.1:1/?token=geheim'\n";

fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

fn standing(engine: &Engine, name: &str) -> TargetStanding {
    let all = engine.target_standings().unwrap();
    all.into_iter().find(|one| one.status.name == name).unwrap()
}

#[test]
fn every_store_says_who_exports_and_what_the_last_run_did() {
    let (redis, memcached) = (RedisServer::start(&[]), MemcachedServer::start(&[]));
    for (kind, store, fenced) in [
        ("sqlite", "kind = 'sqlite'\npath = 'store.db'".to_owned(), Fencing::Fenced),
        ("redis", format!("kind = 'redis'\nurl = '{}'", redis.url()), Fencing::Fenced),
        (
            "memcached",
            format!("kind = 'memcached'\naddress = '{}'", memcached.address()),
            Fencing::Advisory,
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let toml = format!("[store]\n{store}\n[sync]\ninstance = 'NAME'\n{TARGETS}");
        let named = |name: &str| engine(&toml.replace("NAME", name), folder.path());
        let (a, b) = (named("web-1"), named("web-2"));
        // Nothing was exported yet.
        let fresh = standing(&b, "file");
        assert_eq!(fresh.status.fencing, fenced, "{kind}");
        assert_eq!((fresh.lease.unwrap().token, fresh.last_run), (None, None), "{kind}");

        // By a call: the lease is given back, and no schedule comes.
        add(&a, 5);
        let before = now_ns();
        let run = export(&a, "file");
        let seen = standing(&b, "file");
        let lease = seen.lease.unwrap();
        assert_eq!((lease.token, lease.holder), (run.token, None), "{kind}");
        let last = seen.last_run.unwrap();
        assert_eq!((last.by.as_str(), last.ending.as_str()), ("web-1", "delivered"), "{kind}");
        assert_eq!((last.series, last.bytes, last.attempt), (run.series, run.bytes, 1), "{kind}");
        assert_eq!(last.token, run.token.map(|token| token.0), "{kind}");
        assert_eq!((&last.export_id, last.next_run_ns), (&run.export_id, None), "{kind}");
        assert!((before..=now_ns()).contains(&last.ended_ns), "{kind}: {last:?}");

        // A failure says why, without what may be secret, and keeps the other target's run.
        let failed = export(&b, "push");
        let seen = standing(&a, "push");
        assert_eq!(seen.status.fencing, Fencing::Advisory, "{kind}");
        assert_eq!(seen.status.place.as_deref(), Some("http://127.0.0.1:1/"), "{kind}");
        let last = seen.last_run.unwrap();
        assert_eq!((last.by.as_str(), last.ending.as_str()), ("web-2", "failed"), "{kind}");
        assert_eq!((last.retryable, &last.export_id), (Some(true), &failed.export_id), "{kind}");
        let error = last.error.unwrap();
        assert!(error.contains("127.0.0.1:1") && !error.contains("geheim"), "{kind}: {error}");
        assert_eq!(standing(&a, "file").last_run.unwrap().by, "web-1", "{kind}");

        // What one process exports for itself has no lease.
        export(&a, "own");
        let own = standing(&a, "own");
        assert_eq!((own.status.fencing, own.lease, own.last_run), (Fencing::Absent, None, None));
    }
}

#[test]
fn a_schedule_says_when_it_comes_next_and_keeps_the_lease_until_then() {
    let redis = RedisServer::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let toml = format!(
        "[store]\nkind = 'redis'\nurl = '{}'\n[sync]\ninstance = 'web-1'\n[targets.file]\n\
         exporter = 'prometheus'\npath = 'out.prom'\ninterval_ms = 30000\nstrategy = 'scheduled'\n",
        redis.url()
    );
    let first = toml.replace("interval_ms = 30000", "interval_ms = 500");
    let (a, b) = (engine(&first, folder.path()), engine(&toml, folder.path()));
    a.start_schedule().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    let seen = loop {
        let seen = standing(&b, "file");
        let has = seen.lease.as_ref().is_some_and(|lease| lease.holder.is_some());
        if has && seen.last_run.is_some() {
            break seen;
        }
        assert!(Instant::now() < until, "no export: {seen:?}");
    };
    let (holder, left) = seen.lease.unwrap().holder.unwrap();
    assert_eq!(holder, "web-1");
    assert!(left <= Duration::from_secs(60), "{left:?}");
    let last = seen.last_run.unwrap();
    let next = last.next_run_ns.unwrap();
    // At once where the run took longer than the interval.
    assert!(next >= last.ended_ns && next <= last.ended_ns + 500_000_000, "{last:?}");
    // It ends: the lease is free for others, and nobody comes next.
    a.stop_schedule(Duration::from_secs(60)).unwrap();
    let seen = standing(&b, "file");
    assert_eq!(seen.lease.unwrap().holder, None);
    assert_eq!(seen.last_run.unwrap().next_run_ns, None);
}

#[test]
fn what_nobody_shares_is_not_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let one = engine(TARGETS, folder.path());
    let all = one.target_standings().unwrap();
    assert_eq!(all.len(), 3);
    for standing in all {
        assert_eq!(standing.status.fencing, Fencing::Absent, "{standing:?}");
        assert!(standing.lease.is_none() && standing.last_run.is_none(), "{standing:?}");
    }
    // A store that is away is an error, and a note that is none is damaged.
    let away = format!("[store]\nkind = 'redis'\nurl = 'redis://127.0.0.1:1/'\n{TARGETS}");
    assert!(engine(&away, folder.path()).target_standings().is_err());
    let redis = RedisServer::start(&[]);
    let toml = format!("[store]\nkind = 'redis'\nurl = '{}'\n{TARGETS}", redis.url());
    let one = engine(&toml, folder.path());
    export(&one, "file");
    let key = "{tallyport:default:0}lease:export:file";
    let keys = redis.command(&["KEYS", "*lease:export:file"]);
    let key = keys.lines().nth(2).map_or(key, str::trim);
    redis.command(&["HSET", key, "m", "no note"]);
    let error = one.target_standings().unwrap_err();
    assert!(error.to_string().contains("export:file"), "{error}");
}
