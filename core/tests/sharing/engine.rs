//! Sharing as an engine does it: by configuration, in the background, with a store that is away.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tallyport_core::{
    engine::{Engine, Strategy, config::Config},
    event::Listen,
    model::{Clock, ErrorKind},
    snapshot,
};

use crate::{
    instances::values,
    proxy::Proxy,
    testing::{RedisServer, free_port},
};

fn engine(toml: &str, folder: &Path) -> Engine {
    let config = Config::parse(toml, "test", folder).unwrap();
    Engine::builder().config(config).build().unwrap()
}

fn add(engine: &Engine, amount: u64) {
    engine.metrics().counter("requests", &[("path", "/")]).unwrap().add(amount);
}

const SQLITE: &str = "schema = 1\n[store]\nkind = 'sqlite'\npath = 'store.db'\n";

#[test]
fn engines_of_one_configuration_share_their_totals() {
    let folder = tempfile::tempdir().unwrap();
    let a = engine(&format!("{SQLITE}[sync]\ninstance = 'a'"), folder.path());
    let b = engine(&format!("{SQLITE}[sync]\ninstance = 'b'"), folder.path());
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let hear = move |event: &tallyport_core::event::Event<'_>| {
        heard.lock().unwrap().push(event.to_json());
        Ok(())
    };
    let subscription = a.events().subscribe(Listen::to(&["cache.synced"]), hear).unwrap();
    add(&a, 3);
    add(&b, 4);
    a.sync().unwrap();
    let all = b.shared().unwrap();
    assert_eq!(all.instances, 2);
    assert_eq!(values(&all.snapshot)["requests{path=/}"], "7");
    assert_eq!(told.lock().unwrap().len(), 1);
    let payload = told.lock().unwrap()[0]["payload"].clone();
    assert_eq!(payload["store"], "sqlite");
    a.events().catalogue().get("cache.synced").unwrap().check(&payload).unwrap();
    drop(subscription);

    let status = a.sync_status();
    assert_eq!((status.store, status.strategy), ("sqlite", Strategy::DistributedAtomic));
    assert_eq!((status.syncs, status.failures, status.last_error), (1, 0, None));
    assert!(status.identity.is_some() && status.last_success_ns > 0);
    assert_eq!(values(&a.snapshot().unwrap())["tallyport_sync_total{}"], "1");

    assert_eq!(a.leave().unwrap().retirement.folded, 1);
    let all = b.read_shared().unwrap();
    assert_eq!((all.instances, &*values(&all.snapshot)["requests{path=/}"]), (1, "7"));
}

#[test]
fn a_permission_that_is_taken_away_is_counted_until_it_is_given_back() {
    let (server, folder) = (RedisServer::start(&[]), tempfile::tempdir().unwrap());
    let may = |rule| {
        let user = ["ACL", "SETUSER", "writer", "on", ">secret", "~*", rule];
        assert_eq!(server.command(&user), "+OK\r\n");
    };
    may("+@all");
    let toml = format!(
        "schema = 1\n[store]\nkind = 'redis'\nurl = 'redis://writer:secret@127.0.0.1:{}/'\n\
         [sync]\nbreaker_failures = 0",
        server.port()
    );
    let a = engine(&toml, folder.path());
    add(&a, 5);
    a.sync().unwrap();
    may("-@write");
    for _ in 0..2 {
        add(&a, 1);
        assert_eq!(a.sync().unwrap_err().kind(), ErrorKind::Config);
    }
    let status = a.sync_status();
    assert_eq!((status.syncs, status.failures), (1, 2));
    let told = status.last_error.unwrap().to_string();
    assert!(told.contains("the user needs") && !told.contains("secret"), "{told}");
    let failures = |a: &Engine| {
        let all = values(&a.snapshot().unwrap());
        let of = |(key, _): &(&String, &String)| key.starts_with("tallyport_sync_failures_total{");
        let all: Vec<_> = all.iter().filter(of).map(|(key, n)| format!("{key} {n}")).collect();
        all
    };
    let reason = ErrorKind::Config.name();
    assert_eq!(failures(&a), [format!("tallyport_sync_failures_total{{reason={reason}}} 2")]);
    may("+@all");
    assert_eq!(values(&a.shared().unwrap().snapshot)["requests{path=/}"], "7");
    assert_eq!((a.sync_status().failures, a.sync_status().mishaps), (2, Default::default()));
}

