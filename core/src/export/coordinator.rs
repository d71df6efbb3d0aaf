//! One exporter at a time: a run's lease, from the wish to the end.

use std::time::Duration;

use super::{Failure, Skip};
use crate::{
    model::{Clock, Error, ErrorKind},
    store::{Claim, FencingToken, Held, Leases, Locking, Owner, Wish},
};

/// The way to a store's leases.
pub(crate) trait Registrar {
    /// Calls `act` with them, once.
    ///
    /// # Errors
    /// What `act` answered, or why there is no way to them now.
    fn leases(
        &self,
        act: &mut dyn FnMut(&mut dyn Leases) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// Time.
    fn clock(&self) -> &dyn Clock;
}

/// What `act` answers with a store's leases.
fn ask<T>(
    registrar: &dyn Registrar,
    mut act: impl FnMut(&mut dyn Leases) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut answer = None;
    registrar.leases(&mut |leases| {
        answer = Some(act(leases)?);
        Ok(())
    })?;
    answer.ok_or_else(|| Error::new(ErrorKind::Internal, "a store was not asked for its leases"))
}

/// Whether a run may export for all.
pub(crate) enum Admission<'a> {
    /// It may.
    Held(Guard<'a>),
    /// Somebody else does.
    Taken(Skip),
    /// Nobody can say.
    Unknown(Error),
}

/// A lease that outlives its run, so that others leave the interval to its holder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resting {
    owner: Owner,
    token: FencingToken,
}

/// A lease that a run has. Dropped, it is given back.
pub(crate) struct Guard<'a> {
    registrar: &'a dyn Registrar,
    lease: String,
    owner: Owner,
    token: FencingToken,
    locking: Locking,
    term: Duration,
    renewed: Duration,
    done: bool,
}

/// Asks for a lease, after giving back the one that still rests.
pub(crate) fn admit<'a>(
    registrar: &'a dyn Registrar,
    lease: &str,
    (owner, holder): (Owner, &str),
    term: Duration,
    resting: Option<Resting>,
) -> Admission<'a> {
    let wish = Wish { lease, owner, holder, term };
    let asked = registrar.clock().monotonic();
    let claimed = ask(registrar, |leases| {
        if let Some(Resting { owner, token }) = &resting {
            // Lost by now: then whoever has it is met below.
            leases.release(&Held { lease, owner: *owner, token: *token })?;
        }
        Ok((leases.locking(), leases.acquire(&wish)?))
    });
    match claimed {
        Ok((_, Claim::Taken { holder, left })) => Admission::Taken(Skip::Leased { holder, left }),
        Ok((locking, Claim::Granted(token))) => Admission::Held(Guard {
            registrar,
            lease: lease.to_owned(),
            owner,
            token,
            locking,
            term,
            renewed: asked,
            done: false,
        }),
        Err(error) => Admission::Unknown(error),
    }
}

/// Gives a lease back that rests.
pub(crate) fn wake(registrar: &dyn Registrar, lease: &str, resting: &Resting) {
    let held = Held { lease, owner: resting.owner, token: resting.token };
    if let Err(error) = ask(registrar, |leases| leases.release(&held)) {
        tracing::warn!(lease, "not given back, it ends by itself: {error}");
    }
}

