//! What an engine publishes of itself, as a host sees it.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};
use tallyport_core::{
    engine::{Engine, config::PluginConfig},
    event::{Listen, QueueLimits, Subscription},
    model::{Error, ErrorKind},
    plugin::Table,
};
use tallyport_plugin_api::{
    Call, Error as PluginError, Exporter, Host, Info, Sink, Snapshot, format, plugin_set,
};

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Options {
    fail_create: bool,
    fail_export: bool,
}

struct Instance(Options);

impl Exporter for Instance {
    type Options = Options;
    const INFO: Info = Info {
        formats: &[format("small", "text/plain"), format("smaller", "text/plain")],
        config_schema_json: r#"{"properties":{"fail_create":{"type":"boolean"},
            "fail_export":{"type":"boolean"}},"additionalProperties":false}"#,
        ..Info::new("small", "1.2")
    };

    fn create(_: Host, options: Options) -> Result<Self, PluginError> {
        match options.fail_create {
            true => Err(PluginError::failed("as told")),
            false => Ok(Self(options)),
        }
    }

    fn export(
        &self,
        _: &Call<'_>,
        _: &Snapshot<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), PluginError> {
        match self.0.fail_export {
            true => Err(PluginError::failed("no server")),
            false => sink.write(b"12345"),
        }
    }
}

plugin_set!(static SET: [Instance]);

fn table() -> Arc<Table> {
    Table::linked(&SET).unwrap()[0].clone()
}

