//! The Tallyport engine.

pub mod engine;
pub mod event;
pub mod export;
pub mod metrics;
pub mod model;
pub mod plugin;
pub mod registry;
#[cfg(feature = "serve")]
pub mod serve;
pub mod snapshot;
pub mod store;
pub mod sync;
