//! The plugin ABI: every type and constant that crosses between a host and an exporter.
//!
//! This file is the whole contract. `include/tallyport_plugin.h` is generated from it (cargo
//! xtask headers), so the names here are the C names. It owns layouts and meanings; it knows
//! nothing of loading (core), of the safe SDK (`exporter`, `export`), or of any format.
//!
//! Rules, which the loader and the SDK enforce:
//! - Structs grow at the end only; `struct_size` comes first and is read before anything else.
//! - Strings are UTF-8 with a length, borrowed until the call returns unless said otherwise.
//! - What one side allocates is never freed by the other. Errors and sinks belong to the host.
//! - Nothing unwinds across. An unknown kind, number type, flag or column id is skipped.
//! - Thread tags: `[any thread]`, `[one call at a time]` (per exporter), `[thread-safe]`.
//!
//! Layout numbers are asserted in `layout.rs` here and by `_Static_assert` in the header.

#![allow(non_camel_case_types)] // the C names are the contract; a second vocabulary would hide it

use core::ffi::{c_char, c_void};

/// Major version of the plugin ABI.
pub const TALLYPORT_PLUGIN_ABI_MAJOR: u32 = 1;
/// Minor version of the plugin ABI: appended fields, new extension and column ids.
pub const TALLYPORT_PLUGIN_ABI_MINOR: u32 = 0;
/// `major << 16 | minor`: what a plugin was built against, and what a host offers.
pub const TALLYPORT_PLUGIN_ABI: u32 =
    (TALLYPORT_PLUGIN_ABI_MAJOR << 16) | TALLYPORT_PLUGIN_ABI_MINOR;

/// Whether a plugin and a host of these ABI versions can talk, by either one's reckoning.
///
/// The same major; while that is 0, the same minor. From 1.0 on a minor only appends, and each
/// side reads up to the smaller `struct_size`. `TALLYPORT_PLUGIN_SERVES` says it in C.
#[must_use]
pub const fn serves(one: u32, other: u32) -> bool {
    one >> 16 == other >> 16 && (one >> 16 != 0 || one == other)
}

/// Outcome of a call: `TALLYPORT_OK`, or one of the failures, whose numbers are never reused.
pub type tallyport_status = i32;

/// Success.
pub const TALLYPORT_OK: i32 = 0;
/// An argument is outside its domain; the error's field names it.
pub const TALLYPORT_INVALID_ARGUMENT: i32 = 1;
/// Text is not valid UTF-8; the message carries the byte offset.
pub const TALLYPORT_INVALID_UTF8: i32 = 2;
/// A required pointer is NULL.
pub const TALLYPORT_NULL_ARGUMENT: i32 = 3;
/// A handle is stale, freed, or of another type.
pub const TALLYPORT_BAD_HANDLE: i32 = 4;
/// The same name exists with another kind, number type, bounds or help.
pub const TALLYPORT_CONFLICT: i32 = 5;
/// A configured limit would be exceeded.
pub const TALLYPORT_LIMIT: i32 = 6;
/// Nothing has that name.
pub const TALLYPORT_NOT_FOUND: i32 = 7;
/// Something has that name already.
pub const TALLYPORT_ALREADY_EXISTS: i32 = 8;
/// The configuration is invalid.
pub const TALLYPORT_CONFIG: i32 = 9;
/// The operating system refused; the error carries its number.
pub const TALLYPORT_IO: i32 = 10;
/// A plugin file could not be found, opened, trusted or loaded.
pub const TALLYPORT_PLUGIN_REFUSED: i32 = 11;
/// A plugin speaks another ABI, or breaks this one.
pub const TALLYPORT_PLUGIN_ABI_MISMATCH: i32 = 12;
/// A plugin reported a failure of its own.
pub const TALLYPORT_PLUGIN_FAILED: i32 = 13;
/// Code panicked or threw; the panic was contained.
pub const TALLYPORT_PANIC: i32 = 14;
/// An earlier panic left the object unusable.
pub const TALLYPORT_POISONED: i32 = 15;
/// The caller withdrew the call.
pub const TALLYPORT_CANCELLED: i32 = 16;
/// The deadline passed.
pub const TALLYPORT_TIMEOUT: i32 = 17;
/// The operation or format is not available here.
pub const TALLYPORT_UNSUPPORTED: i32 = 18;
/// Data that was read is damaged.
pub const TALLYPORT_DAMAGED: i32 = 19;
/// The object was shut down.
pub const TALLYPORT_CLOSED: i32 = 20;
/// A bug in Tallyport; please report it.
pub const TALLYPORT_INTERNAL: i32 = 21;
/// It is left alone for a while after earlier failures; try again later.
pub const TALLYPORT_UNAVAILABLE: i32 = 22;

