//! What is published of an arena, kept in it: whose turn it is, and bytes that outlive their writer.
//!
//! Whoever publishes writes down what it is about to say before it says it, so that the next process
//! goes on where a killed one was. What the bytes mean is `sync`'s business.
//!
//! ```text
//! owner ─► pid and start of the process whose turn it is; 0: nobody's
//! state ─► bytes in use << 1 | which of two pieces of the heap they lie in
//! ```
//!
//! Entries are appended to one piece, or written anew into the other; one store of `state` makes
//! either whole. A process that is killed before it leaves nothing. A turn is no lock: nobody waits
//! for it, and that of a process that ended is over. Why no lock of the file: docs/ARENA.md.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use xxhash_rust::xxh3::xxh3_64;

use super::{
    arena::{At, UNIT, Word, step},
    table::Memory,
};
use crate::model::{Error, ErrorKind, platform};

/// Bytes before each entry: its length, and a part of its hash.
const FRAME: usize = 8;
/// Pieces begin at this size.
const LEAST_BYTES: usize = 4096;

const AT: [Word; 2] = [Word::LedgerAt, Word::LedgerOtherAt];
const SIZE: [Word; 2] = [Word::LedgerSize, Word::LedgerOtherSize];

/// What is published of an arena that processes share. Any thread.
#[derive(Clone)]
pub(crate) struct Ledger(pub(super) Arc<Memory>);

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("state", &self.word(Word::LedgerState))
            .finish_non_exhaustive()
    }
}

/// A process by its number and when it began: `pid | start << 32`.
fn this_process() -> u64 {
    u64::from(platform::process_id()) | platform::start_time() << 32
}

fn is_there(process: u64) -> bool {
    platform::is_alive_since(process as u32, (process >> 32) as u32)
}

impl Ledger {
    fn word(&self, word: Word) -> &AtomicU64 {
        self.0.ground.word(word)
    }

    /// Takes the turn to publish.
    ///
    /// # Errors
    /// The number of the process whose turn it is.
    pub(crate) fn take_turn(&self) -> Result<Turn, u32> {
        let (owner, me) = (self.word(Word::LedgerOwner), this_process());
        let mut seen = owner.load(Acquire);
        loop {
            // Of this process: another thread or engine of it is at it.
            if seen != 0 && is_there(seen) {
                return Err(seen as u32);
            }
            match owner.compare_exchange(seen, me, AcqRel, Acquire) {
                Ok(_) => return Ok(Turn { ledger: self.clone(), me }),
                Err(now) => seen = now,
            }
        }
    }

    /// Another process that is there and published last, and how long ago that was.
    pub(crate) fn other_publisher(&self) -> Option<(u32, Duration)> {
        let by = self.word(Word::PublishedBy).load(Acquire);
        if by == 0 || by == this_process() || !is_there(by) {
            return None;
        }
        let at = self.word(Word::PublishedAt).load(Acquire);
        Some((by as u32, Duration::from_nanos(platform::uptime_ns().saturating_sub(at))))
    }
}

/// The turn to publish, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    ledger: Ledger,
    me: u64,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let owner = self.ledger.word(Word::LedgerOwner);
        let _ = owner.compare_exchange(self.me, 0, AcqRel, Relaxed);
    }
}

impl Turn {
    fn word(&self, word: Word) -> &AtomicU64 {
        self.ledger.word(word)
    }

    /// A number that changes with everything that is written.
    pub(crate) fn writes(&self) -> u64 {
        self.word(Word::LedgerWrites).load(Acquire)
    }

    /// Which piece is in use, and how many bytes of it.
    fn state(&self) -> (usize, usize) {
        let state = self.word(Word::LedgerState).load(Acquire);
        ((state & 1) as usize, usize::try_from(state >> 1).unwrap_or(usize::MAX))
    }

