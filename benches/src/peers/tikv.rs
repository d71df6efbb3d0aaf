//! prometheus, of TiKV.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, Registry, TextEncoder,
};

use super::Family;
use crate::dataset::{BOUNDS, HELP, LABELS, NAME, Set};

/// A held counter.
#[must_use]
pub fn counter() -> IntCounter {
    IntCounter::new(NAME, HELP).expect("a valid name")
}

/// A held histogram.
#[must_use]
pub fn histogram() -> Histogram {
    let options = HistogramOpts::new("wait_seconds", HELP).buckets(BOUNDS.to_vec());
    Histogram::with_opts(options).expect("valid bounds")
}

/// A family with a registry.
#[derive(Debug)]
pub struct Tikv {
    family: IntCounterVec,
    registry: Registry,
}

impl Default for Tikv {
    fn default() -> Self {
        let family = IntCounterVec::new(Opts::new(NAME, HELP), &LABELS).expect("valid names");
        let registry = Registry::new();
        registry.register(Box::new(family.clone())).expect("an empty registry");
        Self { family, registry }
    }
}

impl Family for Tikv {
    #[inline]
    fn add(&self, labels: Set, amount: u64) {
        self.family.with_label_values(&labels).inc_by(amount);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let done = TextEncoder::new().encode(&self.registry.gather(), out);
        assert!(done.is_ok());
    }
}
