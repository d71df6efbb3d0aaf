//! Leases in a SQLite file. Their ends count in CLOCK_BOOTTIME, as those of instances do; their
//! tokens follow the wall clock, so that another store of the same leases goes on from them.

use std::time::Duration;

use rusqlite::{OptionalExtension, Transaction, params};

use super::{SqliteStore, uptime_ms};
use crate::{
    model::Error,
    store::{
        Claim, FencingToken, Held, LeaseStanding, Leases, Locking, Wish,
        lease::{next_token, term_ms},
    },
};

/// Owner, end, token and holder.
type Row = (Option<Vec<u8>>, i64, u64, String);

fn row(transaction: &Transaction<'_>, lease: &str) -> Result<Option<Row>, rusqlite::Error> {
    let mut one =
        transaction.prepare("SELECT owner, until_ms, token, holder FROM lease WHERE name = ?1")?;
    let read = one.query_row([lease], |row| {
        let token = row.get::<_, i64>(2)?.cast_unsigned();
        Ok((row.get(0)?, row.get(1)?, token, row.get(3)?))
    });
    read.optional()
}

fn until(now: i64, term: Duration) -> i64 {
    now.saturating_add_unsigned(term_ms(term))
}

fn left(end: i64, now: i64) -> Option<Duration> {
    let left = u64::try_from(end.saturating_sub(now)).ok()?;
    (left > 0).then(|| Duration::from_millis(left))
}

impl SqliteStore {
    /// Changes a lease that is still held so; false when it is not.
    ///
    /// `term` is its new one; `None`: it ends.
    fn held_step(
        &self,
        what: &str,
        set: &str,
        held: &Held<'_>,
        term: Option<Duration>,
    ) -> Result<bool, Error> {
        self.step(what, |transaction| {
            let (owner, now) = (held.owner.0.to_be_bytes(), uptime_ms());
            let end = term.map_or(0, |term| until(now, term));
            let changed = transaction.execute(
                &format!(
                    "UPDATE lease SET {set} WHERE name = ?1 AND owner = ?2 AND token = ?3
                     AND until_ms > ?4"
                ),
                params![held.lease, owner, held.token.0.cast_signed(), now, end],
            )?;
            Ok(changed == 1)
        })
    }
}

impl Leases for SqliteStore {
    fn locking(&self) -> Locking {
        Locking::Fenced
    }

    fn acquire(&mut self, wish: &Wish<'_>) -> Result<Claim, Error> {
        let unix_ms = self.wall_ms();
        self.step("take a lease", |transaction| {
            // The time inside: the step may have waited for others.
            let now = uptime_ms();
            let known = row(transaction, wish.lease)?;
            let owner = wish.owner.0.to_be_bytes();
            let mut token =
                next_token(known.as_ref().map_or(0, |(_, _, token, _)| *token), unix_ms);
            if let Some((Some(current), end, stored, holder)) = known
                && let Some(left) = left(end, now)
            {
                if current != owner {
                    return Ok(Claim::Taken { holder, left });
                }
                token = stored;
            }
            transaction.execute(
                "INSERT INTO lease (name, owner, until_ms, token, holder)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (name) DO UPDATE SET owner = ?2, until_ms = ?3, token = ?4, holder = ?5",
                params![wish.lease, owner, until(now, wish.term), token.cast_signed(), wish.holder],
            )?;
            Ok(Claim::Granted(FencingToken(token)))
        })
    }

    fn renew(&mut self, held: &Held<'_>, term: Duration) -> Result<bool, Error> {
        self.held_step("renew a lease", "until_ms = ?5", held, Some(term))
    }

    fn release(&mut self, held: &Held<'_>) -> Result<bool, Error> {
        self.held_step("give a lease back", "owner = NULL, until_ms = ?5", held, None)
    }

    fn standing(&mut self, lease: &str) -> Result<LeaseStanding, Error> {
        self.look("look at a lease", |transaction| {
            let Some((owner, end, token, holder)) = row(transaction, lease)? else {
                return Ok(LeaseStanding::default());
            };
            let left = left(end, uptime_ms()).filter(|_| owner.is_some());
            Ok(LeaseStanding {
                token: Some(FencingToken(token)),
                holder: left.map(|left| (holder, left)),
            })
        })
    }

    fn note(&mut self, lease: &str, text: &str) -> Result<(), Error> {
        self.step("note something at a lease", |transaction| {
            transaction.execute(
                "INSERT INTO note (lease, text) VALUES (?1, ?2)
                 ON CONFLICT (lease) DO UPDATE SET text = ?2",
                params![lease, text],
            )?;
            Ok(())
        })
    }

    fn noted(&mut self, lease: &str) -> Result<Option<String>, Error> {
        self.look("look at the note of a lease", |transaction| {
            let mut one = transaction.prepare("SELECT text FROM note WHERE lease = ?1")?;
            one.query_row([lease], |row| row.get(0)).optional()
        })
    }
}
