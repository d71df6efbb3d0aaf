//! Everyone's state as one: live records first, the retired total last.
//!
//! In that order no lock is needed: an instance that is folded in between is in the total, which
//! names whom it contains, and its live record is left out. So no counter is seen to fall or double.

use std::collections::HashSet;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, hash_map::EntryRef};

#[cfg(test)]
use super::planted::{Bug, planted};
use crate::{
    model::{Error, ErrorKind},
    store::{Identity, Key, Retired, Roll, State, Store, TextView, Total, Totals, Wanted},
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
    /// Its family, by number.
    pub family: usize,
    /// How many bytes of its key are the family's; the labels follow.
    pub labels_at: usize,
    /// When the first of it was created, Unix ns.
    pub created_ns: u64,
    /// The family's help, if any instance told it.
    pub help: String,
    /// The family's unit, if any instance told it.
    pub unit: String,
    /// What ended instances counted.
    pub retired: Option<Total>,
    /// How many live instances published it.
    pub published: usize,
    /// The first and the last of what they published, by number.
    ends: (u32, u32),
}

/// What a live instance published of a series.
#[derive(Debug)]
struct Published {
    instance: u32,
    /// Of the same series, by number; of the last one its own.
    next: u32,
    total: Total,
}

impl Merged {
    /// Takes in what an instance published; false when there are more than can be numbered.
    fn publish(&mut self, published: &mut Vec<Published>, instance: usize, total: Total) -> bool {
        let (Ok(instance), Ok(own)) = (u32::try_from(instance), u32::try_from(published.len()))
        else {
            return false;
        };
        published.push(Published { instance, next: own, total });
        if self.published == 0 {
            self.ends = (own, own);
        } else if let Some(last) = published.get_mut(self.ends.1 as usize) {
            (last.next, self.ends.1) = (own, own);
        }
        self.published += 1;
        true
    }
}

/// Families of the series, none twice.
#[derive(Debug, Default)]
pub struct Families {
    /// Without labels; with their bytes.
    list: Vec<(Key, Vec<u8>)>,
    by_bytes: HashMap<Vec<u8>, usize, RandomState>,
    /// The one that a series was last found in: the next one is of it too, as a rule.
    last: usize,
}

impl Families {
    /// A family by its number: its key has no labels.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&Key> {
        self.list.get(number).map(|(family, _)| family)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number of a key's family, and how many bytes of the key that has.
    fn of(&mut self, key: &[u8]) -> Result<(usize, usize), Error> {
        if let Some((_, bytes)) = self.list.get(self.last)
            && Key::split_after(bytes, key)?.is_some()
        {
            return Ok((self.last, bytes.len()));
        }
        let (family, labels) = Key::split(key)?;
        let labels_at = key.len() - labels.len();
        let bytes = key.get(..labels_at).unwrap_or_default();
        self.last = *self.by_bytes.entry_ref(bytes).or_insert(self.list.len());
        if self.last == self.list.len() {
            self.list.push((family, bytes.to_vec()));
        }
        Ok((self.last, labels_at))
    }
}

/// What all instances of a namespace have.
#[derive(Debug, Default)]
pub struct Everyone {
    /// By bytes of the key.
    pub series: HashMap<Vec<u8>, Merged, RandomState>,
    /// Of the series.
    pub families: Families,
    /// Live instances: identity and name.
    pub instances: Vec<(Identity, String)>,
    /// What they published, in one list: a list for each series would be most of the work.
    published: Vec<Published>,
    /// Series that could not be read.
    pub damaged: u64,
}

impl Everyone {
    /// Takes in a shard.
    pub fn add(&mut self, shard: &Shard) {
        for (key, bytes) in &shard.totals.series {
            match Retired::from_bytes(key, bytes) {
                Ok(Retired { text, total, .. }) => {
                    let (created_ns, help, unit) = (text.created_ns, &*text.help, &*text.unit);
                    let view = TextView { key, created_ns, help, unit };
                    let Some((merged, _)) = self.merged(view, &total) else { continue };
                    let added = match &mut merged.retired {
                        Some(known) => known.add(&total),
                        none => {
                            *none = Some(total);
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
            for (text, value) in state.series.iter() {
                let (Ok(text), Ok(total)) = (TextView::of(text), Total::from_bytes(value)) else {
                    self.damaged += 1;
                    continue;
                };
                // A dead process has nothing in flight, and its gauges are nobody's.
                if *expired && !total.outlives_its_instance() {
                    continue;
                }
                if let Some((merged, published)) = self.merged(text, &total) {
                    let fits = merged.publish(published, instance, total);
                    self.damaged += u64::from(!fits);
                }
            }
        }
    }

    /// What live instances published of a series, with the numbers of the instances.
    pub fn published(&self, merged: &Merged) -> impl Iterator<Item = (usize, &Total)> + Clone {
        let mut at = merged.ends.0;
        (0..merged.published).map_while(move |_| {
            let Published { instance, next, total } = self.published.get(at as usize)?;
            at = *next;
            Some((*instance as usize, total))
        })
    }

    /// The series of a text, if the value can be one of it, and what was published so far.
    fn merged(
        &mut self,
        text: TextView<'_>,
        total: &Total,
    ) -> Option<(&mut Merged, &mut Vec<Published>)> {
        let merged = match self.series.entry_ref(text.key) {
            EntryRef::Occupied(known) => known.into_mut(),
            EntryRef::Vacant(new) => {
                let Ok((family, labels_at)) = self.families.of(text.key) else {
                    self.damaged += 1;
                    return None;
                };
                new.insert(Merged {
                    family,
                    labels_at,
                    created_ns: text.created_ns,
                    help: String::new(),
                    unit: String::new(),
                    retired: None,
                    published: 0,
                    ends: (0, 0),
                })
            }
        };
        let family = self.families.get(merged.family)?;
        if !total.is_of(family.kind, family.number, family.bounds.len()) {
            self.damaged += 1;
            return None;
        }
        merged.created_ns = merged.created_ns.min(text.created_ns);
        if merged.help.is_empty() {
            text.help.clone_into(&mut merged.help);
        }
        if merged.unit.is_empty() {
            text.unit.clone_into(&mut merged.unit);
        }
        Some((merged, &mut self.published))
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
