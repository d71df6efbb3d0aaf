//! The kit as a host: everything of it that touches a pointer of a plugin, or the process.
//!
//! - `file`: a plugin file is loaded and negotiated with, step by step.
//! - `desk`: the services that a plugin calls. It dereferences no handle: sinks, errors, calls and
//!   host tables are looked up by their address, so a stale one is a finding, not a crash.
//! - `memory`: what is lent lies before a guard page and is closed when the loan ends.
//! - `snapshot`, `call`: columns and calls in such memory, in the shapes of older and newer hosts.
//! - `instance`: one exporter that was created, and the calls on it.
//! - `process`, `surroundings`: groups of processes, fork, what a guest must leave as it was.

pub(crate) mod call;
pub(crate) mod desk;
pub(crate) mod file;
pub(crate) mod instance;
pub(crate) mod memory;
pub(crate) mod process;
mod services;
pub(crate) mod snapshot;
pub(crate) mod surroundings;