    /// Where a piece lies, and its bytes; none where its words are damaged.
    fn piece(&self, which: usize) -> (At, usize) {
        let word =
            |words: [Word; 2]| words.get(which).map_or(0, |word| self.word(*word).load(Acquire));
        let (at, size) = (u32::try_from(word(AT)).unwrap_or(0), word(SIZE));
        if at == 0 { (0, 0) } else { (at, usize::try_from(size).unwrap_or(0)) }
    }

    /// The entries, in order.
    ///
    /// # Errors
    /// Damaged.
    pub(crate) fn read(&self) -> Result<Vec<Vec<u8>>, Error> {
        let (which, used) = self.state();
        if used == 0 {
            return Ok(Vec::new());
        }
        let (at, size) = self.piece(which);
        let bytes = if used <= size { self.ledger.0.heap.bytes(at, 0, used) } else { &[] };
        let mut rest = (!bytes.is_empty()).then_some(bytes).ok_or_else(damaged)?;
        let mut entries = Vec::new();
        while let Some((head, behind)) = rest.split_first_chunk::<FRAME>() {
            let [a, b, c, d, e, f, g, h] = *head;
            let len = u32::from_le_bytes([a, b, c, d]) as usize;
            let entry = behind.get(..len).ok_or_else(damaged)?;
            if xxh3_64(entry) as u32 != u32::from_le_bytes([e, f, g, h]) {
                return Err(damaged());
            }
            entries.push(entry.to_vec());
            rest = behind.get(len.next_multiple_of(UNIT)..).ok_or_else(damaged)?;
        }
        if rest.is_empty() { Ok(entries) } else { Err(damaged()) }
    }

    /// Appends an entry; false where it finds no room, and all is to be written anew.
    ///
    /// # Errors
    /// Limit, for an entry of 4 GiB and more.
    pub(crate) fn append(&self, entry: &[u8]) -> Result<bool, Error> {
        let (which, used) = self.state();
        let (at, size) = self.piece(which);
        let framed = frame(entry)?;
        if used == 0 || used.saturating_add(framed.len()) > size {
            return Ok(false);
        }
        self.commit(which, at, used, &framed);
        Ok(true)
    }

    /// Replaces all entries by one.
    ///
    /// # Errors
    /// Limit, when the arena has no memory for it.
    pub(crate) fn replace(&self, entry: &[u8]) -> Result<(), Error> {
        let other = 1 - self.state().0;
        let framed = frame(entry)?;
        let (mut at, size) = self.piece(other);
        // So that as much can be appended before it is written anew.
        let wanted = (framed.len() * 2).next_multiple_of(LEAST_BYTES);
        if size < wanted {
            let heap = &self.ledger.0.heap;
            let new = heap.allocate(wanted).ok_or_else(|| {
                let message = "the arena has no memory left to note what is published of it";
                Error::new(ErrorKind::Limit, message).with_field("limits.max_label_bytes")
            })?;
            if let (Some(at_word), Some(size_word)) = (AT.get(other), SIZE.get(other)) {
                // In this order: one that is killed in between leaves a piece of no size.
                self.word(*size_word).store(0, Release);
                step();
                self.word(*at_word).store(u64::from(new), Release);
                step();
                self.word(*size_word).store(wanted as u64, Release);
            }
            if size > 0 {
                heap.release(at, size);
            }
            at = new;
        }
        self.commit(other, at, 0, &framed);
        Ok(())
    }

    fn commit(&self, which: usize, at: At, used: usize, framed: &[u8]) {
        self.ledger.0.heap.fill(at, used / 4, framed);
        step();
        self.word(Word::LedgerWrites).fetch_add(1, AcqRel);
        step();
        let used = (used + framed.len()) as u64;
        self.word(Word::LedgerState).store(used << 1 | which as u64, Release);
        step();
    }

    /// Notes that this process published.
    pub(crate) fn published(&self) {
        self.word(Word::PublishedAt).store(platform::uptime_ns(), Release);
        self.word(Word::PublishedBy).store(self.me, Release);
    }
}

