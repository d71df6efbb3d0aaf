//! The command line as a whole: its grammar, its help, and from a verb's result to an exit code.

use std::{fmt::Write, panic, process::ExitCode, sync::LazyLock};

use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use tallyport_plugin_api::abi::{TALLYPORT_PLUGIN_ABI_MAJOR, TALLYPORT_PLUGIN_ABI_MINOR};

#[cfg(feature = "serve")]
use crate::serve::{self, ServeArgs};
use crate::{
    arena::{self, ArenaVerb},
    config::{self, ConfigVerb},
    console::Console,
    exit::{Exit, Failure},
    export::{self, ExportArgs},
    interrupt::until_signal,
    paper::{self, CompletionsArgs, ManArgs},
    plugins::{self, PluginsVerb},
    report,
    status::{self, StatusArgs},
    sync::{self, SyncArgs},
};

const EXAMPLES: &str = "\
Examples:
  tallyport export --from app.snap --format prometheus
  tallyport plugins list --config tallyport.toml
  tallyport config check --config tallyport.toml
  tallyport serve --arena /run/shop/metrics.arena

Exit codes are listed by --help.";

/// Metrics of a running program: export them, and look after exporters and configuration.
#[derive(Debug, Parser)]
#[command(
    name = "tallyport",
    version,
    long_version = LONG_VERSION.as_str(),
    after_help = EXAMPLES,
    after_long_help = long_help(),
    arg_required_else_help = true,
    max_term_width = 100
)]
struct Cli {
    /// Say nothing but errors
    #[arg(short, long, global = true, display_order = 900, conflicts_with = "verbose")]
    quiet: bool,
    /// Log to stderr: -v what happens, -vv in detail, -vvv everything
    #[arg(short, long, global = true, display_order = 901, action = ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Export the metrics of a snapshot file or an arena in a format
    Export(ExportArgs),
    /// Serve the metrics of an arena, a snapshot file or a store over HTTP
    #[cfg(feature = "serve")]
    Serve(ServeArgs),
    /// Show how an arena, a store and the export targets stand
    Status(StatusArgs),
    /// Publish an arena file to the store that instances share
    Sync(SyncArgs),
    /// Look at arena files, and remove those that nobody has
    #[command(subcommand, arg_required_else_help = true)]
    Arena(ArenaVerb),
    /// List exporters, and look into plugin files
    #[command(subcommand, arg_required_else_help = true)]
    Plugins(PluginsVerb),
    /// Check a configuration file, or print its schema
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigVerb),
    /// Write the manual pages
    Man(ManArgs),
    /// Write the completions of a shell
    Completions(CompletionsArgs),
}

static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    let version = env!("CARGO_PKG_VERSION");
    format!("{version}\nplugin ABI {TALLYPORT_PLUGIN_ABI_MAJOR}.{TALLYPORT_PLUGIN_ABI_MINOR}")
});

fn long_help() -> String {
    let mut help = EXAMPLES.trim_end_matches("\n\nExit codes are listed by --help.").to_owned();
    help.push_str("\n\nExit codes:\n");
    for (exit, meaning) in Exit::ALL {
        // Writing to a String does not fail.
        let _ = writeln!(help, "  {:>3}  {meaning}", exit.code());
    }
    help.push_str(
        "\nEnvironment:\n  TALLYPORT_CONFIG  configuration file, where --config is not given\n\n\
         Data goes to stdout, messages go to stderr.",
    );
    help
}

/// Runs the command.
pub(crate) fn main() -> ExitCode {
    // The panic's message is printed by std; what is left is to end as documented.
    let exit = panic::catch_unwind(run).unwrap_or(Exit::Unexpected);
    ExitCode::from(exit.code())
}

fn run() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return not_a_verb(&error),
    };
    // What runs for long has nobody who asks it again with -v.
    let serves = matches!(&cli.verb, Verb::Serve(_));
    let console = Console::open(cli.quiet, cli.verbose, serves);
    let done = match cli.verb {
        // It may wait for somebody else, and then leaves nothing behind.
        Verb::Export(args) => {
            until_signal(console, move |shift| export::run(&args, console, shift))
        }
        Verb::Sync(args) => sync::run(&args, console),
        Verb::Arena(verb) => arena::run(&verb, console),
        Verb::Plugins(verb) => plugins::run(&verb, console),
        Verb::Config(verb) => config::run(&verb, console),
        #[cfg(feature = "serve")]
        Verb::Serve(args) => serve::run(&args, console),
        Verb::Status(args) => status::run(&args, console),
        Verb::Man(args) => paper::man(&args, Cli::command()),
        Verb::Completions(args) => paper::completions(&args, Cli::command()),
    };
    done.map_or_else(|failure| console.fail(&failure), |()| Exit::Ok)
}

/// Help and version, which were asked for, and a command line that is wrong.
fn not_a_verb(error: &clap::Error) -> Exit {
    let console = Console::open(true, 0, false);
    let text = error.render().to_string();
    if !error.use_stderr() {
        return report::print(&text).map_or_else(|failure| console.fail(&failure), |()| Exit::Ok);
    }
    let text = text.trim_end();
    match text.strip_prefix("error: ") {
        Some(reason) => console.fail(&Failure::usage(reason)),
        // The help of a command that lacks its verb.
        None => {
            console.data(text);
            Exit::Usage
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }
}
