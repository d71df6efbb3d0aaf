//! A store of items that nothing can swap: each instance has its own keys, and only those.
//!
//! Instances find each other by slots, which are taken with `add`; whose slot shows someone else takes
//! another one. Nothing is folded, for nothing could be sure to be folded once: what an instance that
//! ended has counted goes when its items go, and totals fall then. A write that arrives late can take a
//! record back, until its owner's next one.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use super::{
    super::{
        Answer, Batch, Epoch, Fold, Identity, Lease, Listed, Prune, Roll, Standing, State, Store,
        Strategy, Swap, Totals, Wanted,
    },
    basic::STATES_AT_ONCE,
    heads::{Record, Sort, unwrap, wrap},
    ledger::ms,
    probe,
    records::{changed, state_of},
    shelf::{Fault, Shelf},
};
use crate::model::{Error, ErrorKind};

/// Slots that one mark stands for.
const BLOCK: u64 = 32;
/// Most blocks.
const MAX_BLOCKS: u64 = 1024;
/// The only life of such a store: what it loses is sent again by whoever misses it.
const EPOCH: Epoch = Epoch(1);

/// A store over items that cannot be compared and swapped.
#[derive(Debug)]
pub struct ManualStore {
    shelf: Shelf,
    /// This instance's, once it has one.
    slot: Option<(u64, Identity)>,
}

fn answer(standing: Standing) -> Answer {
    Answer { epoch: EPOCH, generation: 0, forgotten: 0, standing }
}

impl ManualStore {
    pub(super) fn new(shelf: Shelf) -> Self {
        Self { shelf, slot: None }
    }

    fn record_key(&self, id: Identity) -> String {
        self.shelf.key(format_args!("i:{id}"))
    }

    fn slot_key(&self, slot: u64) -> String {
        self.shelf.key(format_args!("s:{slot}"))
    }

    fn block_key(&self, block: u64) -> String {
        self.shelf.key(format_args!("b:{block}"))
    }

    fn record(&mut self, id: Identity) -> Result<Option<Record>, Error> {
        let key = self.record_key(id);
        let Some(item) = self.shelf.items.get(&key)? else { return Ok(None) };
        Record::from_bytes(&key, &item.bytes)
    }

    /// Who has each of these slots.
    fn holders(
        &mut self,
        slots: impl Iterator<Item = u64>,
    ) -> Result<Vec<Option<Identity>>, Error> {
        let keys: Vec<String> = slots.map(|slot| self.slot_key(slot)).collect();
        let items = self.shelf.items.get_many(&keys)?;
        let holder = |(key, item): (&String, Option<super::Item>)| {
            let Some(item) = item else { return Ok(None) };
            let (_, content) = unwrap(key, &[Sort::Slot], &item.bytes)?;
            let id = content.try_into().ok().map(|bytes| Identity(u128::from_be_bytes(bytes)));
            Ok(id)
        };
        keys.iter().zip(items).map(holder).collect()
    }

