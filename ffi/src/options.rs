//! Structs that a host fills in. They grow at the end; zero in a field means its default.

use std::ffi::c_void;

use tallyport_core::{
    engine::config::{IsolationConfig, ProbeConfig, ShareConfig},
    metrics::Cells,
    model::{Error, GaugeMode},
};
use tallyport_plugin_api::abi::tallyport_str;

use crate::log_ring::tallyport_log_ring;

/// A cell per CPU where the system can: fastest, whoever else records.
pub const TALLYPORT_CELLS_PERCPU: u32 = 1;
/// One cell for all: least memory.
pub const TALLYPORT_CELLS_SHARED: u32 = 2;

/// What a TALLYPORT_CELLS_* means; 0 is nothing.
pub(crate) fn cells(number: u32) -> Result<Option<Cells>, Error> {
    match number {
        0 => Ok(None),
        TALLYPORT_CELLS_PERCPU => Ok(Some(Cells::PerCpu)),
        TALLYPORT_CELLS_SHARED => Ok(Some(Cells::Shared)),
        _ => Err(Error::invalid("options.cells", format!("{number} is no TALLYPORT_CELLS_*"))),
    }
}

/// This process and the children that it forks record into the same cells.
pub const TALLYPORT_SHARE_AUTO: u32 = 1;
/// A child that this process forks starts at zero, with cells of its own.
pub const TALLYPORT_SHARE_RESET: u32 = 2;
/// All processes of this host that open the file `arena` record into the same cells.
pub const TALLYPORT_SHARE_FILE: u32 = 3;

/// What a TALLYPORT_SHARE_* means; 0 is nothing.
pub(crate) fn share(number: u32) -> Result<Option<ShareConfig>, Error> {
    match number {
        0 => Ok(None),
        TALLYPORT_SHARE_AUTO => Ok(Some(ShareConfig::Auto)),
        TALLYPORT_SHARE_RESET => Ok(Some(ShareConfig::Reset)),
        TALLYPORT_SHARE_FILE => Ok(Some(ShareConfig::File)),
        _ => Err(Error::invalid("options.share", format!("{number} is no TALLYPORT_SHARE_*"))),
    }
}

/// Of several processes or instances that set a gauge, the sum.
pub const TALLYPORT_GAUGE_MODE_SUM: u32 = 1;
/// The largest.
pub const TALLYPORT_GAUGE_MODE_MAX: u32 = 2;
/// The smallest.
pub const TALLYPORT_GAUGE_MODE_MIN: u32 = 3;
/// The mean.
pub const TALLYPORT_GAUGE_MODE_MEAN: u32 = 4;
/// The one that was set last.
pub const TALLYPORT_GAUGE_MODE_LAST: u32 = 5;

/// What a TALLYPORT_GAUGE_MODE_* means; 0 is undeclared.
pub(crate) fn gauge_mode(number: u32) -> Result<GaugeMode, Error> {
    match number {
        0 => Ok(GaugeMode::Undeclared),
        TALLYPORT_GAUGE_MODE_SUM => Ok(GaugeMode::Sum),
        TALLYPORT_GAUGE_MODE_MAX => Ok(GaugeMode::Max),
        TALLYPORT_GAUGE_MODE_MIN => Ok(GaugeMode::Min),
        TALLYPORT_GAUGE_MODE_MEAN => Ok(GaugeMode::Mean),
        TALLYPORT_GAUGE_MODE_LAST => Ok(GaugeMode::Last),
        _ => {
            let message = format!("{number} is no TALLYPORT_GAUGE_MODE_*");
            Err(Error::invalid("options.gauge_mode", message))
        }
    }
}

/// In a field whose 0 is the default: none, never.
pub const TALLYPORT_NONE: u32 = 0xffff_ffff;

/// An exporter's code runs in a helper process: what crashes or hangs there costs one export.
pub const TALLYPORT_ISOLATION_PROCESS: u32 = 1;

/// A plugin file without a pin is tried in a helper process before its code runs in this one.
pub const TALLYPORT_PROBE_AUTO: u32 = 1;
/// Every plugin file is tried; where no helper program is found, none is loaded.
pub const TALLYPORT_PROBE_ALWAYS: u32 = 2;
/// No plugin file is tried.
pub const TALLYPORT_PROBE_NEVER: u32 = 3;

/// What a TALLYPORT_ISOLATION_* means.
pub(crate) fn isolation(number: u32) -> Result<IsolationConfig, Error> {
    match number {
        0 => Ok(IsolationConfig::None),
        TALLYPORT_ISOLATION_PROCESS => Ok(IsolationConfig::Process),
        _ => {
            let message = format!("{number} is no TALLYPORT_ISOLATION_*");
            Err(Error::invalid("options.isolation", message))
        }
    }
}

