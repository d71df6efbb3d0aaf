//! Copies the values of every row of a schema.

use std::sync::Arc;

use tallyport_plugin_api::{
    Kind, Number,
    abi::{
        TALLYPORT_COLUMN_CREATED_NS, TALLYPORT_COLUMN_FAMILIES, TALLYPORT_COLUMN_HIST_BOUNDS,
        TALLYPORT_COLUMN_HIST_BUCKETS, TALLYPORT_COLUMN_HIST_COUNT, TALLYPORT_COLUMN_LABEL_PAIRS,
        TALLYPORT_COLUMN_LABEL_RANGES, TALLYPORT_COLUMN_STR_BYTES, TALLYPORT_COLUMN_STR_OFF,
        TALLYPORT_COLUMN_VALUE_BITS,
    },
};

use super::{Snapshot, schema::Schema};
use crate::metrics::{F64Cell, GaugeCell, HistogramCell, I64Cell, U64Cell};

/// In the section in which the schema was found to be current: its rows are the series that it
/// says.
pub(super) fn read(schema: &Arc<Schema>, time_unix_ns: u64) -> Snapshot {
    let mut bits: Vec<u64> = Vec::with_capacity(schema.len());
    let mut counts = Vec::with_capacity(schema.histograms);
    let mut buckets = Vec::with_capacity(schema.buckets);
    for part in schema.parts() {
        let layout = part.shape.layout();
        let places = part.rows.iter().map(|row| part.shape.place(*row));
        match (layout.kind, layout.number) {
            (Kind::Histogram, _) => {
                for place in places {
                    let cell = HistogramCell::new(place, layout.buckets);
                    let (mut sum, mut count) = (0.0, 0);
                    for bucket in 0..cell.buckets() {
                        // Count and sum come from the buckets, so all three cover the same
                        // observations.
                        let (bucket_sum, bucket_count) = cell.read(bucket);
                        sum += bucket_sum;
                        count += bucket_count;
                        buckets.push(bucket_count);
                    }
                    bits.push(f64::to_bits(sum));
                    counts.push(count);
                }
            }
            (Kind::Gauge, _) => {
                bits.extend(places.map(|place| GaugeCell::new(place).read().to_bits()));
            }
            (_, Number::U64) => bits.extend(places.map(|place| U64Cell::new(place).read())),
            (_, Number::I64) => {
                bits.extend(places.map(|place| I64Cell::new(place).read().cast_unsigned()));
            }
            (_, Number::F64) => {
                bits.extend(places.map(|place| F64Cell::new(place).read().to_bits()));
            }
        }
    }
    let mut snapshot = Snapshot {
        schema_id: schema.id,
        time_unix_ns,
        series_count: schema.len() as u64,
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
