//! `isolation = "process"`: what an exporter does to its helper process, its host does not feel.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeSet,
    fmt::{self, Write},
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use serde_json::{Value, json};
use tallyport_core::{
    engine::{
        Engine,
        config::{Config, HelperConfig, IsolationConfig, PluginConfig, ProbeConfig, RunConfig},
    },
    model::{Clock, Error, ErrorKind},
    plugin::{Health, Sha256},
};
use tallyport_tests::{Compiler, built, compile, copy_program, plugin, repo_root, run};
use tracing::{Event, Metadata, Subscriber, field, span};

/// How long a test waits for what must happen: long, because it only matters when it fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clock that stands still until a test moves it: backoffs pass without sleeping.
#[derive(Debug, Default)]
struct Hands(AtomicU64);

impl Clock for Hands {
    fn unix_ns(&self) -> u64 {
        1_700_000_000_000_000_000
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(SeqCst))
    }
}

/// An engine with one plugin, called `it`, and a helper process for it.
struct Host {
    engine: Engine,
    hands: Arc<Hands>,
}

fn helper() -> PathBuf {
    built("tallyport-plugin-host")
}

fn isolated(path: &Path) -> PluginConfig {
    PluginConfig {
        path: Some(path.to_owned()),
        isolation: IsolationConfig::Process,
        ..PluginConfig::default()
    }
}

impl Host {
    fn new() -> Self {
        let hands = Arc::new(Hands::default());
        let mut config = Config::default();
        // What is under test is not tried before.
        config.loading.probe = ProbeConfig::Never;
        // The same values each time.
        config.recording.self_metrics = false;
        config.loading.plugin_host = Some(helper());
        let engine = Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS);
        let engine = engine.config(config).clock(hands.clone()).build().unwrap();
        engine.metrics().counter("requests_total", &[("code", "200")]).unwrap().add(3);
        Self { engine, hands }
    }

    fn with(config: &PluginConfig) -> Self {
        let host = Self::new();
        host.engine.load_plugin("it", config).unwrap();
        host
    }

    fn of(file: &str) -> Self {
        Self::with(&isolated(&plugin(file)))
    }

    fn export(&self, selector: &str) -> Result<String, Error> {
        self.engine.export_to_vec(selector).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    /// What its exporter waits for before it is called again is over.
    fn backoff_passes(&self) {
        self.hands.0.fetch_add(3_600_000_000_000, SeqCst);
    }

    fn health(&self) -> Health {
        self.engine.plugins().by_name("it").unwrap().info().health
    }

    /// The one helper that this host has.
    fn helper(&self) -> u32 {
        self.engine.plugins().by_name("it").unwrap().info().process.expect("a helper process")
    }

    /// An export fails as it should, the host and its others go on, and so does the next one.
    fn loses_one_export(&self, selector: &str, kind: ErrorKind, texts: &[&str]) {
        let error = self.export(selector).unwrap_err();
        assert_eq!(error.kind(), kind, "{selector}: {error}");
        for text in ["plugin `it`"].iter().chain(texts) {
            assert!(error.to_string().contains(text), "{selector}: no `{text}` in: {error}");
        }
        assert!(self.export("prometheus").unwrap().contains("requests_total{code=\"200\"} 3"));
        if self.health() != Health::Ready {
            let early = self.export("it").unwrap_err();
            assert_eq!(early.kind(), ErrorKind::Unavailable, "{early}");
            self.backoff_passes();
        }
        assert_eq!(self.export("it").unwrap(), "good\n", "after {error}");
        assert_eq!(self.health(), Health::Ready);
    }
}

/// Fields of /proc/PID/stat after the name: state, parent, group …
fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// [`stat`] of every process.
fn processes() -> impl Iterator<Item = Vec<String>> {
    let entries = fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(stat)
}

fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| stat[0] != "Z")
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(2));
    }
}

fn descriptors(pid: u32) -> BTreeSet<String> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let link = |entry: fs::DirEntry| {
        let target = fs::read_link(entry.path()).ok()?;
        Some(format!("{} {}", entry.file_name().to_str()?, target.display()))
    };
    entries.filter_map(|entry| link(entry.unwrap())).collect()
}

