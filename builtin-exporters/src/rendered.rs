//! Text that depends on the schema alone, rendered once and kept by `schema_id`.
//!
//! [`Rendered`] is a sequence of pieces in one allocation; each exporter says which pieces it
//! writes and reads them back in the same order. [`Cache`] keeps what was rendered for the last
//! two schemas (or formats), so its memory is bounded by twice the text of one schema.
//! [`ask`] ends an export that was withdrawn. It knows nothing of a format.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tallyport_plugin_api::{
    Call, Error, Family, Kind, Series, Snapshot,
    abi::{TALLYPORT_CANCELLED, TALLYPORT_CONFLICT},
};

/// Pieces of text in the order in which they were rendered.
#[derive(Debug, Default)]
pub(crate) struct Rendered {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rendered {
    /// Reads the pieces from the first one on.
    pub(crate) fn pieces(&self) -> Pieces<'_> {
        Pieces { bytes: &self.bytes, ends: self.ends.iter(), start: 0 }
    }
}

/// Gathers pieces; gives up when the call is cancelled.
pub(crate) struct Rendering<'a> {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    call: &'a Call<'a>,
}

impl<'a> Rendering<'a> {
    pub(crate) fn new(call: &'a Call<'a>) -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), call }
    }

    /// The text of the piece that is being written.
    pub(crate) fn text(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Ends the piece.
    ///
    /// # Errors
    /// CANCELLED, noticed once in a while.
    pub(crate) fn end_piece(&mut self) -> Result<(), Error> {
        self.ends.push(self.bytes.len());
        ask(self.call, self.ends.len())
    }

    pub(crate) fn finish(mut self) -> Rendered {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
        Rendered { bytes: self.bytes, ends: self.ends }
    }
}

/// Reads pieces in order. A clone reads on from the same place.
#[derive(Debug, Clone)]
pub(crate) struct Pieces<'a> {
    bytes: &'a [u8],
    ends: std::slice::Iter<'a, usize>,
    start: usize,
}

impl<'a> Pieces<'a> {
    /// The next piece.
    ///
    /// # Errors
    /// DAMAGED when there is none: what was rendered belongs to another schema.
    #[inline]
    pub(crate) fn take(&mut self) -> Result<&'a [u8], Error> {
        let piece = self.ends.next().and_then(|&end| {
            let piece = self.bytes.get(self.start..end);
            self.start = end;
            piece
        });
        piece.ok_or_else(other_schema)
    }

    /// Skips `count` pieces, and hands out a reader that begins with them.
    pub(crate) fn skip(&mut self, count: usize) -> Result<Self, Error> {
        let skipped = self.clone();
        for _ in 0..count {
            self.take()?;
        }
        Ok(skipped)
    }

    /// # Errors
    /// DAMAGED when pieces are left.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        if self.ends.next().is_none() { Ok(()) } else { Err(other_schema()) }
    }
}

#[cold]
fn other_schema() -> Error {
    Error::damaged("the snapshot's schema_id was used for another schema before")
}

/// What a rendering belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    schema_id: u64,
    series_count: u64,
    format: u8,
}

impl Key {
    /// The snapshot's schema, in the exporter's format number `format`.
    pub(crate) fn new(snapshot: &Snapshot<'_>, format: u8) -> Self {
        let (schema_id, series_count) = (snapshot.schema_id(), snapshot.series_count());
        Self { schema_id, series_count, format }
    }
}

type Slot<T> = Option<(Key, Arc<T>)>;

/// The renderings of the two keys that were used last. Thread-safe.
#[derive(Debug)]
pub(crate) struct Cache<T> {
    /// The one used last, and the one before.
    slots: Mutex<[Slot<T>; 2]>,
}

impl<T> Default for Cache<T> {
    fn default() -> Self {
        Self { slots: Mutex::new([None, None]) }
    }
}

