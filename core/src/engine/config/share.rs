//! The keys of `[store]` and `[sync]`.

use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Config;
use crate::model::{
    GaugeMode,
    schema::{KeyPath, Violation, ViolationKind},
};

/// The longest time that a key can name: a week.
const MAX_MS: u64 = 7 * 86_400_000;
const MAX_HOURS: u64 = 24 * 366;
const MAX_SHARDS: u32 = 1024;
const LEAST_INTERVAL_MS: u64 = 10;
/// The longest time between two syncs, unless one is given.
const INTERVAL_MS: u64 = 30_000;

/// Where instances share their totals (docs/STORES.md).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// What the store is.
    pub kind: StoreKind,
    /// Of a SQLite store: its file; of a file store: its folder. Relative to the configuration
    /// file's folder.
    #[schemars(length(min = 1))]
    pub path: Option<PathBuf>,
    /// Of a Redis store: `redis://[user:password@]host[:port][/db]` or `redis+unix:///path`.
    #[schemars(length(min = 1))]
    pub url: Option<String>,
    /// A file that holds the URL, which may have a password, relative to the configuration file's
    /// folder.
    #[schemars(length(min = 1))]
    pub url_file: Option<PathBuf>,
    /// Of a memcached store: `host`, `host:port` or the path of a socket.
    #[schemars(length(min = 1))]
    pub address: Option<String>,
    /// Of a Redis, memcached or host's store: stores of different names share a server without seeing
    /// each other.
    #[schemars(length(min = 1, max = 128))]
    pub namespace: String,
    /// Of a Redis store that has to be created: the number of shards.
    #[schemars(range(min = 1, max = MAX_SHARDS))]
    pub shards: u32,
    /// How long one step of a sync may take, in milliseconds.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub deadline_ms: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            kind: StoreKind::default(),
            path: None,
            url: None,
            url_file: None,
            address: None,
            namespace: "tallyport".into(),
            shards: 8,
            deadline_ms: 5_000,
        }
    }
}

// The URL may have a password.
impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreConfig")
            .field("kind", &self.kind)
            .field("path", &self.path)
            .field("url", &self.url.as_ref().map(|_| "[FILTERED]"))
            .field("url_file", &self.url_file)
            .field("address", &self.address)
            .field("namespace", &self.namespace)
            .field("shards", &self.shards)
            .field("deadline_ms", &self.deadline_ms)
            .finish()
    }
}

/// What a store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// None: an instance has its own totals.
    #[default]
    None,
    /// A folder, in which each instance keeps a snapshot file for the command; nothing is added up.
    File,
    /// A SQLite file, for the processes of one host.
    Sqlite,
    /// Redis, Valkey or Redis Cluster.
    Redis,
    /// One memcached server.
    Memcached,
    /// The host's own, which it gives in code.
    Host,
    /// One that keeps nothing: as none, said on purpose.
    Null,
}

/// How and when an instance shares. All times are in milliseconds, unless their name says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyncConfig {
    /// Whether totals of all instances are shared.
    pub coordination: CoordinationConfig,
    /// What the store must be able to do; one that cannot is an error.
    pub strategy: StrategyConfig,
    /// The time between two syncs of a background sync; each is up to a tenth earlier or later.
    /// Absent: an eighth of the time between two exports (`export.retention_window_ms` less
    /// `export.safety_margin_ms`), and 30,000 at the most.
    #[schemars(range(min = 10, max = MAX_MS))]
    pub interval_ms: Option<u64>,
    /// How long an instance counts as alive after a sync, beside three times what its syncs take. At
    /// least two intervals. Absent: three.
    #[schemars(range(min = 20, max = MAX_MS))]
    pub lease_ms: Option<u64>,
    /// How long a store keeps the data of an instance that nobody retired. At least ten leases.
    #[schemars(range(min = 1, max = MAX_HOURS))]
    pub metrics_retention_hours: u64,
    /// How long totals of ended instances stay that nothing changes and no instance has.
    #[schemars(range(min = 1, max = MAX_HOURS))]
    pub retired_retention_hours: u64,
    /// One series per instance in what all instances have, always.
    pub include_instances: bool,
    /// What this instance is called. Absent: host and process id.
    #[schemars(length(min = 1, max = 128))]
    pub instance: Option<String>,
    /// How gauges that several processes or instances set become one, by the names of their families:
    /// as if they were described so.
    pub gauge_modes: BTreeMap<String, GaugeModeConfig>,
    /// How long a sync may take, all in all, and reading what all instances have; each of its steps
    /// has `store.deadline_ms` besides.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub deadline_ms: u64,
    /// Failures in a row after which the store is left alone for a while; 0: never.
    pub breaker_failures: u32,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            coordination: CoordinationConfig::default(),
            strategy: StrategyConfig::default(),
            interval_ms: None,
            lease_ms: None,
            metrics_retention_hours: 24,
            retired_retention_hours: 24,
            include_instances: false,
            instance: None,
            gauge_modes: BTreeMap::new(),
            deadline_ms: 60_000,
            breaker_failures: 3,
        }
    }
}

/// Whether totals of all instances are shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CoordinationConfig {
    /// Where the store can.
    #[default]
    Auto,
    /// Yes; a store that cannot is an error.
    On,
    /// No: as `strategy = "local_only"`.
    Off,
}

