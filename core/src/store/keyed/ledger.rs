//! The ledger of a basic store: read, begun, swapped, kept, and begun anew where a page of it is lost.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    super::{
        Epoch, Identity, Lease, Swap, Tombstone,
        total::{Reader, damaged, varint},
    },
    BasicStore,
    heads::Ledger,
    pages::{At, Changes, Entry, Pages},
    shelf::Fault,
};
use crate::model::{Error, ErrorKind, random};

/// How often a step that swaps is tried at once when others come between; then its caller comes back, by
/// its backoff.
///
/// Measured, twice each, with 64 instances that register and leave three times at once on one memcached
/// and come back as a background sync does: with 8 tries all are done after 2.8 s and 6000 to 6700 writes,
/// with 4 after 2.6 to 3.6 s and 5500 to 5900, with 16 after 4.1 to 4.9 s and 9000, with 64 after 3.8 s and
/// 12,500. About 145 of their calls fail with 4, 8 or 16.
pub(super) const TRIES: usize = 8;
/// Bytes of a page, but of values.
pub(super) const PAGE: usize = 256 << 10;
/// How much longer than data of instances the ledger stays, when nobody comes: as tombstones do.
pub(super) const LEDGER_EXTRA_MS: u64 = 8 * 24 * 60 * 60 * 1000;

/// What a fold or a prune changes of the ledger.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// Must be in the list.
    pub(super) listed: Option<Identity>,
    pub(super) instances: Changes,
    pub(super) tombstones: Changes,
    pub(super) totals: Changes,
    pub(super) forgotten: u64,
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn restless() -> Error {
    let message = "the store's items changed under each try of one step: other instances were at it, and \
                   it is tried again later";
    Error::new(ErrorKind::Unavailable, message).with_contention()
}

pub(super) fn not_given(page: &str) -> Error {
    let message = format!("the item `{page}` of the store is there, and is not given");
    Error::new(ErrorKind::Unavailable, message)
}

pub(super) fn by_id(id: Identity) -> At {
    ((id.0 >> 64) as u64, id.0.to_be_bytes().to_vec())
}

pub(super) fn by_key(key: &[u8]) -> At {
    (xxh3_64(key), key.to_vec())
}

pub(super) fn id_of(key: &[u8]) -> Option<Identity> {
    key.try_into().ok().map(|bytes| Identity(u128::from_be_bytes(bytes)))
}

pub(super) fn tombstone_bytes(version: u64, generation: u64, at_ms: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    for number in [version, generation, at_ms] {
        varint(&mut out, number.into());
    }
    out
}

pub(super) fn tombstone((at, bytes): &Entry) -> Result<Tombstone, Error> {
    let mut read = Reader::new(bytes);
    let id = id_of(&at.1).ok_or_else(|| damaged("a tombstone"))?;
    Ok(Tombstone { id, version: read.u64()?, generation: read.u64()?, at_ms: read.u64()? })
}

impl BasicStore {
    fn ledger_key(&self) -> String {
        self.shelf.key("ledger")
    }

    pub(super) fn ledger(&mut self) -> Result<Option<(Ledger, u64)>, Error> {
        let key = self.ledger_key();
        let Some(item) = self.shelf.items.get(&key)? else { return Ok(None) };
        Ok(Some((Ledger::from_bytes(&key, &item.bytes)?, item.token)))
    }

    /// The ledger; a new one of this epoch if there is none.
    pub(super) fn ledger_or_begin(
        &mut self,
        fresh: Epoch,
        lease: Lease,
    ) -> Result<(Ledger, u64), Error> {
        for _ in 0..TRIES {
            if let Some(found) = self.ledger()? {
                return Ok(found);
            }
            let ttl_ms = ms(lease.data).saturating_add(LEDGER_EXTRA_MS);
            let new = Ledger::new(fresh, self.shelf.now_ms(), ttl_ms);
            let key = self.ledger_key();
            self.shelf.items.add(&key, &new.to_bytes(), Duration::from_millis(ttl_ms))?;
        }
        Err(restless())
    }

    /// Swaps the ledger, and removes the pages that are then nobody's.
    pub(super) fn swap_ledger(
        &mut self,
        old: &Ledger,
        new: &Ledger,
        token: u64,
    ) -> Result<bool, Error> {
        let key = self.ledger_key();
        let ttl = Duration::from_millis(new.ttl_ms);
        let done = self.shelf.items.cas(&key, &new.to_bytes(), ttl, token)?;
        let (gone, kept) = if done { (old, new) } else { (new, old) };
        self.shelf.remove(&gone.pages(), &kept.pages());
        Ok(done)
    }

    pub(super) fn tombstone(
        &mut self,
        ledger: &Ledger,
        id: Identity,
    ) -> Result<Option<Tombstone>, Fault> {
        let at = by_id(id);
        let entries = self.shelf.read_holding(&ledger.tombstones, std::iter::once(at.0))?;
        let found = entries.iter().find(|(known, _)| *known == at);
        Ok(found.map(tombstone).transpose()?)
    }

    pub(super) fn is_listed(&mut self, ledger: &Ledger, id: Identity) -> Result<bool, Fault> {
        let at = by_id(id);
        let entries = self.shelf.read_holding(&ledger.instances, std::iter::once(at.0))?;
        Ok(entries.iter().any(|(known, _)| *known == at))
    }

