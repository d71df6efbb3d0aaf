//! What an exporter says of itself: its table, read once, checked, and owned.

use std::{ffi::c_void, mem::MaybeUninit, ptr, slice, str, sync::Arc};

use tallyport_plugin_api::{
    PluginSet,
    abi::{
        TALLYPORT_CAP_CONCURRENT, TALLYPORT_CAP_FORK_AWARE, tallyport_exporter, tallyport_format,
        tallyport_lifecycle_v1, tallyport_plugin_set, tallyport_plugin_v1, tallyport_str,
    },
    text,
};

use super::{
    negotiate::Abi,
    run::{About, Backend, Direct, Failed, Source, Wanted, Worker},
};
use crate::model::{Error, ErrorKind};

/// Most exporters of one file, and most formats of one exporter.
const MAX_COUNT: u32 = 64;
/// Longest text of a table, the options schema aside.
const MAX_TEXT_BYTES: usize = 4096;
/// Longest options schema.
const MAX_SCHEMA_BYTES: usize = 1 << 20;

/// One format that an exporter writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Format {
    /// Short name, for example `openmetrics`.
    pub name: String,
    /// Media type.
    pub content_type: String,
}

/// What holds of the exporters of a file, whether their tables are here or a helper tells of them.
pub(super) fn check_ids(ids: &[&str]) -> Result<(), String> {
    if ids.is_empty() {
        return Err("it says that it holds 0 exporters".into());
    }
    match ids.iter().enumerate().find(|(at, id)| ids.iter().take(*at).any(|other| other == *id)) {
        Some((_, twice)) => Err(format!("two of its exporters are called `{twice}`")),
        None => Ok(()),
    }
}

/// As [`check_ids`], of one of them.
pub(super) fn check_id(id: &str) -> Result<(), String> {
    let named = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if id.is_empty() || id.len() > MAX_TEXT_BYTES || !id.bytes().all(named) {
        return Err(format!("its id {id:?} is not made of letters, digits, `.`, `_`, `-`"));
    }
    Ok(())
}

/// As [`check_ids`].
pub(super) fn check_version(version: &str) -> Result<(), String> {
    if version.is_empty() { Err("it has no version".into()) } else { Ok(()) }
}

/// As [`check_ids`].
pub(super) fn check_formats(formats: &[Format]) -> Result<(), String> {
    if formats.is_empty() {
        return Err("it names 0 formats".into());
    }
    for (at, Format { name, .. }) in formats.iter().enumerate() {
        if name.is_empty() || formats.iter().take(at).any(|earlier| earlier.name == *name) {
            return Err(format!("the format name {name:?} is empty or there twice"));
        }
    }
    Ok(())
}

/// An exporter's table, checked. Its functions stay callable for the life of the process.
#[derive(Debug)]
pub struct Table {
    /// Identity.
    pub id: String,
    /// The exporter's version.
    pub version: String,
    /// Who makes it.
    pub vendor: String,
    /// One line.
    pub description: String,
    /// Formats, the default one first.
    pub formats: Vec<Format>,
    /// `TALLYPORT_CAP_*` bits.
    pub caps: u64,
    /// `TALLYPORT_SIGNAL_*` bits.
    pub signals: u32,
    /// JSON Schema of the options, if the exporter describes them.
    pub options_schema: Option<serde_json::Value>,
    /// Where it came from: a file's path, or "linked in".
    pub origin: String,
    pub(super) raw: tallyport_plugin_v1,
    lifecycle: Option<tallyport_lifecycle_v1>,
}

// SAFETY: a table holds functions that the ABI makes callable from any thread, and pointers to
// static text that is not read again. Test: concurrent_load_unregister_and_export_is_exact.
unsafe impl Send for Table {}
// SAFETY: as above.
unsafe impl Sync for Table {}

