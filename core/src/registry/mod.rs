//! Floor 3: one registry for everything that is registered by name: exporters, event subscribers,
//! event handlers.
//!
//! It owns names, their order, and the rules: a name is well formed and free, or is replaced when
//! that is asked for; there is a most. It counts what its entries did, and tells a [`Watch`] of
//! every change, with no lock held. It refuses to know what its entries do, and who listens.
//!
//! Reading takes no lock: a list is replaced as a whole, and whoever read the old one keeps it. So
//! an export does not wait for a load.

mod statistics;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;

pub use statistics::{Counts, Statistics};

use crate::model::{Error, ErrorKind, Mutex};

/// Longest name of an entry.
const MAX_NAME_BYTES: usize = 64;

/// What [`is_name`] asks for.
pub(crate) const NAME_RULE: &str = "has 1 to 64 letters, digits, `.`, `_` and `-` only";

/// Whether something may be registered under that name.
#[must_use]
pub(crate) fn is_name(name: &str) -> bool {
    let known = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(known)
}

/// What may be registered.
pub trait Entry: Send + Sync {
    /// The name that it is registered under.
    fn name(&self) -> &str;

    /// What it did.
    fn statistics(&self) -> &Statistics;

    /// What the event of its registration says besides the name.
    fn details(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What stands behind its name in an error that lists what there is.
    fn summary(&self) -> Option<String> {
        None
    }
}

/// What happened to a registry.
#[derive(Debug)]
pub enum Change<'a, T> {
    /// An entry serves from now on.
    Registered {
        /// The entry.
        entry: &'a Arc<T>,
        /// The one whose place it took.
        replaced: Option<&'a Arc<T>>,
    },
    /// An entry was taken out, and no other took its place.
    Unregistered(&'a Arc<T>),
    /// Something could not be registered.
    Refused {
        /// The name that it would have had.
        name: &'a str,
        /// Why not.
        error: &'a Error,
    },
}

/// Is told of every change, after it, on the thread that made it, with no lock held.
///
/// Changes that two threads make at once may be told in either order.
pub trait Watch<T>: Send + Sync {
    /// A change.
    fn changed(&self, change: Change<'_, T>);
}

/// Entries by name, in the order of their registration. Any thread.
pub struct Registry<T> {
    /// What an entry is called in errors and logs: `plugin`.
    kind: &'static str,
    list: ArcSwap<Vec<Arc<T>>>,
    /// Whoever changes the list holds it, and calls nothing meanwhile.
    changing: Mutex<()>,
    most: usize,
    watch: Box<dyn Watch<T>>,
}

impl<T: Entry> fmt::Debug for Registry<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = self.list();
        f.debug_list().entries(list.iter().map(|entry| entry.name())).finish()
    }
}

impl<T: Entry> Registry<T> {
    /// An empty registry of `most` entries at most; `kind` is what one is called: `plugin`.
    #[must_use]
    pub fn new(kind: &'static str, most: usize, watch: Box<dyn Watch<T>>) -> Self {
        Self { kind, list: ArcSwap::default(), changing: Mutex::new(()), most, watch }
    }

    /// What is registered, in order. Takes no lock; later changes do not show in it.
    #[must_use]
    pub fn list(&self) -> Arc<Vec<Arc<T>>> {
        self.list.load_full()
    }

