//! From `--config` to an engine, with every plugin that was refused and why.

use std::{env, path::PathBuf};

use clap::Args;
use tallyport_core::{
    engine::{
        Engine, EngineBuilder,
        config::{Config, ConfigErrors, PluginConfig},
    },
    model::{Error, ErrorKind},
    plugin::Table,
};

use crate::{
    console::Console,
    exit::{Exit, Failure},
};

/// The variable that names the configuration file where no flag does.
pub(crate) const CONFIG_VARIABLE: &str = "TALLYPORT_CONFIG";

/// Where the configuration is.
#[derive(Debug, Args)]
pub(crate) struct ConfigArg {
    /// Configuration file [default: $TALLYPORT_CONFIG; else none, with the built-in exporters]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl ConfigArg {
    /// The file: the flag, else the variable (an empty one is none).
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let variable = || env::var_os(CONFIG_VARIABLE).filter(|value| !value.is_empty());
        self.config.clone().or_else(|| variable().map(PathBuf::from))
    }

    /// Reads the file, if there is one.
    pub(crate) fn load(&self) -> Result<Option<Config>, Failure> {
        let Some(path) = self.path() else { return Ok(None) };
        Config::load(path).map(Some).map_err(|errors| self.invalid(&errors))
    }

    /// Reads what is right in the file, if there is one, and what is wrong with it.
    pub(crate) fn load_partly(&self) -> Result<Option<(Config, Option<ConfigErrors>)>, Failure> {
        let Some(path) = self.path() else { return Ok(None) };
        Config::load_partly(path).map(Some).map_err(|errors| self.invalid(&errors))
    }

    fn invalid(&self, errors: &ConfigErrors) -> Failure {
        self.told(invalid(errors))
    }

    /// A failure of the file says where its name comes from, unless it was on the command line.
    pub(crate) fn told(&self, failure: Failure) -> Failure {
        match self.config {
            Some(_) => failure,
            None => failure.hint(format!("the file comes from ${CONFIG_VARIABLE}")),
        }
    }
}

/// Whether a plugin entry means an exporter that is built in.
pub(crate) fn is_linked(name: &str, plugin: &PluginConfig) -> bool {
    let id = plugin.exporter.as_deref().unwrap_or(name);
    let linked = Table::linked(&tallyport_builtin_exporters::EXPORTERS);
    plugin.path.is_none() && linked.is_ok_and(|linked| linked.iter().any(|table| table.id == id))
}

/// A configuration with problems, one line each.
fn invalid(errors: &ConfigErrors) -> Failure {
    let text = errors.to_string();
    problems(&errors.origin, text.lines().map(str::to_owned).collect())
}

/// A configuration file with problems that are lines already.
pub(crate) fn problems(file: &str, lines: Vec<String>) -> Failure {
    let count = lines.len();
    let word = if count == 1 { "problem" } else { "problems" };
    Failure::new(Exit::Config, "config", format_args!("{count} {word} in `{file}`")).details(lines)
}

/// An engine, and what the configuration names and the engine lacks.
pub(crate) struct Opened {
    /// The engine.
    pub(crate) engine: Engine,
    /// Plugins that were not loaded.
    pub(crate) refused: Vec<Refused>,
}

/// A plugin of the configuration that was not loaded.
pub(crate) struct Refused {
    /// Its name in the configuration.
    pub(crate) name: String,
    /// Whether the configuration cannot do without.
    pub(crate) required: bool,
    /// Why.
    pub(crate) error: Error,
    /// The configuration file.
    origin: String,
    /// The line of the plugin in it.
    pub(crate) line: usize,
}

impl Opened {
    /// Builds an engine that knows the linked-in exporters and those of the configuration.
    ///
    /// A required plugin that is refused is no failure here: all of them are gathered, and a
    /// command asks for [`Opened::required`].
    pub(crate) fn new(config: Option<Config>) -> Result<Self, Failure> {
        Self::build(config.unwrap_or_default(), Engine::builder())
    }

    /// As [`Opened::new`], in a process that may have older versions of the same plugin files: they
    /// are loaded beside those.
    #[cfg(feature = "serve")]
    pub(crate) fn again(config: Config) -> Result<Self, Failure> {
        Self::build(config, Engine::builder().beside_older_files())
    }

