//! Folding what ended into the retired total, once.
//!
//! Read the record, read the totals, add, swap: the store takes the sums only if record, totals and
//! lease still stand as they were read, and a tombstone and the end of the record come in the same
//! step. Whoever loses the race reads again.

use std::collections::HashMap;

use crate::{
    model::Error,
    store::{
        Fold, Identity, Prune, Retired, Roll, Store, Swap, Text, Tombstone, Total, Totals, Wanted,
    },
};

/// Conflicts of one pass, before it gives way.
const CONFLICTS: u64 = 3;
/// Most tombstones of a shard.
const MAX_TOMBSTONES: usize = 10_000;
/// How long tombstones stay.
const TOMBSTONE_MS: u64 = 7 * 24 * 60 * 60 * 1000;

/// What a pass over expired instances did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retirement {
    /// Instances that this pass folded.
    pub folded: u64,
    /// Times that something else came between.
    pub conflicts: u64,
    /// Series that could not be read, or not be added.
    pub damaged: u64,
    /// Retired series that were dropped because nothing touched them.
    pub dropped_series: u64,
    /// Tombstones that were dropped before their time, because there were too many.
    pub dropped_tombstones: u64,
    /// Records that the store had lost before anybody folded them.
    pub lost: u64,
    /// Times that what is there of another instance could not be read, so that none was folded.
    pub unreadable: u64,
}

impl Retirement {
    /// Adds what another pass did.
    pub fn add(&mut self, other: &Self) {
        self.folded += other.folded;
        self.conflicts += other.conflicts;
        self.damaged += other.damaged;
        self.dropped_series += other.dropped_series;
        self.dropped_tombstones += other.dropped_tombstones;
        self.lost += other.lost;
        self.unreadable += other.unreadable;
    }
}

/// Folds these instances of a shard, whose leases have ended, as long as `goes_on`.
///
/// After a deployment many instances end at once, and all others find them. Who comes second gives way:
/// after some conflicts the rest is left to who is at it, and met again by the next sync.
///
/// # Errors
/// What the store answers.
pub fn fold_each(
    store: &mut dyn Store,
    shard: u32,
    expired: &[Identity],
    goes_on: &dyn Fn() -> bool,
    done: &mut Retirement,
) -> Result<(), Error> {
    let mut conflicts = 0;
    for id in expired {
        if conflicts >= CONFLICTS || !goes_on() {
            break;
        }
        let Some(fold) = prepare(store, shard, *id, done)? else { continue };
        match store.fold(&fold)? {
            Swap::Done => done.folded += 1,
            Swap::Conflict => conflicts += 1,
        }
    }
    done.conflicts += conflicts;
    Ok(())
}

/// The expired instances of a list.
#[must_use]
pub fn expired(roll: &Roll) -> Vec<Identity> {
    roll.instances.iter().filter(|listed| listed.expired).map(|listed| listed.id).collect()
}

/// The fold of one instance as all stands now; `None` when there is nothing to fold.
///
/// # Errors
/// What the store answers.
pub fn prepare(
    store: &mut dyn Store,
    shard: u32,
    id: Identity,
    done: &mut Retirement,
) -> Result<Option<Fold>, Error> {
    let Some(state) = store.states(shard, &[id])?.into_iter().next().flatten() else {
        return Ok(None);
    };
    let mut counted: Vec<(Text, Total)> = Vec::new();
    for (text, value) in state.series.iter() {
        match (Text::from_bytes(text), Total::from_bytes(value)) {
            (Ok(text), Ok(total)) if total.outlives_its_instance() => counted.push((text, total)),
            (Ok(_), Ok(_)) => {}
            _ => done.damaged += 1,
        }
    }
    let keys: Vec<Vec<u8>> = counted.iter().map(|(text, _)| text.key.clone()).collect();
    let totals = store.totals(shard, Wanted::Keys(&keys))?;
    let Some(epoch) = totals.epoch else { return Ok(None) };
    let mut known: HashMap<&[u8], &[u8]> = HashMap::new();
    known.extend(totals.series.iter().map(|(key, bytes)| (key.as_slice(), bytes.as_slice())));
    let mut series = Vec::with_capacity(counted.len());
    for (text, total) in counted {
        let before =
            known.get(text.key.as_slice()).map(|bytes| Retired::from_bytes(&text.key, bytes));
        let before = match before {
            Some(Ok(before)) => Some(before),
            // What is there cannot be read: it is left as it is, and this instance's part is lost.
            Some(Err(_)) => {
                done.damaged += 1;
                continue;
            }
            None => None,
        };
        let mut retired = Retired { touched_ms: totals.now_ms, text, total };
        if let Some(before) = before {
            if retired.total.add(&before.total).is_err() {
                done.damaged += 1;
                continue;
            }
            retired.text.created_ns = retired.text.created_ns.min(before.text.created_ns);
            let Text { help, unit, .. } = before.text;
            let text = &mut retired.text;
            if !help.is_empty() {
                text.help = help;
            }
            if !unit.is_empty() {
                text.unit = unit;
            }
        }
        series.push((retired.text.key.clone(), retired.to_bytes()));
    }
    let generation = totals.generation;
    Ok(Some(Fold { id, version: state.version, epoch, generation, series }))
}

