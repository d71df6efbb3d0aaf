//! `tallyport serve`: metrics of an arena, a snapshot file or a store over HTTP, until a signal ends it.
//!
//! SIGHUP reads the configuration again and loads plugin files anew; what is wrong then is said, and
//! what served before serves on. SIGTERM and SIGINT answer what was asked, and end.

mod notify;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::Args;
use serde::Serialize;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};
use tallyport_core::{
    engine::{
        Served,
        config::{Config, ShareConfig, StoreKind},
    },
    model::{Error, ErrorKind},
    serve::{Server, Settings, Stopped},
};

use crate::{
    console::Console,
    engine::{ConfigArg, Opened},
    exit::{Exit, Failure},
    report::{self, Report},
};

const HELP: &str = "\
Examples:
  tallyport serve --arena /run/shop/metrics.arena
  tallyport serve --config tallyport.toml --listen 127.0.0.1:9464
  tallyport serve --shared --config tallyport.toml
  tallyport serve --from app.snap --listen '[::1]:0' --report json

Without --arena, --from and --shared the configuration says what is served: the arena of its
[recording], else its store. Paths, credentials and limits are in its [serve] (docs/SERVE.md).
SIGHUP reads the configuration again and loads plugin files anew; a mistake is said, and what served
before serves on. SIGTERM and SIGINT answer what was asked, and end with 143 and 130. Under systemd
(Type=notify) it says when it is ready.";

/// The flags of `serve`.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Address and port; port 0: one that is free [default: serve.listen, else 127.0.0.1:9464]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// Arena file that processes record into
    #[arg(long, value_name = "FILE", conflicts_with_all = ["from", "shared"])]
    arena: Option<PathBuf>,
    /// Snapshot file, read at each request
    #[arg(long, value_name = "FILE", conflicts_with = "shared")]
    from: Option<PathBuf>,
    /// What all instances have that share the configuration's store
    #[arg(long)]
    shared: bool,
    /// File with the credentials, instead of serve.credentials_file
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    /// Seconds that answers have to end when it is told to
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    stop_timeout: u64,
    /// Say at the end what was served; json: one object, with its version in `schema`
    #[arg(long, value_enum, value_name = "KIND")]
    report: Option<Report>,
}

/// The report at the end; its keys never change their meaning.
#[derive(Serialize)]
struct Ended<'a> {
    schema: &'static str,
    address: SocketAddr,
    signal: &'a str,
    all_answered: bool,
    requests: u64,
    refused: u64,
    connections: u64,
    closed_early: u64,
    bytes: u64,
}

/// What serves: kept together, because the server shows an engine that it does not keep.
struct Serving {
    server: Server,
    opened: Opened,
    settings: Settings,
}

/// Serves until a signal ends it.
pub(crate) fn run(args: &ServeArgs, console: Console) -> Result<(), Failure> {
    // Before anything is served: a signal from now on ends it well.
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])
        .map_err(|error| Failure::new(Exit::Unexpected, "signals", error))?;
    let mut serving = start(args, console)?;
    notify::tell(console, "READY=1");
    for signal in signals.forever() {
        match signal {
            SIGHUP => {
                notify::tell(console, "RELOADING=1");
                serving = reload(args, serving, console);
                notify::tell(console, "READY=1");
            }
            SIGINT => return end(args, serving, console, ("SIGINT", Exit::Interrupted)),
            _ => return end(args, serving, console, ("SIGTERM", Exit::Terminated)),
        }
    }
    Err(Failure::new(Exit::Unexpected, "signals", "no more of them come"))
}

/// Reads the configuration, and says what is served and how.
fn read(args: &ServeArgs, again: bool) -> Result<(Opened, Settings, Served), Failure> {
    let mut config = args.config.load()?.unwrap_or_default();
    let served = served(args, &config)?;
    // Whoever serves an arena is none of those that record into it.
    config.recording.share = ShareConfig::Auto;
    config.recording.arena = None;
    if let Some(listen) = &args.listen {
        config.serve.listen.clone_from(listen);
    }
    if let Some(file) = &args.credentials_file {
        let here = std::path::absolute(file);
        let here = here.map_err(|error| Failure::new(Exit::Config, "credentials", error))?;
        config.serve.credentials_file = Some(here);
    }
    let settings = config.serve_settings().map_err(|error| of_serve(&error))?;
    let opened = if again { Opened::again(config)? } else { Opened::new(Some(config))? };
    opened.required()?;
    let names = opened.engine.config().serve.formats.join(", ");
    if opened.engine.site(served.clone()).offers().is_empty() {
        let reason = format!("none of `serve.formats` is there: {names}");
        let failure = Failure::new(Exit::Config, "serve", reason);
        return Err(failure.hint("`tallyport plugins list` shows exporters and their formats"));
    }
    Ok((opened, settings, served))
}

