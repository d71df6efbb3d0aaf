//! Floor 5: what instances share, through a store.
//!
//! [`Session`] is where to start: one arena, one store. [`Publisher`] is the protocol's one side,
//! [`aggregate`] and [`retire`] are the other: machines without a clock, over whatever keeps bytes.
//! It knows no configuration and no schedule.

pub mod aggregate;
mod columns;
mod journal;
mod members;
#[cfg(test)]
mod model;
mod output;
mod pace;
#[cfg(test)]
pub(crate) mod planted;
mod publisher;
mod reshard;
pub mod retire;
mod session;
mod slot;

pub use crate::snapshot::GaugeModes;
pub use members::{Member, members};
pub use output::{Conflict, Overview, View, overview};
pub use publisher::{Mishaps, Publisher};
pub use session::{Session, Settings, Synced};
