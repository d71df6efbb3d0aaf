//! Whether relocations and the hash table of a file stay inside its own image.
//!
//! The loader writes where a relocation says, with no check: one damaged entry changes memory of
//! the host, here silently and there with a crash, so the probe alone is not enough. Each must lie
//! in a writable segment, be of a kind that shared libraries have, and lead to where it can.

use std::{collections::BTreeMap, ops::Range};

use super::{EXECUTE, LOAD, Piece, WRITE, fits};

const JMPREL: u64 = 23;
const PLTRELSZ: u64 = 2;
const RELA: u64 = 7;
const RELASZ: u64 = 8;
const RELACOUNT: u64 = 0x6fff_fff9;
const RELR: u64 = 36;
const RELRSZ: u64 = 35;
const SYMTAB: u64 = 6;
const GNU_HASH: u64 = 0x6fff_fef5;
const HASH: u64 = 4;
const VERSYM: u64 = 0x6fff_fff0;
const VERNEED: u64 = 0x6fff_fffe;
const VERDEF: u64 = 0x6fff_fffc;
const INIT_ARRAY: (u64, u64) = (25, 27);
const FINI_ARRAY: (u64, u64) = (26, 28);

/// What a relocation does, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing.
    None,
    /// Writes an address inside the image: the addend.
    Relative,
    /// Calls the addend.
    Indirect,
    /// Writes so many bytes that depend on a symbol.
    Symbol(u64),
}

#[cfg(target_arch = "x86_64")]
fn kind(number: u32) -> Option<Kind> {
    Some(match number {
        0 => Kind::None,
        8 => Kind::Relative,
        37 => Kind::Indirect,
        // 64, GLOB_DAT, JUMP_SLOT, DTPMOD64, DTPOFF64, TPOFF64, SIZE64
        1 | 6 | 7 | 16 | 17 | 18 | 33 => Kind::Symbol(8),
        // PC32, 32, SIZE32
        2 | 10 | 32 => Kind::Symbol(4),
        // TLSDESC
        36 => Kind::Symbol(16),
        _ => return None,
    })
}

/// Not run yet.
#[cfg(target_arch = "aarch64")]
fn kind(number: u32) -> Option<Kind> {
    Some(match number {
        0 => Kind::None,
        1027 => Kind::Relative,
        1032 => Kind::Indirect,
        // ABS64, GLOB_DAT, JUMP_SLOT, TLS_DTPMOD, TLS_DTPREL, TLS_TPREL
        257 | 1025 | 1026 | 1028 | 1029 | 1030 => Kind::Symbol(8),
        // TLSDESC
        1031 => Kind::Symbol(16),
        _ => return None,
    })
}

/// A file's segments and what its dynamic section says.
struct Image<'a> {
    tags: &'a BTreeMap<u64, u64>,
    loads: &'a [Piece],
    bytes: &'a [u8],
}

/// Checks every relocation, and the head of the hash table.
pub(super) fn check(
    tags: &BTreeMap<u64, u64>,
    loads: &[Piece],
    bytes: &[u8],
) -> Result<(), String> {
    let image = Image { tags, loads, bytes };
    for (table, size) in [(RELA, RELASZ), (JMPREL, PLTRELSZ)] {
        // How many the loader takes for relative without a look.
        let relative = tags.get(&RELACOUNT).filter(|_| table == RELA).copied().unwrap_or(0);
        for (index, entry) in image.table(table, size)?.as_chunks::<24>().0.iter().enumerate() {
            let known = image
                .relocation(entry)
                .filter(|kind| *kind == Kind::Relative || index as u64 >= relative);
            if known.is_none() {
                return Err(format!("its relocation {index} (of {table:#x}) is damaged"));
            }
        }
    }
    image.packed()?;
    let symbols = image.hash_table()?;
    image.versions(symbols)
}

