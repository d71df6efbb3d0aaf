//! The probe: what crashes, hangs or leaves is found in a helper process, and the host goes on.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig, ProbeConfig},
    },
    model::{Error, ErrorKind},
    plugin::Sha256,
};
use tallyport_tests::{built, copy_program, plugin, run};

fn helper() -> PathBuf {
    // A host that reaps every child cannot call cargo: its test says where the helper is.
    let known = std::env::var_os("TALLYPORT_TEST_HELPER").map(PathBuf::from);
    known.unwrap_or_else(|| built("tallyport-plugin-host"))
}

/// An engine whose plugins go through the probe.
fn engine(timeout_ms: u64) -> Engine {
    let mut config = Config::default();
    config.loading.probe = ProbeConfig::Always;
    config.loading.probe_timeout_ms = timeout_ms;
    config.loading.plugin_host = Some(helper());
    with(config)
}

fn with(config: Config) -> Engine {
    let builder = Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS);
    builder.config(config).build().unwrap()
}

fn load(engine: &Engine, path: &Path) -> Result<Vec<String>, Error> {
    let entry = PluginConfig { path: Some(path.to_owned()), ..PluginConfig::default() };
    engine.load_plugin("under_test", &entry)
}

fn refused(engine: &Engine, path: &Path) -> String {
    let error = load(engine, path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginRefused, "{error}");
    assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    // The host lives, and its other exporters serve.
    assert!(!engine.export_to_vec("json").unwrap().is_empty());
    error.to_string()
}

#[test]
fn what_would_kill_or_block_the_host_is_refused() {
    let engine = engine(20_000);
    for (file, texts) in [
        ("crashes_loading.c", &["crashed in the probe (SIGSEGV, while loading)"][..]),
        ("exits_loading.c", &["ended the process in the probe (exit code 0, while loading)"]),
        (
            "aborts_exporting.c",
            &[
                "crashed in the probe (SIGABRT, while exporting with `com.example.aborts-exporting`)",
                "It said: a bug of the plugin's own",
            ],
        ),
        ("closes_descriptors.c", &["while loading"]),
    ] {
        let said = refused(&engine, &plugin(file));
        for text in texts {
            assert!(said.contains(text), "{file}: `{text}` is not in: {said}");
        }
        assert!(said.contains("its code did not run in this process"), "{said}");
    }
}

