//! A plugin file, loaded step by step, and its exporters' tables.
//!
//! The order is the loader's (core/src/plugin): bounds and descriptor before any code, then
//! dlopen, entry, negotiation, types. Owner and mode are not looked at: a vendor checks a file in
//! a build tree, and the host's own loader refuses what others could write.

use std::{
    ffi::CStr,
    path::{Path, PathBuf},
    ptr,
    sync::Arc,
    time::{Duration, Instant},
};

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use tallyport_core::plugin::{FileInfo, Table, inspect_file};
use tallyport_plugin_api::{
    abi::{
        TALLYPORT_PLUGIN_ABI, tallyport_lifecycle_v1, tallyport_plugin_query_fn,
        tallyport_plugin_set, tallyport_plugin_v1,
    },
    layout_check, text,
};

const ENTRY: &CStr = c"tallyport_plugin_query_v1";

type Query = unsafe extern "C" fn(u32) -> *const tallyport_plugin_set;

/// A step of loading, as it went.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    /// What it found, or why it failed.
    pub(crate) outcome: Result<String, String>,
}

/// A loaded plugin file. It stays mapped.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) exporters: Vec<Exporter>,
    query: Query,
    /// Address of what the entry answered.
    set: usize,
}

/// One exporter of the file.
#[derive(Debug)]
pub(crate) struct Exporter {
    /// What the loader makes of its table.
    pub(crate) table: Arc<Table>,
    pub(crate) raw: tallyport_plugin_v1,
    pub(crate) lifecycle: Option<tallyport_lifecycle_v1>,
}

// SAFETY: functions and static text of a file that stays mapped; calls take turns or the exporter
// declares CONCURRENT. Test: the_samples_pass_every_case.
unsafe impl Send for Exporter {}
// SAFETY: as above.
unsafe impl Sync for Exporter {}

/// Runs a step and records it.
fn step<T>(
    steps: &mut Vec<Step>,
    name: &'static str,
    run: impl FnOnce() -> Result<(T, String), String>,
) -> Option<T> {
    let start = Instant::now();
    let done = run();
    let took = start.elapsed();
    let (value, outcome) = match done {
        Ok((value, text)) => (Some(value), Ok(text)),
        Err(reason) => (None, Err(reason)),
    };
    steps.push(Step { name, took, outcome });
    value
}

/// Loads a file. The last step is the one that failed where there is no file.
pub(crate) fn load(path: &Path) -> (Option<File>, Vec<Step>) {
    let mut steps = Vec::new();
    let file = load_into(path, &mut steps);
    (file, steps)
}

fn load_into(path: &Path, steps: &mut Vec<Step>) -> Option<File> {
    let path = step(steps, "resolve", || absolute(path))?;
    let info = step(steps, "verify", || {
        let info = inspect_file(&path).map_err(|error| error.to_string())?;
        let FileInfo { id, version, abi: (major, minor), .. } = &info;
        let text = format!("whole, for this machine; `{id}` {version}, plugin ABI {major}.{minor}");
        Ok((info, text))
    })?;
    let library = step(steps, "dlopen", || {
        let flags = RTLD_NOW | RTLD_LOCAL | libc::RTLD_NODELETE;
        // SAFETY: runs the constructors of a file that its vendor asked to check, in a process
        // that exists for that. Test: the_kit_fails_what_is_bad_under_the_name_of_the_case.
        let library = unsafe { Library::open(Some(&path), flags) };
        let library = library.map_err(|error| loader_text(&error))?;
        Ok((library, "every symbol is there (RTLD_NOW)".to_owned()))
    })?;
    let query = step(steps, "entry", || entry(&library))?;
    let set = step(steps, "negotiate", || {
        // SAFETY: the entry point of a Tallyport plugin, by its descriptor.
        let set = unsafe { query(TALLYPORT_PLUGIN_ABI) };
        let origin = path.display().to_string();
        // SAFETY: what the entry returns is a static set, by the ABI; the tables are checked.
        let tables = unsafe { Table::read_set(set, &origin) }.map_err(|e| e.to_string())?;
        let ids: Vec<_> = tables.iter().map(|table| table.id.as_str()).collect();
        let found = format!("exporters: {}", ids.join(", "));
        Ok(((set, tables), found))
    })?;
    let (set, tables) = set;
    if info.rust {
        step(steps, "layout", || layout(&library, set))?;
    }
    // NODELETE: the image stays, whatever happens to the handle.
    std::mem::forget(library);
    Some(File { exporters: exporters(set, tables), query, set: set.addr() })
}

