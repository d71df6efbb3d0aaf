//! Exports as events: asked for, delivered, failed.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use super::share::Tell;
use crate::{
    event::{Bus, Field},
    export::{Ending, Run},
    model::{CorrelationId, Error},
    plugin::{Outcome, Plugin, Plugins},
};

/// Finds the exporter that `selector` means, has `write` export with it, and publishes how it went.
///
/// The events of one export have one `export_id`, which is their correlation id too.
pub(super) fn published(
    events: &Bus,
    plugins: &Plugins,
    selector: &str,
    write: impl FnOnce(&Plugin, Option<&str>) -> Result<Outcome, Error>,
) -> Result<Outcome, Error> {
    let id = CorrelationId::generate();
    let report = Report::new(events, id, selector);
    let (plugin, format) = plugins.select(selector).inspect_err(|error| {
        report.requested(None, None);
        report.failed(None, None, error);
    })?;
    let name = plugin.name();
    report.requested(Some(name), format.as_deref());
    write(&plugin, format.as_deref())
        .inspect(|outcome| report.completed(outcome))
        .inspect_err(|error| report.failed(Some(name), format.as_deref(), error))
}

/// Publishes how one export goes.
pub(super) struct Report<'a> {
    events: &'a Bus,
    id: CorrelationId,
    selector: &'a str,
    start: Instant,
    target: Option<&'a str>,
    attempt: u32,
    tell: Tell,
    /// Whether the export was announced.
    announced: Cell<bool>,
}

impl<'a> Report<'a> {
    pub(super) fn new(events: &'a Bus, id: CorrelationId, selector: &'a str) -> Self {
        let (start, tell) = (Instant::now(), Tell::Listeners);
        let announced = Cell::new(false);
        Self { events, id, selector, start, target: None, attempt: 1, tell, announced }
    }

    /// Of a target of the configuration.
    pub(super) fn of_target(self, name: &'a str, attempt: u32) -> Self {
        Self { target: Some(name), attempt, ..self }
    }

    /// Who is told.
    pub(super) fn telling(self, tell: Tell) -> Self {
        Self { tell, ..self }
    }

    /// Who is told.
    pub(super) fn tells(&self) -> Tell {
        self.tell
    }

    /// Announces the export, once.
    pub(super) fn requested(&self, exporter: Option<&str>, format: Option<&str>) {
        if self.announced.replace(true) {
            return;
        }
        self.publish("export.requested", &[("exporter", exporter), ("format", format)], &[]);
    }

    fn completed(&self, done: &Outcome) {
        self.delivered((&done.exporter, &done.format), (done.series, done.bytes), done.duration);
    }

    fn delivered(&self, who: (&str, &str), (series, bytes): (u64, u64), took: Duration) {
        self.publish(
            "export.completed",
            &[("exporter", Some(who.0)), ("format", Some(who.1))],
            &[
                ("series", series.into()),
                ("bytes", bytes.into()),
                ("duration", seconds(took)),
                ("attempts", self.attempt.into()),
            ],
        );
    }

    fn failed(&self, exporter: Option<&str>, format: Option<&str>, error: &Error) {
        let message = error.to_string();
        self.publish(
            "export.failed",
            &[("exporter", exporter), ("format", format)],
            &[
                ("duration", seconds(self.start.elapsed())),
                ("error", message.as_str().into()),
                ("code", error.kind().status().into()),
                ("attempts", self.attempt.into()),
            ],
        );
    }

    /// How the run of a target ended. One that was skipped is neither completed nor failed.
    pub(super) fn ended(&self, run: &Run) {
        match &run.ending {
            Ending::Delivered => {
                let who = (run.exporter.as_str(), run.format.as_str());
                self.delivered(who, (run.series, run.bytes), run.duration);
            }
            Ending::Failed { error, .. } => {
                let named = |text| Some(text).filter(|text: &&str| !text.is_empty());
                let (exporter, format) = (named(&run.exporter), named(&run.format));
                self.requested(exporter, format);
                self.failed(exporter, format, error);
            }
            Ending::Skipped(_) => {}
        }
    }

    fn publish(&self, event: &str, who: &[(&str, Option<&str>)], what: &[Field<'_>]) {
        if self.tell == Tell::Nobody {
            return;
        }
        let mut fields: Vec<Field<'_>> =
            vec![("export_id", self.id.as_str().into()), ("selector", self.selector.into())];
        fields.extend(self.target.map(|target| ("target", target.into())));
        fields.extend(who.iter().filter_map(|(name, text)| text.map(|text| (*name, text.into()))));
        fields.extend_from_slice(what);
        if let Err(error) = self.events.publish_as(event, self.id.as_str(), &fields) {
            tracing::error!(event, "not published: {error}");
        }
    }
}

fn seconds(duration: Duration) -> crate::event::FieldValue<'static> {
    duration.as_secs_f64().into()
}
