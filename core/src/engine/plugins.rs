//! From the configuration's plugins to registered exporters.
//!
//! Deny by default: only what the configuration or the program names is loaded. A file that holds
//! several exporters registers each under its own id, unless `exporter` picks one.

use std::{
    ptr,
    sync::{Arc, Weak},
};

use serde_json::{Map, Value};

use super::{
    Inner, LoadFailure,
    choice::{Choice, Found, isolated},
    config::{ConfigErrors, IsolationConfig, PluginConfig},
    secrets::expand,
    source::PluginFile,
};
use crate::{
    model::{
        Error, ErrorKind,
        schema::{Schema, Violation},
    },
    plugin::{Known, Limits, Plugin, Table, filtered},
};

/// Whether a name must be free or must be in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Register,
    Replace,
}

/// Registers what the configuration names, then the linked-in exporters that it does not name.
pub(super) fn start(inner: &mut Inner, known: Known) -> Result<(), Error> {
    let mut failures = Vec::new();
    for (name, plugin) in &inner.config.plugins {
        if !plugin.enabled {
            continue;
        }
        match load(inner, name, plugin, Mode::Register, known) {
            Ok(_) => {}
            Err(error) if plugin.required => {
                return Err(error.context(format_args!("required plugin `{name}`")));
            }
            Err(error) => {
                tracing::error!(plugin = name, "not loaded: {error}");
                failures.push(LoadFailure { plugin: name.clone(), error });
            }
        }
    }
    for table in &inner.linked {
        // Named in the configuration: loaded above, disabled, or a failure; or a name given to
        // something else.
        let named = inner.config.plugins.contains_key(&table.id);
        if !named && inner.plugins.by_name(&table.id).is_none() {
            inner.plugins.register(&table.id, Arc::clone(table), "")?;
        }
    }
    inner.failures = failures;
    Ok(())
}

/// Finds the exporters that a plugin entry means and registers them.
pub(super) fn load(
    inner: &Inner,
    name: &str,
    plugin: &PluginConfig,
    mode: Mode,
    known: Known,
) -> Result<Vec<String>, Error> {
    let Chosen { named: chosen, options, origin } = choose(inner, name, plugin, known)
        .inspect_err(|error| inner.plugins.refused(name, error))?;
    let ids: Vec<_> = chosen.iter().map(|(_, choice)| choice.id.clone()).collect();
    let limits = Limits::from(&plugin.run);
    let names: Vec<_> = chosen.iter().map(|(name, _)| name.clone()).collect();
    let chosen: Vec<_> = chosen.into_iter().map(|(name, choice)| (name, choice.source)).collect();
    let made = match mode {
        Mode::Register => inner.plugins.register_sources(chosen, &options, &limits)?,
        Mode::Replace => match <[_; 1]>::try_from(chosen) {
            Ok([(_, source)]) => {
                vec![inner.plugins.replace_source(name, source, &options, &limits)?]
            }
            Err(several) => {
                let ids: Vec<_> = several.iter().map(|(id, _)| id.as_str()).collect();
                let message = format!(
                    "one exporter takes the place of `{name}`, but the plugin file has several \
                     ({}): name one with `exporter`",
                    ids.join(", ")
                );
                let error = Error::new(ErrorKind::Config, message).with_field("exporter");
                inner.plugins.refused(name, &error);
                return Err(error);
            }
        },
    };
    if origin == Origin::File {
        let mut files = inner.files.lock();
        for ((registered, id), made) in names.iter().zip(ids).zip(&made) {
            let entry = PluginConfig { exporter: Some(id), ..plugin.clone() };
            let file = FromFile { name: name.to_owned(), entry, plugin: Arc::downgrade(made) };
            files.insert(registered.clone(), file);
        }
    }
    Ok(names)
}

/// What was loaded from a file, and how it is loaded anew.
#[derive(Debug)]
pub(super) struct FromFile {
    /// The name that its entry has.
    name: String,
    entry: PluginConfig,
    /// What was made of it, which something else may have replaced.
    plugin: Weak<Plugin>,
}

