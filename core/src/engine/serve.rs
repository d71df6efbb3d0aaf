//! Metrics over HTTP: what an engine serves, and its own server, on threads that the host asked for.
//!
//! The threads run no code of the host: a scrape publishes no event, and what is logged goes to a
//! process-wide subscriber only.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    Engine, Inner,
    config::{AuthConfig, Config, ServedConfig},
    share::Tell,
};
use crate::{
    model::{Error, ErrorKind, Mutex, SystemClock, TurnLock},
    plugin::remember,
    serve::{Access, Bounds, Counts, Offer, Paths, Server, Settings, Site, Stopped},
    snapshot::{self, Snapshot},
};

/// How long the last of an engine waits for answers that are being sent.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Whose metrics are served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Served {
    /// The engine's own.
    Process,
    /// Those of all instances of the store, this one's synced before.
    Shared,
    /// Those of all instances of the store, by somebody who is none of them.
    Store,
    /// An arena file's, as it is at each request.
    Arena(PathBuf),
    /// A snapshot file's, as it is at each request.
    File(PathBuf),
}

/// An engine's server, if it has one.
#[derive(Debug, Default)]
pub(super) struct Serving {
    /// Whose turn it is to start or stop it.
    turn: TurnLock,
    server: Mutex<Option<Server>>,
}

impl Serving {
    fn take(&self) -> Option<Server> {
        self.server.lock().take()
    }

    /// With the engine's end.
    pub(super) fn end(&self) {
        if let Some(server) = self.take() {
            server.stop(LAST_WAIT);
        }
    }
}

/// What an engine serves. It does not keep the engine.
struct Shown {
    engine: Weak<Inner>,
    served: Served,
    formats: Vec<String>,
}

impl Shown {
    fn engine(&self) -> Result<Engine, Error> {
        let gone =
            || Error::new(ErrorKind::Closed, "the engine whose metrics these are was closed");
        self.engine.upgrade().map(Engine).ok_or_else(gone)
    }

    fn snapshot(&self, engine: &Engine) -> Result<Snapshot, Error> {
        match &self.served {
            Served::Process => engine.snapshot(),
            Served::Shared => engine.shared_as(Tell::Nobody).map(|shared| shared.snapshot),
            Served::Store => engine.read_shared().map(|shared| shared.snapshot),
            Served::Arena(path) => snapshot::of_arena(path, Arc::new(SystemClock::default())),
            Served::File(path) => snapshot::load(path),
        }
    }
}

impl Site for Shown {
    fn offers(&self) -> Vec<Offer> {
        let Ok(engine) = self.engine() else { return Vec::new() };
        let offer = |selector: &String| {
            let (plugin, format) = engine.0.plugins.select(selector).ok()?;
            let formats = plugin.info().formats;
            let format = match format {
                Some(format) => formats.into_iter().find(|known| known.name == format)?,
                None => formats.into_iter().next()?,
            };
            Some(Offer { selector: selector.clone(), content_type: format.content_type })
        };
        self.formats.iter().filter_map(offer).collect()
    }

    fn write(
        &self,
        offer: &Offer,
        out: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let engine = self.engine()?;
        let snapshot = self.snapshot(&engine)?;
        let (plugin, format) = engine.0.plugins.select(&offer.selector)?;
        plugin.export(&snapshot, format.as_deref(), out).map(drop)
    }
}

impl Config {
    /// How `[serve]` says that metrics are served; reads the credentials.
    ///
    /// # Errors
    /// Config, naming the key: for an address that is none, and for credentials that cannot be used.
    pub fn serve_settings(&self) -> Result<Settings, Error> {
        let serve = &self.serve;
        let ms = Duration::from_millis;
        Ok(Settings {
            listen: address(&serve.listen)?,
            workers: serve.workers,
            paths: Paths { metrics: serve.metrics_path.clone(), health: serve.health_path.clone() },
            access: self.access()?,
            gzip: serve.gzip,
            bounds: Bounds {
                connections: serve.max_connections,
                waiting: serve.max_waiting,
                head_bytes: serve.max_head_bytes,
                headers: serve.max_headers,
                answer_bytes: serve.max_answer_bytes,
                head_time: ms(serve.head_timeout_ms),
                answer_time: ms(serve.answer_timeout_ms),
                write_time: ms(serve.write_timeout_ms),
                idle_time: ms(serve.idle_timeout_ms),
            },
        })
    }

