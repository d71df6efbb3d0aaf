//! What differs between systems: memory mappings, threads, and what the loader asks of the system.
//!
//! Linux x86-64 is tested. The paths for other Unix systems are written and have not run.

pub(crate) mod barrier;
mod cpus;
mod file_system;
mod flags;
pub(crate) mod fork;
pub(crate) mod futex;
#[cfg(feature = "serve")]
pub(crate) mod inherited;
mod mapping;
mod process;
mod signals;
mod thread;
mod uptime;

pub(crate) use cpus::{MAX_CPUS, possible_cpus};
pub(crate) use file_system::FileSystem;
pub(crate) use flags::{fill_new_memory, reset_direction};
pub(crate) use mapping::Mapping;
pub(crate) use process::{
    boot_id, close_inherited, effective_user, is_alive, is_alive_since, is_secure_execution,
    process_id, process_numbering, start_time,
};
pub(crate) use signals::SignalsBlocked;
pub(crate) use thread::this_thread;
#[cfg(feature = "store-sqlite")]
pub(crate) use uptime::uptime_ms;
pub(crate) use uptime::uptime_ns;
