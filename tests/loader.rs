//! The loader on what should not be loaded: a status, a message, and everybody else goes on.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig},
    },
    model::{Error, ErrorKind},
    plugin::{Health, inspect_file, load_file},
};
use tallyport_tests::{Compiler, PLUGIN_LINK, built, compile, plugin, repo_root, run};

fn engine() -> Engine {
    let engine = Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS);
    let engine = engine.build().unwrap();
    engine.metrics().counter("requests_total", &[("code", "200")]).unwrap().add(3);
    engine
}

fn entry(path: &Path) -> PluginConfig {
    PluginConfig { path: Some(path.to_owned()), ..PluginConfig::default() }
}

fn loadable() -> PathBuf {
    built("libtallyport_builtin_exporters_loadable.so")
}

/// Loads a plugin and exports with it: where it fails is its defect.
fn load_and_export(engine: &Engine, path: &Path) -> Result<Vec<u8>, Error> {
    let names = engine.load_plugin("under_test", &entry(path))?;
    let done = engine.export_to_vec(&names[0]);
    engine.plugins().unregister("under_test").unwrap();
    done
}

#[test]
fn plugin_defects_have_their_status() {
    use ErrorKind::*;
    let cases: &[(&str, ErrorKind, &[&str])] = &[
        ("no_descriptor.c", PluginRefused, &["descriptor"]),
        ("wrong_major.c", PluginAbi, &["ABI 9.", "this host speaks"]),
        ("no_symbol.c", PluginAbi, &["tallyport_plugin_query_v1"]),
        ("null_set.c", PluginAbi, &["no exporter"]),
        ("wrong_abi_table.c", PluginAbi, &["ABI"]),
        ("missing_required.c", PluginAbi, &["export_snapshot"]),
        ("short_struct.c", PluginAbi, &["struct_size 16"]),
        ("bad_id.c", PluginAbi, &["id"]),
        ("duplicate_id.c", PluginAbi, &["two of its exporters"]),
        ("unresolved_symbol.c", PluginRefused, &["undefined symbol"]),
        ("returns_panic.c", Panic, &["under_test"]),
        ("throws.cpp", Panic, &["under_test"]),
    ];
    let engine = engine();
    for (file, kind, texts) in cases {
        let path = plugin(file);
        let error = load_and_export(&engine, &path).unwrap_err();
        assert_eq!(error.kind(), *kind, "{file}: {error}");
        for text in *texts {
            assert!(error.to_string().contains(text), "{file}: `{text}` is not in: {error}");
        }
        if !matches!(kind, Panic) {
            assert!(error.to_string().contains(file), "{file} is not named: {error}");
        }
        // The host lives and the other exporters serve.
        let text = String::from_utf8(engine.export_to_vec("prometheus").unwrap()).unwrap();
        assert!(text.contains("requests_total{code=\"200\"} 3"), "{text}");
    }
}

#[test]
fn failures_of_create_and_export_carry_the_plugins_own_words() {
    let engine = engine();
    let error = load_and_export(&engine, &plugin("create_fails.c")).unwrap_err();
    assert!(error.to_string().contains("`under_test` could not be created"), "{error}");
    let error = load_and_export(&engine, &plugin("export_fails.c")).unwrap_err();
    assert!(error.to_string().contains("`under_test`: export failed"), "{error}");
}

#[test]
fn a_panic_poisons_the_exporter_until_it_is_replaced() {
    let engine = engine();
    let path = built("libtallyport_test_rust_panics.so");
    engine.load_plugin("panics", &entry(&path)).unwrap();
    assert_eq!(engine.export_to_vec("panics").unwrap_err().kind(), ErrorKind::Panic);
    assert_eq!(engine.export_to_vec("panics").unwrap_err().kind(), ErrorKind::Poisoned);
    assert!(
        engine
            .plugins()
            .list()
            .iter()
            .any(|info| info.name == "panics" && info.health == Health::Poisoned)
    );
    let good = plugin("good_minimal.c");
    engine.replace_plugin("panics", &entry(&good)).unwrap();
    assert!(!engine.export_to_vec("panics").unwrap().is_empty());
}

