//! Redis, Valkey and Redis Cluster.
//!
//! K shards, fixed when the store is created: each has its instances, its tombstones and its own
//! retired total under one tag, so a step touches one slot. What a shard's life hangs on (epoch,
//! list of instances, totals, tombstones) is one key, and so is each instance's record: an eviction takes a whole one.

mod cluster;
mod lease;
mod node;
mod reply;
mod scripts;
mod value;

use std::{
    collections::HashMap,
    fmt,
    time::{Duration, Instant},
};

use redis::{Cmd, Value};

use self::{
    cluster::Nodes,
    reply::{Hash, Reply},
    scripts::Step,
    value::{Fields, field, number, pairs, refused, text_of, words},
};
use super::{
    Answer, Batch, Deadline, Epoch, Fold, Identity, Lease, Listed, Prune, Roll, State, Store, Swap,
    Totals, Wanted, socket::Repeat,
};
use crate::model::{Error, ErrorKind};

/// Shards of a store that is created, unless the configuration says otherwise.
pub const DEFAULT_SHARDS: u32 = 8;
/// Most shards.
pub const MAX_SHARDS: u32 = 1024;
/// Records that are read in one exchange.
const RECORDS: usize = 32;

/// A store in Redis.
pub struct RedisStore {
    nodes: Nodes,
    namespace: String,
    shards: u32,
    /// Records in another shard than theirs, since the number of shards changed: where they are.
    strays: HashMap<Identity, u32>,
    deadline: Deadline,
}

// What logs in is a password.
impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("nodes", &self.nodes)
            .field("namespace", &self.namespace)
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}

/// Where and how a Redis store is.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://[user:password@]host[:port][/db]`, or `redis+unix:///path`.
    pub url: String,
    /// Stores of different names share a server without seeing each other.
    pub namespace: String,
    /// Shards, if the store has to be created.
    pub shards: u32,
    /// How long one step may take, all in all.
    pub deadline: Deadline,
}

// The URL may have a password.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("url", &"[FILTERED]")
            .field("namespace", &self.namespace)
            .field("shards", &self.shards)
            .field("deadline", &self.deadline)
            .finish()
    }
}

impl RedisStore {
    /// Connects, tries with a real write what the protocol needs, and finds or fixes the shards.
    ///
    /// # Errors
    /// InvalidArgument for a URL or namespace that is none, Unsupported for TLS, Io or Timeout
    /// naming the server, what the server refuses to the probe.
    pub fn connect(settings: &RedisSettings) -> Result<Self, Error> {
        let RedisSettings { url, namespace, shards, deadline } = settings;
        super::check_namespace(namespace)?;
        if !(1..=MAX_SHARDS).contains(shards) {
            let message = format!("{shards} shards; a store has 1 to {MAX_SHARDS}");
            return Err(Error::invalid("shards", message));
        }
        let (address, login) = value::read_url(url)?;
        let mut store = Self {
            nodes: Nodes::new(address, login),
            namespace: namespace.clone(),
            shards: *shards,
            strays: HashMap::new(),
            deadline: *deadline,
        };
        store.shards = store.fixed_shards()?;
        if store.shards != *shards {
            tracing::info!(
                namespace,
                shards = store.shards,
                "the store was created with these shards"
            );
        }
        store.probe()?;
        store.look_around();
        Ok(store)
    }

    /// Tries all that the protocol does to a shard, with keys of its own.
    ///
    /// # Errors
    /// What the server refuses, such as NOPERM, OOM, READONLY, NOREPLICAS.
    fn probe_shard(&mut self, shard: u32) -> Result<(), Error> {
        let tag = self.tag(shard);
        let keys = [format!("{tag}probe:total"), format!("{tag}probe:i")];
        let reply = self.run(shard, Step::Probe, &keys, vec![vec![b"probe".to_vec()]])?;
        match reply.first().map(text_of) {
            Some(Some("0")) => Ok(()),
            _ => Err(Error::new(
                ErrorKind::Unsupported,
                "Redis store: a probe read back something else than it wrote",
            )
            .with_field("store")),
        }
    }

    fn tag(&self, shard: u32) -> String {
        format!("{{tallyport:{}:{shard}}}:", self.namespace)
    }

    /// Keys of a shard's total and of a record.
    fn keys(&self, shard: u32, id: Option<Identity>) -> [String; 2] {
        let tag = self.tag(shard);
        let record = id.map_or_else(|| format!("{tag}i:"), |id| format!("{tag}i:{id}"));
        [format!("{tag}total"), record]
    }

