//! [`Shape`]: the series of one family that have the same label names.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed},
        },
    },
};

use super::{
    Memory,
    layout::{Admission, Extent, Layout, Row, SEGMENTS},
    record, slots, state,
    state::Swept,
    text,
};
use crate::{
    metrics::arena::{At, Cells, GaugeCell, Place, Planes, Word},
    model::{Error, Mutex, Words, grace},
};

/// Words of a row: state, hash, creation time (low, high), then where the text of each label lies.
pub(super) const HEAD: usize = 4;
pub(super) const STATE: usize = 0;
pub(super) const HASH: usize = 1;

/// Label names that a series may have, and more: what a damaged record may claim.
const MAX_NAMES: usize = 64;

/// The series of one family with one set of label names. Any thread.
///
/// Rows lie in memory that processes share; the slots that lead to them, and the pins of handles, are
/// this process's own: `index.rs` learns of the rows that others make.
pub(crate) struct Shape {
    pub(super) memory: Arc<Memory>,
    pub(super) layout: Layout,
    /// Bytes of a cell.
    pub(super) cell_bytes: usize,
    /// Where its record lies.
    pub(super) record: At,
    /// In the order in which they were first declared, which is that of a row's texts and of the
    /// values that callers bring.
    pub(super) names: Box<[Box<str>]>,
    /// Where each name stands when they are sorted.
    ranks: Box<[u8]>,
    /// Where the slots lie, and how many: `at << 32 | count`. 0 before the first.
    pub(super) slots: AtomicU64,
    pub(super) segments: [Segment; SEGMENTS],
    pub(super) writing: Mutex<Writing>,
}

/// Where the rows of a segment, their cells and their pins lie; written once, before a slot leads
/// there.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) rows: AtomicU32,
    /// `offset << 1 | shared`.
    pub(super) cells: AtomicUsize,
    pub(super) pins: AtomicU32,
    /// Rows that have cells.
    pub(super) count: AtomicU32,
}

/// What changes with the rows; its lock orders all changes of this process.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// Rows below it were looked at.
    pub(super) seen: u32,
    /// Rows below `seen` that were not finished then, by whoever makes them.
    pub(super) unfinished: Vec<u32>,
    /// Rows found finished later than rows behind them.
    pub(super) late: u64,
    /// Rows of a series that has another row, which slots lead to: two processes made it at once.
    pub(super) duplicates: HashMap<u32, u32>,
    /// Rows to use again.
    pub(super) free: Vec<u32>,
    /// Rows to free after a grace, once nobody holds them.
    pub(super) gone: Vec<u32>,
    /// So many may be gone before somebody asks whether they can be freed.
    pub(super) patience: usize,
    /// Other processes had the arena since it was asked: they may have left rows behind.
    pub(super) was_shared: bool,
    /// Slots to free after a grace: where, and bytes.
    pub(super) outgrown: Vec<(At, usize)>,
    /// Slots that hold a row, or held one.
    pub(super) filled: usize,
}

/// A series that is pinned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) row: u32,
}

/// A series that was looked up: it stays what it is for the time that it is lent.
#[derive(Clone, Copy)]
pub(crate) struct Spot<'a> {
    shape: &'a Shape,
    row: Row,
}

impl Spot<'_> {
    /// Pins the series, so that it stays what it is for longer: until [`Shape::unpin`].
    pub(crate) fn pin(self) -> Found {
        if let Some(pins) = self.shape.pins(self.row) {
            state::pin(pins);
        }
        Found { row: self.row.number }
    }

    /// The cell of a sum.
    #[inline]
    pub(crate) fn place(self) -> Place {
        self.shape.place_of(self.row)
    }

    /// The cell of a gauge.
    #[inline]
    pub(crate) fn gauge(self) -> GaugeCell {
        self.shape.gauge_of(self.row)
    }
}

/// What a process knows of the rows of a table.
#[derive(Debug)]
pub(crate) struct Learned {
    pub(crate) extent: Extent,
    /// Rows of one series: the one that stands for it, and another that is added to it.
    pub(crate) duplicates: Vec<(u32, u32)>,
    /// Rows of other processes that were not finished: nobody looked whose series they are.
    pub(crate) unfinished: Vec<u32>,
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (names, series) = (&self.names, self.len());
        f.debug_struct("Shape")
            .field("names", names)
            .field("series", &series)
            .finish_non_exhaustive()
    }
}