#[test]
fn a_panic_of_a_plugin_says_where_and_prints_nothing() {
    // This very test again, in a process whose stderr can be read.
    const INSIDE: &str = "TALLYPORT_TEST_INSIDE";
    let path = built("libtallyport_test_rust_panics.so");
    if std::env::var_os(INSIDE).is_some() {
        let engine = engine();
        engine.load_plugin("panics", &entry(&path)).unwrap();
        let error = engine.export_to_vec("panics").unwrap_err().to_string();
        assert!(error.contains("lib.rs:") && error.contains("on purpose"), "{error}");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let name = "a_panic_of_a_plugin_says_where_and_prints_nothing";
    let said = run(Command::new(own).args(["--exact", name, "--nocapture"]).env(INSIDE, "1"));
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{}", said.stdout);
    assert!(said.stdout.contains("1 passed"), "{}", said.stdout);
}

#[test]
fn a_sink_that_refuses_ends_the_export_with_its_own_error() {
    let engine = engine();
    engine.load_plugin("floods", &entry(&plugin("floods.c"))).unwrap();
    let mut room = 1_000_000_usize;
    let error = engine.export("floods", &mut |bytes| {
        room = room
            .checked_sub(bytes.len())
            .ok_or_else(|| Error::new(ErrorKind::Limit, "a million bytes are enough"))?;
        Ok(())
    });
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("a million bytes are enough"), "{error}");
    let statistics = engine.plugins().by_name("floods").unwrap().statistics();
    assert_eq!((statistics.exports, statistics.failures), (0, 1));
}

#[test]
fn files_that_are_no_plugins_are_refused_before_dlopen() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let good = fs::read(plugin("good_minimal.c")).unwrap();
    let mut foreign = good.clone();
    foreign[18..20].copy_from_slice(&40_u16.to_le_bytes());
    let mut object = good.clone();
    object[16..18].copy_from_slice(&1_u16.to_le_bytes());
    let mut narrow = good.clone();
    narrow[4] = 1;
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("empty.so", vec![], "empty"),
        ("text.so", b"#!/bin/sh\n".to_vec(), "not an ELF file"),
        ("narrow.so", narrow, "64-bit"),
        ("foreign.so", foreign, "machine 40"),
        ("object.so", object, "not a shared library"),
    ];
    for (name, bytes, reason) in cases {
        let error = load_file(&file(name, bytes)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PluginRefused, "{name}: {error}");
        assert!(error.to_string().contains(reason), "{name}: {error}");
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    let missing = load_file(&folder.path().join("missing.so")).unwrap_err();
    assert_eq!((missing.kind(), missing.os_error()), (ErrorKind::PluginRefused, Some(2)));
    assert_eq!(load_file(folder.path()).unwrap_err().kind(), ErrorKind::PluginRefused);
    let fifo = folder.path().join("fifo.so");
    let _ = run(Command::new("mkfifo").arg(&fifo)).success();
    assert_eq!(load_file(&fifo).unwrap_err().kind(), ErrorKind::PluginRefused);
    let libz = fs::canonicalize("/lib/x86_64-linux-gnu/libz.so.1").unwrap();
    let fine = load_file(&libz);
    assert!(fine.unwrap_err().to_string().contains("not a Tallyport plugin"));
}

#[test]
fn truncated_plugin_is_rejected_before_dlopen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.so");
    let good = fs::read(plugin("good_minimal.c")).unwrap();
    for len in (0..good.len()).step_by(512) {
        fs::write(&path, &good[..len]).unwrap();
        // A cut may leave a file whose segments are whole, with only section headers lost: the
        // descriptor is then not found.
        let error = load_file(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PluginRefused, "{len} bytes: {error}");
    }
}

#[test]
fn one_exporter_takes_the_place_of_one() {
    let engine = engine();
    engine.load_plugin("mine", &entry(&plugin("good_minimal.c"))).unwrap();
    let before = engine.plugins().list();
    let several = engine.replace_plugin("mine", &entry(&loadable())).unwrap_err();
    assert_eq!((several.kind(), several.field()), (ErrorKind::Config, Some("exporter")));
    assert!(several.to_string().contains("prometheus, json, csv"), "{several}");
    assert_eq!(engine.plugins().list(), before, "none was replaced");
    let exporter = Some("json".to_owned());
    let json = PluginConfig { exporter, ..entry(&loadable()) };
    engine.replace_plugin("mine", &json).unwrap();
    assert!(engine.export_to_vec("mine").unwrap().starts_with(b"{"));
}

/// Loads the file that the environment names; for the test below, which runs this one in a process
/// of its own.
#[test]
fn a_child_loads_a_file() {
    if let Some(path) = std::env::var_os("TALLYPORT_TEST_LOAD") {
        let _ = load_file(Path::new(&path));
    }
}

