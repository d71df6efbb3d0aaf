//! What an arena publishes, and what it makes of the answers: a machine without clock or store.
//!
//! Published value = cells − base. The base is exactly what the store's retired total holds of this
//! arena, so that a store that folded a slow owner, lost its record or lost everything is answered
//! with values that neither double nor miss. One message is in flight at a time: what may have been
//! applied is sent again unchanged until its fate is known, because the same versions written twice
//! change nothing.

use std::{collections::HashMap, sync::Arc};

#[cfg(test)]
use super::planted::{Bug, planted};
use super::{journal::Unwritten, slot::Slot};
use crate::store::{Answer, Batch, Epoch, Identity, Standing, Text, Total};

/// Series of one batch: a step of a record that a store takes at once.
const BATCH_SERIES: usize = 2048;
/// Bytes of texts and values of one batch, unless one series alone has more.
const BATCH_BYTES: usize = 256 << 10;

/// What happened to an arena's records, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mishaps {
    /// It was retired while it lived, and goes on under another identity.
    pub retired: u64,
    /// Its record was lost, and sent again.
    pub lost: u64,
    /// The store lost everything, and was sent everything.
    pub resets: u64,
    /// The store went back to an earlier version.
    pub rollbacks: u64,
    /// Nothing told whether a record was folded: what it held is taken as folded.
    pub ambiguous: u64,
}

/// One step of a record with the values behind its bytes.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) to: u64,
    pub(super) values: Vec<(u32, Total)>,
    pub(super) gone: Vec<u32>,
}

/// The publishing side of one arena.
#[derive(Debug)]
pub struct Publisher {
    pub(super) identity: Identity,
    pub(super) registered: bool,
    pub(super) shards: u32,
    /// What store that is, as a person would call it.
    pub(super) place: String,
    pub(super) epoch: Option<Epoch>,
    /// Of the last answer.
    pub(super) generation: u64,
    /// Version that the record is known to have stood at.
    pub(super) version: u64,
    /// Highest version that was ever sent.
    pub(super) highest: u64,
    /// In flight, or about to be.
    pub(super) batches: Vec<Batch>,
    pub(super) sent: Vec<Sent>,
    /// The record holds something else than `acked` says: everything is sent again.
    pub(super) rewrite: bool,
    /// When all series were last looked at, Unix ns.
    pub(super) looked_ns: u64,
    pub(super) slots: Vec<Slot>,
    pub(super) numbers: HashMap<Arc<[u8]>, u32>,
    /// Grows when series get other numbers.
    numbering: u64,
    /// It ended its record itself: that it is retired is no mishap.
    renewed: bool,
    pub(super) mishaps: Mishaps,
    pub(super) unwritten: Unwritten,
}

impl Publisher {
    /// A publisher of an arena that never published; `draw` gives random bits.
    pub fn new(shards: u32, draw: &mut dyn FnMut() -> u128) -> Self {
        Self {
            identity: Identity(draw()),
            registered: false,
            shards,
            place: String::new(),
            epoch: None,
            generation: 0,
            version: 0,
            highest: 0,
            batches: Vec::new(),
            sent: Vec::new(),
            rewrite: false,
            looked_ns: 0,
            slots: Vec::new(),
            numbers: HashMap::new(),
            numbering: 0,
            renewed: false,
            mishaps: Mishaps::default(),
            unwritten: Unwritten { whole: true, ..Unwritten::default() },
        }
    }

