//! How rows are made, learned of, taken out and used again: what changes under a table's lock.
//!
//! The rows of a table are numbered through for all processes; a number is taken by one exchange.
//! What its maker writes is found by others when its state says live. Who made a row and did not
//! come so far (killed, or still at it) is not waited for. Two processes that make one series at
//! once make two rows, which a snapshot adds up. Rows are used again only by a process that is alone:
//! nobody else can hold them then.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};

use super::{
    layout::{Admission, FIRST, Row},
    record,
    shape::{HASH, HEAD, STATE, Segment, Shape, Spot, Writing},
    slots::{self, Inserted, MAX_ROWS},
    state::{self, Phase},
};
use crate::{
    metrics::arena::{Arena, At, Cells, Run, UNIT, step},
    model::{Error, ErrorKind, grace},
};

/// Slots of a new table.
const FIRST_SLOTS: usize = 8;
/// Up to so many rows there are four slots a row, so that most are found at the first look.
const SPARSE_ROWS: usize = 1 << 14;
/// Rows that are gone before somebody asks whether their memory can be used again.
const BATCH: usize = 64;
/// Bytes of slots that were outgrown before somebody does.
const OUTGROWN: usize = 64 << 10;

fn full(what: &str) -> Error {
    Error::new(ErrorKind::Limit, what).with_field("labels")
}

impl Shape {
    /// Looks at the rows that came since, whoever made them.
    pub(super) fn learn(&self, writing: &mut Writing) {
        if !writing.unfinished.is_empty() {
            let waiting = std::mem::take(&mut writing.unfinished);
            for row in waiting {
                let state = self.row(row).and_then(|words| words.get(STATE));
                match state.map(state::phase) {
                    Some(Phase::Live) => {
                        writing.late += 1;
                        self.learn_row(writing, row);
                    }
                    Some(Phase::Free) => writing.unfinished.push(row),
                    _ => {}
                }
            }
        }
        let used = self.load(record::shape::USED).min(MAX_ROWS);
        while writing.seen < used {
            let row = Row::new(writing.seen);
            let Some(segment) = self.segment(row.segment) else { return };
            writing.seen += 1;
            if row.index >= segment.count.load(Relaxed) as usize {
                continue;
            }
            let state = self.row(row.number).and_then(|words| words.get(STATE));
            match state.map(state::phase) {
                Some(Phase::Live) => self.learn_row(writing, row.number),
                Some(Phase::Free) => writing.unfinished.push(row.number),
                _ => {}
            }
        }
    }

    /// Has the slots lead to a row that another process made.
    fn learn_row(&self, writing: &mut Writing, row: u32) {
        let Some(hash) = self.row(row).and_then(|words| words.get(HASH)) else { return };
        let hash = hash.load(Relaxed);
        let values: Vec<&str> = self.texts(row).map(|(_, text, _)| text).collect();
        if let Some((other, _)) = self.find_once(hash, &values) {
            if other.number != row {
                writing.duplicates.insert(row, other.number);
            }
            return;
        }
        for (at, _, _) in self.texts(row) {
            self.memory.texts.learn(&self.memory.heap, &self.memory.hash, at);
        }
        if let Err(error) = self.grow_slots(writing) {
            tracing::warn!(%error, "a series of another process is not found by its labels");
            return;
        }
        if slots::insert(self.slots(), hash, row) == Inserted::New {
            writing.filled += 1;
        }
    }

