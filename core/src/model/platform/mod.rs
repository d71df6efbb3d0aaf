//! What differs between systems: memory mappings and what the loader asks of the system.
//!
//! Linux x86-64 is tested. The paths for other Unix systems are written and have not run.

mod cpus;
mod flags;
mod mapping;
mod process;
mod signals;

pub(crate) use cpus::possible_cpus;
pub(crate) use flags::{fill_new_memory, reset_direction};
pub(crate) use mapping::Mapping;
pub(crate) use process::{effective_user, is_secure_execution};
pub(crate) use signals::SignalsBlocked;
