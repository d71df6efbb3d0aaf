//! Leases as items that are swapped: one holder at a time while nothing is evicted.

use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use super::{
    super::{
        Claim, Held, LeaseStanding, Leases, Locking, Wish,
        lease::{LeaseBook, term_ms},
        total::{Reader, text},
    },
    BasicStore, ManualStore,
    heads::{Sort, unwrap, wrap},
    ledger::{LEDGER_EXTRA_MS, TRIES, restless},
};
use crate::model::Error;

impl BasicStore {
    fn lease_key(&self, lease: &str) -> String {
        // Names may be longer than keys; the item says which it is.
        self.shelf.key(format_args!("e:{:016x}", xxh3_64(lease.as_bytes())))
    }

    fn note_key(&self, lease: &str) -> String {
        self.shelf.key(format_args!("n:{:016x}", xxh3_64(lease.as_bytes())))
    }

    /// The lease as it stands, with the token to swap it by; `None`: there is no item.
    fn lease(&mut self, lease: &str) -> Result<(LeaseBook, Option<u64>), Error> {
        let key = self.lease_key(lease);
        let Some(item) = self.shelf.items.get(&key)? else {
            return Ok((LeaseBook::default(), None));
        };
        let (_, content) = unwrap(&key, &[Sort::Lease], &item.bytes)?;
        Ok((LeaseBook::from_bytes(lease, content)?, Some(item.token)))
    }

    /// Changes a lease in one swap, if `change` says that it does.
    fn step<R>(
        &mut self,
        lease: &str,
        term_ms: u64,
        change: impl Fn(&mut LeaseBook, u64) -> (R, bool),
    ) -> Result<R, Error> {
        self.shelf.items.begin();
        let key = self.lease_key(lease);
        let ttl = Duration::from_millis(term_ms.saturating_add(LEDGER_EXTRA_MS));
        for _ in 0..TRIES {
            let (mut book, token) = self.lease(lease)?;
            let (answer, changed) = change(&mut book, self.shelf.now_ms());
            let Some(bytes) = book.to_bytes(lease).filter(|_| changed) else { return Ok(answer) };
            let bytes = wrap(Sort::Lease, &bytes);
            let done = match token {
                Some(token) => self.shelf.items.cas(&key, &bytes, ttl, token)?,
                None => self.shelf.items.add(&key, &bytes, ttl)?,
            };
            if done {
                return Ok(answer);
            }
        }
        Err(restless())
    }
}

impl Leases for BasicStore {
    fn locking(&self) -> Locking {
        Locking::Unfenced
    }

    fn acquire(&mut self, wish: &Wish<'_>) -> Result<Claim, Error> {
        self.step(wish.lease, term_ms(wish.term), |book, now| {
            let claim = book.acquire(now, wish);
            let granted = matches!(claim, Claim::Granted(_));
            (claim, granted)
        })
    }

    fn renew(&mut self, held: &Held<'_>, term: Duration) -> Result<bool, Error> {
        self.step(held.lease, term_ms(term), |book, now| {
            let done = book.renew(now, held, term);
            (done, done)
        })
    }

    fn release(&mut self, held: &Held<'_>) -> Result<bool, Error> {
        self.step(held.lease, 0, |book, now| {
            let done = book.release(now, held);
            (done, done)
        })
    }

    fn standing(&mut self, lease: &str) -> Result<LeaseStanding, Error> {
        self.shelf.items.begin();
        let (book, _) = self.lease(lease)?;
        Ok(book.standing(self.shelf.now_ms(), lease))
    }

    fn note(&mut self, lease: &str, note: &str) -> Result<(), Error> {
        self.shelf.items.begin();
        let key = self.note_key(lease);
        let mut content = Vec::new();
        text(&mut content, lease.as_bytes());
        text(&mut content, note.as_bytes());
        let ttl = Duration::from_millis(LEDGER_EXTRA_MS);
        self.shelf.items.set(&key, &wrap(Sort::Note, &content), ttl)
    }

    fn noted(&mut self, lease: &str) -> Result<Option<String>, Error> {
        self.shelf.items.begin();
        let key = self.note_key(lease);
        let Some(item) = self.shelf.items.get(&key)? else { return Ok(None) };
        let (_, content) = unwrap(&key, &[Sort::Note], &item.bytes)?;
        let mut read = Reader::new(content);
        // Another lease's, of the same hash: it was noted later.
        if read.text()? != lease {
            return Ok(None);
        }
        let note = read.text()?.to_owned();
        read.end()?;
        Ok(Some(note))
    }
}

/// Nothing can be swapped there, so nothing can be locked.
impl Leases for ManualStore {}