fn absolute(path: &Path) -> Result<(PathBuf, String), String> {
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    let text = path.display().to_string();
    Ok((path, text))
}

fn loader_text(error: &libloading::Error) -> String {
    use std::error::Error as _;
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

fn entry(library: &Library) -> Result<(Query, String), String> {
    // SAFETY: the symbol has this type in every Tallyport plugin.
    let symbol = unsafe { library.get::<tallyport_plugin_query_fn>(ENTRY.to_bytes_with_nul()) };
    let entry = ENTRY.to_string_lossy();
    let query = symbol.ok().and_then(|symbol| *symbol);
    let query = query.ok_or_else(|| format!("it has no entry point `{entry}`"))?;
    Ok((query, format!("`{entry}`")))
}

fn layout(library: &Library, set: *const tallyport_plugin_set) -> Result<((), String), String> {
    // SAFETY: only the symbol's address is taken.
    let symbol = unsafe { library.get::<*const ()>(layout_check::SYMBOL.to_bytes_with_nul()) };
    let Ok(symbol) = symbol else {
        return Err("the Rust SDK's layout header is missing".to_owned());
    };
    let address = symbol.into_raw().cast_const().cast::<()>();
    // SAFETY: the SDK's static of that name, in a file that stays mapped.
    match unsafe { layout_check::check(address, set) } {
        Ok(()) => Ok(((), "the Rust types are those of this build".to_owned())),
        Err([line, _]) => Err(format!("the Rust types differ: {line}")),
    }
}

/// The tables behind what the loader made of them, read up to their own size.
fn exporters(set: *const tallyport_plugin_set, tables: Vec<Arc<Table>>) -> Vec<Exporter> {
    // SAFETY: `Table::read_set` found a whole set there.
    let set = unsafe { set.read() };
    let read = |(index, table): (usize, Arc<Table>)| {
        let at = set.plugins.cast::<u8>().wrapping_add(index * set.stride as usize);
        // SAFETY: `Table::read_set` found a table there, which begins with its size.
        let size = unsafe { at.cast::<u32>().read() } as usize;
        let mut raw = std::mem::MaybeUninit::<tallyport_plugin_v1>::zeroed();
        let common = size.min(size_of::<tallyport_plugin_v1>());
        // SAFETY: that many bytes are readable by its own word, and writable here.
        unsafe { ptr::copy_nonoverlapping(at, raw.as_mut_ptr().cast(), common) };
        // SAFETY: integers, pointers and Option<fn>: zero is valid, and so is what is there.
        let raw = unsafe { raw.assume_init() };
        let lifecycle = table.lifecycle();
        Exporter { table, raw, lifecycle }
    };
    tables.into_iter().enumerate().map(read).collect()
}

impl File {
    /// Whether the entry answers the same set again.
    pub(crate) fn answers_again(&self) -> bool {
        // SAFETY: as at loading.
        let again = unsafe { (self.query)(TALLYPORT_PLUGIN_ABI) };
        again.addr() == self.set
    }

    /// Whether the entry offers anything to a host of another version.
    pub(crate) fn serves(&self, abi: u32) -> bool {
        // SAFETY: as at loading: any number may be asked for.
        !unsafe { (self.query)(abi) }.is_null()
    }
}

impl Exporter {
    /// An extension that does not exist, asked for; whether the plugin has it all the same.
    pub(crate) fn has_extension(&self, id: &str) -> bool {
        // SAFETY: the plugin's function, [any thread].
        self.raw.get_extension.is_some_and(|get| !unsafe { get(text(id)) }.is_null())
    }
}
