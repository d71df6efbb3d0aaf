//! Floor 1: counters, gauges and histograms, and the cells that recording changes.
//!
//! Start with [`Metrics`]: it owns the families, finds or makes a series, and hands out handles.
//! Recording through a handle takes no lock and allocates nothing. It knows no snapshot layout,
//! no plugin, no configuration file.

mod arena;
mod bounds;
mod claims;
mod directory;
mod family;
mod handle;
mod registry;
mod series;

pub use arena::Cells;
pub(crate) use family::Family;
pub use family::{DEFAULT_BOUNDS, Description, FamilyInfo};
pub use handle::{Counter, CounterF64, Gauge, Histogram, UpDownCounter, UpDownCounterF64};
pub use registry::{Dropped, Limits, Metrics, OVERFLOW_LABEL};
pub(crate) use series::{Cell, Series};
