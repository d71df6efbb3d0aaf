//! Families by name: found without a lock, because a family is never removed.

use std::sync::Arc;

use tallyport_plugin_api::Kind;

use super::{
    arena::At,
    claims::Claims,
    family::Family,
    levels::Levels,
    table::{Memory, record},
};
use crate::model::{Error, ErrorKind, Mutex};

/// Most families: names that come from outside must not take memory for ever.
pub(super) const MAX_FAMILIES: usize = 100_000;

/// Places of the first level.
const FIRST: usize = 64;

/// Families by name, those of all processes in one order. Any thread.
#[derive(Debug)]
pub(super) struct Directory {
    found: Levels<Arc<Family>>,
    memory: Arc<Memory>,
    /// What changes with a new family; the lock also orders this process's inserts.
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    order: Vec<Arc<Family>>,
    claims: Claims,
    /// The last record that was read; 0: none.
    last: At,
    /// Whether it was said that the list is damaged.
    damaged: bool,
}

impl Directory {
    pub(super) fn new(memory: &Arc<Memory>) -> Self {
        let (memory, writing) = (Arc::clone(memory), Mutex::default());
        Self { found: Levels::new(FIRST), memory, writing }
    }

    /// The family of a name, as far as this process looked.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Family>> {
        self.found.find(self.memory.hash.of([name]), |family| *family.name == *name)
    }

    /// The family of a name, whoever made it.
    pub(super) fn find_anew(&self, name: &str) -> Option<&Arc<Family>> {
        self.find(name).or_else(|| {
            self.learn(&mut self.writing.lock());
            self.find(name)
        })
    }

    /// The family of a name, made from the record that `write` gives if there is none; its sample
    /// names are claimed.
    ///
    /// Returns whether it was made.
    ///
    /// # Errors
    /// Conflict when another family has one of its sample names, Limit past [`MAX_FAMILIES`], what
    /// `write` says; then nothing changed.
    pub(super) fn find_or_insert(
        &self,
        name: &str,
        kind: Kind,
        write: impl Fn() -> Result<At, Error>,
    ) -> Result<(&Arc<Family>, bool), Error> {
        let mut writing = self.writing.lock();
        let mut written = None;
        loop {
            let whole = self.learn(&mut writing);
            if let Some(family) = self.find(name) {
                return Ok((family, written == Some(family.record())));
            }
            let full = |what: &str| Err(Error::new(ErrorKind::Limit, what).with_field("name"));
            if writing.order.len() >= MAX_FAMILIES {
                return full("there are 100000 metrics, and no more; put what varies into labels");
            }
            if self.found.free_place(self.memory.hash.of([name])).is_none() {
                return full("too many metrics have names of one hash; use another name");
            }
            writing.claims.check(name, kind)?;
            if !whole {
                return Err(damaged());
            }
            let record = match written {
                Some(record) => record,
                None => write()?,
            };
            written = Some(record);
            let last = if writing.last == 0 { record::ROOT } else { writing.last };
            self.memory.changed();
            // Taken: another process was faster, and may have made this one.
            let _ = record::lead(&self.memory.heap, last, record::NEXT, record);
        }
    }

    /// Learns of the families that came since, whoever made them; false where the list is damaged.
    fn learn(&self, writing: &mut Writing) -> bool {
        let heap = &self.memory.heap;
        while writing.order.len() < MAX_FAMILIES {
            let last = if writing.last == 0 { record::ROOT } else { writing.last };
            let next = record::load(heap, last, record::NEXT);
            if next == 0 {
                return true;
            }
            let family = Family::read(&self.memory, next);
            // None is there twice, unless the list leads back into itself.
            let Some(family) = family.filter(|family| self.find(&family.name).is_none()) else {
                if !std::mem::replace(&mut writing.damaged, true) {
                    tracing::error!("{}", damaged());
                }
                return false;
            };
            let family = Arc::new(family);
            writing.last = next;
            if let Err(error) = writing.claims.claim(&family.name, family.kind) {
                // Two processes at once: in the order of the list, the first one is exported so.
                tracing::warn!(%error, "two processes made metrics that clash");
            }
            if let Some(place) = self.found.free_place(self.memory.hash.of([&*family.name])) {
                place.get_or_init(|| Box::new(Arc::clone(&family)));
            }
            writing.order.push(family);
        }
        true
    }

    /// Learns of all that other processes made.
    pub(super) fn catch_up(&self) {
        self.learn(&mut self.writing.lock());
        for family in self.list() {
            family.catch_up();
        }
    }

    /// The families in order of creation.
    pub(super) fn list(&self) -> Vec<Arc<Family>> {
        self.writing.lock().order.clone()
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::Damaged, "the arena is damaged: what follows a metric is none")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tallyport_plugin_api::Number;

    use super::*;
    use crate::{
        metrics::{Cells, Description, Share},
        model::GaugeMode,
    };

    fn gauge(memory: &Memory, name: &str) -> Result<At, Error> {
        let (kind, number) = (Kind::Gauge, Number::F64);
        let (bounds, help, unit) = (&[][..], "", "");
        let (cells, mode) = (None, GaugeMode::Undeclared);
        let what = Description { name, kind, number, bounds, help, unit, cells, mode };
        Family::write(memory, &what, &[])
    }

    fn memory() -> Arc<Memory> {
        Memory::new(&Share::Auto, 4096, 4096, Cells::Shared).unwrap()
    }

    #[test]
    fn every_family_is_found_again_and_is_made_once() {
        let memory = memory();
        let directory = Directory::new(&memory);
        let names: Vec<String> = (0..20_000).map(|i| format!("gauge_{i}")).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for name in &names {
                        let (family, _) = directory
                            .find_or_insert(name, Kind::Gauge, || gauge(&memory, name))
                            .unwrap();
                        assert_eq!(*family.name, **name);
                        assert!(Arc::ptr_eq(family, directory.find(name).unwrap()));
                    }
                });
            }
        });
        let listed = directory.list();
        let different: HashSet<_> = listed.iter().map(|family| &*family.name).collect();
        assert_eq!((listed.len(), different.len()), (names.len(), names.len()));
        assert!(directory.find("gauge_").is_none());
    }

    #[test]
    fn a_refused_family_leaves_nothing() {
        let memory = memory();
        let directory = Directory::new(&memory);
        directory.find_or_insert("a", Kind::Gauge, || gauge(&memory, "a")).unwrap();
        let made = directory.find_or_insert("a_total", Kind::Counter, || gauge(&memory, "never"));
        assert_eq!(made.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(directory.find("a_total").is_none());
        assert_eq!(directory.list().len(), 1);
    }

    #[test]
    fn families_are_bounded_and_a_refused_one_leaves_nothing() {
        let memory = memory();
        let directory = Directory::new(&memory);
        for i in 0..MAX_FAMILIES {
            let name = format!("gauge_{i}");
            directory.find_or_insert(&name, Kind::Gauge, || gauge(&memory, &name)).unwrap();
        }
        for _ in 0..2 {
            let refused =
                directory.find_or_insert("one_more", Kind::Gauge, || gauge(&memory, "one_more"));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Limit);
        }
        assert!(directory.find("one_more").is_none());
        assert_eq!(directory.list().len(), MAX_FAMILIES);
        assert!(
            directory.find_or_insert("gauge_7", Kind::Gauge, || gauge(&memory, "gauge_7")).is_ok()
        );
    }
}
