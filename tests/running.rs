//! Exporters that hang, panic, throw and flood: what their callers get, and that nobody else waits.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig, ProbeConfig, RunConfig},
    },
    model::{Clock, Error, ErrorKind},
    plugin::{Health, PluginInfo},
};
use tallyport_tests::{built, plugin, repo_root};

/// How long a test waits for what must happen: long, because it only matters when it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that stands still until a test moves it: backoffs pass without sleeping.
#[derive(Debug, Default)]
struct Hands(AtomicU64);

impl Hands {
    fn pass(&self, time: Duration) {
        self.0.fetch_add(time.as_nanos() as u64, SeqCst);
    }
}

impl Clock for Hands {
    fn unix_ns(&self) -> u64 {
        1_700_000_000_000_000_000
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(SeqCst))
    }
}

fn engine() -> (Engine, Arc<Hands>) {
    let hands = Arc::new(Hands::default());
    let engine = Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS);
    let engine = engine.clock(hands.clone()).build().unwrap();
    engine.metrics().counter("requests_total", &[]).unwrap().add(3);
    (engine, hands)
}

/// A deadline that passes soon, but not before an exporter is created on a busy machine.
fn hasty() -> RunConfig {
    RunConfig { deadline_ms: Some(700), grace_ms: 50, drain_ms: 100, ..RunConfig::default() }
}

/// The same for exporters that return when they are cancelled, however long that takes.
fn polite() -> RunConfig {
    RunConfig { grace_ms: patient().grace_ms, drain_ms: patient().drain_ms, ..hasty() }
}

/// A deadline that is only there so that there is one.
fn patient() -> RunConfig {
    let ms = PATIENCE.as_millis() as u64;
    RunConfig { deadline_ms: Some(ms), grace_ms: ms, drain_ms: ms, ..RunConfig::default() }
}

fn rust_panics() -> PathBuf {
    built("libtallyport_test_rust_panics.so")
}

/// Without the probe, which would find what is found here before it is loaded.
fn untried() -> PluginConfig {
    PluginConfig { probe: Some(ProbeConfig::Never), ..PluginConfig::default() }
}

fn load(engine: &Engine, path: PathBuf, options: Value, run: RunConfig) -> Result<(), Error> {
    let options = options.as_object().cloned().unwrap_or_default();
    let config = PluginConfig { path: Some(path), options, run, ..untried() };
    engine.load_plugin("bad", &config).map(drop)
}

fn info(engine: &Engine) -> PluginInfo {
    engine.plugins().by_name("bad").unwrap().info()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Where a plugin misbehaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Create,
    Export,
    Flush,
    Stop,
}

#[test]
fn misbehaving_plugins_have_their_status() {
    use At::*;
    let (on_caller, on_worker) = (RunConfig::default(), patient());
    let (late, cancelled) = (hasty(), polite());
    let small = RunConfig { max_output_bytes: 1_000_000, ..RunConfig::default() };
    let small_late = RunConfig { max_output_bytes: 1_000_000, ..patient() };
    let hangs = |place: &str| plugin(&format!("hangs_in_{place}.c"));
    let panics = |place: &str| (rust_panics(), json!({ "panic_in": place }));
    let throws = |place: &str| (plugin("throws.cpp"), json!({ "throw_in": place }));
    let none = || json!({});
    let (timeout, panic) = (Some(ErrorKind::Timeout), Some(ErrorKind::Panic));
    let limit = Some(ErrorKind::Limit);
    let (ready, open, poisoned) = (Health::Ready, Health::Open, Health::Poisoned);
    // What is loaded, how, where it misbehaves, what the caller gets, its health and zombies then.
    let mut table = vec![
        ((hangs("create"), none()), &late, Create, timeout, ready, 1),
        ((hangs("export"), none()), &late, Export, timeout, open, 1),
        ((hangs("cancel"), none()), &late, Export, timeout, open, 1),
        ((hangs("flush"), none()), &late, Flush, timeout, open, 1),
        ((hangs("shutdown"), none()), &late, Stop, None, ready, 1),
        ((plugin("honours_cancel.c"), none()), &cancelled, Export, timeout, ready, 0),
        ((plugin("floods.c"), none()), &small, Export, limit, ready, 0),
        ((plugin("floods.c"), none()), &small_late, Export, limit, ready, 0),
        (panics("cancel"), &cancelled, Export, timeout, ready, 0),
        (throws("cancel"), &cancelled, Export, timeout, ready, 0),
    ];
    for run in [&on_caller, &on_worker] {
        for (misbehaves, last) in
            [(panics as fn(_) -> _, "destroy"), (throws as fn(_) -> _, "shutdown")]
        {
            table.extend([
                (misbehaves("create"), run, Create, panic, ready, 0),
                (misbehaves("export"), run, Export, panic, poisoned, 0),
                (misbehaves("flush"), run, Flush, panic, poisoned, 0),
                (misbehaves("shutdown"), run, Stop, None, ready, 0),
                (misbehaves(last), run, Stop, None, ready, 0),
            ]);
        }
    }
    for ((path, options), run, at, kind, health, zombies) in table {
        let row = format!("{} {options} {run:?}", path.display());
        let (engine, _) = engine();
        let start = Instant::now();
        let loaded = load(&engine, path, options, run.clone());
        let done = match at {
            Create => loaded,
            _ => loaded.and_then(|()| match at {
                Flush => engine.plugins().flush(),
                Stop => engine.plugins().unregister("bad"),
                _ => engine.export_to_vec("bad").map(drop),
            }),
        };
        assert!(start.elapsed() < PATIENCE / 2, "{row}: took {:?}", start.elapsed());
        assert_eq!(done.as_ref().err().map(Error::kind), kind, "{row}: {done:?}");
        if let Err(error) = done {
            assert!(error.to_string().contains("plugin `bad`"), "{row}: {error}");
        }
        if matches!(at, Create | Stop) {
            // Something else under the name tells of the zombies that are left.
            load(&engine, plugin("good_minimal.c"), json!({}), RunConfig::default()).unwrap();
        }
        let info = info(&engine);
        assert_eq!((info.health, info.zombies), (health, zombies), "{row}");
        // The host lives, and the others serve.
        let text = String::from_utf8(engine.export_to_vec("prometheus").unwrap()).unwrap();
        assert!(text.contains("requests_total 3"), "{row}: {text}");
    }
}