/// Waits until a child is gone, all threads of it, and leaves its status to the engine.
fn wait_for_the_end_of(child: u32) {
    let pid = Pid::from_raw(child.cast_signed()).unwrap();
    // One that the engine has reaped already is no child.
    let _ = waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
}

fn signal(pid: u32, name: &str) {
    let _ = run(Command::new("kill").args(["-s", name, &pid.to_string()])).success();
}

fn loadable() -> PathBuf {
    built("libtallyport_builtin_exporters_loadable.so")
}

fn fill(engine: &Engine, series: u64) {
    let metrics = engine.metrics();
    for index in 0..series {
        let labels = [("instance", &*format!("node-{index}")), ("code", "200"), ("zone", "a\"b")];
        metrics.counter("hits_total", &labels).unwrap().add(index * 7 + 1);
    }
    metrics.gauge("load", &[("é", "ü")]).unwrap().set(-0.5);
    let took = metrics.histogram("took_seconds", &[0.1, 1.0, 10.0], &[]).unwrap();
    for value in [0.05, 0.5, 5.0, 50.0] {
        took.observe(value);
    }
}

#[test]
fn the_same_bytes_leave_through_a_helper() {
    let rust = built("libtallyport_example_statsd.so");
    let no_time = json!({ "include_metadata": false });
    let cases: [(PathBuf, &str, &[&str], Value); 6] = [
        (loadable(), "prometheus", &["prometheus", "openmetrics", "openmetrics_utf8"], json!({})),
        (loadable(), "json", &["json"], no_time),
        (loadable(), "csv", &["csv"], json!({ "flatten_labels": true })),
        (plugin("statsd_lines.c"), "", &[""], json!({ "prefix": "é." })),
        (plugin("statsd_lines.cpp"), "", &[""], json!({})),
        (rust, "", &[""], json!({})),
    ];
    for (file, exporter, formats, options) in cases {
        let host = Host::new();
        let options = options.as_object().cloned().unwrap();
        let exporter = Some(exporter.to_owned()).filter(|id| !id.is_empty());
        let far = PluginConfig { exporter, options, ..isolated(&file) };
        let near = PluginConfig { isolation: IsolationConfig::None, ..far.clone() };
        host.engine.load_plugin("far", &far).unwrap();
        host.engine.load_plugin("near", &near).unwrap();
        let compare = |what: &str| {
            let snapshot = host.engine.snapshot().unwrap();
            for format in formats {
                let through = |name: &str| {
                    let (mut bytes, selector) = (Vec::new(), format!("{name}/{format}"));
                    let selector = selector.trim_end_matches('/');
                    let outcome = host.engine.export_snapshot(&snapshot, selector, &mut |chunk| {
                        bytes.extend_from_slice(chunk);
                        Ok(())
                    });
                    let outcome = outcome.unwrap();
                    assert_eq!(outcome.bytes, bytes.len() as u64);
                    (bytes, outcome.series, outcome.content_type)
                };
                let (far, near) = (through("far"), through("near"));
                assert!(far == near, "{}: {format} {what}", file.display());
                assert!(!far.0.is_empty());
            }
        };
        compare("of a small schema");
        compare("again, values only");
        fill(&host.engine, 20_000);
        compare("of a larger schema, over several slots");
        host.engine.metrics().counter("requests_total", &[("code", "200")]).unwrap().add(4);
        compare("with other values");
    }
}

