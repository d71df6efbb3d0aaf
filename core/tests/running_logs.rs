//! On which threads the lines of an exporter with a thread of its own are logged.
//!
//! Alone in its file: `tracing` decides once for all threads whether a call site is of interest, and
//! asks only the thread that comes to it first while there is one subscriber.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    fmt::Debug,
    sync::Arc,
    thread::{self, ThreadId},
};

use parking_lot::Mutex;
use tallyport_core::engine::{
    Engine,
    config::{PluginConfig, RunConfig},
};
use tallyport_plugin_api::{
    Call, Error, Exporter, Host, Info, LogLevel, Sink, Snapshot, format, plugin_set,
};
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Logs from everywhere.
struct Logs(Host);

impl Exporter for Logs {
    type Options = ();
    const INFO: Info = Info { formats: &[format("logs", "text/plain")], ..Info::new("logs", "1") };

    fn create(host: Host, (): ()) -> Result<Self, Error> {
        host.log(LogLevel::Info, "in create");
        Ok(Self(host))
    }

    fn export(&self, _: &Call<'_>, _: &Snapshot<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
        let host = self.0.clone();
        let own = thread::spawn(move || host.log(LogLevel::Warn, "in a thread of its own"));
        own.join().unwrap();
        for line in 0..1000 {
            self.0.log(LogLevel::Debug, &format!("line {line}"));
        }
        sink.write(b"fine")
    }

    fn shutdown(&self, _: &Call<'_>) -> Result<(), Error> {
        self.0.log(LogLevel::Info, "in shutdown");
        Err(Error::failed("as told"))
    }
}

plugin_set!(static SET: [Logs]);

/// Keeps every message with the thread that it was logged on.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<(ThreadId, String)>>>);

impl Visit for Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0.lock().push((thread::current().id(), format!("{value:?}")));
        }
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn lines_of_an_exporter_are_logged_by_the_threads_that_call_it() {
    let lines = Lines::default();
    tracing::dispatcher::with_default(&Dispatch::new(lines.clone()), || {
        let plugin = PluginConfig {
            exporter: Some("logs".to_owned()),
            run: RunConfig { deadline_ms: Some(60_000), ..RunConfig::default() },
            ..PluginConfig::default()
        };
        let engine = Engine::builder().linked(&SET).build().unwrap();
        engine.load_plugin("mine", &plugin).unwrap();
        assert_eq!(engine.export_to_vec("mine").unwrap(), b"fine");
        engine.plugins().unregister("mine").unwrap();
    });
    let lines = lines.0.lock();
    let here = thread::current().id();
    assert!(lines.iter().all(|(thread, _)| *thread == here), "{lines:?}");
    let said: Vec<&str> = lines.iter().map(|(_, line)| line.as_str()).collect();
    for line in ["in create", "in a thread of its own", "line 0", "line 200", "in shutdown"] {
        assert!(said.contains(&line), "{line}: {said:?}");
    }
    // What waits is bounded, and what is dropped is counted.
    assert!(said.iter().any(|line| line.ends_with("further messages were dropped")), "{said:?}");
    assert!(said.iter().any(|line| line.contains("shutdown failed: as told")), "{said:?}");
}