impl Shape {
    /// The table of a record; `None` for a damaged one.
    pub(crate) fn read(memory: &Arc<Memory>, layout: Layout, record: At) -> Option<Self> {
        let heap = &memory.heap;
        let count = record::load(heap, record, record::shape::NAMES) as usize;
        let words = record::words(heap, record, record::shape::HEAD + count.min(MAX_NAMES));
        let names = words.get(record::shape::HEAD..).filter(|names| names.len() == count)?;
        let name = |at: &AtomicU32| {
            let name = record::text(heap, at.load(Relaxed));
            // An empty one is no name.
            (!name.is_empty()).then(|| Box::from(name))
        };
        let names: Option<Box<[Box<str>]>> = names.iter().map(name).collect();
        Some(Self::new(memory, layout, record, names?))
    }

    /// A table of this process for a record.
    fn new(memory: &Arc<Memory>, layout: Layout, record: At, names: Box<[Box<str>]>) -> Self {
        let rank = |name: &str| names.iter().filter(|other| ***other < *name).count() as u8;
        Self {
            memory: Arc::clone(memory),
            layout,
            cell_bytes: layout.bytes(),
            record,
            ranks: names.iter().map(|name| rank(name)).collect(),
            names,
            slots: AtomicU64::new(0),
            segments: Default::default(),
            writing: Mutex::default(),
        }
    }

    /// Where its record lies.
    pub(crate) fn record(&self) -> At {
        self.record
    }

    /// The label names, in the order in which values are brought.
    pub(crate) fn names(&self) -> &[Box<str>] {
        &self.names
    }

    /// Where each name stands when they are sorted.
    pub(crate) fn ranks(&self) -> &[u8] {
        &self.ranks
    }

