//! A loaded image: opened by the system's loader, and held against the bytes that were checked.

use std::{
    ffi::{CStr, OsStr},
    mem::MaybeUninit,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    ptr, slice,
};

use libloading::os::unix::{Library, RTLD_LAZY, RTLD_LOCAL, RTLD_NOW};
use tallyport_plugin_api::abi::{tallyport_plugin_query_fn, tallyport_plugin_set};

#[cfg(target_os = "linux")]
use super::elf::constants;
use super::verify::refused;
use crate::model::{Error, ErrorKind, gate::Inside, platform::is_secure_execution};

const ENTRY: &CStr = c"tallyport_plugin_query_v1";

/// A library that the loader has open.
pub(super) struct Opened {
    pub(super) library: Library,
    /// The loader's handle of it.
    handle: *mut libc::c_void,
}

/// Around every call of the loader: a child of a fork that came in its middle would find lists half
/// changed, and one of the loader's locks (of two, in glibc 2.36) held by nobody.
fn asking_the_loader() -> Inside {
    Inside::new()
}

/// Has the system's loader open `file`, which messages call `path`.
pub(super) fn open(path: &Path, file: &Path) -> Result<Opened, Error> {
    // NOW: a missing symbol fails here, not at the first call. LOCAL: it serves nobody else.
    // NODELETE: threads, TLS destructors and our pointers outlive any dlclose.
    let flags = RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE;
    let _inside = asking_the_loader();
    // SAFETY: loading runs the file's constructors: the configuration asked for that, and the
    // file was checked as far as bytes tell. Test: plugin_defects_have_their_status.
    let library = unsafe { Library::open(Some(file), flags) }.map_err(|error| {
        let text = error_text(&error);
        let hint = if text.contains("undefined symbol") {
            " (it was linked without all it needs; try `-Wl,-z,defs` when building it)"
        } else if text.contains("cannot open shared object file")
            && !text.starts_with(&*file.to_string_lossy())
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

/// The one function that a plugin file exports.
pub(super) type Query = unsafe extern "C" fn(u32) -> *const tallyport_plugin_set;

/// The entry point of a plugin file.
pub(super) fn entry(path: &Path, library: &Opened) -> Result<Query, Error> {
    let _inside = asking_the_loader();
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
    // dlsym also looks into what the file depends on: the symbol must lie in the file itself. Names
    // are not compared: a file that was loaded before keeps the one that it had then.
    let owner = owner(query as *const libc::c_void);
    if owner.is_null() || !is_object(owner, library) {
        return Err(refused(path, "its entry point lies in another object that it needs"));
    }
    Ok(query)
}

/// The beginning of glibc's `struct link_map`, which is documented; elsewhere only an address.
#[repr(C)]
#[derive(Debug)]
pub(super) struct LinkMap {
    address: usize,
    /// Empty for the program itself.
    name: *const libc::c_char,
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
unsafe extern "C" {
    /// dladdr, and the link map of the object (`RTLD_DL_LINKMAP`).
    fn dladdr1(
        address: *const libc::c_void,
        info: *mut libc::Dl_info,
        extra: *mut *mut libc::c_void,
        flags: libc::c_int,
    ) -> libc::c_int;
}

/// The link map of the object that an address lies in; NULL: of none.
fn owner(address: *const libc::c_void) -> *const LinkMap {
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let mut map = ptr::null_mut();
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const RTLD_DL_LINKMAP: libc::c_int = 2;
        // SAFETY: dladdr1 reads the loader's tables for any address and fills our two variables.
        // Test: a_symbol_of_another_object_is_no_entry.
        let found = unsafe { dladdr1(address, info.as_mut_ptr(), &raw mut map, RTLD_DL_LINKMAP) };
        if found == 0 {
            map = ptr::null_mut();
        }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        // Not run yet. The base address stands for the object.
        // SAFETY: dladdr reads the loader's tables for any address and fills our struct.
        let found = unsafe { libc::dladdr(address, info.as_mut_ptr()) };
        if found != 0 {
            // SAFETY: zeroed pointers are valid, and dladdr filled it.
            map = unsafe { info.assume_init() }.dli_fbase;
        }
    }
    map.cast_const().cast()
}

/// The link map of an open library; NULL: unknown.
fn link_map(handle: *mut libc::c_void) -> *const LinkMap {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let mut map: *const LinkMap = ptr::null();
        let _inside = asking_the_loader();
        let answer = (&raw mut map).cast::<libc::c_void>();
        // SAFETY: the handle is open, and the answer to this request is one pointer.
        // Test: a_plugin_is_found_under_a_second_path.
        let status = unsafe { libc::dlinfo(handle, libc::RTLD_DI_LINKMAP, answer) };
        if status == 0 { map } else { ptr::null() }
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    {
        // Not run yet. The handle stands for the object.
        handle.cast_const().cast()
    }
}

impl Opened {
    /// The object, for comparison: one for each image, for as long as that is mapped.
    pub(super) fn link_map(&self) -> *const LinkMap {
        link_map(self.handle)
    }

    /// Leaves the image mapped for ever.
    pub(super) fn keep(self) {
        std::mem::forget(self.library);
    }
}

/// The object that the system's loader has under a name already; NULL: none. Runs no code.
pub(super) fn loaded_as(name: &OsStr) -> *const LinkMap {
    let flags = RTLD_LAZY | libc::RTLD_NOLOAD;
    let _inside = asking_the_loader();
    // SAFETY: with NOLOAD nothing is loaded, so nothing runs.
    // Test: a_pinned_library_comes_before_the_plugin_that_needs_it.
    let Ok(library) = (unsafe { Library::open(Some(name), flags) }) else { return ptr::null() };
    let handle = library.into_raw();
    let map = link_map(handle);
    // SAFETY: what `into_raw` just gave up; dropped, it is one use less, and others keep the image.
    drop(unsafe { Library::from_raw(handle) });
    map
}

/// Whether the system's loader has an image under that name already.
pub(super) fn is_known(name: &Path) -> bool {
    !loaded_as(name.as_os_str()).is_null()
}

/// Whether the object around an address is an open library's.
fn is_object(owner: *const LinkMap, library: &Opened) -> bool {
    // Elsewhere the base address and the handle are no two names of one thing, and nothing is said.
    cfg!(not(all(target_os = "linux", target_env = "gnu"))) || owner == library.link_map()
}

/// The file that this very code lies in: the library, or the program that it is linked into.
pub(super) fn own_object() -> Option<PathBuf> {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        let _inside = asking_the_loader();
        let map = owner((own_object as fn() -> Option<PathBuf>) as *const libc::c_void);
        if !map.is_null() {
            // SAFETY: the loader's own struct of the object that runs.
            let name = unsafe { (*map).name };
            // SAFETY: the loader's own text of the object that runs.
            if let Some(name) = unsafe { text_of(name) }.filter(|name| !name.is_empty()) {
                return Some(PathBuf::from(OsStr::from_bytes(name)));
            }
        }
    }
    // Not what the loader calls the program: that is argv[0], which anybody chooses. A program that
    // is run with the rights of another may be a link in a folder of anybody's.
    if is_secure_execution() { None } else { std::env::current_exe().ok() }
}

/// # Safety
/// `name` is NULL or C text that is valid for `'a`.
unsafe fn text_of<'a>(name: *const libc::c_char) -> Option<&'a [u8]> {
    // SAFETY: the caller vouches for it.
    (!name.is_null()).then(|| unsafe { CStr::from_ptr(name) }.to_bytes())
}

/// Refuses an image that is not what was checked.
///
/// The loader knows files by path: one that was replaced on disk gives the image of the old one.
/// A file that is swapped between the check and the load is found here too, if late.
pub(super) fn same_as_checked(
    path: &Path,
    inside: *const libc::c_void,
    bytes: &[u8],
    code: bool,
) -> Result<(), Error> {
    #[cfg(target_os = "linux")]
    {
        let mut visit = Visit { inside: inside.addr() as u64, found: None };
        let asking = asking_the_loader();
        // SAFETY: `visit` has the form that is asked for, and its argument outlives the call.
        unsafe { libc::dl_iterate_phdr(Some(Visit::object), (&raw mut visit).cast()) };
        drop(asking);
        // Compared out here: the loader's lock is held around the visit, and everybody who loads
        // or unwinds waits for it. The image stays mapped (NODELETE).
        let same = visit.found.zip(constants(bytes, code)).is_some_and(|(image, file)| {
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
