//! Everyone's state as one: live records first, the retired total last.
//!
//! In that order no lock is needed: an instance that is folded in between is in the total, which
//! names whom it contains, and its live record is left out. So no counter is seen to fall or double.

use std::{collections::HashSet, hash::BuildHasher, ops::Range};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};

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
        // A store may list them in another order every time.
        states.sort_unstable_by_key(|(id, _, _)| *id);
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
#[derive(Debug)]
pub struct Merged {
    /// Its family, by number.
    pub family: usize,
    /// When the first of it was created, Unix ns.
    pub created_ns: u64,
    /// How many live instances published it.
    pub published: usize,
    /// The first and the last of what they published, by number.
    ends: (u32, u32),
    /// What ended instances counted, by number.
    retired: Option<u32>,
    /// Where its key is among all keys.
    key: Range<usize>,
    /// Where in the same its labels begin.
    labels: usize,
    /// Of the key.
    hash: u64,
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

/// A family, as all instances have it.
#[derive(Debug)]
pub struct Family {
    /// Without labels.
    pub key: Key,
    /// The same as bytes.
    bytes: Vec<u8>,
    /// Its help, if any instance told it; the least of several, so that it is the same every time.
    pub help: String,
    /// Its unit, as its help.
    pub unit: String,
}

impl Family {
    /// Takes in what one of its series says of it.
    fn describe(&mut self, text: TextView<'_>) {
        for (known, told) in [(&mut self.help, text.help), (&mut self.unit, text.unit)] {
            if !told.is_empty() && (known.is_empty() || told < known.as_str()) {
                told.clone_into(known);
            }
        }
    }
}

/// Families of the series, none twice.
#[derive(Debug, Default)]
pub struct Families {
    list: Vec<Family>,
    by_bytes: HashMap<Vec<u8>, usize, RandomState>,
    /// The one that a series was last found in: the next one is of it too, as a rule.
    last: usize,
}

impl Families {
    /// A family by its number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<&Family> {
        self.list.get(number)
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
        if let Some(Family { bytes, .. }) = self.list.get(self.last)
            && Key::split_after(bytes, key)?.is_some()
        {
            return Ok((self.last, bytes.len()));
        }
        let (family, labels) = Key::split(key)?;
        let labels_at = key.len() - labels.len();
        let bytes = key.get(..labels_at).unwrap_or_default();
        self.last = *self.by_bytes.entry_ref(bytes).or_insert(self.list.len());
        if self.last == self.list.len() {
            let (bytes, help, unit) = (bytes.to_vec(), String::new(), String::new());
            self.list.push(Family { key: family, bytes, help, unit });
        }
        Ok((self.last, labels_at))
    }
}

/// What all instances of a namespace have.
///
/// Of a hundred thousand series nothing is allocated for one alone: that would be most of the work.
#[derive(Debug, Default)]
pub struct Everyone {
    /// In the order in which they were met.
    series: Vec<Merged>,
    /// Their keys, one after the other.
    keys: Vec<u8>,
    /// Their numbers, by key.
    by_key: HashTable<u32>,
    hashing: RandomState,
    /// Of the series.
    pub families: Families,
    /// Live instances: identity and name.
    pub instances: Vec<(Identity, String)>,
    /// What they published.
    published: Vec<Published>,
    /// What ended instances counted.
    retired: Vec<Total>,
    /// Series that could not be read.
    pub damaged: u64,
}

impl Everyone {
    /// Takes in a shard.
    pub fn add(&mut self, shard: &Shard) {
        // Each value has a place of its own; of series there are at least as many as an instance has.
        let values = || shard.states.iter().map(|(_, _, state)| state.series.len());
        let (all, most) = (values().sum(), values().max().unwrap_or(0));
        self.published.reserve(all);
        self.series.reserve(most.saturating_sub(self.series.len()));
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
                let fits = self.merged(text, &total).is_some_and(|number| {
                    let merged = self.series.get_mut(number);
                    merged.is_some_and(|one| one.publish(&mut self.published, instance, total))
                });
                self.damaged += u64::from(!fits);
            }
        }
        for (key, bytes) in &shard.totals.series {
            let fits =
                Retired::from_bytes(key, bytes).is_ok_and(|Retired { text, total, .. }| {
                    let (created_ns, help, unit) = (text.created_ns, &*text.help, &*text.unit);
                    self.merged(TextView { key, created_ns, help, unit }, &total)
                        .is_some_and(|number| self.retire(number, total))
                });
            self.damaged += u64::from(!fits);
        }
    }

    /// All series, in the order in which they were met: by instance, and then as it has them.
    pub fn series(&self) -> impl Iterator<Item = &Merged> {
        self.series.iter()
    }

    /// The series of a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Merged> {
        let number = self.find(self.hashing.hash_one(key), key)?;
        self.series.get(number)
    }

    /// The labels of a series, as bytes.
    #[must_use]
    pub fn labels(&self, merged: &Merged) -> &[u8] {
        self.keys.get(merged.labels..merged.key.end).unwrap_or_default()
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

    /// What ended instances counted of a series.
    #[must_use]
    pub fn retired(&self, merged: &Merged) -> Option<&Total> {
        self.retired.get(merged.retired? as usize)
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<usize> {
        let is_it = |number: &u32| {
            self.series
                .get(*number as usize)
                .is_some_and(|one| one.hash == hash && self.keys.get(one.key.clone()) == Some(key))
        };
        self.by_key.find(hash, is_it).map(|number| *number as usize)
    }

    /// The number of a text's series; `None` if the value can be none of it, or there are too many.
    fn merged(&mut self, text: TextView<'_>, total: &Total) -> Option<usize> {
        let hash = self.hashing.hash_one(text.key);
        let known = self.find(hash, text.key);
        let (family_number, labels_at) = match known.and_then(|number| self.series.get(number)) {
            Some(merged) => (merged.family, 0),
            None => self.families.of(text.key).ok()?,
        };
        let family = self.families.list.get_mut(family_number)?;
        if !total.is_of(family.key.kind, family.key.number, family.key.bounds.len()) {
            return None;
        }
        family.describe(text);
        if let Some(number) = known {
            let merged = self.series.get_mut(number)?;
            merged.created_ns = merged.created_ns.min(text.created_ns);
            return known;
        }
        let number = u32::try_from(self.series.len()).ok()?;
        let series = &self.series;
        let hash_of = |number: &u32| series.get(*number as usize).map_or(0, |one| one.hash);
        self.by_key.insert_unique(hash, number, hash_of);
        let start = self.keys.len();
        self.keys.extend_from_slice(text.key);
        self.series.push(Merged {
            family: family_number,
            created_ns: text.created_ns,
            published: 0,
            ends: (0, 0),
            retired: None,
            key: start..self.keys.len(),
            labels: start + labels_at,
            hash,
        });
        Some(number as usize)
    }

    /// Takes in what ended instances counted; false when it cannot be added.
    fn retire(&mut self, number: usize, total: Total) -> bool {
        let (Some(merged), Ok(own)) =
            (self.series.get_mut(number), u32::try_from(self.retired.len()))
        else {
            return false;
        };
        match merged.retired.and_then(|known| self.retired.get_mut(known as usize)) {
            Some(known) => known.add(&total).is_ok(),
            None => {
                self.retired.push(total);
                merged.retired = Some(own);
                true
            }
        }
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
