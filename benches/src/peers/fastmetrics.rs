//! fastmetrics.

use ::fastmetrics::{
    derive::{EncodeLabelSet, LabelSetSchema},
    format::text::{self, TextProfile},
    metrics::{counter::Counter, family::Family as Counters, histogram::Histogram},
    registry::Registry,
};

use super::Family;
use crate::dataset::{BOUNDS, HELP, NAME, Set};

/// A held counter.
#[must_use]
pub fn counter() -> Counter {
    Counter::default()
}

/// A held histogram.
#[must_use]
pub fn histogram() -> Histogram {
    Histogram::new(BOUNDS)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet, LabelSetSchema)]
struct Labels {
    instance: String,
    route: String,
    code: String,
}

/// A family with a registry.
pub struct FastMetrics {
    family: Counters<Labels, Counter>,
    registry: Registry,
}

impl Default for FastMetrics {
    fn default() -> Self {
        let family = Counters::<Labels, Counter>::default();
        let mut registry = Registry::default();
        let done = registry.register(NAME.trim_end_matches("_total"), HELP, family.clone());
        assert!(done.is_ok());
        Self { family, registry }
    }
}

impl Family for FastMetrics {
    #[inline]
    fn add(&self, [instance, route, code]: Set, amount: u64) {
        // A label set is a key of the map, so it owns its text.
        let labels = Labels { instance: instance.into(), route: route.into(), code: code.into() };
        self.family.with_or_new(&labels, |counter| counter.inc_by(amount));
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut text = String::from_utf8(std::mem::take(out)).unwrap_or_default();
        let done = text::encode(&mut text, &self.registry, TextProfile::PrometheusV0_0_4);
        assert!(done.is_ok());
        *out = text.into_bytes();
    }
}
