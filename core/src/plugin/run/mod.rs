//! How an exporter is run: by whom, for how long, and what happens after it failed.
//!
//! A registered exporter is a [`Runner`]. It keeps the rules (`health`: circuit breaker, making anew
//! after a panic), measures (`meter`) and asks a [`Backend`] to do the work:
//!
//! - `direct`: on the caller's thread; for exporters without a deadline.
//! - `worker`: on threads of its own, because only then can a caller leave an export that hangs.
//!
//! Another way to run exporters is one more [`Source`] and [`Backend`]; nothing above knows which it
//! is. A backend that went wrong for good says so with a [`Blame`], is dropped, and its source
//! starts another one when the rules allow it. This folder knows no file, no configuration and
//! nothing of unsafe code: calls into plugins are in `exporter.rs`.

mod direct;
mod health;
mod limits;
mod mailbox;
mod meter;
mod runner;
mod worker;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

pub(super) use direct::Direct;
pub use health::Health;
pub use limits::Limits;
pub use mailbox::LOG_TARGET;
pub(super) use mailbox::{Mailbox, emit};
pub use runner::Outcome;
pub(super) use runner::Runner;
pub(crate) use runner::Runtime;
pub(super) use worker::Worker;
pub(crate) use worker::Zombies;

use super::{host::Output, secrets::Hidden, table::Format};
use crate::{
    model::{Error, ErrorKind},
    snapshot::Snapshot,
};

/// What an exporter says of itself, wherever its code runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Identity.
    pub id: String,
    /// The exporter's version.
    pub version: String,
    /// Who makes it.
    pub vendor: String,
    /// One line.
    pub description: String,
    /// Formats, the default one first.
    pub formats: Vec<Format>,
    /// Where it came from: a file's path, or "linked in".
    pub origin: String,
}

/// Where exporters come from: a table in this process, or a file in a helper process.
pub(crate) trait Source: fmt::Debug + Send + Sync {
    /// What the exporter says of itself.
    fn about(&self) -> About;

    /// Makes one configured instance. Called again when the one before is lost.
    ///
    /// # Errors
    /// What `create` answered; Timeout when it did not return in time.
    fn start(self: Arc<Self>, wanted: &Wanted<'_>) -> Result<Arc<dyn Backend>, Failed>;

    /// Whether they want to be told of syncs.
    fn hears_syncs(&self) -> bool;
}

/// Syncs of the engine, as they are told to exporters.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Syncs {
    pub(crate) count: u32,
    pub(crate) series: u64,
    pub(crate) bytes: u64,
    pub(crate) duration: Duration,
    /// Of the last one.
    pub(crate) store: Cow<'static, str>,
    pub(crate) strategy: Cow<'static, str>,
}

impl Syncs {
    /// Adds later ones.
    fn add(&mut self, later: Self) {
        self.count = self.count.saturating_add(later.count);
        self.series = self.series.saturating_add(later.series);
        self.bytes = self.bytes.saturating_add(later.bytes);
        self.duration = self.duration.saturating_add(later.duration);
        (self.store, self.strategy) = (later.store, later.strategy);
    }
}

/// What an instance is made of.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    /// Name under which it is registered.
    pub(crate) name: &'a str,
    /// A JSON object, or empty.
    pub(crate) options: &'a Hidden,
    pub(crate) limits: &'a Limits,
    /// What hangs of the engine's exporters.
    pub(crate) zombies: &'a Arc<Zombies>,
}

/// One live instance, and the way its calls are made. Any thread calls it, several at a time.
///
/// Dropping the last one shuts the exporter down and destroys it, within [`Limits::drain`] where a
/// deadline is set.
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// Writes a snapshot, and returns the number of bytes that reached `out`, which is called on
    /// this thread only. Keeps the byte budget and the deadline.
    ///
    /// # Errors
    /// What the exporter or `out` answered, Timeout, Limit.
    fn export(&self, export: &Export<'_>, out: Output<'_>) -> Result<u64, Failed>;

    /// Has the exporter deliver what it buffered.
    ///
    /// # Errors
    /// What the exporter answered, Timeout.
    fn flush(&self) -> Result<(), Failed>;

    /// Tells the exporter of syncs, if it is not busy: nothing waits for an export here. False: it is,
    /// and was not told.
    ///
    /// # Errors
    /// Timeout; what an instance answers that is gone.
    fn synced(&self, syncs: &Syncs) -> Result<bool, Failed>;

    /// Calls that wait for their turn.
    fn queue_length(&self) -> usize;

    /// In a forked child, before any other call there: makes an inherited instance usable, and
    /// answers whether it is. One that is not is left as it is, and another one is started.
    fn after_fork(&self) -> bool {
        false
    }

    /// The helper process that it runs in; `None`: it runs in this one.
    fn process(&self) -> Option<u32> {
        None
    }
}

/// What is exported.
#[derive(Debug)]
pub(crate) struct Export<'a> {
    pub(crate) snapshot: &'a Snapshot,
    /// One of the exporter's formats.
    pub(crate) format: &'a str,
}

/// Why a call failed, and who is to blame.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    pub(crate) blame: Blame,
}

/// Who is to blame for a failure: it decides what becomes of the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The caller, its output, or how busy the exporter is: says nothing about the exporter.
    Caller,
    /// The exporter failed and may be called again.
    Exporter,
    /// The exporter panicked: the instance is unusable and must be made anew.
    Panic,
    /// The instance is gone: it hangs in a call, or its process died.
    Lost,
}

/// The failure, in a forked child, of a call that its parent's thread or helper process is making.
pub(crate) fn forked(plugin: &str, what: &str) -> Failed {
    let message = format!("plugin `{plugin}`: the process was forked during {what}: it ends there");
    Blame::Caller.of(Error::new(ErrorKind::Unavailable, message))
}

impl Blame {
    /// The failure that this is the blame for.
    pub(crate) fn of(self, error: Error) -> Failed {
        Failed { error, blame: self }
    }
}
