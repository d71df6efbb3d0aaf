//! A store of items that can be compared and swapped, one at a time.
//!
//! Each step is one swap. The *ledger* (epoch, generation, who is there, tombstones, retired total)
//! is one item, and so is each instance's *record*; what they hold lies in pages, which they name. So
//! a step writes new pages, swaps the one item, and removes the pages that it replaced. A fold touches
//! two items: first it seals the record, which then takes nothing any more and can only be folded, by
//! whoever comes; then the ledger takes its sums, its tombstone and its absence in one swap.
//!
//! An item that vanished is found out by whoever needs it, and marked as gone, so that it stays gone:
//! a record without a page is lost, and sent again by its owner; a ledger without a page begins anew
//! under another epoch, and everyone sends everything again.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    super::{
        Answer, Batch, Epoch, Fold, Identity, Lease, Listed, Pairs, Prune, Roll, Standing, State,
        Store, Strategy, Swap, Tombstone, Totals, Wanted,
        total::{Reader, varint},
    },
    heads::{Ledger, Record, Sort, wrap},
    pages::{At, Changes, Entry, Pages},
    probe,
    shelf::{Fault, Shelf},
};
use crate::model::{Error, ErrorKind, random};
#[cfg(test)]
use crate::sync::planted::{Bug, planted};

/// How often a step that swaps is tried at once when others come between; then its caller comes back, by
/// its backoff.
///
/// Measured, twice each, with 64 instances that register and leave three times at once on one memcached
/// and come back as a background sync does: with 8 tries all are done after 2.8 s and 6000 to 6700 writes,
/// with 4 after 2.6 to 3.6 s and 5500 to 5900, with 16 after 4.1 to 4.9 s and 9000, with 64 after 3.8 s and
/// 12,500. About 145 of their calls fail with 4, 8 or 16.
pub(super) const TRIES: usize = 8;
/// How often a step that only reads is tried: it takes nothing from those that swap.
const READS: usize = 200;
/// Bytes of a page of values: what one changed series costs at most.
const VALUES_PAGE: usize = 32 << 10;
/// Bytes of any other page.
const PAGE: usize = 256 << 10;
/// How much longer than data of instances the ledger stays, when nobody comes: as tombstones do.
pub(super) const LEDGER_EXTRA_MS: u64 = 8 * 24 * 60 * 60 * 1000;

/// A store over items that can be compared and swapped.
#[derive(Debug)]
pub struct BasicStore {
    pub(super) shelf: Shelf,
}

/// A record as it was found.
enum Found {
    /// With the token to swap it by.
    Live(Record, u64),
    /// It is not there, or is marked as lost.
    Nothing,
}

pub(super) fn by_number(number: u32) -> At {
    (number.into(), Vec::new())
}

fn by_id(id: Identity) -> At {
    ((id.0 >> 64) as u64, id.0.to_be_bytes().to_vec())
}

fn by_key(key: &[u8]) -> At {
    (xxh3_64(key), key.to_vec())
}

