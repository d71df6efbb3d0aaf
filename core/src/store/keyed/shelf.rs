//! The items of one namespace: their keys, and maps of pages among them.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Display,
    sync::Arc,
    time::Duration,
};

use super::{
    KeyValue, LEAST_ITEM_BYTES,
    heads::{Sort, wrap},
    pages::{Changes, Entry, Pages, cut, entries},
};
use crate::model::{Clock, Error, ErrorKind, random};

/// Pages that are asked for in one call: some MiB.
const PAGES_AT_ONCE: usize = 16;

/// Most pages that are remembered to be removed.
const MAX_ORPHANS: usize = 4096;

/// Why a map was not read or written.
#[derive(Debug)]
pub(super) enum Fault {
    /// A page of this key is not there.
    Missing(String),
    Failed(Error),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The items of one namespace.
#[derive(Debug)]
pub(super) struct Shelf {
    pub(super) items: Box<dyn KeyValue>,
    prefix: String,
    clock: Arc<dyn Clock>,
    /// Pages of writes that failed: nothing leads to them, and they may be there.
    orphans: Vec<String>,
}

impl Shelf {
    pub(super) fn new(
        items: Box<dyn KeyValue>,
        namespace: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let (name, most) = (items.name(), items.max_item_bytes());
        if most < LEAST_ITEM_BYTES {
            let message = format!(
                "{name} keeps items of {most} bytes at most; a store needs {LEAST_ITEM_BYTES}"
            );
            return Err(Error::new(ErrorKind::Unsupported, message).with_field("max_item_bytes"));
        }
        Ok(Self { items, prefix: format!("tallyport:{namespace}:"), clock, orphans: Vec::new() })
    }

    pub(super) fn key(&self, name: impl Display) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.unix_ns() / 1_000_000
    }

    fn page_key(&self, name: u64) -> String {
        self.key(format_args!("p:{name:016x}"))
    }

    /// The pages of these keys; a page without its item is a fault.
    fn load(&mut self, names: &[u64]) -> Result<Vec<(String, Vec<u8>)>, Fault> {
        let mut loaded = Vec::with_capacity(names.len());
        for names in names.chunks(PAGES_AT_ONCE) {
            let keys: Vec<String> = names.iter().map(|name| self.page_key(*name)).collect();
            let items = self.items.get_many(&keys)?;
            for (key, item) in keys.into_iter().zip(items) {
                match item.filter(|item| item.bytes != wrap(Sort::Gone, &[])) {
                    Some(item) => loaded.push((key, item.bytes)),
                    None => return Err(Fault::Missing(key)),
                }
            }
        }
        Ok(loaded)
    }

    /// All entries of some maps, in order, read in as few exchanges as there need to be.
    pub(super) fn read<const N: usize>(
        &mut self,
        maps: [&Pages; N],
    ) -> Result<[Vec<Entry>; N], Fault> {
        let names: Vec<u64> = maps.iter().flat_map(|pages| pages.names()).collect();
        let mut loaded = self.load(&names)?.into_iter();
        let mut all = [const { Vec::new() }; N];
        for (pages, all) in maps.iter().zip(&mut all) {
            for (key, bytes) in loaded.by_ref().take(pages.names().count()) {
                all.extend(entries(&key, &bytes)?);
            }
        }
        Ok(all)
    }

    /// The entries of those pages that hold some places; others may be among them.
    pub(super) fn read_holding(
        &mut self,
        pages: &Pages,
        places: impl Iterator<Item = u64>,
    ) -> Result<Vec<Entry>, Fault> {
        let indices: BTreeSet<usize> = places.filter_map(|place| pages.holding(place)).collect();
        let names = indices.into_iter().filter_map(|index| pages.get(index));
        let names: Vec<u64> = names.map(|page| page.name).collect();
        let mut all = Vec::new();
        for (key, bytes) in self.load(&names)? {
            all.extend(entries(&key, &bytes)?);
        }
        Ok(all)
    }

