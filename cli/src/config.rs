//! `tallyport config`: is the file right, and what may be in it?

use clap::{Args, Subcommand};
use tallyport_core::{
    engine::{PluginFile, config::Config},
    model::{ErrorKind, schema::KeyPath},
};

use crate::{
    console::Console,
    engine::{CONFIG_VARIABLE, ConfigArg, Opened, is_linked, problems},
    exit::{Exit, Failure},
    report,
};

const CHECK_HELP: &str = "\
Examples:
  tallyport config check --config tallyport.toml
  TALLYPORT_CONFIG=tallyport.toml tallyport config check --load

Every problem is a line `file:line:column: message` on stderr. Without --load no code of a plugin
file runs: its headers are read, its options are not checked.
Exit codes: 0 all well, 3 the configuration is invalid, 9 only plugins were refused.";

const SCHEMA_HELP: &str = "\
Examples:
  tallyport config schema > tallyport.schema.json

Editors complete and check the file with it: put `#:schema ./tallyport.schema.json` on its first
line. The options of an exporter have schemas of their own: tallyport plugins inspect NAME --schema";

/// The verbs of `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigVerb {
    /// Check a configuration file: every problem at once
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Print the JSON Schema of configuration files
    #[command(after_help = SCHEMA_HELP)]
    Schema,
}

/// The flags of `config check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Also load the plugin files that it names, as a host would: this runs their code
    #[arg(long)]
    load: bool,
}

/// Runs a verb of `config`.
pub(crate) fn run(verb: &ConfigVerb, console: Console) -> Result<(), Failure> {
    match verb {
        ConfigVerb::Check(args) => check(args, console),
        ConfigVerb::Schema => report::print_json(&Config::json_schema()),
    }
}

fn check(args: &CheckArgs, console: Console) -> Result<(), Failure> {
    let Some((config, wrong)) = args.config.load_partly()? else {
        let failure = Failure::usage("config check needs a file: --config FILE");
        return Err(failure.hint(format!("or name it in ${CONFIG_VARIABLE}")));
    };
    let file = config.source.origin().to_owned();
    let enabled = config.plugins.values().filter(|plugin| plugin.enabled).count();
    let disabled = config.plugins.len() - enabled;

    let mut found: Vec<(usize, Exit, Vec<String>)> = Vec::new();
    let mut trial = config.clone();
    if let Some(wrong) = &wrong {
        let text = wrong.to_string();
        let problems = wrong.problems.iter().zip(text.lines());
        found.extend(
            problems.map(|(problem, line)| (problem.line, Exit::Config, vec![line.to_owned()])),
        );
        // Of a plugin whose own keys are wrong it is not known what its options are.
        trial.plugins.retain(|name, _| {
            let own = KeyPath::keys(&["plugins", name]).to_string();
            let of_it = |key: &str| {
                key.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            !wrong.problems.iter().any(|problem| of_it(&problem.key))
        });
        // What else is wrong would stop an engine, and is said already.
        let Config { plugins, loading, base_dir, source, .. } = trial;
        trial = Config { plugins, loading, base_dir, source, ..Config::default() };
    }
    if !args.load {
        let loader = config.loader();
        for (name, plugin) in trial.plugins.iter().filter(|(_, plugin)| plugin.enabled) {
            if is_linked(name, plugin) {
                continue;
            }
            let checked = PluginFile::find(&config, name, plugin)
                .and_then(|plugin_file| plugin_file.check(&loader));
            if let Err(error) = checked {
                let exit = match error.kind() {
                    ErrorKind::Config | ErrorKind::NotFound => Exit::Config,
                    _ => Exit::PluginRefused,
                };
                let line = format!("{file}:{}: plugin `{name}`: {error}", plugin.line);
                found.push((plugin.line, exit, vec![line]));
            }
        }
        trial.plugins.retain(|name, plugin| is_linked(name, plugin));
    }
    let refused = Opened::new(Some(trial))?.refused;
    found.extend(refused.iter().map(|refused| (refused.line, refused.exit(), refused.lines())));
    // In the order of the file; the engine goes by name.
    found.sort_by_key(|(line, ..)| *line);
    // A mistake in the file comes before a plugin that does not fit.
    let config_is_wrong = found.iter().any(|(_, exit, _)| *exit == Exit::Config);
    let exit = if config_is_wrong { Exit::Config } else { Exit::PluginRefused };
    let lines: Vec<_> = found.into_iter().flat_map(|(.., lines)| lines).collect();
    if lines.is_empty() {
        let s = if enabled == 1 { "" } else { "s" };
        console.note(format_args!(
            "config: `{file}` is valid: {enabled} plugin{s} enabled, {disabled} disabled"
        ));
        return Ok(());
    }
    let failure = Failure { exit, ..problems(&file, lines) };
    Err(if config_is_wrong { args.config.told(failure) } else { failure })
}