    /// The segment of that number, if there is one: what its record says is taken over once.
    fn segment(&self, number: usize) -> Option<&Segment> {
        let segment = self.segments.get(number)?;
        if segment.rows.load(Acquire) != 0 {
            return Some(segment);
        }
        let at = self.load(record::shape::SEGMENTS + number);
        let heap = &self.memory.heap;
        let capacity = (FIRST as usize) << number;
        let words = record::segment::HEAD + capacity * (HEAD + self.names.len());
        // All of it is inside the heap, or it is no segment.
        if at == 0 || record::words(heap, at, words).len() != words {
            return None;
        }
        let word = |index| record::load(heap, at, index);
        let cells = u64::from(word(record::segment::CELLS_LOW))
            | u64::from(word(record::segment::CELLS_HIGH)) << 32;
        let cells = usize::try_from(cells).ok()?;
        let count = word(record::segment::COUNT).min(capacity as u32);
        if !Arena::holds(cells >> 1, self.cell_bytes, count, self.layout.is_gauge()) {
            return None;
        }
        let pins = self.memory.own.allocate(capacity * 4)?;
        segment.cells.store(cells, Relaxed);
        segment.pins.store(pins, Relaxed);
        segment.count.store(count, Relaxed);
        segment.rows.store(behind(at, record::segment::HEAD), Release);
        Some(segment)
    }

    /// Makes the series, which is not there; false: another process just did.
    pub(super) fn insert(
        &self,
        writing: &mut Writing,
        hash: u32,
        values: &[&str],
        admission: Admission,
        created_ns: u64,
    ) -> Result<(Spot<'_>, bool), Error> {
        self.grow_slots(writing)?;
        let row = self.free_row(writing, admission)?;
        step();
        // What others made until now.
        self.learn_until(writing, row);
        if let Some(found) = self.touched(hash, values) {
            self.give_row_back(writing, row);
            return Ok((found, false));
        }
        let words = self.row(row).unwrap_or_default();
        let (head, texts) = words.split_at_checked(HEAD).unwrap_or_default();
        let (heap, ground) = (&self.memory.heap, &*self.memory.ground);
        for (index, (at, value)) in texts.iter().zip(values).enumerate() {
            match self.memory.texts.keep((heap, ground, &self.memory.hash), value) {
                Ok(kept) => {
                    step();
                    at.store(kept, Relaxed);
                }
                Err(full) => {
                    // Nobody was led to the texts of this row yet, but to those of others.
                    self.release_texts(texts.get(..index).unwrap_or_default());
                    self.give_row_back(writing, row);
                    return Err(full);
                }
            }
        }
        let created = [created_ns as u32, (created_ns >> 32) as u32];
        for (word, value) in head.iter().skip(HASH).zip([hash, created[0], created[1]]) {
            word.store(value, Relaxed);
            step();
        }
        self.memory.changed();
        step();
        if let Some(word) = head.get(STATE) {
            state::make(word);
        }
        step();
        // Another process may have looked in between, and does not wait for it.
        self.memory.changed();
        if slots::insert(self.slots(), hash, row) == Inserted::New {
            writing.filled += 1;
        }
        self.count_live(1);
        step();
        Ok((self.spot(row), true))
    }

    fn count_live(&self, more: i32) {
        if let Some(live) = self.word(record::shape::LIVE) {
            live.fetch_add(more.cast_unsigned(), Relaxed);
        }
    }

    fn give_row_back(&self, writing: &mut Writing, row: u32) {
        self.memory.arena.refund(self.cell_bytes, self.cells(row));
        writing.free.push(row);
    }

    /// A row without a series, with a zeroed cell that is charged.
    fn free_row(&self, writing: &mut Writing, admission: Admission) -> Result<u32, Error> {
        let bytes = self.cell_bytes;
        let charge = |row: u32| match admission {
            Admission::Always => {
                self.memory.arena.charge_anyway(bytes, self.cells(row));
                Ok(())
            }
            Admission::Limited => self.memory.arena.charge(bytes, self.cells(row)),
        };
        if writing.free.is_empty() {
            self.reclaim_if_many(writing);
        }
        if !writing.free.is_empty()
            && let Some(row) = self.memory.while_alone(|| writing.free.pop()).flatten()
        {
            if let Err(full) = charge(row) {
                writing.free.push(row);
                return Err(full);
            }
            if let Some(reused) = self.word(record::shape::REUSED) {
                reused.fetch_add(1, Relaxed);
            }
            return Ok(row);
        }
        let Some(used) = self.word(record::shape::USED) else { return Err(full("no record")) };
        loop {
            let number = used.load(Acquire);
            let row = Row::new(number);
            let segment = match self.segment(row.segment) {
                Some(segment) => segment,
                None => self.new_segment(row.segment)?,
            };
            if row.index >= segment.count.load(Relaxed) as usize {
                // It has fewer cells than rows: on behind it.
                let next = (FIRST << (row.segment + 1)) - FIRST;
                let _ = used.compare_exchange(number, next, AcqRel, Relaxed);
                continue;
            }
            charge(number)?;
            step();
            if used.compare_exchange(number, number + 1, AcqRel, Relaxed).is_ok() {
                return Ok(number);
            }
            self.memory.arena.refund(bytes, self.cells(number));
        }
    }

