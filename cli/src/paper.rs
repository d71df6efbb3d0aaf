//! `tallyport man` and `tallyport completions`: what is made of the command line's grammar.

use std::{fs, path::PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;

use crate::{
    exit::{Exit, Failure},
    report,
};

const MAN_HELP: &str = "\
Examples:
  tallyport man | man -l -
  tallyport man man1 && cp man1/*.1 /usr/local/share/man/man1/";

const COMPLETIONS_HELP: &str = "\
Examples:
  tallyport completions bash > /etc/bash_completion.d/tallyport
  tallyport completions zsh > /usr/local/share/zsh/site-functions/_tallyport
  tallyport completions fish > ~/.config/fish/completions/tallyport.fish";

/// The flags of `man`.
#[derive(Debug, Args)]
#[command(after_help = MAN_HELP)]
pub(crate) struct ManArgs {
    /// Folder to write a page of each verb into; without it the main page goes to stdout
    folder: Option<PathBuf>,
}

/// The flags of `completions`.
#[derive(Debug, Args)]
#[command(after_help = COMPLETIONS_HELP)]
pub(crate) struct CompletionsArgs {
    /// Shell to write them for
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the manual.
pub(crate) fn man(args: &ManArgs, grammar: Command) -> Result<(), Failure> {
    // Else there is a page for each verb of `help`.
    let grammar = grammar.disable_help_subcommand(true);
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        let made = clap_mangen::Man::new(grammar).render(&mut page);
        made.map_err(|error| Failure::new(Exit::Unexpected, "man", error))?;
        return report::print(&String::from_utf8_lossy(&page));
    };
    let what = format!("folder `{}`", folder.display());
    let made = fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(grammar, folder));
    made.map_err(|error| Failure::write(what, &error))
}

/// Writes the completions of a shell.
pub(crate) fn completions(args: &CompletionsArgs, mut grammar: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut grammar, "tallyport", &mut script);
    report::print(&String::from_utf8_lossy(&script))
}