/// What a TALLYPORT_PROBE_* means; 0 is nothing.
pub(crate) fn probe(number: u32) -> Result<Option<ProbeConfig>, Error> {
    match number {
        0 => Ok(None),
        TALLYPORT_PROBE_AUTO => Ok(Some(ProbeConfig::Auto)),
        TALLYPORT_PROBE_ALWAYS => Ok(Some(ProbeConfig::Always)),
        TALLYPORT_PROBE_NEVER => Ok(Some(ProbeConfig::Never)),
        _ => Err(Error::invalid("options.probe", format!("{number} is no TALLYPORT_PROBE_*"))),
    }
}

/// One label of a series. Order does not matter; an empty value is the same as no label.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_label {
    /// Name: UTF-8, not beginning with `__`.
    pub name: tallyport_str,
    /// Value: UTF-8.
    pub value: tallyport_str,
}

/// What tallyport_engine_open_with makes an engine of.
///
/// Begin with `tallyport_engine_options o = {.size = sizeof o};`: zero is the default everywhere.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_engine_options {
    /// sizeof(tallyport_engine_options).
    pub size: u32,
    /// 0.
    pub flags: u32,
    /// Configuration file; empty: none.
    pub config_path: tallyport_str,
    /// Configuration as TOML text, instead of a file; empty: none.
    pub config_toml: tallyport_str,
    /// Folder that relative paths of `config_toml` and of plugins loaded in code start from;
    /// empty: the working directory. A configuration file's paths start from its own folder.
    pub base_dir: tallyport_str,
    /// What exporters call this process; empty: the configuration's.
    pub service_name: tallyport_str,
    /// Gets the engine's messages; NULL: they go nowhere.
    ///
    /// Called on the thread that a message came up on, at the end of the call that caused it, with
    /// no lock held: it may call this library. What such calls log follows, up to 64 messages. It
    /// must return: no exception and no longjmp. `target` and `message` are borrowed.
    pub log_fn: Option<
        unsafe extern "C" fn(
            data: *mut c_void,
            level: i32,
            target: tallyport_str,
            message: tallyport_str,
        ),
    >,
    /// Given to `log_fn`. Both stay valid until tallyport_engine_close and every other call on the
    /// engine returned. Used from any thread that calls into the engine.
    pub log_data: *mut c_void,
    /// Least important level to log, TALLYPORT_LOG_*; 0: the configuration's, -1: nothing.
    pub log_level: i32,
    /// TALLYPORT_CELLS_*: where counters and histograms keep their values; 0: the configuration's.
    pub cells: u32,
    /// Series of the whole engine; more fold into the overflow series of their family.
    pub max_series: u64,
    /// Series of one family; more fold into its overflow series.
    pub max_series_per_family: u64,
    /// Bytes of cells, counted over the planes of all CPUs; memory is used as series are.
    pub max_cell_bytes: u64,
    /// Upper bounds of histograms that name none: `default_bound_count` finite, increasing numbers.
    pub default_bounds: *const f64,
    /// Number of `default_bounds`; 0: the configuration's.
    pub default_bound_count: usize,
    /// Bytes of label values, each different one counted once; label sets past it fold too.
    pub max_label_bytes: u64,
    /// Seconds after which a series that nobody looked up, and that no handle is kept of, leaves the
    /// exports and memory; TALLYPORT_NONE: never.
    pub series_idle_timeout_s: u64,
    /// The file of TALLYPORT_SHARE_FILE: an absolute path, made with mode 0600 where there is none.
    /// Empty: the configuration's. With a path and no `share` it is TALLYPORT_SHARE_FILE.
    pub arena: tallyport_str,
    /// TALLYPORT_SHARE_*: which processes record into the same cells; 0: the configuration's.
    pub share: u32,
    /// 0.
    pub reserved: u32,
    /// Keeps the engine's messages until tallyport_log_ring_drain takes them, instead of `log_fn`;
    /// NULL: none. What the engine said last is in it after tallyport_engine_close.
    pub log_ring: *const tallyport_log_ring,
}