    /// A page of the ledger is not there: it is read again, or begins anew where the page is lost.
    pub(super) fn without_page(
        &mut self,
        ledger: &Ledger,
        token: u64,
        fault: Fault,
    ) -> Result<(), Error> {
        let page = match fault {
            Fault::Failed(error) => return Err(error),
            Fault::Missing(page) => page,
        };
        if self.ledger()?.is_none_or(|(_, now)| now != token) {
            return Ok(());
        }
        let ttl = Duration::from_millis(ledger.ttl_ms);
        if !self.shelf.is_gone(&page, ttl)? {
            return Err(not_given(&page));
        }
        let new = Ledger::new(Epoch(random() as u64), self.shelf.now_ms(), ledger.ttl_ms);
        if self.swap_ledger(ledger, &new, token)? {
            tracing::warn!(
                store = self.shelf.items.name(),
                item = page,
                "the store lost a part of the retired total: it begins anew, instances send everything"
            );
        }
        Ok(())
    }

    /// Writes the ledger's pages again, so that they stay. Others may come first.
    pub(super) fn keep_ledger(&mut self, ledger: &Ledger, token: u64) -> Result<(), Error> {
        let now = self.shelf.now_ms();
        if now.saturating_sub(ledger.kept_ms) <= ledger.ttl_ms / 4 {
            return Ok(());
        }
        match self.shelf.keep(&ledger.pages(), Duration::from_millis(ledger.ttl_ms)) {
            Ok(()) => {
                let new = Ledger { kept_ms: now, ..ledger.clone() };
                self.swap_ledger(ledger, &new, token).map(drop)
            }
            Err(fault) => self.without_page(ledger, token, fault),
        }
    }

    /// Takes an instance out of the list whose record is gone, if it really is; whether it was. Who was
    /// folded is not listed any more.
    pub(super) fn unlist(&mut self, id: Identity) -> Result<bool, Error> {
        let key = self.record_key(id);
        for _ in 0..TRIES {
            let Some((ledger, token)) = self.ledger()? else { return Ok(false) };
            match self.is_listed(&ledger, id) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(fault) => {
                    self.without_page(&ledger, token, fault)?;
                    continue;
                }
            }
            if !self.shelf.is_gone(&key, Duration::from_millis(ledger.ttl_ms))? {
                return Ok(false);
            }
            let gone = Changes::from([(by_id(id), None)]);
            let ttl = Duration::from_millis(ledger.ttl_ms);
            match self.shelf.write(&ledger.instances, &gone, PAGE, ttl) {
                Ok(instances) => {
                    let new = Ledger { instances, ..ledger.clone() };
                    if self.swap_ledger(&ledger, &new, token)? {
                        return Ok(true);
                    }
                }
                Err(fault) => self.without_page(&ledger, token, fault)?,
            }
        }
        Err(restless())
    }

    /// Changes the totals from one generation to the next, if they still stand there. Instances may come
    /// meanwhile, which does not touch the totals: their pages are written once.
    pub(super) fn step_totals(
        &mut self,
        (epoch, generation): (Epoch, u64),
        change: &Change,
    ) -> Result<Swap, Error> {
        let mut written: Option<(Pages, Pages)> = None;
        let mut done = false;
        for _ in 0..TRIES {
            let found = self.ledger()?;
            let Some((ledger, token)) = found
                .filter(|(ledger, _)| ledger.epoch == epoch && ledger.generation == generation)
            else {
                break;
            };
            match self.try_step(&ledger, token, change, &mut written) {
                Ok(Some(Swap::Done)) => {
                    done = true;
                    break;
                }
                Ok(Some(Swap::Conflict)) => break,
                Ok(None) => {}
                Err(fault) => self.without_page(&ledger, token, fault)?,
            }
        }
        if done {
            return Ok(Swap::Done);
        }
        if let Some((before, totals)) = written {
            self.shelf.remove(&[&totals], &[&before]);
        }
        Ok(Swap::Conflict)
    }

    /// One try of that; `None` when others came between.
    fn try_step(
        &mut self,
        ledger: &Ledger,
        token: u64,
        change: &Change,
        written: &mut Option<(Pages, Pages)>,
    ) -> Result<Option<Swap>, Fault> {
        if let Some(id) = change.listed
            && !self.is_listed(ledger, id)?
        {
            return Ok(Some(Swap::Conflict));
        }
        let ttl = Duration::from_millis(ledger.ttl_ms);
        if written.is_none() {
            let totals = self.shelf.write(&ledger.totals, &change.totals, PAGE, ttl)?;
            *written = Some((ledger.totals.clone(), totals));
        }
        let totals = written.as_ref().map_or(&ledger.totals, |(_, totals)| totals).clone();
        let new = Ledger {
            instances: self.shelf.write(&ledger.instances, &change.instances, PAGE, ttl)?,
            tombstones: self.shelf.write(&ledger.tombstones, &change.tombstones, PAGE, ttl)?,
            totals,
            generation: ledger.generation + 1,
            forgotten: ledger.forgotten.max(change.forgotten),
            ..ledger.clone()
        };
        let key = self.ledger_key();
        if self.shelf.items.cas(&key, &new.to_bytes(), ttl, token)? {
            self.shelf.remove(&ledger.pages(), &new.pages());
            return Ok(Some(Swap::Done));
        }
        let lists = [&ledger.instances, &ledger.tombstones];
        self.shelf.remove(&[&new.instances, &new.tombstones], &lists);
        Ok(None)
    }
}