/// Where exporters came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    File,
    Program,
}

/// Puts what a file is now in the place of what was loaded from it.
pub(super) fn reload(inner: &Inner, name: &str) -> Result<(), Error> {
    let Some(current) = inner.plugins.by_name(name) else {
        return Err(inner.plugins.unknown(name));
    };
    let file = inner
        .files
        .lock()
        .get(name)
        .filter(|file| ptr::eq(file.plugin.as_ptr(), Arc::as_ptr(&current)))
        .map(|file| (file.name.clone(), file.entry.clone()));
    // Else the old one would be shut down by whoever reloads, after the new one was made, only when
    // this function ends.
    drop(current);
    let Some((searched, entry)) = file else {
        let message = format!("plugin `{name}` came from no file, so there is none to load anew");
        return Err(Error::new(ErrorKind::Unsupported, message).with_field("name"));
    };
    let latest = choose(inner, &searched, &entry, Known::Beside);
    let chosen = latest.inspect_err(|error| inner.plugins.refused(name, error))?;
    for (_, choice) in chosen.named {
        let limits = Limits::from(&entry.run);
        let made = inner.plugins.replace_source(name, choice.source, &chosen.options, &limits)?;
        let plugin = Arc::downgrade(&made);
        let file = FromFile { name: searched.clone(), entry: entry.clone(), plugin };
        inner.files.lock().insert(name.to_owned(), file);
    }
    Ok(())
}

/// Exporters, with the names to register them under.
type Named = Vec<(String, Choice)>;

/// What a plugin entry means.
struct Chosen {
    named: Named,
    /// The options that they take, as JSON.
    options: String,
    origin: Origin,
}

/// The exporters that a plugin entry means, and the options that they take.
fn choose(inner: &Inner, name: &str, plugin: &PluginConfig, known: Known) -> Result<Chosen, Error> {
    let (named, origin) = match source(inner, name, plugin)? {
        Source::File(file) => (from_file(inner, name, plugin, &file, known)?, Origin::File),
        Source::Linked(_) if plugin.isolation == IsolationConfig::Process => {
            let message = format!(
                "plugin `{name}`: `isolation = \"process\"` needs a file, and this exporter is \
                 linked in: name one with `path`"
            );
            return Err(Error::new(ErrorKind::Unsupported, message).with_field("isolation"));
        }
        Source::Linked(table) => (vec![(name.to_owned(), table.into())], Origin::Program),
    };
    // Several exporters have no options.
    let mut options = "{}".to_owned();
    for (_, choice) in &named {
        options = checked_options(inner, name, choice, plugin)?;
    }
    Ok(Chosen { named, options, origin })
}

/// Where a plugin's code is.
enum Source {
    Linked(Arc<Table>),
    File(Box<PluginFile>),
}

/// Finds out where the code of a plugin entry is: its path, an exporter that is linked in, or what
/// the search path has under its name.
fn source(inner: &Inner, name: &str, plugin: &PluginConfig) -> Result<Source, Error> {
    let not_linked = match (&plugin.path, linked(inner, name, plugin)) {
        (None, Ok(table)) => return Ok(Source::Linked(table)),
        (None, Err(error)) => Some(error),
        (Some(_), _) => None,
    };
    let file = PluginFile::find(&inner.config, name, plugin);
    let file = file.map_err(|error| match not_linked {
        Some(not_linked) if error.kind() == ErrorKind::NotFound => error.context(not_linked),
        _ => error,
    });
    Ok(Source::File(Box::new(file?)))
}