fn options(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

fn listen(engine: &Engine, pattern: &str) -> Subscription {
    let queue = QueueLimits::default();
    engine.events().subscribe_queued(Listen::to(&[pattern]).named("test"), queue).unwrap()
}

/// What waits, each as the catalogue describes it.
fn drain(engine: &Engine, queue: &Subscription) -> Vec<Value> {
    let catalogue = engine.events().catalogue();
    let mut events = Vec::new();
    while let Ok(event) = queue.next(std::time::Duration::ZERO) {
        let event = event.lend(|event| event.to_json());
        let name = event["event"].as_str().unwrap();
        catalogue.get(name).unwrap().check(&event["payload"]).unwrap();
        events.push(event);
    }
    events
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

#[test]
fn an_export_is_requested_and_completed_or_failed() {
    let engine = Engine::builder().linked(&SET).build().unwrap();
    engine.metrics().counter("a", &[]).unwrap().inc();
    let queue = listen(&engine, "export.*");
    engine.export_to_vec("smaller").unwrap();
    let events = drain(&engine, &queue);
    assert_eq!(names(&events), ["export.requested", "export.completed"]);
    let id = events[0]["correlation_id"].as_str().unwrap();
    for event in &events {
        assert_eq!(event["payload"]["export_id"], id);
        assert_eq!(event["correlation_id"], id);
        assert_eq!(event["payload"]["selector"], "smaller");
        assert_eq!(event["payload"]["exporter"], "small");
        assert_eq!(event["payload"]["format"], "smaller");
    }
    let done = &events[1]["payload"];
    assert_eq!(
        (&done["series"], &done["bytes"], &done["attempts"]),
        (&json!(1), &json!(5), &json!(1))
    );
    assert!(done["duration"].as_f64().unwrap() > 0.0);

    // A snapshot that was taken before, and an output that fails.
    let snapshot = engine.snapshot().unwrap();
    let refused = |_: &[u8]| Err(Error::new(ErrorKind::Cancelled, "enough"));
    engine.export_snapshot(&snapshot, "small", &mut { refused }).unwrap_err();
    let events = drain(&engine, &queue);
    assert_eq!(names(&events), ["export.requested", "export.failed"]);
    let failed = &events[1]["payload"];
    assert_eq!(failed["code"], ErrorKind::Cancelled.status());
    assert!(failed["error"].as_str().unwrap().contains("enough"), "{failed}");
    assert_ne!(events[0]["correlation_id"], id, "another export");

    // Nobody of that name.
    engine.export_to_vec("none").unwrap_err();
    let events = drain(&engine, &queue);
    assert_eq!(names(&events), ["export.requested", "export.failed"]);
    assert_eq!(events[1]["payload"]["code"], ErrorKind::NotFound.status());
    assert!(events[1]["payload"].get("exporter").is_none());

    let name = "failing";
    engine.register_plugin(name, table(), options(r#"{"fail_export":true}"#)).unwrap();
    engine.export_to_vec(name).unwrap_err();
    let events = drain(&engine, &queue);
    assert!(events[1]["payload"]["error"].as_str().unwrap().contains("no server"));
}

#[test]
fn every_change_of_the_exporters_is_an_event() {
    let engine = Engine::builder().linked(&SET).build().unwrap();
    let queue = listen(&engine, "plugin.*");
    let small = || PluginConfig { exporter: Some("small".into()), ..PluginConfig::default() };
    engine.load_plugin("two", &small()).unwrap();
    engine.replace_plugin("two", &small()).unwrap();
    engine.plugins().unregister("two").unwrap();
    let events = drain(&engine, &queue);
    let wanted =
        ["plugin.registered", "plugin.unregistered", "plugin.registered", "plugin.unregistered"];
    assert_eq!(names(&events), wanted);
    let payload = json!({
        "name": "two", "replaced": false, "id": "small", "version": "1.2",
        "formats": "small, smaller", "origin": "linked in",
    });
    assert_eq!(events[0]["payload"], payload);
    assert_eq!(events[1]["payload"], json!({ "name": "two", "replaced": true }));
    assert_eq!(events[3]["payload"], json!({ "name": "two", "replaced": false }));
}

#[test]
fn every_refusal_of_an_exporter_is_one_event() {
    let engine = Engine::builder().linked(&SET).build().unwrap();
    let queue = listen(&engine, "plugin.*");
    let small = |path: Option<&str>, text: &str| PluginConfig {
        path: path.map(Into::into),
        exporter: Some("small".into()),
        options: options(text),
        ..PluginConfig::default()
    };
    let refusals: Vec<Error> = vec![
        engine.load_plugin("small", &small(None, "{}")).unwrap_err(),
        engine.load_plugin("a b", &small(None, "{}")).unwrap_err(),
        engine.load_plugin("file", &small(Some("/nowhere.so"), "{}")).unwrap_err(),
        engine.load_plugin("options", &small(None, r#"{"fial":1}"#)).unwrap_err(),
        engine.load_plugin("create", &small(None, r#"{"fail_create":true}"#)).unwrap_err(),
        engine.replace_plugin("none", &small(None, "{}")).unwrap_err(),
        engine.replace_plugin("small", &small(None, r#"{"fail_create":true}"#)).unwrap_err(),
        engine.register_plugin("code", table(), options(r#"{"x":1}"#)).unwrap_err(),
    ];
    let events = drain(&engine, &queue);
    assert_eq!(names(&events), vec!["plugin.validation_failed"; refusals.len()]);
    for (event, error) in events.iter().zip(&refusals) {
        assert_eq!(event["payload"]["error"], error.to_string());
        assert_eq!(event["payload"]["code"], error.kind().status());
        assert_eq!(event["payload"].get("field").and_then(Value::as_str), error.field());
    }
}

#[test]
fn an_engine_that_ends_tells_its_listeners_and_ends_them() {
    let engine = Engine::builder().linked(&SET).build().unwrap();
    let queue = listen(&engine, "*");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let called = engine
        .events()
        .subscribe(Listen::to(&["plugin.*"]), move |event| {
            log.lock().unwrap().push(event.name().to_owned());
            Ok(())
        })
        .unwrap();
    drop(engine);
    assert_eq!(*seen.lock().unwrap(), ["plugin.unregistered"]);
    assert_eq!(Arc::strong_count(&seen), 1, "its function is gone");
    let mut left = Vec::new();
    let end = loop {
        match queue.next(std::time::Duration::from_secs(60)) {
            Ok(event) => left.push(event.name().to_owned()),
            Err(error) => break error.kind(),
        }
    };
    assert_eq!(end, ErrorKind::Closed);
    assert_eq!(left, ["subscriber.registered", "subscriber.registered", "plugin.unregistered"]);
    drop((called, queue));
}

#[test]
fn a_listener_may_export_and_change_the_exporters() {
    let engine = Engine::builder().linked(&SET).build().unwrap();
    let (again, seen) = (engine.clone(), Arc::new(Mutex::new(0)));
    let count = Arc::clone(&seen);
    let subscription = engine
        .events()
        .subscribe(Listen::to(&["export.completed"]), move |event| {
            if event.field("exporter").and_then(|name| name.to_json().as_str().map(str::to_owned))
                == Some("small".to_owned())
            {
                again.register_plugin("inner", table(), Map::new())?;
                again.export_to_vec("inner")?;
                again.plugins().unregister("inner")?;
                *count.lock().unwrap() += 1;
            }
            Ok(())
        })
        .unwrap();
    engine.export_to_vec("small").unwrap();
    assert_eq!(*seen.lock().unwrap(), 1);
    assert_eq!(subscription.info().counts.failures, 0);
    drop(subscription); // it holds the engine
}

#[test]
fn the_registries_tell_what_was_done_and_what_is_wrong() {
    let engine = Engine::builder().linked(&SET).build().unwrap();
    let queue = listen(&engine, "registry.*");
    engine.events().register_handler("h", &["task.*"], |_| Ok(())).unwrap();
    engine.events().publish("task.failed", &[]).unwrap();
    engine.export_to_vec("small").unwrap();
    let statistics = engine.registry_statistics();
    assert_eq!(statistics.plugins[0].1.exports, 1);
    assert_eq!(statistics.handlers[0].counts.calls, 1);
    assert_eq!(engine.check_registries(), Vec::<String>::new());

    let full = QueueLimits { events: 1, ..QueueLimits::default() };
    let lossy = engine.events().subscribe_queued(Listen::to(&["task.*"]).named("slow"), full);
    for _ in 0..3 {
        engine.events().publish("task.failed", &[]).unwrap();
    }
    let problems = engine.check_registries();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("`slow` dropped 2 events"), "{problems:?}");

    let events = drain(&engine, &queue);
    let wanted = ["registry.stats_collected", "registry.health_check", "registry.health_check"];
    assert_eq!(names(&events), wanted);
    let collected = &events[0]["payload"];
    assert_eq!(collected["plugins"]["small"]["bytes"], 5);
    assert_eq!(collected["handlers"]["h"]["calls"], 1);
    assert_eq!(events[1]["payload"]["healthy"], true);
    assert_eq!(events[2]["payload"]["healthy"], false);
    assert_eq!(events[2]["payload"]["problems"][0], problems[0].as_str());
    assert_eq!(events[2]["payload"]["subscribers"], 2);
    drop(lossy);
}