#[test]
fn what_ends_the_helper_costs_one_export_and_says_how() {
    use ErrorKind::PluginFailed;
    for (file, text) in [
        ("segfaults.c", "was killed by signal 11 (SIGSEGV)"),
        ("aborts.c", "was killed by signal 6 (SIGABRT)"),
        ("exits_with_0.c", "ended with exit code 0"),
        ("exits_with_3.c", "ended with exit code 3"),
        ("closes_sockets.c", "something in it closed its socket"),
        ("starts_a_child.c", "was killed by signal 9 (SIGKILL)"),
    ] {
        let host = Host::of(file);
        let first = host.helper();
        host.loses_one_export("it/bad", PluginFailed, &[text, "during an export"]);
        assert_ne!(host.helper(), first, "{file}");
        // Twice is as good as once, and nothing of it is left.
        host.loses_one_export("it/bad", PluginFailed, &[text]);
        let last = host.helper();
        drop(host);
        wait_until("its helper ends", || !is_running(last));
        let group = first.to_string();
        let left = || processes().filter(|stat| stat[0] != "Z" && stat[2] == group).count();
        wait_until("its group ends", || left() == 0);
    }
}

#[test]
fn a_helper_that_hangs_is_killed_after_deadline_and_grace() {
    let hasty = RunConfig { deadline_ms: Some(200), grace_ms: 100, ..RunConfig::default() };
    for file in ["spins.c", "floods_deaf.c"] {
        let config = PluginConfig { run: hasty.clone(), ..isolated(&plugin(file)) };
        let host = Host::with(&config);
        let start = Instant::now();
        host.loses_one_export("it/bad", ErrorKind::Timeout, &["200ms", "deadline_ms", "killed"]);
        assert!(start.elapsed() < PATIENCE / 2, "{file}: {:?}", start.elapsed());
    }
    // One that heeds cancellation keeps its helper.
    let host = Host::with(&PluginConfig { run: hasty, ..isolated(&plugin("honours_cancel.c")) });
    let helper = host.helper();
    for format in ["it/asks", "it/told"] {
        let error = host.export(format).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    }
    assert!(host.export("it/quick").unwrap().starts_with("cancels "));
    assert_eq!(host.helper(), helper);
}

#[test]
fn a_stopped_helper_is_given_up_too() {
    let run = RunConfig { deadline_ms: Some(200), grace_ms: 100, ..RunConfig::default() };
    let host = Host::with(&PluginConfig { run, ..isolated(&plugin("good_minimal.c")) });
    signal(host.helper(), "STOP");
    host.loses_one_export("it", ErrorKind::Timeout, &["killed"]);
}

#[test]
fn limits_of_the_configuration_hold_in_the_helper() {
    let limited = |file: &str, helper: HelperConfig| {
        Host::with(&PluginConfig { helper, ..isolated(&plugin(file)) })
    };
    let memory = HelperConfig { address_space_bytes: Some(256 << 20), ..HelperConfig::default() };
    let host = limited("eats_memory.c", memory.clone());
    let helper = host.helper();
    host.loses_one_export("it/bad", ErrorKind::PluginFailed, &["no memory is left"]);
    assert_eq!(host.helper(), helper, "one that gives up lives");
    let host = limited("dies_of_hunger.c", memory);
    host.loses_one_export("it/bad", ErrorKind::PluginFailed, &["signal 11 (SIGSEGV)"]);

    let cpu = HelperConfig { cpu_seconds: Some(1), ..HelperConfig::default() };
    let host = limited("spins.c", cpu);
    host.loses_one_export("it/bad", ErrorKind::PluginFailed, &["(SIGXCPU)", "`cpu_seconds`"]);

    let files = HelperConfig { open_files: Some(32), ..HelperConfig::default() };
    let host = limited("leaks_descriptors.c", files);
    let helper = host.helper();
    host.loses_one_export("it/bad", ErrorKind::PluginFailed, &["no descriptor is left"]);
    assert_eq!(host.helper(), helper, "the leak is its own");
    // A new schema is a descriptor more, which finds no room: that costs an export, and no more.
    host.engine.metrics().counter("new_total", &[]).unwrap().inc();
    let full = host.export("it").unwrap_err();
    assert!(full.to_string().contains("too many are open"), "{full}");
    assert_eq!(full.kind(), ErrorKind::Limit);
    host.backoff_passes();
    assert_eq!(host.export("it").unwrap(), "good\n");
    assert_ne!(host.helper(), helper);
}