impl Guard<'_> {
    pub(crate) fn token(&self) -> FencingToken {
        self.token
    }

    /// What gives the lease back where this is not dropped.
    pub(crate) fn resting(&self) -> Resting {
        Resting { owner: self.owner, token: self.token }
    }

    pub(crate) fn locking(&self) -> Locking {
        self.locking
    }

    fn held(&self) -> Held<'_> {
        Held { lease: &self.lease, owner: self.owner, token: self.token }
    }

    /// Renews it when a third of its term is over.
    ///
    /// # Errors
    /// As [`Guard::confirm`].
    pub(crate) fn keep(&mut self) -> Result<(), Failure> {
        let passed = self.registrar.clock().monotonic().saturating_sub(self.renewed);
        if passed < self.term / 3 { Ok(()) } else { self.confirm(Duration::ZERO) }
    }

    /// Makes sure that it is still held, and is for its term or for `least`.
    ///
    /// # Errors
    /// For now: it is lost, or the store cannot be asked.
    pub(crate) fn confirm(&mut self, least: Duration) -> Result<(), Failure> {
        let asked = self.registrar.clock().monotonic();
        let term = self.term.max(least);
        let kept = ask(self.registrar, |leases| leases.renew(&self.held(), term));
        match kept.map_err(|error| Failure::for_now(error.context("the export's lease")))? {
            true => {
                self.renewed = asked;
                Ok(())
            }
            false => {
                self.done = true;
                let message = format!(
                    "the lease `{}` (token {}) ended before the export was delivered: nothing was",
                    self.lease, self.token
                );
                Err(Failure::for_now(Error::new(ErrorKind::Unavailable, message)))
            }
        }
    }

    /// Ends the run; the lease stays for `rest`, where that is not zero, and what rests is returned.
    pub(crate) fn finish(mut self, rest: Duration) -> Option<Resting> {
        if rest.is_zero() {
            return None;
        }
        self.done = true;
        let (owner, token) = (self.owner, self.token);
        match ask(self.registrar, |leases| leases.renew(&self.held(), rest)) {
            Ok(true) => Some(Resting { owner, token }),
            Ok(false) => None,
            Err(error) => {
                tracing::warn!(lease = self.lease, "its rest was not noted: {error}");
                Some(Resting { owner, token })
            }
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if !self.done {
            wake(self.registrar, &self.lease, &self.resting());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        cell::RefCell,
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering::SeqCst},
        },
    };

    use super::*;
    use crate::{export::Again, store::MemoryStore};

    #[derive(Debug, Default, Clone)]
    struct Hand(Arc<AtomicU64>);

    impl Clock for Hand {
        fn unix_ns(&self) -> u64 {
            1_000_000_000_000 + self.0.load(SeqCst)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_nanos(self.0.load(SeqCst))
        }
    }

    struct Desk {
        store: RefCell<MemoryStore>,
        hand: Hand,
        asked: AtomicU64,
    }

    impl Desk {
        fn new() -> Self {
            let hand = Hand::default();
            let store = MemoryStore::new(Arc::new(hand.clone()));
            Self { store: store.into(), hand, asked: AtomicU64::new(0) }
        }

        fn pass(&self, seconds: u64) {
            self.hand.0.fetch_add(seconds * 1_000_000_000, SeqCst);
        }

        fn held(&self, owner: u128, resting: Option<Resting>) -> Option<Guard<'_>> {
            match admit(self, "main", (Owner(owner), "me"), Duration::from_secs(60), resting) {
                Admission::Held(guard) => Some(guard),
                Admission::Taken(_) => None,
                Admission::Unknown(error) => panic!("{error}"),
            }
        }
    }

    impl Registrar for Desk {
        fn leases(
            &self,
            act: &mut dyn FnMut(&mut dyn Leases) -> Result<(), Error>,
        ) -> Result<(), Error> {
            self.asked.fetch_add(1, SeqCst);
            act(&mut *self.store.borrow_mut())
        }

        fn clock(&self) -> &dyn Clock {
            &self.hand
        }
    }

    #[test]
    fn a_lease_is_renewed_by_thirds_and_given_back_at_the_end() {
        let desk = Desk::new();
        let mut guard = desk.held(1, None).unwrap();
        desk.pass(19);
        guard.keep().unwrap();
        assert_eq!(desk.asked.load(SeqCst), 1, "not before a third");
        desk.pass(1);
        guard.keep().unwrap();
        assert_eq!(desk.asked.load(SeqCst), 2);
        desk.pass(59);
        assert!(desk.held(2, None).is_none());
        drop(guard);
        assert!(desk.held(2, None).is_some());
    }

    #[test]
    fn a_holder_that_was_paused_past_its_term_does_not_confirm() {
        let desk = Desk::new();
        let mut guard = desk.held(1, None).unwrap();
        desk.pass(61);
        let failure = guard.confirm(Duration::ZERO).unwrap_err();
        assert_eq!((failure.error.kind(), failure.again), (ErrorKind::Unavailable, Again::Later));
        // Its end gives nothing back that another one has by now.
        let other = desk.held(2, None).unwrap();
        drop(guard);
        assert!(desk.held(3, None).is_none());
        drop(other);
    }

    #[test]
    fn a_lease_that_rests_keeps_others_out_and_lets_its_holder_in() {
        let desk = Desk::new();
        let first = desk.held(1, None).unwrap();
        let token = first.token();
        let resting = first.finish(Duration::from_secs(200)).unwrap();
        desk.pass(150);
        assert!(desk.held(2, None).is_none());
        let again = desk.held(3, Some(resting.clone())).unwrap();
        assert!(again.token() > token);
        drop(again);
        // What rested before is no longer its to give back.
        let other = desk.held(2, None).unwrap();
        assert!(desk.held(4, Some(resting)).is_none());
        drop(other);
        // One that died: its rest ends by itself.
        desk.held(1, None).unwrap().finish(Duration::from_secs(200)).unwrap();
        desk.pass(201);
        assert!(desk.held(2, None).is_some());
    }
}
