//! How much metrics may hold, and what did not fit.

use std::time::Duration;

/// How much the metrics of one engine may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series of the engine.
    pub max_series: usize,
    /// Series of one family.
    pub max_series_per_family: usize,
    /// Bytes of cells, counted over all planes; memory is used as series are.
    pub max_cell_bytes: usize,
    /// Bytes of label values, each different one counted once, with 12 bytes more.
    pub max_label_bytes: usize,
    /// A series that nobody looked up for so long, and that no handle is kept of, is taken out.
    /// Between this and an eighth more, and at a snapshot; `None`: never.
    pub series_idle_timeout: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_series: 1_000_000,
            max_series_per_family: 100_000,
            max_cell_bytes: 1 << 30,
            max_label_bytes: 256 << 20,
            series_idle_timeout: None,
        }
    }
}

/// What was not recorded, by reason; also exported as `tallyport_dropped_samples_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// NaN observations of histograms.
    pub nan: u64,
    /// Series refused past a limit: of gauges, and where not even the series that others fold into
    /// found memory.
    pub overflow: u64,
}
