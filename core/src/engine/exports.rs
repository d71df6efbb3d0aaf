//! Exports as events: asked for, delivered, failed.

use std::time::{Duration, Instant};

use crate::{
    event::{Bus, Field},
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
    let report = Report { events, id, selector, start: Instant::now() };
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

struct Report<'a> {
    events: &'a Bus,
    id: CorrelationId,
    selector: &'a str,
    start: Instant,
}

impl Report<'_> {
    fn requested(&self, exporter: Option<&str>, format: Option<&str>) {
        self.publish("export.requested", &[("exporter", exporter), ("format", format)], &[]);
    }

    fn completed(&self, done: &Outcome) {
        self.publish(
            "export.completed",
            &[("exporter", Some(&done.exporter)), ("format", Some(&done.format))],
            &[
                ("series", done.series.into()),
                ("bytes", done.bytes.into()),
                ("duration", seconds(done.duration)),
                ("attempts", 1_u64.into()),
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
                ("attempts", 1_u64.into()),
            ],
        );
    }

    fn publish(&self, event: &str, who: &[(&str, Option<&str>)], what: &[Field<'_>]) {
        let mut fields: Vec<Field<'_>> =
            vec![("export_id", self.id.as_str().into()), ("selector", self.selector.into())];
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