impl<'a> Image<'a> {
    /// The bytes of a table of the dynamic section; empty: it has none.
    fn table(&self, tag: u64, size: u64) -> Result<&'a [u8], String> {
        let (Some(&address), Some(&size)) = (self.tags.get(&tag), self.tags.get(&size)) else {
            return Ok(&[]);
        };
        let outside = || format!("its table {tag:#x} is not in the file");
        self.in_file(address, size).ok_or_else(outside)
    }

    /// What the file has at an address of the image.
    fn in_file(&self, address: u64, size: u64) -> Option<&'a [u8]> {
        let load = self.loads.iter().find(|load| {
            let at = address.checked_sub(load.address);
            at.and_then(|at| at.checked_add(size)).is_some_and(|end| end <= load.in_file)
        })?;
        let start = usize::try_from(load.offset + (address - load.address)).ok()?;
        self.bytes.get(start..start.checked_add(usize::try_from(size).ok()?)?)
    }

    fn lies_in(&self, address: u64, size: u64, flags: u32) -> bool {
        let piece =
            Piece { kind: LOAD, flags, offset: 0, in_file: 0, address, in_memory: size, align: 0 };
        self.loads.iter().any(|load| fits(load, &piece))
    }

    /// What a relocation does, if it may.
    fn relocation(&self, entry: &[u8; 24]) -> Option<Kind> {
        let [offset, info, addend] = words(entry);
        let kind = kind(info as u32)?;
        let symbol = info >> 32;
        let fits = match kind {
            Kind::None => true,
            Kind::Relative => self.relative(offset, Some(addend)),
            Kind::Indirect => self.lies_in(offset, 8, WRITE) && self.lies_in(addend, 1, EXECUTE),
            Kind::Symbol(size) => self.lies_in(offset, size, WRITE) && self.symbol(symbol),
        };
        fits.then_some(kind)
    }

    /// Whether a pointer into the image may be written there; `target`: where it is known, to what.
    fn relative(&self, offset: u64, target: Option<u64>) -> bool {
        if !self.lies_in(offset, 8, WRITE) {
            return false;
        }
        let Some(target) = target else { return true };
        let called = [INIT_ARRAY, FINI_ARRAY].iter().any(|(tag, size)| {
            self.range(*tag, *size).is_some_and(|range| range.contains(&offset))
        });
        // A pointer past the end of an object is a pointer.
        let flags = if called { EXECUTE } else { 0 };
        self.lies_in(target, 0, flags) || (!called && target == 0)
    }

    fn range(&self, tag: u64, size: u64) -> Option<Range<u64>> {
        let start = *self.tags.get(&tag)?;
        Some(start..start.saturating_add(*self.tags.get(&size)?))
    }

    /// Whether there is a symbol of that number.
    fn symbol(&self, number: u64) -> bool {
        let table = self.tags.get(&SYMTAB).copied().unwrap_or_default();
        let at = number.checked_mul(24).and_then(|at| at.checked_add(table));
        number == 0 || at.is_some_and(|at| self.in_file(at, 24).is_some())
    }

    /// RELR: addresses, each followed by bitmaps of the 63 words after it.
    fn packed(&self) -> Result<(), String> {
        let mut next = 0_u64;
        for (index, entry) in self.table(RELR, RELRSZ)?.as_chunks::<8>().0.iter().enumerate() {
            let entry = u64::from_le_bytes(*entry);
            let damaged = || format!("its packed relocation {index} is damaged");
            let places = match entry & 1 {
                0 => {
                    next = entry.checked_add(8).ok_or_else(damaged)?;
                    vec![entry]
                }
                _ => {
                    let start = next;
                    next = next.checked_add(63 * 8).ok_or_else(damaged)?;
                    (0..63)
                        .filter(|bit| entry >> (bit + 1) & 1 == 1)
                        .map(|bit| start + bit * 8)
                        .collect()
                }
            };
            let fits = |place: u64| {
                let target = self.in_file(place, 8).and_then(|word| word.try_into().ok());
                self.relative(place, target.map(u64::from_le_bytes))
            };
            if !places.into_iter().all(fits) {
                return Err(damaged());
            }
        }
        Ok(())
    }

    /// The loader takes a symbol's version for the place of it in a list, with no check.
    fn versions(&self, symbols: u64) -> Result<(), String> {
        let damaged = || "its table of versions is damaged".to_owned();
        let Some(&versions) = self.tags.get(&VERSYM) else { return Ok(()) };
        // 0 and 1 are no versions: local and global.
        let mut most = 1;
        let word = |at: u64, size: u64| {
            let bytes = self.in_file(at, size)?;
            Some(bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)))
        };
        let list = |first: u64, next: u64| (next != 0).then(|| first.checked_add(next)).flatten();
        let mut need = self.tags.get(&VERNEED).copied();
        while let Some(at) = need {
            let mut used = list(at, word(at + 8, 4).ok_or_else(damaged)?);
            while let Some(at) = used {
                most = most.max(word(at + 6, 2).ok_or_else(damaged)? & 0x7fff);
                used = list(at, word(at + 12, 4).ok_or_else(damaged)?);
            }
            need = list(at, word(at + 12, 4).ok_or_else(damaged)?);
        }
        let mut own = self.tags.get(&VERDEF).copied();
        while let Some(at) = own {
            most = most.max(word(at + 4, 2).ok_or_else(damaged)? & 0x7fff);
            own = list(at, word(at + 16, 4).ok_or_else(damaged)?);
        }
        for symbol in 0..symbols {
            let version = word(versions + symbol * 2, 2).ok_or_else(damaged)?;
            if version & 0x7fff > most {
                return Err(damaged());
            }
        }
        Ok(())
    }

    /// Number of symbols, from the hash table, whose head the loader divides by.
    fn hash_table(&self) -> Result<u64, String> {
        let damaged = || "its hash table is damaged".to_owned();
        let word = |at: u64| {
            let bytes = self.in_file(at, 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(|bytes| u64::from(u32::from_le_bytes(bytes))).ok_or_else(damaged)
        };
        let Some(&table) = self.tags.get(&GNU_HASH) else {
            return self.tags.get(&HASH).map_or(Ok(0), |table| word(table + 4));
        };
        let (buckets, first, bloom) = (word(table)?, word(table + 4)?, word(table + 8)?);
        let chains = 16 + bloom * 8 + buckets * 4;
        if buckets == 0 || !bloom.is_power_of_two() || self.in_file(table, chains).is_none() {
            return Err(damaged());
        }
        let mut last = 0;
        for bucket in 0..buckets {
            last = last.max(word(table + 16 + bloom * 8 + bucket * 4)?);
        }
        if last == 0 {
            return Ok(first);
        }
        // Chains lie one after the other; the lowest bit ends one.
        let chain =
            |symbol: u64| word(table + chains + symbol.checked_sub(first).ok_or_else(damaged)? * 4);
        while chain(last)? & 1 == 0 {
            last += 1;
        }
        Ok(last + 1)
    }
}

fn words(entry: &[u8; 24]) -> [u64; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(entry.as_chunks::<8>().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}
