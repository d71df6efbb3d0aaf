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
        Answer, Batch, Epoch, Fold, Identity, Lease, Listed, Prune, Roll, Standing, State, Store,
        Strategy, Swap, Totals, Wanted,
    },
    heads::{Ledger, Record},
    ledger::{
        Change, LEDGER_EXTRA_MS, PAGE, TRIES, by_id, by_key, id_of, ms, restless, tombstone,
        tombstone_bytes,
    },
    pages::{Changes, Entry},
    probe,
    records::{Found, changed, state_of},
    shelf::{Fault, Shelf},
};
use crate::model::Error;

/// Instances that are read in one step, which has one deadline.
pub(super) const STATES_AT_ONCE: usize = 32;
/// How often a step that only reads is tried: it takes nothing from those that swap.
const READS: usize = 200;

/// A store over items that can be compared and swapped.
#[derive(Debug)]
pub struct BasicStore {
    pub(super) shelf: Shelf,
}

fn answer(ledger: &Ledger, standing: Standing) -> Answer {
    let Ledger { epoch, generation, forgotten, .. } = *ledger;
    Answer { epoch, generation, forgotten, standing }
}

impl BasicStore {
    pub(super) fn new(shelf: Shelf) -> Self {
        Self { shelf }
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
        let mut states = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            if index % STATES_AT_ONCE == 0 {
                self.shelf.items.begin();
            }
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