#[test]
fn a_slow_store_costs_no_more_than_the_time_of_a_sync() {
    let (server, folder) = (RedisServer::start(&[]), tempfile::tempdir().unwrap());
    let proxy = Proxy::start(server.port());
    let toml = format!(
        "schema = 1\n[store]\nkind = 'redis'\nurl = '{}'\nshards = 1\ndeadline_ms = 600000\n\
         [sync]\ndeadline_ms = 1500\nbreaker_failures = 0",
        proxy.url()
    );
    let one = engine(&toml, folder.path());
    add(&one, 3);
    // Each exchange takes 0.8 s, and connecting alone is several.
    let delay = Duration::from_millis(400);
    proxy.delay(delay);
    assert_eq!(one.sync().unwrap_err().kind(), ErrorKind::Timeout);
    proxy.delay(Duration::ZERO);
    one.sync().unwrap();
    proxy.delay(delay);
    assert_eq!(one.read_shared().unwrap_err().kind(), ErrorKind::Timeout);
    proxy.delay(Duration::ZERO);
    add(&one, 1);
    assert_eq!(values(&one.shared().unwrap().snapshot)["requests{path=/}"], "4");
}

#[test]
fn without_a_store_an_engine_has_its_own_totals() {
    let folder = tempfile::tempdir().unwrap();
    let one = engine("schema = 1", folder.path());
    add(&one, 3);
    assert_eq!(one.sync().unwrap(), Default::default());
    let own = one.shared().unwrap();
    assert_eq!((own.instances, &*values(&own.snapshot)["requests{path=/}"]), (1, "3"));
    assert_eq!(one.sync_status().strategy, Strategy::LocalOnly);
    assert_eq!(one.read_shared().unwrap_err().kind(), ErrorKind::Unsupported);
    let local = engine(&format!("{SQLITE}[sync]\nstrategy = 'local_only'"), folder.path());
    local.sync().unwrap();
    assert!(!folder.path().join("store.db").exists());
}

#[test]
fn a_file_store_keeps_a_snapshot_per_instance() {
    let folder = tempfile::tempdir().unwrap();
    let toml = "schema = 1\n[store]\nkind = 'file'\npath = '.'\n[sync]\ninstance = 'web/1'";
    let one = engine(toml, folder.path());
    add(&one, 3);
    one.sync().unwrap();
    let path = folder.path().join("web_1.tlysnap");
    assert_eq!(values(&snapshot::load(&path).unwrap())["requests{path=/}"], "3");
    one.leave().unwrap();
    one.leave().unwrap();
    assert!(!path.exists());
}

/// A clock that is moved by hand.
#[derive(Debug, Default)]
pub(crate) struct Hand(AtomicU64);

impl Hand {
    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, SeqCst);
    }
}

impl Clock for Hand {
    fn unix_ns(&self) -> u64 {
        self.0.load(SeqCst) + 1
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(SeqCst))
    }
}

#[test]
fn a_store_that_is_away_is_left_alone_and_then_tried_again() {
    let port = free_port();
    let toml = format!(
        "schema = 1\n[store]\nkind = 'redis'\nurl = 'redis://127.0.0.1:{port}/'\ndeadline_ms = 2000"
    );
    let clock = Arc::new(Hand::default());
    let config = Config::parse(&toml, "test", Path::new("")).unwrap();
    let one = Engine::builder().config(config).clock(Arc::clone(&clock) as _).build().unwrap();
    add(&one, 5);
    let kinds: Vec<_> = (0..5).map(|_| one.sync().unwrap_err().kind()).collect();
    use ErrorKind::{Io, Unavailable};
    assert_eq!(kinds, [Io, Io, Io, Unavailable, Unavailable]);
    let status = one.sync_status();
    assert_eq!((status.failures, status.failures_in_a_row), (3, 3));
    assert!(status.last_error.unwrap().contains("connect 127.0.0.1"));

    let server = RedisServer::start_at(port, &[]);
    assert_eq!(one.sync().unwrap_err().kind(), Unavailable);
    clock.pass(Duration::from_millis(1600));
    one.sync().unwrap();
    assert_eq!(values(&one.shared().unwrap().snapshot)["requests{path=/}"], "5");
    let status = one.sync_status();
    assert_eq!((status.failures_in_a_row, status.last_error), (0, None));
    drop(server);
    assert_eq!(one.sync().unwrap_err().kind(), Io);
}

