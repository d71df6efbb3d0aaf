//! `tallyport plugins`: which exporters there are, and what is in a plugin file.

mod inspect;
mod list;

use clap::Subcommand;

use crate::{console::Console, exit::Failure};

/// The verbs of `plugins`.
#[derive(Debug, Subcommand)]
pub(crate) enum PluginsVerb {
    /// List the exporters that a host with this configuration has
    #[command(after_help = list::HELP)]
    List(list::ListArgs),
    /// Show what a plugin file says of itself, or what the configuration means by a name
    #[command(after_help = inspect::HELP)]
    Inspect(inspect::InspectArgs),
}

/// Runs a verb of `plugins`.
pub(crate) fn run(verb: &PluginsVerb, console: Console) -> Result<(), Failure> {
    match verb {
        PluginsVerb::List(args) => list::run(args),
        PluginsVerb::Inspect(args) => inspect::run(args, console),
    }
}
