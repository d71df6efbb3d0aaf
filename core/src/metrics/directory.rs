//! Families by name: found without a lock, because a family is never removed.
//!
//! Levels of doubling size, made as they are needed. A name has a window of a few places in each
//! level, and lies in the first free one; so a free place in a window ends the search.

use std::{
    hash::{BuildHasher, Hasher},
    sync::Arc,
};

use foldhash::fast::RandomState;
use once_cell::race::OnceBox;
use parking_lot::Mutex;
use tallyport_plugin_api::Kind;

use super::{claims::Claims, family::Family};
use crate::model::{Error, ErrorKind};

/// Most families: names that come from outside must not take memory for ever.
pub(super) const MAX_FAMILIES: usize = 100_000;

/// Places of the first level.
const FIRST: usize = 64;
/// Levels: 64 Mi places for the names of [`MAX_FAMILIES`].
const LEVELS: usize = 20;
/// Places of a level that a name may lie in.
const WINDOW: usize = 8;

/// A place is one pointer, published with Release and read with Acquire.
type Level = Box<[OnceBox<Arc<Family>>]>;

/// Families by name. Any thread.
#[derive(Debug, Default)]
pub(super) struct Directory {
    levels: [OnceBox<Level>; LEVELS],
    hash: RandomState,
    /// What changes with a new family; the lock also orders inserts.
    writing: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    order: Vec<Arc<Family>>,
    claims: Claims,
}

impl Directory {
    /// The family of a name.
    pub(super) fn find(&self, name: &str) -> Option<&Arc<Family>> {
        let hash = self.hash_of(name);
        for (level, places) in self.levels.iter().map_while(OnceBox::get).enumerate() {
            for place in window(places, hash, level) {
                // A free place: the name would be in it.
                let family = place.get()?;
                if *family.name == *name {
                    return Some(family);
                }
            }
        }
        None
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
        let Some(place) = self.free_place(name) else {
            return full("too many metrics have names of one hash; use another name");
        };
        writing.claims.claim(name, kind)?;
        let family = Arc::new(make());
        writing.order.push(Arc::clone(&family));
        Ok((place.get_or_init(|| Box::new(family)), true))
    }

    /// Where a new name goes. Only the lock's holder fills places, so what is free stays free.
    fn free_place(&self, name: &str) -> Option<&OnceBox<Arc<Family>>> {
        let hash = self.hash_of(name);
        self.levels.iter().enumerate().find_map(|(level, places)| {
            let make = || Box::new((0..FIRST << level).map(|_| OnceBox::new()).collect());
            let places = places.get_or_init(make);
            window(places, hash, level).find(|place| place.get().is_none())
        })
    }

    /// The families in order of creation.
    pub(super) fn list(&self) -> Vec<Arc<Family>> {
        self.writing.lock().order.clone()
    }

    fn hash_of(&self, name: &str) -> u64 {
        let mut hasher = self.hash.build_hasher();
        hasher.write(name.as_bytes());
        hasher.finish()
    }
}

/// The places of a name in one level.
fn window(places: &Level, hash: u64, level: usize) -> impl Iterator<Item = &OnceBox<Arc<Family>>> {
    // Other bits of the hash in each level, so that names that met once do not meet again.
    let first = hash.rotate_right(7 * level as u32) as usize;
    (0..WINDOW).filter_map(move |step| places.get((first + step) & (places.len() - 1)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tallyport_plugin_api::Number;

    use super::*;
    use crate::metrics::Description;

    fn gauge(name: &str) -> Family {
        let (kind, number) = (Kind::Gauge, Number::F64);
        let what = Description { name, kind, number, bounds: &[], help: "", unit: "", cells: None };
        Family::new(&what, &[])
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