/// Borrowed UTF-8 text: `len` bytes at `ptr`, not NUL-terminated. FROZEN.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_str {
    /// First byte; may be NULL only when `len` is 0.
    pub ptr: *const c_char,
    /// Length in bytes.
    pub len: usize,
}

/// An error. Opaque. A plugin is lent one for a call; one that tallyport.h hands out is the caller's.
pub struct tallyport_error {
    _private: (),
}

/// Where an exporter writes its bytes. HOST-owned, opaque.
pub struct tallyport_sink {
    _private: (),
}

/// One configured instance of an exporter. PLUGIN-owned, opaque.
pub struct tallyport_exporter {
    _private: (),
}

/// Log level: the operation failed.
pub const TALLYPORT_LOG_ERROR: i32 = 1;
/// Log level: something is wrong and was worked around.
pub const TALLYPORT_LOG_WARN: i32 = 2;
/// Log level: rare and expected events.
pub const TALLYPORT_LOG_INFO: i32 = 3;
/// Log level: detail for a developer.
pub const TALLYPORT_LOG_DEBUG: i32 = 4;
/// Log level: everything.
pub const TALLYPORT_LOG_TRACE: i32 = 5;

/// What the host does for a plugin. Valid from `create` until `destroy` returned.
///
/// Every function takes this table as its first argument. Up to `sink_write` all of them are there
/// in every host; what follows may lie past `struct_size` (TALLYPORT_HAS) or be NULL. [thread-safe]
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_host {
    /// Size of this struct as the host was built.
    pub struct_size: u32,
    /// The host's `TALLYPORT_PLUGIN_ABI`.
    pub abi: u32,
    /// The host's own; a plugin passes it back untouched by passing the table.
    pub host_data: *mut c_void,
    /// Writes one line to the host's log. [thread-safe]
    pub log: Option<
        unsafe extern "C" fn(host: *const tallyport_host, level: i32, message: tallyport_str),
    >,
    /// Sets code and message of `error`; the last call wins. The status that the call then returns
    /// is the one that counts, so give the same. [the call's thread]
    pub error_set: Option<
        unsafe extern "C" fn(
            host: *const tallyport_host,
            error: *mut tallyport_error,
            code: tallyport_status,
            message: tallyport_str,
        ),
    >,
    /// Adds a key and a value to `error` (an option's path, a peer's answer …). [the call's thread]
    pub error_detail: Option<
        unsafe extern "C" fn(
            host: *const tallyport_host,
            error: *mut tallyport_error,
            key: tallyport_str,
            value: tallyport_str,
        ),
    >,
    /// Appends `len` bytes. CANCELLED or LIMIT mean: stop and return that status. [the call's thread]
    pub sink_write: Option<
        unsafe extern "C" fn(
            host: *const tallyport_host,
            sink: *mut tallyport_sink,
            bytes: *const u8,
            len: usize,
        ) -> tallyport_status,
    >,
    /// Lends at least `min_len` writable bytes until `sink_commit` or the next call on the sink.
    /// [the call's thread]
    pub sink_reserve: Option<
        unsafe extern "C" fn(
            host: *const tallyport_host,
            sink: *mut tallyport_sink,
            min_len: usize,
            bytes: *mut *mut u8,
            len: *mut usize,
        ) -> tallyport_status,
    >,
    /// Appends the first `len` bytes of what `sink_reserve` lent. [the call's thread]
    pub sink_commit: Option<
        unsafe extern "C" fn(
            host: *const tallyport_host,
            sink: *mut tallyport_sink,
            len: usize,
        ) -> tallyport_status,
    >,
    /// Monotonic time in nanoseconds, the clock of `tallyport_call.deadline_ns`. [any thread]
    pub mono_ns: Option<unsafe extern "C" fn(host: *const tallyport_host) -> u64>,
    /// A further service by name and revision, or NULL where the host has none. [any thread]
    pub get_service: Option<
        unsafe extern "C" fn(host: *const tallyport_host, id: tallyport_str) -> *const c_void,
    >,
}

