//! What can be known of a plugin file before any of its code runs.
//!
//! dlopen of a damaged file kills the host (SIGBUS at the first touch of a page past its end), so
//! the headers are checked first (`elf.rs`), and the descriptor section says whether this host
//! should load it at all. Corruption inside a segment cannot be seen here.

use std::{fs::File, io::Read, path::Path};

use object::{Object, ObjectSection};
use tallyport_plugin_api::{
    TALLYPORT_PLUGIN_LAYOUT_HASH,
    abi::{TALLYPORT_FILE_MAGIC, TALLYPORT_FILE_RUST, tallyport_file_desc},
};

use super::{elf, negotiate::Abi, policy::open_pinned};
use crate::model::{Error, ErrorKind};

/// Largest plugin file that is looked at.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Section of the file descriptor.
const SECTION: &str = if cfg!(target_os = "macos") { "__tallyport" } else { ".tallyport" };

/// What a plugin file says of itself, read without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Identity of the file.
    pub id: String,
    /// Version of the file.
    pub version: String,
    /// ABI that it was built against: major, minor.
    pub abi: (u32, u32),
    /// Whether the Rust SDK built it, so that its types can be checked at load.
    pub rust: bool,
}

/// Reads and checks a plugin file without loading it, whoever owns it.
///
/// # Errors
/// PluginRefused for a file that is missing, not regular, not a whole shared library of this
/// machine, or without a descriptor; PluginAbi for one of another ABI. Both name file and reason.
pub fn inspect_file(path: &Path) -> Result<FileInfo, Error> {
    let file = open_pinned(path).map_err(|reason| reason.of_plugin(path))?;
    verify(path, &read(path, file)?, Abi::OURS)
}

/// Checks the bytes of a plugin file, and reads its descriptor, for a host of `host`.
pub(super) fn verify(path: &Path, bytes: &[u8], host: Abi) -> Result<FileInfo, Error> {
    check_library(bytes).map_err(|reason| refused(path, reason))?;
    let info = descriptor(bytes).map_err(|reason| refused(path, reason))?;
    let (desc, info) = info;
    let theirs = Abi(desc.abi);
    if !host.serves(theirs) {
        let message = format!(
            "plugin file `{}` was built for plugin ABI {theirs}; this host speaks {host}",
            path.display()
        );
        return Err(Error::new(ErrorKind::PluginAbi, message).with_field("path"));
    }
    // Of another minor the structs are longer or shorter, and `struct_size` says by how much.
    if theirs == host && desc.layout_hash != TALLYPORT_PLUGIN_LAYOUT_HASH {
        let message = format!(
            "plugin file `{}` was built with other struct layouts (hash {:#018x}, here {:#018x})",
            path.display(),
            desc.layout_hash,
            TALLYPORT_PLUGIN_LAYOUT_HASH
        );
        return Err(Error::new(ErrorKind::PluginAbi, message).with_field("path"));
    }
    Ok(info)
}

pub(super) fn refused(path: &Path, reason: impl std::fmt::Display) -> Error {
    let message = format!("plugin file `{}`: {reason}", path.display());
    Error::new(ErrorKind::PluginRefused, message).with_field("path")
}

/// Reads an open plugin file, once.
pub(super) fn read(path: &Path, file: File) -> Result<Vec<u8>, Error> {
    let size = file.metadata().map_err(|error| refused(path, error))?.len();
    if size > MAX_FILE_BYTES {
        return Err(refused(path, format!("{size} bytes are too many")));
    }
    let mut bytes = Vec::with_capacity(size as usize);
    let limited = file.take(MAX_FILE_BYTES).read_to_end(&mut bytes);
    limited.map_err(|error| refused(path, error))?;
    Ok(bytes)
}

/// Checks that the file is a whole shared library of this machine.
pub(super) fn check_library(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("it is empty".into());
    }
    if cfg!(target_os = "macos") {
        // Not run yet: object's own parsing bounds-checks what it reads of a Mach-O file.
        return object::File::parse(bytes).map(|_| ()).map_err(|e| e.to_string());
    }
    elf::check(bytes)
}

struct Descriptor {
    abi: u32,
    layout_hash: u64,
}

fn descriptor(bytes: &[u8]) -> Result<(Descriptor, FileInfo), String> {
    let missing = "it has no Tallyport descriptor (TALLYPORT_PLUGIN_FILE in C, \
                   export_plugins! in Rust): it is not a Tallyport plugin";
    let file = object::File::parse(bytes).map_err(|e| format!("its sections: {e}"))?;
    let section = file.section_by_name(SECTION).ok_or(missing)?;
    let data = section.data().map_err(|e| format!("its descriptor: {e}"))?;
    let u32_at = |at: usize| data.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let u64_at = |at: usize| data.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
    let fields = || {
        let size = u32_at(8)? as usize;
        let whole = size >= size_of::<tallyport_file_desc>() && size <= data.len();
        (u64_at(0)? == TALLYPORT_FILE_MAGIC && whole).then_some(())?;
        Some((u32_at(12)?, u64_at(16)?, u64_at(24)?))
    };
    let (abi, layout_hash, flags) = fields().ok_or("its descriptor is cut or damaged")?;
    let info = FileInfo {
        id: text(data.get(32..96), "id")?,
        version: text(data.get(96..128), "version")?,
        abi: (abi >> 16, abi & 0xffff),
        rust: flags & TALLYPORT_FILE_RUST != 0,
    };
    Ok((Descriptor { abi, layout_hash }, info))
}

fn text(field: Option<&[u8]>, what: &str) -> Result<String, String> {
    let field = field.unwrap_or(&[]);
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    let text = std::str::from_utf8(field.get(..end).unwrap_or(&[]));
    let text = text.map_err(|_| format!("the {what} in its descriptor is not UTF-8"))?;
    if text.is_empty() {
        return Err(format!("the {what} in its descriptor is empty"));
    }
    Ok(text.to_owned())
}