impl Table {
    /// Reads the tables of a set that is linked into this program.
    ///
    /// A set that `plugin_set!` did not make is for [`Table::read_set`], which is unsafe:
    ///
    /// ```compile_fail
    /// use tallyport_plugin_api::abi::tallyport_plugin_set;
    ///
    /// static LIE: tallyport_plugin_set = tallyport_plugin_set {
    ///     struct_size: 24, count: 1, stride: 176, flags: 0, plugins: 8 as *const _,
    /// };
    /// let _ = tallyport_core::plugin::Table::linked(&LIE);
    /// ```
    ///
    /// # Errors
    /// PluginAbi, naming the exporter and what is wrong.
    pub fn linked(set: &'static PluginSet) -> Result<Vec<Arc<Self>>, Error> {
        // SAFETY: a static set; the type holds tables of exporters of the SDK only.
        unsafe { Self::read_set(set.as_abi(), "linked in") }
    }

    /// Reads the tables of a set.
    ///
    /// # Safety
    /// `set` is NULL or points to a set as the ABI says, static for the life of the process.
    ///
    /// # Errors
    /// PluginAbi, naming `origin`, the exporter and what is wrong.
    pub unsafe fn read_set(
        set: *const tallyport_plugin_set,
        origin: &str,
    ) -> Result<Vec<Arc<Self>>, Error> {
        // SAFETY: the caller vouches for the set.
        unsafe { Self::read_set_for(set, origin, Abi::OURS) }
    }

    /// As [`Table::read_set`], for a host of `host`.
    ///
    /// # Safety
    /// As there.
    ///
    /// # Errors
    /// As there.
    pub(super) unsafe fn read_set_for(
        set: *const tallyport_plugin_set,
        origin: &str,
        host: Abi,
    ) -> Result<Vec<Arc<Self>>, Error> {
        let bad = |reason: String| Err(broken(origin, &reason));
        if set.is_null() {
            return bad(format!("it offers no exporter to a host of plugin ABI {host}"));
        }
        if !set.is_aligned() {
            return bad("its plugin set is misaligned".into());
        }
        // SAFETY: the caller vouches for a set, which begins with its size.
        let size = unsafe { set.cast::<u32>().read() } as usize;
        if size < size_of::<tallyport_plugin_set>() {
            return bad(format!("its plugin set has struct_size {size}"));
        }
        // SAFETY: as large as the type, by its own word.
        let set = unsafe { set.read() };
        if set.count == 0 || set.count > MAX_COUNT || set.plugins.is_null() {
            return bad(format!("it says that it holds {} exporters", set.count));
        }
        let stride = set.stride as usize;
        if stride < 8 || !stride.is_multiple_of(align_of::<tallyport_plugin_v1>()) {
            return bad(format!("its plugin set has stride {stride}"));
        }
        let mut tables: Vec<Arc<Self>> = Vec::with_capacity(set.count as usize);
        for index in 0..set.count as usize {
            let raw = set.plugins.cast::<u8>().wrapping_add(index * stride);
            // SAFETY: the set says that `count` tables lie there, `stride` apart.
            let table = unsafe { Self::read_for(raw.cast(), stride, origin, host) }?;
            tables.push(Arc::new(table));
        }
        let ids: Vec<&str> = tables.iter().map(|table| table.id.as_str()).collect();
        check_ids(&ids).map_err(|reason| broken(origin, &reason))?;
        Ok(tables)
    }

    /// Reads one table of at most `room` bytes.
    ///
    /// # Safety
    /// `raw` points to a table as the ABI says, static for the life of the process.
    ///
    /// # Errors
    /// PluginAbi, naming `origin` and what is wrong.
    pub unsafe fn read(
        raw: *const tallyport_plugin_v1,
        room: usize,
        origin: &str,
    ) -> Result<Self, Error> {
        // SAFETY: the caller vouches for the table.
        unsafe { Self::read_for(raw, room, origin, Abi::OURS) }
    }