#[test]
fn a_flood_ends_at_the_byte_budget() {
    let run = RunConfig { max_output_bytes: 1 << 20, ..RunConfig::default() };
    let host = Host::with(&PluginConfig { run: run.clone(), ..isolated(&plugin("floods.c")) });
    let mut bytes = 0;
    let flooded = host.engine.export("it", &mut |chunk| {
        bytes += chunk.len();
        Ok(())
    });
    let error = flooded.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("1048576 bytes"), "{error}");
    assert!(bytes <= 1 << 20, "{bytes}");
    assert_eq!(host.health(), Health::Ready);
}

#[test]
fn what_the_output_says_reaches_caller_and_plugin() {
    let host = Host::of("lifecycle.c");
    let seen = || host.export("it").unwrap();
    assert_eq!(seen(), "requests 1 completes 0 status 0 bytes 0 flushes 0\n");
    let bytes = "requests 1 completes 0 status 0 bytes 0 flushes 0\n".len();
    assert_eq!(seen(), format!("requests 2 completes 1 status 0 bytes {bytes} flushes 0\n"));
    let refused = host.export("it/refused").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Limit);
    assert!(refused.to_string().contains("plugin `it`: refused the export: not now"), "{refused}");
    let limit = ErrorKind::Limit.status();
    assert_eq!(seen(), format!("requests 4 completes 3 status {limit} bytes 0 flushes 0\n"));
    // The last bytes are refused: the plugin is told, though it has returned.
    let failed = host.engine.export("it", &mut |_| Err(Error::new(ErrorKind::Io, "unplugged")));
    let failed = failed.unwrap_err();
    assert_eq!(
        (failed.kind(), failed.to_string()),
        (ErrorKind::Io, "plugin `it`: unplugged".into())
    );
    host.engine.plugins().flush().unwrap();
    let said = seen();
    assert!(said.contains(&format!("status {} ", ErrorKind::Io.status())), "{said}");
    assert!(said.ends_with("flushes 1\n"), "{said}");
    let panicked = host.engine.export("it", &mut |_| panic!("a bug of the host's"));
    assert_eq!(panicked.unwrap_err().kind(), ErrorKind::Panic);
    // An output that exports again would wait for itself.
    let inner = host.engine.export("it", &mut |_| host.engine.export_to_vec("it").map(drop));
    assert_eq!(inner.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(host.health(), Health::Ready);
}

#[test]
fn errors_details_and_panics_are_those_of_the_plugin() {
    let far = Host::of("logs.c");
    let near = Host::new();
    let config = PluginConfig { isolation: IsolationConfig::None, ..isolated(&plugin("logs.c")) };
    near.engine.load_plugin("it", &config).unwrap();
    let (far, near) = (far.export("it/bad").unwrap_err(), near.export("it/bad").unwrap_err());
    assert_eq!(format!("{far:?}"), format!("{near:?}"));
    assert_eq!(far.field(), Some("endpoint"));

    let host = Host::new();
    let refused = host.engine.load_plugin("it", &isolated(&plugin("create_fails.c"))).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
    assert!(refused.to_string().contains("plugin `it` could not be created"), "{refused}");
    assert_eq!(refused.field(), Some("endpoint"));

    let host = Host::of("returns_panic.c");
    let helper = host.helper();
    assert_eq!(host.export("it").unwrap_err().kind(), ErrorKind::Panic);
    assert_eq!(host.export("it").unwrap_err().kind(), ErrorKind::Poisoned);
    host.backoff_passes();
    assert_eq!(host.export("it").unwrap_err().kind(), ErrorKind::Panic);
    assert!(!is_running(helper), "a poisoned instance keeps no process");
}

