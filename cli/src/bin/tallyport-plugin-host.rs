//! The helper program: runs plugin code that must not take a host down with it.
//!
//! `serve` runs an exporter for a host with `isolation = "process"`, over a socket that the host
//! made. `probe` loads a file and runs an empty export, and says on stdout how far it came; hosts start
//! it (`loading.probe`), people do not.

#![forbid(unsafe_code)]

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use serde_json::{Map, Value};
use tallyport_core::{
    engine::Engine,
    model::{Error, ErrorKind},
    plugin::{
        HELPER_NAME, PROBE_LINE, ProbeJob, check_helper, drop_inherited, enter_helper,
        guard_neighbours, litter_stack,
    },
};

/// The command line was no host's.
const USAGE: u8 = 64;
/// A host that does not listen any more.
const NO_HOST: u8 = 74;

fn main() -> ExitCode {
    let mut args = env::args_os().skip(1);
    let verb = args.next();
    match verb.as_ref().and_then(|verb| verb.to_str()) {
        Some("probe") => probe(args),
        #[cfg(target_os = "linux")]
        Some("serve") => serve(),
        Some("--version" | "-V") => {
            let version = format!("{HELPER_NAME} {}\n", env!("CARGO_PKG_VERSION"));
            io::stdout()
                .write_all(version.as_bytes())
                .map_or(ExitCode::from(NO_HOST), |()| ExitCode::SUCCESS)
        }
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    let text = format!(
        "{HELPER_NAME} is started by programs that load Tallyport plugins; it has no use by itself.\n\
         To try a plugin file: tallyport plugins inspect FILE --load\n"
    );
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(USAGE)
}

#[cfg(target_os = "linux")]
fn serve() -> ExitCode {
    match tallyport_core::plugin::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = io::stderr().write_all(format!("{HELPER_NAME} serve {error}\n").as_bytes());
            ExitCode::from(USAGE)
        }
    }
}

fn probe(args: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(job) = ProbeJob::from_args(args) else { return usage() };
    drop_inherited();
    enter_helper();
    let done = say("loading").and_then(|()| match run(job) {
        Ok(()) => say("done"),
        Err(error) => {
            let message = Value::String(error.to_string());
            say(&format!("refused {} {message}", error.kind().status()))
        }
    });
    // Ends as any process does: what the file does at the end of one is part of the probe.
    done.map_or(ExitCode::from(NO_HOST), |()| ExitCode::SUCCESS)
}

/// How often each exporter is made and used: what went well by luck may not do so again.
const ROUNDS: usize = 3;

/// Loads the file, and has each of its exporters export nothing, with the options that it has when
/// it is given none.
fn run(job: ProbeJob) -> Result<(), Error> {
    let file = job.load()?;
    guard_neighbours();
    check_helper()?;
    let engine = Engine::builder().build()?;
    let told = |stage: &str, id: &str| {
        say(&format!("{stage} `{id}`")).map_err(|error| Error::io("the host", &error))
    };
    for table in &file.tables {
        for round in 0..ROUNDS {
            told("creating", &table.id)?;
            litter_stack(round);
            let made = engine.register_plugin("probed", Arc::clone(table), Map::new());
            check_helper()?;
            match made {
                Err(error) if error.kind() == ErrorKind::PluginAbi => return Err(error),
                // One that needs options refuses to be made without: that is for the host to see.
                Err(_) => continue,
                Ok(()) => {}
            }
            told("exporting with", &table.id)?;
            litter_stack(round);
            // What it answers is for the host to see, too.
            let _ = engine.export("probed", &mut |_| Ok(()));
            check_helper()?;
            told("destroying", &table.id)?;
            litter_stack(round);
            engine.plugins().unregister("probed")?;
            check_helper()?;
        }
    }
    Ok(())
}

/// One line to the host. What the file prints may stand before it.
fn say(word: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("\n{PROBE_LINE}{word}\n").as_bytes())?;
    out.flush()
}