    /// As [`Table::read`], for a host of `host`.
    ///
    /// # Safety
    /// As there.
    ///
    /// # Errors
    /// As there.
    unsafe fn read_for(
        raw: *const tallyport_plugin_v1,
        room: usize,
        origin: &str,
        host: Abi,
    ) -> Result<Self, Error> {
        let bad = |reason: String| broken(origin, &reason);
        if raw.is_null() || !raw.is_aligned() {
            return Err(bad("its table is NULL or misaligned".into()));
        }
        // SAFETY: a table begins with its size.
        let size = unsafe { raw.cast::<u32>().read() } as usize;
        let required = std::mem::offset_of!(tallyport_plugin_v1, destroy) + size_of::<usize>();
        if size < required || size > room {
            return Err(bad(format!(
                "its table has struct_size {size}; {required} to {room} would fit"
            )));
        }
        let mut copy = MaybeUninit::<tallyport_plugin_v1>::zeroed();
        let common = size.min(size_of::<tallyport_plugin_v1>());
        // SAFETY: `common` bytes are readable there by its own word, and writable here.
        unsafe { ptr::copy_nonoverlapping(raw.cast::<u8>(), copy.as_mut_ptr().cast(), common) };
        // SAFETY: integers, pointers and Option<fn>: zero is valid, and so is what a plugin wrote.
        let raw = unsafe { copy.assume_init() };
        let theirs = Abi(raw.abi);
        if !host.serves(theirs) {
            return Err(bad(format!(
                "its table is of plugin ABI {theirs}; this host speaks {host}"
            )));
        }
        // SAFETY: the caller vouches that the table's texts are as the ABI says.
        let read = |field: &str, from: tallyport_str, most: usize| unsafe {
            read_text(from, most).map_err(|reason| bad(format!("its {field} {reason}")))
        };
        let id = read("id", raw.id, MAX_TEXT_BYTES)?;
        check_id(&id).map_err(bad)?;
        let bad = |reason: String| broken(origin, &format!("exporter `{id}`: {reason}"));
        let version = read("version", raw.version, MAX_TEXT_BYTES)?;
        check_version(&version).map_err(&bad)?;
        for (name, missing) in [
            ("create", raw.create.is_none()),
            ("export_snapshot", raw.export_snapshot.is_none()),
            ("destroy", raw.destroy.is_none()),
        ] {
            if missing {
                return Err(bad(format!("the required function `{name}` is NULL")));
            }
        }
        // SAFETY: the caller vouches for the formats.
        let formats = unsafe { read_formats(&raw) }.map_err(&bad)?;
        let schema = read("options schema", raw.config_schema_json, MAX_SCHEMA_BYTES)?;
        let options_schema = match schema.as_str() {
            "" => None,
            text => Some(
                serde_json::from_str(text)
                    .map_err(|e| bad(format!("its options schema is not JSON: {e}")))?,
            ),
        };
        let vendor = read("vendor", raw.vendor, MAX_TEXT_BYTES)?;
        let description = read("description", raw.description, MAX_TEXT_BYTES)?;
        // SAFETY: the table's own function, as the ABI says.
        let lifecycle = unsafe { read_lifecycle(&raw) }.map_err(&bad)?;
        Ok(Self {
            id,
            version,
            vendor,
            description,
            formats,
            caps: raw.caps,
            signals: raw.signals,
            options_schema,
            origin: origin.to_owned(),
            raw,
            lifecycle,
        })
    }

    /// Its calls around exports and syncs, if it has any; what it does not know is NULL.
    #[must_use]
    pub fn lifecycle(&self) -> Option<tallyport_lifecycle_v1> {
        self.lifecycle
    }

    /// Whether calls on one exporter may run at the same time.
    #[must_use]
    pub fn is_concurrent(&self) -> bool {
        self.raw.caps & TALLYPORT_CAP_CONCURRENT != 0
    }

    /// What makes an inherited exporter usable in a forked child, where it declares that.
    pub(super) fn after_fork_child(&self) -> Option<unsafe extern "C" fn(*mut tallyport_exporter)> {
        self.raw.after_fork_child.filter(|_| self.raw.caps & TALLYPORT_CAP_FORK_AWARE != 0)
    }
}

impl Source for Table {
    fn about(&self) -> About {
        About {
            id: self.id.clone(),
            version: self.version.clone(),
            vendor: self.vendor.clone(),
            description: self.description.clone(),
            formats: self.formats.clone(),
            origin: self.origin.clone(),
        }
    }

