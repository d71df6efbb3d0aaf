//! The exporters of an engine, by name and by format, with their statistics.
//!
//! Reads take no lock ([`Registry`]), so an export never waits for a load: exporters are made
//! before, and destroyed after. Every change is an event: `plugin.registered`, `.unregistered`,
//! `.validation_failed`.

use std::{sync::Arc, time::Duration};

use super::{
    host::Output,
    run::{Health, Limits, Outcome, Runner, Runtime, Source, Syncs},
    table::{Format, Table},
};
use crate::{
    event::{Bus, PLUGIN},
    model::{Error, TurnLock},
    registry::{self, Entry, Registry},
    snapshot::Snapshot,
};

/// A registered exporter.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    runner: Runner,
    statistics: registry::Statistics,
}

/// What an exporter did since it was registered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Exports that succeeded.
    pub exports: u64,
    /// Exports that failed.
    pub failures: u64,
    /// Bytes of successful exports.
    pub bytes: u64,
    /// Time of the exports that succeeded.
    pub total_duration: Duration,
    /// Time of the last of them.
    pub last_duration: Duration,
    /// Message of the last failure.
    pub last_error: Option<String>,
}

/// A registered exporter, for introspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginInfo {
    /// Name under which it is registered.
    pub name: String,
    /// Identity of the exporter.
    pub id: String,
    /// Version of the exporter.
    pub version: String,
    /// Who makes it.
    pub vendor: String,
    /// One line.
    pub description: String,
    /// Formats, the default one first.
    pub formats: Vec<Format>,
    /// File, or "linked in".
    pub origin: String,
    /// Whether it is called, and if not, why.
    pub health: Health,
    /// Calls that wait for their turn.
    pub queue_length: usize,
    /// Calls that never returned and were given up; each keeps a thread.
    pub zombies: usize,
    /// The helper process that it runs in, with `isolation = "process"` and while one runs.
    pub process: Option<u32>,
}

/// The exporters of an engine. Any thread.
#[derive(Debug)]
pub struct Plugins {
    registry: Registry<Plugin>,
    runtime: Runtime,
    /// Held while gauges are set, so that none is set for an exporter that is gone.
    observing: TurnLock,
}

/// Most exporters of an engine.
const MAX_PLUGINS: usize = 1024;

impl Plugin {
    fn create(
        name: &str,
        source: Arc<dyn Source>,
        options: &str,
        limits: &Limits,
        runtime: &Runtime,
    ) -> Result<Arc<Self>, Error> {
        let runner = Runner::start(name, source, options, limits.clone(), runtime.clone())?;
        let statistics = registry::Statistics::default();
        Ok(Arc::new(Self { name: name.to_owned(), runner, statistics }))
    }

    /// The name that it is registered under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> PluginInfo {
        let about = self.runner.about().clone();
        PluginInfo {
            name: self.name.clone(),
            id: about.id,
            version: about.version,
            vendor: about.vendor,
            description: about.description,
            formats: about.formats,
            origin: about.origin,
            health: self.runner.health(),
            queue_length: self.runner.queue_length(),
            zombies: self.runner.zombies(),
            process: self.runner.process(),
        }
    }

    /// Writes `snapshot` to `out`, which is called on this thread; `format` `None` means the
    /// default one.
    ///
    /// # Errors
    /// Unsupported for another's format; what the plugin or `out` answered; Timeout, Limit or
    /// Unavailable by its [`Limits`], Poisoned after a panic.
    pub fn export(
        &self,
        snapshot: &Snapshot,
        format: Option<&str>,
        out: Output<'_>,
    ) -> Result<Outcome, Error> {
        let default = self.runner.about().formats.first().map_or("", |format| &format.name);
        let done = self.runner.export(snapshot, format.unwrap_or(default), out);
        match &done {
            Ok(outcome) => self.statistics.succeeded(outcome.duration, outcome.bytes),
            Err(error) => {
                self.statistics.failed(error.to_string());
                tracing::warn!(plugin = self.name, "export failed: {error}");
            }
        }
        done
    }

    /// What it did.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let counts = self.statistics.read();
        Statistics {
            exports: counts.calls,
            failures: counts.failures,
            bytes: counts.bytes,
            total_duration: counts.total_duration,
            last_duration: counts.last_duration,
            last_error: counts.last_error,
        }
    }

    fn writes(&self, format: &str) -> bool {
        self.runner.about().formats.iter().any(|known| known.name == format)
    }
}

impl Entry for Plugin {
    fn name(&self) -> &str {
        &self.name
    }

    fn statistics(&self) -> &registry::Statistics {
        &self.statistics
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        let about = self.runner.about();
        let mut details = vec![
            ("id", about.id.clone()),
            ("version", about.version.clone()),
            ("origin", about.origin.clone()),
        ];
        details.extend(self.summary().map(|formats| ("formats", formats)));
        details
    }

    /// Its formats.
    fn summary(&self) -> Option<String> {
        let formats: Vec<_> =
            self.runner.about().formats.iter().map(|format| format.name.as_str()).collect();
        Some(formats.join(", "))
    }
}

impl Default for Plugins {
    /// Exporters whose changes nobody is told of.
    fn default() -> Self {
        Self::new(&Bus::default(), Runtime::default())
    }
}

impl Plugins {
    /// No exporters yet; changes are published on `bus`.
    pub(crate) fn new(bus: &Bus, runtime: Runtime) -> Self {
        Self {
            registry: Registry::new("plugin", MAX_PLUGINS, bus.watch(&PLUGIN)),
            runtime,
            observing: TurnLock::default(),
        }
    }

    /// Makes an exporter from `options` (a JSON object, or empty) and registers it.
    ///
    /// # Errors
    /// AlreadyExists for a name in use; what the plugin's `create` answered.
    pub fn register(&self, name: &str, table: Arc<Table>, options: &str) -> Result<(), Error> {
        self.register_all(vec![(name.to_owned(), table)], options)
    }

