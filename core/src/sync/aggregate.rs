//! Everyone's state as one: live records first, the retired total last.
//!
//! In that order no lock is needed: an instance that is folded in between is in the total, which
//! names whom it contains, and its live record is left out. So no counter is seen to fall or double.

use std::collections::{HashMap, HashSet};

#[cfg(test)]
use super::planted::{Bug, planted};
use crate::{
    model::{Error, ErrorKind},
    store::{Identity, Key, Retired, Roll, State, Store, Text, Total, Totals, Wanted},
};

/// The live records of a shard, as they were read before its retired total.
#[derive(Debug)]
pub struct Live {
    shard: u32,
    roll: Roll,
    states: Vec<(Identity, bool, State)>,
}

impl Live {
    /// Reads them.
    ///
    /// # Errors
    /// What the store answers.
    pub fn read(store: &mut dyn Store, shard: u32, roll: Roll) -> Result<Self, Error> {
        let ids: Vec<Identity> = roll.instances.iter().map(|listed| listed.id).collect();
        let states = store.states(shard, &ids)?;
        let states = roll.instances.iter().zip(states);
        let states = states.filter_map(|(listed, state)| Some((listed.id, listed.expired, state?)));
        let states = states.collect();
        Ok(Self { shard, roll, states })
    }

    /// Reads the retired total, after the records.
    ///
    /// `None` when the two do not belong together: the store began anew in between, or it dropped
    /// tombstones of folds that took place in between. Then all is to be read again.
    ///
    /// # Errors
    /// What the store answers.
    pub fn finish(self, store: &mut dyn Store) -> Result<Option<Shard>, Error> {
        let totals = store.totals(self.shard, Wanted::All)?;
        let begun_anew = self.roll.epoch != totals.epoch && self.roll.epoch.is_some();
        if begun_anew || totals.forgotten > self.roll.generation {
            return Ok(None);
        }
        let folded: HashSet<Identity> =
            totals.tombstones.iter().map(|tombstone| tombstone.id).collect();
        let mut states = self.states;
        #[cfg(test)]
        let folded = if planted(Bug::CountFoldedTwice) { HashSet::new() } else { folded };
        states.retain(|(id, _, _)| !folded.contains(id));
        Ok(Some(Shard { states, totals }))
    }
}

/// A shard, read whole.
#[derive(Debug)]
pub struct Shard {
    /// Who published what, and whether the lease had ended.
    pub(super) states: Vec<(Identity, bool, State)>,
    /// What ended.
    pub(super) totals: Totals,
}

/// One series of all instances.
#[derive(Debug, Clone)]
pub struct Merged {
    /// What it is.
    pub key: Key,
    /// When the first of it was created, Unix ns.
    pub created_ns: u64,
    /// The family's help, if any instance told it.
    pub help: String,
    /// The family's unit, if any instance told it.
    pub unit: String,
    /// What ended instances counted.
    pub retired: Option<Total>,
    /// What each live instance published, with the number of the instance.
    pub live: Vec<(usize, Total)>,
}

/// What all instances of a namespace have.
#[derive(Debug, Default)]
pub struct Everyone {
    /// By bytes of the key.
    pub series: HashMap<Vec<u8>, Merged>,
    /// Live instances: identity and name.
    pub instances: Vec<(Identity, String)>,
    /// Series that could not be read.
    pub damaged: u64,
}

impl Everyone {
    /// Takes in a shard.
    pub fn add(&mut self, shard: &Shard) {
        for (key, bytes) in &shard.totals.series {
            match Retired::from_bytes(key, bytes) {
                Ok(retired) => {
                    let Some(merged) = self.merged(retired.text, &retired.total) else { continue };
                    let added = match &mut merged.retired {
                        Some(total) => total.add(&retired.total),
                        none => {
                            *none = Some(retired.total);
                            Ok(())
                        }
                    };
                    self.damaged += u64::from(added.is_err());
                }
                Err(_) => self.damaged += 1,
            }
        }
        for (id, expired, state) in &shard.states {
            let instance = self.instances.len();
            self.instances.push((*id, state.name.clone()));
            for (text, value) in &state.series {
                let (Ok(text), Ok(total)) = (Text::from_bytes(text), Total::from_bytes(value))
                else {
                    self.damaged += 1;
                    continue;
                };
                // A dead process has nothing in flight, and its gauges are nobody's.
                if *expired && !total.outlives_its_instance() {
                    continue;
                }
                if let Some(merged) = self.merged(text, &total) {
                    merged.live.push((instance, total));
                }
            }
        }
    }

    /// The series of a text, if the value can be one of it.
    fn merged(&mut self, text: Text, total: &Total) -> Option<&mut Merged> {
        let Text { key: bytes, created_ns, help, unit } = text;
        if !self.series.contains_key(&bytes) {
            let Ok(key) = Key::from_bytes(&bytes) else {
                self.damaged += 1;
                return None;
            };
            let (retired, live) = (None, Vec::new());
            let new =
                Merged { key, created_ns, help: String::new(), unit: String::new(), retired, live };
            self.series.insert(bytes.clone(), new);
        }
        let merged = self.series.get_mut(&bytes)?;
        let Key { kind, number, bounds, .. } = &merged.key;
        if !total.is_like(&Total::zero(*kind, *number, bounds.len())) {
            self.damaged += 1;
            return None;
        }
        merged.created_ns = merged.created_ns.min(created_ns);
        if merged.help.is_empty() {
            merged.help = help;
        }
        if merged.unit.is_empty() {
            merged.unit = unit;
        }
        Some(merged)
    }
}

/// Tries before an aggregate is given up.
const TRIES: usize = 5;

/// Reads one shard in the order that needs no lock.
///
/// # Errors
/// What the store answers; Unavailable when the store kept beginning anew.
pub fn read_shard(store: &mut dyn Store, shard: u32) -> Result<Shard, Error> {
    for _ in 0..TRIES {
        let roll = store.roll(shard)?;
        if let Some(shard) = Live::read(store, shard, roll)?.finish(store)? {
            return Ok(shard);
        }
    }
    let message = "the store changed under every try to read it: are tombstones dropped at once?";
    Err(Error::new(ErrorKind::Unavailable, message))
}
