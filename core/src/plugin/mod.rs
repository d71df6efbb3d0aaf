//! Floor 4: exporter plugins, from a file or linked in, behind one table.
//!
//! The way of a file: `resolve` (from a name to a file, `manifest`) → `policy` (whose it is) or `pin`
//! (what it is) → `verify` (bounds and descriptor, before any of its code runs) → `probe` (tried in
//! a `helper` process) → `load` (dlopen by `image`, of a pinned file by `stage` and `needed`; entry,
//! negotiation) → `table` (what the exporter says of itself) → `exporter` (one configured instance
//! and its calls) → `run` (who calls it, for how long, what follows a failure) → [`Plugins`] (found by
//! name and format, counted). Linked-in exporters enter at `table`. It knows no format, no
//! configuration file, no destination.
//!
//! **Another way to run an exporter** (a helper process, say) is a `run::Source`, which makes
//! `run::Backend`s, and takes the place of a [`Table`] where exporters are registered: see
//! `run/mod.rs`. Nothing above it changes.

mod elf;
mod exporter;
mod helper;
mod host;
mod image;
#[cfg(target_os = "linux")]
mod isolation;
mod load;
mod manifest;
mod needed;
mod negotiate;
mod pin;
mod policy;
mod probe;
mod registry;
mod resolve;
mod run;
mod secrets;
mod stage;
mod table;
mod verify;

pub use helper::{
    HELPER_NAME, HelperLimits, check_helper, drop_inherited, enter_helper, find_helper,
    guard_neighbours, litter_stack,
};
#[cfg(target_os = "linux")]
pub use isolation::serve;
#[cfg(target_os = "linux")]
pub(crate) use isolation::{Launch, RemoteFile};
#[cfg(target_os = "linux")]
pub(crate) use load::can_what_the_manifest_says;
pub use load::{Known, LoadedFile, Loader, Policy, Request, load_file};
pub use manifest::{MANIFEST_SUFFIX, Manifest, platform};
pub use pin::{PinnedLibrary, Sha256};
pub use policy::Trust;
pub use probe::{PROBE_LINE, Probe, ProbeJob};
pub use registry::{Plugin, PluginInfo, Plugins, Statistics};
pub use resolve::{Discovered, Folder, Found, PATH_VARIABLE, SearchPath};
pub(crate) use resolve::{is_manifest, manifest_beside};
pub use run::{About, Health, LOG_TARGET, Limits, Outcome};
pub(crate) use run::{Runtime, Source, Syncs};
pub(crate) use secrets::{filtered, remember};
pub use table::{Format, Table};
pub use verify::{FileInfo, inspect_file};
