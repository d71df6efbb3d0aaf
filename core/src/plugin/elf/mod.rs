//! Whether the headers of an ELF file describe memory that the loader can map and use.
//!
//! The loader trusts what it reads: a segment out of order is mapped over memory of the host, a
//! dynamic section outside the segments is a SIGSEGV, an entry size that it does not expect an
//! abort. So segments, sections and the dynamic section are held against each other and against
//! the file's size, and relocations against the segments (`relocations.rs`). Symbols and code are
//! not looked at.

mod relocations;

use std::collections::BTreeMap;

use object::{
    Endianness, elf,
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};

/// Smallest page; segments are aligned to it at least.
const PAGE: u64 = 4096;
/// Most segments; linkers write about ten.
const MAX_SEGMENTS: usize = 128;
/// Most address space of one file.
const MAX_SPAN: u64 = 1 << 40;
/// Most thread-local storage of one file: each thread pays for it.
const MAX_TLS: u64 = 64 << 20;

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const NOTE: u32 = 4;
const HEADERS: u32 = 6;
const TLS: u32 = 7;
const EH_FRAME: u32 = 0x6474_e550;
const RELRO: u32 = 0x6474_e552;
const PROPERTY: u32 = 0x6474_e553;

const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const READ: u32 = 4;

#[cfg(target_arch = "x86_64")]
const MACHINE: elf::Machine = elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: elf::Machine = elf::EM_AARCH64;

/// A program header or a section: a piece of the file, and where it comes to lie.
#[derive(Debug, Clone, Copy)]
struct Piece {
    kind: u32,
    flags: u32,
    offset: u64,
    in_file: u64,
    address: u64,
    in_memory: u64,
    align: u64,
}

impl Piece {
    fn memory_end(&self) -> Option<u64> {
        self.address.checked_add(self.in_memory).filter(|end| *end <= MAX_SPAN)
    }

    /// Whether `inner` lies in this segment's memory.
    fn holds(&self, inner: &Piece) -> bool {
        let end = inner.memory_end();
        self.address <= inner.address && end.is_some() && end <= self.memory_end()
    }

    /// Whether what `inner` says of the file is what it says of memory.
    fn places(&self, inner: &Piece) -> bool {
        let at = inner.address.wrapping_sub(self.address);
        at.checked_add(inner.in_file).is_some_and(|end| end <= self.in_file)
            && inner.offset.wrapping_sub(self.offset) == at
    }
}

/// Checks that the file is a whole shared library of this machine.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    if !bytes.starts_with(&elf::ELFMAG) {
        return Err("it is not an ELF file".into());
    }
    let header = elf::FileHeader64::<Endianness>::parse(bytes);
    let header = header.map_err(|_| "it is not a 64-bit ELF file, or its header is cut")?;
    let endian = header.endian().map_err(|e| e.to_string())?;
    let machine = header.e_machine(endian);
    if machine != MACHINE {
        return Err(format!("it is for ELF machine {}, this is {}", machine.0, MACHINE.0));
    }
    if header.e_type(endian) != elf::ET_DYN {
        return Err("it is not a shared library".into());
    }
    // With 0xffff segments (PN_XNUM) the loader would read another number than is checked here.
    if usize::from(header.e_phnum(endian)) > MAX_SEGMENTS {
        return Err(format!("it has more than {MAX_SEGMENTS} program headers"));
    }
    let segments = header.program_headers(endian, bytes);
    let segments = segments.map_err(|_| "its program headers lie outside the file")?;
    let segments: Vec<Piece> = segments
        .iter()
        .map(|segment| Piece {
            kind: segment.p_type(endian).0,
            flags: segment.p_flags(endian).0,
            offset: segment.p_offset(endian),
            in_file: segment.p_filesz(endian),
            address: segment.p_vaddr(endian),
            in_memory: segment.p_memsz(endian),
            align: segment.p_align(endian),
        })
        .collect();
    if segments.is_empty() {
        return Err("it has no program headers".into());
    }
    let loads = check_segments(&segments, bytes.len() as u64)?;
    let sections = header.section_headers(endian, bytes);
    for section in sections.map_err(|_| "its section headers lie outside the file")? {
        let flags = section.sh_flags(endian).0;
        let no_bits = section.sh_type(endian) == elf::SHT_NOBITS;
        let has = |flag: elf::SectionFlags| flags & flag.0 != 0;
        // Zeroed thread-local storage has addresses that are no place.
        if !has(elf::SHF_ALLOC) || (no_bits && has(elf::SHF_TLS)) {
            continue;
        }
        let size = section.sh_size(endian);
        let piece = Piece {
            kind: LOAD,
            flags: (if has(elf::SHF_EXECINSTR) { EXECUTE } else { 0 })
                | (if has(elf::SHF_WRITE) { WRITE } else { 0 }),
            offset: section.sh_offset(endian),
            in_file: if no_bits { 0 } else { size },
            address: section.sh_addr(endian),
            in_memory: size,
            align: 0,
        };
        if size > 0
            && !loads.iter().any(|load| fits(load, &piece) && (no_bits || load.places(&piece)))
        {
            let at = piece.address;
            return Err(format!("its section at {at:#x} and its segments do not agree"));
        }
    }
    check_dynamic(&segments, &loads, bytes)
}

