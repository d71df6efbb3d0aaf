//! Hash of texts: seeded, one multiplication per sixteen bytes, lengths counted.
//!
//! The multiply-and-fold of wyhash: both halves of a 128-bit product. Seeds are random, because
//! label values come from outside; a table compares in full whatever the hash says.

use std::hash::{BuildHasher, Hasher, RandomState};

/// The golden ratio of 2^64: odd, and its multiples spread.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Seeds of one table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextHash {
    start: u64,
    mix: u64,
}

impl TextHash {
    /// Seeds that nobody knows.
    pub(crate) fn random() -> Self {
        let seed = || RandomState::new().build_hasher().finish();
        Self { start: seed(), mix: seed() | 1 }
    }

    /// Seeds that somebody else got.
    pub(crate) fn from_seeds([start, mix]: [u64; 2]) -> Self {
        Self { start, mix: mix | 1 }
    }

    /// The seeds, for processes that hash alike.
    pub(crate) fn seeds(&self) -> [u64; 2] {
        [self.start, self.mix]
    }

    /// Hash of texts in their order; ("ab", "c") is not ("a", "bc").
    #[inline]
    pub(crate) fn of<'a>(&self, texts: impl IntoIterator<Item = &'a str>) -> u32 {
        let hash =
            texts.into_iter().fold(self.start, |hash, text| self.text(hash, text.as_bytes()));
        (hash >> 32) as u32 ^ hash as u32
    }

    #[inline]
    fn text(&self, mut hash: u64, bytes: &[u8]) -> u64 {
        let length = bytes.len();
        let (low, high) = match length {
            0 => (0, 0),
            1..4 => {
                let at = |index: usize| bytes.get(index).map_or(0, |byte| u64::from(*byte));
                (at(0) << 8 | at(length / 2), at(length - 1))
            }
            4..8 => (u64::from(u32_at(bytes, 0)), u64::from(u32_at(bytes, length - 4))),
            8..=16 => (u64_at(bytes, 0), u64_at(bytes, length - 8)),
            _ => {
                let mut rest = bytes;
                // The last sixteen overlap what was taken before.
                while let Some((block, more)) = rest.split_first_chunk::<16>()
                    && !more.is_empty()
                {
                    let [low, high] = halves(block);
                    hash = fold(low ^ hash, high ^ self.mix);
                    rest = more;
                }
                match bytes.last_chunk::<16>().map(halves) {
                    Some([low, high]) => (low, high),
                    None => (0, 0),
                }
            }
        };
        // Added to the seed, so that no byte of a text can undo another length.
        let mix = self.mix.wrapping_add((length as u64).wrapping_mul(STEP));
        fold(low ^ hash, high ^ mix)
    }
}

/// Whether two texts are the same: up to 32 bytes by words that overlap, without a call.
#[inline]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    let length = a.len();
    if length != b.len() {
        return false;
    }
    if length >= 16 {
        if length > 32 {
            return same_long(a, b);
        }
        // Both halves before the one branch.
        return (a.first_chunk::<16>() == b.first_chunk())
            & (a.last_chunk::<16>() == b.last_chunk());
    }
    let differ = if length >= 8 {
        (u64_at(a, 0) ^ u64_at(b, 0)) | (u64_at(a, length - 8) ^ u64_at(b, length - 8))
    } else if length >= 4 {
        u64::from((u32_at(a, 0) ^ u32_at(b, 0)) | (u32_at(a, length - 4) ^ u32_at(b, length - 4)))
    } else if length > 0 {
        let at = |bytes: &[u8], index: usize| bytes.get(index).map_or(0, |byte| u64::from(*byte));
        let middle = length / 2;
        (at(a, 0) ^ at(b, 0))
            | (at(a, middle) ^ at(b, middle))
            | (at(a, length - 1) ^ at(b, length - 1))
    } else {
        0
    };
    differ == 0
}

#[cold]
#[inline(never)]
fn same_long(a: &[u8], b: &[u8]) -> bool {
    a == b
}

#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn halves(block: &[u8; 16]) -> [u64; 2] {
    let block = u128::from_le_bytes(*block);
    [block as u64, (block >> 64) as u64]
}

macro_rules! words {
    ($($name:ident: $word:ident),+) => {$(
        /// The bytes at `at` as a number; 0 where there are too few, which no caller asks for.
        #[inline]
        fn $name(bytes: &[u8], at: usize) -> $word {
            let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
            word.map_or(0, |word| $word::from_le_bytes(*word))
        }
    )+};
}

words!(u32_at: u32, u64_at: u64);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn texts_are_compared_in_full_at_every_length_and_place() {
        for length in 0..70 {
            let one: Vec<u8> = (0..length).map(|n| n as u8).collect();
            assert!(same(&one, &one.clone()));
            for at in 0..length {
                let mut other = one.clone();
                other[at] ^= 0x80;
                assert!(!same(&one, &other), "{length} {at}");
            }
            let mut longer = one.clone();
            longer.push(0);
            assert!(!same(&one, &longer) && !same(&longer, &one));
        }
    }

    #[test]
    fn every_byte_length_and_boundary_counts() {
        let hash = TextHash { start: 1, mix: 0xa076_1d64_78bd_642f };
        let mut seen = HashSet::new();
        for length in 0..100 {
            let one = "x".repeat(length);
            assert!(seen.insert(hash.of([one.as_str()])), "{length}");
            for at in 0..length {
                let other = format!("{}y{}", &one[..at], &one[at + 1..]);
                assert!(seen.insert(hash.of([other.as_str()])), "{length} {at}");
            }
        }
        assert_ne!(hash.of(["ab", "c"]), hash.of(["a", "bc"]));
        assert_ne!(hash.of(["ab", ""]), hash.of(["ab"]));
    }

    #[test]
    fn a_million_numbered_texts_spread_as_if_at_random() {
        let hash = TextHash::random();
        let mut buckets = vec![0_u32; 1 << 16];
        for n in 0..1 << 20 {
            buckets[hash.of([format!("/api/users/{n}").as_str(), "GET"]) as usize & 0xffff] += 1;
        }
        // 16 a bucket; at random, 60 or more in any of 65,536 has odds under 1e-10.
        assert!(buckets.iter().all(|count| *count < 60));
    }
}
