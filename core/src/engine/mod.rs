//! Floor 7: the engine, built from a configuration or none.
//!
//! It owns metrics, snapshots, events and plugins, and brings them together: record → snapshot →
//! export. It starts no thread unless it is asked to; everything else runs on the caller's. Formats and C types are above it.

mod background;
mod choice;
pub mod config;
mod connect;
mod exports;
mod fork;
mod plugins;
mod registries;
mod schedule;
mod secrets;
#[cfg(feature = "serve")]
mod serve;
mod share;
mod sharing;
mod source;
mod sync_meter;
mod targets;

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use tallyport_plugin_api::PluginSet;

pub use crate::store::Strategy;
use crate::{
    event::Bus,
    export::ExportMeter,
    metrics::Metrics,
    model::{Clock, Error, Mutex, SystemClock},
    plugin::{Known, Loader, Outcome, Plugin, Plugins, Runtime, Table},
    snapshot::{Snapshot, Snapshots},
};
use config::Config;
pub use fork::{Forks, after_fork_child, after_fork_parent, before_fork, forks};
pub use registries::RegistryStatistics;
#[cfg(feature = "serve")]
pub use serve::Served;
pub use share::{Notices, Shared, SyncStatus};
pub use source::PluginFile;
pub use targets::{Part, RunOptions, Stop, TargetStanding, TargetStatus};

/// A metrics engine. Clones share it; it ends with the last one.
#[derive(Debug, Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    events: Bus,
    metrics: Arc<Metrics>,
    snapshots: Snapshots,
    plugins: Plugins,
    linked: Vec<Arc<Table>>,
    loader: Loader,
    config: Config,
    failures: Vec<LoadFailure>,
    /// What was loaded from files, by the name it is registered under.
    files: Mutex<BTreeMap<String, plugins::FromFile>>,
    share: share::Share,
    sync_meter: sync_meter::SyncMeter,
    background: background::Background,
    schedule: background::Background,
    targets: targets::Targets,
    #[cfg(feature = "serve")]
    serving: serve::Serving,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("plugins", &self.plugins).finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        #[cfg(feature = "serve")]
        self.serving.end();
        self.schedule.end(None);
        self.background.end(None);
        self.plugins.clear();
        self.metrics.end_collectors();
        // Last, so that listeners are told of that too.
        self.events.close();
    }
}

/// A plugin of the configuration that was not loaded; the others serve.
#[derive(Debug, Clone)]
pub struct LoadFailure {
    /// Name in the configuration.
    pub plugin: String,
    /// Why.
    pub error: Error,
}

/// Gathers what an engine is made of.
#[derive(Debug)]
pub struct EngineBuilder {
    config: Config,
    linked: Vec<&'static PluginSet>,
    clock: Arc<dyn Clock>,
    known: Known,
}

impl EngineBuilder {
    /// Uses a configuration that was read or filled in by code.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Offers exporters that are linked into the program. Each is registered under its id, unless
    /// the configuration says otherwise under that name.
    #[must_use]
    pub fn linked(mut self, set: &'static PluginSet) -> Self {
        self.linked.push(set);
        self
    }

    /// Loads plugin files of which the process has another version beside that one, from copies, as
    /// [`Engine::reload_plugin`] does: for an engine that takes the place of an older one.
    #[must_use]
    pub fn beside_older_files(mut self) -> Self {
        self.known = Known::Beside;
        self
    }

    /// Uses another clock; for tests.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Builds the engine and loads the plugins of the configuration.
    ///
    /// A plugin that cannot be loaded is left out, logged, and listed by
    /// [`Engine::load_failures`], unless it is `required`.
    ///
    /// # Errors
    /// Config for a configuration filled in by code that breaks its rules, the error of a required
    /// plugin, Io when memory cannot be reserved.
    pub fn build(self) -> Result<Engine, Error> {
        let Self { config, linked, clock, known } = self;
        config.check()?;
        let events = Bus::new(Arc::clone(&clock));
        let metrics = Metrics::new(
            (&config.limits).into(),
            config.recording.cells.into(),
            &config.recording.share(),
            &config.histogram.default_bounds,
            Arc::clone(&clock),
        )?;
        let modes = config.sync.gauge_modes.iter();
        metrics.set_gauge_modes(modes.map(|(name, mode)| (name.clone(), (*mode).into())).collect());
        let bus = events.clone();
        metrics.on_overflow(Box::new(move |family| {
            if let Err(error) = bus.publish("metrics.series_overflow", &[("family", family.into())])
            {
                tracing::error!("metrics.series_overflow was not published: {error}");
            }
        }));
        let metrics = Arc::new(metrics);
        let own = Some(Arc::clone(&metrics)).filter(|_| config.recording.self_metrics);
        let mut tables = Vec::new();
        for set in linked {
            tables.extend(Table::linked(set)?);
        }
        let targets = targets::Targets::new(&config, ExportMeter(own.clone()));
        let mut inner = Inner {
            metrics,
            snapshots: Snapshots::default(),
            plugins: Plugins::new(&events, Runtime::new(Arc::clone(&clock), own.clone())),
            events,
            linked: tables,
            loader: config.loader(),
            config,
            failures: Vec::new(),
            files: Mutex::default(),
            share: share::Share::default(),
            sync_meter: sync_meter::SyncMeter(own),
            background: background::Background::new("tallyport-sync"),
            schedule: background::Background::new("tallyport-export"),
            targets,
            #[cfg(feature = "serve")]
            serving: serve::Serving::default(),
        };
        plugins::start(&mut inner, known)?;
        Ok(Engine(Arc::new(inner)))
    }
}