#[test]
fn headers_that_would_crash_the_loader_are_refused_before_dlopen() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read(plugin("good_minimal.c")).unwrap();
    let segments = usize::from(u16::from_le_bytes(good[56..58].try_into().unwrap()));
    let (mut refused, mut loaded) = (0, 0);
    let mut check = |name: String, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        if let Err(error) = inspect_file(&path) {
            assert_eq!(error.kind(), ErrorKind::PluginRefused, "{error}");
            refused += 1;
            return;
        }
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "a_child_loads_a_file"]).env("TALLYPORT_TEST_LOAD", &path);
        let said = run(&mut child);
        assert_eq!(said.code, Some(0), "{}: {}", path.display(), said.stderr);
        loaded += 1;
    };
    // Each word of each program header (type and flags, offset, address, sizes, alignment).
    for segment in 0..segments {
        for word in [0, 1, 2, 4, 5, 6] {
            let at = 64 + segment * 56 + word * 8;
            let was = u64::from_le_bytes(good[at..at + 8].try_into().unwrap());
            for now in [0, was ^ 1, was ^ 0x1000, was ^ 1 << 33, was ^ 1 << 46, !was] {
                let mut bytes = good.clone();
                bytes[at..at + 8].copy_from_slice(&now.to_le_bytes());
                check(format!("{segment}_{word}_{now:x}.so"), &bytes);
            }
        }
    }
    // Another number of program headers, and PN_XNUM, which the loader reads as that many.
    for count in [0, 1, 200, 0xffff_u16] {
        let mut bytes = good.clone();
        bytes[56..58].copy_from_slice(&count.to_le_bytes());
        bytes.resize(bytes.len() + 0xffff * 56, 0);
        check(format!("count_{count}.so"), &bytes);
    }
    // Each entry of the dynamic section leads nowhere.
    let word = |at: usize| u64::from_le_bytes(good[at..at + 8].try_into().unwrap()) as usize;
    let headers = (0..segments).map(|segment| 64 + segment * 56);
    let dynamic = headers.into_iter().find(|at| good[*at] == 2).unwrap();
    let (first, len) = (word(dynamic + 8), word(dynamic + 32));
    for entry in (first..first + len).step_by(16).take_while(|entry| word(*entry) != 0) {
        // What INIT and FINI lead to inside the code is nobody's business here.
        let mut bytes = good.clone();
        bytes[entry + 8..entry + 16].copy_from_slice(&(1_u64 << 40).to_le_bytes());
        check(format!("dynamic_{entry}.so"), &bytes);
    }
    assert!(refused > 150, "{refused} were refused, {loaded} loaded");
}

#[test]
fn a_plugin_is_found_under_a_second_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("first.so");
    fs::copy(plugin("good_minimal.c"), &path).unwrap();
    load_file(&path).unwrap();
    let link = folder.path().join("link.so");
    fs::hard_link(&path, &link).unwrap();
    load_file(&link).unwrap();
    let name = folder.path().file_name().unwrap();
    load_file(&folder.path().join("..").join(name).join("first.so")).unwrap();
}

#[test]
fn a_library_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libgone.so.1");
    let sources =
        ["needed.c", "needs_library.c"].map(|name| repo_root().join("tests/plugins").join(name));
    let flags = ["-fPIC", "-shared", "-Wl,-soname,libgone.so.1"];
    compile(Compiler::Gcc, "c99", &[&sources[0]], &flags, &library).unwrap();
    let path = folder.path().join("plugin.so");
    let mut flags = PLUGIN_LINK.to_vec();
    flags.push(library.to_str().unwrap());
    compile(Compiler::Gcc, "c99", &[&sources[1]], &flags, &path).unwrap();
    let error = load_file(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginRefused);
    assert!(error.to_string().contains("libgone.so.1"), "{error}");
    assert!(error.to_string().contains("a library that it needs is missing here"), "{error}");
}

#[test]
fn one_file_serves_under_two_names() {
    let engine = engine();
    let good = plugin("good_minimal.c");
    for name in ["first", "second"] {
        engine.load_plugin(name, &entry(&good)).unwrap();
    }
    engine.plugins().unregister("first").unwrap();
    assert_eq!(engine.export_to_vec("second").unwrap(), b"good\n");
}

#[test]
fn a_file_that_was_replaced_is_not_taken_for_the_old_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plugin.so");
    fs::copy(plugin("good_minimal.c"), &path).unwrap();
    load_file(&path).unwrap();
    // As a package manager does it.
    let fresh = folder.path().join("fresh");
    fs::copy(plugin("export_fails.c"), &fresh).unwrap();
    fs::rename(&fresh, &path).unwrap();
    let error = load_file(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginRefused);
    assert!(error.to_string().contains("another version of this file"), "{error}");
    // The same bytes again are the same plugin.
    fs::copy(plugin("good_minimal.c"), &fresh).unwrap();
    fs::rename(&fresh, &path).unwrap();
    load_file(&path).unwrap();
}

