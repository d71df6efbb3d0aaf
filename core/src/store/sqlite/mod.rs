//! A SQLite file: shared by the processes of one host.
//!
//! Every step is one transaction. A connection lives as long as one step, and a fork waits for the end
//! of steps ([`steps`]): a forked child opens its own. Leases count in CLOCK_BOOTTIME, which no clock adjustment moves; after
//! a reboot all have ended, because no process survived it. File locks do not work over networks, so
//! files there are refused.

mod age;
mod lease;
mod open;
mod steps;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, params};
use steps::{Refusal, Step, Waiting};

use super::{
    Answer, Batch, Deadline, Epoch, Fold, Identity, Lease, Listed, Pairs, Prune, Roll, Standing,
    State, Store, Swap, Tombstone, Totals, Wanted,
};
use crate::model::{Clock, Error, ErrorKind, SystemClock, platform::uptime_ms};

/// A store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    deadline: Deadline,
    clock: Arc<dyn Clock>,
}

/// How the shard stood when a transaction began.
struct Meta {
    epoch: Option<Epoch>,
    generation: u64,
    forgotten: u64,
}

impl SqliteStore {
    /// The store in this file, which is made if there is none; its folder must exist.
    ///
    /// `deadline` is how long one step waits for other processes.
    ///
    /// # Errors
    /// Unsupported on a network file system, Io naming the path, Damaged for a file that is no
    /// store of this version.
    pub fn open(path: &Path, deadline: impl Into<Deadline>) -> Result<Self, Error> {
        let (path, deadline) = (path.to_owned(), deadline.into());
        open::check_place(&path)?;
        let mut store = Self { path, deadline, clock: Arc::new(SystemClock::default()) };
        store.probe()?;
        Ok(store)
    }