    /// Whether these are its names, sorted.
    pub(crate) fn is_named<'n>(&self, sorted: impl ExactSizeIterator<Item = &'n str>) -> bool {
        let place = |rank: usize| self.ranks.iter().position(|other| usize::from(*other) == rank);
        sorted.len() == self.names.len()
            && sorted.enumerate().all(|(rank, name)| {
                place(rank).and_then(|at| self.names.get(at)).is_some_and(|known| **known == *name)
            })
    }

    /// What its cells are.
    pub(crate) fn layout(&self) -> Layout {
        self.layout
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.load(record::shape::LIVE) as usize
    }

    /// Calls `f` with the series with these values, if there is one. No lock, no reference count:
    /// nothing is reused while `f` runs, which must not wait.
    #[inline(always)]
    pub(crate) fn with<R>(&self, values: &[&str], f: impl Fn(Spot<'_>) -> R) -> Option<R> {
        match grace::enter_alone() {
            Some(_section) if values.len() == self.names.len() => {
                let (row, words) = self.find(values)?;
                state::touch(words.get(STATE)?).then(|| f(Spot { shape: self, row }))
            }
            // Moved, so that what it holds is in memory on this way only.
            _ => self.look_up(values, &{ f }),
        }
    }

    /// [`Shape::with`] where it is not on the hot path.
    #[inline(never)]
    pub(crate) fn look_up<R>(&self, values: &[&str], f: &dyn Fn(Spot<'_>) -> R) -> Option<R> {
        if values.len() != self.names.len() {
            return None;
        }
        grace::within(|| self.touched(self.hash(values), values).map(f))
    }

    /// Calls `f` with the series with these values, made if there is none.
    ///
    /// `f` must not wait: a lock is held. `admit` counts the series against the limits on numbers,
    /// and is called when it is about to be made; when it fails afterwards, `dismiss` takes the count
    /// back.
    ///
    /// # Errors
    /// What `admit` says; Limit when memory for cells or texts is used.
    pub(crate) fn make<R>(
        &self,
        values: &[&str],
        (admission, created_ns): (Admission, u64),
        (admit, dismiss): (impl FnOnce() -> Result<(), Error>, impl FnOnce()),
        f: &dyn Fn(Spot<'_>) -> R,
    ) -> Result<R, Error> {
        let hash = self.hash(values);
        let mut writing = self.writing.lock();
        self.learn(&mut writing);
        if let Some(found) = self.touched(hash, values) {
            return Ok(f(found));
        }
        admit()?;
        let mut made = self.insert(&mut writing, hash, values, admission, created_ns);
        if made.is_err() && !writing.gone.is_empty() {
            self.reclaim(&mut writing);
            made = self.insert(&mut writing, hash, values, admission, created_ns);
        }
        // Not made, or by another process: what was counted is taken back.
        match made {
            Ok((found, true)) => Ok(f(found)),
            Ok((found, false)) => {
                dismiss();
                Ok(f(found))
            }
            Err(error) => {
                dismiss();
                Err(error)
            }
        }
    }

    /// The series with these values, in a section. Or with the lock: rows are taken out under it by
    /// this process, and no other frees them.
    pub(super) fn touched(&self, hash: u32, values: &[&str]) -> Option<Spot<'_>> {
        let (row, words) = self.find_once(hash, values)?;
        state::touch(words.get(STATE)?).then_some(Spot { shape: self, row })
    }

    /// A row, for as long as it is known to stay what it is.
    pub(super) fn spot(&self, row: u32) -> Spot<'_> {
        Spot { shape: self, row: Row::new(row) }
    }

    /// Takes a series out, and returns of how many rows. Handles to it record where nobody looks.
    pub(crate) fn remove(&self, values: &[&str]) -> usize {
        let mut writing = self.writing.lock();
        self.learn(&mut writing);
        let mut removed = 0;
        let hash = self.hash(values);
        while let Some((row, words)) = self.find_once(hash, values) {
            let row = row.number;
            if !self.take_out(&mut writing, row, words, state::remove) {
                break;
            }
            removed += 1;
            let others = writing.duplicates.iter().filter(|(_, of)| **of == row);
            for other in others.map(|(other, _)| *other).collect::<Vec<_>>() {
                let words = self.row(other).unwrap_or_default();
                removed += usize::from(self.take_out(&mut writing, other, words, state::remove));
                writing.duplicates.remove(&other);
            }
        }
        removed
    }

    /// Takes every series out. Returns of how many rows.
    pub(crate) fn clear(&self) -> usize {
        let mut writing = self.writing.lock();
        self.learn(&mut writing);
        writing.duplicates.clear();
        let rows = 0..writing.seen;
        rows.filter(|row| {
            let words = self.row(*row).unwrap_or_default();
            self.take_out(&mut writing, *row, words, state::remove)
        })
        .count()
    }

    /// One more pin of a row that is pinned.
    pub(crate) fn pin_again(&self, row: u32) {
        if let Some(pins) = self.pins(Row::new(row)) {
            state::pin(pins);
        }
    }

    /// Lets a pin go.
    pub(crate) fn unpin(&self, row: u32) {
        let state = self.row(row).and_then(|words| words.get(STATE));
        if let (Some(state), Some(pins)) = (state, self.pins(Row::new(row))) {
            state::unpin(state, pins);
        }
    }

    /// Counts a sweep of every row; the rows that fade, for [`Shape::expire`] after a grace.
    ///
    /// None while another process has the arena: who holds its series is not known here.
    pub(crate) fn sweep(&self) -> Vec<u32> {
        let writing = self.writing.lock();
        let fading = |row: &u32| {
            let state = self.row(*row).and_then(|words| words.get(STATE));
            let pins = self.pins(Row::new(*row));
            state.zip(pins).is_some_and(|(state, pins)| state::sweep(state, pins) == Swept::Fading)
        };
        let doubled = |row: &u32| writing.duplicates.iter().any(|(a, b)| a == row || b == row);
        let swept = self.memory.while_alone(|| {
            let fading = (0..writing.seen).filter(fading);
            fading.filter(|row| writing.duplicates.is_empty() || !doubled(row)).collect()
        });
        swept.unwrap_or_default()
    }

    /// Takes out those rows that are still fading. Returns how many; after a grace.
    pub(crate) fn expire(&self, rows: &[u32]) -> usize {
        let mut writing = self.writing.lock();
        let expire = |row: &&u32| {
            let words = self.row(**row).unwrap_or_default();
            let pins = self.pins(Row::new(**row));
            let take = |state: &AtomicU32| pins.is_some_and(|pins| state::expire(state, pins));
            self.take_out(&mut writing, **row, words, take)
        };
        self.memory.while_alone(|| rows.iter().filter(expire).count()).unwrap_or_default()
    }

    /// How far it is, as far as this process looked.
    pub(crate) fn extent(&self) -> Extent {
        self.extent_of(&self.writing.lock())
    }

    fn extent_of(&self, writing: &Writing) -> Extent {
        Extent {
            used: writing.seen,
            removed: u64::from(self.load(record::shape::REMOVED)),
            reused: u64::from(self.load(record::shape::REUSED)) + writing.late,
        }
    }

    /// Learns of the rows that other processes made.
    pub(crate) fn catch_up(&self) {
        self.learn(&mut self.writing.lock());
    }

    /// What this process knows of the rows, as of one moment.
    pub(crate) fn learned(&self) -> Learned {
        let writing = self.writing.lock();
        let duplicates = writing.duplicates.iter().map(|(other, of)| (*of, *other));
        let mut duplicates: Vec<_> = duplicates.collect();
        duplicates.sort_unstable();
        let unfinished = writing.unfinished.clone();
        Learned { extent: self.extent_of(&writing), duplicates, unfinished }
    }

    /// The series among some rows, in order. They stay what they are until the section ends.
    pub(crate) fn live(&self, rows: std::ops::Range<u32>) -> impl Iterator<Item = u32> {
        let live = |row: &u32| {
            self.row(*row).and_then(|words| words.get(STATE)).is_some_and(state::is_live)
        };
        rows.filter(live)
    }

    /// When a row's series was made, in nanoseconds since the Unix epoch; 0 for no row.
    pub(crate) fn created_ns(&self, row: u32) -> u64 {
        match self.row(row) {
            Some([_, _, low, high, ..]) => {
                u64::from(high.load(Relaxed)) << 32 | u64::from(low.load(Relaxed))
            }
            _ => 0,
        }
    }

    /// Where a row's texts lie, each with its text and the text's number, in the order of the
    /// names. In a section.
    pub(crate) fn texts(&self, row: u32) -> impl Iterator<Item = (At, &str, u32)> {
        let words = self.row(row).and_then(|words| words.get(HEAD..)).unwrap_or_default();
        words.iter().map(|word| {
            let at = word.load(Relaxed);
            let (text, serial) = text::read(&self.memory.heap, at);
            (at, text, serial)
        })
    }

    #[inline]
    pub(super) fn hash(&self, values: &[&str]) -> u32 {
        self.memory.hash.of(values.iter().copied())
    }

    /// The row of these values, which are as many as names. In a section, or with the lock.
    ///
    /// Up to four values are read once, for the hash and the comparison. A caller that has a fixed
    /// number gets the code of that one alone.
    #[inline(always)]
    fn find(&self, values: &[&str]) -> Option<(Row, &[AtomicU32])> {
        match *values {
            [a] => self.find_few([a]),
            [a, b] => self.find_few([a, b]),
            [a, b, c] => self.find_few([a, b, c]),
            [a, b, c, d] => self.find_few([a, b, c, d]),
            _ => self.find_once(self.hash(values), values),
        }
    }

    #[inline(always)]
    fn find_few<const N: usize>(&self, values: [&str; N]) -> Option<(Row, &[AtomicU32])> {
        let (mut texts, mut sum) = ([Words::NONE; N], self.memory.hash.sum());
        for (text, value) in texts.iter_mut().zip(values) {
            *text = Words::of(value);
            sum.add(text);
        }
        self.find_by(sum.finish(), N, texts.iter().copied())
    }

    /// [`Shape::find`] where it is not on the hot path.
    #[inline(never)]
    pub(super) fn find_once(&self, hash: u32, values: &[&str]) -> Option<(Row, &[AtomicU32])> {
        self.find_by(hash, values.len(), values.iter().map(|value| Words::of(value)))
    }

    #[inline(always)]
    fn find_by<'v>(
        &self,
        hash: u32,
        count: usize,
        texts: impl Iterator<Item = Words<'v>> + Clone,
    ) -> Option<(Row, &[AtomicU32])> {
        let heap = self.memory.heap.view();
        let slots = self.slots.load(Acquire);
        let slots = self.memory.own.view().words((slots >> 32) as At, 0, slots as u32 as usize);
        'rows: for row in slots::candidates(slots, hash) {
            let row = Row::new(row);
            let Some(segment) = self.segments.get(row.segment) else { continue };
            // Published with the slot, as the row's words are.
            let at = segment.rows.load(Relaxed);
            let words = heap.words(at, row.index * (HEAD + count), HEAD + count);
            let [state, known, _, _, places @ ..] = words else { continue };
            if known.load(Relaxed) != hash {
                continue;
            }
            for (at, text) in places.iter().zip(texts.clone()) {
                if !text::is(heap, at.load(Relaxed), &text) {
                    continue 'rows;
                }
            }
            // Another process may have taken it out: then it is not this process's slot that says so.
            if state::is_live(state) {
                return Some((row, words));
            }
        }
        None
    }

    #[inline]
    pub(super) fn slots(&self) -> &[AtomicU32] {
        let word = self.slots.load(Acquire);
        self.memory.own.words((word >> 32) as At, 0, word as u32 as usize)
    }

    /// The words of a row.
    pub(super) fn row(&self, row: u32) -> Option<&[AtomicU32]> {
        let row = Row::new(row);
        // Published with the slot, or under the lock.
        let at = self.segments.get(row.segment)?.rows.load(Relaxed);
        if at == 0 {
            return None;
        }
        let words = HEAD + self.names.len();
        let row = self.memory.heap.words(at, row.index * words, words);
        (row.len() == words).then_some(row)
    }

    /// Where a row's cell lies.
    #[inline]
    fn place_of(&self, row: Row) -> Place {
        let word = self.segments.get(row.segment).map_or(1, |segment| segment.cells.load(Relaxed));
        let cells = if word & 1 == 1 { Cells::Shared } else { Cells::PerCpu };
        self.memory.arena.place((word >> 1) + row.index * self.cell_bytes, cells)
    }

    /// The gauge of a row.
    #[inline]
    fn gauge_of(&self, row: Row) -> GaugeCell {
        let word = self.segments.get(row.segment).map_or(1, |segment| segment.cells.load(Relaxed));
        let what =
            self.memory.heap.view().words(self.layout.family, record::family::WHAT, 1).first();
        self.memory.arena.gauge((word >> 1) + row.index * GaugeCell::BYTES, what)
    }

    /// The gauge of a row.
    pub(crate) fn gauge(&self, row: u32) -> GaugeCell {
        self.gauge_of(Row::new(row))
    }

    /// Where a row's cell lies.
    pub(crate) fn place(&self, row: u32) -> Place {
        self.place_of(Row::new(row))
    }

    /// The pins of a row.
    #[inline]
    pub(super) fn pins(&self, row: Row) -> Option<&AtomicU32> {
        let at = self.segments.get(row.segment)?.pins.load(Relaxed);
        self.memory.own.view().words(at, row.index, 1).first()
    }

    pub(super) fn cells(&self, row: u32) -> Cells {
        let segment = self.segments.get(Row::new(row).segment);
        match segment.map_or(1, |segment| segment.cells.load(Relaxed)) & 1 {
            1 => Cells::Shared,
            _ => Cells::PerCpu,
        }
    }

    /// Counts an observation of NaN, which is not recorded.
    #[cold]
    pub(crate) fn refuse_nan(&self) {
        self.memory.ground.word(Word::DroppedNan).fetch_add(1, Relaxed);
    }

    /// The CPU planes to read.
    pub(crate) fn planes(&self) -> Planes {
        self.memory.arena.planes()
    }

    /// A word of the record.
    pub(super) fn load(&self, index: usize) -> u32 {
        record::load(&self.memory.heap, self.record, index)
    }

    /// A word of the record, to be changed.
    pub(super) fn word(&self, index: usize) -> Option<&AtomicU32> {
        record::word(&self.memory.heap, self.record, index)
    }
}
