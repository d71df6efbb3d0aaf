//! From text to a [`Config`]: the one way in for files, and the way back into the file for errors
//! that are found later.

use std::{
    collections::BTreeSet,
    fmt,
    fs::File,
    io::{self, Read},
    path::{self, Path},
    sync::Arc,
};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Config, ConfigErrors, PluginConfig, Problem, rules};
use crate::model::{
    document::Document,
    schema::{KeyPath, Schema, Step, Violation},
};

/// A configuration file past this size is a mistake.
const MAX_BYTES: usize = 1 << 20;

/// The file that a configuration was read from; the default is none. Its Debug form is its name:
/// secrets may stand in the text.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Source {
    origin: Arc<str>,
    text: Arc<str>,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Source {
    /// The file's name as it was given; empty: the configuration was filled in by code.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl Config {
    /// Reads a configuration from TOML text.
    ///
    /// `origin` is the file's name in messages, `base_dir` the folder that relative paths start
    /// from.
    ///
    /// # Errors
    /// Everything that is wrong, at once; of a text that is not TOML, its syntax errors only.
    pub fn parse(text: &str, origin: &str, base_dir: &Path) -> Result<Self, ConfigErrors> {
        match Self::parse_partly(text, origin, base_dir)? {
            (config, None) => Ok(config),
            (_, Some(errors)) => Err(errors),
        }
    }

    /// As [`Config::parse`]; a text with problems also gives what is right in it: keys that are
    /// wrong are left out, so that what they meant can still be checked, and nothing more.
    ///
    /// # Errors
    /// When nothing can be made of it: it is no TOML, or too large.
    pub fn parse_partly(
        text: &str,
        origin: &str,
        base_dir: &Path,
    ) -> Result<(Self, Option<ConfigErrors>), ConfigErrors> {
        if text.len() > MAX_BYTES {
            return Err(too_large(origin));
        }
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let document = Document::parse(text, origin)?;
        let (mut config, violations) = read(&document)?;
        for (name, plugin) in &mut config.plugins {
            plugin.line = document.line(&KeyPath::keys(&["plugins", name]));
        }
        for (name, target) in &mut config.targets {
            target.line = document.line(&KeyPath::keys(&["targets", name]));
        }
        config.base_dir = base_dir.to_owned();
        config.source = Source { origin: origin.into(), text: text.into() };
        let errors = (!violations.is_empty()).then(|| document.errors(&violations));
        Ok((config, errors))
    }

    /// Reads a configuration file.
    ///
    /// Relative paths in it start from its folder, wherever the process goes later.
    ///
    /// # Errors
    /// As [`Config::parse`]; besides, a file that cannot be read, is larger than 1 MiB or is not
    /// UTF-8.
    pub fn load(file: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        match Self::load_partly(file)? {
            (config, None) => Ok(config),
            (_, Some(errors)) => Err(errors),
        }
    }

    /// As [`Config::load`]; a file with problems also gives what is right in it, as
    /// [`Config::parse_partly`] does.
    ///
    /// # Errors
    /// When nothing can be made of it: it cannot be read, is no TOML, or too large.
    pub fn load_partly(
        file: impl AsRef<Path>,
    ) -> Result<(Self, Option<ConfigErrors>), ConfigErrors> {
        let file = file.as_ref();
        let origin = file.display().to_string();
        let unreadable =
            |error: io::Error| ConfigErrors::of_file(&origin, format!("cannot be read: {error}"));
        let bytes = bytes(file).map_err(unreadable)?;
        if bytes.len() > MAX_BYTES {
            return Err(too_large(&origin));
        }
        let text = str::from_utf8(&bytes)
            .map_err(|error| not_utf8(&origin, &bytes, error.valid_up_to()))?;
        let absolute = path::absolute(file).map_err(unreadable)?;
        Self::parse_partly(text, &origin, absolute.parent().unwrap_or(Path::new("")))
    }

    /// Checks what types and schema cannot: for a configuration that was filled in by code.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn check(&self) -> Result<(), ConfigErrors> {
        let violations = rules::check(self);
        if violations.is_empty() { Ok(()) } else { Err(self.errors(&violations)) }
    }

    /// Places what is wrong with a plugin's options, by its own schema, in the file that this was
    /// read from; for options that code gave there is [`ConfigErrors::of_options`].
    #[must_use]
    pub fn options_errors(&self, plugin: &str, violations: Vec<Violation>) -> ConfigErrors {
        if self.plugins.get(plugin).is_none_or(|plugin| plugin.line == 0) {
            return ConfigErrors::of_options(plugin, violations);
        }
        self.errors(&in_options(plugin, violations))
    }

    /// The JSON Schema of configuration files.
    #[must_use]
    pub fn json_schema() -> Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Problems with their places, where the configuration came from a file.
    fn errors(&self, violations: &[Violation]) -> ConfigErrors {
        let Source { origin, text } = &self.source;
        match Document::parse(text, origin) {
            Ok(document) if !text.is_empty() => document.errors(violations),
            _ => {
                let problems = violations.iter().map(Problem::from).collect();
                ConfigErrors::unplaced(origin, problems)
            }
        }
    }
}