    /// Who publishes now.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether its identity has a record, as far as is known.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.registered
    }

    /// The epoch that it believes the store to be in; `fresh` before the first answer.
    #[must_use]
    pub fn epoch(&self, fresh: Epoch) -> Epoch {
        self.epoch.unwrap_or(fresh)
    }

    /// What happened so far.
    #[must_use]
    pub fn mishaps(&self) -> Mishaps {
        self.mishaps
    }

    /// Takes back what is counted as a mishap and was asked for.
    pub(super) fn forgive(&mut self, before: Mishaps) {
        self.mishaps = before;
    }

    /// What is to be sent, the same until it is answered; empty renews the lease.
    #[must_use]
    pub fn batches(&self) -> &[Batch] {
        &self.batches
    }

    /// Series that are kept, gone ones with them.
    #[must_use]
    pub fn series(&self) -> usize {
        self.slots.len()
    }

    /// Gone series that a store has been told of: they are kept until the record is retired.
    #[must_use]
    pub fn gone(&self) -> usize {
        self.slots.iter().filter(|slot| slot.gone).count()
    }

    /// Changes when series got other numbers: those of before mean nothing then.
    #[must_use]
    pub fn numbering(&self) -> u64 {
        self.numbering
    }

    /// The number of a series, new or known.
    pub fn series_number(&mut self, text: &Text, zero: &Total) -> u32 {
        if let Some(number) = self.numbers.get(text.key.as_slice()) {
            return *number;
        }
        // A snapshot numbers its series in 32 bits too.
        let number = self.slots.len() as u32;
        let key: Arc<[u8]> = text.key.as_slice().into();
        self.numbers.insert(Arc::clone(&key), number);
        self.slots.push(Slot::new(key, text, zero.clone()));
        number
    }

    /// Whether a series of this key is known.
    #[cfg(test)]
    pub(super) fn knows(&self, key: &[u8]) -> bool {
        self.numbers.contains_key(key)
    }

    /// The cells of a series as they are now.
    pub fn observe(&mut self, number: u32, created_ns: u64, cells: Total) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.observe(created_ns, self.looked_ns, cells);
        }
    }

    /// All series were shown as they stood then, Unix ns.
    pub fn looked(&mut self, time_unix_ns: u64) {
        self.looked_ns = time_unix_ns;
    }

    /// A series is no longer in the arena: what it counted stays, a level goes.
    pub fn vanish(&mut self, number: u32) {
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.vanish();
        }
    }

    /// It ends its record to begin anew.
    pub fn is_renewed(&mut self) {
        self.renewed = true;
    }

    /// Goes on under another identity, without the series that are gone and what they counted.
    pub fn forget(&mut self, draw: &mut dyn FnMut() -> u128) {
        self.slots.retain(|slot| !slot.gone);
        self.rename(draw);
    }

    /// Takes up what changed, unless something is in flight. False then.
    pub fn plan(&mut self) -> bool {
        if !self.batches.is_empty() {
            return false;
        }
        let mut planner =
            Planner { version: self.version, highest: self.highest, ..Default::default() };
        for (number, slot) in self.slots.iter().enumerate() {
            let number = number as u32;
            if slot.gone && !slot.cells.outlives_its_instance() {
                if slot.told || self.rewrite {
                    planner.gone(number);
                }
                continue;
            }
            let value = slot.published();
            let known = slot.acked.as_ref().is_some_and(|acked| acked.same(&value));
            // Nothing since a fold is told too: what is retired of a series stays while an instance has it.
            if known && !self.rewrite {
                continue;
            }
            let text = (!slot.told || self.rewrite).then(|| slot.text());
            planner.value(number, text, value);
        }
        planner.close();
        self.highest = planner.highest;
        (self.batches, self.sent) = (planner.batches, planner.sent);
        self.rewrite &= !self.batches.is_empty();
        self.unwritten.planned |= !self.batches.is_empty();
        true
    }

    /// What the store said to `register`.
    pub fn registered(&mut self, answer: &Answer, draw: &mut dyn FnMut() -> u128) {
        self.enter(answer);
        match answer.standing {
            Standing::Live(0) => {
                self.registered = true;
                self.unwritten.whole = true;
            }
            // A late message made it, or it is someone else's: it holds nothing of ours.
            _ => self.rename(draw),
        }
        self.generation = answer.generation;
    }

    /// `register` failed, and may still take place: then under an identity that nobody publishes to.
    ///
    /// A late message would otherwise make a lost or folded record anew, and late publishes fill it.
    pub fn abandon(&mut self, draw: &mut dyn FnMut() -> u128) {
        #[cfg(test)]
        if planted(Bug::RegisterAgain) {
            return;
        }
        self.rename(draw);
    }

    /// What the store said to `publish`. True when all that was sent is in the record.
    pub fn answered(&mut self, answer: &Answer, draw: &mut dyn FnMut() -> u128) -> bool {
        let reset = self.enter(answer);
        self.unwritten.settled |=
            self.generation != answer.generation || answer.standing != Standing::Live(self.version);
        self.unwritten.whole |= reset;
        // A fold since the last answer has a higher generation, in a new epoch any: if no tombstone
        // of those was dropped, a record without one was not folded.
        let since = if reset { 0 } else { self.generation };
        let unfolded = answer.forgotten <= since && answer.generation >= since;
        #[cfg(test)]
        let unfolded = unfolded || planted(Bug::LostMeansUnfolded);
        match answer.standing {
            Standing::Live(version) => self.live(version, unfolded, draw),
            Standing::Retired(version) => {
                self.mishaps.retired += u64::from(!self.renewed);
                self.retired(version);
                self.rename(draw);
            }
            Standing::Unknown => {
                if unfolded {
                    self.mishaps.lost += u64::from(!reset);
                } else {
                    self.mishaps.ambiguous += 1;
                    self.take_all_as_folded();
                }
                self.rename(draw);
            }
        }
        self.generation = answer.generation;
        // A store that began anew, or went back, has to be told more than was planned.
        self.registered && self.batches.is_empty() && !self.rewrite && !reset
    }

    /// Enters the store's epoch. In another one nothing of this arena is in the retired total.
    fn enter(&mut self, answer: &Answer) -> bool {
        let before = self.epoch.replace(answer.epoch);
        let reset = before.is_some_and(|before| before != answer.epoch);
        if reset {
            self.mishaps.resets += 1;
            #[cfg(test)]
            if planted(Bug::BaseOutlivesEpoch) {
                return reset;
            }
            self.slots.iter_mut().for_each(|slot| slot.base = None);
        }
        reset
    }

    fn live(&mut self, version: u64, unfolded: bool, draw: &mut dyn FnMut() -> u128) {
        if version == self.version {
            return;
        }
        if self.sent.iter().any(|sent| sent.to == version) {
            self.settle(version);
            return;
        }
        // All that was sent may have been there: what is taken as folded is never too little.
        self.settle(u64::MAX);
        if version > self.highest || !unfolded {
            // Another publisher uses this identity, a copied process; or the record was folded, and
            // a late message made another one.
            self.mishaps.ambiguous += 1;
            self.take_all_as_folded();
            self.rename(draw);
            return;
        }
        self.mishaps.rollbacks += 1;
        self.unwritten.whole = true;
        self.version = version;
        self.rewrite = true;
    }

    /// The record has taken every batch up to a version.
    pub(super) fn settle(&mut self, version: u64) {
        let taken = self.sent.iter().take_while(|sent| sent.to <= version).count();
        for sent in self.sent.drain(..taken) {
            for (number, value) in sent.values {
                if let Some(slot) = self.slots.get_mut(number as usize) {
                    slot.told = true;
                    slot.acked = Some(value);
                }
            }
            for number in sent.gone {
                if let Some(slot) = self.slots.get_mut(number as usize) {
                    (slot.told, slot.acked) = (false, None);
                }
            }
            self.version = sent.to;
        }
        self.batches.drain(..taken);
        if self.sent.is_empty() {
            self.rewrite = false;
        }
    }

    /// The record was folded at a version.
    fn retired(&mut self, version: u64) {
        if version == 0 {
            // Nothing is in a record at version 0.
            return;
        }
        let exact = version == self.version || self.sent.iter().any(|sent| sent.to == version);
        if exact && !self.rewrite {
            self.settle(version);
        } else {
            self.mishaps.ambiguous += 1;
            self.settle(u64::MAX);
        }
        self.take_acknowledged_as_folded();
    }

    pub(super) fn take_all_as_folded(&mut self) {
        self.settle(u64::MAX);
        self.take_acknowledged_as_folded();
    }

    fn take_acknowledged_as_folded(&mut self) {
        #[cfg(test)]
        if planted(Bug::NoBase) {
            return;
        }
        self.slots.iter_mut().for_each(Slot::fold);
    }

    /// Goes on under another identity of the same shard, which has nothing yet.
    pub(super) fn rename(&mut self, draw: &mut dyn FnMut() -> u128) {
        let shard = self.identity.shard(self.shards);
        let other = |id: &Identity| id.shard(self.shards) == shard && *id != self.identity;
        let drawn = std::iter::repeat_with(|| Identity(draw())).take(100_000).find(other);
        self.identity = drawn.unwrap_or(Identity(self.identity.0 ^ (1 << 64)));
        (self.registered, self.renewed) = (false, false);
        self.unwritten.whole = true;
        (self.version, self.highest) = (0, 0);
        self.batches.clear();
        self.sent.clear();
        self.rewrite = false;
        // Numbers belong to a record: those of series that are gone and folded are free again.
        self.slots.retain_mut(|slot| {
            (slot.told, slot.acked) = (false, None);
            !(slot.gone && slot.owes_nothing())
        });
        self.numbering += 1;
        self.numbers.clear();
        for (number, slot) in self.slots.iter().enumerate() {
            self.numbers.insert(Arc::clone(&slot.key), number as u32);
        }
    }
}

