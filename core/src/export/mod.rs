//! Floor 6: exports to configured targets, one exporter at a time, on time.
//!
//! `timing` has the formulas, `planner` says what is due, `coordinator` keeps a run's lease,
//! `destination` takes what an exporter wrote: a `file` with its `fence`, a request (`http`), stdout. What
//! a run did is a [`Run`] in the [`History`], and in the metrics (`meter`). Nothing here has a thread,
//! a configuration or a store of its own: the engine brings them together.

mod answer;
mod changes;
mod coordinator;
mod destination;
mod fence;
mod file;
mod history;
#[cfg(feature = "export-http")]
mod http;
mod last_run;
mod meter;
mod planner;
pub mod timing;

pub use answer::{Again, Failure};
pub use changes::Fingerprint;
pub(crate) use coordinator::{Admission, Guard, Registrar, Resting, admit, wake};
pub(crate) use destination::Parcel;
pub use destination::{Destination, Fencing, HttpMethod, HttpSettings, shown_url};
pub use file::{AtomicFile, FileTrouble, Occupied};
pub use history::{Ending, History, Run, Skip};
pub use last_run::LastRun;
pub(crate) use meter::ExportMeter;
pub use planner::{Due, Plan, Planner, Strategy};

/// What a run exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gathered {
    /// What all instances have that share the store.
    Shared {
        /// Live ones.
        instances: usize,
    },
    /// What this instance has.
    Own {
        /// Why not all: no lease could be had. `None`: nothing else was meant.
        because: Option<String>,
    },
}
