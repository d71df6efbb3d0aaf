//! A store in this process's memory: several engines of one process share it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    Answer, Batch, Book, Claim, Epoch, Fold, Held, Identity, Lease, LeaseStanding, Leases, Locking,
    Prune, Roll, State, Store, Swap, Totals, Wanted, Wish, lease::LeaseBook,
};
use crate::model::{Clock, Error, Mutex, SystemClock};

/// A store in memory. Clones share it; it ends with the last one.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    book: Arc<Mutex<Book>>,
    leases: Arc<Mutex<LeaseBook>>,
    notes: Arc<Mutex<BTreeMap<String, String>>>,
    clock: Arc<dyn Clock>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock::default()))
    }
}

impl MemoryStore {
    /// An empty store whose leases end by this clock.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { book: Arc::default(), leases: Arc::default(), notes: Arc::default(), clock }
    }

    fn now_ms(&self) -> u64 {
        self.clock.unix_ns() / 1_000_000
    }

    /// The shard itself, for a model that breaks it.
    #[cfg(test)]
    pub(crate) fn book(&self) -> crate::model::MutexGuard<'_, Book> {
        self.book.lock()
    }
}

impl Store for MemoryStore {
    fn register(
        &mut self,
        id: Identity,
        name: &str,
        fresh: Epoch,
        lease: Lease,
    ) -> Result<Answer, Error> {
        Ok(self.book.lock().register(self.now_ms(), id, (name, fresh), lease))
    }

    fn publish(
        &mut self,
        id: Identity,
        (epoch, fresh): (Epoch, Epoch),
        lease: Lease,
        batches: &[Batch],
    ) -> Result<Answer, Error> {
        Ok(self.book.lock().publish(self.now_ms(), (id, epoch, fresh), lease, batches))
    }

    fn roll(&mut self, _: u32) -> Result<Roll, Error> {
        Ok(self.book.lock().roll(self.now_ms()))
    }

    fn states(&mut self, _: u32, ids: &[Identity]) -> Result<Vec<Option<State>>, Error> {
        let book = self.book.lock();
        Ok(ids.iter().map(|id| book.state(*id)).collect())
    }

    fn totals(&mut self, _: u32, wanted: Wanted<'_>) -> Result<Totals, Error> {
        Ok(self.book.lock().totals(self.now_ms(), wanted))
    }

    fn fold(&mut self, fold: &Fold) -> Result<Swap, Error> {
        Ok(self.book.lock().fold(self.now_ms(), fold))
    }

    fn prune(&mut self, prune: &Prune) -> Result<Swap, Error> {
        Ok(self.book.lock().prune(prune))
    }
}

impl Leases for MemoryStore {
    fn locking(&self) -> Locking {
        Locking::Fenced
    }

    fn acquire(&mut self, wish: &Wish<'_>) -> Result<Claim, Error> {
        Ok(self.leases.lock().acquire(self.now_ms(), wish))
    }

    fn renew(&mut self, held: &Held<'_>, term: Duration) -> Result<bool, Error> {
        Ok(self.leases.lock().renew(self.now_ms(), held, term))
    }

    fn release(&mut self, held: &Held<'_>) -> Result<bool, Error> {
        Ok(self.leases.lock().release(self.now_ms(), held))
    }

    fn standing(&mut self, lease: &str) -> Result<LeaseStanding, Error> {
        Ok(self.leases.lock().standing(self.now_ms(), lease))
    }

    fn note(&mut self, lease: &str, text: &str) -> Result<(), Error> {
        self.notes.lock().insert(lease.to_owned(), text.to_owned());
        Ok(())
    }

    fn noted(&mut self, lease: &str) -> Result<Option<String>, Error> {
        Ok(self.notes.lock().get(lease).cloned())
    }
}
