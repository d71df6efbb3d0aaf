//! Exports to targets: leases over real stores, processes that are killed and stopped, real receivers.

// A helper that fails is a test that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    missing_docs
)]

mod crowd;
mod gateway;
mod interrupt;
mod items;
#[path = "../../core/src/store/keyed/testing.rs"]
mod memory_items;
mod push;
mod runs;
mod schedule;
mod server;
mod standing;
#[path = "../../core/src/store/testing.rs"]
mod testing;
mod tls;

use std::path::Path;

use tallyport_builtin_exporters::EXPORTERS;
// What `memory_items` finds around it.
use tallyport_core::{
    engine::{Engine, RunOptions, config::Config},
    export::Run,
    model::Error,
    store::{Item, KeyValue},
};

/// An engine of a configuration without its first line.
fn engine(toml: &str, folder: &Path) -> Engine {
    let config = Config::parse(&format!("schema = 1\n{toml}"), "test", folder).unwrap();
    Engine::builder().config(config).linked(&EXPORTERS).build().unwrap()
}

fn export(engine: &Engine, target: &str) -> Run {
    engine.export_target(target, &RunOptions::default()).unwrap()
}

fn add(engine: &Engine, amount: u64) {
    engine.metrics().counter("requests_total", &[]).unwrap().add(amount);
}