    /// The number of shards that the store has: the first to come says.
    fn fixed_shards(&mut self) -> Result<u32, Error> {
        let key = self.shards_key();
        let mut set = redis::cmd("SET");
        set.arg(&key).arg(self.shards).arg("NX");
        let mut read = redis::cmd("GET");
        read.arg(&key);
        let replies = self.commands(u32::MAX, &[set, read], Repeat::Safe)?;
        self.shards_of(replies.get(1))
    }

    fn shards_key(&self) -> String {
        format!("{{tallyport:{}}}:shards", self.namespace)
    }

    fn shards_of(&self, reply: Option<&Value>) -> Result<u32, Error> {
        let shards = reply.and_then(number).and_then(|n| u32::try_from(n).ok());
        shards.filter(|shards| (1..=MAX_SHARDS).contains(shards)).ok_or_else(|| {
            let key = self.shards_key();
            let message =
                format!("Redis store: `{key}` is no number of shards; is it someone else's?");
            Error::new(ErrorKind::Conflict, message)
        })
    }

    /// Asks whether the server evicts, and which nodes its cluster has. It may refuse both.
    fn look_around(&mut self) {
        let (mut info, mut slots) = (redis::cmd("INFO"), redis::cmd("CLUSTER"));
        info.arg("memory");
        slots.arg("SLOTS");
        let Ok(replies) = self.commands(u32::MAX, &[info, slots], Repeat::Safe) else { return };
        self.nodes.meet(&value::members(replies.get(1)));
        let text = replies.first().and_then(text_of).unwrap_or_default().to_owned();
        let value = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap_or("")
        };
        let (most, policy) = (value("maxmemory"), value("maxmemory_policy"));
        if policy != "noeviction" && most != "0" {
            tracing::warn!(
                policy,
                "the Redis store evicts keys when memory is short: totals of ended instances can be \
                 lost; set maxmemory-policy to noeviction"
            );
        }
    }

    fn commands<R: Reply>(
        &mut self,
        shard: u32,
        commands: &[Cmd],
        repeat: Repeat,
    ) -> Result<Vec<R>, Error> {
        self.nodes.commands(shard, commands, repeat, self.deadline.of_step())
    }

    /// Runs a script once for each list of arguments, in one exchange.
    fn run(
        &mut self,
        shard: u32,
        step: Step,
        keys: &[String],
        arguments: Vec<Vec<Vec<u8>>>,
    ) -> Result<Vec<Value>, Error> {
        let source = step.source();
        let hash = value::sha1(&source);
        let call = |arguments: &Vec<Vec<u8>>| {
            let bytes = arguments.iter().map(Vec::len).sum::<usize>() + 256;
            let mut cmd = Cmd::with_capacity(arguments.len() + 6, bytes);
            cmd.arg("EVALSHA").arg(&hash).arg(keys.len());
            for word in keys.iter().map(String::as_bytes).chain(arguments.iter().map(Vec::as_slice))
            {
                cmd.arg(word);
            }
            cmd
        };
        let calls: Vec<Cmd> = arguments.iter().map(call).collect();
        let mut replies = self.commands(shard, &calls, step.repeat())?;
        if replies.iter().any(value::is_unknown_script) {
            let mut load = redis::cmd("SCRIPT");
            load.arg("LOAD").arg(&source);
            // To the node of this shard: the reply of any key's command says which that is.
            let mut type_of = redis::cmd("EXISTS");
            type_of.arg(keys.first());
            let loaded = self.commands(shard, &[type_of, load], Repeat::Safe)?;
            if let Some(error) = loaded.iter().find_map(refused) {
                return Err(error);
            }
            // Those that ran stand where they led to, and do nothing again.
            replies = self.commands(shard, &calls, step.repeat())?;
        }
        match replies.iter().find_map(refused) {
            Some(error) => Err(error),
            None => Ok(replies),
        }
    }

    fn swapped(replies: &[Value]) -> Result<Swap, Error> {
        match replies.first().and_then(number) {
            Some(1) => Ok(Swap::Done),
            Some(0) => Ok(Swap::Conflict),
            _ => Err(value::damaged("the answer of a swap")),
        }
    }
}

/// Bytes of an integer, as scripts take it.
fn word(number: u64) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn ms(duration: Duration) -> Vec<u8> {
    word(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).min(1 << 50))
}

impl Store for RedisStore {
    fn shards(&self) -> u32 {
        self.shards
    }