fn fits(load: &Piece, piece: &Piece) -> bool {
    load.holds(piece) && load.flags & piece.flags == piece.flags
}

/// Checks what is mapped, in order, and that all else that the loader uses lies in it.
fn check_segments(segments: &[Piece], file: u64) -> Result<Vec<Piece>, String> {
    let mut loads: Vec<Piece> = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let end = segment.offset.checked_add(segment.in_file);
        let Some(end) = end.filter(|end| *end <= file) else {
            return Err(format!(
                "segment {index} lies outside the file ({file} bytes): it is truncated"
            ));
        };
        if segment.kind != LOAD {
            continue;
        }
        let bad = |what: &str| Err(format!("segment {index} {what}"));
        let Some(memory_end) = segment.memory_end() else {
            return bad("lies past the end of memory");
        };
        if segment.in_memory < segment.in_file {
            return bad("is larger in the file than in memory");
        }
        if !segment.align.is_power_of_two()
            || !(PAGE..=MAX_SPAN).contains(&segment.align)
            || (segment.address ^ segment.offset) % PAGE != 0
        {
            return bad("is not aligned to pages");
        }
        if segment.flags & (READ | EXECUTE) == 0 {
            return bad("cannot be read");
        }
        // The rest of its last page is zeroed, so that page must be in the file.
        if memory_end > segment.address + segment.in_file
            && end % PAGE != 0
            && end - end % PAGE >= file
        {
            return bad("ends in a page that the file does not have");
        }
        let before = loads.last().and_then(Piece::memory_end).unwrap_or(0);
        if segment.address - segment.address % PAGE < before.next_multiple_of(PAGE) {
            return bad("overlaps the one before it, or comes too late");
        }
        loads.push(*segment);
    }
    for (index, segment) in segments.iter().enumerate() {
        let bad = |what: &str| Err(format!("segment {index} {what}"));
        let inside = match segment.kind {
            DYNAMIC | NOTE | HEADERS | EH_FRAME | PROPERTY => {
                loads.iter().any(|load| load.holds(segment) && load.places(segment))
            }
            RELRO => {
                // The loader makes it read-only: it may be rounded up to its page, never more.
                let end = segment.memory_end();
                loads.iter().any(|load| {
                    let start = segment.address.wrapping_sub(load.address);
                    let filled = segment.address.saturating_add(segment.in_file);
                    load.flags & WRITE != 0
                        && load.address <= segment.address
                        && start.saturating_add(segment.in_file) <= load.in_memory
                        && end.is_some_and(|end| end <= filled.next_multiple_of(load.align))
                        && segment.offset.wrapping_sub(load.offset) == start
                })
            }
            TLS if segment.in_memory > MAX_TLS => {
                return bad(&format!("asks for {} bytes for each thread", segment.in_memory));
            }
            TLS if segment.in_memory < segment.in_file
                || segment.align > MAX_TLS
                || !(segment.align == 0 || segment.align.is_power_of_two()) =>
            {
                return bad("is no thread-local storage");
            }
            TLS => segment.in_file == 0 || loads.iter().any(|load| load.places(segment)),
            _ => true,
        };
        if !inside {
            return bad("lies outside what is mapped, or elsewhere in the file");
        }
    }
    Ok(loads)
}

/// Addresses in the dynamic section: tag, tag of the size (or a least size), least access.
const TABLES: [(u64, Result<u64, u64>, u32); 15] = [
    (3, Err(1), 0),            // PLTGOT
    (4, Err(8), 0),            // HASH
    (5, Ok(10), 0),            // STRTAB, STRSZ
    (6, Err(24), 0),           // SYMTAB
    (7, Ok(8), 0),             // RELA, RELASZ
    (12, Err(1), EXECUTE),     // INIT
    (13, Err(1), EXECUTE),     // FINI
    (17, Ok(18), 0),           // REL, RELSZ
    (23, Ok(2), 0),            // JMPREL, PLTRELSZ
    (25, Ok(27), 0),           // INIT_ARRAY, INIT_ARRAYSZ
    (26, Ok(28), 0),           // FINI_ARRAY, FINI_ARRAYSZ
    (36, Ok(35), 0),           // RELR, RELRSZ
    (0x6fff_fef5, Err(16), 0), // GNU_HASH
    (0x6fff_fff0, Err(2), 0),  // VERSYM
    (0x6fff_fffe, Err(16), 0), // VERNEED
];

/// Values that the loader asserts: SYMENT, RELAENT, PLTREL (RELA), RELRENT.
const FIXED: [(u64, u64); 4] = [(11, 24), (9, 24), (20, 7), (37, 8)];

/// Offsets of names: NEEDED, SONAME, RPATH, RUNPATH, and the rarer ones.
const NAMES: [u64; 8] = [1, 14, 15, 29, 0x6fff_fefb, 0x6fff_fefc, 0x7fff_fffd, 0x7fff_ffff];

