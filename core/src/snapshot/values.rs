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

use super::{
    Snapshot,
    schema::{Owner, Part, Schema},
};
use crate::metrics::{F64Cell, HistogramCell, I64Cell, Planes, U64Cell};

/// In the section in which the schema was found to be current: its rows are the series that it
/// says.
pub(super) fn read(schema: &Arc<Schema>, planes: &Planes, time_unix_ns: u64) -> Snapshot {
    let mut columns = Columns {
        bits: Vec::with_capacity(schema.len()),
        counts: Vec::with_capacity(schema.histograms),
        buckets: Vec::with_capacity(schema.buckets),
    };
    for part in schema.parts() {
        columns.read(part, planes);
    }
    let Columns { bits, counts, buckets } = columns;
    let mut snapshot = Snapshot {
        schema_id: schema.id,
        time_unix_ns,
        series_count: schema.len() as u64,
        blocks: Vec::new(),
        columns: Vec::new(),
        modes: Arc::clone(&schema.modes),
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

struct Columns {
    bits: Vec<u64>,
    counts: Vec<u64>,
    buckets: Vec<u64>,
}

impl Columns {
    fn read(&mut self, part: &Part, planes: &Planes) {
        let layout = part.shape.layout();
        let places = part.rows.iter().map(|row| part.shape.place(*row));
        let first = self.bits.len();
        match (layout.kind, layout.number) {
            (Kind::Histogram, _) => return self.read_histograms(part, planes),
            (Kind::Gauge, _) => return self.read_gauges(part),
            (_, Number::U64) => {
                self.bits.extend(places.map(|place| U64Cell::new(place).read(planes)));
            }
            (_, Number::I64) => self
                .bits
                .extend(places.map(|place| I64Cell::new(place).read(planes).cast_unsigned())),
            (_, Number::F64) => {
                self.bits.extend(places.map(|place| F64Cell::new(place).read(planes).to_bits()));
            }
        }
        for (index, row) in &part.more {
            let place = part.shape.place(*row);
            let Some(bits) = self.bits.get_mut(first + index) else { continue };
            *bits = match layout.number {
                // Of an i64 as two's complement.
                Number::U64 | Number::I64 => bits.wrapping_add(U64Cell::new(place).read(planes)),
                Number::F64 => (f64::from_bits(*bits) + F64Cell::new(place).read(planes)).to_bits(),
            };
        }
    }

    fn read_histograms(&mut self, part: &Part, planes: &Planes) {
        let buckets = part.shape.layout().buckets;
        for (index, row) in part.rows.iter().enumerate() {
            let more = part.more.iter().filter(|(of, _)| *of == index).map(|(_, row)| row);
            let (mut sum, mut count) = (0.0, 0);
            let start = self.buckets.len();
            self.buckets.resize(start + buckets, 0);
            let own = self.buckets.get_mut(start..).unwrap_or_default();
            for row in std::iter::once(row).chain(more) {
                let cell = HistogramCell::new(part.shape.place(*row), buckets);
                for (bucket, total) in own.iter_mut().enumerate() {
                    // Count and sum come from the buckets, so all three cover the same observations.
                    let (bucket_sum, bucket_count) = cell.read(bucket, planes);
                    sum += bucket_sum;
                    count += bucket_count;
                    *total += bucket_count;
                }
            }
            self.bits.push(f64::to_bits(sum));
            self.counts.push(count);
        }
    }

    fn read_gauges(&mut self, part: &Part) {
        for (index, row) in part.rows.iter().enumerate() {
            let more = part.more.iter().filter(|(of, _)| *of == index).map(|(_, row)| row);
            let mut rows = std::iter::once(row).chain(more).map(|row| part.shape.gauge(*row));
            let value = match &part.owner {
                Owner::Any => rows.find_map(|gauge| gauge.read_any()),
                Owner::One(owner) => rows.find_map(|gauge| gauge.read_at(*owner)),
                Owner::Together(mode, places) => {
                    let of =
                        |place: &usize| rows.clone().find_map(|gauge| gauge.read_with_time(*place));
                    mode.together(places.iter().filter_map(of)).map(|(value, _)| value)
                }
            };
            self.bits.push(value.unwrap_or_default().to_bits());
        }
    }
}
