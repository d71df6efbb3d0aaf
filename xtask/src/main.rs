//! Developer habits as code: `cargo xtask help`.
//!
//! One file per verb; this one only knows their names. Nothing here is part of a release.

#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line talks to a terminal

mod abi;
mod bench;
mod constants;
mod deb;
mod headers;
mod install;
mod unsafe_check;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// What a verb returns: done, or a message for the developer.
type Outcome = Result<(), String>;

struct Verb {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    run: fn(&Path, &[&str]) -> Outcome,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "abi",
        usage: "abi check|record",
        about: "compare the C headers with what was recorded of them (docs/ABI.md)",
        run: abi::run,
    },
    Verb {
        name: "bench",
        usage: "bench [GROUP]...",
        about: "run the benchmarks [--json FILE] [--markdown] [--quick]",
        run: bench::run,
    },
    Verb {
        name: "deb",
        usage: "deb [--out FOLDER]",
        about: "pack libtallyport, libtallyport-dev and tallyport for Debian",
        run: deb::run,
    },
    Verb {
        name: "headers",
        usage: "headers [--check]",
        about: "write include/*.h from the Rust types, or say what differs",
        run: headers::run,
    },
    Verb {
        name: "install",
        usage: "install [--prefix …]",
        about: "install what was built [--libdir NAME] [--destdir DIR] [--uninstall]",
        run: install::run,
    },
    Verb {
        name: "unsafe-check",
        usage: "unsafe-check",
        about: "refuse unsafe code outside the files that may have it",
        run: unsafe_check::run,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.split_first() {
        None | Some((&("help" | "--help" | "-h"), _)) => {
            help();
            Ok(())
        }
        Some((name, rest)) => match VERBS.iter().find(|verb| verb.name == *name) {
            Some(verb) => (verb.run)(&root(), rest),
            None => Err(format!("no verb `{name}`; see cargo xtask help")),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn help() {
    println!("cargo xtask VERB\n");
    for verb in VERBS {
        println!("  {:<20} {}", verb.usage, verb.about);
    }
    println!("  {:<20} this list", "help");
}

/// The repository: this crate's parent directory, wherever cargo was called.
fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_path_buf()
}
