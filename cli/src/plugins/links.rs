//! How a plugin file was linked: what it needs, what it shows, and who could take its place.

use std::collections::BTreeSet;

use object::{
    LittleEndian, Object, ObjectSymbol, ObjectSymbolTable, RelocationTarget, SymbolFlags,
    elf::{self, FileHeader64},
    read::elf::{ElfFile, ProgramHeader},
};

/// What the headers, the dynamic section and the symbols say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Links {
    /// Libraries that it needs, in order.
    pub(super) needed: Vec<String>,
    /// Where those are looked for: DT_RPATH and DT_RUNPATH.
    pub(super) run_path: Vec<String>,
    /// `-z now`.
    pub(super) now: bool,
    /// `-z nodelete`.
    pub(super) nodelete: bool,
    /// `-Bsymbolic`.
    pub(super) symbolic: bool,
    /// `-z relro`.
    pub(super) relro: bool,
    /// Thread-local storage of the kind that a library that is loaded late may not get.
    pub(super) static_tls: bool,
    /// A stack that can be executed, for the whole process.
    pub(super) executable_stack: bool,
    /// Names that it shows beside those of a plugin, without the C++ library's.
    pub(super) shown: BTreeSet<String>,
    /// Names of the C++ library that it shows; no flag hides them.
    pub(super) of_cpp: usize,
    /// Own names that it looks up when it is loaded: a host that has them too takes their place.
    pub(super) interposable: BTreeSet<String>,
    /// The newest version of glibc that a symbol asks for.
    pub(super) glibc: Option<(u32, u32)>,
}

type Elf<'a> = ElfFile<'a, FileHeader64<LittleEndian>>;

/// The names that every plugin may show.
const OF_PLUGINS: [&str; 2] = ["tallyport_plugin_query_v1", "tallyport_layout_v1_0"];

impl Links {
    /// Reads an ELF file whose headers were checked.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let file = Elf::parse(bytes).map_err(|e| e.to_string())?;
        let mut links = Self::default();
        links.dynamic(&file).map_err(|e| e.to_string())?;
        links.segments(&file);
        links.symbols(&file);
        links.relocations(&file);
        links.versions(&file);
        Ok(links)
    }

    fn dynamic(&mut self, file: &Elf<'_>) -> object::Result<()> {
        let table = file.elf_dynamic_table()?;
        let text =
            |entry| table.string(entry).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        for entry in table.iter() {
            let has = |flag: u64| entry.val & flag != 0;
            match entry.tag {
                elf::DT_NEEDED => self.needed.push(text(entry)?),
                elf::DT_RPATH | elf::DT_RUNPATH => self.run_path.push(text(entry)?),
                elf::DT_BIND_NOW => self.now = true,
                elf::DT_SYMBOLIC => self.symbolic = true,
                elf::DT_FLAGS => {
                    self.now |= has(elf::DF_BIND_NOW.0);
                    self.symbolic |= has(elf::DF_SYMBOLIC.0);
                    self.static_tls |= has(elf::DF_STATIC_TLS.0);
                }
                elf::DT_FLAGS_1 => {
                    self.now |= has(elf::DF_1_NOW.0);
                    self.nodelete |= has(elf::DF_1_NODELETE.0);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn segments(&mut self, file: &Elf<'_>) {
        // Without PT_GNU_STACK the kernel takes an executable stack to be wanted.
        self.executable_stack = true;
        for segment in file.elf_program_headers() {
            let endian = file.endian();
            match segment.p_type(endian) {
                elf::PT_GNU_STACK => {
                    self.executable_stack = segment.p_flags(endian).0 & elf::PF_X.0 != 0;
                }
                elf::PT_GNU_RELRO => self.relro = true,
                _ => {}
            }
        }
    }

    fn symbols(&mut self, file: &Elf<'_>) {
        let shown =
            file.dynamic_symbols().filter(|symbol| symbol.is_definition() && is_open(symbol));
        for name in shown.filter_map(|symbol| symbol.name().ok().map(str::to_owned)) {
            if is_of_cpp(&name) {
                self.of_cpp += 1;
            } else if !OF_PLUGINS.contains(&name.as_str()) {
                self.shown.insert(name);
            }
        }
    }

    fn relocations(&mut self, file: &Elf<'_>) {
        if self.symbolic {
            return;
        }
        let (Some(symbols), Some(relocations)) =
            (file.dynamic_symbol_table(), file.dynamic_relocations())
        else {
            return;
        };
        for (_, relocation) in relocations {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let Ok(symbol) = symbols.symbol_by_index(index) else { continue };
            if symbol.is_definition() && is_open(&symbol) {
                self.interposable.extend(symbol.name().ok().map(str::to_owned));
            }
        }
    }

    fn versions(&mut self, file: &Elf<'_>) {
        let (endian, data) = (file.endian(), file.data());
        let Ok(Some(versions)) = file.elf_section_table().versions(endian, data) else { return };
        for symbol in file.dynamic_symbols().filter(|symbol| symbol.is_undefined()) {
            let index = versions.version_index(endian, symbol.index()).index();
            let Ok(Some(version)) = versions.version(index) else { continue };
            let name = String::from_utf8_lossy(version.name());
            let Some((major, minor)) =
                name.strip_prefix("GLIBC_").and_then(|number| number.split_once('.'))
            else {
                continue;
            };
            let minor = minor.split('.').next().unwrap_or(minor);
            if let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) {
                self.glibc = self.glibc.max(Some((major, minor)));
            }
        }
    }
}

/// Whether others see it: of default visibility.
fn is_open<'a>(symbol: &impl ObjectSymbol<'a>) -> bool {
    let SymbolFlags::Elf { st_other, .. } = symbol.flags() else { return false };
    symbol.is_global() && st_other.0 & 3 == elf::STV_DEFAULT.0
}

/// Whether it is instantiated from the C++ library, whose namespace is visible by its own word.
///
/// A mangled name begins with `_Z`, and with `St` for `std` after the letters that say what it is:
/// nested (N), const (K), a local (Z), a table or a type name (T, I, S, V), a guard (G).
fn is_of_cpp(name: &str) -> bool {
    let Some(mangled) = name.strip_prefix("_Z") else { return false };
    let of_std = mangled.find("St").and_then(|at| mangled.get(..at));
    of_std.is_some_and(|before| before.bytes().all(|byte| b"NKZTISVG".contains(&byte)))
        || mangled.starts_with("N9__gnu_cxx")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_cpp_library_are_told_from_others() {
        for name in [
            "_ZNSt6vectorIiE",
            "_ZZNSt8__detail9to_charsE8__digits",
            "_ZTISt9exception",
            "_ZSt4cout",
        ] {
            assert!(is_of_cpp(name), "{name}");
        }
        for name in ["_ZN4mine3runEv", "start", "_ZN5StockEv", "_Z5Stringv"] {
            assert!(!is_of_cpp(name), "{name}");
        }
    }
}
