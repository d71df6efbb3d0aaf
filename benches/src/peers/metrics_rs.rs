//! metrics, with the recorder of metrics-exporter-prometheus.

use metrics::{Counter, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use super::Family;
use crate::dataset::{BOUNDS, LABELS, NAME, Set};

static METADATA: Metadata<'static> = Metadata::new("bench", Level::INFO, None);

fn recorder() -> PrometheusRecorder {
    let builder = PrometheusBuilder::new().set_buckets(&BOUNDS).expect("bounds");
    builder.build_recorder()
}

/// A held counter; the recorder lives as long.
pub fn counter() -> Counter {
    let recorder = Box::leak(Box::new(recorder()));
    recorder.register_counter(&Key::from_static_name(NAME), &METADATA)
}

/// A held histogram. It keeps every observation until somebody renders: see [`drain`].
pub fn histogram() -> (Histogram, &'static PrometheusRecorder) {
    let recorder: &'static PrometheusRecorder = Box::leak(Box::new(recorder()));
    let histogram = recorder.register_histogram(&Key::from_static_name("wait_seconds"), &METADATA);
    (histogram, recorder)
}

/// Sorts what histograms kept into buckets, as a scrape or the upkeep does.
pub fn drain(recorder: &PrometheusRecorder) {
    recorder.handle().run_upkeep();
}

/// A recorder; series are found as the `counter!` macro finds them.
pub struct MetricsRs(PrometheusRecorder);

impl Default for MetricsRs {
    fn default() -> Self {
        Self(recorder())
    }
}

impl Family for MetricsRs {
    #[inline]
    fn add(&self, labels: Set, amount: u64) {
        let [instance, route, code] = labels;
        let label = |at: usize, value: &str| {
            Label::new(LABELS[at], SharedString::from_owned(value.to_owned()))
        };
        let labels = vec![label(0, instance), label(1, route), label(2, code)];
        let key = Key::from_parts(NAME, labels);
        self.0.register_counter(&key, &METADATA).increment(amount);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let done = self.0.handle().render_to_write(out);
        assert!(done.is_ok());
    }
}
