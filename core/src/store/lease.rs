//! Who may do a thing that one process at a time should do: leases with fencing tokens.
//!
//! A lease has an owner, an end and a token. The token of each grant is higher than those of all
//! grants before it, also those that the store forgot: it is never below the store's clock. So whoever
//! commits somewhere that remembers the highest token it saw cannot be overtaken by a holder that was
//! paused past its end. The token is made in the same step as the grant, and outlives the owner. What
//! cannot be read is no lease: a holder whose record is gone has lost it.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::total::{Reader, damaged, text, varint};
use crate::model::{Error, ErrorKind};

/// Who asks for a lease: 128 random bits of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(pub u128);

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A number that grows with every grant of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// What a store's leases are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Locking {
    /// It has none.
    Absent,
    /// One holder at a time, as long as the store forgets nothing; its tokens may repeat.
    Unfenced,
    /// Tokens that grow: a destination that compares them takes nothing from a former holder.
    Fenced,
}

impl Locking {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Absent => "none",
            Self::Unfenced => "unfenced",
            Self::Fenced => "fenced",
        }
    }
}

/// A wish for a lease.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    /// Which: a name of the rule of names, 1 to 128 bytes.
    pub lease: &'a str,
    /// Who asks. The same owner that asks again has it on, with the same token.
    pub owner: Owner,
    /// Who that is, for people.
    pub holder: &'a str,
    /// How long it is granted for.
    pub term: Duration,
}

/// The answer to a wish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is held, with this token.
    Granted(FencingToken),
    /// Somebody else has it.
    Taken {
        /// Who, for people.
        holder: String,
        /// Until its end, unless it is renewed.
        left: Duration,
    },
}

/// A lease that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held<'a> {
    /// Which.
    pub lease: &'a str,
    /// By whom.
    pub owner: Owner,
    /// The token of its grant.
    pub token: FencingToken,
}

/// How a lease stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseStanding {
    /// The token of the last grant that the store remembers.
    pub token: Option<FencingToken>,
    /// Who has it, and until its end; `None` where nobody does.
    pub holder: Option<(String, Duration)>,
}

/// Leases of a store. Each call is one atomic step.
///
/// A call that fails may have taken place: an owner that asks again gets the same grant, and what was
/// granted to nobody ends by itself.
pub trait Leases {
    /// What they are worth here.
    fn locking(&self) -> Locking {
        Locking::Absent
    }

    /// Grants a lease that nobody has, or whose term ended, with a token in the same step.
    ///
    /// # Errors
    /// Unsupported where there are none; what the store answers; Damaged.
    fn acquire(&mut self, wish: &Wish<'_>) -> Result<Claim, Error> {
        Err(none_here(wish.lease))
    }

    /// Has a lease last for `term` from now, if it is still held; false: it is lost.
    ///
    /// A lease whose term ended is lost, whether somebody else took it or not.
    ///
    /// # Errors
    /// As [`Leases::acquire`].
    fn renew(&mut self, held: &Held<'_>, _term: Duration) -> Result<bool, Error> {
        Err(none_here(held.lease))
    }

    /// Gives a lease back, if it is still held; false: it was lost. Its token stays remembered.
    ///
    /// # Errors
    /// As [`Leases::acquire`].
    fn release(&mut self, held: &Held<'_>) -> Result<bool, Error> {
        Err(none_here(held.lease))
    }

    /// How a lease stands.
    ///
    /// # Errors
    /// As [`Leases::acquire`].
    fn standing(&mut self, lease: &str) -> Result<LeaseStanding, Error> {
        Err(none_here(lease))
    }

    /// Keeps a text beside a lease, for whoever asks: the last one counts. Nothing depends on it, and
    /// a store that has no leases keeps none.
    ///
    /// # Errors
    /// What the store answers.
    fn note(&mut self, _lease: &str, _text: &str) -> Result<(), Error> {
        Ok(())
    }

    /// The text that was kept last beside a lease.
    ///
    /// # Errors
    /// What the store answers; Damaged.
    fn noted(&mut self, _lease: &str) -> Result<Option<String>, Error> {
        Ok(None)
    }

    /// Has what instances published stay for at least this long, where the store would forget it;
    /// never their leases: who ended stays ended.
    ///
    /// # Errors
    /// What the store answers.
    fn extend(&mut self, _data: Duration) -> Result<(), Error> {
        Ok(())
    }
}

