//! The least that a lookup by three texts can be: one pass of hashing, one probe, one comparison.
//!
//! No locks, no growth, no removal, no sorting of labels, nothing but counters: what is left out
//! is what a library adds.

use crate::{dataset::Set, raw::rseq::Bare};

/// Slots of the table: a power of two, a quarter full with 1000 series.
const SLOTS: usize = 4096;

/// An open-addressed table of label values.
#[derive(Debug)]
pub struct Table {
    /// Hash of each slot's series, 0 where there is none, and the start of its key.
    slots: Vec<(u64, u32)>,
    /// Keys: three lengths, then the texts.
    keys: Vec<u8>,
}

impl Table {
    /// A table of these series.
    #[must_use]
    pub fn new(sets: &[Set]) -> Self {
        let mut table = Self { slots: vec![(0, 0); SLOTS], keys: Vec::new() };
        for set in sets {
            let hash = hash(set);
            let mut slot = hash as usize % SLOTS;
            while table.slots[slot].0 != 0 {
                slot = (slot + 1) % SLOTS;
            }
            table.slots[slot] = (hash, table.keys.len() as u32);
            table.keys.extend(set.iter().map(|text| text.len() as u8));
            set.iter().for_each(|text| table.keys.extend_from_slice(text.as_bytes()));
        }
        table
    }

    /// Finds a series and adds to its cell.
    #[inline]
    pub fn add(&self, set: Set, cells: &Bare) {
        let hash = hash(&set);
        let mut slot = hash as usize % SLOTS;
        loop {
            let (known, start) = self.slots[slot];
            if known == hash && self.matches(start as usize, &set) {
                return cells.add_at(slot);
            }
            if known == 0 {
                return;
            }
            slot = (slot + 1) % SLOTS;
        }
    }

    #[inline]
    fn matches(&self, start: usize, set: &Set) -> bool {
        let Some((lengths, mut rest)) =
            self.keys.get(start..).and_then(|key| key.split_first_chunk::<3>())
        else {
            return false;
        };
        set.iter().zip(lengths).all(|(text, &length)| {
            let Some((key, after)) = rest.split_at_checked(usize::from(length)) else {
                return false;
            };
            rest = after;
            same(text.as_bytes(), key)
        })
    }
}

/// Compares texts of up to 32 bytes without a call, by words that overlap.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match a.len() {
        0..4 => a == b,
        4..8 => u32_at(a, 0) == u32_at(b, 0) && u32_at(a, a.len() - 4) == u32_at(b, b.len() - 4),
        8..16 => u64_at(a, 0) == u64_at(b, 0) && u64_at(a, a.len() - 8) == u64_at(b, b.len() - 8),
        16..=32 => {
            u128_at(a, 0) == u128_at(b, 0) && u128_at(a, a.len() - 16) == u128_at(b, b.len() - 16)
        }
        _ => a == b,
    }
}

/// One multiplication per sixteen bytes; lengths count, so texts cannot run into each other.
#[inline]
fn hash(set: &Set) -> u64 {
    let mut hash = 0x9e37_79b9_7f4a_7c15;
    for text in set {
        let bytes = text.as_bytes();
        let (low, high) = match bytes.len() {
            0 => (0, 0),
            1..4 => (
                u64::from(bytes[0]) << 8 | u64::from(bytes[bytes.len() / 2]),
                u64::from(bytes[bytes.len() - 1]),
            ),
            4..8 => (u64::from(u32_at(bytes, 0)), u64::from(u32_at(bytes, bytes.len() - 4))),
            8..=16 => (u64_at(bytes, 0), u64_at(bytes, bytes.len() - 8)),
            length => {
                let mut at = 0;
                while at + 16 < length {
                    hash = fold(u64_at(bytes, at) ^ hash, u64_at(bytes, at + 8) ^ MIX);
                    at += 16;
                }
                (u64_at(bytes, length - 16), u64_at(bytes, length - 8))
            }
        };
        hash = fold(low ^ hash, high ^ MIX ^ bytes.len() as u64);
    }
    hash | 1 << 63
}

const MIX: u64 = 0xa076_1d64_78bd_642f;

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_le_bytes)
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[inline]
fn u128_at(bytes: &[u8], at: usize) -> u128 {
    bytes.get(at..at + 16).and_then(|word| word.try_into().ok()).map_or(0, u128::from_le_bytes)
}