impl Engine {
    /// Starts an engine that knows no exporter and has the default limits.
    #[must_use]
    pub fn builder() -> EngineBuilder {
        EngineBuilder {
            config: Config::default(),
            linked: Vec::new(),
            clock: Arc::new(SystemClock::default()),
            known: Known::Refused,
        }
    }

    /// The metrics: where handles come from.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The events: published, subscribed to, defined.
    #[must_use]
    pub fn events(&self) -> &Bus {
        &self.0.events
    }

    /// The exporters.
    #[must_use]
    pub fn plugins(&self) -> &Plugins {
        &self.0.plugins
    }

    /// The configuration that it was built from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Plugins of the configuration that were left out.
    #[must_use]
    pub fn load_failures(&self) -> &[LoadFailure] {
        &self.0.failures
    }

    /// Reads every value once; writers go on.
    ///
    /// # Errors
    /// As [`Snapshots::take`].
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        fork::tell();
        self.0.plugins.observe();
        self.0.snapshots.take(&self.0.metrics)
    }

    /// Takes a snapshot and writes it to `out`, on this thread.
    ///
    /// `selector` is an exporter's name, a format, or `name/format`: [`Plugins::select`].
    ///
    /// # Errors
    /// NotFound for an unknown selector; what the exporter or `out` answered.
    pub fn export(
        &self,
        selector: &str,
        out: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Outcome, Error> {
        let write =
            |plugin: &Plugin, format: Option<&str>| plugin.export(&self.snapshot()?, format, out);
        exports::published(&self.0.events, &self.0.plugins, selector, write)
    }

    /// Writes a snapshot that was taken or loaded before.
    ///
    /// # Errors
    /// As [`Engine::export`].
    pub fn export_snapshot(
        &self,
        snapshot: &Snapshot,
        selector: &str,
        out: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<Outcome, Error> {
        let write = |plugin: &Plugin, format: Option<&str>| plugin.export(snapshot, format, out);
        exports::published(&self.0.events, &self.0.plugins, selector, write)
    }

    /// Takes a snapshot and returns it in one piece.
    ///
    /// # Errors
    /// As [`Engine::export`].
    pub fn export_to_vec(&self, selector: &str) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        self.export(selector, &mut |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Takes a snapshot and saves it for another process, atomically.
    ///
    /// # Errors
    /// As [`crate::snapshot::save`].
    pub fn save_snapshot(&self, path: &Path) -> Result<(), Error> {
        crate::snapshot::save(&self.snapshot()?, path)
    }

    /// Loads a plugin as a configuration would, and returns the names it registered.
    ///
    /// # Errors
    /// PluginRefused or PluginAbi with file and reason, AlreadyExists for a name in use, Config
    /// for a limit out of range and for options that break the exporter's schema, what its `create`
    /// answered.
    pub fn load_plugin(
        &self,
        name: &str,
        plugin: &config::PluginConfig,
    ) -> Result<Vec<String>, Error> {
        self.load_in(name, plugin, plugins::Mode::Register)
    }

    /// Registers an exporter that is part of the program: no file is involved.
    ///
    /// # Errors
    /// AlreadyExists for a name in use, Config for options that break the exporter's schema, what
    /// its `create` answered.
    pub fn register_plugin(
        &self,
        name: &str,
        table: Arc<Table>,
        options: serde_json::Map<String, serde_json::Value>,
    ) -> Result<(), Error> {
        plugins::register(&self.0, name, table, options)
    }

    /// Loads a plugin in the place of the one of that name, which serves until the new one does.
    ///
    /// # Errors
    /// As [`Engine::load_plugin`]; NotFound when nothing has that name, Config for a file of several
    /// exporters of which `plugin` names none.
    pub fn replace_plugin(
        &self,
        name: &str,
        plugin: &config::PluginConfig,
    ) -> Result<Vec<String>, Error> {
        self.load_in(name, plugin, plugins::Mode::Replace)
    }

    fn load_in(
        &self,
        name: &str,
        plugin: &config::PluginConfig,
        mode: plugins::Mode,
    ) -> Result<Vec<String>, Error> {
        if let Err(errors) = plugin.check(name) {
            let error = errors.into();
            self.0.plugins.refused(name, &error);
            return Err(error);
        }
        plugins::load(&self.0, name, plugin, mode, Known::Refused)
    }

    /// Loads the file of an exporter anew, as it is now, in the place of what was loaded from it, with
    /// the same options and limits.
    ///
    /// The old one serves until the new one does; exports that run on it end on it. The file may have
    /// been replaced by a rename, as package managers do; one that is overwritten in place is mapped
    /// memory of this process, which it damages.
    ///
    /// # Errors
    /// As [`Engine::load_plugin`]; the old one then goes on serving. NotFound when nothing has that
    /// name, Unsupported for an exporter that came from no file, Limit when as many versions are
    /// mapped as `loading.max_images` allows.
    pub fn reload_plugin(&self, name: &str) -> Result<(), Error> {
        plugins::reload(&self.0, name)
    }
}
