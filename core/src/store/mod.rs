//! Floor 4: where instances keep what they share.
//!
//! [`Store`] is the protocol's few steps, each of them atomic in the store; `sync` uses them.
//! [`Book`] is what they mean; [`Leases`] says who may do what one at a time should do. All arithmetic is in `total.rs`: a store keeps, compares and swaps
//! bytes. A store knows no metrics, no configuration and no schedule.

mod book;
mod deadline;
mod exact;
mod key;
pub mod keyed;
mod lease;
#[cfg(feature = "store-memcached")]
mod memcached;
mod memory;
mod pairs;
mod record;
#[cfg(feature = "store-redis")]
mod redis;
#[cfg(any(feature = "store-redis", feature = "store-memcached"))]
mod socket;
#[cfg(feature = "store-sqlite")]
mod sqlite;
mod strategy;
#[cfg(all(test, any(feature = "store-redis", feature = "store-memcached")))]
pub(crate) mod testing;
pub(crate) mod total;

use std::{fmt, time::Instant};

pub use book::Book;
pub use deadline::Deadline;
pub use exact::Exact;
pub use key::{Key, Text};
pub(crate) use key::{TextView, checked_labels_of, family_bytes, label_bytes};
pub use keyed::{Item, KeyValue};
pub use lease::{Claim, FencingToken, Held, LeaseStanding, Leases, Locking, Owner, Wish};
#[cfg(feature = "store-memcached")]
pub use memcached::Memcached;
pub use memory::MemoryStore;
pub use pairs::Pairs;
pub use record::{
    Answer, Batch, Epoch, Fold, Identity, Lease, Listed, Prune, Retired, Roll, Standing, State,
    Swap, Tombstone, Totals, Wanted,
};
#[cfg(feature = "store-redis")]
pub use redis::{DEFAULT_SHARDS, MAX_SHARDS, RedisSettings, RedisStore};
#[cfg(feature = "store-sqlite")]
pub use sqlite::SqliteStore;
pub use strategy::Strategy;
pub use total::{Distribution, Total};

use crate::model::Error;

/// Checks the name of a store, which is a part of its keys.
fn check_namespace(namespace: &str) -> Result<(), Error> {
    let named = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if namespace.is_empty() || namespace.len() > 128 || !namespace.chars().all(named) {
        let message =
            format!("{namespace:?} is no namespace: that is 1 to 128 of A-Z a-z 0-9 . _ -");
        return Err(Error::invalid("namespace", message));
    }
    Ok(())
}

/// A store: each call is one atomic step in one shard, or fails.
///
/// A call that fails may have taken place, or may still take place; every step is written so that
/// this does no harm.
pub trait Store: Leases + Send + fmt::Debug {
    /// How many shards it has: fixed when it was created.
    fn shards(&self) -> u32 {
        1
    }

    /// Looks how many shards it has now: one that lost everything may have been created anew with another
    /// number, which is then what [`Store::shards`] says.
    ///
    /// # Errors
    /// What the store answers; Timeout, Io.
    fn recount(&mut self) -> Result<u32, Error> {
        Ok(self.shards())
    }

    /// What it can do.
    fn strategy(&self) -> Strategy {
        Strategy::DistributedAtomic
    }

    /// From now on steps end at this time at the latest, beside their own deadline; `None`: only their own.
    ///
    /// A store whose steps cannot be interrupted need not know of it: it is looked at between steps too.
    fn end_by(&mut self, end: Option<Instant>) {
        let _ = end;
    }

    /// Tries with a real write what the protocol needs; again after a failure, which may have been a
    /// failover.
    ///
    /// # Errors
    /// What the store refuses.
    fn probe(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Makes a record at version 0, unless there is one or a tombstone; the only call that does.
    ///
    /// `name` is for people. `fresh` becomes the shard's epoch if it has none.
    ///
    /// # Errors
    /// What the store answers; Timeout, Io.
    fn register(
        &mut self,
        id: Identity,
        name: &str,
        fresh: Epoch,
        lease: Lease,
    ) -> Result<Answer, Error>;

    /// Moves a record on by each batch in turn that it stands before, and renews its lease.
    ///
    /// Each batch is a step of its own. Where the shard's epoch is not the first of `epochs`, nothing
    /// is written; the second becomes its epoch if it has none. The answer is how the record then stands.
    ///
    /// # Errors
    /// What the store answers; Timeout, Io.
    fn publish(
        &mut self,
        id: Identity,
        epochs: (Epoch, Epoch),
        lease: Lease,
        batches: &[Batch],
    ) -> Result<Answer, Error>;

    /// The instances of a shard.
    ///
    /// # Errors
    /// What the store answers; Timeout, Io, Damaged.
    fn roll(&mut self, shard: u32) -> Result<Roll, Error>;

    /// What each of these instances of a shard published, each read at one instant, `None` for
    /// one that is gone.
    ///
    /// # Errors
    /// What the store answers; Timeout, Io, Damaged.
    fn states(&mut self, shard: u32, ids: &[Identity]) -> Result<Vec<Option<State>>, Error>;

    /// The retired total of a shard, read at one instant.
    ///
    /// # Errors
    /// What the store answers; Timeout, Io, Damaged.
    fn totals(&mut self, shard: u32, wanted: Wanted<'_>) -> Result<Totals, Error>;

    /// Folds an instance whose lease has ended, if all stands as the caller read it.
    ///
    /// # Errors
    /// What the store answers; Timeout, Io.
    fn fold(&mut self, fold: &Fold) -> Result<Swap, Error>;

    /// Drops retired series and tombstones, if the totals stand as the caller read them.
    ///
    /// # Errors
    /// What the store answers; Timeout, Io.
    fn prune(&mut self, prune: &Prune) -> Result<Swap, Error>;
}
