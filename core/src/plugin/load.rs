//! From a file to its exporters' tables: dlopen, entry, negotiation.
//!
//! `verify` has looked at the bytes before. Nothing here holds a lock of the engine: constructors
//! of the file run inside dlopen, under the loader's own lock. A loaded file is never unmapped:
//! unloading Rust, Go or threaded C code is not safe.

use std::{
    ffi::{CStr, OsStr},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    slice,
    sync::Arc,
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use tallyport_plugin_api::{
    abi::{tallyport_plugin_query_fn, tallyport_plugin_set},
    layout_check,
};

#[cfg(target_os = "linux")]
use super::elf::constants;
use super::{
    negotiate::Abi,
    table::Table,
    verify::{FileInfo, inspect, refused},
};
use crate::model::{Error, ErrorKind};

const ENTRY: &CStr = c"tallyport_plugin_query_v1";

/// A loaded plugin file.
#[derive(Debug)]
pub struct LoadedFile {
    /// Absolute path.
    pub path: PathBuf,
    /// What its descriptor says.
    pub info: FileInfo,
    /// Its exporters.
    pub tables: Vec<Arc<Table>>,
}

/// Verifies and loads a plugin file, and negotiates with it.
///
/// # Errors
/// PluginRefused or PluginAbi, naming the file and the reason; the host lives.
pub fn load_file(path: &Path) -> Result<LoadedFile, Error> {
    load_for(path, Abi::OURS)
}

/// As [`load_file`], for a host of `host`.
pub(super) fn load_for(path: &Path, host: Abi) -> Result<LoadedFile, Error> {
    // Absolute, because dlopen searches elsewhere for a name without a slash.
    let path = std::path::absolute(path).map_err(|e| refused(path, e))?;
    let (info, bytes) = inspect(&path, host)?;
    let library = open(&path)?;
    let query = entry(&path, &library)?;
    same_as_checked(&path, query as *const libc::c_void, &bytes)?;
    // SAFETY: the entry point of a Tallyport plugin (its descriptor says so), with our ABI.
    // Test: plugin_defects_have_their_status.
    let set = unsafe { query(host.0) };
    let origin = path.display().to_string();
    // SAFETY: what the entry returns is a static set, by the ABI.
    let tables = unsafe { Table::read_set_for(set, &origin, host) }?;
    // The check's types are frozen for each minor: a file of another one has others.
    if info.rust && Abi::from(info.abi) == host {
        check_rust_types(&path, &library.library, set)?;
    }
    // The image stays mapped for ever, so its handle is never closed.
    std::mem::forget(library.library);
    Ok(LoadedFile { path, info, tables })
}

/// A library that the loader has open.
struct Opened {
    library: Library,
    /// The loader's handle of it.
    handle: *mut libc::c_void,
}

fn open(path: &Path) -> Result<Opened, Error> {
    // NOW: a missing symbol fails here, not at the first call. LOCAL: it serves nobody else.
    // NODELETE: threads, TLS destructors and our pointers outlive any dlclose.
    let flags = RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE;
    // SAFETY: loading runs the file's constructors: the configuration asked for that, and the
    // file was checked as far as bytes tell. Test: plugin_defects_have_their_status.
    let library = unsafe { Library::open(Some(path), flags) }.map_err(|error| {
        let text = error_text(&error);
        let hint = if text.contains("undefined symbol") {
            " (it was linked without all it needs; try `-Wl,-z,defs` when building it)"
        } else if text.contains("cannot open shared object file")
            && !text.starts_with(&*path.to_string_lossy())
        {
            " (a library that it needs is missing here)"
        } else {
            ""
        };
        refused(path, format!("the loader says: {text}{hint}"))
    })?;
    let handle = library.into_raw();
    // SAFETY: what `into_raw` just gave up.
    Ok(Opened { library: unsafe { Library::from_raw(handle) }, handle })
}

/// libloading's text without its own frame.
fn error_text(error: &libloading::Error) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

type Query = unsafe extern "C" fn(u32) -> *const tallyport_plugin_set;

fn entry(path: &Path, library: &Opened) -> Result<Query, Error> {
    // SAFETY: the symbol has this type in every Tallyport plugin.
    let symbol =
        unsafe { library.library.get::<tallyport_plugin_query_fn>(ENTRY.to_bytes_with_nul()) };
    let query = symbol.ok().and_then(|symbol| *symbol).ok_or_else(|| {
        let entry = ENTRY.to_string_lossy();
        Error::new(
            ErrorKind::PluginAbi,
            format!("plugin file `{}` has no entry point `{entry}`", path.display()),
        )
        .with_field("path")
    })?;
    // dlsym also looks into what the file depends on: the symbol must lie in the file itself. The
    // names may differ: a file that was loaded before keeps the name that it had then.
    let owner = owner(query as *const libc::c_void);
    match (owner, name_of(library, path)) {
        (Some(owner), Some(own)) if owner == own => Ok(query),
        (owner, _) => {
            let owner = owner.map_or_else(|| "nowhere".into(), |owner| owner.display().to_string());
            Err(refused(path, format!("its entry point lies in another object, {owner}")))
        }
    }
}

/// Name of the object that an address lies in.
fn owner(address: *const libc::c_void) -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr reads the loader's tables for any address and fills our struct.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    // SAFETY: zeroed pointers are valid, and dladdr filled it if it found something.
    let info = unsafe { info.assume_init() };
    // SAFETY: the loader's own name of the object, which stays mapped.
    (found != 0).then(|| unsafe { path_from(info.dli_fname) }).flatten()
}