    fn start(self: Arc<Self>, wanted: &Wanted<'_>) -> Result<Arc<dyn Backend>, Failed> {
        Ok(match wanted.limits.deadline {
            Some(deadline) => Arc::new(Worker::start(self, wanted, deadline)?),
            None => Arc::new(Direct::start(self, wanted)?),
        })
    }

    fn hears_syncs(&self) -> bool {
        self.lifecycle.is_some_and(|lifecycle| lifecycle.on_sync.is_some())
    }
}

fn broken(origin: &str, reason: &str) -> Error {
    Error::new(ErrorKind::PluginAbi, format!("plugin `{origin}`: {reason}"))
}

/// # Safety
/// `text` is as the ABI says.
unsafe fn read_text(text: tallyport_str, most: usize) -> Result<String, String> {
    if text.len == 0 {
        return Ok(String::new());
    }
    if text.ptr.is_null() {
        return Err("is NULL with a length".into());
    }
    if text.len > most {
        return Err(format!("has {} bytes; at most {most}", text.len));
    }
    // SAFETY: not NULL, of a sane length, and the plugin vouches for it.
    let bytes = unsafe { slice::from_raw_parts(text.ptr.cast::<u8>(), text.len) };
    let text = str::from_utf8(bytes);
    text.map(str::to_owned).map_err(|e| format!("is not UTF-8 at byte {}", e.valid_up_to()))
}

/// # Safety
/// The table's formats are as the ABI says.
unsafe fn read_formats(raw: &tallyport_plugin_v1) -> Result<Vec<Format>, String> {
    if raw.format_count == 0 || raw.format_count > MAX_COUNT || raw.formats.is_null() {
        return Err(format!("it names {} formats", raw.format_count));
    }
    if !raw.formats.is_aligned() {
        return Err("its formats are misaligned".into());
    }
    let count = raw.format_count as usize;
    // SAFETY: not NULL, and the plugin vouches for the count.
    let entries: &[tallyport_format] = unsafe { slice::from_raw_parts(raw.formats, count) };
    let mut formats: Vec<Format> = Vec::new();
    for entry in entries {
        // SAFETY: as the ABI says.
        let name = unsafe { read_text(entry.name, MAX_TEXT_BYTES) };
        // SAFETY: as the ABI says.
        let content_type = unsafe { read_text(entry.content_type, MAX_TEXT_BYTES) };
        let name = name.map_err(|reason| format!("the name of a format {reason}"))?;
        let content_type = content_type.map_err(|reason| format!("a media type {reason}"))?;
        formats.push(Format { name, content_type });
    }
    check_formats(&formats)?;
    Ok(formats)
}

/// # Safety
/// The table's functions are as the ABI says.
unsafe fn read_lifecycle(
    raw: &tallyport_plugin_v1,
) -> Result<Option<tallyport_lifecycle_v1>, String> {
    let Some(get) = raw.get_extension else { return Ok(None) };
    // SAFETY: the plugin's function, [any thread].
    let found: *const c_void = unsafe { get(text("tallyport.lifecycle/1")) };
    let found = found.cast::<tallyport_lifecycle_v1>();
    if found.is_null() {
        return Ok(None);
    }
    if !found.is_aligned() {
        return Err("its extension `tallyport.lifecycle/1` is misaligned".into());
    }
    // SAFETY: the extension begins with its size.
    let size = unsafe { found.cast::<u32>().read() } as usize;
    // What it began with.
    if size < std::mem::offset_of!(tallyport_lifecycle_v1, on_sync) {
        return Err(format!("its extension `tallyport.lifecycle/1` has struct_size {size}"));
    }
    let mut copy = MaybeUninit::<tallyport_lifecycle_v1>::zeroed();
    let common = size.min(size_of::<tallyport_lifecycle_v1>());
    // SAFETY: `common` bytes are readable there by its own word, and writable here.
    unsafe { ptr::copy_nonoverlapping(found.cast::<u8>(), copy.as_mut_ptr().cast(), common) };
    // SAFETY: integers and Option<fn>: zero is valid, and so is what a plugin wrote.
    // Test: a_lifecycle_table_of_an_older_plugin_has_no_on_sync.
    Ok(Some(unsafe { copy.assume_init() }))
}