    fn access(&self) -> Result<Access, Error> {
        let (auth, file) = match (self.serve.auth, &self.serve.credentials_file) {
            (AuthConfig::None, _) => return Ok(Access::default()),
            (auth, file) => (auth, file.clone().unwrap_or_default()),
        };
        let path = self.base_dir.join(file);
        let wrong = |error: Error| {
            let error = error.with_field("serve.credentials_file");
            error.context(format_args!("`serve.credentials_file` `{}`", path.display()))
        };
        let text = self.policy().trust.read_secret(&path);
        let text =
            text.map_err(|reason| wrong(Error::new(ErrorKind::Config, reason.to_string())))?;
        text.lines().for_each(remember);
        let access = match auth {
            AuthConfig::Basic => Access::basic(&text),
            _ => Access::bearer(&text),
        };
        access.map_err(wrong)
    }
}

fn address(text: &str) -> Result<SocketAddr, Error> {
    text.parse().map_err(|_| {
        let message =
            format!("`{text}` is no address with a port, such as 127.0.0.1:9464 or [::1]:9464");
        Error::new(ErrorKind::Config, message).with_field("serve.listen")
    })
}

impl Engine {
    /// What a server of its own shows of this engine, which has to be kept besides.
    #[must_use]
    pub fn site(&self, served: Served) -> Arc<dyn Site> {
        let engine = Arc::downgrade(&self.0);
        Arc::new(Shown { engine, served, formats: self.0.config.serve.formats.clone() })
    }

    /// Serves metrics over HTTP as `[serve]` says, on threads of its own; `listen` comes before its
    /// key. Returns where it listens.
    ///
    /// It ends with [`Engine::stop_serving`] or with the engine. A forked child serves nothing unless
    /// it calls this too, for another address. The threads call no code of the host, but functions that
    /// give values and may do so on any thread: no event is published for a scrape, and what they log
    /// goes to a process-wide subscriber only.
    ///
    /// # Errors
    /// AlreadyExists when it serves, Config for an address that is none and for credentials that
    /// cannot be used, Io when it cannot listen there or no thread can be started.
    pub fn start_serving(&self, listen: Option<&str>) -> Result<SocketAddr, Error> {
        let serving = &self.0.serving;
        let _turn = serving.turn.lock();
        let mut server = serving.server.lock();
        if let Some(address) = server.as_ref().filter(|one| one.is_own()).map(Server::address) {
            let message = format!("metrics are served on {address} already");
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let inherited = server.take();
        drop(server);
        drop(inherited);
        let config = &self.0.config;
        let mut settings = config.serve_settings()?;
        if let Some(listen) = listen {
            settings.listen = address(listen)?;
        }
        let served = match config.serve.served {
            ServedConfig::Process => Served::Process,
            ServedConfig::Shared => Served::Shared,
        };
        let metrics = Some(&*self.0.metrics).filter(|_| config.recording.self_metrics);
        let started = Server::start(settings, self.site(served), metrics)?;
        let address = started.address();
        // There is none: whoever starts or stops one has the turn.
        *serving.server.lock() = Some(started);
        Ok(address)
    }

    /// Where it serves, and what it did there; `None`: it does not.
    #[must_use]
    pub fn serving(&self) -> Option<(SocketAddr, Counts)> {
        let server = self.0.serving.server.lock();
        let server = server.as_ref().filter(|server| server.is_own())?;
        Some((server.address(), server.counts()))
    }

    /// Stops serving: what was asked is answered, for as long as `within` allows. Without a server it
    /// does nothing.
    ///
    /// # Errors
    /// Timeout when `within` was over before; connections are closed then, and a thread that still
    /// writes metrics ends when the exporter returns.
    pub fn stop_serving(&self, within: Duration) -> Result<(), Error> {
        let _turn = self.0.serving.turn.lock();
        let server = self.0.serving.take();
        match server.map(|server| server.stop(within)) {
            Some(Stopped::Late) => {
                let message = "answers were still being written when the time to stop was over";
                Err(Error::new(ErrorKind::Timeout, message))
            }
            _ => Ok(()),
        }
    }
}
