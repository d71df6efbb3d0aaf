//! Floor 4: exporter plugins, from a file or linked in, behind one table.
//!
//! The way of a file: `policy` (whose it is) → `verify` (bounds and descriptor, before any of its
//! code runs) → `probe` (tried in a `helper` process) → `load` (dlopen by `image`, entry,
//! negotiation) → `table` (what the exporter says of itself) → `exporter` (one configured instance
//! and its calls) → [`Plugins`] (found by name and format, counted). Linked-in exporters enter at
//! `table`. It knows no format, no configuration file, no destination.

mod elf;
mod exporter;
mod helper;
mod host;
mod image;
mod load;
mod negotiate;
mod pin;
mod policy;
mod probe;
mod registry;
mod table;
mod verify;

pub use exporter::Outcome;
pub use helper::{HELPER_NAME, enter_helper, find_helper};
pub use load::{LoadedFile, Loader, Policy, load_file};
pub use pin::Sha256;
pub use policy::Trust;
pub use probe::{PROBE_LINE, Probe, ProbeJob};
pub use registry::{Plugin, PluginInfo, Plugins, Statistics};
pub use table::{Format, Table};
pub use verify::{FileInfo, inspect_file};
