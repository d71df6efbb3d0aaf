//! `tallyport plugins`: which exporters there are, what is in a plugin file, and whether it is fit.

mod check;
mod doctor;
mod inspect;
mod links;
mod list;
mod new;
mod paths;

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
    /// Check whether a plugin file keeps to the ABI, case by case
    #[command(after_help = check::HELP)]
    Check(check::CheckArgs),
    /// Examine a plugin file step by step: what a host would make of it, and how it was linked
    #[command(after_help = doctor::HELP)]
    Doctor(doctor::DoctorArgs),
    /// List the folders that plugins are searched in, and what lies there
    #[command(after_help = paths::HELP)]
    Paths(paths::PathsArgs),
    /// Write the project of a new plugin
    #[command(after_help = new::HELP)]
    New(new::NewArgs),
    #[command(name = check::CASE_VERB, hide = true)]
    RunCase(check::CaseArgs),
}

/// Runs a verb of `plugins`.
pub(crate) fn run(verb: &PluginsVerb, console: Console) -> Result<(), Failure> {
    match verb {
        PluginsVerb::List(args) => list::run(args),
        PluginsVerb::Inspect(args) => inspect::run(args, console),
        PluginsVerb::Check(args) => check::run(args, console),
        PluginsVerb::Doctor(args) => doctor::run(args),
        PluginsVerb::Paths(args) => paths::run(args),
        PluginsVerb::New(args) => new::run(args, console),
        PluginsVerb::RunCase(args) => check::run_case(args),
    }
}