#[test]
fn what_cannot_be_loaded_is_refused_and_runs_no_code_here() {
    use ErrorKind::*;
    for (file, kind, text) in [
        ("crashes_loading.c", PluginFailed, "(SIGSEGV): a memory fault, during loading"),
        ("exits_loading.c", PluginFailed, "ended with exit code"),
        ("no_symbol.c", PluginAbi, "tallyport_plugin_query_v1"),
        ("unresolved_symbol.c", PluginRefused, "undefined symbol"),
        ("in_process_only.c", Unsupported, "TALLYPORT_CAP_OUT_OF_PROC"),
    ] {
        let host = Host::new();
        let error = host.engine.load_plugin("it", &isolated(&plugin(file))).unwrap_err();
        assert_eq!(error.kind(), kind, "{file}: {error}");
        assert!(error.to_string().contains(text), "{file}: no `{text}` in: {error}");
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        assert!(!maps.contains(file), "{file} is mapped in the host");
        assert!(!host.export("prometheus").unwrap().is_empty());
    }
    let host = Host::new();
    let entry = PluginConfig { exporter: Some("xml".into()), ..isolated(&loadable()) };
    let error = host.engine.load_plugin("it", &entry).unwrap_err().to_string();
    assert!(error.contains("no exporter `xml`; it has prometheus, json, csv"), "{error}");
    // All exporters of a file, each in a process of its own.
    let names = host.engine.load_plugin("all", &isolated(&loadable()));
    assert_eq!(names.unwrap_err().kind(), AlreadyExists, "the linked-in ones have these names");
    for name in ["prometheus", "json", "csv"] {
        host.engine.plugins().unregister(name).unwrap();
    }
    assert_eq!(host.engine.load_plugin("all", &isolated(&loadable())).unwrap().len(), 3);
    let list = host.engine.plugins().list();
    let pids: BTreeSet<u32> = list.iter().filter_map(|info| info.process).collect();
    assert_eq!(pids.len(), 3, "{list:?}");
}

#[test]
fn a_configuration_that_asks_for_the_impossible_says_so() {
    let bad = |text: &str| {
        let text = format!("schema = 1\n[plugins.csv]\n{text}\n");
        Config::parse(&text, "t.toml", Path::new("/")).unwrap_err().to_string()
    };
    let far = PluginConfig { isolation: IsolationConfig::Process, ..PluginConfig::default() };
    let linked = Host::new().engine.replace_plugin("csv", &far).unwrap_err();
    assert_eq!((linked.kind(), linked.field()), (ErrorKind::Unsupported, Some("isolation")));
    assert!(linked.to_string().contains("linked in: name one with `path`"), "{linked}");
    let useless = bad("path = \"x.so\"\nhelper = { cpu_seconds = 3 }");
    assert!(useless.contains("needs `isolation = \"process\"`"), "{useless}");
    let isolated = "path = \"x.so\"\nisolation = \"process\"\n";
    let small = bad(&format!("{isolated}helper = {{ address_space_bytes = 1 }}"));
    assert!(small.contains("address_space_bytes"), "{small}");
    let other = bad("path = \"x.so\"\nisolation = \"thread\"");
    assert!(other.contains("isolation"), "{other}");
    let mut config = Config::default();
    let helper = HelperConfig { open_files: Some(1), ..HelperConfig::default() };
    let entry = PluginConfig { helper, ..isolated_entry() };
    config.plugins.insert("x".into(), entry);
    assert!(config.check().unwrap_err().to_string().contains("open_files"));
}

fn isolated_entry() -> PluginConfig {
    isolated(Path::new("/x.so"))
}

