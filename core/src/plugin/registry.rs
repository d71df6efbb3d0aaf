//! The exporters of an engine, by name and by format, with their statistics.
//!
//! Reads take no lock ([`Registry`]), so an export never waits for a load: exporters are made
//! before, and destroyed after. Every change is an event: `plugin.registered`, `.unregistered`,
//! `.validation_failed`.

use std::{sync::Arc, time::Duration};

use super::{
    exporter::{Exporter, Outcome},
    host::Output,
    table::{Format, Table},
};
use crate::{
    event::{Bus, PLUGIN},
    model::Error,
    registry::{self, Entry, Registry},
    snapshot::Snapshot,
};

/// A registered exporter.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    exporter: Exporter,
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
    /// Whether a panic made it unusable.
    pub poisoned: bool,
}

/// The exporters of an engine. Any thread.
#[derive(Debug)]
pub struct Plugins {
    registry: Registry<Plugin>,
}

/// Most exporters of an engine.
const MAX_PLUGINS: usize = 1024;

impl Plugin {
    fn create(name: &str, table: Arc<Table>, options: &str) -> Result<Arc<Self>, Error> {
        let exporter = Exporter::create(table, name, options)?;
        let statistics = registry::Statistics::default();
        Ok(Arc::new(Self { name: name.to_owned(), exporter, statistics }))
    }

    /// The name that it is registered under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it is.
    #[must_use]
    pub fn info(&self) -> PluginInfo {
        let table = &self.exporter.table;
        PluginInfo {
            name: self.name.clone(),
            id: table.id.clone(),
            version: table.version.clone(),
            vendor: table.vendor.clone(),
            description: table.description.clone(),
            formats: table.formats.clone(),
            origin: table.origin.clone(),
            poisoned: self.exporter.is_poisoned(),
        }
    }

    /// Writes `snapshot` to `out` on this thread; `format` `None` means the default one.
    ///
    /// # Errors
    /// Unsupported for another's format; what the plugin or `out` answered.
    pub fn export(
        &self,
        snapshot: &Snapshot,
        format: Option<&str>,
        out: Output<'_>,
    ) -> Result<Outcome, Error> {
        let default = self.exporter.table.formats.first().map_or("", |format| &format.name);
        let done = self.exporter.export(snapshot, format.unwrap_or(default), out);
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
        self.exporter.table.formats.iter().any(|known| known.name == format)
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
        let table = &self.exporter.table;
        let mut details = vec![
            ("id", table.id.clone()),
            ("version", table.version.clone()),
            ("origin", table.origin.clone()),
        ];
        details.extend(self.summary().map(|formats| ("formats", formats)));
        details
    }

    /// Its formats.
    fn summary(&self) -> Option<String> {
        let formats: Vec<_> =
            self.exporter.table.formats.iter().map(|format| format.name.as_str()).collect();
        Some(formats.join(", "))
    }
}

impl Default for Plugins {
    /// Exporters whose changes nobody is told of.
    fn default() -> Self {
        Self::new(&Bus::default())
    }
}

impl Plugins {
    /// No exporters yet; changes are published on `bus`.
    #[must_use]
    pub fn new(bus: &Bus) -> Self {
        Self { registry: Registry::new("plugin", MAX_PLUGINS, bus.watch(&PLUGIN)) }
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
        // Asked before any is made, and again when they are.
        self.registry.admit(&named.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>())?;
        let mut made = Vec::new();
        for (name, table) in named {
            made.push(self.create(&name, table, options)?);
        }
        let names: Vec<String> = made.iter().map(|plugin| plugin.name.clone()).collect();
        self.registry.register(made)?;
        for name in names {
            tracing::info!(plugin = name, "registered");
        }
        Ok(())
    }

    /// Makes an exporter and puts it in the place of the one of that name; it keeps serving until
    /// the new one is made, and for good when that fails. Its statistics start anew.
    ///
    /// # Errors
    /// NotFound when nothing has that name; what the plugin's `create` answered.
    pub fn replace(&self, name: &str, table: Arc<Table>, options: &str) -> Result<(), Error> {
        if self.by_name(name).is_none() {
            let error = self.registry.unknown("plugin", name);
            self.refused(name, &error);
            return Err(error);
        }
        let old = self.registry.replace(self.create(name, table, options)?)?;
        tracing::info!(plugin = name, "replaced");
        drop(old);
        Ok(())
    }

    /// Takes an exporter out. It is shut down here, or by the last export that still runs.
    ///
    /// # Errors
    /// NotFound when nothing has that name.
    pub fn unregister(&self, name: &str) -> Result<(), Error> {
        let old = self.registry.unregister(name)?;
        tracing::info!(plugin = name, "unregistered");
        drop(old);
        Ok(())
    }

    /// Takes every exporter out, in the reverse order of registration.
    pub fn clear(&self) {
        self.registry.clear();
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
            self.registry.list().iter().filter_map(|p| p.exporter.flush().err()).collect();
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    fn create(&self, name: &str, table: Arc<Table>, options: &str) -> Result<Arc<Plugin>, Error> {
        Plugin::create(name, table, options).inspect_err(|error| self.refused(name, error))
    }
}