/// What belongs to one call. Borrowed until the call returns. Up to `format` it is there in every
/// host; what follows may lie past `struct_size`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_call {
    /// Size of this struct as the host was built.
    pub struct_size: u32,
    /// No flag is defined yet.
    pub flags: u32,
    /// Number of this call, unique in the host process.
    pub call_id: u64,
    /// Monotonic nanoseconds (`tallyport_host.mono_ns`) by which to return; 0 = none.
    pub deadline_ns: u64,
    /// The host's own.
    pub host_data: *mut c_void,
    /// Non-zero once the caller withdrew the call or the deadline passed. [any thread]
    pub is_cancelled: Option<unsafe extern "C" fn(call: *const tallyport_call) -> i32>,
    /// One of the plugin's formats; empty outside exports.
    pub format: tallyport_str,
    /// W3C trace context of the caller; empty when there is none.
    pub traceparent: tallyport_str,
}

/// Kind of a family: monotonic sum.
pub const TALLYPORT_KIND_COUNTER: u32 = 1;
/// Kind of a family: sum that may fall; exported as a gauge.
pub const TALLYPORT_KIND_UP_DOWN_COUNTER: u32 = 2;
/// Kind of a family: last value.
pub const TALLYPORT_KIND_GAUGE: u32 = 3;
/// Kind of a family: counts per bucket, count and sum.
pub const TALLYPORT_KIND_HISTOGRAM: u32 = 4;

/// Number type of a family: `value_bits` holds the bits of an IEEE 754 double.
pub const TALLYPORT_NUMBER_F64: u32 = 1;
/// Number type of a family: `value_bits` holds an unsigned integer.
pub const TALLYPORT_NUMBER_U64: u32 = 2;
/// Number type of a family: `value_bits` holds a two's complement integer.
pub const TALLYPORT_NUMBER_I64: u32 = 3;

/// One metric family: a row of the column `TALLYPORT_COLUMN_FAMILIES`.
///
/// Read it with the column's `elem_size` as the stride: it may grow. Rows of a family are
/// `series_start .. series_start + series_count`; a row outside every family has no meaning.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct tallyport_family {
    /// String id of the name.
    pub name: u32,
    /// String id of the help text (0 = none).
    pub help: u32,
    /// String id of the unit (0 = none).
    pub unit: u32,
    /// `TALLYPORT_KIND_*`.
    pub kind: u32,
    /// `TALLYPORT_NUMBER_*`.
    pub number: u32,
    /// First series row.
    pub series_start: u32,
    /// Number of series rows.
    pub series_count: u32,
    /// Histograms: index of the first upper bound.
    pub bounds_start: u32,
    /// Histograms: number of finite upper bounds; there is one bucket more, up to +Inf.
    pub bounds_count: u32,
    /// Histograms: index in `HIST_COUNT` of the first series' count.
    pub hist_start: u32,
    /// Histograms: index in `HIST_BUCKETS` of the first series' first bucket; series follow each
    /// other with `bounds_count + 1` buckets each.
    pub bucket_start: u64,
}

/// A range of another column: a row of `TALLYPORT_COLUMN_LABEL_RANGES`. It may grow, as a family may.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct tallyport_range {
    /// First index.
    pub start: u32,
    /// Number of elements.
    pub count: u32,
}

/// One label: a row of `TALLYPORT_COLUMN_LABEL_PAIRS`. It may grow, as a family may.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct tallyport_label_pair {
    /// String id of the label's name.
    pub name: u32,
    /// String id of the label's value.
    pub value: u32,
}