/// Checks where the dynamic section leads.
fn check_dynamic(segments: &[Piece], loads: &[Piece], bytes: &[u8]) -> Result<(), String> {
    let mut dynamic = segments.iter().filter(|segment| segment.kind == DYNAMIC);
    let (Some(section), None) = (dynamic.next(), dynamic.next()) else {
        return Err("it has not one dynamic section".into());
    };
    // The loader writes into it.
    if !loads.iter().any(|load| load.flags & WRITE != 0 && load.holds(section)) {
        return Err("its dynamic section cannot be written".into());
    }
    let at = section.offset as usize;
    let entries = bytes.get(at..at + section.in_file as usize).unwrap_or(&[]);
    let (entries, _) = entries.as_chunks::<16>();
    let words = |entry: &[u8; 16]| {
        let word = |part: &[u8]| part.try_into().map_or(0, u64::from_le_bytes);
        let (tag, value) = entry.split_at(8);
        (word(tag), word(value))
    };
    let all: Vec<(u64, u64)> = entries.iter().map(words).take_while(|(tag, _)| *tag != 0).collect();
    if all.len() == entries.len() {
        return Err("its dynamic section has no end".into());
    }
    let by_tag: BTreeMap<u64, u64> = all.iter().copied().collect();
    // TEXTREL, and its flag in FLAGS.
    if by_tag.contains_key(&22) || by_tag.get(&30).is_some_and(|flags| flags & 4 != 0) {
        return Err("its code is changed when it is loaded: build it with -fPIC".into());
    }
    let bad = |tag: u64| Err(format!("entry {tag:#x} of its dynamic section is out of range"));
    for (tag, size, flags) in TABLES {
        let Some(&address) = by_tag.get(&tag) else { continue };
        let size = match size {
            Ok(size) => by_tag.get(&size).copied(),
            Err(least) => Some(least),
        };
        let Some(in_memory) = size else { return bad(tag) };
        let piece =
            Piece { kind: LOAD, flags, offset: 0, in_file: 0, address, in_memory, align: 0 };
        if !loads.iter().any(|load| fits(load, &piece)) {
            return bad(tag);
        }
    }
    if let Some((tag, _)) =
        FIXED.iter().find(|(tag, value)| by_tag.get(tag).is_some_and(|have| have != value))
    {
        return bad(*tag);
    }
    // RELACOUNT, RELASZ: the first so many of the relocations are of one type, or the loader aborts.
    let relocations = by_tag.get(&8).map_or(0, |size| size / 24);
    if by_tag.get(&0x6fff_fff9).is_some_and(|count| *count > relocations) {
        return bad(0x6fff_fff9);
    }
    let (Some(&names), Some(&size), true) =
        (by_tag.get(&5), by_tag.get(&10), by_tag.contains_key(&6))
    else {
        return Err("its dynamic section names no symbols".into());
    };
    if let Some((tag, _)) = all.iter().find(|(tag, at)| NAMES.contains(tag) && *at >= size) {
        return bad(*tag);
    }
    // The last name has an end.
    let last = names.saturating_add(size).saturating_sub(1);
    let in_file = |load: &Piece| {
        let at = last.checked_sub(load.address).filter(|at| *at < load.in_file)?;
        bytes.get((load.offset + at) as usize).copied()
    };
    if loads.iter().find_map(in_file) != Some(0) {
        return bad(5);
    }
    relocations::check(&by_tag, loads, bytes)
}

/// What stays as it is in the file when the file is loaded.
#[derive(Debug)]
pub(super) struct Constants<'a> {
    /// The program headers.
    pub(super) headers: &'a [u8],
    /// Sections that nobody writes, by address.
    pub(super) sections: Vec<(u64, &'a [u8])>,
}

/// The parts of a checked file that tell it from others; `None` where there are none.
///
/// Without `code`, where a debugger may write, the code is left out.
pub(super) fn constants(bytes: &[u8], code: bool) -> Option<Constants<'_>> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let piece = |offset: u64, len: u64| {
        let start = usize::try_from(offset).ok()?;
        bytes.get(start..start.checked_add(usize::try_from(len).ok()?)?)
    };
    let count = u64::from(header.e_phnum(endian));
    let headers = piece(header.e_phoff(endian), count * u64::from(header.e_phentsize(endian)))?;
    let sections = header.section_headers(endian, bytes).ok()?.iter();
    let constant = sections.filter(|section| {
        let flags = section.sh_flags(endian).0;
        flags & (elf::SHF_WRITE.0 | elf::SHF_ALLOC.0) == elf::SHF_ALLOC.0
            && (code || flags & elf::SHF_EXECINSTR.0 == 0)
            && section.sh_type(endian) != elf::SHT_NOBITS
    });
    let sections = constant
        .filter_map(|section| {
            let bytes = piece(section.sh_offset(endian), section.sh_size(endian))?;
            Some((section.sh_addr(endian), bytes))
        })
        .collect();
    Some(Constants { headers, sections })
}