fn id_of(key: &[u8]) -> Option<Identity> {
    key.try_into().ok().map(|bytes| Identity(u128::from_be_bytes(bytes)))
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn tombstone_bytes(version: u64, generation: u64, at_ms: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    for number in [version, generation, at_ms] {
        varint(&mut out, number.into());
    }
    out
}

fn tombstone((at, bytes): &Entry) -> Result<Tombstone, Error> {
    let mut read = Reader::new(bytes);
    let id = id_of(&at.1).ok_or_else(|| super::super::total::damaged("a tombstone"))?;
    Ok(Tombstone { id, version: read.u64()?, generation: read.u64()?, at_ms: read.u64()? })
}

fn answer(ledger: &Ledger, standing: Standing) -> Answer {
    let Ledger { epoch, generation, forgotten, .. } = *ledger;
    Answer { epoch, generation, forgotten, standing }
}

/// What the texts and values of a record changed by, if the record stands before these batches.
pub(super) fn changes_of(version: &mut u64, batches: &[Batch]) -> (Changes, Changes) {
    let (mut texts, mut values) = (Changes::new(), Changes::new());
    for batch in batches {
        if batch.from != *version {
            continue;
        }
        *version = batch.to;
        let some = |(number, bytes): &(u32, Vec<u8>)| (by_number(*number), Some(bytes.clone()));
        texts.extend(batch.texts.iter().map(some));
        values.extend(batch.values.iter().map(some));
        for number in &batch.gone {
            texts.insert(by_number(*number), None);
            values.insert(by_number(*number), None);
        }
    }
    (texts, values)
}

/// Writes what batches change to new pages, and returns the record that names them.
pub(super) fn changed(
    shelf: &mut Shelf,
    record: &Record,
    lease: Lease,
    batches: &[Batch],
) -> Result<Record, Fault> {
    let now = shelf.now_ms();
    let mut next = record.clone();
    let (texts, values) = changes_of(&mut next.version, batches);
    next.texts = shelf.write(&record.texts, &texts, PAGE, lease.data)?;
    next.values = shelf.write(&record.values, &values, VALUES_PAGE, lease.data)?;
    next.until_ms = now.saturating_add(ms(lease.alive));
    if now.saturating_sub(record.kept_ms) > ms(lease.data) / 2 {
        shelf.keep(&[&next.texts, &next.values], lease.data)?;
        next.kept_ms = now;
    }
    Ok(next)
}

/// What a record's pages hold.
pub(super) fn state_of(shelf: &mut Shelf, record: &Record) -> Result<State, Fault> {
    let [texts, values] = shelf.read([&record.texts, &record.values])?;
    let mut series = Pairs::with_capacity(values.len(), 0);
    for (at, value) in values {
        if let Ok(index) = texts.binary_search_by(|(known, _)| known.cmp(&at))
            && let Some((_, text)) = texts.get(index)
        {
            series.push(text, &value);
        }
    }
    Ok(State { version: record.version, name: record.name.clone(), series })
}

pub(super) fn restless() -> Error {
    let message = "the store's items changed under each try of one step: other instances were at it, and \
                   it is tried again later";
    Error::new(ErrorKind::Unavailable, message).with_contention()
}

impl BasicStore {
    pub(super) fn new(shelf: Shelf) -> Self {
        Self { shelf }
    }

    fn ledger_key(&self) -> String {
        self.shelf.key("ledger")
    }

    fn record_key(&self, id: Identity) -> String {
        self.shelf.key(format_args!("i:{id}"))
    }

    fn ledger(&mut self) -> Result<Option<(Ledger, u64)>, Error> {
        let key = self.ledger_key();
        let Some(item) = self.shelf.items.get(&key)? else { return Ok(None) };
        Ok(Some((Ledger::from_bytes(&key, &item.bytes)?, item.token)))
    }

    /// The ledger; a new one of this epoch if there is none.
    fn ledger_or_begin(&mut self, fresh: Epoch, lease: Lease) -> Result<(Ledger, u64), Error> {
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
    fn swap_ledger(&mut self, old: &Ledger, new: &Ledger, token: u64) -> Result<bool, Error> {
        let key = self.ledger_key();
        let ttl = Duration::from_millis(new.ttl_ms);
        let done = self.shelf.items.cas(&key, &new.to_bytes(), ttl, token)?;
        let (gone, kept) = if done { (old, new) } else { (new, old) };
        self.shelf.remove(&gone.pages(), &kept.pages());
        Ok(done)
    }

    fn record(&mut self, id: Identity) -> Result<Found, Error> {
        let key = self.record_key(id);
        let Some(item) = self.shelf.items.get(&key)? else { return Ok(Found::Nothing) };
        Ok(match Record::from_bytes(&key, &item.bytes)? {
            Some(record) => Found::Live(record, item.token),
            None => Found::Nothing,
        })
    }

    fn tombstone(&mut self, ledger: &Ledger, id: Identity) -> Result<Option<Tombstone>, Fault> {
        let at = by_id(id);
        let entries = self.shelf.read_holding(&ledger.tombstones, std::iter::once(at.0))?;
        let found = entries.iter().find(|(known, _)| *known == at);
        Ok(found.map(tombstone).transpose()?)
    }

    fn is_listed(&mut self, ledger: &Ledger, id: Identity) -> Result<bool, Fault> {
        let at = by_id(id);
        let entries = self.shelf.read_holding(&ledger.instances, std::iter::once(at.0))?;
        Ok(entries.iter().any(|(known, _)| *known == at))
    }

    /// A page of the ledger is not there: it is read again, or begins anew where the page is lost.
    fn without_page(&mut self, ledger: &Ledger, token: u64, fault: Fault) -> Result<(), Error> {
        let page = match fault {
            Fault::Failed(error) => return Err(error),
            Fault::Missing(page) => page,
        };
        if self.ledger()?.is_none_or(|(_, now)| now != token) {
            return Ok(());
        }
        let ttl = Duration::from_millis(ledger.ttl_ms);
        if !self.shelf.is_gone(&page, ttl)? {
            let message = format!("the item `{page}` of the store is there, and is not given");
            return Err(Error::new(ErrorKind::Unavailable, message));
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

    /// A page of a record is not there: it is read again, or marked as lost.
    fn without_record_page(
        &mut self,
        id: Identity,
        token: u64,
        ttl: Duration,
        fault: Fault,
    ) -> Result<(), Error> {
        let page = match fault {
            Fault::Failed(error) => return Err(error),
            Fault::Missing(page) => page,
        };
        match self.record(id)? {
            Found::Live(_, now) if now == token => {}
            _ => return Ok(()),
        }
        if !self.shelf.is_gone(&page, ttl)? {
            let message = format!("the item `{page}` of the store is there, and is not given");
            return Err(Error::new(ErrorKind::Unavailable, message));
        }
        let key = self.record_key(id);
        self.shelf.items.cas(&key, &wrap(Sort::Gone, &[]), ttl, token)?;
        Ok(())
    }

    /// How an instance stands that has no record in this life of the store, or a sealed one.
    fn standing(
        &mut self,
        ledger: &Ledger,
        id: Identity,
        sealed: Option<u64>,
    ) -> Result<Standing, Fault> {
        if let Some(tombstone) = self.tombstone(ledger, id)? {
            return Ok(Standing::Retired(tombstone.version));
        }
        match sealed {
            // It will be folded as it is, by whoever comes first.
            Some(version) if self.is_listed(ledger, id)? => Ok(Standing::Retired(version)),
            _ => Ok(Standing::Unknown),
        }
    }

    /// The answer to an instance that has no record, or a sealed one, by the ledger as it is now.
    fn absent(
        &mut self,
        (fresh, lease): (Epoch, Lease),
        id: Identity,
        sealed: Option<(Epoch, u64)>,
    ) -> Result<Answer, Error> {
        for _ in 0..READS {
            let (ledger, token) = self.ledger_or_begin(fresh, lease)?;
            let sealed = sealed.filter(|(epoch, _)| *epoch == ledger.epoch);
            match self.standing(&ledger, id, sealed.map(|(_, version)| version)) {
                Ok(standing) => return Ok(answer(&ledger, standing)),
                Err(fault) => self.without_page(&ledger, token, fault)?,
            }
        }
        Err(restless())
    }

    /// Writes the ledger's pages again, so that they stay. Others may come first.
    fn keep_ledger(&mut self, ledger: &Ledger, token: u64) -> Result<(), Error> {
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
    fn unlist(&mut self, id: Identity) -> Result<bool, Error> {
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

    /// One try of a register; `None` when others came between.
    fn try_register(
        &mut self,
        (id, name): (Identity, &str),
        (ledger, token): (&Ledger, u64),
        lease: Lease,
    ) -> Result<Option<Standing>, Fault> {
        let key = self.record_key(id);
        if let Some(tombstone) = self.tombstone(ledger, id)? {
            return Ok(Some(Standing::Retired(tombstone.version)));
        }
        let now = self.shelf.now_ms();
        let until_ms = now.saturating_add(ms(lease.alive));
        let (epoch, name) = (ledger.epoch, name.to_owned());
        let (texts, values) = Default::default();
        let new = Record {
            epoch,
            version: 0,
            until_ms,
            sealed: false,
            kept_ms: now,
            name,
            texts,
            values,
        };
        let added = self.shelf.items.add(&key, &new.to_bytes(), lease.data)?;
        let version = if added {
            0
        } else {
            match self.record(id)? {
                Found::Live(record, _) if record.epoch == epoch && !record.sealed => record.version,
                Found::Live(record, _) => {
                    let sealed = Some(record.version).filter(|_| record.epoch == epoch);
                    return self.standing(ledger, id, sealed).map(Some);
                }
                Found::Nothing => return self.standing(ledger, id, None).map(Some),
            }
        };
        if !self.is_listed(ledger, id)? {
            let listed = Changes::from([(by_id(id), Some(Vec::new()))]);
            let ttl = Duration::from_millis(ledger.ttl_ms);
            let instances = self.shelf.write(&ledger.instances, &listed, PAGE, ttl)?;
            let new = Ledger { instances, ..ledger.clone() };
            if !self.swap_ledger(ledger, &new, token)? {
                return Ok(None);
            }
        }
        Ok(Some(Standing::Live(version)))
    }

    /// Changes the totals from one generation to the next, if they still stand there. Instances may come
    /// meanwhile, which does not touch the totals: their pages are written once.
    fn step_totals(
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

    /// Seals a record whose lease has ended at a version, so that it takes nothing any more.
    fn seal(&mut self, id: Identity, version: u64, ttl_ms: u64) -> Result<bool, Error> {
        let Found::Live(record, token) = self.record(id)? else { return Ok(false) };
        if record.version != version {
            return Ok(false);
        }
        if record.sealed {
            return Ok(true);
        }
        if record.until_ms > self.shelf.now_ms() {
            return Ok(false);
        }
        #[cfg(test)]
        if planted(Bug::NoSeal) {
            return Ok(true);
        }
        let sealed = Record { sealed: true, ..record };
        let key = self.record_key(id);
        self.shelf.items.cas(&key, &sealed.to_bytes(), Duration::from_millis(ttl_ms), token)
    }

    /// Removes the record of an instance that was folded. What fails is removed by its time.
    fn bury(&mut self, id: Identity) {
        let key = self.record_key(id);
        match self.record(id) {
            Ok(Found::Live(record, _)) => self.shelf.remove(&[&record.texts, &record.values], &[]),
            Ok(Found::Nothing) => {}
            Err(error) => tracing::debug!(item = key, "a folded record stays: {error}"),
        }
        if let Err(error) = self.shelf.items.delete(&key) {
            tracing::debug!(item = key, "a folded record stays: {error}");
        }
    }
}

/// What a fold or a prune changes of the ledger.
#[derive(Debug, Default)]
struct Change {
    /// Must be in the list.
    listed: Option<Identity>,
    instances: Changes,
    tombstones: Changes,
    totals: Changes,
    forgotten: u64,
}

impl Store for BasicStore {
    fn strategy(&self) -> Strategy {
        Strategy::DistributedBasic
    }

    fn end_by(&mut self, end: Option<Instant>) {
        self.shelf.items.end_by(end);
    }

    fn probe(&mut self) -> Result<(), Error> {
        self.shelf.items.begin();
        match probe::probe(&mut self.shelf)? {
            probe::Found::Basic => Ok(()),
            probe::Found::Manual(why) => Err(probe::worse(&self.shelf, why)),
            probe::Found::Nothing => {
                Err(probe::worse(&self.shelf, "it does not give back what was written"))
            }
        }
    }

    fn register(
        &mut self,
        id: Identity,
        name: &str,
        fresh: Epoch,
        lease: Lease,
    ) -> Result<Answer, Error> {
        self.shelf.items.begin();
        for _ in 0..TRIES {
            let (ledger, token) = self.ledger_or_begin(fresh, lease)?;
            match self.try_register((id, name), (&ledger, token), lease) {
                Ok(Some(standing)) => return Ok(answer(&ledger, standing)),
                Ok(None) => {}
                Err(fault) => self.without_page(&ledger, token, fault)?,
            }
        }
        // It is in no list, and nobody will publish to it.
        if let Err(error) = self.shelf.items.delete(&self.record_key(id)) {
            tracing::debug!("a record that nothing leads to stays: {error}");
        }
        Err(restless())
    }

    fn publish(
        &mut self,
        id: Identity,
        (epoch, fresh): (Epoch, Epoch),
        lease: Lease,
        batches: &[Batch],
    ) -> Result<Answer, Error> {
        self.shelf.items.begin();
        let key = self.record_key(id);
        for _ in 0..TRIES {
            // Before the record: a fold that this does not see yet is in a later generation.
            let (ledger, token) = self.ledger_or_begin(fresh, lease)?;
            let (record, version) = match self.record(id)? {
                Found::Nothing => return self.absent((fresh, lease), id, None),
                Found::Live(record, _) if record.sealed || record.epoch != ledger.epoch => {
                    let sealed = (record.epoch, record.version);
                    return self.absent((fresh, lease), id, Some(sealed).filter(|_| record.sealed));
                }
                Found::Live(record, version) => (record, version),
            };
            if ledger.epoch != epoch {
                return Ok(answer(&ledger, Standing::Live(record.version)));
            }
            let next = match changed(&mut self.shelf, &record, lease, batches) {
                Ok(next) => next,
                Err(fault) => {
                    self.without_record_page(id, version, lease.data, fault)?;
                    continue;
                }
            };
            let done = self.shelf.items.cas(&key, &next.to_bytes(), lease.data, version)?;
            let (gone, kept) = if done { (&record, &next) } else { (&next, &record) };
            self.shelf.remove(&[&gone.texts, &gone.values], &[&kept.texts, &kept.values]);
            if done {
                self.keep_ledger(&ledger, token)?;
                return Ok(answer(&ledger, Standing::Live(next.version)));
            }
        }
        Err(restless())
    }

    fn roll(&mut self, _: u32) -> Result<Roll, Error> {
        self.shelf.items.begin();
        for _ in 0..READS {
            let Some((ledger, token)) = self.ledger()? else {
                return Ok(Roll { epoch: None, generation: 0, instances: Vec::new(), lost: 0 });
            };
            let listed = match self.shelf.read([&ledger.instances]) {
                Ok([listed]) => listed,
                Err(fault) => {
                    self.without_page(&ledger, token, fault)?;
                    continue;
                }
            };
            let ids: Vec<Identity> = listed.iter().filter_map(|(at, _)| id_of(&at.1)).collect();
            let keys: Vec<String> = ids.iter().map(|id| self.record_key(*id)).collect();
            let now = self.shelf.now_ms();
            let (mut instances, mut lost) = (Vec::with_capacity(ids.len()), 0);
            let items = self.shelf.items.get_many(&keys)?;
            for ((id, key), item) in ids.iter().zip(&keys).zip(items) {
                let record = item.map(|item| Record::from_bytes(key, &item.bytes)).transpose()?;
                match record.flatten().filter(|record| record.epoch == ledger.epoch) {
                    Some(record) => {
                        let expired = record.sealed || record.until_ms <= now;
                        instances.push(Listed { id: *id, expired });
                    }
                    // It is lost, or was folded a moment ago.
                    None => match self.unlist(*id) {
                        // Whoever lists them next sees it too.
                        Err(error) if error.is_contended() => {}
                        done => lost += u64::from(done?),
                    },
                }
            }
            let (epoch, generation) = (Some(ledger.epoch), ledger.generation);
            return Ok(Roll { epoch, generation, instances, lost });
        }
        Err(restless())
    }

    fn states(&mut self, _: u32, ids: &[Identity]) -> Result<Vec<Option<State>>, Error> {
        self.shelf.items.begin();
        let mut states = Vec::with_capacity(ids.len());
        for id in ids {
            let mut state = None;
            for tried in 0.. {
                let Found::Live(record, token) = self.record(*id)? else { break };
                match state_of(&mut self.shelf, &record) {
                    Ok(read) => {
                        state = Some(read);
                        break;
                    }
                    Err(_) if tried >= READS => return Err(restless()),
                    Err(fault) => {
                        // For as long as the record would have stayed at the least.
                        let ttl = Duration::from_millis(LEDGER_EXTRA_MS);
                        self.without_record_page(*id, token, ttl, fault)?;
                    }
                }
            }
            states.push(state);
        }
        Ok(states)
    }

    fn totals(&mut self, _: u32, wanted: Wanted<'_>) -> Result<Totals, Error> {
        self.shelf.items.begin();
        for _ in 0..READS {
            let now_ms = self.shelf.now_ms();
            let Some((ledger, token)) = self.ledger()? else {
                let (tombstones, series) = Default::default();
                let (epoch, generation, forgotten) = (None, 0, 0);
                return Ok(Totals { epoch, generation, forgotten, now_ms, tombstones, series });
            };
            let read = match wanted {
                Wanted::All => self.shelf.read([&ledger.tombstones, &ledger.totals]),
                Wanted::Keys(keys) => {
                    let places = keys.iter().map(|key| xxh3_64(key));
                    let all = self.shelf.read_holding(&ledger.totals, places);
                    let wanted: HashSet<&[u8]> = keys.iter().map(Vec::as_slice).collect();
                    let only = |(at, _): &Entry| wanted.contains(at.1.as_slice());
                    all.map(|all| [Vec::new(), all.into_iter().filter(only).collect()])
                }
            };
            let [tombstones, series] = match read {
                Ok(read) => read,
                Err(fault) => {
                    self.without_page(&ledger, token, fault)?;
                    continue;
                }
            };
            let tombstones = tombstones.iter().map(tombstone).collect::<Result<_, _>>()?;
            let series = series.into_iter().map(|((_, key), bytes)| (key, bytes)).collect();
            let Ledger { epoch, generation, forgotten, .. } = ledger;
            let epoch = Some(epoch);
            return Ok(Totals { epoch, generation, forgotten, now_ms, tombstones, series });
        }
        Err(restless())
    }

    fn fold(&mut self, fold: &Fold) -> Result<Swap, Error> {
        self.shelf.items.begin();
        let found = self.ledger()?;
        let Some((ledger, _)) = found.filter(|(ledger, _)| {
            ledger.epoch == fold.epoch && ledger.generation == fold.generation
        }) else {
            return Ok(Swap::Conflict);
        };
        if !self.seal(fold.id, fold.version, ledger.ttl_ms)? {
            return Ok(Swap::Conflict);
        }
        let stone = tombstone_bytes(fold.version, fold.generation + 1, self.shelf.now_ms());
        let series = fold.series.iter();
        let change = Change {
            listed: Some(fold.id),
            instances: Changes::from([(by_id(fold.id), None)]),
            tombstones: Changes::from([(by_id(fold.id), Some(stone))]),
            totals: series.map(|(key, bytes)| (by_key(key), Some(bytes.clone()))).collect(),
            forgotten: 0,
        };
        let swap = self.step_totals((fold.epoch, fold.generation), &change)?;
        if swap == Swap::Done {
            self.bury(fold.id);
        }
        Ok(swap)
    }

    fn prune(&mut self, prune: &Prune) -> Result<Swap, Error> {
        self.shelf.items.begin();
        let newest = prune.tombstones.iter().map(|tombstone| tombstone.generation).max();
        let change = Change {
            tombstones: prune.tombstones.iter().map(|stone| (by_id(stone.id), None)).collect(),
            totals: prune.series.iter().map(|key| (by_key(key), None)).collect(),
            forgotten: newest.unwrap_or(0),
            ..Change::default()
        };
        self.step_totals((prune.epoch, prune.generation), &change)
    }
}