    fn recount(&mut self) -> Result<u32, Error> {
        let mut read = redis::cmd("GET");
        read.arg(self.shards_key());
        let reply = self.checked(u32::MAX, &[read])?.pop();
        // Where it is not there, whoever lists instances first says.
        let shards = match reply {
            Some(Value::Nil) => self.shards,
            reply => self.shards_of(reply.as_ref())?,
        };
        if shards != self.shards {
            tracing::warn!(
                namespace = self.namespace,
                before = self.shards,
                now = shards,
                "the store was created anew with another number of shards: this instance follows"
            );
            self.shards = shards;
        }
        Ok(shards)
    }

    fn end_by(&mut self, end: Option<Instant>) {
        self.deadline = self.deadline.by(end);
    }

    fn probe(&mut self) -> Result<(), Error> {
        (0..self.shards).try_for_each(|shard| self.probe_shard(shard))
    }

    fn register(
        &mut self,
        id: Identity,
        name: &str,
        fresh: Epoch,
        lease: Lease,
    ) -> Result<Answer, Error> {
        let shard = id.shard(self.shards);
        let arguments = vec![
            id.to_string().into_bytes(),
            word(fresh.0),
            ms(lease.alive),
            ms(lease.data),
            name.as_bytes().to_vec(),
        ];
        let keys = self.keys(shard, Some(id));
        let replies = self.run(shard, Step::Register, &keys, vec![arguments])?;
        value::answer(&replies)
    }

    fn publish(
        &mut self,
        id: Identity,
        (epoch, fresh): (Epoch, Epoch),
        lease: Lease,
        batches: &[Batch],
    ) -> Result<Answer, Error> {
        let shard = id.shard(self.shards);
        let renewal = [Batch::default()];
        let batches = if batches.is_empty() { &renewal } else { batches };
        let arguments = |batch: &Batch| {
            let count = 2 * (batch.texts.len() + batch.values.len());
            let mut words = Vec::with_capacity(8 + count + batch.gone.len());
            words.push(id.to_string().into_bytes());
            words.extend([word(fresh.0), ms(lease.alive), ms(lease.data)]);
            words.extend([word(epoch.0), word(batch.from), word(batch.to), word(count as u64)]);
            for (kind, fields) in [(b't', &batch.texts), (b'c', &batch.values)] {
                for (number, bytes) in fields {
                    words.extend([field(kind, *number), bytes.clone()]);
                }
            }
            for number in &batch.gone {
                words.extend([field(b't', *number), field(b'c', *number)]);
            }
            words
        };
        let keys = self.keys(shard, Some(id));
        let arguments = batches.iter().map(arguments).collect();
        let replies = self.run(shard, Step::Publish, &keys, arguments)?;
        value::answer(&replies)
    }