    /// The entry of that name. Takes no lock.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<T>> {
        self.list.load().iter().find(|entry| entry.name() == name).cloned()
    }

    /// The first entry that `wanted` takes. Takes no lock.
    pub fn find(&self, wanted: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.list.load().iter().find(|entry| wanted(entry)).cloned()
    }

    /// Registers entries: all of them, or none.
    ///
    /// # Errors
    /// InvalidArgument for a name that breaks the rule, AlreadyExists for one in use or given
    /// twice, Limit when there would be too many.
    pub fn register(&self, entries: Vec<Arc<T>>) -> Result<(), Error> {
        let added = {
            let _changing = self.changing.lock();
            let list = self.list.load();
            let names = entries.iter().map(|entry| entry.name());
            self.check(&list, names).map(|()| {
                let all = list.iter().chain(&entries).cloned().collect();
                self.list.store(Arc::new(all));
            })
        };
        if let Err((name, error)) = added {
            self.refused(&name, &error);
            return Err(error);
        }
        for entry in &entries {
            self.watch.changed(Change::Registered { entry, replaced: None });
        }
        Ok(())
    }

    /// Says whether [`Registry::register`] would take entries of these names, before they are made.
    ///
    /// # Errors
    /// As [`Registry::register`].
    pub fn admit(&self, names: &[&str]) -> Result<(), Error> {
        let list = self.list.load_full();
        self.check(&list, names.iter().copied()).map_err(|(name, error)| {
            self.refused(&name, &error);
            error
        })
    }

    /// Puts an entry in the place of the one of its name, which is returned.
    ///
    /// Whoever looks finds the old one or the new one, never none.
    ///
    /// # Errors
    /// NotFound when nothing has that name.
    pub fn replace(&self, entry: Arc<T>) -> Result<Arc<T>, Error> {
        let old = {
            let _changing = self.changing.lock();
            let mut next = Vec::clone(&self.list.load());
            let place = next.iter_mut().find(|other| other.name() == entry.name());
            place.map(|place| std::mem::replace(place, Arc::clone(&entry))).inspect(|_| {
                self.list.store(Arc::new(next));
            })
        };
        let Some(old) = old else {
            let error = self.unknown(self.kind, entry.name());
            self.refused(entry.name(), &error);
            return Err(error);
        };
        self.watch.changed(Change::Registered { entry: &entry, replaced: Some(&old) });
        Ok(old)
    }

    /// Takes the entry of that name out, and returns it.
    ///
    /// # Errors
    /// NotFound when nothing has that name.
    pub fn unregister(&self, name: &str) -> Result<Arc<T>, Error> {
        self.take_out(|entry| entry.name() == name).ok_or_else(|| self.unknown(self.kind, name))
    }

    /// Takes this very entry out; false when it is not in, though another of its name may be.
    pub fn unregister_entry(&self, entry: &Arc<T>) -> bool {
        self.take_out(|other| Arc::ptr_eq(other, entry)).is_some()
    }

    fn take_out(&self, wanted: impl Fn(&Arc<T>) -> bool) -> Option<Arc<T>> {
        let old = {
            let _changing = self.changing.lock();
            let mut next = Vec::clone(&self.list.load());
            let index = next.iter().position(wanted)?;
            let old = next.remove(index);
            self.list.store(Arc::new(next));
            old
        };
        self.watch.changed(Change::Unregistered(&old));
        Some(old)
    }

    /// Takes every entry out, and lets go of them in the reverse order of their registration.
    pub fn clear(&self) {
        let before = {
            let _changing = self.changing.lock();
            self.list.swap(Arc::default())
        };
        let mut before = Arc::unwrap_or_clone(before);
        while let Some(old) = before.pop() {
            self.watch.changed(Change::Unregistered(&old));
        }
    }

    /// Tells that something was refused before it came to registering.
    pub fn refused(&self, name: &str, error: &Error) {
        self.watch.changed(Change::Refused { name, error });
    }

    /// The error for a name that nothing has; it lists what there is.
    #[must_use]
    pub fn unknown(&self, what: &str, name: &str) -> Error {
        /// Most names that an error lists.
        const LISTED: usize = 32;
        let list = self.list.load();
        let mut known: Vec<String> = Vec::new();
        for entry in list.iter().take(LISTED) {
            known.push(match entry.summary() {
                Some(summary) => format!("{} ({summary})", entry.name()),
                None => entry.name().to_owned(),
            });
        }
        if list.len() > LISTED {
            known.push(format!("and {} more", list.len() - LISTED));
        }
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        let message = format!("no {what} is called `{name}`; registered: {known}");
        Error::new(ErrorKind::NotFound, message).with_field("name")
    }

    /// The first of `names` that cannot be registered beside `list`, and why.
    fn check<'a>(
        &self,
        list: &[Arc<T>],
        names: impl Iterator<Item = &'a str>,
    ) -> Result<(), (String, Error)> {
        let mut seen = Vec::new();
        for name in names {
            let why = if !is_name(name) {
                let message = format!(
                    "{name:?} names no {kind}: a {kind}'s name {NAME_RULE}",
                    kind = self.kind
                );
                Some(Error::invalid("name", message))
            } else if seen.contains(&name) || list.iter().any(|entry| entry.name() == name) {
                let message = format!("a {} called `{name}` is registered already", self.kind);
                Some(Error::new(ErrorKind::AlreadyExists, message).with_field("name"))
            } else if list.len() + seen.len() >= self.most {
                let message = format!(
                    "{} {}s are registered, the most that there may be; unregister some",
                    self.most, self.kind
                );
                Some(Error::new(ErrorKind::Limit, message).with_field("name"))
            } else {
                None
            };
            if let Some(error) = why {
                return Err((name.to_owned(), error));
            }
            seen.push(name);
        }
        Ok(())
    }
}
