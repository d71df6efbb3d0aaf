//! The keys, their types, defaults and descriptions.
//!
//! The first paragraph of each field is its description in the JSON Schema, so it is written for
//! the people who write configuration files.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    ExportConfig, HelperConfig, IsolationConfig, RunConfig, ServeConfig, Source, StoreConfig,
    SyncConfig, TargetConfig,
};
use crate::{
    metrics::{self, DEFAULT_BOUNDS},
    plugin,
};

/// The highest limit on series: rows of a snapshot are counted in 32 bits.
pub const MAX_SERIES: usize = 4_294_967_295;

/// The lowest limit on cells: one page.
pub(super) const MIN_CELL_BYTES: usize = 4096;

/// The highest limit on cells: 1 TiB of address space.
pub(super) const MAX_CELL_BYTES: usize = 1 << 40;

/// The highest number of a user; the one above means none.
pub(super) const MAX_UID: u32 = u32::MAX - 1;

/// The longest time limit of a probe: 10 minutes.
pub(super) const MAX_PROBE_MS: u64 = 600_000;

/// The longest time that a series may be idle: some three years.
pub(super) const MAX_IDLE_SECONDS: u64 = 100_000_000;

/// The most bounds that a histogram can have.
pub(super) const MAX_BOUNDS: usize = 512;

/// Everything that the engine can be told.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Tallyport configuration")]
pub struct Config {
    /// The version of this format: 1.
    #[serde(rename = "schema")]
    pub version: ConfigVersion,
    /// What exporters call this process; may be empty.
    #[serde(default)]
    pub service_name: String,
    /// Bounds on memory.
    #[serde(default)]
    pub limits: Limits,
    /// How values are recorded.
    #[serde(default)]
    pub recording: RecordingConfig,
    /// How histograms count when they do not say themselves.
    #[serde(default)]
    pub histogram: HistogramConfig,
    /// What the engine says about itself.
    #[serde(default)]
    pub log: LogConfig,
    /// Where instances share their totals.
    #[serde(default)]
    pub store: StoreConfig,
    /// How and when they do.
    #[serde(default)]
    pub sync: SyncConfig,
    /// What holds for all export targets.
    #[serde(default)]
    pub export: ExportConfig,
    /// What is exported where and when, each under a name of letters, digits, `.`, `_` and `-`.
    #[serde(default)]
    pub targets: BTreeMap<String, TargetConfig>,
    /// How metrics are served over HTTP, where a host or the command serves them.
    #[serde(default)]
    pub serve: ServeConfig,
    /// Which plugin files are loaded, and how.
    #[serde(default)]
    pub loading: LoadingConfig,
    /// The exporters, each under a name of letters, digits, `.`, `_` and `-`.
    #[serde(default)]
    pub plugins: BTreeMap<String, PluginConfig>,
    /// The folder that relative paths start from; empty: the working directory.
    #[serde(skip)]
    pub base_dir: PathBuf,
    /// The file that this was read from, to place later errors in it.
    #[serde(skip)]
    pub source: Source,
}

/// The one version of the format that this engine reads, 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct ConfigVersion;

impl ConfigVersion {
    const NUMBER: u64 = 1;
}

impl From<ConfigVersion> for u64 {
    fn from(_: ConfigVersion) -> Self {
        ConfigVersion::NUMBER
    }
}

impl TryFrom<u64> for ConfigVersion {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        if number == Self::NUMBER { Ok(Self) } else { Err("this engine reads `schema = 1`") }
    }
}

impl JsonSchema for ConfigVersion {
    fn schema_name() -> Cow<'static, str> {
        "ConfigVersion".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "integer", "const": Self::NUMBER })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Bounds on memory.
///
/// The limit per family may be the higher one; the engine's then comes first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Series of the whole engine; more fold into the overflow series of their family.
    #[schemars(range(min = 1, max = MAX_SERIES))]
    pub max_series: usize,
    /// Series of one family; more fold into its overflow series.
    #[schemars(range(min = 1, max = MAX_SERIES))]
    pub max_series_per_family: usize,
    /// Bytes of the cells that recording changes, counted over all planes of CPUs; memory is used
    /// as series are.
    #[schemars(range(min = MIN_CELL_BYTES, max = MAX_CELL_BYTES))]
    pub max_cell_bytes: usize,
    /// Bytes of label values, each different one counted once; label sets past it fold too.
    #[schemars(range(min = MIN_CELL_BYTES, max = MAX_CELL_BYTES))]
    pub max_label_bytes: usize,
    /// Seconds after which a series that nobody looked up, and that no handle is kept of, leaves
    /// the exports and memory; 0: never.
    #[schemars(range(max = MAX_IDLE_SECONDS))]
    pub series_idle_timeout: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let limits = metrics::Limits::default();
        Self {
            max_series: limits.max_series,
            max_series_per_family: limits.max_series_per_family,
            max_cell_bytes: limits.max_cell_bytes,
            max_label_bytes: limits.max_label_bytes,
            series_idle_timeout: limits.series_idle_timeout.map_or(0, |timeout| timeout.as_secs()),
        }
    }
}

