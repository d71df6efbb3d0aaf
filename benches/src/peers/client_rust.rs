//! prometheus-client, the Prometheus project's own.

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    instance: String,
    route: String,
    code: String,
}

/// A family with a registry.
#[derive(Debug)]
pub struct ClientRust {
    family: Counters<Labels, Counter>,
    registry: Registry,
}

impl Default for ClientRust {
    fn default() -> Self {
        let family = Counters::<Labels, Counter>::default();
        let mut registry = Registry::default();
        // It appends `_total`.
        registry.register(NAME.trim_end_matches("_total"), HELP, family.clone());
        Self { family, registry }
    }
}

impl Family for ClientRust {
    #[inline]
    fn add(&self, [instance, route, code]: Set, amount: u64) {
        // A label set is a key of the map, so it owns its text.
        let labels = Labels { instance: instance.into(), route: route.into(), code: code.into() };
        self.family.get_or_create(&labels).inc_by(amount);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let mut text = String::from_utf8(std::mem::take(out)).unwrap_or_default();
        let done = text::encode(&mut text, &self.registry);
        assert!(done.is_ok());
        *out = text.into_bytes();
    }
}
