//! The Tallyport engine.

pub mod engine;
pub mod metrics;
pub mod model;
pub mod plugin;
pub mod snapshot;