impl<T> Cache<T> {
    /// What is kept for `key`, or else what `render` makes; rendering holds no lock.
    ///
    /// # Errors
    /// What `render` answers; nothing is kept then.
    pub(crate) fn get(
        &self,
        key: Key,
        render: impl FnOnce() -> Result<T, Error>,
    ) -> Result<Arc<T>, Error> {
        if let Some(kept) = self.kept(key) {
            return Ok(kept);
        }
        let made = Arc::new(render()?);
        // The ABI says that 0 is never used: nothing may rely on it.
        if key.schema_id != 0 {
            let mut slots = self.slots();
            let [newest, older] = &mut *slots;
            let replaced = newest.replace((key, Arc::clone(&made)));
            // Another thread may have rendered the same in the meantime.
            if replaced.as_ref().is_none_or(|(kept, _)| *kept != key) {
                *older = replaced;
            }
        }
        Ok(made)
    }

    /// Held for some instructions, so nobody sleeps for it: parking_lot's queue of sleepers is the
    /// process's, and a forked child would find threads in it that are not there.
    fn slots(&self) -> MutexGuard<'_, [Slot<T>; 2]> {
        loop {
            if let Some(slots) = self.slots.try_lock() {
                return slots;
            }
            std::thread::yield_now();
        }
    }

    fn kept(&self, key: Key) -> Option<Arc<T>> {
        let mut slots = self.slots();
        let [newest, older] = &mut *slots;
        if older.as_ref().is_some_and(|(kept, _)| *kept == key) {
            std::mem::swap(newest, older);
        }
        newest.as_ref().filter(|(kept, _)| *kept == key).map(|(_, text)| Arc::clone(text))
    }
}

/// Asks whether the call was withdrawn, at the first of a family's series and then at every 1024th.
///
/// # Errors
/// CANCELLED.
#[inline]
pub(crate) fn ask(call: &Call<'_>, index: usize) -> Result<(), Error> {
    if index.is_multiple_of(1024) && call.is_cancelled() {
        return Err(withdrawn());
    }
    Ok(())
}

#[cold]
fn withdrawn() -> Error {
    Error::new(TALLYPORT_CANCELLED, "the export was cancelled")
}

/// Refuses a histogram series with a label that is the name of the bucket bound.
///
/// # Errors
/// CONFLICT, naming the family: written as it is, two labels would have the name `le`.
pub(crate) fn refuse_label_le(family: &Family<'_>, series: &Series<'_>) -> Result<(), Error> {
    if family.kind() == Kind::Histogram && series.labels().any(|(name, _)| name == "le") {
        let name = family.name();
        let message = format!(
            "histogram `{name}` has a label `le`, the name of its bucket bounds: rename it"
        );
        return Err(Error::new(TALLYPORT_CONFLICT, message).with("family", name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(schema_id: u64) -> Key {
        Key { schema_id, series_count: 1, format: 0 }
    }

    fn renders(cache: &Cache<u64>, schema_id: u64) -> bool {
        let mut rendered = false;
        let kept = cache.get(key(schema_id), || {
            rendered = true;
            Ok(schema_id)
        });
        assert_eq!(*kept.unwrap(), schema_id);
        rendered
    }

    #[test]
    fn the_last_two_keys_are_kept() {
        let cache = Cache::default();
        assert!(renders(&cache, 1) && renders(&cache, 2));
        assert!(!renders(&cache, 1) && !renders(&cache, 2) && !renders(&cache, 1));
        assert!(renders(&cache, 3), "drops 2, which was used before 1");
        assert!(!renders(&cache, 1) && renders(&cache, 2));
        assert!(renders(&cache, 0) && renders(&cache, 0), "0 names no schema");
    }

    #[test]
    fn a_failed_rendering_is_not_kept() {
        let cache = Cache::default();
        let failed = cache.get(key(1), || Err(Error::failed("no")));
        assert_eq!(failed.unwrap_err().message(), "no");
        assert!(renders(&cache, 1));
    }

    #[test]
    fn pieces_are_read_back_and_no_more() {
        let rendered = Rendered { bytes: b"abc".to_vec(), ends: vec![1, 1, 3] };
        let mut pieces = rendered.pieces();
        let mut skipped = pieces.skip(2).unwrap();
        assert_eq!((skipped.take().unwrap(), skipped.take().unwrap()), (&b"a"[..], &b""[..]));
        assert!(pieces.clone().finish().is_err(), "a piece is left");
        assert_eq!(pieces.take().unwrap(), b"bc");
        assert!(pieces.clone().take().is_err() && pieces.clone().skip(1).is_err());
        pieces.finish().unwrap();
    }
}
