//! Every contender behind the same three shapes: a held counter, a held histogram, a family of
//! series with three labels.
//!
//! Calls are generic, so a contender's own code is inlined into its loop as into a program's.

pub mod client_rust;
pub mod fastmetrics;
pub mod measured;
pub mod metrics_rs;
pub mod opentelemetry;
pub mod tallyport;
pub mod tikv;

use crate::dataset::{self, Set};

/// Counters with three labels each.
pub trait Family: Sync {
    /// Finds or makes the series with these labels and adds to it.
    fn add(&self, labels: Set, amount: u64);

    /// Writes all as Prometheus text into `out`, which was cleared and has room.
    fn encode(&self, out: &mut Vec<u8>);
}

/// Makes the first `count` series of the data set.
pub fn fill(family: &impl Family, count: usize) {
    for index in 0..count {
        family.add(dataset::set(index), dataset::value(index));
    }
}