/// What is to be dropped of a shard's totals: series that nothing touched for `retention_ms` and no
/// live instance has, tombstones that are old or too many. `None` when there is nothing.
#[must_use]
pub fn prunable(
    shard: u32,
    totals: &Totals,
    retention_ms: u64,
    is_live: &dyn Fn(&[u8]) -> bool,
    done: &mut Retirement,
) -> Option<Prune> {
    let epoch = totals.epoch?;
    let idle = |(key, bytes): &&(Vec<u8>, Vec<u8>)| {
        Retired::from_bytes(key, bytes).is_ok_and(|retired| {
            totals.now_ms.saturating_sub(retired.touched_ms) > retention_ms && !is_live(key)
        })
    };
    let series: Vec<_> = totals.series.iter().filter(idle).map(|(key, _)| key.clone()).collect();
    let mut tombstones: Vec<Tombstone> = totals.tombstones.clone();
    tombstones.sort_unstable_by_key(|tombstone| tombstone.generation);
    let surplus = tombstones.len().saturating_sub(MAX_TOMBSTONES);
    let is_old =
        |tombstone: &Tombstone| totals.now_ms.saturating_sub(tombstone.at_ms) > TOMBSTONE_MS;
    let old = tombstones.iter().take_while(|tombstone| is_old(tombstone)).count();
    tombstones.truncate(old.max(surplus));
    if series.is_empty() && tombstones.is_empty() {
        return None;
    }
    done.dropped_series += series.len() as u64;
    done.dropped_tombstones += surplus.saturating_sub(old) as u64;
    Some(Prune { shard, epoch, generation: totals.generation, series, tombstones })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Epoch;

    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    /// What is dropped after so many days of a shard with a tombstone of each day before.
    fn dropped(days: u64, tombstones: usize) -> (Vec<u64>, u64) {
        let tombstone = |n| Tombstone {
            id: Identity(n),
            version: 1,
            generation: n as u64,
            at_ms: n as u64 * DAY_MS,
        };
        let totals = Totals {
            epoch: Some(Epoch(1)),
            generation: 77,
            forgotten: 0,
            now_ms: days * DAY_MS,
            // A store gives them in any order.
            tombstones: (0..tombstones as u128).rev().map(tombstone).collect(),
            series: Vec::new(),
        };
        let mut done = Retirement::default();
        let prune = prunable(3, &totals, 0, &|_| false, &mut done);
        let all = prune.as_ref().map(|prune| &prune.tombstones);
        let generations = all.into_iter().flatten().map(|one| one.generation).collect();
        assert!(prune.is_none_or(|prune| (prune.shard, prune.generation) == (3, 77)));
        (generations, done.dropped_tombstones)
    }

    #[test]
    fn tombstones_are_dropped_when_they_are_old_and_the_oldest_when_they_are_too_many() {
        assert_eq!(dropped(7, 5), (vec![], 0));
        assert_eq!(dropped(9, 5), (vec![0, 1], 0));
        // All that are too many are old.
        assert_eq!(dropped(20_000, MAX_TOMBSTONES + 3).1, 0);
        // They are as old as a second: three go before their time.
        assert_eq!(dropped(0, MAX_TOMBSTONES + 3), (vec![0, 1, 2], 3));
    }
}
