//! Floor 4: exporter plugins, from a file or linked in, behind one table.
//!
//! The way of a file: `verify` (bounds and descriptor, before any of its code runs) → `load`
//! (dlopen, entry, negotiation) → `table` (what the exporter says of itself) → `exporter` (one
//! configured instance and its calls) → [`Plugins`] (found by name and format, counted). Linked-in
//! exporters enter at `table`. It knows no format, no configuration file, no destination.

mod elf;
mod exporter;
mod host;
mod load;
mod negotiate;
mod registry;
mod table;
mod verify;

pub use exporter::Outcome;
pub use load::{LoadedFile, load_file};
pub(crate) use registry::{PLUGIN_NAME_RULE, is_plugin_name};
pub use registry::{Plugin, PluginInfo, Plugins, Statistics};
pub use table::{Format, Table};
pub use verify::{FileInfo, inspect_file};
