//! A vendor's exporter in Go, run as one has to be: in a helper process.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tallyport_core::{
    engine::{
        Engine,
        config::{Config, HelperConfig, IsolationConfig, PluginConfig, RunConfig},
    },
    model::ErrorKind,
};
use tallyport_tests::{build_folder, built, plugin, repo_root, run};

/// Builds the exporter against the header, once. The test fails when it does not compile.
fn exporter() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let file = build_folder().join("statsd_go.so");
        let fresh = build_folder().join(format!("statsd_go.{}.so", std::process::id()));
        let mut go = Command::new("go");
        go.current_dir(repo_root().join("tests/plugins/go"));
        go.args(["build", "-buildmode=c-shared", "-buildvcs=false", "-o"]).arg(&fresh).arg(".");
        // Nothing is downloaded: the exporter needs Go's own library alone.
        go.env("GOPROXY", "off").env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
        go.env("GOCACHE", build_folder().join("go-cache"));
        let include = repo_root().join("include");
        // Go knows of no header outside of the package: without their text in the command it would
        // take what it built from older ones.
        let mut text = DefaultHasher::new();
        fs::read(include.join("tallyport_plugin.h")).unwrap().hash(&mut text);
        let headers = format!("-DTALLYPORT_HEADERS={}u", text.finish() as u32);
        go.env("CGO_CFLAGS", format!("-O2 -I{} {headers}", include.display()));
        go.env("CGO_LDFLAGS", "-Wl,-Bsymbolic,-z,now,-z,nodelete");
        let _ = run(&mut go).success();
        // Another test process may have the last build mapped.
        fs::rename(&fresh, &file).unwrap();
        let _ = fs::remove_file(fresh.with_extension("h"));
        file
    })
}

fn engine(series: u64) -> Engine {
    let mut config = Config::default();
    config.recording.self_metrics = false;
    let helper = built("tallyport-plugin-host");
    config.loading.plugin_host = Some(helper);
    let engine = Engine::builder().config(config).build().unwrap();
    let metrics = engine.metrics();
    for index in 0..series {
        let value = index.to_string();
        let labels = [("method", "G:E|T"), ("index", value.as_str())];
        metrics.counter("requests_total", &labels).unwrap().add(index);
        let number = (index as f64).sqrt() * 1e3_f64.powi((index % 9) as i32 - 4);
        metrics.gauge("temp é", &labels).unwrap().set(-number);
        metrics.counter_f64("seconds_total", &labels).unwrap().add(number).unwrap();
    }
    metrics.gauge("odd", &[]).unwrap().set(f64::NAN);
    metrics.gauge("zero", &[]).unwrap().set(-0.0);
    metrics.up_down_counter("in_flight", &[]).unwrap().add(-3);
    let histogram = metrics.histogram("took_seconds", &[0.005, 1.0, 1e15], &[]).unwrap();
    for value in [0.001, 0.5, 7.25, 1e16] {
        histogram.observe(value);
    }
    engine
}

fn isolated(path: &Path, options: Value) -> PluginConfig {
    PluginConfig {
        path: Some(path.to_owned()),
        isolation: IsolationConfig::Process,
        options: options.as_object().cloned().unwrap(),
        ..PluginConfig::default()
    }
}

#[test]
fn an_exporter_in_go_writes_what_the_one_in_c_does() {
    let engine = engine(20_000);
    let options = json!({ "prefix": "app:" });
    let go = isolated(exporter(), options.clone());
    engine.load_plugin("go", &go).unwrap();
    engine.load_plugin("c", &isolated(&plugin("statsd_lines.c"), options)).unwrap();
    let expected = engine.export_to_vec("c").unwrap();
    assert!(expected.len() > 1 << 20, "several pieces");
    for _ in 0..3 {
        assert!(engine.export_to_vec("go").unwrap() == expected);
    }
    let info = engine.plugins().by_name("go").unwrap().info();
    assert_eq!((info.id.as_str(), info.version.as_str()), ("statsd_go", "1.0.0"));
    assert!(info.process.is_some(), "{info:?}");
    // The collector runs meanwhile, and callers come from several threads.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert!(engine.export_to_vec("go").unwrap() == expected);
                }
            });
        }
    });
    // None of it is in this process.
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("statsd_go"), "{maps}");
}

#[test]
fn what_go_does_to_its_process_costs_one_export() {
    let engine = engine(10);
    let load = |name: &str, fail: &str| {
        let run = RunConfig {
            deadline_ms: Some(2_000),
            grace_ms: 100,
            backoff_ms: 1,
            max_backoff_ms: 1,
            breaker_failures: Some(0),
            ..RunConfig::default()
        };
        let entry = PluginConfig { run, ..isolated(exporter(), json!({ "fail": fail })) };
        engine.load_plugin(name, &entry)
    };
    let refused = load("create", "create").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Panic, "{refused}");
    assert!(refused.to_string().contains("panic: as told in create"), "{refused}");
    load("good", "").unwrap();
    for (fail, kind, text) in [
        ("export", ErrorKind::Panic, "panic: as told in export"),
        // What the runtime of Go makes of a panic that nobody recovers, in a library.
        ("process", ErrorKind::PluginFailed, "was killed by signal 6 (SIGABRT)"),
        ("hang", ErrorKind::Timeout, "did not return"),
    ] {
        load(fail, fail).unwrap();
        let error = engine.export_to_vec(fail).unwrap_err();
        assert_eq!(error.kind(), kind, "{fail}: {error}");
        assert!(error.to_string().contains(text), "{fail}: {error}");
        assert!(engine.export_to_vec("good").unwrap().starts_with(b"requests_total:"), "{fail}");
    }
}

#[test]
fn a_go_exporter_keeps_the_limits_of_its_helper() {
    let engine = engine(1_000);
    let helper = HelperConfig { open_files: Some(32), ..HelperConfig::default() };
    let run = RunConfig { max_output_bytes: 1000, ..RunConfig::default() };
    let entry = PluginConfig { helper, run, ..isolated(exporter(), json!({})) };
    engine.load_plugin("go", &entry).unwrap();
    let error = engine.export_to_vec("go").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    let process = engine.plugins().by_name("go").unwrap().info().process.unwrap();
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("32"), "{limits}");
    // Its threads end with it.
    drop(engine);
    let end = Instant::now() + Duration::from_secs(60);
    while Path::new(&format!("/proc/{process}")).exists() {
        assert!(Instant::now() < end, "the helper is still there");
        thread::sleep(Duration::from_millis(5));
    }
}