    /// Writes the pages that some changes make, under new names, and returns all pages as they then
    /// are. Nobody sees them before the list is swapped in.
    pub(super) fn write(
        &mut self,
        pages: &Pages,
        changes: &Changes,
        limit: usize,
        ttl: Duration,
    ) -> Result<Pages, Fault> {
        self.remove_orphans();
        let mut by_page: BTreeMap<usize, BTreeMap<_, _>> = BTreeMap::new();
        for (at, value) in changes {
            let index = pages.holding(at.0).unwrap_or(0);
            by_page.entry(index).or_default().insert(at, value);
        }
        let known: Vec<usize> = by_page.keys().copied().collect();
        let names = known.iter().filter_map(|index| pages.get(*index)).map(|page| page.name);
        let mut loaded = self.load(&names.collect::<Vec<_>>())?.into_iter();
        let most = self.items.max_item_bytes();
        let (mut items, mut replaced) = (Vec::new(), BTreeMap::new());
        for (index, changes) in by_page {
            let before = match pages.get(index).and_then(|_| loaded.next()) {
                Some((key, bytes)) => entries(&key, &bytes)?,
                None => Vec::new(),
            };
            let mut after: BTreeMap<_, _> = before.into_iter().collect();
            for (at, value) in changes {
                match value {
                    Some(value) => drop(after.insert(at.clone(), value.clone())),
                    None => drop(after.remove(at)),
                }
            }
            let after: Vec<Entry> = after.into_iter().collect();
            let mut new = Vec::new();
            for (first, bytes) in cut(&after, limit.min(most), most)? {
                let name = random() as u64;
                items.push((self.page_key(name), bytes));
                new.push(super::pages::Page { first, name });
            }
            replaced.insert(index, new);
        }
        if let Err(error) = self.items.set_many(&items, ttl) {
            self.orphaned(items.into_iter().map(|(key, _)| key));
            return Err(error.into());
        }
        Ok(pages.replaced(&replaced))
    }

    /// Pages that were written, and that nothing will lead to.
    pub(super) fn orphaned(&mut self, keys: impl IntoIterator<Item = String>) {
        self.orphans.extend(keys);
        let surplus = self.orphans.len().saturating_sub(MAX_ORPHANS);
        // The oldest: they end with their time.
        self.orphans.drain(..surplus);
    }

    /// Removes what writes that failed left: a store that is slow would fill with it.
    fn remove_orphans(&mut self) {
        if self.orphans.is_empty() {
            return;
        }
        match self.items.delete_many(&self.orphans) {
            Ok(()) => self.orphans.clear(),
            Err(error) => tracing::debug!("pages that nothing leads to stay: {error}"),
        }
    }

    /// The keys of the pages that are in some maps and not in others.
    pub(super) fn keys_of(&self, these: &[&Pages], but_not: &[&Pages]) -> Vec<String> {
        let kept: HashSet<u64> = but_not.iter().flat_map(|pages| pages.names()).collect();
        let gone = these.iter().flat_map(|pages| pages.names()).filter(|name| !kept.contains(name));
        gone.map(|name| self.page_key(name)).collect()
    }

    /// Writes all pages again as they are, so that they stay for longer.
    pub(super) fn keep(&mut self, maps: &[&Pages], ttl: Duration) -> Result<(), Fault> {
        let names: Vec<u64> = maps.iter().flat_map(|pages| pages.names()).collect();
        for names in names.chunks(PAGES_AT_ONCE) {
            let items = self.load(names)?;
            self.items.set_many(&items, ttl)?;
        }
        Ok(())
    }

    /// Removes the pages that are in some maps and not in others. What fails is removed by its time.
    pub(super) fn remove(&mut self, these: &[&Pages], but_not: &[&Pages]) {
        let keys = self.keys_of(these, but_not);
        if keys.is_empty() {
            return;
        }
        if let Err(error) = self.items.delete_many(&keys) {
            tracing::debug!(pages = keys.len(), "pages that nothing leads to stay: {error}");
        }
    }

    /// Whether an item is really not there: then there is a mark in its place, and nothing else comes
    /// there. A store that answers "not there" for "not reached" is found out here.
    pub(super) fn is_gone(&mut self, key: &str, ttl: Duration) -> Result<bool, Error> {
        if self.items.add(key, &wrap(Sort::Gone, &[]), ttl)? {
            return Ok(true);
        }
        Ok(self.items.get(key)?.is_some_and(|item| item.bytes == wrap(Sort::Gone, &[])))
    }
}
