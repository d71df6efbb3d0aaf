//! Exporters on threads of their own that call the engine again.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::{
    collections::{BTreeMap, HashMap},
    sync::LazyLock,
    thread,
};

use parking_lot::Mutex;
use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig, RunConfig},
    },
    model::ErrorKind,
    plugin::Health,
};
use tallyport_plugin_api::{Call, Error, Exporter, Host, Info, Sink, Snapshot, format, plugin_set};

/// The engines that exporters call, by the name of a test.
static ENGINES: LazyLock<Mutex<HashMap<String, Engine>>> = LazyLock::new(Mutex::default);

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Options {
    test: String,
    /// What to export from inside an export; or `unregister`.
    then: String,
}

/// Calls its own engine from inside an export, and writes what that answered.
struct Again(Options);

impl Exporter for Again {
    type Options = Options;
    const INFO: Info =
        Info { formats: &[format("again", "text/plain")], ..Info::new("again", "1") };

    fn create(_: Host, options: Options) -> Result<Self, Error> {
        Ok(Self(options))
    }

    fn export(&self, _: &Call<'_>, _: &Snapshot<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
        let engine = ENGINES.lock().get(&self.0.test).cloned().unwrap();
        let said = match self.0.then.as_str() {
            "" => "nothing".to_owned(),
            "unregister" => format!("{:?}", engine.plugins().unregister("a").map_err(|e| e.kind())),
            then => format!("{:?}", engine.export_to_vec(then).map_err(|e| e.kind())),
        };
        sink.write(said.as_bytes())
    }
}

plugin_set!(static SET: [Again]);

/// A deadline that passes, if a test is to end.
fn run(deadline_ms: u64) -> RunConfig {
    RunConfig { deadline_ms: Some(deadline_ms), grace_ms: 60_000, ..RunConfig::default() }
}

fn engine(test: &str, plugins: &[(&str, &str, &RunConfig)]) -> Engine {
    let configured = plugins.iter().map(|(name, then, run)| {
        let options = [("test".to_owned(), test.into()), ("then".to_owned(), (*then).into())];
        let plugin = PluginConfig {
            exporter: Some("again".to_owned()),
            options: options.into_iter().collect(),
            run: (*run).clone(),
            ..PluginConfig::default()
        };
        ((*name).to_owned(), plugin)
    });
    let plugins: BTreeMap<_, _> = configured.collect();
    let engine = Engine::builder().config(Config { plugins, ..Config::default() }).linked(&SET);
    let engine = engine.build().unwrap();
    assert!(engine.load_failures().is_empty(), "{:?}", engine.load_failures());
    ENGINES.lock().insert(test.to_owned(), engine.clone());
    engine
}

fn says(engine: &Engine, selector: &str) -> String {
    String::from_utf8(engine.export_to_vec(selector).unwrap()).unwrap()
}

#[test]
fn an_exporter_that_calls_itself_is_told_so() {
    for (test, run) in [("itself on a worker", run(60_000)), ("itself", RunConfig::default())] {
        let engine = engine(test, &[("a", "a", &run)]);
        assert_eq!(says(&engine, "a"), "Err(InvalidArgument)");
        assert_eq!(engine.plugins().by_name("a").unwrap().info().health, Health::Ready);
    }
}

#[test]
fn exporters_that_call_each_other_in_a_circle_end_at_their_deadlines() {
    let (short, long) = (run(200), run(60_000));
    let engine = engine("circle", &[("a", "b", &short), ("b", "a", &long), ("c", "", &short)]);
    // a waits for b, which waits for a's turn: one of their deadlines passes first.
    match engine.export_to_vec("a") {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout),
        Ok(said) => assert_eq!(said, format!("Ok({:?})", b"Err(Timeout)").as_bytes()),
    }
    assert_eq!(says(&engine, "c"), "nothing");
    for plugin in engine.plugins().list() {
        assert_eq!((plugin.health, plugin.zombies), (Health::Ready, 0), "{}", plugin.name);
    }
}

#[test]
fn an_exporter_may_take_itself_out() {
    for (test, run) in [("out on a worker", run(60_000)), ("out", RunConfig::default())] {
        let engine = engine(test, &[("a", "unregister", &run)]);
        assert_eq!(says(&engine, "a"), "Ok(())");
        assert_eq!(engine.export_to_vec("a").unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn many_threads_share_one_worker() {
    let engine = engine("many", &[("a", "", &RunConfig { queue: 64, ..run(60_000) })]);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| (0..100).for_each(|_| assert_eq!(says(&engine, "a"), "nothing")));
        }
    });
    let statistics = engine.plugins().by_name("a").unwrap().statistics();
    assert_eq!((statistics.exports, statistics.failures, statistics.bytes), (1600, 0, 1600 * 7));
}
