//! What exports did, in the engine's own metrics: `tallyport_export_*`.

use std::sync::Arc;

use tallyport_plugin_api::{Kind, Number};

use super::{Ending, Gathered, Run};
use crate::{
    metrics::{Description, Metrics},
    model::{Error, GaugeMode},
};

const RUNS: &str = "tallyport_export_runs_total";
const FAILURES: &str = "tallyport_export_failures_total";
const SKIPPED: &str = "tallyport_export_skipped_total";
const ALONE: &str = "tallyport_export_own_data_total";
const DURATION: &str = "tallyport_export_duration_seconds";
const BYTES: &str = "tallyport_export_bytes_total";
const SERIES: &str = "tallyport_export_series";
const LAST_SUCCESS: &str = "tallyport_export_last_success_timestamp_seconds";

/// Counts runs; `None`: nothing is recorded.
#[derive(Debug)]
pub(crate) struct ExportMeter(pub(crate) Option<Arc<Metrics>>);

impl ExportMeter {
    /// Records a run that ended.
    pub(crate) fn record(&self, run: &Run) {
        self.note(|metrics| record(metrics, run));
    }

    /// Records starts of a target that were missed because a run took longer than its interval.
    pub(crate) fn missed(&self, target: &str, starts: u64) {
        self.note(|metrics| {
            describe(metrics)?;
            let labels = [("target", target), ("reason", "overlap")];
            metrics.counter(SKIPPED, &labels)?.add(starts);
            Ok(())
        });
    }

    fn note(&self, note: impl FnOnce(&Metrics) -> Result<(), Error>) {
        let Some(metrics) = &self.0 else { return };
        if let Err(error) = note(metrics) {
            tracing::warn!("the engine's own metrics of exports: {error}");
        }
    }
}

fn describe(metrics: &Metrics) -> Result<(), Error> {
    let (counter, gauge) = ((Kind::Counter, Number::U64), (Kind::Gauge, Number::F64));
    for (name, (kind, number), help) in [
        (RUNS, counter, "Runs of export targets, skipped and failed ones too."),
        (FAILURES, counter, "Runs that delivered nothing, by reason."),
        (SKIPPED, counter, "Runs that another process or another run made needless, by reason."),
        (
            ALONE,
            counter,
            "Runs that exported this instance's own data because no lease could be had.",
        ),
        (BYTES, counter, "Bytes that were delivered."),
        (SERIES, gauge, "Series of the last export that was delivered."),
        (LAST_SUCCESS, gauge, "When this process last delivered an export, Unix time."),
    ] {
        let (unit, bounds, cells) = ("", &[][..], None);
        // Of several instances the last success is what counts, and what the largest export had.
        let mode = if kind == Kind::Gauge { GaugeMode::Max } else { GaugeMode::Undeclared };
        metrics.describe(&Description { name, kind, number, help, unit, bounds, cells, mode })?;
    }
    Ok(())
}

fn record(metrics: &Metrics, run: &Run) -> Result<(), Error> {
    describe(metrics)?;
    let target = ("target", run.target.as_str());
    metrics.counter(RUNS, &[target])?.inc();
    if let Some(Gathered::Own { because: Some(_) }) = &run.gathered {
        metrics.counter(ALONE, &[target])?.inc();
    }
    match &run.ending {
        Ending::Skipped(skip) => {
            metrics.counter(SKIPPED, &[target, ("reason", skip.name())])?.inc();
            return Ok(());
        }
        Ending::Failed { error, .. } => {
            metrics.counter(FAILURES, &[target, ("reason", error.kind().name())])?.inc();
        }
        Ending::Delivered => {
            metrics.counter(BYTES, &[target])?.add(run.bytes);
            metrics.gauge(SERIES, &[target])?.set(run.series as f64);
            let end = run.started_ns as f64 / 1e9 + run.duration.as_secs_f64();
            metrics.gauge(LAST_SUCCESS, &[target])?.set(end);
        }
    }
    metrics.histogram(DURATION, &[], &[target])?.observe(run.duration.as_secs_f64());
    Ok(())
}