/// What a family is, for tallyport_family_describe.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_family_options {
    /// sizeof(tallyport_family_options).
    pub size: u32,
    /// 0.
    pub flags: u32,
    /// Name.
    pub name: tallyport_str,
    /// TALLYPORT_KIND_*.
    pub kind: u32,
    /// TALLYPORT_NUMBER_*; 0: u64 for counters, i64 for up-down counters, f64 for the others.
    pub number: u32,
    /// What it counts, for people; empty sets none and matches any.
    pub help: tallyport_str,
    /// Unit, for example `seconds`; empty sets none and matches any.
    pub unit: tallyport_str,
    /// Upper bounds of a histogram: `bound_count` finite, increasing numbers; +Inf is implied.
    pub bounds: *const f64,
    /// Number of `bounds`; 0: the engine's default.
    pub bound_count: usize,
    /// TALLYPORT_CELLS_*: where the family's series keep their values; 0: the engine decides.
    pub cells: u32,
    /// TALLYPORT_GAUGE_MODE_*: how a gauge that several processes or instances set becomes one value; 0
    /// sets none and matches any: they then are one series each.
    pub gauge_mode: u32,
}

/// An exporter to load, for tallyport_plugin_load and tallyport_plugin_replace.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_plugin_options {
    /// sizeof(tallyport_plugin_options).
    pub size: u32,
    /// 0.
    pub flags: u32,
    /// Name to register it under: letters, digits, `.`, `_`, `-`.
    pub name: tallyport_str,
    /// Shared library; a relative one starts from the engine's folder. Empty: an exporter that is
    /// linked in.
    pub path: tallyport_str,
    /// Which exporter of the library, or which linked-in one; empty: the only one, or `name`.
    pub exporter: tallyport_str,
    /// Its options, a JSON object; empty: none.
    pub options_json: tallyport_str,
    /// The SHA-256 that the library must have, 64 hexadecimal digits; empty: any. The very bytes
    /// that are checked are loaded then, whoever owns the file.
    pub sha256: tallyport_str,
    /// Libraries that a pinned one needs besides the system's: `library_count` of them.
    pub libraries: *const tallyport_library,
    /// Number of `libraries`.
    pub library_count: usize,
    /// TALLYPORT_PROBE_*: when the file is tried first; 0: as the configuration says.
    pub probe: u32,
    /// TALLYPORT_ISOLATION_*: where its code runs; 0: in this process.
    pub isolation: u32,
    /// Longest time of a call, the wait for its turn included; starts a thread for the exporter, up
    /// to four for one that is CONCURRENT. 0: calls run on the thread that asks for them, for as long
    /// as they take.
    pub deadline_ms: u64,
    /// How long a call may go on after it was cancelled at its deadline, before it is given up; 0:
    /// 500.
    pub grace_ms: u64,
    /// How long shutdown may take, where there is a deadline; 0: 5000.
    pub drain_ms: u64,
    /// How long it is left alone after failures, a panic or a call that hung; doubles each time; 0:
    /// 1000.
    pub backoff_ms: u64,
    /// The most that `backoff_ms` doubles to; 0: 300000.
    pub max_backoff_ms: u64,
    /// Most bytes of one export; 0: 1 GiB.
    pub max_output_bytes: u64,
    /// Calls that may wait for their turn, where there is a deadline, to 4096; more are refused; 0:
    /// 16.
    pub queue: u32,
    /// Calls that may hang after they were given up, each with a thread, to 64; 0: 2.
    pub max_zombies: u32,
    /// Failures in a row after which it is left alone; 0: 5 with a deadline, else TALLYPORT_NONE,
    /// which is never.
    pub breaker_failures: u32,
    /// How often it is made anew after a panic; 0: 5; TALLYPORT_NONE: never.
    pub max_restarts: u32,
    /// With TALLYPORT_ISOLATION_PROCESS, the helper's bytes of address space, at least 64 MiB; 0: as
    /// many as this process may have.
    pub address_space_bytes: u64,
    /// With TALLYPORT_ISOLATION_PROCESS, seconds of CPU time of one call; 0: no limit of its own.
    pub cpu_seconds: u64,
    /// With TALLYPORT_ISOLATION_PROCESS, descriptors of the helper, at least 16; 0: as this process.
    pub open_files: u64,
}

/// A library that a pinned plugin needs.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_library {
    /// The name under which it is needed, for example `libvendor.so.1`.
    pub name: tallyport_str,
    /// The file; a relative path starts from the engine's folder.
    pub path: tallyport_str,
    /// The SHA-256 that it must have, 64 hexadecimal digits.
    pub sha256: tallyport_str,
}

/// No value.
pub const TALLYPORT_FIELD_NULL: u32 = 0;
/// 0 or 1, in `integer`.
pub const TALLYPORT_FIELD_BOOL: u32 = 1;
/// A signed number, in `integer`.
pub const TALLYPORT_FIELD_I64: u32 = 2;
/// An unsigned number, in the bits of `integer`.
pub const TALLYPORT_FIELD_U64: u32 = 3;
/// Any number, in `number`.
pub const TALLYPORT_FIELD_F64: u32 = 4;
/// Text, in `text`.
pub const TALLYPORT_FIELD_STR: u32 = 5;
/// Something nested: JSON, in `text`.
pub const TALLYPORT_FIELD_JSON: u32 = 6;

