//! Hot reload: the file as it is now takes the place of what was loaded from it, while exports run.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig, ProbeConfig, RunConfig},
    },
    model::ErrorKind,
};
use tallyport_tests::{built, plugin};

/// A plugin file that is replaced as a package manager does it.
struct Installed {
    _folder: tempfile::TempDir,
    path: PathBuf,
    good: Vec<u8>,
}

impl Installed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("answers.so");
        let installed =
            Self { path, good: fs::read(plugin("answers.c")).unwrap(), _folder: folder };
        installed.install(1);
        installed
    }

    /// Puts the version that answers with that number in the place of what is there.
    fn install(&self, number: u32) {
        let mut bytes = self.good.clone();
        let (old, new) = (b"answer 0001", format!("answer {number:04}"));
        let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(old)).collect();
        assert!(!places.is_empty());
        for at in places {
            bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
        }
        self.put(&bytes);
    }

    fn put(&self, bytes: &[u8]) {
        let fresh = self.path.with_extension("fresh");
        fs::write(&fresh, bytes).unwrap();
        fs::rename(&fresh, &self.path).unwrap();
    }

    fn entry(&self, run: RunConfig) -> PluginConfig {
        let probe = Some(ProbeConfig::Never);
        PluginConfig { path: Some(self.path.clone()), run, probe, ..PluginConfig::default() }
    }
}

fn engine() -> Engine {
    Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS).build().unwrap()
}

fn answer(engine: &Engine, name: &str) -> u32 {
    let text = String::from_utf8(engine.export_to_vec(name).unwrap()).unwrap();
    text.trim().strip_prefix("answer ").unwrap().parse().unwrap()
}

/// Runs a test in a process of its own, for what it measures or uses up; false: that was done here.
fn alone(test: &str) -> bool {
    const INSIDE: &str = "TALLYPORT_TEST_INSIDE";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let own = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(own);
    child.args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let said = tallyport_tests::run(&mut child).success();
    assert!(said.stdout.contains("1 passed"), "{}", said.stdout);
    false
}

/// With a thread of its own.
fn on_worker() -> RunConfig {
    RunConfig { deadline_ms: Some(60_000), queue: 64, ..RunConfig::default() }
}

#[test]
fn the_file_as_it_is_now_takes_the_place_of_what_was_loaded() {
    for run in [RunConfig::default(), on_worker()] {
        let (engine, installed) = (engine(), Installed::new());
        engine.load_plugin("mine", &installed.entry(run)).unwrap();
        assert_eq!(answer(&engine, "mine"), 1);
        // The same bytes are the same image, of which a new instance is made.
        engine.reload_plugin("mine").unwrap();
        assert_eq!(engine.plugins().by_name("mine").unwrap().statistics().exports, 0);
        for number in [2, 3, 1, 2] {
            installed.install(number);
            engine.reload_plugin("mine").unwrap();
            assert_eq!(answer(&engine, "mine"), number);
        }
        let info = engine.plugins().by_name("mine").unwrap().info();
        assert_eq!(info.origin, installed.path.display().to_string());
    }
}

#[test]
fn the_old_one_serves_on_when_anything_fails() {
    let (engine, installed) = (engine(), Installed::new());
    engine.load_plugin("mine", &installed.entry(RunConfig::default())).unwrap();
    let fails = |kind: ErrorKind, what: &str| {
        let error = engine.reload_plugin("mine").unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(what), "{error}");
        assert_eq!(answer(&engine, "mine"), 1);
    };
    installed.put(&installed.good[..installed.good.len() / 2]);
    fails(ErrorKind::PluginRefused, "answers.so");
    installed.put(b"#!/bin/sh\n");
    fails(ErrorKind::PluginRefused, "not an ELF file");
    installed.put(&fs::read(plugin("create_fails.c")).unwrap());
    fails(ErrorKind::NotFound, "has no exporter `com.example.answers`");
    installed.install(9000);
    fails(ErrorKind::PluginFailed, "could not be created");
    fs::remove_file(&installed.path).unwrap();
    fails(ErrorKind::PluginRefused, "answers.so");
    installed.install(2);
    engine.reload_plugin("mine").unwrap();
    assert_eq!(answer(&engine, "mine"), 2);
}

