//! The safe side of the SDK: the trait that an exporter implements and what it is handed.
//!
//! `export.rs` turns an implementation into the C tables; nothing here touches a pointer.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use serde::de::DeserializeOwned;

use crate::{
    Error, Sink, Snapshot,
    abi::{
        TALLYPORT_CAP_WRITES_SINK, TALLYPORT_LOG_DEBUG, TALLYPORT_LOG_ERROR, TALLYPORT_LOG_INFO,
        TALLYPORT_LOG_TRACE, TALLYPORT_LOG_WARN, TALLYPORT_SIGNAL_METRICS, tallyport_call,
        tallyport_format, tallyport_host, tallyport_status,
    },
    raw,
};

/// What an exporter is: the constant half of its table.
#[derive(Debug, Clone, Copy)]
pub struct Info {
    /// Identity, for example `com.example.statsd`.
    pub id: &'static str,
    /// The exporter's own version.
    pub version: &'static str,
    /// Who makes it.
    pub vendor: &'static str,
    /// One line.
    pub description: &'static str,
    /// Formats, the default one first; see [`format()`].
    pub formats: &'static [Format],
    /// `TALLYPORT_CAP_*` bits.
    pub caps: u64,
    /// `TALLYPORT_SIGNAL_*` bits.
    pub signals: u32,
    /// JSON Schema of the options, or "".
    pub config_schema_json: &'static str,
}

impl Info {
    /// An exporter of metrics that writes to the sink; set `formats` and what else differs.
    #[must_use]
    pub const fn new(id: &'static str, version: &'static str) -> Self {
        Self {
            id,
            version,
            vendor: "",
            description: "",
            formats: &[],
            caps: TALLYPORT_CAP_WRITES_SINK,
            signals: TALLYPORT_SIGNAL_METRICS,
            config_schema_json: "",
        }
    }
}

/// A format of [`Info::formats`]; made by [`format()`] alone, so its texts are static.
#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
pub struct Format(tallyport_format);

/// A format of [`Info::formats`]: short name and media type.
#[must_use]
pub const fn format(name: &'static str, content_type: &'static str) -> Format {
    Format(tallyport_format { name: raw::text(name), content_type: raw::text(content_type) })
}

/// An exporter: implement it, then name it in [`export_plugins!`](crate::export_plugins).
///
/// A panic in any of these functions is caught, reported as PANIC, and poisons the exporter:
/// later calls answer POISONED until the host makes a new one.
pub trait Exporter: Sized + Send + Sync + 'static {
    /// The options, read from the plugin's table in the configuration with serde.
    type Options: DeserializeOwned + Default;

    /// What the exporter is.
    const INFO: Info;

    /// Makes an exporter from its options.
    ///
    /// # Errors
    /// [`Error::option`] for an option that does not fit; the host then refuses the plugin.
    fn create(host: Host, options: Self::Options) -> Result<Self, Error>;

    /// Writes `snapshot` to `sink` in the format that `call` names.
    ///
    /// One call at a time, unless `INFO.caps` has CONCURRENT.
    ///
    /// # Errors
    /// Whatever stopped the export, among it what the sink answered.
    fn export(
        &self,
        call: &Call<'_>,
        snapshot: &Snapshot<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error>;

    /// Delivers what is buffered.
    ///
    /// # Errors
    /// Whatever was not delivered.
    fn flush(&self, _call: &Call<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// Makes running calls return early. Called while they run, on another thread.
    fn cancel(&self) {}

    /// Whether the host makes the three calls below (the extension `tallyport.lifecycle/1`).
    const LIFECYCLE: bool = false;

    /// Before an export.
    ///
    /// # Errors
    /// Why it is refused.
    fn on_export_request(&self, _call: &Call<'_>) -> Result<(), Error> {
        Ok(())
    }

    /// After an export's bytes reached their destination or were given up.
    fn on_export_complete(&self, _call: &Call<'_>, _done: &Completed) {}

    /// After a sync of the host.
    fn on_sync(&self, _call: &Call<'_>, _done: &Synced<'_>) {}

    /// The last call: delivers and stops. `Drop` frees.
    ///
    /// # Errors
    /// Whatever was not delivered.
    fn shutdown(&self, _call: &Call<'_>) -> Result<(), Error> {
        Ok(())
    }
}

/// How an export ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Completed {
    /// Its status; `TALLYPORT_OK`: the bytes reached their destination.
    pub status: tallyport_status,
    /// Bytes that were written.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// What syncs of the host did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Synced<'a> {
    /// How many this tells of: more than one where the exporter was busy during those before.
    pub syncs: u32,
    /// Series that they wrote, because they had changed.
    pub series: u64,
    /// Bytes that they wrote.
    pub bytes: u64,
    /// How long they took.
    pub duration: Duration,
    /// Kind of the store of the last one, for example `redis`.
    pub store: &'a str,
    /// What the store is used for, for example `distributed_atomic`.
    pub strategy: &'a str,
}

/// One call of the host.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    pub(crate) raw: raw::Lent<'a, tallyport_call>,
    pub(crate) format: &'a str,
    pub(crate) traceparent: &'a str,
}

impl<'a> Call<'a> {
    /// The format to write, one of [`Info::formats`]; "" outside exports.
    #[must_use]
    pub fn format(&self) -> &'a str {
        self.format
    }

    /// W3C trace context of the caller, or "".
    #[must_use]
    pub fn traceparent(&self) -> &'a str {
        self.traceparent
    }

    /// Number of the call, unique in the host process.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.raw.get().call_id
    }

    /// Monotonic nanoseconds ([`Host::mono_ns`]) by which to return, if there is a deadline.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        Some(self.raw.get().deadline_ns).filter(|&ns| ns != 0)
    }

    /// Whether the caller withdrew the call; look now and then in long exports.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        raw::is_cancelled(&self.raw)
    }
}

/// Level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum LogLevel {
    /// The operation failed.
    Error = TALLYPORT_LOG_ERROR,
    /// Something is wrong and was worked around.
    Warn = TALLYPORT_LOG_WARN,
    /// Rare and expected events.
    Info = TALLYPORT_LOG_INFO,
    /// Detail for a developer.
    Debug = TALLYPORT_LOG_DEBUG,
    /// Everything.
    Trace = TALLYPORT_LOG_TRACE,
}

/// The host's services. Any thread; clones share one state.
///
/// A clone may outlive the exporter (in a thread of its own, say): once the exporter is destroyed
/// it does nothing, because the host's table is gone.
#[derive(Debug, Clone)]
pub struct Host {
    shared: Arc<RwLock<Option<raw::Lent<'static, tallyport_host>>>>,
}

impl Host {
    pub(crate) fn new(lent: raw::Lent<'static, tallyport_host>) -> Self {
        Self { shared: Arc::new(RwLock::new(Some(lent))) }
    }

    /// Waits for calls that run, and makes later ones do nothing.
    pub(crate) fn close(&self) {
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Writes one line to the host's log.
    pub fn log(&self, level: LogLevel, message: &str) {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(lent) = &*shared {
            raw::log(lent, level as i32, message);
        }
    }

    /// Monotonic time in nanoseconds, the clock of deadlines; 0 where the host has none.
    #[must_use]
    pub fn mono_ns(&self) -> u64 {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        shared.as_ref().map_or(0, raw::mono_ns)
    }
}