/// One field of an event. What its type does not use is 0.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_event_field {
    /// Name: UTF-8. Of fields with equal names the first counts.
    pub name: tallyport_str,
    /// TALLYPORT_FIELD_*: where the value is.
    pub r#type: u32,
    /// 0.
    pub reserved: u32,
    /// BOOL, I64, U64.
    pub integer: i64,
    /// F64.
    pub number: f64,
    /// STR, JSON.
    pub text: tallyport_str,
}

/// An event that is delivered: borrowed, with all that it points to, until the function returns.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_event {
    /// sizeof(tallyport_event).
    pub size: u32,
    /// 0.
    pub flags: u32,
    /// `namespace.event`.
    pub name: tallyport_str,
    /// `task`, `export`, …; empty for an event that is not in the catalogue.
    pub category: tallyport_str,
    /// The publisher's, or one that was made for this event: 32 hexadecimal digits.
    pub correlation_id: tallyport_str,
    /// When it was published: nanoseconds since the Unix epoch.
    pub timestamp_ns: u64,
    /// Its own fields.
    pub fields: *const tallyport_event_field,
    /// Number of `fields`.
    pub field_count: usize,
}

/// Who listens to what, for tallyport_event_subscribe and tallyport_handler_register.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct tallyport_listener_options {
    /// sizeof(tallyport_listener_options).
    pub size: u32,
    /// 0.
    pub flags: u32,
    /// Name: letters, digits, `.`, `_`, `-`. A subscription without one gets one.
    pub name: tallyport_str,
    /// Events, with spaces between: names (`task.completed`), prefixes (`task.*`), all (`*`).
    pub events: tallyport_str,
    /// Called on the publisher's thread, which waits; answers 0, or anything else for a failure,
    /// which is counted and logged. NULL: events wait in a queue instead.
    ///
    /// It may make every call of this library, and must return: no exception and no longjmp.
    pub function:
        Option<unsafe extern "C" fn(data: *mut c_void, event: *const tallyport_event) -> i32>,
    /// Given to `function`. Used from any thread that publishes, from several at once.
    pub data: *mut c_void,
    /// Called once with `data`, on any thread, when nothing can call `function` any more; may be
    /// NULL. It may call this library, and must return.
    pub free_data: Option<unsafe extern "C" fn(data: *mut c_void)>,
    /// Most events that wait in the queue, to 1048576; 0: 1024. Later ones are dropped and counted.
    pub queue_events: u64,
    /// Most bytes that they take, roughly; 0: 16 MiB.
    pub queue_bytes: u64,
}

