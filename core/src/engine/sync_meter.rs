//! What syncs did, in the engine's own metrics: `tallyport_sync_*`.

use std::{sync::Arc, time::Duration};

use tallyport_plugin_api::{Kind, Number};

use crate::{
    metrics::{Description, Metrics},
    model::{Error, GaugeMode},
    sync::{Mishaps, Synced},
};

const SYNCS: &str = "tallyport_sync_total";
const FAILURES: &str = "tallyport_sync_failures_total";
const DURATION: &str = "tallyport_sync_duration_seconds";
const SERIES: &str = "tallyport_sync_series_total";
const BYTES: &str = "tallyport_sync_bytes_total";
const FOLDED: &str = "tallyport_sync_retired_instances_total";
const MISHAPS: &str = "tallyport_sync_mishaps_total";

/// Counts syncs; `None`: nothing is recorded.
#[derive(Debug)]
pub(super) struct SyncMeter(pub(super) Option<Arc<Metrics>>);

impl SyncMeter {
    pub(super) fn record(
        &self,
        result: &Result<Synced, Error>,
        took: Duration,
        (before, after): (Mishaps, Mishaps),
    ) {
        let Some(metrics) = &self.0 else { return };
        if let Err(error) = record(metrics, result, took, (before, after)) {
            tracing::warn!("the engine's own metrics of syncs: {error}");
        }
    }
}

fn record(
    metrics: &Metrics,
    result: &Result<Synced, Error>,
    took: Duration,
    (before, after): (Mishaps, Mishaps),
) -> Result<(), Error> {
    for (name, help) in [
        (SYNCS, "Syncs with the store, failed ones too."),
        (FAILURES, "Syncs that failed, by reason."),
        (SERIES, "Series whose values were written to the store."),
        (BYTES, "Bytes of texts and values that were sent to the store."),
        (FOLDED, "Ended instances that this one folded into the retired total."),
        (MISHAPS, "What happened to this instance's records in the store, by kind."),
    ] {
        let (kind, number) = (Kind::Counter, Number::U64);
        metrics.describe(&Description {
            name,
            kind,
            number,
            help,
            unit: "",
            bounds: &[],
            cells: None,
            mode: GaugeMode::Undeclared,
        })?;
    }
    metrics.counter(SYNCS, &[])?.inc();
    metrics.histogram(DURATION, &[], &[])?.observe(took.as_secs_f64());
    match result {
        Ok(done) => {
            metrics.counter(SERIES, &[])?.add(done.series);
            metrics.counter(BYTES, &[])?.add(done.bytes);
            metrics.counter(FOLDED, &[])?.add(done.retirement.folded);
        }
        Err(error) => metrics.counter(FAILURES, &[("reason", error.kind().name())])?.inc(),
    }
    for (kind, before, after) in [
        ("retired", before.retired, after.retired),
        ("lost", before.lost, after.lost),
        ("reset", before.resets, after.resets),
        ("rollback", before.rollbacks, after.rollbacks),
        ("ambiguous", before.ambiguous, after.ambiguous),
    ] {
        if after > before {
            metrics.counter(MISHAPS, &[("kind", kind)])?.add(after - before);
        }
    }
    Ok(())
}
