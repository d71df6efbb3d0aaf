//! What a pinned file may bring along: nothing that is not of the system or pinned too.
//!
//! A pin says nothing about the libraries that a file needs. Those that the process has already and
//! those in the system's folders are the host's own choice; every other must be pinned by its name,
//! and is then loaded from checked bytes before the file that needs it.

use std::path::Path;

use object::{
    Endianness, elf,
    read::elf::{Dyn, FileHeader, ProgramHeader},
};

use super::{
    image::loaded_as,
    pin::{PinnedLibrary, Sha256},
    policy::open_pinned,
    stage::open_bytes,
    verify::{check_library, read, refused},
};
use crate::model::Error;

/// The folders that belong to the system, whatever /etc/ld.so.conf adds.
const SYSTEM: [&str; 5] = ["/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"];
/// Their folder for this machine, on Debian.
const MULTIARCH: &str =
    if cfg!(target_arch = "x86_64") { "x86_64-linux-gnu" } else { "aarch64-linux-gnu" };

/// What the dynamic section says of other files.
#[derive(Debug, Default, PartialEq, Eq)]
struct Links {
    name: Option<String>,
    needed: Vec<String>,
    /// RPATH and RUNPATH.
    search: Vec<String>,
    /// Objects that stand in for this one, or watch it.
    others: Vec<String>,
}

/// Loads the pinned libraries of a pinned file, and refuses a file that needs others.
pub(super) fn load_needed(
    path: &Path,
    bytes: &[u8],
    libraries: &[PinnedLibrary],
) -> Result<(), Error> {
    let pinned = |name: &str| libraries.iter().any(|library| library.name == name);
    allowed(bytes, &pinned).map_err(|reason| refused(path, reason))?;
    let mut waiting = Vec::with_capacity(libraries.len());
    for library in libraries {
        waiting.push(read_library(path, library, &pinned)?);
    }
    // What another one needs comes first.
    while !waiting.is_empty() {
        let names: Vec<String> = waiting.iter().map(|(library, ..)| library.name.clone()).collect();
        let free = waiting.iter().position(|(library, _, links)| {
            let others = names.iter().filter(|name| **name != library.name);
            others.into_iter().all(|name| !links.needed.contains(name))
        });
        let Some(free) = free else {
            let reason = format!("its libraries {} need each other", names.join(", "));
            return Err(refused(path, reason));
        };
        let (library, bytes, _) = waiting.swap_remove(free);
        let (image, _) = open_bytes(&library.path, &bytes, library.sha256)?;
        if loaded_as(library.name.as_ref()) != image.link_map() {
            let reason = format!("the process has another `{}` loaded", library.name);
            return Err(refused(path, reason));
        }
        image.keep();
    }
    Ok(())
}

fn read_library<'a>(
    path: &Path,
    library: &'a PinnedLibrary,
    pinned: &dyn Fn(&str) -> bool,
) -> Result<(&'a PinnedLibrary, Vec<u8>, Links), Error> {
    let file = &library.path;
    let opened = open_pinned(file).map_err(|reason| reason.of_plugin(file))?;
    let bytes = read(file, opened)?;
    let broken = |reason: String| {
        refused(path, format!("its library `{}` (`{}`): {reason}", library.name, file.display()))
    };
    let found = Sha256::of(&bytes);
    if found != library.sha256 {
        let wanted = library.sha256;
        return Err(broken(format!("its sha256 is {found}; the pin says {wanted}")));
    }
    check_library(&bytes).map_err(&broken)?;
    let links = allowed(&bytes, pinned).map_err(&broken)?;
    // The system's loader goes by this name when it looks for what a file needs.
    if links.name.as_deref() != Some(&*library.name) {
        let own = links.name.unwrap_or_default();
        return Err(broken(format!("it calls itself `{own}` (SONAME)")));
    }
    Ok((library, bytes, links))
}

