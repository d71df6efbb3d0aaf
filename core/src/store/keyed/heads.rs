//! The items that are swapped: a shard's ledger, an instance's record. And what all items begin with.

use xxhash_rust::xxh3::xxh3_64;

use super::{
    super::{
        Epoch,
        total::{Reader, text, varint},
    },
    pages::Pages,
};
use crate::model::{Error, ErrorKind};

/// What every item of a store begins with; then its sort, a checksum, its content.
const MAGIC: &[u8; 4] = b"TLY1";
/// Bytes before the content.
pub(super) const ENVELOPE: usize = 13;

/// What an item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sort {
    Ledger = b'L' as isize,
    Record = b'R' as isize,
    Page = b'P' as isize,
    Lease = b'E' as isize,
    /// A text that is kept beside a lease.
    Note = b'N' as isize,
    /// Says that what was here is lost, so that nothing comes here any more.
    Gone = b'G' as isize,
    /// Of a store without compare-and-swap: who has this slot.
    Slot = b'S' as isize,
}

/// Wraps content.
pub(super) fn wrap(sort: Sort, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ENVELOPE + content.len());
    out.extend_from_slice(MAGIC);
    out.push(sort as u8);
    out.extend_from_slice(&xxh3_64(content).to_le_bytes());
    out.extend_from_slice(content);
    out
}

/// The content of an item of one of these sorts, and which it is.
///
/// # Errors
/// Conflict for what this library did not write, Damaged for what is not as it was written; both
/// name the key.
pub(super) fn unwrap<'a>(
    key: &str,
    sorts: &[Sort],
    bytes: &'a [u8],
) -> Result<(Sort, &'a [u8]), Error> {
    let (head, content) = bytes.split_at_checked(ENVELOPE).unwrap_or((bytes, &[]));
    let (magic, rest) = head.split_at_checked(5).unwrap_or((head, &[]));
    let known = sorts.iter().find(|sort| magic.strip_prefix(MAGIC) == Some(&[**sort as u8]));
    let Some(sort) = known else {
        let message = format!("the item `{key}` of the store was written by something else");
        return Err(Error::new(ErrorKind::Conflict, message));
    };
    if rest != xxh3_64(content).to_le_bytes() {
        let message = format!("the item `{key}` of the store is not as it was written");
        return Err(Error::new(ErrorKind::Damaged, message));
    }
    Ok((*sort, content))
}

/// The retired total of a store, whom it contains, and who is there: one life of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ledger {
    pub(super) epoch: Epoch,
    pub(super) generation: u64,
    pub(super) forgotten: u64,
    /// When all its pages were last written again, Unix ms, and how long they then stay.
    pub(super) kept_ms: u64,
    pub(super) ttl_ms: u64,
    pub(super) instances: Pages,
    pub(super) tombstones: Pages,
    pub(super) totals: Pages,
}

impl Ledger {
    pub(super) fn new(epoch: Epoch, kept_ms: u64, ttl_ms: u64) -> Self {
        let (instances, tombstones, totals) = Default::default();
        Self { epoch, generation: 0, forgotten: 0, kept_ms, ttl_ms, instances, tombstones, totals }
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        for number in [self.generation, self.forgotten, self.kept_ms, self.ttl_ms] {
            varint(&mut out, number.into());
        }
        for pages in self.pages() {
            pages.encode(&mut out);
        }
        wrap(Sort::Ledger, &out)
    }

    pub(super) fn from_bytes(key: &str, bytes: &[u8]) -> Result<Self, Error> {
        let mut read = Reader::new(unwrap(key, &[Sort::Ledger], bytes)?.1);
        let epoch = Epoch(read.u64_le()?);
        let (generation, forgotten, kept_ms, ttl_ms) =
            (read.u64()?, read.u64()?, read.u64()?, read.u64()?);
        let (instances, tombstones, totals) =
            (Pages::read(&mut read)?, Pages::read(&mut read)?, Pages::read(&mut read)?);
        read.end()?;
        Ok(Self { epoch, generation, forgotten, kept_ms, ttl_ms, instances, tombstones, totals })
    }

