//! Exporters that are registered, replaced and taken out: all or none, and from inside a call.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, PluginConfig},
    },
    model::ErrorKind,
    plugin::Table,
};
use tallyport_plugin_api::{Call, Error, Exporter, Host, Info, Sink, Snapshot, format, plugin_set};

/// Live instances of all exporters here.
static ALIVE: AtomicU32 = AtomicU32::new(0);
/// Tests that count the living run one after the other.
static COUNTING: Mutex<()> = Mutex::new(());

macro_rules! exporter {
    ($name:ident, $id:literal) => {
        struct $name;

        impl Exporter for $name {
            type Options = Options;
            const INFO: Info = Info {
                formats: &[format($id, "text/plain")],
                config_schema_json: r#"{"properties":{"fail":{"type":"boolean"}},
                    "additionalProperties":false}"#,
                ..Info::new($id, "1")
            };

            fn create(_: Host, options: Options) -> Result<Self, Error> {
                if options.fail {
                    return Err(Error::failed("as told"));
                }
                ALIVE.fetch_add(1, SeqCst);
                Ok(Self)
            }

            fn export(
                &self,
                _: &Call<'_>,
                _: &Snapshot<'_>,
                sink: &mut Sink<'_>,
            ) -> Result<(), Error> {
                sink.write($id.as_bytes())
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                ALIVE.fetch_sub(1, SeqCst);
            }
        }
    };
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Options {
    fail: bool,
}

exporter!(One, "one");
exporter!(Two, "two");
exporter!(Three, "three");

plugin_set!(static SET: [One, Two, Three]);

fn tables() -> Vec<(String, Arc<Table>)> {
    let tables = Table::linked(&SET).unwrap();
    tables.into_iter().map(|table| (table.id.clone(), table)).collect()
}

fn names(engine: &Engine) -> Vec<String> {
    engine.plugins().list().into_iter().map(|plugin| plugin.name).collect()
}

#[test]
fn several_exporters_are_registered_all_or_none() {
    let _counting = COUNTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let engine = Engine::builder().build().unwrap();
    let alive = ALIVE.load(SeqCst);
    let failed = engine.plugins().register_all(tables(), r#"{"fail":true}"#).unwrap_err();
    assert_eq!(failed.kind(), ErrorKind::PluginFailed);
    engine.plugins().register("three", tables()[0].1.clone(), "").unwrap();
    let taken = engine.plugins().register_all(tables(), "").unwrap_err();
    assert_eq!((taken.kind(), taken.field()), (ErrorKind::AlreadyExists, Some("name")));
    assert_eq!(names(&engine), ["three"]);
    assert_eq!(ALIVE.load(SeqCst), alive + 1, "what was made in vain is gone");
    engine.plugins().unregister("three").unwrap();
    engine.plugins().register_all(tables(), "").unwrap();
    assert_eq!(names(&engine), ["one", "two", "three"]);
    let twice = [tables(), tables()].concat();
    let empty = Engine::builder().build().unwrap();
    assert_eq!(
        empty.plugins().register_all(twice, "").unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    assert!(names(&empty).is_empty());
}

#[test]
fn an_output_may_do_with_the_engine_what_it_likes() {
    let _counting = COUNTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut config = Config::default();
    // Series are counted below.
    config.recording.self_metrics = false;
    let engine = Engine::builder().config(config).linked(&SET).build().unwrap();
    let alive = ALIVE.load(SeqCst);
    engine.metrics().counter("c_total", &[]).unwrap().inc();
    let mut inner = Some(engine.clone());
    let mut calls = 0;
    let done = engine.export("one", &mut |_| {
        calls += 1;
        let Some(engine) = inner.take() else { return Ok(()) };
        // Its own turn is taken, by this very thread.
        assert_eq!(engine.export_to_vec("one").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(engine.plugins().flush().map_err(|e| e.kind()), Err(ErrorKind::InvalidArgument));
        assert_eq!(engine.export_to_vec("two").unwrap(), b"two");
        engine.plugins().unregister("one").unwrap();
        engine.plugins().replace("two", tables()[2].1.clone(), "").unwrap();
        engine.plugins().register("one", tables()[0].1.clone(), "").unwrap();
        assert_eq!(engine.export_to_vec("one").unwrap(), b"one");
        engine.metrics().counter("c_total", &[("a", "b")]).unwrap().inc();
        assert_eq!(engine.snapshot().unwrap().series_count(), 2);
        // The export that runs here keeps the one that was taken out.
        assert_eq!(ALIVE.load(SeqCst), alive + 1);
        engine.plugins().clear();
        assert_eq!(ALIVE.load(SeqCst), alive - 2);
        Ok(())
    });
    assert_eq!((done.unwrap().bytes, calls), (3, 1));
    assert_eq!(ALIVE.load(SeqCst), alive - 3);
}

#[test]
fn errors_in_options_from_code_name_no_line_of_the_file() {
    let _counting = COUNTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let text =
        "schema = 1\n\n[plugins.mine]\nexporter = \"one\"\n\n[plugins.off]\nenabled = false\n";
    let config = Config::parse(text, "test.toml", "/base".as_ref()).unwrap();
    let engine = Engine::builder().config(config).linked(&SET).build().unwrap();
    for name in ["mine", "off", "other"] {
        let options = [("fial".to_owned(), true.into())].into_iter().collect();
        let exporter = Some("two".to_owned());
        let plugin = PluginConfig { exporter, options, ..PluginConfig::default() };
        let error = engine.load_plugin(name, &plugin).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.to_string();
        assert!(!message.contains("test.toml") && message.contains("`fail`"), "{message}");
    }
    let text = "schema = 1\n\n[plugins.mine]\nexporter = \"one\"\noptions = { fial = 1 }\n";
    let config = Config::parse(text, "test.toml", "/base".as_ref()).unwrap();
    let engine = Engine::builder().config(config).linked(&SET).build().unwrap();
    let failure = engine.load_failures()[0].error.to_string();
    assert!(failure.starts_with("test.toml:5:13: "), "{failure}");
}

#[test]
fn a_name_that_the_configuration_takes_can_be_registered() {
    let _counting = COUNTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let name = "n".repeat(64);
    let text = |name: &str| format!("schema = 1\n[plugins.{name}]\nexporter = \"one\"\n");
    let config = Config::parse(&text(&name), "test.toml", "/base".as_ref()).unwrap();
    let engine = Engine::builder().config(config).linked(&SET).build().unwrap();
    assert!(engine.load_failures().is_empty());
    let longer = Config::parse(&text(&format!("{name}n")), "test.toml", "/base".as_ref());
    let message = longer.unwrap_err().to_string();
    assert!(message.starts_with("test.toml:2:") && message.contains("64"), "{message}");
}
