//! What differs between systems: memory mappings and what the loader asks of the system.
//!
//! Linux x86-64 is tested. The paths for other Unix systems are written and have not run.

mod cpus;
mod mapping;

pub(crate) use cpus::possible_cpus;
pub(crate) use mapping::Mapping;