#[test]
fn rust_plugin_passes_the_layout_check() {
    let info = inspect_file(&loadable()).unwrap();
    assert!(info.rust);
    let file = load_file(&loadable()).unwrap();
    let ids: Vec<_> = file.tables.iter().map(|table| table.id.as_str()).collect();
    assert_eq!(ids, ["prometheus", "json", "csv"]);
}

#[test]
fn the_same_numbers_leave_through_every_plugin() {
    let engine = engine();
    let path = loadable();
    for id in ["prometheus", "json", "csv"] {
        let exporter = Some(id.to_owned());
        let plugin = PluginConfig { exporter, ..entry(&path) };
        engine.load_plugin(&format!("loaded_{id}"), &plugin).unwrap();
    }
    let snapshot = engine.snapshot().unwrap();
    let export = |selector: &str| {
        let mut bytes = Vec::new();
        engine
            .export_snapshot(&snapshot, selector, &mut |chunk| {
                bytes.extend_from_slice(chunk);
                Ok(())
            })
            .unwrap();
        String::from_utf8(bytes).unwrap()
    };
    for (linked, loaded) in [
        ("prometheus", "loaded_prometheus"),
        ("openmetrics", "loaded_prometheus/openmetrics"),
        ("csv", "loaded_csv"),
    ] {
        assert_eq!(export(linked), export(loaded));
    }
    // JSON says when it was exported; the rest is the same.
    let without_time = |text: String| {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        value["metadata"]["exported_at"] = "".into();
        value
    };
    assert_eq!(without_time(export("json")), without_time(export("loaded_json")));
}

#[test]
fn a_set_of_several_exporters_is_registered_under_their_ids() {
    let engine = Engine::builder().build().unwrap();
    let names = engine.load_plugin("builtin", &entry(&loadable())).unwrap();
    assert_eq!(names, ["prometheus", "json", "csv"]);
    let again = engine.load_plugin("builtin", &entry(&loadable())).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    let exporter = Some("nothing".to_owned());
    let unknown =
        engine.load_plugin("x", &PluginConfig { exporter, ..entry(&loadable()) }).unwrap_err();
    assert!(unknown.to_string().contains("prometheus, json, csv"), "{unknown}");
}

#[test]
fn a_configuration_loads_what_it_can_and_lists_what_it_cannot() {
    let good = plugin("good_minimal.c");
    let text = format!(
        "schema = 1\n\
         [plugins.good]\npath = {good:?}\n\
         [plugins.missing]\npath = \"nowhere/x.so\"\n\
         [plugins.off]\npath = \"nowhere/y.so\"\nenabled = false\n\
         [plugins.csv]\noptions = {{ separator = \";\" }}\n\
         [plugins.json]\noptions = {{ prety = true }}\n"
    );
    let config = Config::parse(&text, "test.toml", Path::new("/base")).unwrap();
    let builder = Engine::builder().linked(&tallyport_builtin_exporters::EXPORTERS);
    let engine = builder.config(config).build().unwrap();
    let mut names: Vec<_> = engine.plugins().list().into_iter().map(|info| info.name).collect();
    names.sort();
    assert_eq!(names, ["csv", "good", "prometheus"]);
    let failures = engine.load_failures();
    assert_eq!(failures.len(), 2);
    assert_eq!(
        (failures[0].plugin.as_str(), failures[0].error.kind()),
        ("json", ErrorKind::Config)
    );
    let options = failures[0].error.to_string();
    assert!(options.contains("test.toml:12:") && options.contains("`pretty`"), "{options}");
    assert!(failures[1].error.to_string().contains("/base/nowhere/x.so"));
    let csv = String::from_utf8(engine.export_to_vec("csv").unwrap()).unwrap();
    assert!(csv.starts_with("timestamp;name;type;value;labels\n"), "{csv}");
}

#[test]
fn a_required_plugin_that_fails_keeps_the_engine_from_opening() {
    let text = "schema = 1\n[plugins.missing]\npath = \"nowhere/x.so\"\nrequired = true\n";
    let config = Config::parse(text, "test.toml", Path::new("/base")).unwrap();
    let error = Engine::builder().config(config).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginRefused);
    assert!(error.to_string().contains("required plugin `missing`"), "{error}");
}