    /// Looks at the rows before one that was just taken, which is this thread's own.
    fn learn_until(&self, writing: &mut Writing, own: u32) {
        self.learn(writing);
        writing.unfinished.retain(|row| *row != own);
    }

    /// Gets memory for more rows, unless another process was faster.
    fn new_segment(&self, number: usize) -> Result<&Segment, Error> {
        let capacity = FIRST.checked_shl(number as u32).unwrap_or(0);
        let first = capacity.wrapping_sub(FIRST);
        if capacity == 0 || self.segments.get(number).is_none() || first >= MAX_ROWS {
            return Err(full("a metric has at most 16 Mi series of one set of label names"));
        }
        let Run { offset, count, cells } = if self.layout.is_gauge() {
            self.memory.arena.reserve_gauges(capacity as usize)?
        } else {
            let cells = self.layout.cells(number);
            self.memory.arena.reserve(self.cell_bytes, capacity as usize, cells)?
        };
        let heap = &self.memory.heap;
        let words = record::segment::HEAD + capacity as usize * (HEAD + self.names.len());
        let Some(at) = heap.allocate(words * 4) else {
            return Err(full("no memory is left for series"));
        };
        let cells = (offset as u64) << 1 | u64::from(cells == Cells::Shared);
        let head = [cells as u32, (cells >> 32) as u32, count as u32];
        for (word, value) in record::words(heap, at, record::segment::HEAD).iter().zip(head) {
            word.store(value, Relaxed);
            step();
        }
        if record::lead(heap, self.record, record::shape::SEGMENTS + number, at).is_err() {
            // Its run of cells stays unused: what another process made serves as well.
            heap.release(at, words * 4);
        }
        self.segment(number).ok_or_else(|| full("the arena is damaged: a segment lies outside"))
    }

    /// Makes room for one more slot: at most three quarters are filled, of a small table one.
    fn grow_slots(&self, writing: &mut Writing) -> Result<(), Error> {
        let old = self.slots();
        let sparse = writing.filled < SPARSE_ROWS;
        if (writing.filled + 1) * 4 <= if sparse { old.len() } else { old.len() * 3 } {
            return Ok(());
        }
        // Twice what there is, unless most of the slots only held a row once.
        let live = self.live(0..writing.seen).count() + 1;
        let per_row = if live < SPARSE_ROWS { 6 } else { 2 };
        let count = (live * per_row).next_power_of_two().max(FIRST_SLOTS);
        let own = &self.memory.own;
        let Some(at) = own.allocate(count * 4) else {
            return Err(full("no address space is left for series"));
        };
        let new = own.words(at, 0, count);
        let doubled = |row: &u32| writing.duplicates.contains_key(row);
        let rows = self.live(0..writing.seen).filter(|row| !doubled(row));
        let filled = rows
            .filter(|row| {
                let hash = self.row(*row).and_then(|words| words.get(HASH));
                let hash = hash.map_or(0, |hash| hash.load(Relaxed));
                slots::insert(new, hash, *row) != Inserted::Full
            })
            .count();
        writing.filled = filled;
        let before = self.slots.swap(u64::from(at) << 32 | count as u64, AcqRel);
        if before != 0 {
            writing.outgrown.push(((before >> 32) as At, before as u32 as usize * 4));
            self.reclaim_if_many(writing);
        }
        Ok(())
    }

