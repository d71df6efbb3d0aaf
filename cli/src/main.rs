//! The `tallyport` command.
//!
//! `app` parses the command line and runs a verb; each verb has its file. What a verb prints as
//! data goes to stdout through `report`, what it says to people goes to stderr through `console`,
//! what ends it early is a `Failure` of `exit`.

#![deny(unsafe_code)]

mod app;
mod arena;
mod config;
mod console;
#[allow(unsafe_code)] // one question before main
mod descriptors;
mod engine;
mod exit;
mod export;
mod interrupt;
mod output;
mod paper;
mod plugins;
mod report;
#[cfg(feature = "serve")]
mod serve;
mod status;
mod sync;
mod targets;

use std::process::ExitCode;

fn main() -> ExitCode {
    app::main()
}