impl From<&Limits> for metrics::Limits {
    fn from(limits: &Limits) -> Self {
        let timeout = Duration::from_secs(limits.series_idle_timeout);
        Self {
            max_series: limits.max_series,
            max_series_per_family: limits.max_series_per_family,
            max_cell_bytes: limits.max_cell_bytes,
            max_label_bytes: limits.max_label_bytes,
            series_idle_timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        }
    }
}

/// How values are recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RecordingConfig {
    /// Where counters and histograms keep their values.
    pub cells: CellsConfig,
    /// Whether what exporters do is recorded too, as `tallyport_plugin_*`.
    pub self_metrics: bool,
    /// Which processes record into the same cells.
    pub share: ShareConfig,
    /// The file of `share = "file"`: an absolute path, made with mode 0600 where there is none.
    pub arena: Option<PathBuf>,
}

impl Default for RecordingConfig {
    fn default() -> Self {
        Self {
            cells: CellsConfig::default(),
            self_metrics: true,
            share: ShareConfig::default(),
            arena: None,
        }
    }
}

impl RecordingConfig {
    /// Where the arena lies.
    pub(crate) fn share(&self) -> metrics::Share {
        match (self.share, &self.arena) {
            (ShareConfig::Auto, _) => metrics::Share::Auto,
            (ShareConfig::Reset, _) => metrics::Share::Reset,
            (ShareConfig::File, path) => metrics::Share::File(path.clone().unwrap_or_default()),
        }
    }
}

/// Which processes record into the same cells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ShareConfig {
    /// This one and the children that it forks.
    #[default]
    Auto,
    /// This one; a child that it forks starts at zero, with cells of its own.
    Reset,
    /// All of this host that open the file `arena`, and their children.
    File,
}

/// Where counters and histograms keep their values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CellsConfig {
    /// One cell per CPU where the system can: fastest, whoever else records.
    #[default]
    PerCpu,
    /// One cell for all: least memory.
    Shared,
}

impl From<metrics::Cells> for CellsConfig {
    fn from(cells: metrics::Cells) -> Self {
        match cells {
            metrics::Cells::PerCpu => Self::PerCpu,
            metrics::Cells::Shared => Self::Shared,
        }
    }
}

impl From<CellsConfig> for metrics::Cells {
    fn from(cells: CellsConfig) -> Self {
        match cells {
            CellsConfig::PerCpu => Self::PerCpu,
            CellsConfig::Shared => Self::Shared,
        }
    }
}

/// How histograms count when they do not say themselves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistogramConfig {
    /// Upper bounds of the buckets: finite and increasing; +Inf is implied.
    #[schemars(length(min = 1, max = MAX_BOUNDS))]
    pub default_bounds: Vec<f64>,
}

impl Default for HistogramConfig {
    fn default() -> Self {
        Self { default_bounds: DEFAULT_BOUNDS.to_vec() }
    }
}

/// What the engine says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// The least important message that reaches the host's log callback.
    pub level: LogLevel,
}

/// How important a message is; a level lets everything above it through.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Something failed.
    Error,
    /// Something is wrong, but was dealt with.
    Warn,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What a developer wants to know.
    Debug,
    /// Every step.
    Trace,
}

/// Which plugin files are loaded, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LoadingConfig {
    /// Numbers of users whose plugin files are loaded, besides root's and those of the user of the
    /// process.
    #[schemars(inner(range(max = MAX_UID)))]
    pub trusted_owners: Vec<u32>,
    /// Folders that plugins named without a path are searched in, relative to the configuration
    /// file's folder, which is searched first. Absent: those of `TALLYPORT_PLUGIN_PATH`, the user's
    /// and the system's.
    pub search_path: Option<Vec<PathBuf>>,
    /// When a plugin file is tried in the helper program before its code runs here.
    pub probe: ProbeConfig,
    /// How long a file may take there, in milliseconds.
    #[schemars(range(min = 1, max = MAX_PROBE_MS))]
    pub probe_timeout_ms: u64,
    /// The helper program, relative to the configuration file's folder. Absent: it is looked for
    /// beside the library and where it was installed.
    #[schemars(length(min = 1))]
    pub plugin_host: Option<PathBuf>,
    /// Copies of plugin files that the process may map: of pinned ones, and of those that were
    /// reloaded. They are never unmapped.
    pub max_images: usize,
}