    /// Takes a row out if `take` does so with its state.
    pub(super) fn take_out(
        &self,
        writing: &mut Writing,
        row: u32,
        words: &[AtomicU32],
        take: impl FnOnce(&AtomicU32) -> bool,
    ) -> bool {
        let [word, hash, ..] = words else { return false };
        if !state::is_live(word) {
            return false;
        }
        self.memory.changed();
        if !take(word) {
            return false;
        }
        slots::remove(self.slots(), hash.load(Relaxed), row);
        if let Some(removed) = self.word(record::shape::REMOVED) {
            removed.fetch_add(1, Relaxed);
        }
        self.count_live(-1);
        writing.gone.push(row);
        self.reclaim_if_many(writing);
        true
    }

    fn reclaim_if_many(&self, writing: &mut Writing) {
        let outgrown: usize = writing.outgrown.iter().map(|(_, bytes)| bytes).sum();
        if writing.gone.len() >= BATCH.max(writing.patience) || outgrown >= OUTGROWN {
            self.reclaim(writing);
        }
    }

    /// Frees what is gone, if nobody can be using it.
    pub(super) fn reclaim(&self, writing: &mut Writing) {
        if writing.gone.is_empty() && writing.outgrown.is_empty() || !grace::all_passed() {
            return;
        }
        for (at, bytes) in writing.outgrown.drain(..) {
            self.memory.own.release(at, bytes);
        }
        if writing.gone.is_empty() {
            return;
        }
        let done = self.memory.while_alone(|| {
            if writing.was_shared {
                // A grace has not passed since others took their rows out.
                self.take_over(writing);
            } else {
                self.free_gone(writing);
            }
        });
        writing.was_shared = done.is_none();
        writing.patience = writing.gone.len() * 2;
    }

    /// Finds what processes that are gone left behind: rows that they took out or never finished.
    fn take_over(&self, writing: &mut Writing) {
        self.learn(writing);
        (writing.free, writing.gone) = (Vec::new(), Vec::new());
        let mut live = 0;
        for row in 0..writing.seen {
            let state = self.row(row).and_then(|words| words.get(STATE));
            match state.map(state::phase) {
                Some(Phase::Live) => live += 1,
                Some(Phase::Gone) => writing.gone.push(row),
                Some(Phase::Free) => {
                    let place = Row::new(row);
                    let count = self.segment(place.segment).map_or(0, |s| s.count.load(Relaxed));
                    if place.index < count as usize {
                        writing.free.push(row);
                    }
                }
                None => {}
            }
        }
        writing.unfinished.clear();
        if let Some(word) = self.word(record::shape::LIVE) {
            word.store(live, Relaxed);
        }
    }

    fn free_gone(&self, writing: &mut Writing) {
        let planes = self.planes();
        for row in std::mem::take(&mut writing.gone) {
            if !self.pins(Row::new(row)).is_some_and(state::is_unpinned) {
                writing.gone.push(row);
                continue;
            }
            let words = self.row(row).unwrap_or_default();
            let Some((head, texts)) = words.split_at_checked(HEAD) else { continue };
            if self.layout.is_gauge() {
                self.gauge(row).zero();
            } else {
                self.place(row).zero(self.cell_bytes, &planes);
            }
            self.release_texts(texts);
            head.first().into_iter().for_each(state::free);
            self.memory.arena.refund(self.cell_bytes, self.cells(row));
            writing.free.push(row);
        }
    }

    fn release_texts(&self, texts: &[AtomicU32]) {
        for at in texts {
            let at = at.load(Relaxed);
            let with = (&self.memory.heap, &*self.memory.ground, &self.memory.hash);
            self.memory.texts.release(with, at);
        }
    }
}

/// Where a piece goes on behind so many words, which are a multiple of a heap's unit.
fn behind(at: At, words: usize) -> At {
    at + (words * 4 / UNIT) as At
}
