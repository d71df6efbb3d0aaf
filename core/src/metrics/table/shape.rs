//! [`Shape`]: the series of one family that have the same label names.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use super::{
    Memory,
    layout::{Admission, Extent, FIRST, Layout, Row, SEGMENTS},
    slots::{self, Inserted, MAX_ROWS},
    state::{self, Swept},
    text,
};
use crate::{
    metrics::arena::{At, Cells, Place, Run},
    model::{Error, ErrorKind, Mutex, grace},
};

/// Words of a row: state, hash, creation time (low, high), then where the text of each label lies.
const HEAD: usize = 4;
const STATE: usize = 0;
const HASH: usize = 1;

/// Slots of a new table.
const FIRST_SLOTS: usize = 8;
/// Up to so many rows there are four slots a row, so that most are found at the first look.
const SPARSE_ROWS: usize = 1 << 14;
/// Rows that are gone before somebody asks whether their memory can be used again.
const BATCH: usize = 64;

/// The series of one family with one set of label names. Any thread.
pub(crate) struct Shape {
    memory: Arc<Memory>,
    layout: Layout,
    /// Bytes of a cell.
    cell_bytes: usize,
    /// In the order in which they were first declared, which is that of a row's texts and of the
    /// values that callers bring.
    names: Box<[Box<str>]>,
    /// Where each name stands when they are sorted.
    ranks: Box<[u8]>,
    /// Where the slots lie, and how many: `at << 32 | count`. 0 before the first.
    slots: AtomicU64,
    segments: [Segment; SEGMENTS],
    live: AtomicUsize,
    writing: Mutex<Writing>,
}

/// Where the rows of a segment and their cells lie; written once, before a slot leads there.
#[derive(Debug, Default)]
struct Segment {
    rows: AtomicU32,
    /// `offset << 1 | shared`.
    cells: AtomicUsize,
}

/// What changes with the rows; its lock orders all changes.
#[derive(Debug, Default)]
struct Writing {
    extent: Extent,
    /// Rows below it have a cell.
    ready: u32,
    /// Rows to use again.
    free: Vec<u32>,
    /// Rows to free after a grace.
    gone: Vec<u32>,
    /// Slots to free after a grace: where, and bytes.
    outgrown: Vec<(At, usize)>,
    /// Slots that hold a row, or held one.
    filled: usize,
}