    fn roll(&mut self, shard: u32) -> Result<Roll, Error> {
        if self.fixed_shards()? != self.shards {
            let message = format!(
                "Redis store: namespace `{}` was created anew with another number of shards a moment ago: \
                 the next sync or aggregate follows",
                self.namespace
            );
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let [total, _] = self.keys(shard, None);
        let mut marks = redis::cmd("HMGET");
        marks.arg(&total).arg("e").arg("g").arg("i");
        let replies = self.checked(shard, &[redis::cmd("TIME"), marks])?;
        let now_ms = value::time_ms(replies.first())?;
        // What is no list is not an empty one: instances would be missing from totals.
        let Some(&[epoch, generation, list]) = replies.get(1).and_then(words).as_deref() else {
            return Err(value::damaged("the marks of a shard"));
        };
        let known: Option<Vec<Identity>> =
            list.split_terminator(' ').map(Identity::parse).collect();
        let known = known.ok_or_else(|| value::damaged("the list of instances"))?;
        self.strays.retain(|_, at| *at != shard);
        let stray = |id: &&Identity| id.shard(self.shards) != shard;
        let strays: Vec<_> = known.iter().filter(stray).map(|id| (*id, shard)).collect();
        self.strays.extend(strays);
        let lease = |id: &Identity| {
            let mut cmd = redis::cmd("HGET");
            cmd.arg(&self.keys(shard, Some(*id))[1]).arg("l");
            cmd
        };
        let commands: Vec<Cmd> = known.iter().map(lease).collect();
        let (mut instances, mut lost) = (Vec::with_capacity(known.len()), 0);
        if !commands.is_empty() {
            let leases = self.checked(shard, &commands)?;
            for (id, lease) in known.iter().zip(&leases) {
                match (number(lease), lease) {
                    (Some(until), _) => {
                        instances.push(Listed { id: *id, expired: until <= now_ms })
                    }
                    (None, Value::Nil) => {
                        // Its record was evicted or outlived its data.
                        let keys = self.keys(shard, Some(*id));
                        let id = vec![id.to_string().into_bytes()];
                        let swept = self.run(shard, Step::Sweep, &keys, vec![id])?;
                        lost += swept.first().and_then(number).unwrap_or(0);
                    }
                    (None, _) => return Err(value::damaged("the lease of a record")),
                }
            }
        }
        let mark = |text: &str| text.parse::<u64>().ok();
        let generation = mark(generation).unwrap_or(0);
        Ok(Roll { epoch: mark(epoch).map(Epoch), generation, instances, lost })
    }

    fn states(&mut self, shard: u32, ids: &[Identity]) -> Result<Vec<Option<State>>, Error> {
        let mut states = Vec::with_capacity(ids.len());
        for ids in ids.chunks(RECORDS) {
            let read = |id: &Identity| {
                let mut cmd = redis::cmd("HGETALL");
                cmd.arg(&self.keys(shard, Some(*id))[1]);
                cmd
            };
            let commands: Vec<Cmd> = ids.iter().map(read).collect();
            for reply in self.checked::<Hash>(shard, &commands)? {
                states.push(value::state(reply)?);
            }
        }
        Ok(states)
    }

    fn totals(&mut self, shard: u32, wanted: Wanted<'_>) -> Result<Totals, Error> {
        let [total, ..] = self.keys(shard, None);
        let mut read = match wanted {
            Wanted::All => redis::cmd("HGETALL"),
            Wanted::Keys(_) => redis::cmd("HMGET"),
        };
        read.arg(&total);
        if let Wanted::Keys(keys) = wanted {
            read.arg("e").arg("g").arg("d");
            for key in keys {
                read.arg([b"s", key.as_slice()].concat());
            }
        }
        let mut replies = self.checked(shard, &[redis::cmd("TIME"), read])?.into_iter();
        let now_ms = value::time_ms(replies.next().as_ref())?;
        let reply = replies.next().unwrap_or(Value::Nil);
        let fields: Fields = match wanted {
            Wanted::All => pairs(reply)?,
            Wanted::Keys(keys) => {
                let names = [b"e".to_vec(), b"g".to_vec(), b"d".to_vec()].into_iter();
                let names = names.chain(keys.iter().map(|key| [b"s", key.as_slice()].concat()));
                let values = match reply {
                    Value::Array(values) if values.len() == keys.len() + 3 => values,
                    _ => return Err(value::damaged("the totals")),
                };
                let known = |(name, value)| match value {
                    Value::BulkString(bytes) => Some((name, bytes)),
                    _ => None,
                };
                names.zip(values).filter_map(known).collect()
            }
        };
        value::totals(fields, now_ms)
    }

    fn fold(&mut self, fold: &Fold) -> Result<Swap, Error> {
        let stray = self.strays.get(&fold.id).copied();
        let shard = stray.unwrap_or_else(|| fold.id.shard(self.shards));
        let mut words = vec![
            fold.id.to_string().into_bytes(),
            word(fold.epoch.0),
            word(fold.generation),
            word(fold.version),
        ];
        for (key, bytes) in &fold.series {
            words.extend([[b"s", key.as_slice()].concat(), bytes.clone()]);
        }
        let keys = self.keys(shard, Some(fold.id));
        Self::swapped(&self.run(shard, Step::Fold, &keys, vec![words])?)
    }

    fn prune(&mut self, prune: &Prune) -> Result<Swap, Error> {
        let newest = prune.tombstones.iter().map(|tombstone| tombstone.generation).max();
        let mut words = vec![
            Vec::new(),
            word(prune.epoch.0),
            word(prune.generation),
            word(newest.unwrap_or(0)),
        ];
        words.extend(prune.series.iter().map(|key| [b"s", key.as_slice()].concat()));
        words.extend(
            prune.tombstones.iter().map(|tombstone| format!("x{}", tombstone.id).into_bytes()),
        );
        let keys = self.keys(prune.shard, None);
        Self::swapped(&self.run(prune.shard, Step::Prune, &keys, vec![words])?)
    }
}

impl RedisStore {
    /// Commands that read, none of whose replies is an error.
    fn checked<R: Reply>(&mut self, shard: u32, commands: &[Cmd]) -> Result<Vec<R>, Error> {
        let replies: Vec<R> = self.commands(shard, commands, Repeat::Safe)?;
        match replies.iter().filter_map(R::value).find_map(refused) {
            Some(error) => Err(error),
            None => Ok(replies),
        }
    }
}
