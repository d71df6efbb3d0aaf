//! One shard of a store as a pure machine: what every store does, without one.
//!
//! The memory store is this behind a lock. Redis' scripts and SQLite's transactions are the same
//! steps; the model tests run the same schedules on all of them.

use std::collections::BTreeMap;

use super::record::{
    Answer, Batch, Epoch, Fold, Identity, Lease, Listed, Prune, Roll, Standing, State, Swap,
    Tombstone, Totals, Wanted,
};
#[cfg(test)]
use crate::sync::planted::{Bug, planted};

/// A record, as its instance published it.
#[derive(Debug, Clone, Default)]
struct Record {
    version: u64,
    lease_ms: u64,
    name: String,
    texts: BTreeMap<u32, Vec<u8>>,
    values: BTreeMap<u32, Vec<u8>>,
}

/// One shard. Time is Unix ms and comes in with each call.
#[derive(Debug, Clone, Default)]
pub struct Book {
    epoch: Option<Epoch>,
    generation: u64,
    forgotten: u64,
    records: BTreeMap<Identity, Record>,
    totals: BTreeMap<Vec<u8>, Vec<u8>>,
    tombstones: BTreeMap<Identity, Tombstone>,
}

fn until(now_ms: u64, lease: Lease) -> u64 {
    now_ms.saturating_add(u64::try_from(lease.alive.as_millis()).unwrap_or(u64::MAX))
}

impl Book {
    fn answer(&self, epoch: Epoch, id: Identity) -> Answer {
        let standing = match (self.records.get(&id), self.tombstones.get(&id)) {
            (Some(record), _) => Standing::Live(record.version),
            (None, Some(tombstone)) => Standing::Retired(tombstone.version),
            (None, None) => Standing::Unknown,
        };
        let (generation, forgotten) = (self.generation, self.forgotten);
        Answer { epoch, generation, forgotten, standing }
    }

    /// Makes a record at version 0, unless there is one or a tombstone of it.
    pub fn register(
        &mut self,
        now_ms: u64,
        id: Identity,
        (name, fresh): (&str, Epoch),
        lease: Lease,
    ) -> Answer {
        let epoch = *self.epoch.get_or_insert(fresh);
        let answer = self.answer(epoch, id);
        if answer.standing != Standing::Unknown {
            return answer;
        }
        let lease_ms = until(now_ms, lease);
        self.records.insert(id, Record { lease_ms, name: name.to_owned(), ..Record::default() });
        self.answer(epoch, id)
    }

    /// Moves a record on by each batch that it stands before, and renews its lease.
    ///
    /// In another life of the shard than `epoch` it only answers.
    pub fn publish(
        &mut self,
        now_ms: u64,
        (id, epoch, fresh): (Identity, Epoch, Epoch),
        lease: Lease,
        batches: &[Batch],
    ) -> Answer {
        let current = *self.epoch.get_or_insert(fresh);
        if current != epoch {
            return self.answer(current, id);
        }
        if let Some(record) = self.records.get_mut(&id) {
            record.lease_ms = until(now_ms, lease);
            for batch in batches {
                let stands = record.version == batch.from;
                #[cfg(test)]
                let stands = stands || planted(Bug::AnyVersion);
                if stands {
                    record.version = batch.to;
                    record.texts.extend(batch.texts.iter().cloned());
                    record.values.extend(batch.values.iter().cloned());
                    for number in &batch.gone {
                        record.texts.remove(number);
                        record.values.remove(number);
                    }
                }
            }
        }
        self.answer(current, id)
    }

    /// The instances.
    #[must_use]
    pub fn roll(&self, now_ms: u64) -> Roll {
        let instances = self
            .records
            .iter()
            .map(|(id, record)| Listed { id: *id, expired: record.lease_ms <= now_ms });
        let instances = instances.collect();
        Roll { epoch: self.epoch, generation: self.generation, instances, lost: 0 }
    }

    /// What an instance published.
    #[must_use]
    pub fn state(&self, id: Identity) -> Option<State> {
        let record = self.records.get(&id)?;
        let series = record
            .values
            .iter()
            .filter_map(|(number, value)| Some((record.texts.get(number)?.clone(), value.clone())));
        let series = series.collect();
        Some(State { version: record.version, name: record.name.clone(), series })
    }

    /// The retired total.
    #[must_use]
    pub fn totals(&self, now_ms: u64, wanted: Wanted<'_>) -> Totals {
        let pair = |(key, bytes): (&Vec<u8>, &Vec<u8>)| (key.clone(), bytes.clone());
        let (tombstones, series) = match wanted {
            Wanted::All => (
                self.tombstones.values().copied().collect(),
                self.totals.iter().map(pair).collect(),
            ),
            Wanted::Keys(keys) => {
                let found = keys.iter().filter_map(|key| self.totals.get_key_value(key));
                (Vec::new(), found.map(pair).collect())
            }
        };
        let (epoch, generation, forgotten) = (self.epoch, self.generation, self.forgotten);
        Totals { epoch, generation, forgotten, now_ms, tombstones, series }
    }

    /// Folds an instance whose lease has ended, if all stands as the caller read it.
    pub fn fold(&mut self, now_ms: u64, fold: &Fold) -> Swap {
        let known = self.records.get(&fold.id);
        let ready = known.is_some_and(|record| {
            let same = record.version == fold.version;
            #[cfg(test)]
            let same = same || planted(Bug::FoldAnyVersion);
            same && record.lease_ms <= now_ms
        });
        let same = self.epoch == Some(fold.epoch) && self.generation == fold.generation;
        #[cfg(test)]
        let same = same || planted(Bug::FoldAnyGeneration);
        #[cfg(test)]
        let ready = ready || planted(Bug::FoldTwice);
        if !ready || !same {
            return Swap::Conflict;
        }
        self.generation += 1;
        self.totals.extend(fold.series.iter().cloned());
        let (id, version, generation) = (fold.id, fold.version, self.generation);
        #[cfg(test)]
        let tombless = planted(Bug::NoTombstone);
        #[cfg(not(test))]
        let tombless = false;
        if !tombless {
            self.tombstones.insert(id, Tombstone { id, version, generation, at_ms: now_ms });
        }
        self.records.remove(&id);
        Swap::Done
    }

    /// Drops retired series and tombstones, if the totals stand as the caller read them.
    pub fn prune(&mut self, prune: &Prune) -> Swap {
        if self.epoch != Some(prune.epoch) || self.generation != prune.generation {
            return Swap::Conflict;
        }
        self.generation += 1;
        for key in &prune.series {
            self.totals.remove(key);
        }
        for tombstone in &prune.tombstones {
            self.tombstones.remove(&tombstone.id);
            self.forgotten = self.forgotten.max(tombstone.generation);
        }
        Swap::Done
    }

    /// Loses a record, as an eviction does.
    #[cfg(test)]
    pub(crate) fn evict(&mut self, id: Identity) -> bool {
        self.records.remove(&id).is_some()
    }

    /// Loses the retired total, the tombstones and the epoch, which lie together.
    #[cfg(test)]
    pub(crate) fn evict_total(&mut self) {
        let records = std::mem::take(&mut self.records);
        *self = Self { records, ..Self::default() };
    }
}
