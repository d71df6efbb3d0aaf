//! Ours.

use std::hint::black_box;

use tallyport_builtin_exporters::EXPORTERS;
use tallyport_core::{
    engine::{
        Engine,
        config::{CellsConfig, Config, Limits, RecordingConfig},
    },
    metrics::Metrics,
    snapshot::Snapshot,
};

use super::Family;
use crate::dataset::{LABELS, NAME, Set};

/// An engine with room for two million series.
///
/// # Errors
/// What the engine says.
pub fn engine(cells: CellsConfig) -> Result<Engine, String> {
    let config = Config {
        limits: Limits {
            max_series: 2_000_000,
            max_series_per_family: 2_000_000,
            max_cell_bytes: 1 << 32,
        },
        recording: RecordingConfig { cells, ..RecordingConfig::default() },
        ..Config::default()
    };
    Engine::builder().config(config).linked(&EXPORTERS).build().map_err(|e| e.to_string())
}

/// Counters of an engine, found by labels each time.
#[derive(Debug)]
pub struct Ours(pub Engine);

impl Ours {
    /// With cells per CPU.
    ///
    /// # Errors
    /// What the engine says.
    pub fn new() -> Result<Self, String> {
        engine(CellsConfig::PerCpu).map(Self)
    }

    /// One lookup and one add.
    #[inline]
    pub fn add(metrics: &Metrics, [instance, route, code]: Set, amount: u64) {
        let labels = [(LABELS[0], instance), (LABELS[1], route), (LABELS[2], code)];
        if let Ok(counter) = metrics.counter(black_box(NAME), &labels) {
            counter.add(amount);
        }
    }
}

impl Family for Ours {
    #[inline]
    fn add(&self, labels: Set, amount: u64) {
        Self::add(self.0.metrics(), labels, amount);
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let done = self.0.export("prometheus", &mut |chunk| {
            out.extend_from_slice(chunk);
            Ok(())
        });
        assert!(done.is_ok(), "{done:?}");
    }
}

/// Exports `snapshot` to a sink that only looks at the chunks; their total length.
///
/// # Errors
/// What the exporter says.
pub fn export(engine: &Engine, snapshot: &Snapshot, format: &str) -> Result<u64, String> {
    let done = engine.export_snapshot(snapshot, format, &mut |chunk| {
        black_box(chunk);
        Ok(())
    });
    done.map(|outcome| outcome.bytes).map_err(|e| e.to_string())
}
