//! A sorted map that is cut into pages, each an item that is never changed.
//!
//! What changes is written to pages of new names; the list of pages lies in an item that is swapped,
//! so whoever reads sees all of a change or nothing of it. An entry never spans pages.

use std::collections::BTreeMap;

use super::{
    super::total::{Reader, damaged, text, varint},
    heads::{ENVELOPE, Sort, unwrap, wrap},
};
use crate::model::{Error, ErrorKind};

/// Most pages of a map.
const MAX_PAGES: u64 = 1 << 16;

/// Where an entry stands in the order, and its key; numbers need no key of their own.
pub(super) type At = (u64, Vec<u8>);
/// Entries to set, or to remove.
pub(super) type Changes = BTreeMap<At, Option<Vec<u8>>>;
/// An entry.
pub(super) type Entry = (At, Vec<u8>);

/// One page: the first place that it may hold, and its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) first: u64,
    pub(super) name: u64,
}

/// The pages of a map, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pages(Vec<Page>);

impl Pages {
    #[cfg(test)]
    pub(super) fn of(pages: &[(u64, u64)]) -> Self {
        Self(pages.iter().map(|(first, name)| Page { first: *first, name: *name }).collect())
    }

    pub(super) fn names(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|page| page.name)
    }

    /// The page that holds a place, by its index; `None` when there is no page.
    pub(super) fn holding(&self, place: u64) -> Option<usize> {
        let after = self.0.partition_point(|page| page.first <= place);
        if self.0.is_empty() { None } else { Some(after.saturating_sub(1)) }
    }

    pub(super) fn get(&self, index: usize) -> Option<Page> {
        self.0.get(index).copied()
    }

    /// These pages with those at some indices replaced, in order.
    pub(super) fn replaced(&self, new: &BTreeMap<usize, Vec<Page>>) -> Self {
        if self.0.is_empty() {
            return Self(new.values().flatten().copied().collect());
        }
        let pages = self.0.iter().enumerate();
        let pages = pages.flat_map(|(index, page)| match new.get(&index) {
            Some(others) => others.clone(),
            None => vec![*page],
        });
        Self(pages.collect())
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        varint(out, self.0.len() as u128);
        let mut before = 0;
        for page in &self.0 {
            varint(out, u128::from(page.first - before));
            out.extend_from_slice(&page.name.to_le_bytes());
            before = page.first;
        }
    }

    pub(super) fn read(read: &mut Reader<'_>) -> Result<Self, Error> {
        let count = read.u64()?;
        if count > MAX_PAGES {
            return Err(damaged("too many pages"));
        }
        let (mut pages, mut first) = (Vec::new(), 0_u64);
        for _ in 0..count {
            let step = read.u64()?;
            first = first.checked_add(step).ok_or_else(|| damaged("pages out of order"))?;
            pages.push(Page { first, name: read.u64_le()? });
        }
        Ok(Self(pages))
    }
}

/// The entries of a page.
pub(super) fn entries(key: &str, bytes: &[u8]) -> Result<Vec<Entry>, Error> {
    let mut read = Reader::new(unwrap(key, &[Sort::Page], bytes)?.1);
    let (mut entries, mut place) = (Vec::new(), 0_u64);
    while read.end().is_err() {
        let step = read.u64()?;
        place = place.checked_add(step).ok_or_else(|| damaged("a page out of order"))?;
        entries.push(((place, read.block()?.to_vec()), read.block()?.to_vec()));
    }
    Ok(entries)
}

fn size(((place, key), value): &Entry) -> usize {
    // At most: each number in front has up to ten bytes, most have one or two.
    let length = |bytes: usize| if bytes < 0x80 { 1 } else { 3 };
    let step = if *place > 1 << 32 { 10 } else { 2 };
    step + length(key.len()) + key.len() + length(value.len()) + value.len()
}

/// Cuts entries into pages of about equal size, none above `limit` unless one entry alone is, and that
/// not above `most`: the first place of each, and its bytes.
///
/// # Errors
/// Limit for an entry that no item can hold.
pub(super) fn cut(
    entries: &[Entry],
    limit: usize,
    most: usize,
) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let room = limit.saturating_sub(ENVELOPE).max(1);
    let all: usize = entries.iter().map(size).sum();
    let target = all.div_ceil(all.div_ceil(room).max(1));
    let mut pages: Vec<(u64, Vec<u8>)> = Vec::new();
    let (mut open, mut first, mut before, mut filled) = (Vec::new(), 0, 0, 0);
    let mut close = |first: u64, open: &mut Vec<u8>| {
        if !open.is_empty() {
            pages.push((first, wrap(Sort::Page, open)));
            open.clear();
        }
    };
    for entry in entries {
        let ((place, key), value) = entry;
        let bytes = size(entry);
        if bytes + ENVELOPE > most {
            let message = format!(
                "a series of {bytes} bytes does not fit into an item of the store, which holds {most}"
            );
            return Err(Error::new(ErrorKind::Limit, message));
        }
        // What stands at one place stays together, so that a place is in one page only.
        if filled > 0 && *place != before && (filled >= target || filled + bytes > room) {
            close(first, &mut open);
            filled = 0;
        }
        if open.is_empty() {
            (first, before) = (*place, 0);
        }
        varint(&mut open, u128::from(place - before));
        text(&mut open, key);
        text(&mut open, value);
        (before, filled) = (*place, filled + bytes);
    }
    close(first, &mut open);
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(count: u64, bytes: usize) -> Vec<Entry> {
        (0..count).map(|place| ((place, Vec::new()), vec![place as u8; bytes])).collect()
    }

    #[test]
    fn entries_are_cut_into_pages_and_come_back() {
        for (count, bytes) in [(0, 9), (1, 9), (1000, 9), (1000, 300), (3, 4000)] {
            let all = numbered(count, bytes);
            let pages = cut(&all, 4096, 8192).unwrap();
            let mut back = Vec::new();
            for (first, page) in &pages {
                assert!(page.len() <= 4096, "{}", page.len());
                let part = entries("k", page).unwrap();
                assert_eq!(*first, part[0].0.0);
                back.extend(part);
            }
            assert_eq!(back, all);
            let least = count as usize * (bytes + 2) / 4096;
            assert!(pages.len() <= 2 * least + 2, "{} pages of {count}", pages.len());
        }
        assert_eq!(cut(&numbered(1, 5000), 4096, 8192).unwrap().len(), 1);
        assert_eq!(cut(&numbered(1, 9000), 4096, 8192).unwrap_err().kind(), ErrorKind::Limit);
    }

    #[test]
    fn pages_find_places_and_are_replaced() {
        let pages = Pages::of(&[(0, 10), (100, 11), (200, 12)]);
        let places: Vec<_> = [0, 99, 100, 250].iter().map(|at| pages.holding(*at)).collect();
        assert_eq!(places, [Some(0), Some(0), Some(1), Some(2)]);
        assert_eq!(Pages::default().holding(3), None);
        let page = |first, name| Page { first, name };
        let new = BTreeMap::from([(1, vec![page(100, 20), page(150, 21)]), (2, Vec::new())]);
        assert_eq!(pages.replaced(&new), Pages::of(&[(0, 10), (100, 20), (150, 21)]));
        let mut bytes = Vec::new();
        pages.encode(&mut bytes);
        assert_eq!(Pages::read(&mut Reader::new(&bytes)).unwrap(), pages);
    }
}