fn served(args: &ServeArgs, config: &Config) -> Result<Served, Failure> {
    Ok(match (&args.arena, &args.from, &config.recording.arena) {
        (Some(arena), _, _) => Served::Arena(arena.clone()),
        (_, Some(from), _) => Served::File(from.clone()),
        _ if args.shared => Served::Store,
        (_, _, Some(arena)) => Served::Arena(arena.clone()),
        _ if matches!(
            config.store.kind,
            StoreKind::Sqlite | StoreKind::Redis | StoreKind::Memcached
        ) =>
        {
            Served::Store
        }
        _ => {
            let failure = Failure::usage(
                "serve needs an arena, a snapshot file or a store: --arena FILE, --from FILE, \
                 --shared, or a configuration with one",
            );
            return Err(failure.hint(
                "a host records into an arena with `share = \"file\"`, or serves its own metrics \
                 with tallyport_serve_start()",
            ));
        }
    })
}

fn of_serve(error: &Error) -> Failure {
    let exit = match (error.kind(), error.os_error()) {
        (ErrorKind::Config, _) => Exit::Config,
        (ErrorKind::Io, Some(libc::EADDRINUSE | libc::EMFILE | libc::ENFILE)) => Exit::Retry,
        (ErrorKind::Io, _) => Exit::Failed,
        _ => Exit::Unexpected,
    };
    Failure::new(exit, "serve", error)
}

fn start(args: &ServeArgs, console: Console) -> Result<Serving, Failure> {
    let (opened, settings, served) = read(args, false)?;
    opened.warn(console);
    begin(opened, settings, served, console)
}

fn begin(
    opened: Opened,
    settings: Settings,
    served: Served,
    console: Console,
) -> Result<Serving, Failure> {
    let (site, metrics) = (opened.engine.site(served.clone()), Some(opened.engine.metrics()));
    let server =
        Server::start(settings.clone(), site, metrics).map_err(|error| of_serve(&error))?;
    let (address, path) = (server.address(), &settings.paths.metrics);
    console.note(format_args!("serving {} on http://{address}{path}", name(&served)));
    Ok(Serving { server, opened, settings })
}

fn name(served: &Served) -> String {
    match served {
        Served::Process | Served::Shared => "this process".to_owned(),
        Served::Store => "the store's totals".to_owned(),
        Served::Arena(path) => format!("arena `{}`", path.display()),
        Served::File(path) => format!("snapshot `{}`", path.display()),
    }
}

/// Serves what the configuration says now; what served before where that is wrong.
fn reload(args: &ServeArgs, before: Serving, console: Console) -> Serving {
    let refused = |failure: Failure| {
        console.warn(format_args!("not reloaded: {}", failure.message));
        failure.details.iter().for_each(|line| console.warn(line));
    };
    let (opened, settings, served) = match read(args, true) {
        Ok(read) => read,
        Err(failure) => {
            refused(failure);
            return before;
        }
    };
    opened.warn(console);
    let old = &before.settings;
    if old.listen != settings.listen {
        // The new one first: where it cannot listen, the old one goes on.
        return match begin(opened, settings, served, console) {
            Ok(serving) => {
                let Serving { server, opened, .. } = before;
                server.stop(Duration::from_secs(args.stop_timeout));
                drop(opened);
                serving
            }
            Err(failure) => {
                refused(failure);
                before
            }
        };
    }
    let fixed = |settings: &Settings| (settings.workers, settings.bounds.waiting);
    if fixed(old) != fixed(&settings) {
        console.warn("`serve.workers` and `serve.max_waiting` change with a restart");
    }
    before.server.replace(settings.clone(), opened.engine.site(served));
    console.note("reloaded");
    Serving { server: before.server, opened, settings }
}

fn end(
    args: &ServeArgs,
    serving: Serving,
    console: Console,
    (signal, exit): (&str, Exit),
) -> Result<(), Failure> {
    notify::tell(console, "STOPPING=1");
    let Serving { server, opened, .. } = serving;
    let address = server.address();
    let counting = server.counter();
    let all_answered = server.stop(Duration::from_secs(args.stop_timeout)) == Stopped::Done;
    let counts = counting();
    drop(opened);
    if !all_answered {
        console.warn("answers were still being written when the time to stop was over");
    }
    match args.report {
        None => {}
        Some(Report::Text) => console.note(format_args!(
            "served {} requests on {address}, {} of them refused: {} bytes; ended by {signal}",
            counts.requests, counts.refused, counts.bytes
        )),
        Some(Report::Json) => report::print_json(&Ended {
            schema: "tallyport.serve/1",
            address,
            signal,
            all_answered,
            requests: counts.requests,
            refused: counts.refused,
            connections: counts.connections,
            closed_early: counts.closed,
            bytes: counts.bytes,
        })?,
    }
    Err(Failure::quiet(exit))
}
