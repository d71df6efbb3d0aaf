//! The walk itself, for the plugin and for the same in the benchmarks' own program.

use std::hint::black_box;

use tallyport_plugin_api::{Snapshot, Value};

/// Number of labels, bytes of their text, and the sum of the values.
#[must_use]
pub fn walk(snapshot: &Snapshot<'_>) -> (u64, usize, u64) {
    let (mut labels, mut bytes, mut values) = (0_u64, 0_usize, 0_u64);
    for family in snapshot.families() {
        for series in family.series() {
            for (name, value) in series.labels() {
                labels += 1;
                bytes += black_box(name).len() + black_box(value).len();
            }
            if let Value::U64(value) = series.value() {
                values = values.wrapping_add(value);
            }
        }
    }
    (labels, bytes, values)
}