    /// As [`Plugins::register`] for several names: all at once, or none.
    ///
    /// # Errors
    /// As [`Plugins::register`]; nothing is registered then.
    pub fn register_all(
        &self,
        named: Vec<(String, Arc<Table>)>,
        options: &str,
    ) -> Result<(), Error> {
        let sources = named.into_iter().map(|(name, table)| (name, table as Arc<dyn Source>));
        self.register_sources(sources.collect(), options, &Limits::default()).map(drop)
    }

    /// As [`Plugins::register_all`] for whatever makes exporters.
    pub(crate) fn register_sources(
        &self,
        named: Vec<(String, Arc<dyn Source>)>,
        options: &str,
        limits: &Limits,
    ) -> Result<Vec<Arc<Plugin>>, Error> {
        // Asked before any is made, and again when they are.
        self.registry.admit(&named.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())?;
        let mut made = Vec::new();
        for (name, source) in named {
            made.push(self.create(&name, source, options, limits)?);
        }
        let names: Vec<String> = made.iter().map(|plugin| plugin.name.clone()).collect();
        self.registry.register(made.clone())?;
        for name in names {
            tracing::info!(plugin = name, "registered");
        }
        Ok(made)
    }

    /// Makes an exporter and puts it in the place of the one of that name; it keeps serving until
    /// the new one is made, and for good when that fails. Its statistics start anew.
    ///
    /// # Errors
    /// NotFound when nothing has that name; what the plugin's `create` answered.
    pub fn replace(&self, name: &str, table: Arc<Table>, options: &str) -> Result<(), Error> {
        self.replace_source(name, table, options, &Limits::default()).map(drop)
    }

    /// As [`Plugins::replace`] for whatever makes exporters.
    pub(crate) fn replace_source(
        &self,
        name: &str,
        source: Arc<dyn Source>,
        options: &str,
        limits: &Limits,
    ) -> Result<Arc<Plugin>, Error> {
        if self.by_name(name).is_none() {
            let error = self.unknown(name);
            self.refused(name, &error);
            return Err(error);
        }
        let new = self.create(name, source, options, limits)?;
        let old = self.registry.replace(Arc::clone(&new))?;
        tracing::info!(plugin = name, "replaced");
        drop(old);
        Ok(new)
    }

    /// Takes an exporter out. It is shut down here, or by the last export that still runs.
    ///
    /// # Errors
    /// NotFound when nothing has that name.
    pub fn unregister(&self, name: &str) -> Result<(), Error> {
        let old = self.registry.unregister(name)?;
        let observing = self.observing.lock();
        old.runner.forget();
        drop(observing);
        tracing::info!(plugin = name, "unregistered");
        drop(old);
        Ok(())
    }

    /// Brings what the metrics say of the exporters up to date.
    pub(crate) fn observe(&self) {
        let _observing = self.observing.lock();
        self.registry.list().iter().for_each(|plugin| plugin.runner.observe());
    }

    /// Takes every exporter out, in the reverse order of registration.
    pub fn clear(&self) {
        self.registry.clear();
    }

    /// The error for a name that nothing has.
    pub(crate) fn unknown(&self, name: &str) -> Error {
        self.registry.unknown("plugin", name)
    }

    /// Tells that a plugin was refused before it came here: its file, or its options.
    pub(crate) fn refused(&self, name: &str, error: &Error) {
        self.registry.refused(name, error);
    }

    /// The exporter of that name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<Plugin>> {
        self.registry.by_name(name)
    }

    /// The first registered exporter that writes that format.
    #[must_use]
    pub fn by_format(&self, format: &str) -> Option<Arc<Plugin>> {
        self.registry.find(|plugin| plugin.writes(format))
    }

    /// The exporter and format that a selector means: `name`, `format`, or `name/format`.
    ///
    /// A name comes before a format. A name alone means the format of the same name where the
    /// exporter has one, else its default format (`None`).
    ///
    /// # Errors
    /// NotFound, listing what is registered.
    pub fn select(&self, selector: &str) -> Result<(Arc<Plugin>, Option<String>), Error> {
        if let Some(plugin) = self.by_name(selector) {
            let format = plugin.writes(selector).then(|| selector.to_owned());
            return Ok((plugin, format));
        }
        if let Some(plugin) = self.by_format(selector) {
            return Ok((plugin, Some(selector.to_owned())));
        }
        if let Some((name, format)) = selector.split_once('/')
            && let Some(plugin) = self.by_name(name)
        {
            return Ok((plugin, Some(format.to_owned())));
        }
        Err(self.registry.unknown("exporter or format", selector))
    }

    /// What is registered, in order of registration.
    #[must_use]
    pub fn list(&self) -> Vec<PluginInfo> {
        self.registry.list().iter().map(|plugin| plugin.info()).collect()
    }

    /// Has every exporter deliver what it buffered.
    ///
    /// # Errors
    /// The first failure; all are asked.
    pub fn flush(&self) -> Result<(), Error> {
        let failures: Vec<Error> =
            self.registry.list().iter().filter_map(|p| p.runner.flush().err()).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    /// Tells the exporters that want to know of a sync, and that are not busy.
    pub(crate) fn synced(&self, sync: &Syncs) {
        for plugin in self.registry.list().iter() {
            plugin.runner.synced(sync);
        }
    }

    fn create(
        &self,
        name: &str,
        source: Arc<dyn Source>,
        options: &str,
        limits: &Limits,
    ) -> Result<Arc<Plugin>, Error> {
        Plugin::create(name, source, options, limits, &self.runtime)
            .inspect_err(|error| self.refused(name, error))
    }
}
