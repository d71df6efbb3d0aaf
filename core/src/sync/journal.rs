//! A publisher's state as bytes, so that another process goes on where one was killed.
//!
//! An entry is written before what it says can be in a store: the values of a batch before it is sent,
//! an identity before anything is published under it. So whatever version a record stands at, its
//! values are in the journal, and a publisher that is read from it is the one that wrote it, at a
//! point at which the last message may or may not have arrived. That is a lost reply, and no new case.
//!
//! ```text
//! whole    identity, registered, store, its shards, epoch, generation, version, highest, slots, steps     alone at first
//! planned  when it looked, new and changed slots, steps that are going to be sent
//! settled  epoch, generation, version that the store was at
//! ```

use std::{collections::HashMap, sync::Arc};

#[cfg(test)]
use super::planted::{Bug, planted};
use super::{
    publisher::{Publisher, Sent},
    slot::Slot,
};
use crate::{
    model::Error,
    store::{
        Batch, Epoch, Total,
        total::{Reader, damaged, text, varint},
    },
};

const WHOLE: u8 = 1;
const PLANNED: u8 = 2;
const SETTLED: u8 = 3;
/// Of the bytes of [`WHOLE`].
const VERSION: u8 = 1;

const REGISTERED: u8 = 1;
const REWRITE: u8 = 2;
const HAS_EPOCH: u8 = 4;
const HAS_SHARDS: u8 = 8;

const TOLD: u8 = 1;
const GONE: u8 = 2;

/// What is to be written before the publisher goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    /// In the place of all before it.
    Whole(Vec<u8>),
    /// Behind them.
    More(Vec<u8>),
}

/// What of a publisher is not in its journal yet.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// Everything.
    pub(super) whole: bool,
    /// Steps that were planned.
    pub(super) planned: bool,
    /// An answer.
    pub(super) settled: bool,
}

fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

fn number(out: &mut Vec<u8>, value: impl Into<u128>) {
    varint(out, value.into());
}

fn total(out: &mut Vec<u8>, total: Option<&Total>) {
    out.push(u8::from(total.is_some()));
    if let Some(total) = total {
        total.encode(out);
    }
}

fn read_total(read: &mut Reader<'_>) -> Result<Option<Total>, Error> {
    match read.byte()? {
        0 => Ok(None),
        _ => read.total().map(Some),
    }
}

fn read_u32(read: &mut Reader<'_>) -> Result<u32, Error> {
    u32::try_from(read.u64()?).map_err(|_| damaged("a number of more than 32 bits"))
}

fn slot(out: &mut Vec<u8>, at: usize, slot: &Slot) {
    number(out, at as u64);
    out.push(flag(slot.told, TOLD) | flag(slot.gone, GONE));
    text(out, &slot.text());
    total(out, slot.carried.as_deref());
    #[cfg(test)]
    let base = slot.base.as_deref().filter(|_| !planted(Bug::NoteNoBase));
    #[cfg(not(test))]
    let base = slot.base.as_deref();
    total(out, base);
    total(out, slot.acked.as_ref());
}

fn read_slot(read: &mut Reader<'_>, slots: &mut Vec<Slot>) -> Result<(), Error> {
    let at = read_u32(read)? as usize;
    let flags = read.byte()?;
    let about = crate::store::Text::from_bytes(read.block()?)?;
    let key = crate::store::Key::from_bytes(&about.key)?;
    let zero = Total::zero(key.kind, key.number, key.bounds.len());
    let mut slot = Slot::new(about.key.as_slice().into(), &about, zero);
    (slot.told, slot.gone) = (flags & TOLD != 0, flags & GONE != 0);
    slot.carried = read_total(read)?.map(Box::new);
    slot.base = read_total(read)?.map(Box::new);
    slot.acked = read_total(read)?;
    slot.written = true;
    let parts = slot.carried.as_deref().into_iter().chain(slot.base.as_deref()).chain(&slot.acked);
    if parts.into_iter().any(|part| !part.is_like(&slot.cells)) {
        return Err(damaged("a value of another kind than its series"));
    }
    if at == slots.len() {
        slots.push(slot);
        return Ok(());
    }
    match slots.get_mut(at) {
        Some(known) if known.key == slot.key => {
            *known = slot;
            Ok(())
        }
        _ => Err(damaged("a series in another one's place")),
    }
}

