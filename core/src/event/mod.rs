//! Floor 3: events, from who publishes them to who listens.
//!
//! [`Bus`] publishes, subscribes and registers handlers; [`Catalogue`] says what events there are.
//! Listeners are entries of [`crate::registry`]. A listener never breaks a publisher: it is
//! contained, counted and logged. No thread is started: a listener's function runs on the
//! publisher's thread, or its events wait in a bounded queue for a thread of the host's.
//!
//! It refuses to know what events mean: metrics, spans and logs of them are made above.

mod announce;
mod builtin;
mod bus;
mod catalogue;
mod listener;
mod name;
mod payload;
mod queue;
mod subscription;
#[cfg(test)]
mod tests;
mod topics;

pub(crate) use announce::PLUGIN;
pub use bus::{Bus, Topic};
pub use catalogue::{Catalogue, Category, Definition};
pub use listener::{Callback, ListenerInfo, QueueLimits};
pub use name::{Pattern, check_event_name};
pub use payload::{Event, Field, FieldValue, OwnedEvent};
pub use subscription::{Listen, Subscription};
