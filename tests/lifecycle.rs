//! Exporters that want to know of syncs (`tallyport.lifecycle/1`, `on_sync`), wherever they run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // as tests

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig},
    },
    model::ErrorKind,
};
use tallyport_tests::{built, plugin};

/// An engine with a store, and the same exporter on the caller's thread, on one of its own, and in a
/// process of its own.
fn engine(folder: &Path) -> Engine {
    let (file, cpp) = (plugin("hears_syncs.c"), plugin("hears_syncs.cpp"));
    let helper = built("tallyport-plugin-host");
    let (file, cpp, helper) = (file.display(), cpp.display(), helper.display());
    let toml = format!(
        "schema = 1\n[loading]\nprobe = 'never'\nplugin_host = '{helper}'\n\
         [recording]\nself_metrics = false\n[store]\nkind = 'sqlite'\npath = 'store.db'\n\
         [plugins.direct]\npath = '{file}'\n\
         [plugins.thread]\npath = '{file}'\nrun = {{ deadline_ms = 60000 }}\n\
         [plugins.process]\npath = '{file}'\nisolation = 'process'\n\
         [plugins.cpp]\npath = '{cpp}'\n"
    );
    let config = Config::parse(&toml, "test", folder).unwrap();
    let engine = Engine::builder().config(config).build().unwrap();
    assert!(engine.load_failures().is_empty(), "{:?}", engine.load_failures());
    engine
}

const ALL: [&str; 3] = ["direct", "thread", "process"];

fn heard(engine: &Engine, name: &str) -> String {
    String::from_utf8(engine.export_to_vec(name).unwrap()).unwrap()
}

#[test]
fn a_sync_is_told_to_the_exporters_that_want_to_know() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    for name in ALL {
        assert_eq!(heard(&engine, name), "calls 0 syncs 0 series 0 bytes 0 took 0  \n", "{name}");
    }
    engine.metrics().counter("requests_total", &[("code", "200")]).unwrap().add(3);
    let first = engine.sync().unwrap();
    assert!(first.series == 1 && first.bytes > 0, "{first:?}");
    for name in ALL.iter().chain(&["cpp"]) {
        let expected = format!(
            "calls 1 syncs 1 series 1 bytes {} took 1 sqlite distributed_atomic\n",
            first.bytes
        );
        assert_eq!(heard(&engine, name), expected, "{name}");
    }
    engine.metrics().counter("requests_total", &[("code", "500")]).unwrap().add(1);
    let second = engine.leave().unwrap();
    let bytes = first.bytes + second.bytes;
    for name in ALL {
        let said = heard(&engine, name);
        assert!(said.starts_with(&format!("calls 2 syncs 2 series 2 bytes {bytes} ")), "{said}");
    }
}

#[test]
fn what_is_thrown_when_a_sync_is_told_costs_that_exporter_only() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    let options = serde_json::json!({ "throws": true }).as_object().unwrap().clone();
    let entry =
        PluginConfig { path: Some(plugin("hears_syncs.cpp")), options, ..PluginConfig::default() };
    engine.load_plugin("bad", &entry).unwrap();
    engine.sync().unwrap();
    assert!(heard(&engine, "direct").starts_with("calls 1 syncs 1 "));
    // It is poisoned, and made anew as after any other panic.
    let error = engine.export_to_vec("bad").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
    engine.sync().unwrap();
    assert!(heard(&engine, "direct").starts_with("calls 2 syncs 2 "));
}

#[test]
fn a_sync_waits_for_no_export_and_is_told_by_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    for name in ALL {
        engine.sync().unwrap();
        // In the middle of its export, on the export's own thread: to tell it would be to wait for ever.
        let mut first = true;
        let large = engine.export(&format!("{name}/large"), &mut |_| {
            if std::mem::take(&mut first) { engine.sync().map(drop) } else { Ok(()) }
        });
        assert!(large.unwrap().bytes > 1 << 22, "{name}");
    }
    // Six syncs. Each was told of one of them by the next; the last one has not been yet.
    let said: Vec<String> = ALL.iter().map(|name| heard(&engine, name)).collect();
    for (said, expected) in
        said.iter().zip(["calls 5 syncs 6 ", "calls 5 syncs 6 ", "calls 5 syncs 5 "])
    {
        assert!(said.starts_with(expected), "{said}");
    }
    engine.sync().unwrap();
    for name in ALL {
        let said = heard(&engine, name);
        assert!(said.starts_with("calls 6 syncs 7 "), "{name}: {said}");
    }
}

#[test]
fn syncs_in_the_background_are_told_and_a_store_that_fails_tells_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine(folder.path());
    engine.start_sync().unwrap();
    let until = Instant::now() + Duration::from_secs(60);
    while ALL.iter().any(|name| heard(&engine, name).starts_with("calls 0 ")) {
        assert!(Instant::now() < until, "no sync in the background was told of");
        std::thread::yield_now();
    }
    engine.stop_sync(Duration::from_secs(60)).unwrap();
    let toml = "schema = 1\n[loading]\nprobe = 'never'\n[store]\nkind = 'sqlite'\npath = 'absent/store.db'\n";
    let config = Config::parse(toml, "test", folder.path()).unwrap();
    let other = Engine::builder().config(config).build().unwrap();
    let entry = PluginConfig { path: Some(plugin("hears_syncs.c")), ..PluginConfig::default() };
    other.load_plugin("it", &entry).unwrap();
    assert!(other.sync().is_err());
    assert!(heard(&other, "it").starts_with("calls 0 "));
}