/// What a store must be able to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StrategyConfig {
    /// What it can.
    #[default]
    Auto,
    /// Totals of all instances, exact, in atomic steps.
    DistributedAtomic,
    /// Totals of all instances, exact while the store evicts nothing.
    DistributedBasic,
    /// Totals of the instances that are there; they fall when one ends.
    DistributedManual,
    /// This instance's totals only, even where the store could do more.
    LocalOnly,
}

/// How a gauge of several instances becomes one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GaugeModeConfig {
    /// The sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// The mean.
    Mean,
    /// The one that was set last; of several instances the one that a sync saw change last.
    Last,
}

impl From<GaugeModeConfig> for GaugeMode {
    fn from(mode: GaugeModeConfig) -> Self {
        match mode {
            GaugeModeConfig::Sum => Self::Sum,
            GaugeModeConfig::Max => Self::Max,
            GaugeModeConfig::Min => Self::Min,
            GaugeModeConfig::Mean => Self::Mean,
            GaugeModeConfig::Last => Self::Last,
        }
    }
}

impl Config {
    /// The time between two syncs of a background sync.
    #[must_use]
    pub fn sync_interval(&self) -> Duration {
        Duration::from_millis(self.sync_interval_ms())
    }

    fn sync_interval_ms(&self) -> u64 {
        let export = &self.export;
        let exports = export.retention_window_ms.saturating_sub(export.safety_margin_ms);
        self.sync.interval_ms.unwrap_or((exports / 8).clamp(LEAST_INTERVAL_MS, INTERVAL_MS))
    }

    /// How long an instance counts as alive after a sync, beside what its syncs take.
    #[must_use]
    pub fn sync_lease(&self) -> Duration {
        Duration::from_millis(self.sync_lease_ms())
    }

    fn sync_lease_ms(&self) -> u64 {
        let three = self.sync_interval_ms().saturating_mul(3).min(MAX_MS);
        self.sync.lease_ms.unwrap_or(three)
    }
}

/// The rules that the schema does not say.
pub(super) fn check(config: &Config, violations: &mut Vec<Violation>) {
    let Config { store, sync, .. } = config;
    let mut wrong = |table: &str, key: &str, kind, message: String| {
        violations.push(Violation::new(KeyPath::keys(&[table, key]), kind, message));
    };
    let not_allowed = ViolationKind::NotAllowed;
    let needs_path = matches!(store.kind, StoreKind::File | StoreKind::Sqlite);
    if needs_path && store.path.is_none() {
        wrong("store", "path", not_allowed, "is needed by this kind of store".into());
    }
    match (store.kind, &store.url, &store.url_file) {
        (StoreKind::Redis, None, None) => {
            wrong("store", "url", not_allowed, "or `url_file` is needed by a Redis store".into());
        }
        (_, Some(_), Some(_)) => {
            wrong("store", "url_file", not_allowed, "stands beside `url`: one is enough".into());
        }
        _ => {}
    }
    if store.kind == StoreKind::Memcached && store.address.is_none() {
        wrong("store", "address", not_allowed, "is needed by a memcached store".into());
    }
    let shared = matches!(
        store.kind,
        StoreKind::Sqlite | StoreKind::Redis | StoreKind::Memcached | StoreKind::Host
    );
    let items = matches!(store.kind, StoreKind::Memcached | StoreKind::Host);
    let message = match sync.strategy {
        StrategyConfig::DistributedAtomic if items || !shared => {
            Some("needs a store of kind \"sqlite\" or \"redis\"")
        }
        StrategyConfig::DistributedBasic | StrategyConfig::DistributedManual if !items => {
            Some("is for stores of kind \"memcached\" and \"host\"")
        }
        _ => None,
    };
    if let Some(message) = message {
        wrong("sync", "strategy", not_allowed, message.into());
    }
    let local = sync.strategy == StrategyConfig::LocalOnly;
    let message = match sync.coordination {
        CoordinationConfig::On if !shared => Some("is \"on\", and the store shares nothing"),
        CoordinationConfig::On if local => Some("is \"on\", and `sync.strategy` is \"local_only\""),
        CoordinationConfig::Off if !local && sync.strategy != StrategyConfig::Auto => {
            Some("is \"off\", and `sync.strategy` demands that totals are shared")
        }
        _ => None,
    };
    if let Some(message) = message {
        wrong("sync", "coordination", not_allowed, message.into());
    }
    let hour = 3_600_000;
    let (interval, lease) = (config.sync_interval_ms(), config.sync_lease_ms());
    for (table, key, value, least, most) in [
        ("store", "shards", store.shards.into(), 1, MAX_SHARDS.into()),
        ("store", "deadline_ms", store.deadline_ms, 1, MAX_MS),
        ("sync", "deadline_ms", sync.deadline_ms, 1, MAX_MS),
        ("sync", "interval_ms", interval, LEAST_INTERVAL_MS, MAX_MS),
        ("sync", "lease_ms", lease, interval.saturating_mul(2), MAX_MS),
        (
            "sync",
            "metrics_retention_hours",
            sync.metrics_retention_hours,
            lease.saturating_mul(10).div_ceil(hour).max(1),
            MAX_HOURS,
        ),
        ("sync", "retired_retention_hours", sync.retired_retention_hours, 1, MAX_HOURS),
    ] {
        if !(least..=most).contains(&value) {
            let message = format!("must be between {least} and {most}, is {value}");
            wrong(table, key, ViolationKind::OutOfRange, message);
        }
    }
}
