//! Floor 1: counters, gauges and histograms, and the cells that recording changes.
//!
//! Start with [`Metrics`]: it owns the families, finds or makes a series, and hands out handles.
//! Recording through a handle takes no lock and allocates nothing; nor does recording by label
//! values through a family ([`CounterFamily`] and its like), once the series exists. It knows no
//! snapshot layout, no plugin, no configuration file.

mod arena;
mod bounds;
mod claims;
mod collect;
mod directory;
mod families;
mod family;
mod handle;
mod ledger;
mod levels;
mod limits;
mod registry;
mod sweeper;
mod table;

pub use arena::{ArenaFile, Cells, Share};
pub(crate) use arena::{At, F64Cell, HistogramCell, I64Cell, Member, Planes, U64Cell};
pub use collect::{Ask, Asked, Collector, CollectorInfo, Threads};
pub use families::{
    CounterF64Family, CounterFamily, GaugeFamily, HistogramFamily, UpDownCounterF64Family,
    UpDownCounterFamily,
};
pub(crate) use family::Family;
pub use family::{DEFAULT_BOUNDS, Description, FamilyInfo, OVERFLOW_LABEL};
pub use handle::{Counter, CounterF64, Gauge, Histogram, UpDownCounter, UpDownCounterF64};
pub(crate) use ledger::{Ledger, Turn, damaged as ledger_damaged};
pub use limits::{Dropped, Limits};
pub use registry::{Metrics, OverflowHook};
pub(crate) use table::{Extent, Learned, Shape};
