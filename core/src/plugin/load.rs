//! From a file to its exporters' tables: dlopen, entry, negotiation.
//!
//! `verify` has looked at the bytes before. Nothing here holds a lock of the engine: constructors
//! of the file run inside dlopen, under the loader's own lock. A loaded file is never unmapped:
//! unloading Rust, Go or threaded C code is not safe.

use std::{
    ffi::{CStr, OsStr},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use tallyport_plugin_api::{
    abi::{TALLYPORT_PLUGIN_ABI, tallyport_plugin_query_fn, tallyport_plugin_set},
    layout_check,
};

use super::{
    table::Table,
    verify::{FileInfo, inspect_file, refused},
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
    // Absolute, because dlopen searches elsewhere for a name without a slash.
    let path = std::path::absolute(path).map_err(|e| refused(path, e))?;
    let info = inspect_file(&path)?;
    let library = open(&path)?;
    let query = entry(&path, &library)?;
    // SAFETY: the entry point of a Tallyport plugin (its descriptor says so), with our ABI.
    // Test: plugin_defects_have_their_status.
    let set = unsafe { query(TALLYPORT_PLUGIN_ABI) };
    let origin = path.display().to_string();
    // SAFETY: what the entry returns is a static set, by the ABI.
    let tables = unsafe { Table::read_set(set, &origin) }?;
    if info.rust {
        check_rust_types(&path, &library, set)?;
    }
    // The image stays mapped for ever, so its handle is never closed.
    std::mem::forget(library);
    Ok(LoadedFile { path, info, tables })
}

fn open(path: &Path) -> Result<Library, Error> {
    // NOW: a missing symbol fails here, not at the first call. LOCAL: it serves nobody else.
    // NODELETE: threads, TLS destructors and our pointers outlive any dlclose.
    let flags = RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE;
    // SAFETY: loading runs the file's constructors: the configuration asked for that, and the
    // file was checked as far as bytes tell. Test: plugin_defects_have_their_status.
    unsafe { Library::open(Some(path), flags) }.map_err(|error| {
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
    })
}

/// libloading's text without its own frame.
fn error_text(error: &libloading::Error) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

type Query = unsafe extern "C" fn(u32) -> *const tallyport_plugin_set;

fn entry(path: &Path, library: &Library) -> Result<Query, Error> {
    // SAFETY: the symbol has this type in every Tallyport plugin.
    let symbol = unsafe { library.get::<tallyport_plugin_query_fn>(ENTRY.to_bytes_with_nul()) };
    let query = symbol.ok().and_then(|symbol| *symbol).ok_or_else(|| {
        let entry = ENTRY.to_string_lossy();
        Error::new(
            ErrorKind::PluginAbi,
            format!("plugin file `{}` has no entry point `{entry}`", path.display()),
        )
        .with_field("path")
    })?;
    // dlsym also looks into what the file depends on: the symbol must lie in the file itself.
    let address = query as *const libc::c_void;
    let owner = owner(address);
    if owner.as_deref() != Some(path) {
        let owner = owner.map_or_else(|| "nowhere".into(), |owner| owner.display().to_string());
        return Err(refused(path, format!("its entry point lies in another object, {owner}")));
    }
    Ok(query)
}

/// Path of the object that an address lies in.
fn owner(address: *const libc::c_void) -> Option<PathBuf> {
    let mut info = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: dladdr reads the loader's tables for any address and fills our struct.
    let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
    // SAFETY: zeroed pointers are valid, and dladdr filled it if it found something.
    let info = unsafe { info.assume_init() };
    if found == 0 || info.dli_fname.is_null() {
        return None;
    }
    // SAFETY: the loader's own name of the object, which stays mapped.
    let name = unsafe { CStr::from_ptr(info.dli_fname) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
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
