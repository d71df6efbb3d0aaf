//! Ours.

use std::hint::black_box;

use tallyport_builtin_exporters::EXPORTERS;
use tallyport_core::{
    engine::{
        Engine,
        config::{CellsConfig, Config, Limits, RecordingConfig},
    },
    metrics::CounterFamily,
    snapshot::Snapshot,
};

use super::Family;
use crate::dataset::{LABELS, NAME, Set};

/// An engine with room for two million series.
///
/// # Errors
/// What the engine says.
pub fn engine(cells: CellsConfig) -> Result<Engine, String> {
    with_room_for(2_000_000, cells)
}

fn with_room_for(series: usize, cells: CellsConfig) -> Result<Engine, String> {
    let config = Config {
        limits: Limits {
            max_series: series,
            max_series_per_family: series,
            max_cell_bytes: 1 << 32,
            ..Limits::default()
        },
        recording: RecordingConfig { cells, ..RecordingConfig::default() },
        ..Config::default()
    };
    Engine::builder().config(config).linked(&EXPORTERS).build().map_err(|e| e.to_string())
}

/// Counters of an engine, found by label values each time.
#[derive(Debug)]
pub struct Ours(pub Engine, CounterFamily);

impl Ours {
    /// With cells per CPU.
    ///
    /// # Errors
    /// What the engine says.
    pub fn new() -> Result<Self, String> {
        Self::of(engine(CellsConfig::PerCpu)?)
    }

    /// With room for so many series; what comes then folds.
    ///
    /// # Errors
    /// What the engine says.
    pub fn limited(series: usize) -> Result<Self, String> {
        Self::of(with_room_for(series, CellsConfig::PerCpu)?)
    }

    /// Of an engine that is there.
    ///
    /// # Errors
    /// What the engine says.
    pub fn of(engine: Engine) -> Result<Self, String> {
        let family = engine.metrics().counter_family(NAME, &LABELS).map_err(|e| e.to_string())?;
        Ok(Self(engine, family))
    }
}

impl Family for Ours {
    #[inline]
    fn add(&self, labels: Set, amount: u64) {
        let _ = black_box(self.1.add(&labels, amount));
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let done = self.0.export("prometheus", &mut |chunk| {
            out.extend_from_slice(chunk);
            Ok(())
        });
        assert!(done.is_ok(), "{done:?}");
    }
}

/// Counters of an engine, found by name and labels each time: nothing is kept between two calls.
#[derive(Debug)]
pub struct ByName(pub Engine);

impl ByName {
    /// With cells per CPU.
    ///
    /// # Errors
    /// What the engine says.
    pub fn new() -> Result<Self, String> {
        engine(CellsConfig::PerCpu).map(Self)
    }
}

impl Family for ByName {
    #[inline]
    fn add(&self, [instance, route, code]: Set, amount: u64) {
        let labels = [(LABELS[0], instance), (LABELS[1], route), (LABELS[2], code)];
        if let Ok(counter) = self.0.metrics().counter(black_box(NAME), &labels) {
            counter.add(amount);
        }
    }

    fn encode(&self, _: &mut Vec<u8>) {}
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
