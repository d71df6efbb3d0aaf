//! libtallyport: the C API over the engine. `include/tallyport.h` is generated from this crate.
//!
//! One file per C object. Every entry has one shape, from `boundary`: panics are caught,
//! arguments are checked, a status and an error come out. Handles are numbers of the table in
//! `handles`, the one process-wide object, so a stale one is a status and never memory. Read
//! `boundary` and `handles` first: all the danger is there.

// The C names are the contract, and an entry's contract is in its comment: Threads, Ownership,
// Errors, Since. What the caller vouches for stands once, at `boundary::Call`.
#![allow(non_camel_case_types, clippy::missing_safety_doc)]

mod boundary;
pub mod buf;
pub mod by_values;
mod callback;
pub mod collector;
pub mod counter;
pub mod engine;
pub mod error;
pub mod event;
pub mod export;
pub mod family;
pub mod fork;
pub mod gauge;
pub mod handler;
mod handles;
pub mod histogram;
pub mod log;
pub mod log_ring;
pub mod options;
pub mod plugin;
pub mod registry;
pub mod serve;
pub mod snapshot;
pub mod store;
mod store_functions;
pub mod subscription;
pub mod sync;
pub mod target;
mod text;
pub mod topic;
pub mod up_down_counter;
pub mod version;