impl PluginConfig {
    /// As [`Config::check`], for a plugin that code loads under this name.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn check(&self, name: &str) -> Result<(), ConfigErrors> {
        let mut violations = Vec::new();
        rules::check_plugin(&KeyPath::keys(&["plugins", name]), self, &mut violations);
        let problems: Vec<_> = violations.iter().map(Problem::from).collect();
        if problems.is_empty() { Ok(()) } else { Err(ConfigErrors::unplaced("", problems)) }
    }
}

impl ConfigErrors {
    /// What is wrong with a plugin's options that code gave: no line of a file.
    #[must_use]
    pub fn of_options(plugin: &str, violations: Vec<Violation>) -> Self {
        let violations = in_options(plugin, violations);
        Self::unplaced("", violations.iter().map(Problem::from).collect())
    }
}

/// Violations of a plugin's options, by their keys in the configuration.
fn in_options(plugin: &str, violations: Vec<Violation>) -> Vec<Violation> {
    let options = KeyPath::keys(&["plugins", plugin, "options"]);
    let inside = |violation: Violation| {
        let path = violation.path.within(&options);
        Violation { path, ..violation }
    };
    violations.into_iter().map(inside).collect()
}

/// Checks a document against the schema and the rules; what is wrong comes with what is right.
///
/// The rules need a `Config`, also when the schema was broken; what broke it is then left out, so
/// that a default, which breaks no rule, stands for it.
fn read(document: &Document<'_>) -> Result<(Config, Vec<Violation>), ConfigErrors> {
    let (root, mut violations) = document.to_json();
    let mut root = Value::Object(root);
    match Schema::compile(&Config::json_schema()) {
        Ok(schema) => {
            // The 0 that stands for an impossible number is not worth a second complaint.
            let known: BTreeSet<_> = violations.iter().map(|one| one.path.clone()).collect();
            let fresh = schema.check(&root).into_iter().filter(|one| !known.contains(&one.path));
            violations.extend(fresh);
        }
        Err(error) => return Err(bug(document, &error)),
    }
    if let Value::Object(root) = &mut root
        && !violations.is_empty()
    {
        violations.iter().for_each(|violation| leave_out(root, violation));
        root.insert("schema".to_owned(), 1.into());
    }
    match Config::deserialize(root) {
        Ok(config) => {
            violations.extend(rules::check(&config));
            Ok((config, violations))
        }
        Err(error) if violations.is_empty() => Err(bug(document, &error)),
        Err(_) => Err(document.errors(&violations)),
    }
}

/// Schema and types are derived from the same text, so they agree.
fn bug(document: &Document<'_>, error: &dyn std::fmt::Display) -> ConfigErrors {
    ConfigErrors::of_file(document.origin(), format!("a bug in Tallyport: {error}"))
}

/// Removes the key that a violation is about, or, in an array, the array's.
fn leave_out(root: &mut Map<String, Value>, violation: &Violation) {
    let mut keys = violation.path.steps().iter().map_while(|step| match step {
        Step::Key(key) => Some(key),
        Step::Index(_) => None,
    });
    let Some(mut key) = keys.next() else { return };
    let mut table = root;
    for next in keys {
        let Some(Value::Object(inner)) = table.get_mut(key) else { return };
        (table, key) = (inner, next);
    }
    table.remove(key);
}

fn bytes(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there is more.
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn too_large(origin: &str) -> ConfigErrors {
    let message = format!("is larger than {MAX_BYTES} bytes, so it is no configuration file");
    ConfigErrors::of_file(origin, message)
}

fn not_utf8(origin: &str, bytes: &[u8], valid: usize) -> ConfigErrors {
    let byte = bytes.get(valid).copied().unwrap_or_default();
    let text = bytes.get(..valid).and_then(|valid| str::from_utf8(valid).ok()).unwrap_or_default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let problem = Problem::new(format!("is not UTF-8: byte 0x{byte:02x} begins no character"));
    ConfigErrors::placed(origin, text, vec![(text.len(), problem)])
}