impl Default for LoadingConfig {
    fn default() -> Self {
        Self {
            trusted_owners: Vec::new(),
            search_path: None,
            probe: ProbeConfig::default(),
            probe_timeout_ms: 10_000,
            plugin_host: None,
            max_images: plugin::Policy::default().max_images,
        }
    }
}

impl Config {
    /// How plugin files are loaded.
    #[must_use]
    pub fn policy(&self) -> plugin::Policy {
        let loading = &self.loading;
        plugin::Policy {
            trust: plugin::Trust::new(&loading.trusted_owners),
            probe: loading.probe.into(),
            probe_timeout: Duration::from_millis(loading.probe_timeout_ms),
            plugin_host: loading.plugin_host.as_ref().map(|path| self.base_dir.join(path)),
            max_images: loading.max_images,
        }
    }
}

/// When a plugin file is tried in the helper program before its code runs in the host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProbeConfig {
    /// A file without a pin. Where the helper is not found, a warning says so and the file is
    /// loaded untried.
    #[default]
    Auto,
    /// Every file; where the helper is not found, none is loaded.
    Always,
    /// No file.
    Never,
}

impl From<ProbeConfig> for plugin::Probe {
    fn from(probe: ProbeConfig) -> Self {
        match probe {
            ProbeConfig::Auto => Self::Auto,
            ProbeConfig::Always => Self::Always,
            ProbeConfig::Never => Self::Never,
        }
    }
}

/// One exporter: where its code is, and what it is told. Its Debug form shows no option's value, as
/// any may be a secret.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PluginConfig {
    /// The shared library or its manifest, relative to the configuration file's folder; a file name
    /// alone is looked for in the search path too. Absent: the exporter that is linked in, else what
    /// the search path has under the plugin's name.
    #[schemars(length(min = 1))]
    pub path: Option<PathBuf>,
    /// Which exporter of the library, or which linked-in one. Absent: every one of the library
    /// (several keep their own names), or the linked-in one that has this plugin's name.
    #[schemars(length(min = 1))]
    pub exporter: Option<String>,
    /// False: the plugin is not loaded.
    pub enabled: bool,
    /// True: the engine does not open when this plugin fails to load. Says nothing about a plugin
    /// that is not enabled.
    pub required: bool,
    /// The SHA-256 that the library must have, 64 hexadecimal digits. The very bytes that are
    /// checked are loaded then, whoever owns the file.
    pub sha256: Option<String>,
    /// Libraries that a pinned plugin needs besides the system's, by the names under which it needs
    /// them.
    pub libraries: BTreeMap<String, LibraryConfig>,
    /// When its file is tried in the helper program first. Absent: as `loading.probe` says.
    pub probe: Option<ProbeConfig>,
    /// Where its code runs.
    pub isolation: IsolationConfig,
    /// What its helper process may use, with `isolation = "process"`.
    pub helper: HelperConfig,
    /// How it is called, and what happens after it failed.
    pub run: RunConfig,
    /// What the exporter is told, as JSON; its own schema says what is allowed.
    pub options: Map<String, Value>,
    /// The line of the plugin's table in the file; 0: filled in by code.
    #[serde(skip)]
    pub line: usize,
}

/// A library that a pinned plugin needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LibraryConfig {
    /// The file, relative to the configuration file's folder.
    #[schemars(length(min = 1))]
    pub path: PathBuf,
    /// The SHA-256 that it must have, 64 hexadecimal digits.
    pub sha256: String,
}

impl Default for PluginConfig {
    fn default() -> Self {
        Self {
            path: None,
            exporter: None,
            enabled: true,
            required: false,
            sha256: None,
            libraries: BTreeMap::new(),
            probe: None,
            isolation: IsolationConfig::default(),
            helper: HelperConfig::default(),
            run: RunConfig::default(),
            options: Map::new(),
            line: 0,
        }
    }
}

impl fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            exporter,
            enabled,
            required,
            sha256,
            libraries,
            probe,
            isolation,
            helper,
            run,
            options,
            line,
        } = self;
        f.debug_struct("PluginConfig")
            .field("path", path)
            .field("exporter", exporter)
            .field("enabled", enabled)
            .field("required", required)
            .field("sha256", sha256)
            .field("libraries", libraries)
            .field("probe", probe)
            .field("isolation", isolation)
            .field("helper", helper)
            .field("run", run)
            .field("options", &options.keys().collect::<Vec<_>>())
            .field("line", line)
            .finish()
    }
}

impl PluginConfig {
    /// Whether an exporter of its file is meant.
    pub(crate) fn wants(&self, id: &str) -> bool {
        self.exporter.as_ref().is_none_or(|wanted| wanted == id)
    }

    /// The shared library's path, from the folder that relative paths start from.
    #[must_use]
    pub fn file(&self, base_dir: &Path) -> Option<PathBuf> {
        self.path.as_ref().map(|path| base_dir.join(path))
    }
}