fn steps(out: &mut Vec<u8>, sent: &[Sent], batches: &[Batch]) {
    number(out, sent.len() as u64);
    for (sent, batch) in sent.iter().zip(batches) {
        number(out, batch.from);
        number(out, batch.to);
        let mut texts = batch.texts.iter().map(|(at, _)| *at).peekable();
        number(out, sent.values.len() as u64);
        for ((at, _), (_, bytes)) in sent.values.iter().zip(&batch.values) {
            let told = texts.next_if_eq(at).is_some();
            number(out, u64::from(*at) << 1 | u64::from(told));
            out.extend_from_slice(bytes);
        }
        number(out, sent.gone.len() as u64);
        sent.gone.iter().for_each(|at| number(out, *at));
    }
}

impl Publisher {
    /// What is to be written down now; `None` when there is nothing.
    pub(super) fn entry(&mut self) -> Option<Entry> {
        if self.unwritten.whole {
            return Some(Entry::Whole(self.whole()));
        }
        #[cfg(test)]
        if self.unwritten.planned && planted(Bug::NoteAfterSending) {
            return None;
        }
        let mut out = Vec::new();
        if self.unwritten.planned {
            out.push(PLANNED);
            number(&mut out, self.looked_ns);
            out.push(flag(self.rewrite, REWRITE));
            let unwritten = |(at, slot): (usize, &Slot)| (!slot.written).then_some(at);
            let list: Vec<usize> = self.slots.iter().enumerate().filter_map(unwritten).collect();
            number(&mut out, list.len() as u64);
            for at in list {
                if let Some(known) = self.slots.get(at) {
                    slot(&mut out, at, known);
                }
            }
            steps(&mut out, &self.sent, &self.batches);
        } else if self.unwritten.settled {
            out.push(SETTLED);
            number(&mut out, self.epoch.map_or(0, |epoch| epoch.0));
            number(&mut out, self.generation);
            number(&mut out, self.version);
        } else {
            return None;
        }
        Some(Entry::More(out))
    }

    /// Everything.
    pub(super) fn whole(&self) -> Vec<u8> {
        let mut out = vec![WHOLE, VERSION];
        number(&mut out, self.identity.0);
        out.push(
            flag(self.registered, REGISTERED)
                | flag(self.rewrite, REWRITE)
                | flag(self.epoch.is_some(), HAS_EPOCH)
                | HAS_SHARDS,
        );
        text(&mut out, self.place.as_bytes());
        number(&mut out, self.shards);
        number(&mut out, self.epoch.map_or(0, |epoch| epoch.0));
        for value in [self.generation, self.version, self.highest, self.looked_ns] {
            number(&mut out, value);
        }
        number(&mut out, self.slots.len() as u64);
        self.slots.iter().enumerate().for_each(|(at, known)| slot(&mut out, at, known));
        steps(&mut out, &self.sent, &self.batches);
        out
    }

    /// What [`Publisher::entry`] said is written.
    pub(super) fn written(&mut self) {
        let Unwritten { whole, planned, .. } = std::mem::take(&mut self.unwritten);
        // An answer alone says nothing of slots that came meanwhile.
        if whole || planned {
            self.slots.iter_mut().for_each(|slot| slot.written = true);
        }
    }

    /// The publisher that wrote these entries, as far as they go; `None` where there are none. `shards` are
    /// the store's, where they do not say.
    ///
    /// # Errors
    /// Damaged.
    pub(super) fn read(shards: u32, entries: &[Vec<u8>]) -> Result<Option<Self>, Error> {
        let Some((first, more)) = entries.split_first() else { return Ok(None) };
        let mut read = Reader::new(first);
        if (read.byte()?, read.byte()?) != (WHOLE, VERSION) {
            return Err(damaged("a journal of another version"));
        }
        let mut random = read.varint()?;
        let mut publisher = Self::new(shards, &mut || std::mem::take(&mut random));
        publisher.read_whole(&mut read)?;
        read.end()?;
        for entry in more {
            let mut read = Reader::new(entry);
            match read.byte()? {
                PLANNED => publisher.read_planned(&mut read)?,
                SETTLED => {
                    publisher.epoch = Some(Epoch(read.u64()?));
                    publisher.generation = read.u64()?;
                    publisher.settle(read.u64()?);
                }
                _ => return Err(damaged("an entry of unknown kind")),
            }
            read.end()?;
        }
        publisher.number_slots();
        publisher.restore_cells();
        publisher.written();
        Ok(Some(publisher))
    }