fn from_file(
    inner: &Inner,
    name: &str,
    plugin: &PluginConfig,
    source: &PluginFile,
    known: Known,
) -> Result<Named, Error> {
    let path = source.path().display();
    let (choices, ids): Found = match plugin.isolation {
        IsolationConfig::None => {
            let file = source.load_as(&inner.loader, known)?;
            let ids: Vec<_> = file.tables.iter().map(|table| table.id.clone()).collect();
            let wanted = file.tables.into_iter().filter(|table| plugin.wants(&table.id));
            (wanted.map(Choice::from).collect(), ids)
        }
        IsolationConfig::Process => isolated(&inner.loader, name, plugin, source)?,
    };
    let ids = ids.join(", ");
    if let (Some(wanted), []) = (&plugin.exporter, &*choices) {
        let message = format!("plugin file `{path}` has no exporter `{wanted}`; it has {ids}");
        return Err(Error::new(ErrorKind::NotFound, message).with_field("exporter"));
    }
    if let [_] = &*choices {
        return Ok(choices.into_iter().map(|choice| (name.to_owned(), choice)).collect());
    }
    if !plugin.options.is_empty() {
        let message = format!(
            "plugin file `{path}` has several exporters ({ids}): name one with `exporter` to give \
             options"
        );
        return Err(Error::new(ErrorKind::Config, message).with_field("exporter"));
    }
    Ok(choices.into_iter().map(|choice| (choice.id.clone(), choice)).collect())
}

fn linked(inner: &Inner, name: &str, plugin: &PluginConfig) -> Result<Arc<Table>, Error> {
    let wanted = plugin.exporter.as_deref().unwrap_or(name);
    inner.linked.iter().find(|table| table.id == wanted).cloned().ok_or_else(|| {
        let known: Vec<_> = inner.linked.iter().map(|table| table.id.as_str()).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!(
            "plugin `{name}` has no `path`, and no exporter `{wanted}` is linked in (there is {known})"
        );
        Error::new(ErrorKind::NotFound, message).with_field("path")
    })
}

/// Registers an exporter of the program itself, with options that code gives.
pub(super) fn register(
    inner: &Inner,
    name: &str,
    table: Arc<Table>,
    options: Map<String, Value>,
) -> Result<(), Error> {
    let plugin = PluginConfig { options, ..PluginConfig::default() };
    let choice = Choice::from(Arc::clone(&table));
    let options = checked_options(inner, name, &choice, &plugin)
        .inspect_err(|error| inner.plugins.refused(name, error))?;
    inner.plugins.register(name, table, &options)
}

/// Options as the exporter sees them: with the contents of files, and as its own schema wants them.
fn checked_options(
    inner: &Inner,
    name: &str,
    choice: &Choice,
    plugin: &PluginConfig,
) -> Result<String, Error> {
    let wrong = |violations: Vec<Violation>| -> Error {
        // What is wrong with a secret must not show it.
        let masked = violations.into_iter().map(|violation| Violation {
            message: filtered(violation.message),
            suggestion: violation.suggestion.map(filtered),
            ..violation
        });
        // Only the configuration's own entries stand in its file.
        let configured = inner.config.plugins.get(name).is_some_and(|known| ptr::eq(known, plugin));
        match configured {
            true => inner.config.options_errors(name, masked.collect()).into(),
            false => ConfigErrors::of_options(name, masked.collect()).into(),
        }
    };
    let (base_dir, trust) = (&inner.config.base_dir, &inner.loader.policy().trust);
    let schema = choice.options_schema.as_ref();
    let options = expand(&plugin.options, schema, base_dir, trust).map_err(wrong)?;
    let options = Value::Object(options);
    let Some(schema) = schema else { return Ok(options.to_string()) };
    let (schema, passed_over) = Schema::compile_foreign(schema).map_err(|error| {
        let error = error.context(format_args!("plugin `{}`: its options schema", choice.id));
        error.with_kind(ErrorKind::PluginAbi)
    })?;
    for place in passed_over {
        tracing::debug!(
            plugin = name,
            "options are not checked against {place}; the exporter does"
        );
    }
    let violations = schema.check(&options);
    if violations.is_empty() { Ok(options.to_string()) } else { Err(wrong(violations)) }
}
