//! Exporters in helper processes, as the rest of the engine sees them: a [`Source`] that says what
//! a file has, and a [`Backend`] per instance.
//!
//! An instance starts its helper when it is made, and again, by itself, at the next call after the
//! helper ended between calls. What ends during a call is the caller's error; when the next one may
//! start is for the rules of run/, which also make a new instance in a forked child: that leaves the
//! inherited one alone, whose locks may be held and whose descriptors may be somebody else's.

use std::{
    ptr,
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::{Duration, Instant},
};

use tallyport_plugin_api::abi::TALLYPORT_CAP_OUT_OF_PROC;

use super::{
    call::Times,
    client::{Client, Launch, START},
    messages::Description,
};
use crate::{
    model::{Error, ErrorKind, LongMutex, LongMutexGuard, Mutex},
    plugin::{
        exporter::reentered,
        host::Output,
        run::{About, Backend, Blame, Export, Failed, Limits, Source, Syncs, Wanted},
        secrets::Hidden,
    },
};

/// What a helper has for its start, whatever the deadline of calls is.
const LEAST_START: Duration = Duration::from_secs(5);

/// A helper that has loaded the file and serves nobody yet.
type Spare = Arc<Mutex<Option<Client>>>;

/// An exporter of a file: id, JSON Schema of its options, and what makes instances.
type Found = (String, Option<serde_json::Value>, Arc<dyn Source>);

/// A plugin file that was loaded by a helper, and never by this process.
#[derive(Debug)]
pub(crate) struct RemoteFile {
    launch: Arc<Launch>,
    tables: Vec<Description>,
    /// The helper that looked at it serves the first exporter.
    spare: Spare,
}

impl RemoteFile {
    /// Has a helper load a file; `name` is what errors call it.
    ///
    /// # Errors
    /// What loading it here would answer; PluginFailed or Timeout when the helper crashes or hangs
    /// in it; PluginRefused when no helper can be started.
    pub(crate) fn load(launch: Launch, name: &str) -> Result<Self, Error> {
        let (client, tables) =
            Client::start(&launch, name, START).map_err(|failed| failed.error)?;
        let spare = Arc::new(Mutex::new(Some(client)));
        Ok(Self { launch: Arc::new(launch), tables, spare })
    }

    /// Identities of its exporters.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.tables.iter().map(|table| table.id.clone()).collect()
    }

    /// Identities and capabilities of its exporters.
    pub(crate) fn capabilities(&self) -> impl Iterator<Item = (&str, u64)> {
        self.tables.iter().map(|table| (table.id.as_str(), table.caps))
    }

    /// Its exporters that are `wanted`: id, JSON Schema of the options, and what makes instances.
    ///
    /// # Errors
    /// Unsupported for one that does not declare OUT_OF_PROC, PluginAbi for a schema that is not
    /// JSON.
    pub(crate) fn sources(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Found>, Error> {
        let tables = self.tables.iter().filter(|table| wanted(&table.id));
        tables.map(|table| self.source(table)).collect()
    }

    fn source(&self, table: &Description) -> Result<Found, Error> {
        let file = self.launch.job.file.display();
        if table.caps & TALLYPORT_CAP_OUT_OF_PROC == 0 {
            let message = format!(
                "exporter `{}` of plugin file `{file}` does not declare that it runs in another \
                 process (TALLYPORT_CAP_OUT_OF_PROC): leave `isolation` out, or ask its vendor",
                table.id,
            );
            return Err(Error::new(ErrorKind::Unsupported, message).with_field("isolation"));
        }
        let schema = match table.options_schema.as_str() {
            "" => None,
            text => Some(serde_json::from_str(text).map_err(|error| {
                let message =
                    format!("plugin file `{file}`: the options schema of `{}`: {error}", table.id);
                Error::new(ErrorKind::PluginAbi, message)
            })?),
        };
        let source = Arc::new(RemoteSource {
            launch: Arc::clone(&self.launch),
            table: table.clone(),
            spare: Arc::clone(&self.spare),
        });
        Ok((table.id.clone(), schema, source))
    }
}

/// An exporter that runs in helpers.
#[derive(Debug)]
struct RemoteSource {
    launch: Arc<Launch>,
    table: Description,
    spare: Spare,
}

impl Source for RemoteSource {
    fn about(&self) -> About {
        let table = &self.table;
        About {
            id: table.id.clone(),
            version: table.version.clone(),
            vendor: table.vendor.clone(),
            description: table.description.clone(),
            formats: table.formats.clone(),
            origin: self.launch.job.file.display().to_string(),
        }
    }

    fn start(self: Arc<Self>, wanted: &Wanted<'_>) -> Result<Arc<dyn Backend>, Failed> {
        let recipe = Recipe {
            launch: Arc::clone(&self.launch),
            table: self.table.clone(),
            name: wanted.name.to_owned(),
            options: wanted.options.clone(),
            limits: wanted.limits.clone(),
        };
        let spare = self.spare.lock().take();
        let client = recipe.client(spare)?;
        let (pid, client) = (client.pid(), LongMutex::new(Some(client)));
        let (holder, waiting) = Default::default();
        let process = AtomicU32::new(pid);
        Ok(Arc::new(Remote { recipe, client, holder, waiting, process }))
    }

    fn hears_syncs(&self) -> bool {
        self.table.hears_syncs
    }
}

/// What an instance's helpers are made of.
#[derive(Debug)]
struct Recipe {
    launch: Arc<Launch>,
    table: Description,
    name: String,
    options: Hidden,
    limits: Limits,
}

