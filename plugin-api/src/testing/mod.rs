//! For tests of exporters, in safe code: snapshots made by hand, and a host that drives a table.
//!
//! Behind the feature `testing`. [`Fixture`] gathers families and series, [`Frozen`] lends them
//! through the ABI's structs, [`Harness`] creates, runs and destroys an exporter through the
//! function pointers of its table, as a host does. Nothing here is meant for production.
//!
//! ```
//! use tallyport_plugin_api::{Kind, Number, Value, testing::Fixture};
//!
//! let mut fixture = Fixture::at(1_700_000_000_000_000_000);
//! fixture.family("jobs_total", Kind::Counter, Number::U64).series(&[("queue", "mail")], Value::U64(3));
//! let frozen = fixture.freeze();
//! let names: Vec<&str> = frozen.view()?.families().map(|family| family.name()).collect();
//! assert_eq!(names, ["jobs_total"]);
//! # Ok::<(), tallyport_plugin_api::Error>(())
//! ```

mod fixture;
mod harness;

pub use fixture::{FamilyRows, Fixture, Frozen};
pub use harness::{Failure, Harness, Run};