#[test]
fn a_helper_has_its_own_group_and_only_the_descriptors_it_needs() {
    // As a host has them that does not know of close-on-exec.
    let leaky = tempfile::tempfile().unwrap();
    let inherited = rustix::io::dup(&leaky).unwrap();
    rustix::io::fcntl_setfd(&inherited, rustix::io::FdFlags::empty()).unwrap();
    let host = Host::of("good_minimal.c");
    assert_eq!(host.export("it").unwrap(), "good\n");
    let helper = host.helper();
    let stat = stat(helper).unwrap();
    assert_eq!(stat[1], std::process::id().to_string(), "parent");
    assert_eq!(stat[2], helper.to_string(), "process group");
    let open = descriptors(helper);
    assert!(open.contains("0 /dev/null") && open.contains("1 /dev/null"), "{open:?}");
    let others: Vec<_> = open
        .iter()
        .filter_map(|one| one.split_once(' '))
        .filter(|(number, _)| number.parse::<u32>().unwrap() > 2)
        .map(|(_, target)| target)
        .collect();
    let known = |target: &str| target.starts_with("socket:") || target.contains("pidfd");
    assert!(others.iter().all(|target| known(target)), "{others:?}");
    assert!(others.len() <= 2, "{others:?}");
    let status = fs::read_to_string(format!("/proc/{helper}/status")).unwrap();
    for line in ["SigBlk:\t0000000000000000", "Threads:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
}

#[test]
fn a_helper_that_is_killed_between_exports_is_replaced_unseen() {
    let host = Host::of("good_minimal.c");
    for _ in 0..20 {
        let helper = host.helper();
        signal(helper, "KILL");
        wait_for_the_end_of(helper);
        assert_eq!(host.export("it").unwrap(), "good\n");
        assert_ne!(host.helper(), helper);
        assert_eq!(host.health(), Health::Ready);
    }
}

#[test]
fn a_pinned_file_is_loaded_in_a_helper_while_it_has_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pinned.so");
    let put = |bytes: &[u8]| {
        // By a rename, as a package manager does: the old file is mapped.
        let fresh = folder.path().join("fresh.so");
        fs::write(&fresh, bytes).unwrap();
        // A pin says what the file is; whose it is does not matter.
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o777)).unwrap();
        fs::rename(&fresh, &file).unwrap();
    };
    let good = fs::read(plugin("good_minimal.c")).unwrap();
    let mut other = good.clone();
    other.push(0);
    put(&good);
    let host = Host::new();
    let pinned =
        |bytes| PluginConfig { sha256: Some(Sha256::of(bytes).to_string()), ..isolated(&file) };
    let wrong = host.engine.load_plugin("it", &pinned(&other)).unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::PluginRefused, "{wrong}");
    assert!(wrong.to_string().contains("the pin says"), "{wrong}");
    host.engine.load_plugin("it", &pinned(&good)).unwrap();
    let first = host.helper();
    assert_eq!(host.export("it").unwrap(), "good\n");
    // The helper that runs goes on; the next one finds another file.
    put(&other);
    assert_eq!(host.export("it").unwrap(), "good\n");
    signal(first, "KILL");
    wait_for_the_end_of(first);
    let error = host.export("it").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginRefused, "{error}");
    assert!(error.to_string().contains("it changed since it was looked at"), "{error}");
    put(&good);
    host.backoff_passes();
    assert_eq!(host.export("it").unwrap(), "good\n");
    assert_ne!(host.helper(), first);
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("pinned.so"), "no code of it is in the host");
}

#[test]
fn a_helper_that_is_killed_at_any_time_costs_one_export() {
    let rounds: u32 = std::env::var("TALLYPORT_KILLS").map_or(200, |text| text.parse().unwrap());
    // A small file, which loads in no time.
    let host = Host::of("statsd_lines.c");
    fill(&host.engine, 10_000);
    let whole = host.export("it").unwrap();
    let start = Instant::now();
    let _ = host.export("it").unwrap();
    let usual = start.elapsed();
    let mut lost = 0;
    for round in 0..rounds {
        let helper = host.helper();
        let killer = thread::spawn(move || {
            thread::sleep(usual * round / rounds);
            signal(helper, "KILL");
        });
        match host.export("it") {
            Ok(text) => assert!(text == whole, "round {round}"),
            Err(error) => {
                lost += 1;
                assert_eq!(error.kind(), ErrorKind::PluginFailed, "round {round}: {error}");
                assert!(error.to_string().contains("signal 9 (SIGKILL)"), "round {round}: {error}");
            }
        }
        killer.join().unwrap();
        wait_for_the_end_of(helper);
        host.backoff_passes();
        assert!(host.export("it").unwrap() == whole, "the export after round {round}");
    }
    assert!(lost > 0, "no kill hit an export");
}