    fn read_whole(&mut self, read: &mut Reader<'_>) -> Result<(), Error> {
        let flags = read.byte()?;
        read.text()?.clone_into(&mut self.place);
        // Of the store as it was: which shard the record lies in follows from it.
        if flags & HAS_SHARDS != 0 {
            self.shards = read_u32(read)?.max(1);
        }
        let epoch = Epoch(read.u64()?);
        self.epoch = Some(epoch).filter(|_| flags & HAS_EPOCH != 0);
        self.registered = flags & REGISTERED != 0;
        self.rewrite = flags & REWRITE != 0;
        self.generation = read.u64()?;
        self.version = read.u64()?;
        self.highest = read.u64()?;
        self.looked_ns = read.u64()?;
        for _ in 0..read.u64()? {
            read_slot(read, &mut self.slots)?;
        }
        self.read_steps(read)
    }

    fn read_planned(&mut self, read: &mut Reader<'_>) -> Result<(), Error> {
        if !self.sent.is_empty() {
            return Err(damaged("steps before the last ones were answered"));
        }
        self.looked_ns = read.u64()?;
        self.rewrite = read.byte()? & REWRITE != 0;
        for _ in 0..read.u64()? {
            read_slot(read, &mut self.slots)?;
        }
        self.read_steps(read)
    }

    fn read_steps(&mut self, read: &mut Reader<'_>) -> Result<(), Error> {
        for _ in 0..read.u64()? {
            let mut batch = Batch { from: read.u64()?, to: read.u64()?, ..Batch::default() };
            let mut values = Vec::new();
            for _ in 0..read.u64()? {
                let head = read.u64()?;
                let at = u32::try_from(head >> 1).map_err(|_| damaged("a series out of range"))?;
                let slot = self.slots.get(at as usize).ok_or_else(|| damaged("no such series"))?;
                let value = read.total()?;
                if !value.is_like(&slot.cells) {
                    return Err(damaged("a value of another kind than its series"));
                }
                if head & 1 == 1 {
                    batch.texts.push((at, slot.text()));
                }
                batch.values.push((at, value.to_bytes()));
                values.push((at, value));
            }
            for _ in 0..read.u64()? {
                batch.gone.push(read_u32(read)?);
            }
            if batch.to <= batch.from
                || batch.gone.iter().any(|at| *at as usize >= self.slots.len())
            {
                return Err(damaged("a step that leads nowhere"));
            }
            self.highest = self.highest.max(batch.to);
            self.sent.push(Sent { to: batch.to, values, gone: batch.gone.clone() });
            self.batches.push(batch);
        }
        Ok(())
    }

    fn number_slots(&mut self) {
        self.numbers = HashMap::with_capacity(self.slots.len());
        for (at, slot) in self.slots.iter().enumerate() {
            self.numbers.insert(Arc::clone(&slot.key), at as u32);
        }
    }

    /// What the cells held when it was last said, for series that were taken out since.
    fn restore_cells(&mut self) {
        let mut last: HashMap<u32, &Total> = HashMap::new();
        for sent in &self.sent {
            last.extend(sent.values.iter().map(|(at, value)| (*at, value)));
        }
        for (at, slot) in self.slots.iter_mut().enumerate() {
            slot.restore(last.get(&(at as u32)).copied());
        }
    }
}

/// Where an identity is known, and under which record nothing is live any more.
impl Publisher {
    /// The store that its record lies in; empty before the first.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// Goes on in another store, of so many shards, which is told what was counted since.
    pub(super) fn move_to(&mut self, place: &str, shards: u32) {
        place.clone_into(&mut self.place);
        self.shards = shards;
        self.unwritten.whole = true;
        (self.epoch, self.generation) = (None, 0);
    }