/// A series that was found or made, pinned for its finder.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) row: u32,
    pub(crate) place: Place,
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
    /// An empty table; `names` were checked, and are at most 64.
    pub(crate) fn new(memory: &Arc<Memory>, layout: Layout, names: Box<[Box<str>]>) -> Self {
        let rank = |name: &str| names.iter().filter(|other| ***other < *name).count() as u8;
        Self {
            memory: Arc::clone(memory),
            layout,
            cell_bytes: layout.bytes(),
            ranks: names.iter().map(|name| rank(name)).collect(),
            names,
            slots: AtomicU64::new(0),
            segments: Default::default(),
            live: AtomicUsize::new(0),
            writing: Mutex::default(),
        }
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
        self.live.load(Relaxed)
    }

    /// Calls `f` with the cell of the series with these values, if there is one. No lock, no
    /// reference count: nothing is reused while `f` runs, which must not wait.
    #[inline]
    pub(crate) fn with<R>(&self, values: &[&str], f: impl FnOnce(Place) -> R) -> Option<R> {
        match grace::enter_alone() {
            Some(_section) if values.len() == self.names.len() => {
                let (row, words) = self.find(self.hash(values), values)?;
                state::touch(words.get(STATE)?).then(|| f(self.place_of(row)))
            }
            _ => self.with_care(values, f),
        }
    }

    /// With a pin in the place of the section.
    #[cold]
    #[inline(never)]
    fn with_care<R>(&self, values: &[&str], f: impl FnOnce(Place) -> R) -> Option<R> {
        let found = self.get(values)?;
        let done = f(found.place);
        self.unpin(found.row);
        Some(done)
    }

    /// The series with these values, pinned: let go of it with [`Shape::unpin`].
    pub(crate) fn get(&self, values: &[&str]) -> Option<Found> {
        if values.len() != self.names.len() {
            return None;
        }
        grace::within(|| {
            let (row, words) = self.find_once(self.hash(values), values)?;
            state::pin(words.get(STATE)?)
                .then(|| Found { row: row.number, place: self.place_of(row) })
        })
    }

    /// The series with these values, pinned, made if there is none.
    ///
    /// `admit` counts it against the limits on numbers, and is called when it is about to be made;
    /// when it fails afterwards, `dismiss` takes the count back.
    ///
    /// # Errors
    /// What `admit` says; Limit when memory for cells or texts is used.
    pub(crate) fn make(
        &self,
        values: &[&str],
        (admission, created_ns): (Admission, u64),
        admit: impl FnOnce() -> Result<(), Error>,
        dismiss: impl FnOnce(),
    ) -> Result<Found, Error> {
        let hash = self.hash(values);
        let mut writing = self.writing.lock();
        // Rows are taken out under the lock, so this one stays while it is pinned.
        if let Some((row, words)) = self.find_once(hash, values)
            && words.get(STATE).is_some_and(state::pin)
        {
            return Ok(Found { row: row.number, place: self.place_of(row) });
        }
        admit()?;
        let mut made = self.insert(&mut writing, hash, values, admission, created_ns);
        if made.is_err() && !writing.gone.is_empty() {
            self.reclaim(&mut writing);
            made = self.insert(&mut writing, hash, values, admission, created_ns);
        }
        made.inspect_err(|_| dismiss())
    }

    /// Takes a series out. False when there is none; handles to it record where nobody looks.
    pub(crate) fn remove(&self, values: &[&str]) -> bool {
        let mut writing = self.writing.lock();
        let Some((row, words)) = self.find_once(self.hash(values), values) else { return false };
        self.take_out(&mut writing, row.number, words, state::remove)
    }

    /// Takes every series out. Returns how many.
    pub(crate) fn clear(&self) -> usize {
        let mut writing = self.writing.lock();
        let rows = 0..writing.extent.used;
        rows.filter(|row| {
            let words = self.row(*row).unwrap_or_default();
            self.take_out(&mut writing, *row, words, state::remove)
        })
        .count()
    }

    /// One more pin of a row that is pinned.
    pub(crate) fn pin_again(&self, row: u32) {
        if let Some(state) = self.row(row).and_then(|words| words.get(STATE)) {
            state::pin_again(state);
        }
    }

    /// Lets a pin go.
    pub(crate) fn unpin(&self, row: u32) {
        let state = self.row(row).and_then(|words| words.get(STATE));
        if state.is_some_and(state::unpin) {
            let mut writing = self.writing.lock();
            writing.gone.push(row);
            self.reclaim_if_many(&mut writing);
        }
    }

    /// Counts a sweep of every row; the rows that fade, for [`Shape::expire`] after a grace.
    pub(crate) fn sweep(&self) -> Vec<u32> {
        let used = self.writing.lock().extent.used;
        let fading = |row: &u32| {
            let state = self.row(*row).and_then(|words| words.get(STATE));
            state.is_some_and(|state| state::sweep(state) == Swept::Fading)
        };
        (0..used).filter(fading).collect()
    }

    /// Takes out those rows that are still fading. Returns how many; after a grace.
    pub(crate) fn expire(&self, rows: &[u32]) -> usize {
        let mut writing = self.writing.lock();
        let expire = |state: &AtomicU32| state::expire(state).then_some(true);
        rows.iter()
            .filter(|row| {
                let words = self.row(**row).unwrap_or_default();
                self.take_out(&mut writing, **row, words, expire)
            })
            .count()
    }

    /// How far it is.
    pub(crate) fn extent(&self) -> Extent {
        self.writing.lock().extent
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
    fn hash(&self, values: &[&str]) -> u32 {
        self.memory.hash.of(values.iter().copied())
    }

    /// The row of these values, which are as many as names. In a section, or with the lock.
    #[inline(always)]
    fn find(&self, hash: u32, values: &[&str]) -> Option<(Row, &[AtomicU32])> {
        let heap = self.memory.heap.view();
        let slots = self.slots.load(Acquire);
        let slots = heap.words((slots >> 32) as At, 0, slots as u32 as usize);
        slots::find(slots, hash, |row| {
            let row = Row::new(row);
            // Published with the slot, as the row's words are.
            let at = self.segments.get(row.segment)?.rows.load(Relaxed);
            let words = HEAD + values.len();
            let words = heap.words(at, row.index * words, words);
            let (head, texts) = words.split_at_checked(HEAD)?;
            if head.get(HASH)?.load(Relaxed) != hash {
                return None;
            }
            let mut both = texts.iter().zip(values);
            both.all(|(at, value)| text::is(heap, at.load(Relaxed), value)).then_some((row, words))
        })
    }

    /// [`Shape::find`] where it is not on the hot path.
    #[inline(never)]
    fn find_once(&self, hash: u32, values: &[&str]) -> Option<(Row, &[AtomicU32])> {
        self.find(hash, values)
    }

    #[inline]
    fn slots(&self) -> &[AtomicU32] {
        let word = self.slots.load(Acquire);
        self.memory.heap.words((word >> 32) as At, 0, word as u32 as usize)
    }

    /// The words of a row.
    fn row(&self, row: u32) -> Option<&[AtomicU32]> {
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

    /// Where a row's cell lies.
    pub(crate) fn place(&self, row: u32) -> Place {
        self.place_of(Row::new(row))
    }

    fn cells(&self, row: u32) -> Cells {
        let segment = self.segments.get(Row::new(row).segment);
        match segment.map_or(1, |segment| segment.cells.load(Relaxed)) & 1 {
            1 => Cells::Shared,
            _ => Cells::PerCpu,
        }
    }

    /// Makes the series, which is not there.
    fn insert(
        &self,
        writing: &mut Writing,
        hash: u32,
        values: &[&str],
        admission: Admission,
        created_ns: u64,
    ) -> Result<Found, Error> {
        self.grow_slots(writing)?;
        let row = self.free_row(writing, admission)?;
        let words = self.row(row).unwrap_or_default();
        let (head, texts) = words.split_at_checked(HEAD).unwrap_or_default();
        for (index, (at, value)) in texts.iter().zip(values).enumerate() {
            match self.memory.texts.keep(&self.memory.heap, &self.memory.hash, value) {
                Ok(kept) => at.store(kept, Relaxed),
                Err(full) => {
                    // Nobody was led to the texts of this row yet, but to those of others.
                    self.release_texts(texts.get(..index).unwrap_or_default());
                    self.memory.arena.refund(self.cell_bytes, self.cells(row));
                    writing.free.push(row);
                    return Err(full);
                }
            }
        }
        let created = [created_ns as u32, (created_ns >> 32) as u32];
        for (word, value) in head.iter().skip(HASH).zip([hash, created[0], created[1]]) {
            word.store(value, Relaxed);
        }
        self.memory.changed();
        if let Some(word) = head.get(STATE) {
            state::make(word, true);
        }
        if slots::insert(self.slots(), hash, row) == Inserted::New {
            writing.filled += 1;
        }
        self.live.fetch_add(1, Relaxed);
        Ok(Found { row, place: self.place(row) })
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
        if writing.free.is_empty() && writing.gone.len() >= BATCH {
            self.reclaim(writing);
        }
        if let Some(row) = writing.free.pop() {
            if let Err(full) = charge(row) {
                writing.free.push(row);
                return Err(full);
            }
            writing.extent.reused += 1;
            return Ok(row);
        }
        if writing.extent.used >= writing.ready {
            self.new_segment(writing)?;
        }
        let row = writing.extent.used;
        charge(row)?;
        writing.extent.used += 1;
        Ok(row)
    }

    /// Gets memory for more rows.
    fn new_segment(&self, writing: &mut Writing) -> Result<(), Error> {
        let full = |what: &str| Error::new(ErrorKind::Limit, what).with_field("labels");
        // Behind the segment of the last row, which may have fewer cells than rows.
        let number = if writing.ready == 0 { 0 } else { Row::new(writing.ready - 1).segment + 1 };
        let capacity = FIRST << number;
        let first = capacity - FIRST;
        let Some(segment) = self.segments.get(number).filter(|_| first < MAX_ROWS) else {
            return Err(full("a metric has at most 16 Mi series of one set of label names"));
        };
        let bytes = capacity as usize * (HEAD + self.names.len()) * 4;
        let Run { offset, count, cells } = self.memory.arena.reserve(
            self.cell_bytes,
            capacity as usize,
            self.layout.cells(number),
        )?;
        let Some(at) = self.memory.heap.allocate(bytes) else {
            return Err(full("no address space is left for series"));
        };
        segment.cells.store(offset << 1 | usize::from(cells == Cells::Shared), Relaxed);
        segment.rows.store(at, Release);
        writing.extent.used = first;
        writing.ready = first + count as u32;
        Ok(())
    }

    /// Makes room for one more slot: at most three quarters are filled, of a small table one.
    fn grow_slots(&self, writing: &mut Writing) -> Result<(), Error> {
        let old = self.slots();
        let sparse = writing.filled < SPARSE_ROWS;
        if (writing.filled + 1) * 4 <= if sparse { old.len() } else { old.len() * 3 } {
            return Ok(());
        }
        // Twice what there is, unless most of the slots only held a row once.
        let live = self.live.load(Relaxed) + 1;
        let per_row = if live < SPARSE_ROWS { 6 } else { 2 };
        let count = (live * per_row).next_power_of_two().max(FIRST_SLOTS);
        let Some(at) = self.memory.heap.allocate(count * 4) else {
            let message = "no address space is left for series";
            return Err(Error::new(ErrorKind::Limit, message).with_field("labels"));
        };
        let new = self.memory.heap.words(at, 0, count);
        let rows = self.live(0..writing.extent.used);
        writing.filled = rows
            .filter(|row| {
                let hash = self.row(*row).and_then(|words| words.get(HASH));
                let hash = hash.map_or(0, |hash| hash.load(Relaxed));
                slots::insert(new, hash, *row) != Inserted::Full
            })
            .count();
        let before = self.slots.swap(u64::from(at) << 32 | count as u64, Release);
        if before != 0 {
            writing.outgrown.push(((before >> 32) as At, before as u32 as usize * 4));
            self.reclaim_if_many(writing);
        }
        Ok(())
    }

    /// Takes a row out if `take` does so with its state, which says whether it has no pins.
    fn take_out(
        &self,
        writing: &mut Writing,
        row: u32,
        words: &[AtomicU32],
        take: impl FnOnce(&AtomicU32) -> Option<bool>,
    ) -> bool {
        let [word, hash, ..] = words else { return false };
        if !state::is_live(word) {
            return false;
        }
        self.memory.changed();
        let Some(unpinned) = take(word) else { return false };
        slots::remove(self.slots(), hash.load(Relaxed), row);
        writing.extent.removed += 1;
        self.live.fetch_sub(1, Relaxed);
        if unpinned {
            writing.gone.push(row);
            self.reclaim_if_many(writing);
        }
        true
    }

    fn reclaim_if_many(&self, writing: &mut Writing) {
        if writing.gone.len() >= BATCH || writing.outgrown.len() >= 2 {
            self.reclaim(writing);
        }
    }

    /// Frees what is gone, if nobody can be using it.
    fn reclaim(&self, writing: &mut Writing) {
        if writing.gone.is_empty() && writing.outgrown.is_empty() || !grace::all_passed() {
            return;
        }
        for row in writing.gone.drain(..) {
            let words = self.row(row).unwrap_or_default();
            let Some((head, texts)) = words.split_at_checked(HEAD) else { continue };
            self.place(row).zero(self.cell_bytes);
            self.release_texts(texts);
            head.first().into_iter().for_each(state::free);
            self.memory.arena.refund(self.cell_bytes, self.cells(row));
            writing.free.push(row);
        }
        for (at, bytes) in writing.outgrown.drain(..) {
            self.memory.heap.release(at, bytes);
        }
    }

    fn release_texts(&self, texts: &[AtomicU32]) {
        for at in texts {
            let at = at.load(Relaxed);
            self.memory.texts.release(&self.memory.heap, &self.memory.hash, at);
        }
    }
}
