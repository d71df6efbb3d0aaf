//! The records of a basic store, one of each instance: read, written, sealed, marked as lost, removed.

use std::time::Duration;

use super::{
    super::{Batch, Identity, Lease, Pairs, State},
    BasicStore,
    heads::{Record, Sort, wrap},
    ledger::{PAGE, ms, not_given},
    pages::{At, Changes},
    shelf::{Fault, Shelf},
};
use crate::model::Error;
#[cfg(test)]
use crate::sync::planted::{Bug, planted};

/// Bytes of a page of values: what one changed series costs at most.
const VALUES_PAGE: usize = 32 << 10;

/// A record as it was found.
pub(super) enum Found {
    /// With the token to swap it by.
    Live(Record, u64),
    /// It is not there, or is marked as lost.
    Nothing,
}

pub(super) fn by_number(number: u32) -> At {
    (number.into(), Vec::new())
}

/// What the texts and values of a record changed by, if the record stands before these batches.
fn changes_of(version: &mut u64, batches: &[Batch]) -> (Changes, Changes) {
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
    next.values = match shelf.write(&record.values, &values, VALUES_PAGE, lease.data) {
        Ok(values) => values,
        Err(fault) => {
            let texts = shelf.keys_of(&[&next.texts], &[&record.texts]);
            shelf.orphaned(texts);
            return Err(fault);
        }
    };
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

impl BasicStore {
    pub(super) fn record_key(&self, id: Identity) -> String {
        self.shelf.key(format_args!("i:{id}"))
    }

    pub(super) fn record(&mut self, id: Identity) -> Result<Found, Error> {
        let key = self.record_key(id);
        let Some(item) = self.shelf.items.get(&key)? else { return Ok(Found::Nothing) };
        Ok(match Record::from_bytes(&key, &item.bytes)? {
            Some(record) => Found::Live(record, item.token),
            None => Found::Nothing,
        })
    }

    /// A page of a record is not there: it is read again, or marked as lost.
    pub(super) fn without_record_page(
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
            return Err(not_given(&page));
        }
        let key = self.record_key(id);
        self.shelf.items.cas(&key, &wrap(Sort::Gone, &[]), ttl, token)?;
        Ok(())
    }

    /// Seals a record whose lease has ended at a version, so that it takes nothing any more.
    pub(super) fn seal(&mut self, id: Identity, version: u64, ttl_ms: u64) -> Result<bool, Error> {
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
    pub(super) fn bury(&mut self, id: Identity) {
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