/// What the file says of others, unless one of them could be anything.
fn allowed(bytes: &[u8], pinned: &dyn Fn(&str) -> bool) -> Result<Links, String> {
    let links = links(bytes).ok_or("its dynamic section cannot be read")?;
    if let Some(other) = links.others.first() {
        return Err(format!("it has `{other}` stand in for it or audit it, which no pin covers"));
    }
    let mut found = false;
    for name in links.needed.iter().filter(|name| !pinned(name)) {
        if name.contains('/') {
            return Err(format!("it needs `{name}` by its path, which no pin covers"));
        }
        if !loaded_as(name.as_ref()).is_null() {
            continue;
        }
        if !in_system(name) {
            return Err(format!(
                "it needs `{name}`, which is not in a folder of the system: pin it in `libraries`"
            ));
        }
        found = true;
    }
    // Searched before the system's folders. What is pinned or loaded is not searched at all.
    let search = links.search.iter().flat_map(|paths| paths.split(':'));
    match search.into_iter().find(|path| !is_system(path)) {
        Some(path) if found => Err(format!(
            "it looks for libraries in `{path}` (RUNPATH), which no pin covers: pin them in \
             `libraries`, or build it without"
        )),
        _ => Ok(links),
    }
}

fn is_system(folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    let known = |system: &str| {
        folder == system || folder.strip_suffix(MULTIARCH) == Some(&*format!("{system}/"))
    };
    SYSTEM.iter().any(|system| known(system))
}

fn in_system(name: &str) -> bool {
    let there = |folder: &Path| folder.join(name).exists();
    SYSTEM.iter().map(Path::new).any(|folder| there(folder) || there(&folder.join(MULTIARCH)))
}

/// Reads the dynamic section of a file that was checked.
fn links(bytes: &[u8]) -> Option<Links> {
    let header = elf::FileHeader64::<Endianness>::parse(bytes).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, bytes).ok()?;
    let entries = segments.iter().find_map(|one| one.dynamic(endian, bytes).ok().flatten())?;
    let word = |tag: elf::DynamicTag| {
        entries.iter().find(|entry| entry.tag(endian) == tag).map(|entry| entry.val(endian))
    };
    let (address, size) = (word(elf::DT_STRTAB)?, word(elf::DT_STRSZ)?);
    let names = segments.iter().find_map(|one| {
        let load = one.p_type(endian) == elf::PT_LOAD;
        load.then(|| one.data_range(endian, bytes, address, size).ok().flatten()).flatten()
    })?;
    let mut links = Links::default();
    for entry in entries {
        let tag = entry.tag(endian);
        let list = match tag {
            elf::DT_NULL => break,
            elf::DT_NEEDED => &mut links.needed,
            elf::DT_RPATH | elf::DT_RUNPATH => &mut links.search,
            elf::DT_AUXILIARY | elf::DT_FILTER | elf::DT_AUDIT | elf::DT_DEPAUDIT => {
                &mut links.others
            }
            elf::DT_SONAME => &mut Vec::new(),
            _ => continue,
        };
        let rest = names.get(usize::try_from(entry.val(endian)).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        let text = String::from_utf8_lossy(rest.get(..end)?).into_owned();
        if tag == elf::DT_SONAME {
            links.name = Some(text);
        } else {
            list.push(text);
        }
    }
    Some(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_system_are_known_with_and_without_the_machine() {
        for folder in ["/lib", "/usr/lib/", "/usr/local/lib", &format!("/usr/lib/{MULTIARCH}")] {
            assert!(is_system(folder), "{folder}");
        }
        for folder in ["", "$ORIGIN", "/opt/lib", "/usr/lib/../../tmp", "/usr/lib/x", "lib"] {
            assert!(!is_system(folder), "{folder}");
        }
    }

    #[test]
    fn the_links_of_a_file_are_read() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let links = links(&own).unwrap();
        assert!(links.needed.iter().any(|name| name == "libc.so.6"), "{links:?}");
        assert!(allowed(&own, &|_| false).is_ok());
    }
}
