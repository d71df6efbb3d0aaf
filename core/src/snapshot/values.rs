//! Copies the values of every row of a schema.

use std::sync::Arc;

use tallyport_plugin_api::abi::{
    TALLYPORT_COLUMN_CREATED_NS, TALLYPORT_COLUMN_FAMILIES, TALLYPORT_COLUMN_HIST_BOUNDS,
    TALLYPORT_COLUMN_HIST_BUCKETS, TALLYPORT_COLUMN_HIST_COUNT, TALLYPORT_COLUMN_LABEL_PAIRS,
    TALLYPORT_COLUMN_LABEL_RANGES, TALLYPORT_COLUMN_STR_BYTES, TALLYPORT_COLUMN_STR_OFF,
    TALLYPORT_COLUMN_VALUE_BITS,
};

use super::{Snapshot, schema::Schema};
use crate::metrics::Cell;

pub(super) fn read(schema: &Arc<Schema>, time_unix_ns: u64) -> Snapshot {
    let mut bits = Vec::with_capacity(schema.rows.len());
    let mut counts = Vec::with_capacity(schema.histograms);
    let mut buckets = Vec::with_capacity(schema.buckets);
    for series in &schema.rows {
        let Cell::Histogram(cell) = &series.cell else {
            bits.push(series.cell.bits());
            continue;
        };
        let (mut sum, mut count) = (0.0, 0);
        for bucket in 0..cell.buckets() {
            // Count and sum come from the buckets, so all three cover the same observations.
            let (bucket_sum, bucket_count) = cell.read(bucket);
            sum += bucket_sum;
            count += bucket_count;
            buckets.push(bucket_count);
        }
        bits.push(f64::to_bits(sum));
        counts.push(count);
    }
    let mut snapshot = Snapshot {
        schema_id: schema.id,
        time_unix_ns,
        series_count: schema.rows.len() as u64,
        blocks: Vec::new(),
        columns: Vec::new(),
    };
    snapshot.push(TALLYPORT_COLUMN_STR_OFF, Arc::clone(&schema.str_off));
    snapshot.push(TALLYPORT_COLUMN_STR_BYTES, Arc::clone(&schema.str_bytes));
    snapshot.push(TALLYPORT_COLUMN_FAMILIES, Arc::clone(&schema.families));
    snapshot.push(TALLYPORT_COLUMN_LABEL_RANGES, Arc::clone(&schema.label_ranges));
    snapshot.push(TALLYPORT_COLUMN_LABEL_PAIRS, Arc::clone(&schema.label_pairs));
    snapshot.push(TALLYPORT_COLUMN_HIST_BOUNDS, Arc::clone(&schema.bounds));
    snapshot.push(TALLYPORT_COLUMN_CREATED_NS, Arc::clone(&schema.created_ns));
    snapshot.push(TALLYPORT_COLUMN_VALUE_BITS, Arc::new(bits));
    snapshot.push(TALLYPORT_COLUMN_HIST_COUNT, Arc::new(counts));
    snapshot.push(TALLYPORT_COLUMN_HIST_BUCKETS, Arc::new(buckets));
    snapshot
}
