//! The exporters of an engine, by name and by format, with their statistics.
//!
//! Reads take a shared lock for the time of one clone of a pointer, so an export never waits for a
//! load: exporters are made before, and destroyed after, with no lock held.

use std::{sync::Arc, time::Duration};

use parking_lot::{Mutex, RwLock};

use super::{
    exporter::{Exporter, Outcome},
    host::Output,
    table::{Format, Table},
};
use crate::{
    model::{Error, ErrorKind},
    snapshot::Snapshot,
};

/// A registered exporter.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    exporter: Exporter,
    statistics: Mutex<Statistics>,
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
#[derive(Debug, Default)]
pub struct Plugins {
    list: RwLock<Arc<Vec<Arc<Plugin>>>>,
}

/// Longest name of a registered exporter.
const MAX_NAME_BYTES: usize = 64;

/// Whether an exporter may be registered under that name.
pub(crate) fn is_plugin_name(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(known)
}

/// What [`is_plugin_name`] asks for.
pub(crate) const PLUGIN_NAME_RULE: &str = "has 1 to 64 letters, digits, `.`, `_` and `-` only";

impl Plugin {
    fn create(name: &str, table: Arc<Table>, options: &str) -> Result<Arc<Self>, Error> {
        if !is_plugin_name(name) {
            let message = format!("{name:?} names no plugin: a plugin's name {PLUGIN_NAME_RULE}");
            return Err(Error::invalid("name", message));
        }
        let exporter = Exporter::create(table, name, options)?;
        Ok(Arc::new(Self { name: name.to_owned(), exporter, statistics: Mutex::default() }))
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
        let mut statistics = self.statistics.lock();
        match &done {
            Ok(outcome) => {
                statistics.exports += 1;
                statistics.bytes += outcome.bytes;
                statistics.total_duration += outcome.duration;
                statistics.last_duration = outcome.duration;
            }
            Err(error) => {
                statistics.failures += 1;
                statistics.last_error = Some(error.to_string());
            }
        }
        drop(statistics);
        if let Err(error) = &done {
            tracing::warn!(plugin = self.name, "export failed: {error}");
        }
        done
    }

    /// What it did.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        self.statistics.lock().clone()
    }

    fn writes(&self, format: &str) -> bool {
        self.exporter.table.formats.iter().any(|known| known.name == format)
    }
}

impl Plugins {
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
        let names: Vec<String> = named.iter().map(|(name, _)| name.clone()).collect();
        let free = |list: &[Arc<Plugin>]| {
            let before = |index: usize| names.iter().take(index);
            let mut names = names.iter().enumerate();
            let taken = names.find(|(index, name)| {
                before(*index).any(|other| other == *name)
                    || list.iter().any(|other| other.name == **name)
            });
            taken.map_or(Ok(()), |(_, name)| Err(exists(name)))
        };
        free(&self.snapshot())?;
        // Declared before the lock, so that what was made in vain is destroyed without it.
        let mut made = Vec::new();
        for (name, table) in named {
            made.push(Plugin::create(&name, table, options)?);
        }
        let mut list = self.list.write();
        free(&list)?;
        let mut next = Vec::clone(&list);
        next.append(&mut made);
        *list = Arc::new(next);
        drop(list);
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
            return Err(self.unknown("plugin", name));
        }
        let plugin = Plugin::create(name, table, options)?;
        let mut list = self.list.write();
        let mut next = Vec::clone(&list);
        let Some(place) = next.iter_mut().find(|other| other.name == name) else {
            drop(list);
            return Err(self.unknown("plugin", name));
        };
        let old = std::mem::replace(place, plugin);
        *list = Arc::new(next);
        drop(list);
        tracing::info!(plugin = name, "replaced");
        drop(old);
        Ok(())
    }

    /// Takes an exporter out. It is shut down here, or by the last export that still runs.
    ///
    /// # Errors
    /// NotFound when nothing has that name.
    pub fn unregister(&self, name: &str) -> Result<(), Error> {
        let mut list = self.list.write();
        let mut next = Vec::clone(&list);
        let Some(index) = next.iter().position(|plugin| plugin.name == name) else {
            drop(list);
            return Err(self.unknown("plugin", name));
        };
        let old = next.remove(index);
        let before = std::mem::replace(&mut *list, Arc::new(next));
        drop(list);
        drop(before);
        tracing::info!(plugin = name, "unregistered");
        drop(old);
        Ok(())
    }

    /// Takes every exporter out, in the reverse order of registration.
    pub fn clear(&self) {
        let before = std::mem::take(&mut *self.list.write());
        let mut before = Arc::unwrap_or_clone(before);
        while let Some(plugin) = before.pop() {
            drop(plugin);
        }
    }

    /// The exporter of that name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<Plugin>> {
        self.snapshot().iter().find(|plugin| plugin.name == name).cloned()
    }

    /// The first registered exporter that writes that format.
    #[must_use]
    pub fn by_format(&self, format: &str) -> Option<Arc<Plugin>> {
        self.snapshot().iter().find(|plugin| plugin.writes(format)).cloned()
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
        Err(self.unknown("exporter or format", selector))
    }

    /// What is registered, in order of registration.
    #[must_use]
    pub fn list(&self) -> Vec<PluginInfo> {
        self.snapshot().iter().map(|plugin| plugin.info()).collect()
    }

    /// Has every exporter deliver what it buffered.
    ///
    /// # Errors
    /// The first failure; all are asked.
    pub fn flush(&self) -> Result<(), Error> {
        let failures =
            self.snapshot().iter().filter_map(|p| p.exporter.flush().err()).collect::<Vec<_>>();
        failures.into_iter().next().map_or(Ok(()), Err)
    }

    fn snapshot(&self) -> Arc<Vec<Arc<Plugin>>> {
        Arc::clone(&self.list.read())
    }

    fn unknown(&self, what: &str, name: &str) -> Error {
        let known: Vec<String> = self
            .snapshot()
            .iter()
            .map(|plugin| {
                let formats: Vec<_> =
                    plugin.exporter.table.formats.iter().map(|f| f.name.as_str()).collect();
                format!("{} ({})", plugin.name, formats.join(", "))
            })
            .collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!("no {what} is called `{name}`; registered: {known}");
        Error::new(ErrorKind::NotFound, message).with_field("name")
    }
}

fn exists(name: &str) -> Error {
    let message = format!("a plugin called `{name}` is registered already");
    Error::new(ErrorKind::AlreadyExists, message).with_field("name")
}