#[test]
fn plugins_are_found_by_name_by_format_and_by_both() {
    let engine = engine();
    engine.load_plugin("mine", &entry(&plugin("good_minimal.c"))).unwrap();
    let plugins = engine.plugins();
    let chosen = |selector: &str| {
        let (plugin, format) = plugins.select(selector).unwrap();
        (plugin.info().name, format)
    };
    assert_eq!(chosen("prometheus"), ("prometheus".into(), Some("prometheus".into())));
    assert_eq!(chosen("openmetrics"), ("prometheus".into(), Some("openmetrics".into())));
    assert_eq!(chosen("prometheus/openmetrics"), ("prometheus".into(), Some("openmetrics".into())));
    assert_eq!(chosen("mine"), ("mine".into(), None));
    let unknown = plugins.select("nothing").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
    assert!(
        unknown
            .to_string()
            .contains("prometheus (prometheus, openmetrics, prometheus_utf8, openmetrics_utf8)"),
        "{unknown}"
    );
    let format = engine.export_to_vec("csv/json").unwrap_err();
    assert_eq!(format.kind(), ErrorKind::Unsupported);
    plugins.unregister("mine").unwrap();
    assert_eq!(plugins.unregister("mine").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn lifecycle_calls_surround_an_export() {
    let engine = engine();
    engine.load_plugin("life", &entry(&plugin("lifecycle.c"))).unwrap();
    let seen = || String::from_utf8(engine.export_to_vec("life").unwrap()).unwrap();
    let first = seen();
    assert_eq!(first, "requests 1 completes 0 status 0 bytes 0 flushes 0\n");
    let bytes = first.len();
    assert_eq!(seen(), format!("requests 2 completes 1 status 0 bytes {bytes} flushes 0\n"));
    // A refused request reaches the caller, and is completed with its status.
    let refused = engine.export_to_vec("life/refused").unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Limit);
    assert!(refused.to_string().contains("refused the export: not now"), "{refused}");
    let limit = ErrorKind::Limit.status();
    assert_eq!(seen(), format!("requests 4 completes 3 status {limit} bytes 0 flushes 0\n"));
    // An output that failed is completed with the output's status.
    let failed = engine.export("life", &mut |_| Err(Error::new(ErrorKind::Io, "unplugged")));
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Io);
    engine.plugins().flush().unwrap();
    let io = ErrorKind::Io.status();
    assert_eq!(seen(), format!("requests 6 completes 5 status {io} bytes 0 flushes 1\n"));
}

#[test]
fn eight_threads_register_replace_export_and_unregister() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 200;
    let engine = engine();
    let before = engine.plugins().list();
    let good = load_file(&plugin("good_minimal.c")).unwrap().tables[0].clone();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, good) = (&engine, &good);
            scope.spawn(move || {
                let own = format!("own{thread}");
                for _ in 0..ROUNDS {
                    engine.plugins().register(&own, good.clone(), "").unwrap();
                    assert!(!engine.export_to_vec(&own).unwrap().is_empty());
                    // All want one name: one gets it, and whoever exports finds it or does not.
                    match engine.plugins().register("shared", good.clone(), "") {
                        Ok(()) => engine.plugins().unregister("shared").unwrap(),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists),
                    }
                    match engine.export_to_vec("shared") {
                        Ok(bytes) => assert!(!bytes.is_empty()),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
                    }
                    assert!(!engine.export_to_vec("prometheus").unwrap().is_empty());
                    engine.plugins().replace(&own, good.clone(), "").unwrap();
                    let statistics = engine.plugins().by_name(&own).unwrap().statistics();
                    assert_eq!(statistics.exports, 0, "a replaced exporter counts anew");
                    engine.plugins().unregister(&own).unwrap();
                }
            });
        }
    });
    assert_eq!(engine.plugins().list(), before);
    let statistics = engine.plugins().by_name("prometheus").unwrap().statistics();
    assert_eq!((statistics.exports, statistics.failures), (THREADS * ROUNDS, 0));
}

#[test]
fn concurrent_load_unregister_and_export_is_exact() {
    let stress = env!("CARGO_BIN_EXE_stress");
    let said = run(Command::new(stress)
        .args(["--seconds", "10", "--plugin"])
        .arg(plugin("good_minimal.c"))
        .arg("--plugin")
        .arg(format!("{}@csv", loadable().display())))
    .success();
    assert!(said.stdout.starts_with("exact: "), "{}", said.stdout);
}