#[test]
fn a_background_sync_runs_until_it_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let one = engine(&format!("{SQLITE}[sync]\ninterval_ms = 10"), folder.path());
    add(&one, 5);
    one.start_sync().unwrap();
    assert_eq!(one.start_sync().unwrap_err().kind(), ErrorKind::AlreadyExists);
    let start = Instant::now();
    while one.sync_status().syncs < 3 {
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", one.sync_status());
        std::thread::yield_now();
    }
    one.stop_sync(Duration::from_secs(60)).unwrap();
    let done = one.sync_status().syncs;
    assert_eq!(one.read_shared().unwrap().instances, 1);
    one.stop_sync(Duration::from_secs(60)).unwrap();
    assert_eq!(one.sync_status().syncs, done);
    // An engine that goes away ends its thread.
    one.start_sync().unwrap();
    drop(one);
}

#[test]
fn a_background_sync_that_failed_is_tried_again_before_its_interval_ends() {
    let port = free_port();
    let toml = format!(
        "schema = 1\n[store]\nkind = 'redis'\nurl = 'redis://127.0.0.1:{port}/'\n\
         [sync]\ninterval_ms = 600_000\n"
    );
    let one = engine(&toml, Path::new(""));
    add(&one, 5);
    one.start_sync().unwrap();
    let start = Instant::now();
    let wait_for = |holds: fn(u64, u64) -> bool| loop {
        let status = one.sync_status();
        if holds(status.failures, status.syncs) {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{status:?}");
        std::thread::yield_now();
    };
    wait_for(|failures, _| failures >= 2);
    let _server = RedisServer::start_at(port, &[]);
    // Also when it was left alone meanwhile, for a second or so.
    wait_for(|_, syncs| syncs == 1);
    assert_eq!(values(&one.read_shared().unwrap().snapshot)["requests{path=/}"], "5");
}

#[test]
fn intervals_and_leases_follow_the_exports_unless_they_are_given() {
    let seconds = |toml: &str| {
        let config = Config::parse(&format!("schema = 1\n{toml}"), "test", Path::new("")).unwrap();
        (config.sync_interval().as_secs_f64(), config.sync_lease().as_secs_f64())
    };
    assert_eq!(seconds(""), (30.0, 90.0));
    let export = "[export]\nretention_window_ms = 100_000\nsafety_margin_ms = 20_000\n";
    assert_eq!(seconds(export), (10.0, 30.0));
    assert_eq!(seconds(&format!("{export}[sync]\nlease_ms = 20_000")), (10.0, 20.0));
    assert_eq!(seconds("[sync]\ninterval_ms = 60_000"), (60.0, 180.0));
    assert_eq!(seconds("[export]\nretention_window_ms = 61_000"), (0.125, 0.375));
}

#[test]
fn what_a_configuration_demands_in_vain_is_named() {
    let wrong = |toml: &str| {
        let toml = format!("schema = 1\n{toml}");
        Config::parse(&toml, "test", Path::new("")).unwrap_err().to_string()
    };
    for (toml, key, what) in [
        ("[store]\nkind = 'sqlite'", "store.path", "is needed"),
        ("[store]\nkind = 'redis'", "store.url", "is needed"),
        (
            "[store]\nkind = 'file'\npath = '.'\n[sync]\nstrategy = 'distributed_atomic'",
            "sync.strategy",
            "needs a store of kind",
        ),
        ("[sync]\nlease_ms = 50000", "sync.lease_ms", "must be between 60000"),
        (
            "[sync]\nlease_ms = 36000000\nmetrics_retention_hours = 24",
            "sync.metrics_retention_hours",
            "must be between 100",
        ),
        ("[sync.gauge_modes]\nqueue = 'median'", "sync.gauge_modes.queue", ""),
    ] {
        let text = wrong(toml);
        assert!(text.contains(key) && text.contains(what), "{toml}: {text}");
    }
    let config = Config::parse(
        "schema = 1\n[store]\nkind = 'redis'\nurl = 'redis://u:geheim@h/'",
        "test",
        Path::new(""),
    );
    assert!(!format!("{:?}", config.unwrap()).contains("geheim"));
}