/// Column, schema: u32 per string plus one; string i is `STR_BYTES[off[i] .. off[i + 1]]`. Id 0 is "".
pub const TALLYPORT_COLUMN_STR_OFF: u32 = 1;
/// Column, schema: the UTF-8 bytes of all strings.
pub const TALLYPORT_COLUMN_STR_BYTES: u32 = 2;
/// Column, schema: `tallyport_family` rows.
pub const TALLYPORT_COLUMN_FAMILIES: u32 = 3;
/// Column, schema: `tallyport_range` per series row, into `LABEL_PAIRS`.
pub const TALLYPORT_COLUMN_LABEL_RANGES: u32 = 4;
/// Column, schema: `tallyport_label_pair` rows, sorted by label name within a series.
pub const TALLYPORT_COLUMN_LABEL_PAIRS: u32 = 5;
/// Column, schema: f64 upper bounds, finite, increasing within a family.
pub const TALLYPORT_COLUMN_HIST_BOUNDS: u32 = 6;
/// Column, schema: u64 per series row, creation time in nanoseconds since the Unix epoch.
pub const TALLYPORT_COLUMN_CREATED_NS: u32 = 7;
/// Column, values: u64 per series row; the bits of the value, of a histogram its f64 sum.
pub const TALLYPORT_COLUMN_VALUE_BITS: u32 = 32;
/// Column, values: u64 per histogram series, the number of observations.
pub const TALLYPORT_COLUMN_HIST_COUNT: u32 = 33;
/// Column, values: u64 per bucket, not cumulative; its sum over a series equals `HIST_COUNT`.
pub const TALLYPORT_COLUMN_HIST_BUCKETS: u32 = 34;

/// One block of memory that holds columns. The only pointers of a snapshot are here. FROZEN.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_region {
    /// First byte, aligned as the columns' elements need.
    pub base: *const u8,
    /// Length in bytes.
    pub len: u64,
}

/// Where one column lies. A new column is data, not an ABI change: skip ids you do not know. FROZEN.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct tallyport_column {
    /// `TALLYPORT_COLUMN_*`.
    pub id: u32,
    /// Size of one element in bytes, at least that of the type named for the column.
    pub elem_size: u32,
    /// Index of the region that holds it.
    pub region: u32,
    /// No flag is defined yet.
    pub flags: u32,
    /// Number of elements.
    pub count: u64,
    /// Offset of the first element in the region, aligned as the element needs.
    pub offset: u64,
}

/// The state of all metrics: a table of pointer-free columns. Borrowed until the call returns.
///
/// Schema columns (ids under 32) are immutable and the same for every snapshot of one
/// `schema_id`, so text rendered from them may be kept by that id. Value columns are this
/// snapshot's own.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_snapshot {
    /// Size of this struct as the host was built.
    pub struct_size: u32,
    /// No flag is defined yet.
    pub flags: u32,
    /// Identity of the schema columns; never 0, never reused within a host process.
    pub schema_id: u64,
    /// When the values were read, in nanoseconds since the Unix epoch.
    pub time_unix_ns: u64,
    /// Number of series rows that families refer to.
    pub series_count: u64,
    /// Number of regions.
    pub region_count: u32,
    /// Number of columns.
    pub column_count: u32,
    /// `region_count` regions.
    pub regions: *const tallyport_region,
    /// `column_count` columns.
    pub columns: *const tallyport_column,
}

/// Capability: calls on one exporter may run at the same time. Without it the host takes turns.
pub const TALLYPORT_CAP_CONCURRENT: u64 = 1;
/// Capability: `cancel` makes a running export return early.
pub const TALLYPORT_CAP_CANCEL: u64 = 2;
/// Capability: may run in a helper process.
pub const TALLYPORT_CAP_OUT_OF_PROC: u64 = 4;
/// Capability: leaves nothing behind that would make unmapping the file unsafe.
pub const TALLYPORT_CAP_UNLOAD_SAFE: u64 = 8;
/// Capability: `after_fork_child` makes an inherited exporter usable in a forked child.
pub const TALLYPORT_CAP_FORK_AWARE: u64 = 16;
/// Capability: writes its output to the sink (others deliver it themselves).
pub const TALLYPORT_CAP_WRITES_SINK: u64 = 32;

/// Signal: metric snapshots.
pub const TALLYPORT_SIGNAL_METRICS: u32 = 1;
/// Signal: traces.
pub const TALLYPORT_SIGNAL_TRACES: u32 = 2;

/// One format that an exporter writes. FROZEN.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_format {
    /// Short name, for example `openmetrics`.
    pub name: tallyport_str,
    /// Media type with its parameters, for example `application/json`.
    pub content_type: tallyport_str,
}