impl Recipe {
    /// A helper with the instance in it.
    fn client(&self, spare: Option<Client>) -> Result<Client, Failed> {
        // A deadline is for calls; one that is shorter than a start would keep it from ever being.
        let time = self.limits.deadline.map_or(START, |deadline| deadline.max(LEAST_START));
        let mut client = match spare.and_then(Client::if_usable) {
            Some(spare) => spare,
            None => {
                let (client, tables) = Client::start(&self.launch, &self.name, time)?;
                if !tables.contains(&self.table) {
                    let message = format!(
                        "plugin `{}`: file `{}` is not the one that was loaded: exporter `{}` is \
                         gone or says something else of itself; reload it",
                        self.name,
                        self.launch.job.file.display(),
                        self.table.id
                    );
                    let error = Error::new(ErrorKind::PluginRefused, message);
                    return Err(Blame::Exporter.of(error));
                }
                client
            }
        };
        client.create(&self.name, &self.table.id, &self.options, time)?;
        Ok(client)
    }
}

/// One instance, in one helper at a time.
#[derive(Debug)]
struct Remote {
    recipe: Recipe,
    /// Locked for a call: one at a time.
    client: LongMutex<Option<Client>>,
    /// Who has the lock: the address of a thread-local, 0 for nobody.
    holder: AtomicUsize,
    waiting: AtomicUsize,
    /// The helper's process; 0: there is none.
    process: AtomicU32,
}

/// This thread, as a number.
fn here() -> usize {
    thread_local!(static HERE: u8 = const { 0 });
    HERE.with(|here| ptr::from_ref(here).addr())
}

struct Turn<'a> {
    remote: &'a Remote,
    client: LongMutexGuard<'a, Option<Client>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.remote.holder.store(0, Release);
    }
}

impl Remote {
    fn times(&self) -> Times {
        let Limits { deadline, grace, .. } = self.recipe.limits;
        Times { deadline: deadline.map(|time| (time, Instant::now() + time)), grace }
    }

    /// Waits for the turn, and sees to it that there is a helper.
    fn turn(&self, times: Times) -> Result<Turn<'_>, Failed> {
        let here = here();
        if self.holder.load(Acquire) == here {
            return Err(Blame::Caller.of(reentered(&self.recipe.name)));
        }
        self.waiting.fetch_add(1, Relaxed);
        let client = match times.deadline {
            Some((_, at)) => self.client.try_lock_until(at),
            None => Some(self.client.lock()),
        };
        self.waiting.fetch_sub(1, Relaxed);
        let Some(client) = client else {
            let name = &self.recipe.name;
            let message = format!("plugin `{name}`: other exports took until the deadline");
            return Err(Blame::Caller.of(Error::new(ErrorKind::Timeout, message)));
        };
        self.begin_turn(client)
    }

    fn begin_turn<'a>(
        &'a self,
        client: LongMutexGuard<'a, Option<Client>>,
    ) -> Result<Turn<'a>, Failed> {
        self.holder.store(here(), Release);
        let mut turn = Turn { remote: self, client };
        if let Some(client) = turn.client.as_mut()
            && !client.is_alive()
        {
            tracing::warn!(
                plugin = self.recipe.name,
                pid = client.pid(),
                "its helper process ended between exports; another one is started"
            );
            self.replace(&mut turn, None);
        }
        if turn.client.is_none() {
            let client = self.recipe.client(None)?;
            self.replace(&mut turn, Some(client));
        }
        Ok(turn)
    }

    /// Makes a call in a helper; one that is lost in it is not called again.
    fn call<R>(
        &self,
        call: impl FnOnce(&mut Client, Times) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        let times = self.times();
        let mut turn = self.turn(times)?;
        self.call_in(&mut turn, times, call)
    }

    fn call_in<R>(
        &self,
        turn: &mut Turn<'_>,
        times: Times,
        call: impl FnOnce(&mut Client, Times) -> Result<R, Failed>,
    ) -> Result<R, Failed> {
        let Some(client) = turn.client.as_mut() else {
            return Err(Blame::Lost.of(Error::new(ErrorKind::Internal, "no helper process")));
        };
        let done = call(client, times);
        if matches!(&done, Err(failed) if matches!(failed.blame, Blame::Lost | Blame::Panic)) {
            self.replace(turn, None);
        }
        done
    }

    fn replace(&self, turn: &mut Turn<'_>, client: Option<Client>) {
        self.process.store(client.as_ref().map_or(0, Client::pid), Relaxed);
        *turn.client = client;
    }
}

impl Backend for Remote {
    fn export(&self, export: &Export<'_>, out: Output<'_>) -> Result<u64, Failed> {
        let budget = self.recipe.limits.max_output_bytes;
        self.call(|client, times| client.export(export, budget, times, out))
    }

    fn flush(&self) -> Result<(), Failed> {
        self.call(Client::flush)
    }

    fn synced(&self, syncs: &Syncs) -> Result<bool, Failed> {
        let Some(client) = self.client.try_lock() else { return Ok(false) };
        let mut turn = self.begin_turn(client)?;
        let tell = |client: &mut Client, times| client.synced(syncs, times);
        self.call_in(&mut turn, self.times(), tell).map(|()| true)
    }

    fn queue_length(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    fn process(&self) -> Option<u32> {
        Some(self.process.load(Relaxed)).filter(|process| *process != 0)
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(client) = self.client.get_mut().take() {
            client.shut_down(self.recipe.limits.drain);
        }
    }
}
