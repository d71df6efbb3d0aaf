//! opentelemetry_sdk, with opentelemetry-prometheus as its reader and encoder.

use ::opentelemetry::{
    KeyValue,
    metrics::{BoundCounter, BoundHistogram, Counter, MeterProvider},
};
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use prometheus::{Encoder, Registry, TextEncoder};

use super::Family;
use crate::dataset::{BOUNDS, HELP, LABELS, NAME, Set};

/// A counter and what keeps its pipeline running.
#[derive(Debug)]
pub struct OpenTelemetry {
    counter: Counter<u64>,
    provider: SdkMeterProvider,
    registry: Registry,
}

impl Default for OpenTelemetry {
    /// Without its limit of 2000 series, which every other contender lacks too.
    fn default() -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .expect("an empty registry");
        let limit =
            |_: &Instrument| Stream::builder().with_cardinality_limit(2_000_000).build().ok();
        let provider = SdkMeterProvider::builder().with_reader(exporter).with_view(limit).build();
        let counter = provider.meter("bench").u64_counter(NAME).with_description(HELP).build();
        Self { counter, provider, registry }
    }
}

impl OpenTelemetry {
    /// A counter bound to its labels.
    pub fn bound(&self, labels: Set) -> BoundCounter<u64> {
        self.counter.bind(&attributes(labels))
    }

    /// A histogram bound to no labels.
    pub fn histogram(&self) -> BoundHistogram<f64> {
        let meter = self.provider.meter("bench");
        let histogram = meter.f64_histogram("wait_seconds");
        histogram.with_boundaries(BOUNDS.to_vec()).build().bind(&[])
    }

    /// Adds with attributes that the caller keeps.
    #[inline]
    pub fn add(&self, attributes: &[KeyValue]) {
        self.counter.add(1, attributes);
    }
}

/// Attributes with text that lives for ever, so that none is copied.
#[must_use]
pub fn attributes([instance, route, code]: Set) -> [KeyValue; 3] {
    [
        KeyValue::new(LABELS[0], instance),
        KeyValue::new(LABELS[1], route),
        KeyValue::new(LABELS[2], code),
    ]
}

impl Family for OpenTelemetry {
    #[inline]
    fn add(&self, [instance, route, code]: Set, amount: u64) {
        // Text that does not live for ever is owned by its attribute.
        let labels = [
            KeyValue::new(LABELS[0], instance.to_owned()),
            KeyValue::new(LABELS[1], route.to_owned()),
            KeyValue::new(LABELS[2], code.to_owned()),
        ];
        self.counter.add(amount, &labels);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let done = TextEncoder::new().encode(&self.registry.gather(), out);
        assert!(done.is_ok());
    }
}