#[test]
fn a_thousand_exports_leave_nothing_behind() {
    let exports: u32 =
        std::env::var("TALLYPORT_EXPORTS").map_or(1000, |text| text.parse().unwrap());
    // Alone in a process: other tests open files beside this one.
    if std::env::var_os("TALLYPORT_ALONE").is_none() {
        let test = std::env::current_exe().unwrap();
        let name = "a_thousand_exports_leave_nothing_behind";
        let mut command = Command::new(test);
        command.args([name, "--exact", "--nocapture"]).env("TALLYPORT_ALONE", "1");
        let said = run(&mut command).success();
        assert!(said.stdout.contains("1 passed"), "{}", said.stdout);
        return;
    }
    let own = std::process::id();
    let host = Host::of("segfaults.c");
    assert_eq!(host.export("it").unwrap(), "good\n");
    let (before, helper) = (descriptors(own).len(), host.helper());
    let theirs = descriptors(helper).len();
    for round in 0..exports {
        if round % 100 == 0 {
            host.engine.metrics().counter(&format!("new{round}_total"), &[]).unwrap().inc();
        }
        assert_eq!(host.export("it").unwrap(), "good\n");
    }
    assert_eq!((host.helper(), descriptors(helper).len()), (helper, theirs));
    for _ in 0..exports / 20 {
        let _ = host.export("it/bad").unwrap_err();
        host.backoff_passes();
        assert_eq!(host.export("it").unwrap(), "good\n");
    }
    assert_eq!(descriptors(own).len(), before, "{:?}", descriptors(own));
    let children = || processes().filter(|stat| stat[1] == own.to_string()).count();
    assert_eq!(children(), 1, "one helper, no zombie");
    drop(host);
    assert_eq!(children(), 0);
}

#[test]
fn many_threads_share_a_helper_and_each_gets_its_own_bytes() {
    let config = PluginConfig { exporter: Some("csv".into()), ..isolated(&loadable()) };
    let host = Host::with(&config);
    fill(&host.engine, 500);
    let whole = host.export("it").unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert!(host.export("it").unwrap() == whole);
                }
            });
        }
        scope.spawn(|| {
            while !stop.load(SeqCst) {
                let _ = host.engine.plugins().list();
            }
        });
        thread::sleep(Duration::from_millis(50));
        stop.store(true, SeqCst);
    });
}

#[test]
fn a_helper_that_people_start_says_so() {
    let said = run(Command::new(helper()).arg("serve"));
    assert_eq!(said.code, Some(64), "{}", said.stderr);
    assert!(said.stderr.contains("started by the Tallyport library"), "{}", said.stderr);
}

#[test]
fn a_helper_that_is_none_is_refused() {
    for (path, texts) in [
        ("/bin/true", &["ended with exit code 0", "during loading"][..]),
        ("/nowhere/helper", &["/nowhere/helper"][..]),
    ] {
        let mut config = Config::default();
        config.loading.plugin_host = Some(path.into());
        let engine = Engine::builder().config(config).build().unwrap();
        let error = engine.load_plugin("it", &isolated(&plugin("good_minimal.c"))).unwrap_err();
        for text in texts {
            assert!(error.to_string().contains(text), "{path}: no `{text}` in: {error}");
        }
    }
}

/// A host in C over libtallyport, with an isolated plugin called `it` that segfaults when asked to.
fn c_host(folder: &Path, verb: &str) -> Command {
    let library = folder.join("libtallyport.so.1");
    fs::copy(built("libtallyport.so"), &library).unwrap();
    let source = repo_root().join("tests/hosts/isolated_plugins.c");
    let rpath = format!("-Wl,-rpath,{}", folder.display());
    let flags = ["-O1", "-pthread", library.to_str().unwrap(), &rpath];
    let program = folder.join("host");
    compile(Compiler::Gcc, "c99", &[&source], &flags, &program).expect("the host");
    let config = folder.join("tallyport.toml");
    let text = format!(
        "schema = 1\n[loading]\nprobe = \"never\"\nplugin_host = {:?}\n[plugins.it]\npath = {:?}\n\
         isolation = \"process\"\nrequired = true\n[plugins.it.run]\nbackoff_ms = 1\n\
         max_backoff_ms = 1\n",
        helper(),
        plugin("segfaults.c")
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(program);
    command.arg(config).arg(verb);
    command
}

#[test]
fn forked_hosts_have_helpers_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let _ = run(&mut c_host(folder.path(), "forks")).success();
    let _ = run(&mut c_host(folder.path(), "forks-during-exports")).success();
}