fn none_here(lease: &str) -> Error {
    let message = format!("this store cannot lock `{lease}`: it has no leases");
    Error::new(ErrorKind::Unsupported, message).with_field("store.kind")
}

/// The token of a new grant, where the last one that is remembered was `stored`.
///
/// The clock stands in for what the store forgot, and for another store that was used before.
pub(super) fn next_token(stored: u64, unix_ms: u64) -> u64 {
    stored.max(unix_ms).saturating_add(1)
}

/// A term in milliseconds; a part of one counts as a whole.
pub(super) fn term_ms(term: Duration) -> u64 {
    u64::try_from(term.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).min(1 << 50)
}

/// One lease, as a store keeps it.
#[derive(Debug, Clone)]
struct Record {
    /// Owner, holder and end; `None`: it was given back.
    held: Option<(Owner, String, u64)>,
    token: u64,
}

/// Leases as a pure machine: what every store does, without one. Time comes in with each call.
#[derive(Debug, Clone, Default)]
pub(super) struct LeaseBook(BTreeMap<String, Record>);

impl LeaseBook {
    pub(super) fn acquire(&mut self, now_ms: u64, wish: &Wish<'_>) -> Claim {
        let until = now_ms.saturating_add(term_ms(wish.term));
        let known = self.0.get(wish.lease);
        let mut token = next_token(known.map_or(0, |known| known.token), now_ms);
        if let Some(Record { held: Some((owner, holder, end)), token: current }) = known
            && *end > now_ms
        {
            if *owner != wish.owner {
                let left = Duration::from_millis(end - now_ms);
                return Claim::Taken { holder: holder.clone(), left };
            }
            token = *current;
        }
        let held = Some((wish.owner, wish.holder.to_owned(), until));
        self.0.insert(wish.lease.to_owned(), Record { held, token });
        Claim::Granted(FencingToken(token))
    }

    /// The end of a lease that is held so.
    fn end_of(&mut self, now_ms: u64, held: &Held<'_>) -> Option<&mut Record> {
        let record = self.0.get_mut(held.lease)?;
        let (owner, _, end) = record.held.as_ref()?;
        let same = *owner == held.owner && record.token == held.token.0 && *end > now_ms;
        same.then_some(record)
    }

    pub(super) fn renew(&mut self, now_ms: u64, held: &Held<'_>, term: Duration) -> bool {
        let until = now_ms.saturating_add(term_ms(term));
        let end = self.end_of(now_ms, held).and_then(|record| record.held.as_mut());
        end.map(|(_, _, end)| *end = until).is_some()
    }

    pub(super) fn release(&mut self, now_ms: u64, held: &Held<'_>) -> bool {
        self.end_of(now_ms, held).map(|record| record.held = None).is_some()
    }

    /// One lease as the content of an item, for stores that swap those; `None`: it was never granted.
    pub(super) fn to_bytes(&self, lease: &str) -> Option<Vec<u8>> {
        let record = self.0.get(lease)?;
        let mut out = Vec::new();
        text(&mut out, lease.as_bytes());
        varint(&mut out, record.token.into());
        if let Some((owner, holder, end)) = &record.held {
            varint(&mut out, owner.0);
            text(&mut out, holder.as_bytes());
            varint(&mut out, u128::from(*end));
        }
        Some(out)
    }

    /// Reads that; what is not of this lease is damaged.
    pub(super) fn from_bytes(lease: &str, bytes: &[u8]) -> Result<Self, Error> {
        let mut read = Reader::new(bytes);
        if read.text()? != lease {
            return Err(damaged("a lease of another name"));
        }
        let token = read.u64()?;
        let held = match read.end() {
            Ok(()) => None,
            Err(_) => Some((Owner(read.varint()?), read.text()?.to_owned(), read.u64()?)),
        };
        read.end()?;
        Ok(Self(BTreeMap::from([(lease.to_owned(), Record { held, token })])))
    }

    pub(super) fn standing(&self, now_ms: u64, lease: &str) -> LeaseStanding {
        let Some(record) = self.0.get(lease) else { return LeaseStanding::default() };
        let live = record.held.as_ref().filter(|(_, _, end)| *end > now_ms);
        LeaseStanding {
            token: Some(FencingToken(record.token)),
            holder: live
                .map(|(_, holder, end)| (holder.clone(), Duration::from_millis(end - now_ms))),
        }
    }
}