/// # Safety
/// `name` is NULL or C text.
unsafe fn path_from(name: *const libc::c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    // SAFETY: the caller vouches for it.
    let name = unsafe { CStr::from_ptr(name) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

/// The loader's name of a library: that of the path that it was first loaded from.
fn name_of(library: &Opened, path: &Path) -> Option<PathBuf> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// The documented beginning of glibc's `struct link_map`.
        #[repr(C)]
        struct LinkMap {
            address: usize,
            name: *const libc::c_char,
        }
        let _ = path;
        let mut map: *const LinkMap = std::ptr::null();
        let answer = (&raw mut map).cast::<libc::c_void>();
        // SAFETY: the handle is open, and the answer to this request is one pointer.
        // Test: a_plugin_is_found_under_a_second_path.
        let status = unsafe { libc::dlinfo(library.handle, libc::RTLD_DI_LINKMAP, answer) };
        if status != 0 || map.is_null() {
            return None;
        }
        // SAFETY: the loader's own struct of an open library.
        let name = unsafe { (*map).name };
        // SAFETY: the loader's own text of an open library.
        unsafe { path_from(name) }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        let _ = library;
        Some(path.to_path_buf())
    }
}

/// Refuses an image that is not what was checked.
///
/// The loader knows files by path: one that was replaced on disk gives the image of the old one.
/// A file that is swapped between the check and the load is found here too, if late.
fn same_as_checked(path: &Path, inside: *const libc::c_void, bytes: &[u8]) -> Result<(), Error> {
    #[cfg(target_os = "linux")]
    {
        let mut visit = Visit { inside: inside.addr() as u64, found: None };
        // SAFETY: `visit` has the form that is asked for, and its argument outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(Visit::object), (&raw mut visit).cast()) };
        // Compared out here: the loader's lock is held around the visit, and everybody who loads
        // or unwinds waits for it. The image stays mapped (NODELETE).
        let same = visit.found.zip(constants(bytes)).is_some_and(|(image, file)| {
            // SAFETY: the loader's own program headers of the loaded object: integers, no padding.
            let headers = unsafe { slice::from_raw_parts(image.headers, image.headers_len) };
            // The same headers first: then what the file has there is mapped.
            file.headers == headers
                && file.sections.iter().all(|(address, bytes)| {
                    let at = image.address.wrapping_add(*address) as *const u8;
                    // SAFETY: sections of the checked file lie in its readable segments, and this
                    // image has the same. Test: a_file_that_was_replaced_is_not_taken_for_the_old_one.
                    *bytes == unsafe { slice::from_raw_parts(at, bytes.len()) }
                })
        });
        if !same {
            let reason = "the process has another version of this file loaded, which cannot be \
                          unloaded; give the new one another name (with its version, say)";
            return Err(refused(path, reason));
        }
    }
    Ok(())
}

/// Looks for the object around an address.
#[cfg(target_os = "linux")]
struct Visit {
    inside: u64,
    found: Option<Image>,
}

/// Where a loaded object lies, and its program headers as bytes.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy)]
struct Image {
    address: u64,
    headers: *const u8,
    headers_len: usize,
}

#[cfg(target_os = "linux")]
impl Visit {
    unsafe extern "C" fn object(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        visit: *mut libc::c_void,
    ) -> libc::c_int {
        // SAFETY: the loader lends its struct, whose first four fields are older than any size.
        let info = unsafe { &*info };
        // SAFETY: what `same_as_checked` handed over, and uses again only after this.
        let visit = unsafe { &mut *visit.cast::<Self>() };
        if info.dlpi_phdr.is_null() {
            return 0;
        }
        // SAFETY: the loader's own program headers of a loaded object.
        let headers =
            unsafe { slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)) };
        let at = visit.inside.wrapping_sub(info.dlpi_addr);
        let ours = |header: &libc::Elf64_Phdr| {
            header.p_type == libc::PT_LOAD && at.wrapping_sub(header.p_vaddr) < header.p_memsz
        };
        if !headers.iter().any(ours) {
            return 0;
        }
        visit.found = Some(Image {
            address: info.dlpi_addr,
            headers: headers.as_ptr().cast(),
            headers_len: size_of_val(headers),
        });
        1
    }
}

fn check_rust_types(
    path: &Path,
    library: &Library,
    set: *const tallyport_plugin_set,
) -> Result<(), Error> {
    // SAFETY: only the symbol's address is taken.
    let symbol = unsafe { library.get::<*const ()>(layout_check::SYMBOL.to_bytes_with_nul()) };
    let Ok(symbol) = symbol else {
        return Err(refused(
            path,
            "its descriptor names the Rust SDK, but it has no layout header",
        ));
    };
    let address = symbol.into_raw().cast_const().cast::<()>();
    // SAFETY: the SDK's static of that name, in a file that stays mapped.
    match unsafe { layout_check::check(address, set) } {
        Ok(()) => Ok(()),
        Err([line, full]) => {
            tracing::error!(path = %path.display(), "layout check: {full}");
            let message =
                format!("plugin file `{}`: its Rust types differ: {line}", path.display());
            Err(Error::new(ErrorKind::PluginAbi, message).with_field("path"))
        }
    }
}
