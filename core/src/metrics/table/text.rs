//! Label texts, each kept once by a process: rows hold where it lies, and count it. Two processes
//! that meet a text at the same time may keep it twice.
//!
//! A piece of the heap: users, length, serial number, then the text, of a short one zeros behind it. It is freed when its last row
//! is: after that row's grace, so nobody can be reading it.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use hashbrown::HashTable;

use crate::{
    metrics::arena::{At, Ground, Heap, View, Word},
    model::{Error, ErrorKind, Mutex, TextHash, Words},
};

/// Words before the text: users, length, serial number.
const HEAD: usize = 3;
const LENGTH: usize = 1;

/// Which texts are known, and how much they take.
#[derive(Debug)]
pub(crate) struct Texts {
    max_bytes: usize,
    known: Mutex<HashTable<At>>,
}

impl Texts {
    /// Keeps at most so many bytes of text, heads included.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, known: Mutex::default() }
    }

    /// Where the text lies, with one user more.
    ///
    /// # Errors
    /// Limit, when it is new and past the limit.
    pub(crate) fn keep(
        &self,
        (heap, ground, hash): (&Heap, &Ground, &TextHash),
        text: &str,
    ) -> Result<At, Error> {
        let mut known = self.known.lock();
        let number = u64::from(hash.of([text]));
        let words = Words::of(text);
        if let Some(at) = known.find(number, |at| is(heap.view(), *at, &words)) {
            if let [users, ..] = head(heap, *at) {
                users.fetch_add(1, Relaxed);
            }
            return Ok(*at);
        }
        let bytes = HEAD * 4 + text.len();
        let length = u32::try_from(text.len()).ok();
        let max = self.max_bytes as u64;
        let fits = |used: u64| used.checked_add(bytes as u64).filter(|used| *used <= max);
        let charged = ground.word(Word::TextBytes).fetch_update(Relaxed, Relaxed, fits);
        let place = charged.ok().and_then(|_| {
            let at = heap.allocate(piece(text.len()));
            if at.is_none() {
                ground.word(Word::TextBytes).fetch_sub(bytes as u64, Relaxed);
            }
            at
        });
        let (Some(at), Some(length)) = (place, length) else {
            let message = format!("the {} bytes for label values are used", self.max_bytes);
            return Err(Error::new(ErrorKind::Limit, message).with_field("limits.max_label_bytes"));
        };
        // Tells a text from another that lay in its place.
        let serial = ground.word(Word::Serial).fetch_add(1, Relaxed) as u32;
        heap.fill(at, HEAD, text.as_bytes());
        for (word, value) in head(heap, at).iter().zip([1, length, serial]) {
            word.store(value, Release);
        }
        known.insert_unique(number, at, |at| u64::from(hash.of([read(heap, *at).0])));
        Ok(at)
    }

    /// Learns where another process keeps a text.
    pub(crate) fn learn(&self, heap: &Heap, hash: &TextHash, at: At) {
        let mut known = self.known.lock();
        let text = read(heap, at).0;
        let number = u64::from(hash.of([text]));
        if known.find(number, |at| is(heap.view(), *at, &Words::of(text))).is_none() {
            known.insert_unique(number, at, |at| u64::from(hash.of([read(heap, *at).0])));
        }
    }

    /// One user less; the last one frees it. After a grace since a row led to it.
    pub(crate) fn release(&self, (heap, ground, hash): (&Heap, &Ground, &TextHash), at: At) {
        let mut known = self.known.lock();
        let [users, ..] = head(heap, at) else { return };
        if users.fetch_sub(1, Relaxed) > 1 {
            return;
        }
        let number = u64::from(hash.of([read(heap, at).0]));
        let length = read(heap, at).0.len();
        if let Ok(found) = known.find_entry(number, |other| *other == at) {
            found.remove();
        }
        ground.word(Word::TextBytes).fetch_sub((HEAD * 4 + length) as u64, Relaxed);
        heap.release(at, piece(length));
    }
}

fn head(heap: &Heap, at: At) -> &[AtomicU32] {
    heap.words(at, 0, HEAD)
}

/// Whether the text at that place is this one. In a section, or with a row that counts it.
#[inline(always)]
pub(crate) fn is(heap: View<'_>, at: At, text: &Words<'_>) -> bool {
    heap.holds(at, (HEAD, LENGTH), text)
}

/// Bytes of the piece for a text of so many, which can be compared by words.
fn piece(length: usize) -> usize {
    HEAD * 4 + length.max(8)
}

/// The text at that place and its number. In a section, or with a row that counts it.
pub(crate) fn read(heap: &Heap, at: At) -> (&str, u32) {
    let [_, length, serial] = heap.words(at, 0, HEAD) else { return ("", 0) };
    let text = heap.bytes(at, HEAD, length.load(Acquire) as usize);
    (str::from_utf8(text).unwrap_or_default(), serial.load(Acquire))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> (Heap, std::sync::Arc<Ground>, TextHash) {
        let ground = Ground::new(&crate::metrics::arena::Share::Reset, 0, 1 << 20).unwrap();
        (Heap::of(&ground), ground, TextHash::random())
    }

    #[test]
    fn a_text_is_kept_once_and_freed_with_its_last_user() {
        let ((heap, ground, hash), texts) = (ground(), Texts::new(1000));
        let with = (&heap, &*ground, &hash);
        let bytes = || ground.word(Word::TextBytes).load(Relaxed);
        let one = texts.keep(with, "GET").unwrap();
        assert_eq!(texts.keep(with, "GET").unwrap(), one);
        let (text, first) = read(&heap, one);
        assert_eq!(text, "GET");
        texts.release(with, one);
        assert_eq!(bytes(), 15);
        texts.release(with, one);
        assert_eq!(bytes(), 0);
        let other = texts.keep(with, "PUT").unwrap();
        assert_eq!(other, one);
        assert_ne!(read(&heap, other).1, first);
    }

    #[test]
    fn a_text_past_the_limit_is_refused_by_its_key() {
        let ((heap, ground, hash), texts) = (ground(), Texts::new(30));
        let with = (&heap, &*ground, &hash);
        let short = texts.keep(with, "short").unwrap();
        let error = texts.keep(with, "one that is longer").unwrap_err();
        assert_eq!(error.field(), Some("limits.max_label_bytes"));
        texts.release(with, short);
        texts.keep(with, "one that is longer").unwrap();
    }
}