    /// The slot that leads to this instance, if another process of its arena took one.
    fn slot_of(&mut self, id: Identity) -> Result<Option<u64>, Error> {
        for block in 0..MAX_BLOCKS {
            let key = self.block_key(block);
            if self.shelf.items.get(&key)?.is_none() {
                break;
            }
            let slots = block * BLOCK..(block + 1) * BLOCK;
            let holders = self.holders(slots.clone())?;
            if let Some((slot, _)) = slots.zip(holders).find(|(_, holder)| *holder == Some(id)) {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Sees to it that a slot leads to this instance: its own, or another one if that was taken.
    fn hold_slot(&mut self, id: Identity, ttl: Duration) -> Result<(), Error> {
        let mark = wrap(Sort::Slot, &id.0.to_be_bytes());
        if self.slot.is_none() {
            self.slot = self.slot_of(id)?.map(|slot| (slot, id));
        }
        if let Some((slot, before)) = self.slot {
            let holder = self.holders(std::iter::once(slot))?.into_iter().next().flatten();
            if holder.is_none_or(|holder| holder == before || holder == id) {
                for block in 0..=slot / BLOCK {
                    let key = self.block_key(block);
                    self.shelf.items.set(&key, &wrap(Sort::Slot, &[]), ttl)?;
                }
                let key = self.slot_key(slot);
                self.shelf.items.set(&key, &mark, ttl)?;
                self.slot = Some((slot, id));
                return Ok(());
            }
            self.slot = None;
        }
        for block in 0..MAX_BLOCKS {
            let key = self.block_key(block);
            self.shelf.items.add(&key, &wrap(Sort::Slot, &[]), ttl)?;
            let slots = block * BLOCK..(block + 1) * BLOCK;
            for (slot, holder) in slots.clone().zip(self.holders(slots)?) {
                let key = self.slot_key(slot);
                if holder.is_none() && self.shelf.items.add(&key, &mark, ttl)? {
                    self.slot = Some((slot, id));
                    return Ok(());
                }
            }
        }
        let message =
            format!("the store has {} instances, and room for no more", MAX_BLOCKS * BLOCK);
        Err(Error::new(ErrorKind::Limit, message))
    }

    fn write(&mut self, id: Identity, record: &Record, ttl: Duration) -> Result<(), Error> {
        let key = self.record_key(id);
        self.shelf.items.set(&key, &record.to_bytes(), ttl)
    }
}

impl Store for ManualStore {
    fn strategy(&self) -> Strategy {
        Strategy::DistributedManual
    }

    fn end_by(&mut self, end: Option<Instant>) {
        self.shelf.items.end_by(end);
    }

    fn probe(&mut self) -> Result<(), Error> {
        self.shelf.items.begin();
        match probe::probe(&mut self.shelf)? {
            probe::Found::Basic | probe::Found::Manual(_) => Ok(()),
            probe::Found::Nothing => {
                Err(probe::worse(&self.shelf, "it does not give back what was written"))
            }
        }
    }

    fn register(
        &mut self,
        id: Identity,
        name: &str,
        _: Epoch,
        lease: Lease,
    ) -> Result<Answer, Error> {
        self.shelf.items.begin();
        if let Some(record) = self.record(id)? {
            return Ok(answer(Standing::Live(record.version)));
        }
        let now = self.shelf.now_ms();
        let record = Record {
            epoch: EPOCH,
            version: 0,
            until_ms: now.saturating_add(ms(lease.alive)),
            sealed: false,
            kept_ms: now,
            name: name.to_owned(),
            texts: Default::default(),
            values: Default::default(),
        };
        self.write(id, &record, lease.data)?;
        let before = self.slot.map(|(_, before)| before).filter(|before| *before != id);
        self.hold_slot(id, lease.data)?;
        if let Some(before) = before {
            // Nothing leads to it any more.
            let key = self.record_key(before);
            self.shelf.items.delete(&key)?;
        }
        Ok(answer(Standing::Live(0)))
    }

    fn publish(
        &mut self,
        id: Identity,
        (epoch, _): (Epoch, Epoch),
        lease: Lease,
        batches: &[Batch],
    ) -> Result<Answer, Error> {
        self.shelf.items.begin();
        let Some(record) = self.record(id)? else { return Ok(answer(Standing::Unknown)) };
        if epoch != EPOCH {
            return Ok(answer(Standing::Live(record.version)));
        }
        let next = match changed(&mut self.shelf, &record, lease, batches) {
            Ok(next) => next,
            // A page is lost, so all of it is.
            Err(Fault::Missing(_)) => return Ok(answer(Standing::Unknown)),
            Err(Fault::Failed(error)) => return Err(error),
        };
        self.write(id, &next, lease.data)?;
        self.shelf.remove(&[&record.texts, &record.values], &[&next.texts, &next.values]);
        self.hold_slot(id, lease.data)?;
        Ok(answer(Standing::Live(next.version)))
    }

    fn roll(&mut self, _: u32) -> Result<Roll, Error> {
        self.shelf.items.begin();
        let now = self.shelf.now_ms();
        // Processes of one arena may have taken a slot each, at once.
        let (mut instances, mut seen) = (Vec::new(), HashSet::new());
        for block in 0..MAX_BLOCKS {
            let key = self.block_key(block);
            if self.shelf.items.get(&key)?.is_none() {
                break;
            }
            let holders = self.holders(block * BLOCK..(block + 1) * BLOCK)?;
            let ids: Vec<Identity> =
                holders.into_iter().flatten().filter(|id| seen.insert(*id)).collect();
            let keys: Vec<String> = ids.iter().map(|id| self.record_key(*id)).collect();
            let items = self.shelf.items.get_many(&keys)?;
            for ((id, key), item) in ids.iter().zip(&keys).zip(items) {
                let record = item.map(|item| Record::from_bytes(key, &item.bytes)).transpose()?;
                if let Some(record) = record.flatten() {
                    instances.push(Listed { id: *id, expired: record.until_ms <= now });
                }
            }
        }
        Ok(Roll { epoch: Some(EPOCH), generation: 0, instances, lost: 0 })
    }

    fn states(&mut self, _: u32, ids: &[Identity]) -> Result<Vec<Option<State>>, Error> {
        let mut states = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            if index % STATES_AT_ONCE == 0 {
                self.shelf.items.begin();
            }
            let mut state = None;
            // Once more, where its owner wrote it meanwhile; a page that is lost then takes it along.
            for _ in 0..3 {
                let Some(record) = self.record(*id)? else { break };
                match state_of(&mut self.shelf, &record) {
                    Ok(read) => {
                        state = Some(read);
                        break;
                    }
                    Err(Fault::Missing(_)) => {}
                    Err(Fault::Failed(error)) => return Err(error),
                }
            }
            states.push(state);
        }
        Ok(states)
    }

    fn totals(&mut self, _: u32, _: Wanted<'_>) -> Result<Totals, Error> {
        Ok(Totals {
            epoch: Some(EPOCH),
            generation: 0,
            forgotten: 0,
            now_ms: self.shelf.now_ms(),
            tombstones: Vec::new(),
            series: Vec::new(),
        })
    }

    fn fold(&mut self, _: &Fold) -> Result<Swap, Error> {
        Ok(Swap::Conflict)
    }

    fn prune(&mut self, _: &Prune) -> Result<Swap, Error> {
        Ok(Swap::Conflict)
    }
}
