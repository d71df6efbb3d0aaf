//! A store over whatever keeps items by key: memcached, or the host's own cache.
//!
//! [`KeyValue`] is what such a thing can do. Where it can compare and swap an item, [`BasicStore`]
//! makes every step of the protocol one swap of one item: all else lies in pages that are written
//! under new names before it and never changed after. Where it cannot, [`ManualStore`] keeps each
//! instance's own keys only. [`open`] tries what the thing really does, and chooses.

mod basic;
mod heads;
mod lease;
mod ledger;
mod manual;
mod pages;
mod probe;
mod records;
mod shelf;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

pub use basic::BasicStore;
pub use manual::ManualStore;
use shelf::Shelf;

use super::{Store, Strategy};
use crate::model::{Clock, Error, ErrorKind};

/// The least that an item must be able to hold.
pub const LEAST_ITEM_BYTES: usize = 16 << 10;
/// What an item may hold, unless the thing that keeps it says otherwise.
pub const DEFAULT_ITEM_BYTES: usize = 1 << 20;
/// Longest key: of memcached, less than of anything else.
pub const MAX_KEY_BYTES: usize = 250;

/// An item as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// What was written.
    pub bytes: Vec<u8>,
    /// Another one whenever the item was written since; of no use without compare-and-swap.
    pub token: u64,
}

/// What keeps items by key; each call is one step of its own.
///
/// Keys are 1 to [`MAX_KEY_BYTES`] of `A-Z a-z 0-9 . _ : -`; values are any bytes. A call that fails
/// may have taken place, or may still take place. Items may vanish at any time: that is found out.
pub trait KeyValue: Send + fmt::Debug {
    /// What it is, for people.
    fn name(&self) -> &str;

    /// The most bytes of a value; at least [`LEAST_ITEM_BYTES`].
    fn max_item_bytes(&self) -> usize {
        DEFAULT_ITEM_BYTES
    }

    /// Whether [`KeyValue::cas`] is there.
    fn has_cas(&self) -> bool;

    /// A step of several calls begins, for which there is one deadline.
    fn begin(&mut self) {}

    /// From now on calls end at this time at the latest; `None`: at their step's deadline.
    fn end_by(&mut self, end: Option<Instant>) {
        let _ = end;
    }

    /// Reads an item; `None` when it is not there.
    ///
    /// # Errors
    /// Whatever keeps it from answering: never `None` in its place.
    fn get(&mut self, key: &str) -> Result<Option<Item>, Error>;

    /// Reads items, each on its own.
    ///
    /// # Errors
    /// As [`KeyValue::get`].
    fn get_many(&mut self, keys: &[String]) -> Result<Vec<Option<Item>>, Error> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    /// Writes an item, and keeps it for at least `ttl`.
    ///
    /// # Errors
    /// Limit for a value that is too large; whatever keeps it from writing.
    fn set(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<(), Error>;

    /// Writes items, each on its own.
    ///
    /// # Errors
    /// As [`KeyValue::set`]; some may have been written.
    fn set_many(&mut self, items: &[(String, Vec<u8>)], ttl: Duration) -> Result<(), Error> {
        items.iter().try_for_each(|(key, bytes)| self.set(key, bytes, ttl))
    }

    /// Writes an item that is not there yet, in one step. False when it is.
    ///
    /// # Errors
    /// As [`KeyValue::set`].
    fn add(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<bool, Error>;

    /// Writes an item that still is as it was read, in one step. False when it is not, or gone.
    ///
    /// # Errors
    /// As [`KeyValue::set`]; Unsupported.
    fn cas(&mut self, key: &str, bytes: &[u8], ttl: Duration, token: u64) -> Result<bool, Error> {
        let _ = (key, bytes, ttl, token);
        Err(Error::new(ErrorKind::Unsupported, format!("{} cannot swap items", self.name())))
    }

    /// Removes an item, if it is there.
    ///
    /// # Errors
    /// Whatever keeps it from removing.
    fn delete(&mut self, key: &str) -> Result<(), Error>;

    /// Removes items, each on its own.
    ///
    /// # Errors
    /// As [`KeyValue::delete`].
    fn delete_many(&mut self, keys: &[String]) -> Result<(), Error> {
        keys.iter().try_for_each(|key| self.delete(key))
    }
}

/// What a thing that keeps items was found to be good for.
#[derive(Debug)]
pub enum Opened {
    /// A store, with what it can do.
    Store(Box<dyn Store>),
    /// It does not give back what was written: nothing can be shared through it.
    KeepsNothing,
}

/// Tries what a thing that keeps items really does, and makes a store of it: with a demand, of that
/// strategy; without one, of the best that it can.
///
/// # Errors
/// InvalidArgument for a namespace that is none, Unsupported for a demand that it does not meet and
/// for one that garbles values or replaces what it should only add, what it answers.
pub fn open(
    items: Box<dyn KeyValue>,
    namespace: &str,
    clock: Arc<dyn Clock>,
    demand: Option<Strategy>,
) -> Result<Opened, Error> {
    super::check_namespace(namespace)?;
    let mut shelf = Shelf::new(items, namespace, clock)?;
    let name = shelf.items.name().to_owned();
    let found = probe::probe(&mut shelf)?;
    let refuted = |wanted: Strategy, why: &str| {
        let message = format!("{name} cannot do `{}`: {why}", wanted.name());
        Error::new(ErrorKind::Unsupported, message).with_field("sync.strategy")
    };
    if demand == Some(Strategy::DistributedAtomic) {
        let why = "its items are swapped one at a time; `distributed_basic` is as exact while it \
                   keeps its items";
        return Err(refuted(Strategy::DistributedAtomic, why));
    }
    match (found, demand) {
        (probe::Found::Nothing, None) => Ok(Opened::KeepsNothing),
        (probe::Found::Nothing, Some(wanted)) => {
            Err(refuted(wanted, "it does not give back what was written"))
        }
        (probe::Found::Manual(why), Some(Strategy::DistributedBasic)) => {
            Err(refuted(Strategy::DistributedBasic, why))
        }
        (probe::Found::Manual(why), _) => {
            tracing::info!(store = name, why, "items are not swapped");
            Ok(Opened::Store(Box::new(ManualStore::new(shelf))))
        }
        (probe::Found::Basic, Some(Strategy::DistributedManual)) => {
            Ok(Opened::Store(Box::new(ManualStore::new(shelf))))
        }
        (probe::Found::Basic, _) => Ok(Opened::Store(Box::new(BasicStore::new(shelf)))),
    }
}
