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
mod arenas;
mod cluster;
mod cuts;
mod engine;
mod failover;
mod idle;
mod instances;
mod items;
mod leases;
mod memcached_faults;
#[path = "../../src/store/keyed/testing.rs"]
mod memory_items;
mod moods;
mod on_disk;
mod partly;
mod processes;
mod proxy;
mod redis_faults;
mod reshard;
mod retired;
mod slow;
#[path = "../../src/store/testing.rs"]
mod testing;

// What `memory_items` finds around it, here as in the crate.
use tallyport_core::{
    model::Error,
    store::{Item, KeyValue},
};