#[test]
fn only_what_came_from_a_file_is_loaded_anew() {
    let engine = engine();
    let unknown = engine.reload_plugin("nobody").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "{unknown}");
    let linked = engine.reload_plugin("csv").unwrap_err();
    assert_eq!(linked.kind(), ErrorKind::Unsupported, "{linked}");
    let installed = Installed::new();
    engine.load_plugin("mine", &installed.entry(RunConfig::default())).unwrap();
    // What took the name meanwhile came from somewhere else.
    engine.plugins().unregister("mine").unwrap();
    let table = tallyport_core::plugin::Table::linked(&tallyport_builtin_exporters::EXPORTERS);
    engine.register_plugin("mine", table.unwrap()[2].clone(), serde_json::Map::new()).unwrap();
    assert_eq!(engine.reload_plugin("mine").unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn what_the_configuration_loaded_is_loaded_anew_with_its_options() {
    let installed = Installed::new();
    let folder = installed.path.parent().unwrap();
    let text = "schema = 1\n[plugins.mine]\npath = \"answers.so\"\nprobe = \"never\"\n";
    let config = Config::parse(text, "test.toml", folder).unwrap();
    let engine = Engine::builder().config(config).build().unwrap();
    installed.install(7);
    engine.reload_plugin("mine").unwrap();
    assert_eq!(answer(&engine, "mine"), 7);
    // Of a file with several exporters, each is loaded anew under its own name.
    let several = "libtallyport_builtin_exporters_loadable.so";
    let path = Some(built(several));
    let several = PluginConfig { path, probe: Some(ProbeConfig::Never), ..PluginConfig::default() };
    let names = engine.load_plugin("all", &several).unwrap();
    for name in &names {
        engine.reload_plugin(name).unwrap();
        assert_eq!(engine.plugins().by_name(name).unwrap().info().id, *name);
    }
}

#[test]
fn the_number_of_images_is_bounded() {
    if !alone("the_number_of_images_is_bounded") {
        return;
    }
    let (engine, installed) = (engine(), Installed::new());
    engine.load_plugin("mine", &installed.entry(RunConfig::default())).unwrap();
    let mut last = 1;
    let error = (1000..2000).find_map(|number| {
        installed.install(number);
        let done = engine.reload_plugin("mine");
        last = if done.is_ok() { number } else { last };
        done.err()
    });
    let error = error.expect("images are never unmapped, so there must be an end");
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("restart"), "{error}");
    assert_eq!(answer(&engine, "mine"), last, "the old one serves on");
    // What is mapped already may come back.
    installed.install(1000);
    engine.reload_plugin("mine").unwrap();
    assert_eq!(answer(&engine, "mine"), 1000);
}

/// Kilobytes of memory in use, lines of the map of memory, and threads of this process.
fn size() -> BTreeMap<&'static str, u64> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let images = maps.lines().filter(|line| line.contains("answers") || line.contains("memfd:"));
    [("kB", field("VmRSS:")), ("images", images.count() as u64), ("threads", field("Threads:"))]
        .into_iter()
        .collect()
}

#[test]
fn exports_do_not_notice_that_their_exporter_is_reloaded() {
    if !alone("exports_do_not_notice_that_their_exporter_is_reloaded") {
        return;
    }
    let reloads = std::env::var("TALLYPORT_RELOADS").map_or(100, |text| text.parse().unwrap());
    let (engine, installed) = (engine(), Installed::new());
    engine.load_plugin("direct", &installed.entry(RunConfig::default())).unwrap();
    engine.load_plugin("worker", &installed.entry(on_worker())).unwrap();
    let (stop, exports) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for exporter in ["direct", "worker", "direct", "worker"] {
            let (engine, stop, exports) = (&engine, &stop, &exports);
            scope.spawn(move || {
                while !stop.load(SeqCst) {
                    assert!([1, 2].contains(&answer(engine, exporter)));
                    exports.fetch_add(1, SeqCst);
                }
            });
        }
        let stopped = Stop(&stop);
        let reload = |times: u32| {
            for number in (0..times).map(|round| 1 + round % 2) {
                installed.install(number);
                let before = exports.load(SeqCst);
                for exporter in ["direct", "worker"] {
                    engine.reload_plugin(exporter).unwrap();
                    assert_eq!(answer(&engine, exporter), number);
                }
                while exports.load(SeqCst) == before {
                    thread::yield_now();
                }
            }
        };
        reload(20);
        let before = size();
        reload(reloads);
        let after = size();
        assert!(after["kB"] < before["kB"] + 8192, "{before:?} {after:?}");
        assert_eq!(after["images"], before["images"], "{before:?} {after:?}");
        assert!(after["threads"] <= before["threads"] + 2, "{before:?} {after:?}");
        drop(stopped);
    });
    assert!(exports.load(SeqCst) > u64::from(reloads));
    for plugin in engine.plugins().list() {
        let failures = engine.plugins().by_name(&plugin.name).unwrap().statistics().failures;
        assert_eq!((failures, plugin.zombies), (0, 0), "{}", plugin.name);
    }
}

/// Ends the exports, also when an assertion ends the test.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Pins come before what a file is now.
#[test]
fn a_pinned_file_that_changed_is_not_loaded() {
    let (engine, installed) = (engine(), Installed::new());
    let sha256 = tallyport_core::plugin::Sha256::of(&fs::read(&installed.path).unwrap());
    let pinned =
        PluginConfig { sha256: Some(sha256.to_string()), ..installed.entry(RunConfig::default()) };
    engine.load_plugin("mine", &pinned).unwrap();
    engine.reload_plugin("mine").unwrap();
    installed.install(2);
    let error = engine.reload_plugin("mine").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginRefused);
    assert!(error.to_string().contains("the pin says"), "{error}");
    assert_eq!(answer(&engine, "mine"), 1);
}
