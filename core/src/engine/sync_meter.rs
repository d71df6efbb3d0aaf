//! What syncs did, in the engine's own metrics: `tallyport_sync_*`.

use std::{sync::Arc, time::Duration};

use tallyport_plugin_api::{Kind, Number};

use crate::{
    metrics::{Description, Metrics},
    model::{Error, GaugeMode},
    sync::{Mishaps, Synced, retire::Retirement},
};

const SYNCS: &str = "tallyport_sync_total";
const FAILURES: &str = "tallyport_sync_failures_total";
const DURATION: &str = "tallyport_sync_duration_seconds";
const SERIES: &str = "tallyport_sync_series_total";
const BYTES: &str = "tallyport_sync_bytes_total";
const FOLDED: &str = "tallyport_sync_retired_instances_total";
const CONFLICTS: &str = "tallyport_sync_conflicts_total";
const DAMAGED: &str = "tallyport_sync_damaged_series_total";
const DROPPED: &str = "tallyport_sync_dropped_total";
const LOST: &str = "tallyport_sync_lost_records_total";
const UNREADABLE: &str = "tallyport_sync_unreadable_total";
const MISHAPS: &str = "tallyport_sync_mishaps_total";

const FOLDED_HELP: &str = "Ended instances that this one folded into the retired total.";

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
        if let Ok(done) = result {
            warn(&done.retirement);
        }
        if let Some(metrics) = &self.0 {
            noted(record(metrics, result, took, (before, after)));
        }
    }

    /// What an aggregate retired and dropped.
    pub(super) fn retired(&self, done: &Retirement) {
        warn(done);
        if let Some(metrics) = &self.0 {
            noted(retired(metrics, done));
        }
    }
}

fn noted(result: Result<(), Error>) {
    if let Err(error) = result {
        tracing::warn!("the engine's own metrics of syncs: {error}");
    }
}

fn counter(metrics: &Metrics, name: &str, help: &str) -> Result<(), Error> {
    metrics.describe(&Description {
        name,
        kind: Kind::Counter,
        number: Number::U64,
        help,
        unit: "",
        bounds: &[],
        cells: None,
        mode: GaugeMode::Undeclared,
    })
}

/// Says what is lost for good.
fn warn(done: &Retirement) {
    if done.lost > 0 {
        tracing::warn!(
            records = done.lost,
            "the store lost records of instances: what they counted is missing from totals until they publish \
             again, for good where they have ended"
        );
    }
    if done.dropped_tombstones > 0 {
        tracing::warn!(
            tombstones = done.dropped_tombstones,
            "more instances ended than a shard remembers: who is away for long may be taken for lost"
        );
    }
}

fn retired(metrics: &Metrics, done: &Retirement) -> Result<(), Error> {
    let dropped = "Retired series that nothing touched, and tombstones beyond the limit, that were \
                   dropped from the store.";
    let unreadable =
        "Syncs that retired nobody, because they could not read what is there of others.";
    for (name, help, labels, amount) in [
        (FOLDED, FOLDED_HELP, [].as_slice(), done.folded),
        (CONFLICTS, "Folds and prunes that another instance came before.", &[], done.conflicts),
        (DAMAGED, "Series of the store that could not be read or added.", &[], done.damaged),
        (DROPPED, dropped, &[("what", "series")], done.dropped_series),
        (DROPPED, dropped, &[("what", "tombstones")], done.dropped_tombstones),
        (LOST, "Records of instances that the store lost before a fold.", &[], done.lost),
        (UNREADABLE, unreadable, &[], done.unreadable),
    ] {
        if amount > 0 {
            counter(metrics, name, help)?;
            metrics.counter(name, labels)?.add(amount);
        }
    }
    Ok(())
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
        (FOLDED, FOLDED_HELP),
        (MISHAPS, "What happened to this instance's records in the store, by kind."),
    ] {
        counter(metrics, name, help)?;
    }
    metrics.counter(SYNCS, &[])?.inc();
    metrics.histogram(DURATION, &[], &[])?.observe(took.as_secs_f64());
    match result {
        Ok(done) => {
            metrics.counter(SERIES, &[])?.add(done.series);
            metrics.counter(BYTES, &[])?.add(done.bytes);
            // There from the first sync on.
            metrics.counter(FOLDED, &[])?;
            retired(metrics, &done.retirement)?;
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
