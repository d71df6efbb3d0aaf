//! What engines and stores say to each other.

use std::{fmt, time::Duration};

use super::{
    Pairs,
    key::Text,
    total::{Reader, Total, damaged, varint},
};
use crate::model::Error;

/// Who publishes: 128 random bits, of one life of one arena.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity(pub u128);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Identity {
    /// Reads what `Display` writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        u128::from_str_radix(text, 16).ok().filter(|_| digits).map(Self)
    }

    /// The shard of `shards` that it belongs to.
    #[must_use]
    pub fn shard(self, shards: u32) -> u32 {
        ((self.0 as u64) % u64::from(shards.max(1))) as u32
    }
}

/// One life of a shard of a store: made with its retired total, and gone with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// How long an instance counts as alive, and how long its data stays without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Alive for this long; zero ends it at once.
    pub alive: Duration,
    /// Data is kept for at least this long, where a store would otherwise keep it for ever.
    pub data: Duration,
}

/// One step of a record: what changed from one version to the next.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// The version that the record must stand at.
    pub from: u64,
    /// The version that it then stands at.
    pub to: u64,
    /// Texts of series that are new to this record, by number.
    pub texts: Vec<(u32, Vec<u8>)>,
    /// Values, by number.
    pub values: Vec<(u32, Vec<u8>)>,
    /// Numbers of series that are gone, with their texts.
    pub gone: Vec<u32>,
}

impl Batch {
    /// Bytes of its texts and values.
    pub(crate) fn bytes(&self) -> u64 {
        self.values.iter().chain(&self.texts).map(|(_, bytes)| bytes.len() as u64).sum()
    }
}

/// How a record stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is there, at this version.
    Live(u64),
    /// It was folded into the retired total at this version.
    Retired(u64),
    /// Neither it nor a tombstone of it is there.
    Unknown,
}

/// What a shard answers to its publishers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The shard's life.
    pub epoch: Epoch,
    /// How often its retired total was changed.
    pub generation: u64,
    /// The newest generation whose tombstones were dropped.
    pub forgotten: u64,
    /// The record.
    pub standing: Standing,
}

/// A line of the list of a shard's instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Who.
    pub id: Identity,
    /// Whether its lease has ended.
    pub expired: bool,
}

/// The instances of a shard, and how it stood when they were listed.
#[derive(Debug, Clone, PartialEq)]
pub struct Roll {
    /// The shard's life; `None` when it has none yet.
    pub epoch: Option<Epoch>,
    /// How often its retired total was changed.
    pub generation: u64,
    /// Its instances.
    pub instances: Vec<Listed>,
    /// Instances that were listed until now and have neither a record nor a tombstone: the store lost
    /// what they counted, until they publish again.
    pub lost: u64,
}

/// What an instance published.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct State {
    /// The version that the record stands at.
    pub version: u64,
    /// The instance's name, for people.
    pub name: String,
    /// Text and value of each series, as they were published.
    pub series: Pairs,
}

/// Which retired series are read.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All.
    All,
    /// Those of these keys.
    Keys(&'a [Vec<u8>]),
}

/// A retired series.
#[derive(Debug, Clone, PartialEq)]
pub struct Retired {
    /// When a fold last changed it, Unix ms by the store's clock.
    pub touched_ms: u64,
    /// Its key, and what is shown with it.
    pub text: Text,
    /// What all folded instances counted.
    pub total: Total,
}

impl Retired {
    /// Bytes for the store.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        varint(&mut out, u128::from(self.touched_ms));
        varint(&mut out, u128::from(self.text.created_ns));
        super::total::text(&mut out, self.text.help.as_bytes());
        super::total::text(&mut out, self.text.unit.as_bytes());
        self.total.encode(&mut out);
        out
    }

    /// Reads bytes of the store, kept under `key`.
    ///
    /// # Errors
    /// Damaged.
    pub fn from_bytes(key: &[u8], bytes: &[u8]) -> Result<Self, Error> {
        let mut read = Reader::new(bytes);
        let (touched_ms, created_ns) = (read.u64()?, read.u64()?);
        let (help, unit) = (read.text()?.to_owned(), read.text()?.to_owned());
        let text = Text { key: key.to_vec(), created_ns, help, unit };
        let total = Total::from_bytes(read.rest())?;
        if !total.outlives_its_instance() {
            return Err(damaged("a level among the retired series"));
        }
        Ok(Self { touched_ms, text, total })
    }
}

/// That an instance was folded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tombstone {
    /// Who.
    pub id: Identity,
    /// At which version.
    pub version: u64,
    /// The generation that the fold made.
    pub generation: u64,
    /// When, Unix ms by the store's clock.
    pub at_ms: u64,
}

/// The retired total of a shard, read at one instant.
#[derive(Debug, Clone, PartialEq)]
pub struct Totals {
    /// The shard's life; `None` when it has none yet.
    pub epoch: Option<Epoch>,
    /// How often it was changed.
    pub generation: u64,
    /// The newest generation whose tombstones were dropped.
    pub forgotten: u64,
    /// The store's clock, Unix ms.
    pub now_ms: u64,
    /// Whom it contains, as far as that is remembered; not read with [`Wanted::Keys`].
    pub tombstones: Vec<Tombstone>,
    /// Key and bytes of the series.
    pub series: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A fold: in one step the totals are set, a tombstone is made, the record is gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// Whom; its lease must have ended.
    pub id: Identity,
    /// The version that its record must stand at.
    pub version: u64,
    /// The life that the shard must be in.
    pub epoch: Epoch,
    /// The generation that the totals must stand at; they then stand at the next.
    pub generation: u64,
    /// Key and bytes of every retired series that it changes.
    pub series: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Retired series and tombstones that are dropped in one step.
#[derive(Debug, Clone, PartialEq)]
pub struct Prune {
    /// The shard.
    pub shard: u32,
    /// The life that it must be in.
    pub epoch: Epoch,
    /// The generation that the totals must stand at; they then stand at the next.
    pub generation: u64,
    /// Keys of series.
    pub series: Vec<Vec<u8>>,
    /// Tombstones.
    pub tombstones: Vec<Tombstone>,
}

/// Whether a compare-and-set took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// It did.
    Done,
    /// Something else was there: read again.
    Conflict,
}