    /// An identity that nobody publishes under, where another process may have died registering it.
    pub(super) fn identity_anew(&mut self, draw: &mut dyn FnMut() -> u128) {
        if !self.registered {
            self.abandon(draw);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{GaugeMode, Kind, Number},
        store::{Answer, Distribution, Key, Standing, Text},
    };

    fn text(name: &str, kind: Kind, number: Number, bounds: Vec<f64>) -> (Text, Total) {
        let zero = Total::zero(kind, number, bounds.len());
        let (name, mode, labels) = (name.to_owned(), GaugeMode::Undeclared, Vec::new());
        let key = Key { name, kind, number, mode, bounds, labels }.to_bytes();
        (Text { key, created_ns: 7, help: "Help.".into(), unit: String::new() }, zero)
    }

    fn series() -> Vec<(Text, Total)> {
        vec![
            text("c", Kind::Counter, Number::U64, Vec::new()),
            text("f", Kind::Counter, Number::F64, Vec::new()),
            text("l", Kind::UpDownCounter, Number::I64, Vec::new()),
            text("g", Kind::Gauge, Number::F64, Vec::new()),
            text("h", Kind::Histogram, Number::F64, vec![1.0, 2.0]),
        ]
    }

    fn value(zero: &Total, by: u64) -> Total {
        match zero {
            Total::Count(_) => Total::Count(by.into()),
            Total::Sum(_) => Total::Sum((by as f64).into()),
            Total::Level(_) => Total::Level(-i128::from(by)),
            Total::Histogram(_) => {
                let buckets = vec![by.into(), 0, u128::from(by) * 2];
                Total::Histogram(Box::new(Distribution { sum: (by as f64).into(), buckets }))
            }
            _ => Total::Gauge { value: by as f64, at_ns: by },
        }
    }

    /// A publisher that registered, published, was folded, and has something in flight.
    fn busy() -> (Publisher, Vec<Vec<u8>>) {
        let (mut entries, mut random) = (Vec::new(), 0_u128);
        let mut draw = || {
            random += 1 << 40;
            random
        };
        let mut one = Publisher::new(1, &mut draw);
        let mut note = |one: &mut Publisher| {
            match one.entry() {
                Some(Entry::Whole(bytes)) => entries = vec![bytes],
                Some(Entry::More(bytes)) => entries.push(bytes),
                None => {}
            }
            one.written();
        };
        let answer = |standing| Answer { epoch: Epoch(3), generation: 1, forgotten: 0, standing };
        for round in 1..=3 {
            one.registered(&answer(Standing::Live(0)), &mut draw);
            note(&mut one);
            for step in 1..=3 {
                for (text, zero) in series() {
                    let number = one.series_number(&text, &zero);
                    one.observe(number, 7, value(&zero, round * 10 + step));
                }
                one.looked(round * 10 + step);
                one.plan();
                note(&mut one);
                // Of the last step of all nobody knows.
                if (round, step) == (3, 3) {
                    break;
                }
                let standing = match step {
                    3 => Standing::Retired(3),
                    step => Standing::Live(step),
                };
                one.answered(&answer(standing), &mut draw);
                note(&mut one);
            }
        }
        (one, entries)
    }

    #[test]
    fn a_publisher_is_read_back_as_it_was() {
        let (one, entries) = busy();
        assert!(entries.len() > 3);
        let read = Publisher::read(1, &entries).unwrap().unwrap();
        assert_eq!(read.whole(), one.whole());
        assert_eq!(read.batches(), one.batches());
        assert!(!read.batches().is_empty());
        let same = |(a, b): (&Slot, &Slot)| a.cells.same(&b.cells);
        assert!(read.slots.iter().zip(&one.slots).all(same));
        assert!(Publisher::read(1, &[]).unwrap().is_none());
    }

    #[test]
    fn what_no_publisher_wrote_is_refused_or_read() {
        let (_, entries) = busy();
        for at in 0..entries.len() {
            for byte in 0..entries[at].len() {
                for change in [1, 0x80, 0xff] {
                    let mut wrong = entries.clone();
                    wrong[at][byte] ^= change;
                    let _ = Publisher::read(1, &wrong);
                }
                let mut cut = entries.clone();
                cut[at].truncate(byte);
                assert!(Publisher::read(1, &cut).is_err(), "{at} {byte}");
            }
        }
    }
}
