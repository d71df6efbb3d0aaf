//! What exporters did, in the engine's own metrics (docs/OPERATING-PLUGINS.md has the table).
//!
//! Counts are recorded after each export, gauges brought up to date before each snapshot. The series
//! are ordinary ones: they count towards the limits of series. An exporter has none before its first
//! export.

use std::{sync::Arc, time::Duration};

use once_cell::race::OnceBox;
use tallyport_plugin_api::{Kind, Number};

use super::Health;
use crate::{
    metrics::{Counter, Description, Histogram, Metrics},
    model::{Error, ErrorKind, GaugeMode, gate},
};

const EXPORTS: &str = "tallyport_plugin_exports_total";
const FAILURES: &str = "tallyport_plugin_failures_total";
const DURATION: &str = "tallyport_plugin_duration_seconds";
const BYTES: &str = "tallyport_plugin_bytes_total";
const QUEUE: &str = "tallyport_plugin_queue_length";
const ZOMBIES: &str = "tallyport_plugin_zombies";
const STATE: &str = "tallyport_plugin_state";

/// Bounds of the durations in seconds: from a render of few series to a deadline of a minute.
const SECONDS: [f64; 12] =
    [0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];

/// Records what one exporter does. Cheap to make: series are made with the first export.
#[derive(Debug)]
pub(super) struct Meter {
    plugin: String,
    metrics: Option<Arc<Metrics>>,
    series: OnceBox<Option<Series>>,
}

/// What every export is counted in.
#[derive(Debug)]
struct Series {
    exports: Counter,
    duration: Histogram,
    bytes: Counter,
}

/// What there is to see of an exporter at one time.
pub(super) struct Seen {
    pub(super) health: Health,
    pub(super) queue_length: usize,
    pub(super) zombies: usize,
}

impl Meter {
    /// `metrics` `None`: nothing is recorded.
    pub(super) fn new(plugin: &str, metrics: Option<Arc<Metrics>>) -> Self {
        Self { plugin: plugin.to_owned(), metrics, series: OnceBox::new() }
    }

    /// Records an export that was made: its bytes, or its error, and the time it took.
    pub(super) fn made(&self, done: Result<u64, &Error>, took: Duration) {
        let Some((metrics, series)) = self.series() else { return };
        series.exports.inc();
        series.duration.observe(took.as_secs_f64());
        match done {
            Ok(bytes) => series.bytes.add(bytes),
            Err(error) => self.count_failure(metrics, error.kind()),
        }
    }

    /// Records an export that was not made.
    pub(super) fn refused(&self, error: &Error) {
        let Some((metrics, series)) = self.series() else { return };
        series.exports.inc();
        self.count_failure(metrics, error.kind());
    }

    fn series(&self) -> Option<(&Metrics, &Series)> {
        let metrics = self.metrics.as_deref()?;
        if self.series.get().is_none() {
            let made = self.make(metrics).inspect_err(|error| {
                tracing::warn!(plugin = self.plugin, "its exports are not counted: {error}");
            });
            // Of two threads that made them, one is the first. Inside the gate, so that a forked
            // child sees them whole or not at all.
            let _ = gate::within(|| self.series.set(Box::new(made.ok())));
        }
        Some((metrics, self.series.get()?.as_ref()?))
    }

    fn count_failure(&self, metrics: &Metrics, kind: ErrorKind) {
        let labels = [("plugin", &*self.plugin), ("code", kind.name())];
        if let Ok(failures) = metrics.counter(FAILURES, &labels) {
            failures.inc();
        }
    }

    fn make(&self, metrics: &Metrics) -> Result<Series, Error> {
        describe(metrics)?;
        let labels = [("plugin", &*self.plugin)];
        Ok(Series {
            exports: metrics.counter(EXPORTS, &labels)?,
            duration: metrics.histogram(DURATION, &[], &labels)?,
            bytes: metrics.counter(BYTES, &labels)?,
        })
    }

    /// Brings the gauges up to date.
    pub(super) fn observe(&self, seen: impl FnOnce() -> Seen) {
        let Some(metrics) = &self.metrics else { return };
        if self.series.get().is_none() {
            return;
        }
        let seen = seen();
        let set = |name: &str, labels: &[(&str, &str)], value: f64| {
            if let Ok(gauge) = metrics.gauge(name, labels) {
                gauge.set(value);
            }
        };
        let plugin = [("plugin", &*self.plugin)];
        set(QUEUE, &plugin, seen.queue_length as f64);
        set(ZOMBIES, &plugin, seen.zombies as f64);
        for state in Health::ALL {
            let labels = [("plugin", &*self.plugin), ("state", state.name())];
            set(STATE, &labels, f64::from(u8::from(state == seen.health)));
        }
    }

    /// Takes the gauges out: the exporter is gone. What was counted stays.
    pub(super) fn forget(&self) {
        let Some(metrics) = self.metrics.as_ref().filter(|_| self.series.get().is_some()) else {
            return;
        };
        // What is not there was never observed.
        let plugin = [("plugin", &*self.plugin)];
        let _ = metrics.remove(QUEUE, &plugin);
        let _ = metrics.remove(ZOMBIES, &plugin);
        for state in Health::ALL {
            let _ = metrics.remove(STATE, &[("plugin", &*self.plugin), ("state", state.name())]);
        }
    }
}

fn describe(metrics: &Metrics) -> Result<(), Error> {
    let (counter, gauge, histogram) = (Kind::Counter, Kind::Gauge, Kind::Histogram);
    for (name, kind, bounds, unit, help) in [
        (EXPORTS, counter, &[][..], "", "Exports that were asked of an exporter, failed ones too."),
        (FAILURES, counter, &[], "", "Exports that failed, by status."),
        (DURATION, histogram, &SECONDS, "seconds", "Time of exports, failed ones too."),
        (BYTES, counter, &[], "bytes", "Bytes that successful exports wrote."),
        (QUEUE, gauge, &[], "", "Calls that wait for their turn."),
        (ZOMBIES, gauge, &[], "", "Calls that never returned and were given up."),
        (STATE, gauge, &[], "", "1 for the state that an exporter is in, 0 for the others."),
    ] {
        let number = if kind == Kind::Counter { Number::U64 } else { Number::F64 };
        // Of several processes: all calls that wait, and every state that one of them is in.
        let mode = match (kind, name) {
            (Kind::Gauge, STATE) => GaugeMode::Max,
            (Kind::Gauge, _) => GaugeMode::Sum,
            _ => GaugeMode::Undeclared,
        };
        let cells = None;
        metrics.describe(&Description { name, kind, number, bounds, help, unit, cells, mode })?;
    }
    Ok(())
}
