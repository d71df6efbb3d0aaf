//! Families by name: found without a lock, because a family is never removed.

use std::sync::Arc;

use tallyport_plugin_api::Kind;

use super::{claims::Claims, family::Family, levels::Levels};
use crate::model::{Error, ErrorKind, Mutex, TextHash};

/// Most families: names that come from outside must not take memory for ever.
pub(super) const MAX_FAMILIES: usize = 100_000;

/// Places of the first level.
const FIRST: usize = 64;

/// Families by name. Any thread.
#[derive(Debug)]
pub(super) struct Directory {
    found: Levels<Arc<Family>>,
    hash: TextHash,
    /// What changes with a new family; the lock also orders inserts.
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    order: Vec<Arc<Family>>,
    claims: Claims,
}

impl Default for Directory {
    fn default() -> Self {
        Self { found: Levels::new(FIRST), hash: TextHash::random(), writing: Mutex::default() }
    }
}

impl Directory {
    /// The family of a name.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Family>> {
        self.found.find(self.hash.of([name]), |family| *family.name == *name)
    }

    /// The family of a name, made by `make` of that kind if there is none; its sample names are
    /// claimed. `make` is called only when the family will be there.
    ///
    /// Returns whether it was made.
    ///
    /// # Errors
    /// Conflict when another family has one of its sample names, Limit past [`MAX_FAMILIES`]; then
    /// nothing changed.
    pub(super) fn find_or_insert(
        &self,
        name: &str,
        kind: Kind,
        make: impl FnOnce() -> Family,
    ) -> Result<(&Arc<Family>, bool), Error> {
        let mut writing = self.writing.lock();
        if let Some(family) = self.find(name) {
            return Ok((family, false));
        }
        let full = |what: &str| Err(Error::new(ErrorKind::Limit, what).with_field("name"));
        if writing.order.len() >= MAX_FAMILIES {
            return full("there are 100000 metrics, and no more; put what varies into labels");
        }
        let Some(place) = self.found.free_place(self.hash.of([name])) else {
            return full("too many metrics have names of one hash; use another name");
        };
        writing.claims.claim(name, kind)?;
        let family = Arc::new(make());
        writing.order.push(Arc::clone(&family));
        Ok((place.get_or_init(|| Box::new(family)), true))
    }

    /// The families in order of creation.
    pub(super) fn list(&self) -> Vec<Arc<Family>> {
        self.writing.lock().order.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tallyport_plugin_api::Number;

    use super::*;
    use crate::metrics::{Cells, Description, table::Memory};

    fn gauge(name: &str) -> Family {
        let (kind, number) = (Kind::Gauge, Number::F64);
        let what = Description { name, kind, number, bounds: &[], help: "", unit: "", cells: None };
        static MEMORY: once_cell::sync::Lazy<Arc<Memory>> =
            once_cell::sync::Lazy::new(|| Memory::new(4096, 4096, Cells::Shared).unwrap());
        Family::new(&MEMORY, &what, &[])
    }

    #[test]
    fn every_family_is_found_again_and_is_made_once() {
        let directory = Directory::default();
        let names: Vec<String> = (0..20_000).map(|i| format!("gauge_{i}")).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for name in &names {
                        let (family, _) =
                            directory.find_or_insert(name, Kind::Gauge, || gauge(name)).unwrap();
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
        let directory = Directory::default();
        directory.find_or_insert("a", Kind::Gauge, || gauge("a")).unwrap();
        let made = directory.find_or_insert("a_total", Kind::Counter, || gauge("never"));
        assert_eq!(made.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(directory.find("a_total").is_none());
        assert_eq!(directory.list().len(), 1);
    }

    #[test]
    fn families_are_bounded_and_a_refused_one_leaves_nothing() {
        let directory = Directory::default();
        for i in 0..MAX_FAMILIES {
            let name = format!("gauge_{i}");
            directory.find_or_insert(&name, Kind::Gauge, || gauge(&name)).unwrap();
        }
        for _ in 0..2 {
            let refused = directory.find_or_insert("one_more", Kind::Gauge, || gauge("one_more"));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Limit);
        }
        assert!(directory.find("one_more").is_none());
        assert_eq!(directory.list().len(), MAX_FAMILIES);
        assert!(directory.find_or_insert("gauge_7", Kind::Gauge, || gauge("gauge_7")).is_ok());
    }
}