#[test]
fn a_file_that_hangs_is_given_up_at_the_time_limit() {
    let (engine, path) = (engine(300), plugin("hangs_loading.c"));
    let start = Instant::now();
    let said = refused(&engine, &path);
    assert!(said.contains("hung in the probe (while loading, for 300ms)"), "{said}");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_plugin_that_prints_and_leaves_a_child_passes() {
    // The child holds the helper's descriptors for a minute: nobody waits for it.
    let (engine, path) = (engine(20_000), plugin("leaves_a_child.c"));
    let start = Instant::now();
    load(&engine, &path).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}

#[test]
fn the_loaders_own_reasons_come_out_of_the_probe_as_they_are() {
    let engine = engine(20_000);
    for (file, kind, text) in [
        ("no_symbol.c", ErrorKind::PluginAbi, "tallyport_plugin_query_v1"),
        ("unresolved_symbol.c", ErrorKind::PluginRefused, "undefined symbol"),
        ("missing_required.c", ErrorKind::PluginAbi, "`export_snapshot` is NULL"),
    ] {
        let error = load(&engine, &plugin(file)).unwrap_err();
        assert_eq!((error.kind(), error.field()), (kind, Some("path")), "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
    // What `create` and `export` answer is for the host to see.
    let error = load(&engine, &plugin("create_fails.c")).unwrap_err();
    assert!(error.to_string().contains("`under_test` could not be created"), "{error}");
    load(&engine, &plugin("export_fails.c")).unwrap();
    assert_eq!(engine.export_to_vec("under_test").unwrap_err().kind(), ErrorKind::PluginFailed);
}

#[test]
fn without_the_helper_auto_loads_with_a_warning_and_always_refuses() {
    let good = plugin("good_minimal.c");
    for (file, reason) in [("/nowhere/host", "No such file"), ("/etc/passwd", "denied")] {
        let mut config = Config::default();
        config.loading.plugin_host = Some(file.into());
        load(&with(config.clone()), &good).unwrap();
        config.loading.probe = ProbeConfig::Always;
        let said = refused(&with(config), &good);
        let known = "helper program tallyport-plugin-host was not found";
        assert!(said.contains(known) && said.contains(file) && said.contains(reason), "{said}");
    }
    // Found and not to be started: as if it was not there.
    let folder = tempfile::tempdir().unwrap();
    let broken = folder.path().join("broken-helper");
    fs::write(&broken, "#!/nowhere/interpreter\n").unwrap();
    let _ = run(Command::new("chmod").arg("755").arg(&broken)).success();
    let mut config = Config::default();
    config.loading.plugin_host = Some(broken.clone());
    load(&with(config.clone()), &good).unwrap();
    config.loading.probe = ProbeConfig::Always;
    let said = refused(&with(config.clone()), &good);
    assert!(said.contains("cannot be tried before it is loaded: `"), "{said}");
    // A helper that others could have written is none.
    let _ = run(Command::new("chmod").arg("777").arg(&broken)).success();
    let said = refused(&with(config), &good);
    assert!(said.contains("everybody can write to it") && said.contains("chmod o-w"), "{said}");
    // Found, and something else: no file is called well because of that.
    let mut config = Config::default();
    config.loading.plugin_host = Some("/bin/true".into());
    let real = fs::canonicalize("/bin/true").unwrap();
    config.loading.plugin_host = Some(real);
    let said = refused(&with(config), &good);
    assert!(said.contains("is not the tallyport-plugin-host of this version"), "{said}");
}

#[test]
fn a_plugin_can_ask_for_less_or_more_than_the_configuration() {
    let mut config = Config::default();
    config.loading.plugin_host = Some("/nowhere/host".into());
    let engine = with(config);
    let entry = |probe| PluginConfig {
        path: Some(plugin("good_minimal.c")),
        probe: Some(probe),
        ..PluginConfig::default()
    };
    assert!(engine.load_plugin("strict", &entry(ProbeConfig::Always)).is_err());
    engine.load_plugin("lax", &entry(ProbeConfig::Never)).unwrap();
}

#[test]
fn bytes_that_passed_are_not_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let counting = folder.path().join("counting-helper");
    let script = format!("#!/bin/sh\necho x >> {count:?}\nexec {:?} \"$@\"\n", helper());
    let text = folder.path().join("text");
    fs::write(&text, script).unwrap();
    copy_program(&text, &counting);
    let _ = run(Command::new("chmod").args(["755"]).arg(&counting)).success();
    let mut config = Config::default();
    config.loading.plugin_host = Some(counting);
    let engine = with(config);
    let copies = ["a.so", "b.so"].map(|name| folder.path().join(name));
    for copy in &copies {
        fs::copy(plugin("good_minimal.c"), copy).unwrap();
        load(&engine, copy).unwrap();
        engine.plugins().unregister("under_test").unwrap();
    }
    assert_eq!(fs::read_to_string(count).unwrap(), "x\n");
}

/// Loads what the environment names, as the tests below want it.
#[test]
fn a_child_loads_a_file() {
    let Some(path) = std::env::var_os("TALLYPORT_TEST_LOAD") else { return };
    if std::env::var_os("TALLYPORT_TEST_REAPER").is_some() {
        // What forking servers do: whichever child ends is waited for at once.
        std::thread::spawn(|| {
            loop {
                let _ = rustix::process::wait(rustix::process::WaitOptions::empty());
                std::thread::yield_now();
            }
        });
    }
    for _ in 0..20 {
        match load(&engine(20_000), Path::new(&path)) {
            Ok(_) => println!("loaded"),
            Err(error) => println!("refused: {error}"),
        }
    }
}

#[test]
fn hosts_that_reap_every_child_or_ignore_their_end_can_probe() {
    let own = std::env::current_exe().unwrap();
    let arguments = ["--exact", "a_child_loads_a_file", "--nocapture"];
    for (file, expected) in [("good_minimal.c", "loaded"), ("crashes_loading.c", "refused: ")] {
        let path = plugin(file);
        // An ignored signal stays ignored in the program that a shell becomes.
        let mut ignoring = Command::new("sh");
        ignoring.args(["-c", "trap '' CHLD; exec \"$@\"", "sh"]).arg(&own);
        let mut reaping = Command::new(&own);
        reaping.env("TALLYPORT_TEST_REAPER", "1");
        for mut host in [ignoring, reaping] {
            let said = run(host
                .args(arguments)
                .env("TALLYPORT_TEST_LOAD", &path)
                .env("TALLYPORT_TEST_HELPER", helper()))
            .success();
            let lines = said.stdout.lines().filter(|line| line.contains(expected)).count();
            assert_eq!(lines, 20, "{file}: {}", said.stdout);
            if file == "crashes_loading.c" {
                let crash = "in the probe (";
                assert_eq!(said.stdout.matches(crash).count(), 20, "{}", said.stdout);
            }
        }
    }
}

#[test]
fn the_helper_keeps_no_descriptor_of_its_host() {
    let path = plugin("hangs_loading.c");
    let sha256 = Sha256::of(&fs::read(&path).unwrap()).to_string();
    // As a C host leaves it: without close-on-exec.
    let mut host = Command::new("sh");
    host.args(["-c", "exec 9</dev/null; exec \"$@\"", "sh"]).arg(helper());
    host.args(["probe", "in-place", &sha256]).arg(&path);
    let mut child = host.stdout(Stdio::piped()).spawn().unwrap();
    // It has begun when it says so.
    let mut said = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("loading") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0);
    }
    let inherited = fs::symlink_metadata(format!("/proc/{}/fd/9", child.id())).is_ok();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!inherited);
}