/// One exporter: what it is and its functions. A static constant in the plugin.
///
/// Required: `id`, `version`, at least one format, `create`, `export_snapshot`, `destroy`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_plugin_v1 {
    /// Size of this struct as the plugin was built.
    pub struct_size: u32,
    /// The plugin's `TALLYPORT_PLUGIN_ABI`.
    pub abi: u32,
    /// `TALLYPORT_CAP_*` bits; unknown bits are ignored.
    pub caps: u64,
    /// Identity, for example `statsd` or `com.example.statsd`: letters, digits, `.`, `_`, `-`.
    pub id: tallyport_str,
    /// The exporter's own version.
    pub version: tallyport_str,
    /// Who makes it; may be empty.
    pub vendor: tallyport_str,
    /// One line; may be empty.
    pub description: tallyport_str,
    /// `format_count` formats; the first is the default one.
    pub formats: *const tallyport_format,
    /// Number of formats.
    pub format_count: u32,
    /// `TALLYPORT_SIGNAL_*` bits.
    pub signals: u32,
    /// JSON Schema of the options; empty: options are not described.
    pub config_schema_json: tallyport_str,
    /// Makes an exporter from its options, a JSON object (or empty). [any thread]
    pub create: Option<
        unsafe extern "C" fn(
            host: *const tallyport_host,
            config_json: tallyport_str,
            exporter: *mut *mut tallyport_exporter,
            error: *mut tallyport_error,
        ) -> tallyport_status,
    >,
    /// Writes `snapshot` in `call->format`. [one call at a time; thread-safe with CONCURRENT]
    pub export_snapshot: Option<
        unsafe extern "C" fn(
            exporter: *mut tallyport_exporter,
            call: *const tallyport_call,
            snapshot: *const tallyport_snapshot,
            sink: *mut tallyport_sink,
            error: *mut tallyport_error,
        ) -> tallyport_status,
    >,
    /// Delivers what is buffered; NULL: nothing is. [one call at a time]
    pub flush: Option<
        unsafe extern "C" fn(
            exporter: *mut tallyport_exporter,
            call: *const tallyport_call,
            error: *mut tallyport_error,
        ) -> tallyport_status,
    >,
    /// Makes running calls return early; NULL: not supported. [any thread, during a call]
    pub cancel: Option<unsafe extern "C" fn(exporter: *mut tallyport_exporter)>,
    /// Last call before `destroy`: delivers and stops; NULL: nothing to stop. [one call at a time]
    pub shutdown: Option<
        unsafe extern "C" fn(
            exporter: *mut tallyport_exporter,
            call: *const tallyport_call,
            error: *mut tallyport_error,
        ) -> tallyport_status,
    >,
    /// Frees the exporter. No other call runs or follows. [any thread]
    pub destroy: Option<unsafe extern "C" fn(exporter: *mut tallyport_exporter)>,
    /// In a forked child, before any other call (FORK_AWARE only); NULL: the host makes a new one.
    /// [one call at a time]
    pub after_fork_child: Option<unsafe extern "C" fn(exporter: *mut tallyport_exporter)>,
    /// A further table by name and revision, or NULL; static. [any thread]
    pub get_extension: Option<unsafe extern "C" fn(id: tallyport_str) -> *const c_void>,
}

/// How an export ended, for `on_export_complete`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_export_result {
    /// Size of this struct as the host was built.
    pub struct_size: u32,
    /// Status of the export.
    pub status: tallyport_status,
    /// Bytes written to the sink.
    pub bytes: u64,
    /// Duration in nanoseconds.
    pub duration_ns: u64,
}

/// What syncs did, for `on_sync`; the same numbers as in the event `cache.synced`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_sync_result {
    /// Size of this struct as the host was built.
    pub struct_size: u32,
    /// Syncs that this tells of; more than one where the exporter was busy during those before.
    pub syncs: u32,
    /// Series that they wrote, because they had changed.
    pub series: u64,
    /// Bytes that they wrote.
    pub bytes: u64,
    /// Their duration in nanoseconds.
    pub duration_ns: u64,
    /// Kind of the store of the last one, for example `redis`. Borrowed for the call.
    pub store: tallyport_str,
    /// What the store is used for, for example `distributed_atomic`. Borrowed for the call.
    pub strategy: tallyport_str,
}

