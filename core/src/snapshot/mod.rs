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

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use schema::Schema;

use crate::{
    metrics::Metrics,
    model::{Error, Mutex, TurnLock, grace},
};

/// Identities of schemas, unique in the process whatever engine makes them.
static NEXT_SCHEMA_ID: AtomicU64 = AtomicU64::new(1);

fn new_schema_id() -> u64 {
    NEXT_SCHEMA_ID.fetch_add(1, Relaxed)
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
        // Nothing that the schema names is used for another series before the values are read.
        grace::within(|| {
            let schema = self.schema(metrics)?;
            Ok(values::read(&schema, metrics.clock().unix_ns()))
        })
    }

    fn schema(&self, metrics: &Metrics) -> Result<Arc<Schema>, Error> {
        // Read before the tables: a change that comes in between makes the next one build again.
        if let Some(schema) = self.known(metrics.generation()) {
            return Ok(schema);
        }
        let _turn = self.building.lock();
        let generation = metrics.generation();
        if let Some(schema) = self.known(generation) {
            return Ok(schema);
        }
        let mut old = self.last.lock().take();
        let old = old.as_mut().map(Arc::make_mut);
        let schema = Arc::new(Schema::build(metrics, generation, old)?);
        *self.last.lock() = Some(Arc::clone(&schema));
        Ok(schema)
    }

    /// The last schema, if it is of this generation.
    fn known(&self, generation: u64) -> Option<Arc<Schema>> {
        self.last.lock().as_ref().filter(|schema| schema.generation == generation).cloned()
    }
}