    /// Does one transaction that writes.
    fn step<R>(
        &self,
        what: &str,
        act: impl Fn(&Transaction<'_>) -> Result<R, rusqlite::Error>,
    ) -> Result<R, Error> {
        self.transact(what, TransactionBehavior::Immediate, |transaction| {
            let result = act(transaction)?;
            age::note(transaction)?;
            Ok(result)
        })
    }

    /// Does one transaction that reads, beside one that is about to write.
    fn look<R>(
        &self,
        what: &str,
        act: impl Fn(&Transaction<'_>) -> Result<R, rusqlite::Error>,
    ) -> Result<R, Error> {
        self.transact(what, TransactionBehavior::Deferred, act)
    }

    /// Does one transaction, beginning anew after each fork that came while it waited.
    fn transact<R>(
        &self,
        what: &str,
        behavior: TransactionBehavior,
        act: impl Fn(&Transaction<'_>) -> Result<R, rusqlite::Error>,
    ) -> Result<R, Error> {
        let until = self.deadline.of_step();
        let result = loop {
            let waiting = Waiting::until(until);
            let step = Step::begin().map_err(|refusal| self.refused(what, refusal))?;
            let result = self.transact_once(&waiting, behavior, &act);
            drop(step);
            // Then nothing was committed.
            let is_busy = matches!(&result, Err(error) if is_busy(error));
            if !(is_busy && waiting.gave_way()) {
                break result;
            }
        };
        let (result, closed) = result.map_err(|error| self.failed(what, &error))?;
        if let Err(error) = closed {
            tracing::warn!(path = %self.path.display(), "closing the store: {error}");
        }
        Ok(result)
    }

    /// Does one transaction on a connection of its own; with what closing that gave. Logs nothing: a
    /// fork waits.
    fn transact_once<R>(
        &self,
        waiting: &Waiting,
        behavior: TransactionBehavior,
        act: impl Fn(&Transaction<'_>) -> Result<R, rusqlite::Error>,
    ) -> Result<(R, Result<(), rusqlite::Error>), rusqlite::Error> {
        let mut connection = open::connect(&self.path, waiting)?;
        open::prepare(&mut connection, self.wall_ms())?;
        let transaction = connection.transaction_with_behavior(behavior)?;
        let result = act(&transaction)?;
        transaction.commit()?;
        Ok((result, connection.close().map_err(|(_, error)| error)))
    }

    fn refused(&self, what: &str, refusal: Refusal) -> Error {
        let reason = match refusal {
            Refusal::Torn => {
                "this process was forked while another thread used SQLite, and the fork waited for \
                 that in vain: SQLite's own locks are not usable here; fork again, or while nothing \
                 syncs (docs/FORK.md)"
            }
            Refusal::Untold => "too many want to know of forks",
        };
        let message = format!("SQLite store `{}`: {what}: {reason}", self.path.display());
        Error::new(ErrorKind::Unsupported, message).with_field("path")
    }

    fn failed(&self, what: &str, error: &rusqlite::Error) -> Error {
        use rusqlite::ErrorCode as Code;
        let kind = match error.sqlite_error_code() {
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => ErrorKind::Timeout,
            Some(Code::DatabaseCorrupt | Code::NotADatabase) => ErrorKind::Damaged,
            Some(_) => ErrorKind::Io,
            None => ErrorKind::Damaged,
        };
        let message = format!("SQLite store `{}`: {what}: {error}", self.path.display());
        Error::new(kind, message).with_field("path")
    }

    fn wall_ms(&self) -> u64 {
        self.clock.unix_ns() / 1_000_000
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

/// When a lease ends that is given now: inside a step, which may have waited for others.
fn until(lease: Lease) -> i64 {
    uptime_ms().saturating_add_unsigned(lease.alive.as_millis() as u64)
}

fn id_bytes(id: Identity) -> [u8; 16] {
    id.0.to_be_bytes()
}

fn meta(transaction: &Transaction<'_>) -> Result<Meta, rusqlite::Error> {
    let mut statement = transaction.prepare("SELECT epoch, generation, forgotten FROM shard")?;
    statement.query_row([], |row| {
        let epoch: Option<i64> = row.get(0)?;
        Ok(Meta {
            epoch: epoch.map(|bits| Epoch(bits.cast_unsigned())),
            generation: row.get::<_, i64>(1)?.cast_unsigned(),
            forgotten: row.get::<_, i64>(2)?.cast_unsigned(),
        })
    })
}

/// The meta row, with an epoch.
fn meta_or_begin(
    transaction: &Transaction<'_>,
    fresh: Epoch,
) -> Result<(Meta, Epoch), rusqlite::Error> {
    let mut meta = meta(transaction)?;
    let epoch = match meta.epoch {
        Some(epoch) => epoch,
        None => {
            transaction.execute("UPDATE shard SET epoch = ?1", [fresh.0.cast_signed()])?;
            fresh
        }
    };
    meta.epoch = Some(epoch);
    Ok((meta, epoch))
}

fn answer(
    transaction: &Transaction<'_>,
    (meta, epoch): &(Meta, Epoch),
    id: Identity,
) -> Result<Answer, rusqlite::Error> {
    let version = |sql: &str| {
        let mut statement = transaction.prepare(sql)?;
        let found = statement.query_row([id_bytes(id)], |row| row.get::<_, i64>(0)).optional()?;
        Ok::<_, rusqlite::Error>(found.map(i64::cast_unsigned))
    };
    let standing = match version("SELECT version FROM instance WHERE id = ?1")? {
        Some(version) => Standing::Live(version),
        None => match version("SELECT version FROM tombstone WHERE id = ?1")? {
            Some(version) => Standing::Retired(version),
            None => Standing::Unknown,
        },
    };
    let (generation, forgotten) = (meta.generation, meta.forgotten);
    Ok(Answer { epoch: *epoch, generation, forgotten, standing })
}

fn apply(
    transaction: &Transaction<'_>,
    id: Identity,
    batch: &Batch,
) -> Result<(), rusqlite::Error> {
    let id = id_bytes(id);
    let mut step =
        transaction.prepare("UPDATE instance SET version = ?2 WHERE id = ?1 AND version = ?3")?;
    let stands = step.execute(params![id, batch.to.cast_signed(), batch.from.cast_signed()])? == 1;
    if !stands {
        return Ok(());
    }
    let mut text = transaction.prepare(
        "INSERT INTO series (id, number, text) VALUES (?1, ?2, ?3)
         ON CONFLICT (id, number) DO UPDATE SET text = excluded.text",
    )?;
    for (number, bytes) in &batch.texts {
        text.execute(params![id, number, bytes])?;
    }
    let mut value =
        transaction.prepare("UPDATE series SET value = ?3 WHERE id = ?1 AND number = ?2")?;
    for (number, bytes) in &batch.values {
        value.execute(params![id, number, bytes])?;
    }
    let mut gone = transaction.prepare("DELETE FROM series WHERE id = ?1 AND number = ?2")?;
    for number in &batch.gone {
        gone.execute(params![id, number])?;
    }
    Ok(())
}

impl Store for SqliteStore {
    fn end_by(&mut self, end: Option<Instant>) {
        self.deadline = self.deadline.by(end);
    }

    fn probe(&mut self) -> Result<(), Error> {
        self.step("write to it", |transaction| {
            transaction.execute("UPDATE shard SET forgotten = forgotten", []).map(drop)
        })
    }

    fn register(
        &mut self,
        id: Identity,
        name: &str,
        fresh: Epoch,
        lease: Lease,
    ) -> Result<Answer, Error> {
        self.step("register", |transaction| {
            let until = until(lease);
            let meta = meta_or_begin(transaction, fresh)?;
            let now = answer(transaction, &meta, id)?;
            if now.standing != Standing::Unknown {
                return Ok(now);
            }
            transaction.execute(
                "INSERT INTO instance (id, version, lease_ms, name) VALUES (?1, 0, ?2, ?3)",
                params![id_bytes(id), until, name],
            )?;
            Ok(Answer { standing: Standing::Live(0), ..now })
        })
    }

    fn publish(
        &mut self,
        id: Identity,
        (epoch, fresh): (Epoch, Epoch),
        lease: Lease,
        batches: &[Batch],
    ) -> Result<Answer, Error> {
        self.step("publish", |transaction| {
            let until = until(lease);
            let meta = meta_or_begin(transaction, fresh)?;
            if meta.1 == epoch {
                let mut renew =
                    transaction.prepare("UPDATE instance SET lease_ms = ?2 WHERE id = ?1")?;
                if renew.execute(params![id_bytes(id), until])? == 1 {
                    batches.iter().try_for_each(|batch| apply(transaction, id, batch))?;
                }
            }
            answer(transaction, &meta, id)
        })
    }

    fn roll(&mut self, _: u32) -> Result<Roll, Error> {
        self.look("list the instances", |transaction| {
            let meta = meta(transaction)?;
            let now = uptime_ms();
            let mut statement = transaction.prepare("SELECT id, lease_ms FROM instance")?;
            let rows = statement.query_map([], |row| {
                let id = Identity(u128::from_be_bytes(row.get(0)?));
                Ok(Listed { id, expired: row.get::<_, i64>(1)? <= now })
            })?;
            let instances = rows.collect::<Result<_, _>>()?;
            Ok(Roll { epoch: meta.epoch, generation: meta.generation, instances, lost: 0 })
        })
    }

    fn states(&mut self, _: u32, ids: &[Identity]) -> Result<Vec<Option<State>>, Error> {
        self.look("read the instances", |transaction| {
            ids.iter().map(|id| state(transaction, *id)).collect()
        })
    }

    fn totals(&mut self, _: u32, wanted: Wanted<'_>) -> Result<Totals, Error> {
        self.look("read the totals", |transaction| {
            let now_ms = age::now_ms(transaction)?;
            let Meta { epoch, generation, forgotten } = meta(transaction)?;
            let mut totals = Totals {
                epoch,
                generation,
                forgotten,
                now_ms,
                tombstones: Vec::new(),
                series: Vec::new(),
            };
            match wanted {
                Wanted::Keys(keys) => {
                    let mut one = transaction.prepare("SELECT value FROM total WHERE key = ?1")?;
                    for key in keys {
                        let found = one.query_row([key], |row| row.get(0)).optional()?;
                        totals.series.extend(found.map(|value| (key.clone(), value)));
                    }
                }
                Wanted::All => {
                    let mut all = transaction.prepare("SELECT key, value FROM total")?;
                    let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
                    totals.series = rows.collect::<Result<_, _>>()?;
                    let mut all = transaction
                        .prepare("SELECT id, version, generation, at_ms FROM tombstone")?;
                    let rows = all.query_map([], |row| {
                        Ok(Tombstone {
                            id: Identity(u128::from_be_bytes(row.get(0)?)),
                            version: row.get::<_, i64>(1)?.cast_unsigned(),
                            generation: row.get::<_, i64>(2)?.cast_unsigned(),
                            at_ms: row.get::<_, i64>(3)?.cast_unsigned(),
                        })
                    })?;
                    totals.tombstones = rows.collect::<Result<_, _>>()?;
                }
            }
            Ok(totals)
        })
    }

    fn fold(&mut self, fold: &Fold) -> Result<Swap, Error> {
        self.step("fold", |transaction| {
            let (now, now_ms) = (uptime_ms(), age::now_ms(transaction)?);
            if !stands(transaction, fold.epoch, fold.generation)? {
                return Ok(Swap::Conflict);
            }
            let id = id_bytes(fold.id);
            let gone = transaction.execute(
                "DELETE FROM instance WHERE id = ?1 AND version = ?2 AND lease_ms <= ?3",
                params![id, fold.version.cast_signed(), now],
            )?;
            if gone != 1 {
                return Ok(Swap::Conflict);
            }
            transaction.execute("DELETE FROM series WHERE id = ?1", [id])?;
            let mut set =
                transaction.prepare("INSERT OR REPLACE INTO total (key, value) VALUES (?1, ?2)")?;
            for (key, value) in &fold.series {
                set.execute(params![key, value])?;
            }
            let generation = (fold.generation + 1).cast_signed();
            transaction.execute(
                "INSERT INTO tombstone (id, version, generation, at_ms) VALUES (?1, ?2, ?3, ?4)",
                params![id, fold.version.cast_signed(), generation, now_ms.cast_signed()],
            )?;
            transaction.execute("UPDATE shard SET generation = ?1", [generation])?;
            Ok(Swap::Done)
        })
    }

    fn prune(&mut self, prune: &Prune) -> Result<Swap, Error> {
        self.step("drop what is old", |transaction| {
            if !stands(transaction, prune.epoch, prune.generation)? {
                return Ok(Swap::Conflict);
            }
            let mut drop = transaction.prepare("DELETE FROM total WHERE key = ?1")?;
            for key in &prune.series {
                drop.execute([key])?;
            }
            let mut forgotten = 0;
            let mut drop = transaction.prepare("DELETE FROM tombstone WHERE id = ?1")?;
            for tombstone in &prune.tombstones {
                drop.execute([id_bytes(tombstone.id)])?;
                forgotten = forgotten.max(tombstone.generation.cast_signed());
            }
            transaction.execute(
                "UPDATE shard SET generation = generation + 1, forgotten = max(forgotten, ?1)",
                [forgotten],
            )?;
            Ok(Swap::Done)
        })
    }
}

/// Whether the totals stand as they were read.
fn stands(
    transaction: &Transaction<'_>,
    epoch: Epoch,
    generation: u64,
) -> Result<bool, rusqlite::Error> {
    let meta = meta(transaction)?;
    Ok(meta.epoch == Some(epoch) && meta.generation == generation)
}

fn state(transaction: &Transaction<'_>, id: Identity) -> Result<Option<State>, rusqlite::Error> {
    let mut one = transaction.prepare("SELECT version, name FROM instance WHERE id = ?1")?;
    let found = one.query_row([id_bytes(id)], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?)));
    let Some((version, name)) = found.optional()? else { return Ok(None) };
    let mut all = transaction
        .prepare("SELECT text, value FROM series WHERE id = ?1 AND value IS NOT NULL")?;
    let (mut rows, mut series) = (all.query([id_bytes(id)])?, Pairs::default());
    while let Some(row) = rows.next()? {
        series.push(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
    }
    Ok(Some(State { version: version.cast_unsigned(), name, series }))
}
