//! Instances that share totals through real stores, and what breaks on the way.

// A helper that fails is a test that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs
)]

mod agree;
mod cluster;
mod engine;
mod instances;
mod leases;
mod on_disk;
mod processes;
mod proxy;
mod redis_faults;
#[path = "../../src/store/testing.rs"]
mod testing;