#[test]
fn a_call_is_told_that_it_was_cancelled() {
    let (engine, _) = engine();
    load(&engine, plugin("honours_cancel.c"), json!({}), polite()).unwrap();
    for (format, cancels) in [("asks", 0..=1), ("told", 1..=2)] {
        let error = engine.export_to_vec(&format!("bad/{format}")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
        // The next call is not cancelled with it, however late `cancel` ran.
        let said = String::from_utf8(engine.export_to_vec("bad/quick").unwrap()).unwrap();
        let count =
            said.trim().strip_prefix("cancels ").and_then(|count| count.parse::<u32>().ok());
        assert!(count.is_some_and(|count| cancels.contains(&count)), "{format}: {said}");
    }
    assert_eq!((info(&engine).health, info(&engine).zombies), (Health::Ready, 0));
}

#[test]
fn a_panic_is_followed_by_a_new_instance_up_to_a_limit() {
    for run in [RunConfig::default(), patient()] {
        let (engine, hands) = engine();
        let run = RunConfig { max_restarts: 2, backoff_ms: 1000, max_backoff_ms: 10_000, ..run };
        load(&engine, rust_panics(), json!({}), run).unwrap();
        let export = || engine.export_to_vec("bad").unwrap_err().kind();
        // An instance of its own panics at first, and is poisoned afterwards.
        for wait in [1, 2] {
            assert_eq!(export(), ErrorKind::Panic);
            hands.pass(Duration::from_millis(wait * 1000 - 1));
            assert_eq!((export(), info(&engine).health), (ErrorKind::Poisoned, Health::Poisoned));
            hands.pass(Duration::from_millis(1));
        }
        assert_eq!((export(), info(&engine).health), (ErrorKind::Panic, Health::GivenUp));
        hands.pass(Duration::from_secs(1_000_000));
        assert_eq!(export(), ErrorKind::Poisoned);
        let good = PluginConfig { path: Some(plugin("good_minimal.c")), ..untried() };
        engine.replace_plugin("bad", &good).unwrap();
        assert_eq!(engine.export_to_vec("bad").unwrap(), b"good\n");
    }
}

/// The plugin that waits for a file, and that file.
fn waiting(engine: &Engine, run: RunConfig) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("go");
    load(engine, plugin("waits.c"), json!({ "until": file }), run).unwrap();
    (folder, file)
}

