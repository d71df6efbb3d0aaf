//! Structs that a host fills in. They grow at the end; zero in a field means its default.

use std::ffi::c_void;

use tallyport_core::{metrics::Cells, model::Error};
use tallyport_plugin_api::abi::tallyport_str;

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
}

/// What a family is, for tallyport_describe.
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
    /// 0.
    pub reserved: u32,
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
}

/// Sizes and offsets: part of the ABI.
const _: () = {
    use std::mem::offset_of;
    assert!(size_of::<tallyport_label>() == 32);
    assert!(offset_of!(tallyport_label, value) == 16);
    assert!(size_of::<tallyport_engine_options>() == 136);
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
    assert!(offset_of!(tallyport_family_options, reserved) == 84);
    assert!(size_of::<tallyport_plugin_options>() == 72);
    assert!(offset_of!(tallyport_plugin_options, flags) == 4);
    assert!(offset_of!(tallyport_plugin_options, name) == 8);
    assert!(offset_of!(tallyport_plugin_options, path) == 24);
    assert!(offset_of!(tallyport_plugin_options, exporter) == 40);
    assert!(offset_of!(tallyport_plugin_options, options_json) == 56);
};