#[test]
fn a_host_that_reaps_its_children_itself_loses_one_export_too() {
    let folder = tempfile::tempdir().unwrap();
    let _ = run(&mut c_host(folder.path(), "reaps")).success();
    let _ = run(&mut c_host(folder.path(), "ignores")).success();
}

#[test]
fn a_helper_ends_with_its_host_though_a_forked_copy_lives() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(&mut c_host(folder.path(), "is-killed"));
    assert_eq!(said.code, None, "{}", said.stderr);
    let pids: Vec<u32> = said.stdout.split_whitespace().map(|pid| pid.parse().unwrap()).collect();
    wait_until("the helper ends", || !is_running(pids[0]));
    assert!(is_running(pids[1]), "the copy lives");
    signal(pids[1], "KILL");
}

#[test]
fn nonsense_from_a_helper_is_refused_and_the_host_goes_on() {
    let rounds: u64 = std::env::var("TALLYPORT_NONSENSE").map_or(300, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("bad_helper");
    let source = repo_root().join("tests/hosts/bad_helper.c");
    compile(Compiler::Gcc, "c99", &[&source], &[], &program).expect("the helper");
    let [written, script] = ["written", "helper"].map(|name| folder.path().join(name));
    for seed in 0..rounds {
        // The environment of this process belongs to every test in it.
        let text = format!("#!/bin/sh\nTALLYPORT_TEST_SEED={seed} exec {}\n", program.display());
        fs::write(&written, text).unwrap();
        copy_program(&written, &script);
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = Config::default();
        config.loading.plugin_host = Some(script.clone());
        let engine = Engine::builder().config(config).build().unwrap();
        let loaded = engine.load_plugin("it", &isolated(&plugin("good_minimal.c")));
        let error = loaded.and_then(|_| engine.export_to_vec("it").map(drop)).unwrap_err();
        assert!(error.to_string().contains("plugin"), "seed {seed}: {error}");
    }
}

#[test]
fn nonsense_from_a_host_ends_a_helper_without_a_crash() {
    let rounds = std::env::var("TALLYPORT_NONSENSE").unwrap_or("300".to_owned());
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("bad_host");
    let source = repo_root().join("tests/hosts/bad_host.c");
    compile(Compiler::Gcc, "c99", &[&source], &[], &program).expect("the host");
    let _ = run(Command::new(program).arg(helper()).args(["0", &rounds])).success();
}

/// Keeps the text of every event.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = event.metadata().level().to_string();
        event.record(&mut |field: &field::Field, value: &dyn fmt::Debug| {
            write!(line, " {field}={value:?}").unwrap();
        });
        writeln!(self.0.lock().unwrap(), "{line}").unwrap();
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn log_lines_come_through_and_secrets_do_not() {
    let log = Log::default();
    let secret = "correct-horse-battery";
    let written = tracing::subscriber::with_default(log.clone(), || {
        let _ = Host::of("logs.c").export("it/bad").unwrap_err();
        let options = json!({ "password": secret }).as_object().cloned().unwrap();
        let config = PluginConfig { options, ..isolated(&plugin("tells_its_options.c")) };
        let host = Host::with(&config);
        let written = host.export("it").unwrap();
        let error = host.export("it").unwrap_err();
        assert!(error.to_string().contains("[FILTERED]"), "{error}");
        assert!(!format!("{error:?}").contains(secret), "{error}");
        written
    });
    assert!(written.contains(secret), "the plugin itself has it: {written}");
    let log = log.0.lock().unwrap();
    for (level, line) in [("INFO", "a line"), ("WARN", "a warning"), ("DEBUG", "a detail")] {
        let wanted = |said: &str| said.starts_with(level) && said.contains(line);
        assert!(log.lines().any(wanted), "no {level} `{line}` in:\n{log}");
    }
    assert!(log.contains("plugin=\"it\""), "{log}");
    assert!(!log.contains(secret), "{log}");
}