#[test]
fn calls_that_never_return_are_counted_and_capped() {
    let (engine, hands) = engine();
    let (_folder, file) = waiting(&engine, RunConfig { max_zombies: 2, ..hasty() });
    let backoff = || hands.pass(Duration::from_secs(300));
    for zombies in [1, 2] {
        let error = engine.export_to_vec("bad").unwrap_err();
        assert_eq!((error.kind(), info(&engine).zombies), (ErrorKind::Timeout, zombies), "{error}");
        let error = engine.export_to_vec("bad").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        backoff();
    }
    let error = engine.export_to_vec("bad").unwrap_err();
    assert_eq!((error.kind(), info(&engine).zombies), (ErrorKind::Unavailable, 2));
    assert!(error.to_string().contains("max_zombies"), "{error}");
    // A new registration under the name does not start from none.
    let path = Some(plugin("waits.c"));
    let options = json!({ "until": file }).as_object().unwrap().clone();
    let again = PluginConfig { path, options, run: hasty(), ..untried() };
    assert_eq!(engine.replace_plugin("bad", &again).unwrap_err().kind(), ErrorKind::Unavailable);
    // What hung returns after all: it writes to a sink that nobody has any more, and ends.
    fs::write(&file, "").unwrap();
    until("the zombies to end", || info(&engine).zombies == 0);
    backoff();
    assert_eq!(engine.export_to_vec("bad").unwrap().len(), 5 + (1 << 20));
    assert_eq!(info(&engine).health, Health::Ready);
}

#[test]
fn a_stuck_export_slows_nothing_else() {
    let (engine, _) = engine();
    let (_folder, file) = waiting(&engine, patient());
    let path = Some(plugin("good_minimal.c"));
    let fast = PluginConfig { path, run: patient(), ..untried() };
    engine.load_plugin("fast", &fast).unwrap();
    thread::scope(|scope| {
        let stuck = scope.spawn(|| engine.export_to_vec("bad"));
        for _ in 0..500 {
            assert_eq!(engine.export_to_vec("fast").unwrap(), b"good\n");
            assert!(!engine.export_to_vec("prometheus").unwrap().is_empty());
        }
        engine.load_plugin("later", &fast).unwrap();
        engine.plugins().unregister("later").unwrap();
        assert!(!stuck.is_finished(), "all that was done while it was stuck");
        fs::write(&file, "").unwrap();
        assert_eq!(stuck.join().unwrap().unwrap().len(), 5 + (1 << 20));
    });
}

/// Exports a format on as many threads.
fn at_once(engine: &Engine, format: &str, threads: usize) -> Vec<Result<Vec<u8>, Error>> {
    thread::scope(|scope| {
        let export = || engine.export_to_vec(&format!("bad/{format}"));
        let calls: Vec<_> = (0..threads).map(|_| scope.spawn(export)).collect();
        calls.into_iter().map(|call| call.join().unwrap()).collect()
    })
}

#[test]
fn calls_of_a_concurrent_exporter_with_a_deadline_run_at_the_same_time() {
    let (engine, _) = engine();
    load(&engine, plugin("meets.c"), json!({}), patient()).unwrap();
    for _ in 0..10 {
        for ended in at_once(&engine, "four", 4) {
            assert_eq!(ended.unwrap(), b"4\n");
        }
    }
    engine.plugins().unregister("bad").unwrap();
    // Never five, however many there are.
    let run = RunConfig { breaker_failures: Some(0), ..polite() };
    load(&engine, plugin("meets.c"), json!({}), run).unwrap();
    for ended in at_once(&engine, "five", 7) {
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Timeout);
    }
    assert_eq!(engine.export_to_vec("bad/two").unwrap(), b"4\n");
}

