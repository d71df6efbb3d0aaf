//! Label texts, each kept once: rows hold where it lies, and count it.
//!
//! A piece of the heap: users, length, serial number, then the text. It is freed when its last row
//! is: after that row's grace, so nobody can be reading it.

use std::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use hashbrown::HashTable;

use crate::{
    metrics::arena::{At, Heap, View},
    model::{Error, ErrorKind, Mutex, TextHash, same},
};

/// Words before the text.
const HEAD: usize = 3;
const USERS: usize = 0;
const LENGTH: usize = 1;
const SERIAL: usize = 2;

/// Which texts are known, and how much they take.
#[derive(Debug)]
pub(crate) struct Texts {
    max_bytes: usize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    table: HashTable<At>,
    bytes: usize,
    /// Number of the last text; tells a text from another that lay in its place.
    serial: u32,
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
    pub(crate) fn keep(&self, heap: &Heap, hash: &TextHash, text: &str) -> Result<At, Error> {
        let mut known = self.known.lock();
        let number = u64::from(hash.of([text]));
        if let Some(at) = known.table.find(number, |at| is(heap.view(), *at, text)) {
            if let [users, ..] = head(heap, *at) {
                users.fetch_add(1, Relaxed);
            }
            return Ok(*at);
        }
        let bytes = HEAD * 4 + text.len();
        let length = u32::try_from(text.len()).ok();
        let place = (known.bytes + bytes <= self.max_bytes).then(|| heap.allocate(bytes)).flatten();
        let (Some(at), Some(length)) = (place, length) else {
            let message = format!("the {} bytes for label values are used", self.max_bytes);
            return Err(Error::new(ErrorKind::Limit, message).with_field("limits.max_label_bytes"));
        };
        known.bytes += bytes;
        known.serial = known.serial.wrapping_add(1);
        heap.fill(at, HEAD, text.as_bytes());
        for (word, value) in head(heap, at).iter().zip([1, length, known.serial]) {
            word.store(value, Release);
        }
        known.table.insert_unique(number, at, |at| u64::from(hash.of([read(heap, *at).0])));
        Ok(at)
    }

    /// One user less; the last one frees it. After a grace since a row led to it.
    pub(crate) fn release(&self, heap: &Heap, hash: &TextHash, at: At) {
        let mut known = self.known.lock();
        let [users, ..] = head(heap, at) else { return };
        if users.fetch_sub(1, Relaxed) > 1 {
            return;
        }
        let number = u64::from(hash.of([read(heap, at).0]));
        let bytes = HEAD * 4 + read(heap, at).0.len();
        if let Ok(found) = known.table.find_entry(number, |other| *other == at) {
            found.remove();
        }
        known.bytes -= bytes;
        heap.release(at, bytes);
    }

    /// Bytes of all texts.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.known.lock().bytes
    }
}

fn head(heap: &Heap, at: At) -> &[AtomicU32] {
    heap.words(at, 0, HEAD)
}

/// Whether the text at that place is this one. In a section, or with a row that counts it.
#[inline]
pub(crate) fn is(heap: View<'_>, at: At, text: &str) -> bool {
    // Both are inside the heap if the longer one is; lengths were published with the row.
    let (head, bytes) = heap.words_and_bytes(at, HEAD as u8, text.as_bytes());
    head.get(LENGTH).is_some_and(|length| length.load(Relaxed) as usize == text.len())
        && same(bytes, text.as_bytes())
}

/// The text at that place and its number. In a section, or with a row that counts it.
pub(crate) fn read(heap: &Heap, at: At) -> (&str, u32) {
    let [_, length, serial] = heap.words(at, 0, HEAD) else { return ("", 0) };
    let text = heap.bytes(at, HEAD, length.load(Acquire) as usize);
    (str::from_utf8(text).unwrap_or_default(), serial.load(Acquire))
}

const _: () = assert!(USERS == 0 && LENGTH == 1 && SERIAL == 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_kept_once_and_freed_with_its_last_user() {
        let (heap, hash, texts) = (Heap::private().unwrap(), TextHash::random(), Texts::new(1000));
        let one = texts.keep(&heap, &hash, "GET").unwrap();
        assert_eq!(texts.keep(&heap, &hash, "GET").unwrap(), one);
        let (text, first) = read(&heap, one);
        assert_eq!(text, "GET");
        texts.release(&heap, &hash, one);
        assert_eq!(texts.bytes(), 15);
        texts.release(&heap, &hash, one);
        assert_eq!(texts.bytes(), 0);
        let other = texts.keep(&heap, &hash, "PUT").unwrap();
        assert_eq!(other, one);
        assert_ne!(read(&heap, other).1, first);
    }

    #[test]
    fn a_text_past_the_limit_is_refused_by_its_key() {
        let (heap, hash, texts) = (Heap::private().unwrap(), TextHash::random(), Texts::new(30));
        let short = texts.keep(&heap, &hash, "short").unwrap();
        let error = texts.keep(&heap, &hash, "one that is longer").unwrap_err();
        assert_eq!(error.field(), Some("limits.max_label_bytes"));
        texts.release(&heap, &hash, short);
        texts.keep(&heap, &hash, "one that is longer").unwrap();
    }
}
