//! Floor 0: names, label sets, values, errors, time.
//!
//! What every other floor speaks in. It knows no metric storage, no plugin and no configuration.

mod clock;
mod correlation;
pub(crate) mod document;
mod error;
pub mod fork;
pub mod gate;
mod gauge_mode;
pub mod grace;
mod hash;
mod labels;
mod lock;
mod name;
pub mod own_thread;
mod panics;
pub(crate) mod platform;
pub(crate) mod problems;
mod random;
pub mod schema;

pub use clock::{Clock, SystemClock};
pub use correlation::CorrelationId;
pub use error::{Error, ErrorKind};
pub use gauge_mode::GaugeMode;
pub(crate) use hash::{TextHash, Words};
pub(crate) use labels::SortedLabels;
pub use lock::{
    Condvar, LongMutex, LongMutexGuard, LongRwLock, Mutex, MutexGuard, TurnGuard, TurnLock,
};
pub use name::{MAX_NAME_BYTES, MAX_VALUE_BYTES, check_label_name, check_metric_name};
pub(crate) use panics::panic_text;
pub(crate) use random::random;
pub use tallyport_plugin_api::{Kind, Number, Value};
