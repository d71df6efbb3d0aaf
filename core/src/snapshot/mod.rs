//! Floor 2: what was recorded, as columns without pointers.
//!
//! [`Snapshots`] reads the metrics: the schema (names, labels, bounds) grows with them
//! and is shared by every snapshot of one version, values are copied each time without stopping
//! writers. [`Snapshot`] is what exporters are lent and what a file holds. It knows no format.

mod build;
mod file;
mod memory;
mod schema;
mod values;

pub(crate) use build::Builder;
pub use file::{MAX_FILE_BYTES, load, save};
pub(crate) use memory::Block;
pub use memory::Snapshot;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use schema::Schema;

use crate::{
    metrics::{Cells, Limits, Metrics, Share},
    model::{Clock, Error, GaugeMode, Mutex, TurnLock, grace},
};

/// Gauge modes by the name of the family; what is not in it is undeclared.
pub type GaugeModes = BTreeMap<String, GaugeMode>;

/// Identities of schemas, unique in the process whatever engine makes them.
static NEXT_SCHEMA_ID: AtomicU64 = AtomicU64::new(1);

fn new_schema_id() -> u64 {
    NEXT_SCHEMA_ID.fetch_add(1, Relaxed)
}

/// The metrics of an arena file, as its processes left them or have them now.
///
/// The file is read and never mapped: it may be damaged, or be cut off meanwhile. No process notices.
///
/// # Errors
/// Io; InvalidArgument, Damaged or Conflict for what is no arena of this version; Limit for one that
/// is too large.
pub fn of_arena(path: impl Into<PathBuf>, clock: Arc<dyn Clock>) -> Result<Snapshot, Error> {
    let share = Share::Copy(path.into());
    let metrics = Metrics::new(Limits::default(), Cells::Shared, &share, &[], clock)?;
    Snapshots::default().take(&metrics)
}

/// Makes snapshots of one engine's metrics and keeps the last schema.
#[derive(Debug, Default)]
pub struct Snapshots {
    last: Mutex<Option<Arc<Schema>>>,
    /// Whose turn it is to build one: that may take longer than a fork waits.
    building: TurnLock,
}

impl Snapshots {
    /// Reads every value once. Writers go on; a histogram's count is the sum of its buckets.
    ///
    /// The snapshot is not an instant: each value lies between the start and the end of the call.
    ///
    /// # Errors
    /// Limit, when text or series are more than the columns can number (4 Gi).
    pub fn take(&self, metrics: &Metrics) -> Result<Snapshot, Error> {
        metrics.record_own();
        // Read before the tables: a change that comes in between makes the next one build again.
        let generation = metrics.catch_up();
        // Nothing that the schema names is used for another series before the values are read.
        let mut undeclared = Vec::new();
        let snapshot = grace::within(|| {
            let schema = self.schema(metrics, generation, &mut undeclared)?;
            Ok(values::read(&schema, &metrics.planes(), metrics.clock().unix_ns()))
        });
        // No lock is held: what is logged may reach a subscriber that takes a snapshot.
        for metric in undeclared {
            tracing::warn!(
                metric = &*metric,
                "several processes set this gauge, and it has no mode: it is one series for each; \
                 describe it with sum, max, min, mean or last, or name it in [sync.gauge_modes]"
            );
        }
        snapshot
    }

    /// The schema of the metrics as they are now, named by an earlier version. In a section.
    fn schema(
        &self,
        metrics: &Metrics,
        generation: u64,
        undeclared: &mut Vec<Box<str>>,
    ) -> Result<Arc<Schema>, Error> {
        if let Some(schema) = self.known(metrics, generation) {
            return Ok(schema);
        }
        let _turn = self.building.lock();
        if let Some(schema) = self.known(metrics, generation) {
            return Ok(schema);
        }
        let mut old = self.last.lock().take();
        let old = old.as_mut().map(Arc::make_mut);
        let schema = Arc::new(Schema::build(metrics, generation, old, undeclared)?);
        *self.last.lock() = Some(Arc::clone(&schema));
        Ok(schema)
    }

    /// The last schema, if it is of this version and nothing changed since.
    fn known(&self, metrics: &Metrics, generation: u64) -> Option<Arc<Schema>> {
        if metrics.generation() != generation {
            return None;
        }
        self.last.lock().as_ref().filter(|schema| schema.generation == generation).cloned()
    }
}