/// Extension `tallyport.lifecycle/1`: calls around exports and syncs. Any function may be NULL.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_lifecycle_v1 {
    /// Size of this struct as the plugin was built.
    pub struct_size: u32,
    /// No flag is defined yet.
    pub flags: u32,
    /// Before `export_snapshot`; a status other than OK refuses the export. [one call at a time]
    pub on_export_request: Option<
        unsafe extern "C" fn(
            exporter: *mut tallyport_exporter,
            call: *const tallyport_call,
            error: *mut tallyport_error,
        ) -> tallyport_status,
    >,
    /// After the export's bytes reached their destination or were given up. [one call at a time]
    pub on_export_complete: Option<
        unsafe extern "C" fn(
            exporter: *mut tallyport_exporter,
            call: *const tallyport_call,
            result: *const tallyport_export_result,
        ),
    >,
    /// After a sync of the host; one that comes while the exporter is busy is told of by the next
    /// one, which counts both. On the thread that synced. [one call at a time]
    pub on_sync: Option<
        unsafe extern "C" fn(
            exporter: *mut tallyport_exporter,
            call: *const tallyport_call,
            result: *const tallyport_sync_result,
        ),
    >,
}

/// The exporters of one file.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_plugin_set {
    /// Size of this struct as the plugin was built.
    pub struct_size: u32,
    /// Number of exporters.
    pub count: u32,
    /// Distance between two of them in bytes: the plugin's `sizeof(tallyport_plugin_v1)`.
    pub stride: u32,
    /// No flag is defined yet.
    pub flags: u32,
    /// `count` tables.
    pub plugins: *const tallyport_plugin_v1,
}

/// `tallyport_file_desc.magic`: the bytes `TLYPLUG1` as a little-endian integer.
pub const TALLYPORT_FILE_MAGIC: u64 = 0x3147_554C_5059_4C54;

/// What a file says of itself before any of its code runs.
///
/// Lies in an ELF section `.tallyport` (Mach-O: `__DATA,__tallyport`) of the library.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tallyport_file_desc {
    /// `TALLYPORT_FILE_MAGIC`.
    pub magic: u64,
    /// Size of this struct as the plugin was built.
    pub struct_size: u32,
    /// The plugin's `TALLYPORT_PLUGIN_ABI`.
    pub abi: u32,
    /// `TALLYPORT_PLUGIN_LAYOUT_HASH` of the header or SDK that built it.
    pub layout_hash: u64,
    /// `TALLYPORT_FILE_RUST` where the SDK's layout check is present.
    pub flags: u64,
    /// Identity of the file, NUL-padded UTF-8.
    pub id: [c_char; 64],
    /// Version of the file, NUL-padded UTF-8.
    pub version: [c_char; 32],
}

/// `tallyport_file_desc.flags`: built with the Rust SDK, which emits abi_stable's root module.
pub const TALLYPORT_FILE_RUST: u64 = 1;

/// Type of the one symbol that a plugin file exports, `tallyport_plugin_query_v1`.
///
/// Returns the file's exporters, or NULL when it cannot serve a host of ABI `host_abi`.
/// Called once, on the loading thread; the result is static. [any thread]
pub type tallyport_plugin_query_fn =
    Option<unsafe extern "C" fn(host_abi: u32) -> *const tallyport_plugin_set>;

// SAFETY: every host function is thread-safe by contract, and the table is never written after it
// was lent. Test: concurrent_load_unregister_and_export_is_exact.
unsafe impl Sync for tallyport_host {}
// SAFETY: as above; a table may be handed to another thread.
unsafe impl Send for tallyport_host {}
// SAFETY: the pointers in these tables are to static, immutable data of the plugin, which is
// never unmapped (RTLD_NODELETE). Test: concurrent_load_unregister_and_export_is_exact.
unsafe impl Sync for tallyport_plugin_v1 {}
// SAFETY: as above: `plugins` points to static, immutable tables.
unsafe impl Sync for tallyport_plugin_set {}
// SAFETY: as above: both strings are static text of the plugin.
unsafe impl Sync for tallyport_format {}
// SAFETY: the table holds function pointers only.
unsafe impl Sync for tallyport_lifecycle_v1 {}