    pub(super) fn pages(&self) -> [&Pages; 3] {
        [&self.instances, &self.tombstones, &self.totals]
    }
}

/// An instance's record.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// The life of the store that it belongs to.
    pub(super) epoch: Epoch,
    pub(super) version: u64,
    /// When its lease ends, Unix ms.
    pub(super) until_ms: u64,
    /// It stays at this version: it is being folded.
    pub(super) sealed: bool,
    /// When all its pages were last written again, Unix ms.
    pub(super) kept_ms: u64,
    pub(super) name: String,
    pub(super) texts: Pages,
    pub(super) values: Pages,
}

impl Record {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.push(self.sealed.into());
        for number in [self.version, self.until_ms, self.kept_ms] {
            varint(&mut out, number.into());
        }
        text(&mut out, self.name.as_bytes());
        self.texts.encode(&mut out);
        self.values.encode(&mut out);
        wrap(Sort::Record, &out)
    }

    /// `None` for the mark of a lost one.
    pub(super) fn from_bytes(key: &str, bytes: &[u8]) -> Result<Option<Self>, Error> {
        let (sort, content) = unwrap(key, &[Sort::Record, Sort::Gone], bytes)?;
        if sort == Sort::Gone {
            return Ok(None);
        }
        let mut read = Reader::new(content);
        let epoch = Epoch(read.u64_le()?);
        let sealed = read.byte()? != 0;
        let (version, until_ms, kept_ms) = (read.u64()?, read.u64()?, read.u64()?);
        let name = read.text()?.to_owned();
        let (texts, values) = (Pages::read(&mut read)?, Pages::read(&mut read)?);
        read.end()?;
        Ok(Some(Self { epoch, version, until_ms, sealed, kept_ms, name, texts, values }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_and_no_part_of_them_does() {
        let mut ledger = Ledger::new(Epoch(u64::MAX), 5, 7);
        ledger.totals = Pages::of(&[(0, 3), (900, 4)]);
        let bytes = ledger.to_bytes();
        assert_eq!(Ledger::from_bytes("k", &bytes).unwrap(), ledger);
        let record = Record {
            epoch: Epoch(9),
            version: 3,
            until_ms: 4,
            sealed: true,
            kept_ms: 1,
            name: "web".into(),
            texts: Pages::of(&[(0, u64::MAX)]),
            values: Pages::default(),
        };
        let other = record.to_bytes();
        assert_eq!(Record::from_bytes("k", &other).unwrap(), Some(record));
        assert_eq!(Record::from_bytes("k", &wrap(Sort::Gone, &[])).unwrap(), None);
        for (bytes, is_ledger) in [(bytes, true), (other, false)] {
            for end in 0..bytes.len() {
                let error = if is_ledger {
                    Ledger::from_bytes("k", &bytes[..end]).map(drop).unwrap_err()
                } else {
                    Record::from_bytes("k", &bytes[..end]).map(drop).unwrap_err()
                };
                assert!(error.to_string().contains("`k`"), "{error}");
            }
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 1;
                assert!(if is_ledger {
                    Ledger::from_bytes("k", &bad).is_err()
                } else {
                    Record::from_bytes("k", &bad).is_err()
                });
            }
        }
    }

    #[test]
    fn what_someone_else_wrote_is_told_apart_from_what_is_damaged() {
        let kind = |bytes: &[u8]| Ledger::from_bytes("k", bytes).unwrap_err().kind();
        assert_eq!(kind(b"mine"), ErrorKind::Conflict);
        assert_eq!(kind(b""), ErrorKind::Conflict);
        assert_eq!(kind(&wrap(Sort::Page, b"x")), ErrorKind::Conflict);
        assert_eq!(kind(b"TLY1L12345678xx"), ErrorKind::Damaged);
    }
}