fn frame(entry: &[u8]) -> Result<Vec<u8>, Error> {
    let len = u32::try_from(entry.len()).map_err(|_| {
        Error::new(ErrorKind::Limit, "what is published of the arena has more than 4 GiB")
    })?;
    let mut framed = Vec::with_capacity(FRAME + entry.len() + UNIT);
    framed.extend_from_slice(&len.to_le_bytes());
    framed.extend_from_slice(&(xxh3_64(entry) as u32).to_le_bytes());
    framed.extend_from_slice(entry);
    framed.resize(framed.len().next_multiple_of(UNIT), 0);
    Ok(framed)
}

pub(crate) fn damaged() -> Error {
    let message = "the arena is damaged: what it says is published of it cannot be read; nothing is \
                   published until the arena is made anew";
    Error::new(ErrorKind::Damaged, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Cells, Share};

    fn ledger() -> Ledger {
        Ledger(Memory::new(&Share::Auto, 4096, 4096, Cells::Shared).unwrap())
    }

    #[test]
    fn entries_are_read_back_in_order_and_replaced_as_one() {
        let ledger = ledger();
        let turn = ledger.take_turn().unwrap();
        assert!(turn.read().unwrap().is_empty());
        assert!(!turn.append(b"first").unwrap());
        let mut expected = vec![b"whole".to_vec()];
        turn.replace(b"whole").unwrap();
        for round in 0_usize..20_000 {
            let entry = vec![round as u8; round % 300];
            let writes = turn.writes();
            if turn.append(&entry).unwrap() {
                expected.push(entry);
            } else {
                assert_eq!(turn.read().unwrap(), expected);
                let whole = vec![7; round];
                turn.replace(&whole).unwrap();
                expected = vec![whole];
            }
            assert_ne!(turn.writes(), writes);
        }
        assert_eq!(turn.read().unwrap(), expected);
    }

    #[test]
    fn a_turn_is_one_process_s_and_over_when_it_ends() {
        let ledger = ledger();
        let turn = ledger.take_turn().unwrap();
        assert_eq!(ledger.take_turn().unwrap_err(), platform::process_id());
        drop(turn);
        ledger.take_turn().unwrap().published();
        assert_eq!(ledger.other_publisher(), None);
        // Of a process that ended: its number may even be another one's now.
        for owner in [u64::from(u32::MAX), this_process() ^ 1 << 40] {
            ledger.word(Word::LedgerOwner).store(owner, Release);
            ledger.word(Word::PublishedBy).store(owner, Release);
            assert_eq!(ledger.other_publisher(), None);
            assert!(ledger.take_turn().is_ok());
        }
        let parent = std::os::unix::process::parent_id();
        ledger.word(Word::LedgerOwner).store(parent.into(), Release);
        ledger.word(Word::PublishedBy).store(parent.into(), Release);
        assert_eq!(ledger.take_turn().unwrap_err(), parent);
        assert_eq!(ledger.other_publisher().unwrap().0, parent);
    }

    #[test]
    fn what_is_damaged_is_an_error_or_what_was_written() {
        let ledger = ledger();
        let turn = ledger.take_turn().unwrap();
        turn.replace(&[1; 500]).unwrap();
        turn.append(&[2; 100]).unwrap();
        let good = turn.read().unwrap();
        let (at, _) = turn.piece(turn.state().0);
        for word in 0..160 {
            for bit in 0..32 {
                let place = ledger.0.heap.words(at, word, 1).first().unwrap();
                let before = place.fetch_xor(1 << bit, Relaxed);
                let _ = turn.read().map(|read| assert_eq!(read, good, "{word} {bit}"));
                place.store(before, Relaxed);
            }
        }
        for word in AT.into_iter().chain(SIZE).chain([Word::LedgerState]) {
            for bit in 0..64 {
                let place = ledger.word(word);
                let before = place.fetch_xor(1 << bit, Relaxed);
                let _ = turn.read().map(|read| assert!(read.is_empty() || read[0] == good[0]));
                place.store(before, Relaxed);
            }
        }
        assert_eq!(turn.read().unwrap(), good);
    }
}