    fn build(mut config: Config, builder: EngineBuilder) -> Result<Self, Failure> {
        let entries = config.plugins.clone();
        config.plugins.values_mut().for_each(|plugin| plugin.required = false);
        let origin = config.source.origin().to_owned();
        let engine = builder
            .config(config)
            .linked(&tallyport_builtin_exporters::EXPORTERS)
            .build()
            .map_err(|error| Failure::new(Exit::Unexpected, "engine", error))?;
        let refused = engine.load_failures().iter().map(|failure| {
            let entry = entries.get(&failure.plugin);
            Refused {
                name: failure.plugin.clone(),
                required: entry.is_some_and(|entry| entry.required),
                error: failure.error.clone(),
                origin: origin.clone(),
                line: entry.map_or(0, |entry| entry.line),
            }
        });
        let refused = refused.collect();
        Ok(Self { engine, refused })
    }

    /// The failure of the required plugins, if any was refused.
    pub(crate) fn required(&self) -> Result<(), Failure> {
        let required: Vec<_> = self.refused.iter().filter(|refused| refused.required).collect();
        if required.is_empty() { Ok(()) } else { Err(Refused::failure(&required)) }
    }

    /// Warns of the plugins that were refused.
    pub(crate) fn warn(&self, console: Console) {
        for refused in &self.refused {
            for line in refused.lines() {
                console.warn(line);
            }
        }
    }

    /// Makes sure that there is what a selector means.
    pub(crate) fn check(&self, selector: &str) -> Result<(), Failure> {
        let named = |name: &str| self.refused.iter().find(|refused| refused.name == name);
        // Before formats: another exporter of a format is not what was asked for.
        if let Some(refused) = named(selector) {
            return Err(Refused::failure(&[refused]));
        }
        let Err(error) = self.engine.plugins().select(selector) else { return Ok(()) };
        let name = selector.split_once('/').map_or(selector, |(name, _)| name);
        if let Some(refused) = named(name) {
            return Err(Refused::failure(&[refused]));
        }
        let config = self.engine.config();
        if let Some(plugin) = config.plugins.get(name).filter(|plugin| !plugin.enabled) {
            let place = format!("{}:{}", config.source.origin(), plugin.line);
            let failure = Failure::new(Exit::Usage, "export", format_args!("`{name}` is disabled"));
            return Err(failure.hint(format!("set `enabled = true` at {place}")));
        }
        if self.refused.is_empty() {
            let failure = Failure::new(Exit::Usage, "export", error);
            return Err(failure.hint("`tallyport plugins list` shows exporters and their formats"));
        }
        // It may be a format of one that was refused: only its code would know.
        let lines = self.refused.iter().flat_map(Refused::lines);
        Err(Failure::new(Exit::PluginRefused, "export", error).details(lines))
    }
}

impl Refused {
    /// Whether the configuration is to blame, or the plugin.
    pub(crate) fn exit(&self) -> Exit {
        match self.error.kind() {
            ErrorKind::Config
            | ErrorKind::InvalidArgument
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists => Exit::Config,
            _ => Exit::PluginRefused,
        }
    }

    /// Each reason with its place in the file.
    pub(crate) fn lines(&self) -> Vec<String> {
        let Self { name, origin, line, .. } = self;
        let text = self.error.to_string();
        let placed = format!("{origin}:");
        if !origin.is_empty() && text.lines().all(|line| line.starts_with(&placed)) {
            return text.lines().map(str::to_owned).collect();
        }
        vec![format!("{origin}:{line}: plugin `{name}` was not loaded: {text}")]
    }

    /// The failure of a command that cannot do without these.
    fn failure(list: &[&Self]) -> Failure {
        let config = list.iter().all(|refused| refused.exit() == Exit::Config);
        let exit = if config { Exit::Config } else { Exit::PluginRefused };
        let names: Vec<_> = list.iter().map(|refused| format!("`{}`", refused.name)).collect();
        let (what, names) = match list {
            [_] => ("plugin", names.concat()),
            _ => ("plugins", names.join(", ")),
        };
        let required = if list.iter().all(|one| one.required) { "required and " } else { "" };
        Failure::new(exit, format_args!("{what} {names}"), format_args!("{required}refused"))
            .details(list.iter().flat_map(|refused| refused.lines()))
    }
}