#[cfg(test)]
mod tests {
    use tallyport_plugin_api::{
        Call, Error as ApiError, Exporter, Host, Info, Sink, Snapshot, format, plugin_set,
    };

    use super::*;

    struct Fine;

    impl Exporter for Fine {
        type Options = ();
        const INFO: Info = Info { formats: &[format("x", "y")], ..Info::new("fine", "1") };

        fn create(_: Host, (): ()) -> Result<Self, ApiError> {
            Ok(Self)
        }

        fn export(&self, _: &Call<'_>, _: &Snapshot<'_>, _: &mut Sink<'_>) -> Result<(), ApiError> {
            Ok(())
        }
    }

    plugin_set!(static FINE: [Fine]);

    fn table() -> tallyport_plugin_v1 {
        // SAFETY: a set of the SDK's, with one table.
        unsafe { FINE.as_abi().plugins.read() }
    }

    fn read(table: &tallyport_plugin_v1, room: usize) -> Result<Table, Error> {
        // SAFETY: a whole table, changed by the tests to something that must be refused or read.
        unsafe { Table::read(table, room, "test") }
    }

    fn says(table: &tallyport_plugin_v1, what: &str) {
        let error = read(table, size_of_val(table)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PluginAbi);
        assert!(error.to_string().contains(what), "{what}: {error}");
    }

    #[test]
    fn tables_of_an_older_and_a_newer_minor_are_read_up_to_the_smaller_size() {
        let whole = size_of::<tallyport_plugin_v1>();
        let mut older = table();
        older.struct_size -= 16;
        older.get_extension = Some(never);
        let older = read(&older, whole).unwrap();
        assert!(older.raw.get_extension.is_none(), "past its end there is nothing");
        let newer = [table(), table()];
        let mut first = newer;
        first[0].struct_size = 2 * whole as u32;
        // SAFETY: two tables of memory for one that says it is as large.
        assert!(unsafe { Table::read(first.as_ptr(), 2 * whole, "test") }.is_ok());
        // Larger than the stride leaves room for.
        says(&first[0], "struct_size 352");
    }

    unsafe extern "C" fn never(_: tallyport_str) -> *const c_void {
        8 as *const c_void
    }

    unsafe extern "C" fn crooked(_: tallyport_str) -> *const c_void {
        static BYTES: [u64; 8] = [24; 8];
        BYTES.as_ptr().cast::<u8>().wrapping_add(1).cast()
    }

    #[test]
    fn misaligned_pointers_are_refused() {
        let mut bad = table();
        bad.formats = bad.formats.cast::<u8>().wrapping_add(4).cast();
        says(&bad, "misaligned");
        let mut bad = table();
        bad.get_extension = Some(crooked);
        says(&bad, "misaligned");
        let set = (FINE.as_abi() as *const tallyport_plugin_set).cast::<u8>().wrapping_add(2);
        // SAFETY: refused before it is read.
        let error = unsafe { Table::read_set(set.cast(), "test") }.unwrap_err();
        assert!(error.to_string().contains("misaligned"), "{error}");
    }

    #[test]
    fn capabilities_are_the_tables_own() {
        let mut table = read(&table(), size_of::<tallyport_plugin_v1>()).unwrap();
        table.caps |= TALLYPORT_CAP_CONCURRENT;
        assert!(!table.is_concurrent(), "what is shown does not decide what is called");
    }

    #[test]
    fn texts_that_lie_are_refused() {
        let long = tallyport_str { ptr: c"x".as_ptr(), len: usize::MAX };
        let null = tallyport_str { ptr: ptr::null(), len: 3 };
        for (text, what) in [(long, "at most 4096"), (null, "NULL with a length")] {
            let mut bad = table();
            bad.vendor = text;
            says(&bad, what);
        }
        let mut bad = table();
        bad.config_schema_json = text("{");
        says(&bad, "not JSON");
        let mut bad = table();
        bad.format_count = u32::MAX;
        says(&bad, "formats");
    }
}
