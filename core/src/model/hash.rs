//! Hash of texts: seeded, one multiplication per sixteen bytes, lengths counted; and their comparison
//! in full, with what was read for the hash.
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
        let mut sum = self.sum();
        texts.into_iter().for_each(|text| sum.add(&Words::of(text)));
        sum.finish()
    }

    /// The hash of no text yet.
    #[inline(always)]
    pub(crate) fn sum(&self) -> Sum {
        Sum { start: self.start, mix: self.mix, hash: 0 }
    }
}

/// Hash of the texts that were added. No text waits for the product of the one before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum {
    start: u64,
    mix: u64,
    hash: u64,
}

impl Sum {
    /// Adds one more text.
    #[inline(always)]
    pub(crate) fn add(&mut self, words: &Words<'_>) {
        let length = words.text.len();
        // Added to the seed, so that no byte of a text can undo another length.
        let mix = self.mix.wrapping_add((length as u64).wrapping_mul(STEP));
        let mut own = fold(words.low ^ self.start, words.high ^ mix);
        if length > 16 {
            own = own.wrapping_add(match words.text.first_chunk() {
                Some(first) if length <= 32 => {
                    let [low, high] = halves(first);
                    fold(low ^ self.mix, high ^ self.start)
                }
                _ => self.long(words.text),
            });
        }
        // Turned, so that the order of texts counts.
        self.hash = self.hash.rotate_left(23).wrapping_add(own);
    }

    /// All but the end of a long text, sixteen bytes at a time.
    #[cold]
    #[inline(never)]
    fn long(&self, text: &[u8]) -> u64 {
        let (mut hash, mut rest) = (self.start, text);
        // The last sixteen are in the words.
        while let Some((block, more)) = rest.split_first_chunk::<16>()
            && !more.is_empty()
        {
            let [low, high] = halves(block);
            hash = fold(low ^ hash, high ^ self.mix);
            rest = more;
        }
        hash
    }

    /// The hash.
    #[inline(always)]
    pub(crate) fn finish(self) -> u32 {
        (self.hash >> 32) as u32 ^ self.hash as u32
    }
}

/// A text and two words of it: read once, for its hash and for comparing it.
///
/// Of a text under eight bytes `low` is all of it, with zeros behind; of one up to sixteen the words
/// are its first eight bytes and its last eight, which overlap; of a longer one its last sixteen.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    low: u64,
    high: u64,
    text: &'a [u8],
}

impl<'a> Words<'a> {
    /// Of the empty text.
    pub(crate) const NONE: Self = Self { low: 0, high: 0, text: &[] };

    #[inline(always)]
    pub(crate) fn of(text: &'a str) -> Self {
        let text = text.as_bytes();
        let length = text.len();
        let (low, high) = if let Some(last) = text.last_chunk() {
            let [low, high] = halves(last);
            (low, high)
        } else if length >= 8 {
            (u64_at(text, 0), u64_at(text, length - 8))
        } else if length >= 4 {
            let last = u64::from(u32_at(text, length - 4));
            (u64::from(u32_at(text, 0)) | last << ((length - 4) * 8), 0)
        } else if length >= 2 {
            let last = u64::from(u16_at(text, length - 2));
            (u64::from(u16_at(text, 0)) | last << ((length - 2) * 8), 0)
        } else {
            (text.first().map_or(0, |byte| u64::from(*byte)), 0)
        };
        Self { low, high, text }
    }

    /// Bytes of the text.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether a text of as many bytes is this one. `word` reads the eight bytes at an offset of it,
    /// of a shorter text with zeros behind; `all` is all of it.
    #[inline(always)]
    pub(crate) fn is<'b>(
        &self,
        word: impl Fn(usize) -> u64,
        all: impl FnOnce() -> &'b [u8],
    ) -> bool {
        let length = self.text.len();
        if length < 8 {
            return word(0) == self.low;
        }
        if length < 16 {
            return (word(0) ^ self.low) | (word(length - 8) ^ self.high) == 0;
        }
        let (true, Some(first)) = (length <= 32, self.text.first_chunk()) else {
            return same_long(all(), self.text);
        };
        let [low, high] = halves(first);
        let ends = (word(length - 16) ^ self.low) | (word(length - 8) ^ self.high);
        ends | (word(0) ^ low) | (word(8) ^ high) == 0
    }
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

words!(u16_at: u16, u32_at: u32, u64_at: u64);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Whether two texts of one length are the same, as a table asks it.
    fn same(a: &str, b: &str) -> bool {
        let mut padded = b.as_bytes().to_vec();
        padded.resize(b.len().max(8), 0);
        Words::of(a).is(|at| u64_at(&padded, at), || b.as_bytes())
    }

    #[test]
    fn texts_are_compared_in_full_at_every_length_and_place() {
        for length in 0..70_usize {
            let one: String = (0..length).map(|n| char::from(n as u8 + 1)).collect();
            assert!(same(&one, &one.clone()), "{length}");
            for at in 0..length {
                for bit in 0..7 {
                    let mut other = one.clone().into_bytes();
                    other[at] ^= 1 << bit;
                    let other = String::from_utf8(other).unwrap();
                    assert!(!same(&one, &other) && !same(&other, &one), "{length} {at} {bit}");
                }
            }
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
        assert_ne!(hash.of(["a", "b"]), hash.of(["b", "a"]));
        assert_ne!(hash.of(["a", "a"]), hash.of(["b", "b"]));
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