/// Sizes and offsets: part of the ABI.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<tallyport_label>() == 32);
    assert!(offset_of!(tallyport_label, value) == 16);
    assert!(size_of::<tallyport_engine_options>() == 184);
    assert!(offset_of!(tallyport_engine_options, flags) == 4);
    assert!(offset_of!(tallyport_engine_options, config_path) == 8);
    assert!(offset_of!(tallyport_engine_options, config_toml) == 24);
    assert!(offset_of!(tallyport_engine_options, base_dir) == 40);
    assert!(offset_of!(tallyport_engine_options, service_name) == 56);
    assert!(offset_of!(tallyport_engine_options, log_fn) == 72);
    assert!(offset_of!(tallyport_engine_options, log_data) == 80);
    assert!(offset_of!(tallyport_engine_options, log_level) == 88);
    assert!(offset_of!(tallyport_engine_options, cells) == 92);
    assert!(offset_of!(tallyport_engine_options, max_series) == 96);
    assert!(offset_of!(tallyport_engine_options, max_series_per_family) == 104);
    assert!(offset_of!(tallyport_engine_options, max_cell_bytes) == 112);
    assert!(offset_of!(tallyport_engine_options, default_bounds) == 120);
    assert!(offset_of!(tallyport_engine_options, default_bound_count) == 128);
    assert!(offset_of!(tallyport_engine_options, max_label_bytes) == 136);
    assert!(offset_of!(tallyport_engine_options, series_idle_timeout_s) == 144);
    assert!(offset_of!(tallyport_engine_options, arena) == 152);
    assert!(offset_of!(tallyport_engine_options, share) == 168);
    assert!(offset_of!(tallyport_engine_options, reserved) == 172);
    assert!(offset_of!(tallyport_engine_options, log_ring) == 176);
    assert!(size_of::<tallyport_family_options>() == 88);
    assert!(offset_of!(tallyport_family_options, flags) == 4);
    assert!(offset_of!(tallyport_family_options, name) == 8);
    assert!(offset_of!(tallyport_family_options, kind) == 24);
    assert!(offset_of!(tallyport_family_options, number) == 28);
    assert!(offset_of!(tallyport_family_options, help) == 32);
    assert!(offset_of!(tallyport_family_options, unit) == 48);
    assert!(offset_of!(tallyport_family_options, bounds) == 64);
    assert!(offset_of!(tallyport_family_options, bound_count) == 72);
    assert!(offset_of!(tallyport_family_options, cells) == 80);
    assert!(offset_of!(tallyport_family_options, gauge_mode) == 84);
    assert!(size_of::<tallyport_plugin_options>() == 200);
    assert!(offset_of!(tallyport_plugin_options, flags) == 4);
    assert!(offset_of!(tallyport_plugin_options, name) == 8);
    assert!(offset_of!(tallyport_plugin_options, path) == 24);
    assert!(offset_of!(tallyport_plugin_options, exporter) == 40);
    assert!(offset_of!(tallyport_plugin_options, options_json) == 56);
    assert!(offset_of!(tallyport_plugin_options, sha256) == 72);
    assert!(offset_of!(tallyport_plugin_options, libraries) == 88);
    assert!(offset_of!(tallyport_plugin_options, library_count) == 96);
    assert!(offset_of!(tallyport_plugin_options, probe) == 104);
    assert!(offset_of!(tallyport_plugin_options, isolation) == 108);
    assert!(offset_of!(tallyport_plugin_options, deadline_ms) == 112);
    assert!(offset_of!(tallyport_plugin_options, grace_ms) == 120);
    assert!(offset_of!(tallyport_plugin_options, drain_ms) == 128);
    assert!(offset_of!(tallyport_plugin_options, backoff_ms) == 136);
    assert!(offset_of!(tallyport_plugin_options, max_backoff_ms) == 144);
    assert!(offset_of!(tallyport_plugin_options, max_output_bytes) == 152);
    assert!(offset_of!(tallyport_plugin_options, queue) == 160);
    assert!(offset_of!(tallyport_plugin_options, max_zombies) == 164);
    assert!(offset_of!(tallyport_plugin_options, breaker_failures) == 168);
    assert!(offset_of!(tallyport_plugin_options, max_restarts) == 172);
    assert!(offset_of!(tallyport_plugin_options, address_space_bytes) == 176);
    assert!(offset_of!(tallyport_plugin_options, cpu_seconds) == 184);
    assert!(offset_of!(tallyport_plugin_options, open_files) == 192);
    assert!(size_of::<tallyport_library>() == 48);
    assert!(offset_of!(tallyport_library, path) == 16);
    assert!(offset_of!(tallyport_library, sha256) == 32);
    assert!(size_of::<tallyport_event_field>() == 56);
    assert!(offset_of!(tallyport_event_field, r#type) == 16);
    assert!(offset_of!(tallyport_event_field, reserved) == 20);
    assert!(offset_of!(tallyport_event_field, integer) == 24);
    assert!(offset_of!(tallyport_event_field, number) == 32);
    assert!(offset_of!(tallyport_event_field, text) == 40);
    assert!(size_of::<tallyport_event>() == 80);
    assert!(offset_of!(tallyport_event, flags) == 4);
    assert!(offset_of!(tallyport_event, name) == 8);
    assert!(offset_of!(tallyport_event, category) == 24);
    assert!(offset_of!(tallyport_event, correlation_id) == 40);
    assert!(offset_of!(tallyport_event, timestamp_ns) == 56);
    assert!(offset_of!(tallyport_event, fields) == 64);
    assert!(offset_of!(tallyport_event, field_count) == 72);
    assert!(size_of::<tallyport_listener_options>() == 80);
    assert!(offset_of!(tallyport_listener_options, flags) == 4);
    assert!(offset_of!(tallyport_listener_options, name) == 8);
    assert!(offset_of!(tallyport_listener_options, events) == 24);
    assert!(offset_of!(tallyport_listener_options, function) == 40);
    assert!(offset_of!(tallyport_listener_options, data) == 48);
    assert!(offset_of!(tallyport_listener_options, free_data) == 56);
    assert!(offset_of!(tallyport_listener_options, queue_events) == 64);
    assert!(offset_of!(tallyport_listener_options, queue_bytes) == 72);
};