/// Cuts changes into batches.
#[derive(Default)]
struct Planner {
    version: u64,
    highest: u64,
    bytes: usize,
    open: (Batch, Vec<(u32, Total)>),
    batches: Vec<Batch>,
    sent: Vec<Sent>,
}

impl Planner {
    fn value(&mut self, number: u32, text: Option<Vec<u8>>, value: Total) {
        let bytes = value.to_bytes();
        let size = bytes.len() + text.as_ref().map_or(0, Vec::len);
        if self.bytes + size > BATCH_BYTES || self.open.1.len() >= BATCH_SERIES {
            self.close();
        }
        self.bytes += size;
        let (batch, values) = &mut self.open;
        batch.texts.extend(text.map(|text| (number, text)));
        batch.values.push((number, bytes));
        values.push((number, value));
    }

    fn gone(&mut self, number: u32) {
        self.open.0.gone.push(number);
    }

    fn close(&mut self) {
        let (mut batch, values) = std::mem::take(&mut self.open);
        self.bytes = 0;
        if batch.values.is_empty() && batch.gone.is_empty() {
            return;
        }
        self.highest += 1;
        (batch.from, batch.to) = (self.version, self.highest);
        self.version = self.highest;
        self.sent.push(Sent { to: batch.to, values, gone: batch.gone.clone() });
        self.batches.push(batch);
    }
}
