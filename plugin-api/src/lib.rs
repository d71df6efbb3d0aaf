//! The Tallyport plugin ABI, and the SDK for exporters written in Rust.
//!
//! - [`abi`]: the contract itself, the source of `include/tallyport_plugin.h`.
//! - [`Exporter`] and [`export_plugins!`]: write a plugin without unsafe code.
//! - [`Snapshot`]: what an exporter reads; [`Sink`]: where it writes.
//!
//! ```
//! use tallyport_plugin_api::{Call, Error, Exporter, Host, Info, Sink, Snapshot, format};
//!
//! struct Names;
//!
//! impl Exporter for Names {
//!     type Options = ();
//!     const INFO: Info = Info {
//!         formats: &[format("names", "text/plain; charset=utf-8")],
//!         ..Info::new("com.example.names", "1.0.0")
//!     };
//!     fn create(_host: Host, _options: ()) -> Result<Self, Error> {
//!         Ok(Names)
//!     }
//!     fn export(&self, _call: &Call<'_>, snapshot: &Snapshot<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
//!         for family in snapshot.families() {
//!             sink.write(family.name().as_bytes())?;
//!             sink.write(b"\n")?;
//!         }
//!         Ok(())
//!     }
//! }
//!
//! tallyport_plugin_api::export_plugins!("com.example.names", [Names]);
//! # fn main() {}
//! ```

pub mod abi;
mod contain;
mod error;
mod export;
mod exporter;
mod layout;
pub mod layout_check;
mod raw;
mod sink;
mod snapshot;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

#[doc(hidden)]
pub use contain::keep_panics_quiet;
pub use error::Error;
pub use export::PluginSet;
#[doc(hidden)]
pub use export::{PluginTable, file_desc};
pub use exporter::{Call, Completed, Exporter, Format, Host, Info, LogLevel, Synced, format};
pub use layout::{LAYOUTS, TALLYPORT_PLUGIN_LAYOUT_HASH, TypeLayout};
pub use raw::text;
pub use sink::{CHUNK_BYTES, Sink};
pub use snapshot::{Family, Histogram, Kind, Number, Series, Snapshot, Value};