#[test]
fn a_call_that_heeds_its_own_flag_is_not_the_end_of_others() {
    let (engine, _) = engine();
    let run = RunConfig { deadline_ms: Some(2_000), ..polite() };
    load(&engine, plugin("meets.c"), json!({}), run).unwrap();
    thread::scope(|scope| {
        let first = scope.spawn(|| engine.export_to_vec("bad/five"));
        thread::sleep(Duration::from_millis(1_000));
        let second = scope.spawn(|| engine.export_to_vec("bad/five"));
        assert_eq!(first.join().unwrap().unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(engine.export_to_vec("bad/cancels").unwrap(), b"0\n");
        assert!(!second.is_finished());
        assert_eq!(second.join().unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    });
}

#[test]
fn calls_beside_one_that_hangs_end_as_if_it_did_not() {
    let (engine, hands) = engine();
    let run = RunConfig { backoff_ms: 1000, ..hasty() };
    // What runs beside it takes longer than the one that hangs is waited for, and has the time.
    let run = RunConfig { deadline_ms: Some(4_000), grace_ms: 100, ..run };
    load(&engine, plugin("meets.c"), json!({}), run).unwrap();
    thread::scope(|scope| {
        let hangs = scope.spawn(|| engine.export_to_vec("bad/hangs"));
        thread::sleep(Duration::from_millis(3_000));
        let beside: Vec<_> =
            (0..2).map(|_| scope.spawn(|| engine.export_to_vec("bad/waits"))).collect();
        assert_eq!(hangs.join().unwrap().unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(info(&engine).zombies, 1);
        assert!(beside.iter().all(|call| !call.is_finished()), "they run beside it");
        // Whoever comes now is told to wait.
        let error = engine.export_to_vec("bad/two").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        for call in beside {
            assert_eq!(call.join().unwrap().unwrap(), b"2\n");
        }
    });
    // Another instance serves; the thread that hangs stays.
    hands.pass(Duration::from_secs(3600));
    assert_eq!(engine.export_to_vec("bad/cancels").unwrap(), b"0\n");
    for ended in at_once(&engine, "four", 4) {
        assert_eq!(ended.unwrap(), b"4\n");
    }
    let info = info(&engine);
    assert_eq!((info.health, info.zombies), (Health::Ready, 1));
}

#[test]
fn as_many_calls_wait_as_the_queue_holds() {
    let (engine, _) = engine();
    let (_folder, file) = waiting(&engine, RunConfig { queue: 2, ..patient() });
    thread::scope(|scope| {
        let first = scope.spawn(|| engine.export_to_vec("bad"));
        until("the first to begin", || file.with_extension("began").exists());
        let calls: Vec<_> = (0..7).map(|_| scope.spawn(|| engine.export_to_vec("bad"))).collect();
        let done = || calls.iter().filter(|call| call.is_finished()).count();
        until("five of seven to be refused, while two wait", || done() == 5);
        assert_eq!(info(&engine).queue_length, 2);
        fs::write(&file, "").unwrap();
        let ended: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
        let refused: Vec<_> = ended.iter().filter_map(|ended| ended.as_ref().err()).collect();
        assert_eq!(refused.len(), 5);
        assert_eq!(first.join().unwrap().unwrap().len(), 5 + (1 << 20));
        assert!(refused.iter().all(|error| error.kind() == ErrorKind::Limit), "{refused:?}");
    });
    assert_eq!(info(&engine).health, Health::Ready, "how busy it is says nothing about it");
}

#[test]
fn a_call_that_waits_too_long_is_withdrawn_and_never_made() {
    let (engine, _) = engine();
    let run = RunConfig { deadline_ms: Some(1000), ..patient() };
    let (_folder, file) = waiting(&engine, run);
    thread::scope(|scope| {
        let first = scope.spawn(|| engine.export_to_vec("bad"));
        until("the first to begin", || file.with_extension("began").exists());
        fs::remove_file(file.with_extension("began")).unwrap();
        // Its deadline is well past the first one's.
        thread::sleep(Duration::from_millis(300));
        let error = engine.export_to_vec("bad").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("did not get its turn"), "{error}");
        assert_eq!(info(&engine).queue_length, 0);
        fs::write(&file, "").unwrap();
        assert_eq!(first.join().unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    });
    engine.plugins().flush().unwrap();
    assert!(!file.with_extension("began").exists(), "what was withdrawn is not made later");
    assert_eq!(info(&engine).health, Health::Ready);
}

#[test]
fn outputs_run_on_the_calling_thread_and_end_the_export() {
    let (engine, _) = engine();
    load(&engine, plugin("floods.c"), json!({}), patient()).unwrap();
    let (here, mut pieces, mut bytes) = (thread::current().id(), 0, 0);
    let error = engine.export("bad", &mut |piece| {
        assert_eq!(thread::current().id(), here);
        (pieces, bytes) = (pieces + 1, bytes + piece.len());
        if bytes < 10_000_000 { Ok(()) } else { Err(Error::new(ErrorKind::Io, "unplugged")) }
    });
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(error.to_string().contains("unplugged"), "{error}");
    assert!(pieces > 100 && bytes < 11_000_000, "{pieces} pieces, {bytes} bytes");
    let panicked = engine.export("bad", &mut |_| panic!("in the output"));
    assert_eq!(panicked.unwrap_err().kind(), ErrorKind::Panic);
    assert_eq!(info(&engine).health, Health::Ready, "the outputs failed, not the exporter");
}

/// The engine's own families and samples in an export as Prometheus text.
fn own_metrics(engine: &Engine) -> (BTreeSet<String>, Vec<String>) {
    let text = String::from_utf8(engine.export_to_vec("prometheus").unwrap()).unwrap();
    let own = |line: &&str| line.starts_with("tallyport_plugin_");
    let samples = text.lines().filter(own).map(str::to_owned).collect();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let families = types.filter(own).filter_map(|line| line.split(' ').next()).map(str::to_owned);
    (families.collect(), samples)
}

#[test]
fn what_exporters_do_is_in_the_next_export() {
    let (engine, _) = engine();
    assert_eq!(own_metrics(&engine).1.len(), 0, "nothing is said of who did nothing");
    let mine = PluginConfig { path: Some(plugin("good_minimal.c")), ..untried() };
    engine.load_plugin("mine", &mine).unwrap();
    load(&engine, rust_panics(), json!({}), RunConfig::default()).unwrap();
    for _ in 0..3 {
        assert_eq!(engine.export_to_vec("mine").unwrap(), b"good\n");
        assert!(engine.export_to_vec("bad").is_err());
    }
    let (families, samples) = own_metrics(&engine);
    for line in [
        "tallyport_plugin_exports_total{plugin=\"mine\"} 3",
        "tallyport_plugin_exports_total{plugin=\"bad\"} 3",
        "tallyport_plugin_failures_total{code=\"panic\",plugin=\"bad\"} 1",
        "tallyport_plugin_failures_total{code=\"poisoned\",plugin=\"bad\"} 2",
        "tallyport_plugin_duration_seconds_count{plugin=\"mine\"} 3",
        "tallyport_plugin_duration_seconds_count{plugin=\"bad\"} 1",
        "tallyport_plugin_bytes_total{plugin=\"mine\"} 15",
        "tallyport_plugin_bytes_total{plugin=\"bad\"} 0",
        "tallyport_plugin_queue_length{plugin=\"mine\"} 0",
        "tallyport_plugin_zombies{plugin=\"mine\"} 0",
        "tallyport_plugin_state{plugin=\"mine\",state=\"ready\"} 1",
        "tallyport_plugin_state{plugin=\"bad\",state=\"ready\"} 0",
        "tallyport_plugin_state{plugin=\"bad\",state=\"poisoned\"} 1",
    ] {
        assert!(samples.iter().any(|sample| sample == line), "{line} is not in {samples:#?}");
    }
    // The documentation's table has these and no others.
    let documentation = fs::read_to_string(repo_root().join("docs/OPERATING-PLUGINS.md")).unwrap();
    let rows = documentation.lines().filter_map(|line| line.strip_prefix("| `tallyport_plugin_"));
    let names = rows.filter_map(|row| row.split(['`', '{']).next());
    let documented: BTreeSet<_> = names.map(|name| format!("tallyport_plugin_{name}")).collect();
    assert_eq!(families, documented);
    // Of who is gone the counts are left.
    engine.plugins().unregister("bad").unwrap();
    let (_, samples) = own_metrics(&engine);
    let of_bad = samples.iter().filter(|sample| sample.contains("plugin=\"bad\""));
    let now = of_bad.filter(|sample| sample.contains("_state") || sample.contains("_queue"));
    assert_eq!(now.count(), 0);
    assert!(samples.iter().any(|sample| sample.contains("_exports_total{plugin=\"bad\"} 3")));
}

#[test]
fn nothing_is_recorded_of_exporters_where_that_is_off() {
    let mut config = Config::default();
    config.recording.self_metrics = false;
    let engine = Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS);
    let engine = engine.config(config).build().unwrap();
    let _ = engine.export_to_vec("csv").unwrap();
    assert_eq!(own_metrics(&engine), Default::default());
    assert_eq!(own_metrics(&engine), Default::default());
}

#[test]
fn an_exporter_that_keeps_failing_is_left_alone() {
    for run in [RunConfig::default(), patient()] {
        let (engine, hands) = engine();
        let run = RunConfig { breaker_failures: Some(2), backoff_ms: 1000, ..run };
        load(&engine, plugin("export_fails.c"), json!({}), run).unwrap();
        let export = || engine.export_to_vec("bad").unwrap_err();
        for wait in [1, 2, 4] {
            // One call shows whether it works again; two when nothing was known of it.
            for _ in 0..if wait == 1 { 2 } else { 1 } {
                assert_eq!(export().kind(), ErrorKind::PluginFailed);
            }
            let error = export();
            assert_eq!(
                (error.kind(), info(&engine).health),
                (ErrorKind::Unavailable, Health::Open)
            );
            assert!(error.to_string().contains(&format!("tried again in {wait}.0s")), "{error}");
            assert_eq!(engine.plugins().flush().unwrap_err().kind(), ErrorKind::Unavailable);
            hands.pass(Duration::from_secs(wait));
        }
        let good = PluginConfig { path: Some(plugin("good_minimal.c")), ..untried() };
        engine.replace_plugin("bad", &good).unwrap();
        assert_eq!(engine.export_to_vec("bad").unwrap(), b"good\n");
    }
}
