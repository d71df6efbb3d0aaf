//! The second, load-time type check of plugins built with the Rust SDK, by abi_stable.
//!
//! The only module that knows abi_stable. It carries no data and no calls: the loader reads the
//! C entry first, then asks here whether the Rust types behind it have the layout that this
//! build has, down to field names and number types, and compares the two tables' addresses.
//!
//! The types below are FROZEN for ABI 1.0: a plain struct that grew a field would be rejected,
//! so a new minor adds a module of new types and keeps these. `abi.rs` stays the contract.
//!
//! abi_stable 0.11.3 is no longer maintained (RUSTSEC-2024-0014): it is pinned, and dropping it
//! is dropping this file.

#![allow(missing_docs)] // the fields are those of abi.rs, where they are documented
#![allow(non_local_definitions, clippy::multiple_unsafe_ops_per_block)] // inside abi_stable's derive output

use abi_stable::{
    StableAbi,
    library::{AbiHeaderRef, CheckTypeLayout, LibHeader, RootModule, RootModuleResult},
    package_version_strings,
    sabi_types::VersionStrings,
};

use crate::abi;

/// Name of the static that [`export_plugin_set!`](crate::export_plugin_set) emits.
pub const SYMBOL: &core::ffi::CStr = c"tallyport_layout_v1_0";

/// ABI 1.0, frozen.
pub mod v1_0 {
    use abi_stable::StableAbi;

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Str {
        pub ptr: *const u8,
        pub len: usize,
    }

    macro_rules! opaque {
        ($($name:ident),*) => {$(
            #[repr(C)]
            #[derive(StableAbi, Clone, Copy)]
            pub struct $name {
                private: u8,
            }
        )*};
    }
    opaque!(Error, Sink, Exporter, HostData, Extension);

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Host {
        pub struct_size: u32,
        pub abi: u32,
        pub host_data: *mut HostData,
        pub log: Option<unsafe extern "C" fn(*const u8, i32, Str)>,
        pub error_set: Option<unsafe extern "C" fn(*const u8, *mut Error, i32, Str)>,
        pub error_detail: Option<unsafe extern "C" fn(*const u8, *mut Error, Str, Str)>,
        pub sink_write: Option<unsafe extern "C" fn(*const u8, *mut Sink, *const u8, usize) -> i32>,
        pub sink_reserve: Option<
            unsafe extern "C" fn(*const u8, *mut Sink, usize, *mut *mut u8, *mut usize) -> i32,
        >,
        pub sink_commit: Option<unsafe extern "C" fn(*const u8, *mut Sink, usize) -> i32>,
        pub mono_ns: Option<unsafe extern "C" fn(*const u8) -> u64>,
        pub get_service: Option<unsafe extern "C" fn(*const u8, Str) -> *const Extension>,
    }

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Call {
        pub struct_size: u32,
        pub flags: u32,
        pub call_id: u64,
        pub deadline_ns: u64,
        pub host_data: *mut HostData,
        pub is_cancelled: Option<unsafe extern "C" fn(*const u8) -> i32>,
        pub format: Str,
        pub traceparent: Str,
    }

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Family {
        pub name: u32,
        pub help: u32,
        pub unit: u32,
        pub kind: u32,
        pub number: u32,
        pub series_start: u32,
        pub series_count: u32,
        pub bounds_start: u32,
        pub bounds_count: u32,
        pub hist_start: u32,
        pub bucket_start: u64,
    }

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Range {
        pub start: u32,
        pub count: u32,
    }

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct LabelPair {
        pub name: u32,
        pub value: u32,
    }

    /// The element types of the columns, which the snapshot reaches through untyped memory.
    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Elements {
        pub str_off: *const u32,
        pub str_bytes: *const u8,
        pub families: *const Family,
        pub label_ranges: *const Range,
        pub label_pairs: *const LabelPair,
        pub hist_bounds: *const f64,
        pub created_ns: *const u64,
        pub value_bits: *const u64,
        pub hist_count: *const u64,
        pub hist_buckets: *const u64,
    }

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Region {
        pub base: *const u8,
        pub len: u64,
    }

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Column {
        pub id: u32,
        pub elem_size: u32,
        pub region: u32,
        pub flags: u32,
        pub count: u64,
        pub offset: u64,
    }

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Snapshot {
        pub struct_size: u32,
        pub flags: u32,
        pub schema_id: u64,
        pub time_unix_ns: u64,
        pub series_count: u64,
        pub region_count: u32,
        pub column_count: u32,
        pub regions: *const Region,
        pub columns: *const Column,
    }

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Format {
        pub name: Str,
        pub content_type: Str,
    }

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Plugin {
        pub struct_size: u32,
        pub abi: u32,
        pub caps: u64,
        pub id: Str,
        pub version: Str,
        pub vendor: Str,
        pub description: Str,
        pub formats: *const Format,
        pub format_count: u32,
        pub signals: u32,
        pub config_schema_json: Str,
        pub create:
            Option<unsafe extern "C" fn(*const Host, Str, *mut *mut Exporter, *mut Error) -> i32>,
        pub export_snapshot: Option<
            unsafe extern "C" fn(
                *mut Exporter,
                *const Call,
                *const Snapshot,
                *mut Sink,
                *mut Error,
            ) -> i32,
        >,
        pub flush: Option<unsafe extern "C" fn(*mut Exporter, *const Call, *mut Error) -> i32>,
        pub cancel: Option<unsafe extern "C" fn(*mut Exporter)>,
        pub shutdown: Option<unsafe extern "C" fn(*mut Exporter, *const Call, *mut Error) -> i32>,
        pub destroy: Option<unsafe extern "C" fn(*mut Exporter)>,
        pub after_fork_child: Option<unsafe extern "C" fn(*mut Exporter)>,
        pub get_extension: Option<unsafe extern "C" fn(Str) -> *const Extension>,
    }

    #[repr(C)]
    #[derive(StableAbi, Clone, Copy)]
    pub struct Set {
        pub struct_size: u32,
        pub count: u32,
        pub stride: u32,
        pub flags: u32,
        pub plugins: *const Plugin,
    }
}

// The frozen types describe the very structs of abi.rs.
const _: () = {
    assert!(size_of::<v1_0::Str>() == size_of::<abi::tallyport_str>());
    assert!(size_of::<v1_0::Host>() == size_of::<abi::tallyport_host>());
    assert!(size_of::<v1_0::Call>() == size_of::<abi::tallyport_call>());
    assert!(size_of::<v1_0::Family>() == size_of::<abi::tallyport_family>());
    assert!(size_of::<v1_0::Region>() == size_of::<abi::tallyport_region>());
    assert!(size_of::<v1_0::Column>() == size_of::<abi::tallyport_column>());
    assert!(size_of::<v1_0::Snapshot>() == size_of::<abi::tallyport_snapshot>());
    assert!(size_of::<v1_0::Format>() == size_of::<abi::tallyport_format>());
    assert!(size_of::<v1_0::Plugin>() == size_of::<abi::tallyport_plugin_v1>());
    assert!(size_of::<v1_0::Set>() == size_of::<abi::tallyport_plugin_set>());
};

/// abi_stable's root module: the way to the exporters, typed.
#[repr(C)]
#[derive(StableAbi)]
#[sabi(kind(Prefix(prefix_ref = RootRef)))]
#[sabi(missing_field(panic))]
pub struct Root {
    /// The same table that `tallyport_plugin_query_v1` returns.
    pub set: extern "C" fn() -> *const v1_0::Set,
    /// Types that no field above reaches.
    #[sabi(last_prefix_field)]
    pub elements: extern "C" fn() -> *const v1_0::Elements,
}

impl RootModule for RootRef {
    abi_stable::declare_root_module_statics! {RootRef}
    const BASE_NAME: &'static str = "tallyport_plugin";
    const NAME: &'static str = "tallyport_plugin";
    const VERSION_STRINGS: VersionStrings = package_version_strings!();
}

/// The static that a Rust plugin exports; made by [`header`].
pub type Header = LibHeader;

/// The header of a plugin file whose root module `constructor` makes; for the export macro.
#[must_use]
pub const fn header(constructor: extern "C" fn() -> RootModuleResult) -> Header {
    // SAFETY: `constructor` is made by the export macro and returns what `root` made: a RootRef,
    // erased. Test: rust_plugin_passes_the_layout_check.
    unsafe { LibHeader::from_constructor::<RootRef>(constructor, CheckTypeLayout::Yes) }
}

/// Result of a root module constructor; for the export macro.
pub type Constructed = RootModuleResult;

/// Makes the erased root module; for the export macro.
pub extern "C" fn root(set: extern "C" fn() -> *const v1_0::Set) -> RootModuleResult {
    use abi_stable::prefix_type::{PrefixRefTrait, PrefixTypeTrait};
    extern "C" fn elements() -> *const v1_0::Elements {
        core::ptr::null()
    }
    // Leaked, once per file and process: abi_stable keeps it for ever.
    let module = Root { set, elements }.leak_into_prefix();
    // SAFETY: erasing the pointee's type of a prefix reference is what RootModuleResult asks for.
    RootModuleResult::ROk(unsafe { module.to_prefix_ref().cast() })
}

/// Checks the Rust types behind a loaded plugin's tables.
///
/// # Errors
/// What differs: one line for the error, then the full difference for the log.
///
/// # Safety
/// `symbol` is the address of the static [`SYMBOL`] in a library that stays mapped. Its layout
/// functions are the plugin's code: call this after every check that keeps bad files out.
pub unsafe fn check(
    symbol: *const (),
    set: *const abi::tallyport_plugin_set,
) -> Result<(), [String; 2]> {
    let fail = |error: &dyn core::fmt::Display| {
        let full = error.to_string();
        let line = full.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("differs");
        Err([line.to_owned(), full.clone()])
    };
    // SAFETY: an AbiHeaderRef is one pointer to the header that every version of abi_stable
    // begins with; the caller vouches for the address. Test: rust_plugin_passes_the_layout_check.
    let header = unsafe { core::mem::transmute::<*const (), AbiHeaderRef>(symbol) };
    let header = match header.upgrade() {
        Ok(header) => header,
        Err(error) => return fail(&error),
    };
    match header.init_root_module::<RootRef>() {
        Ok(root) if core::ptr::addr_eq(root.set()(), set) => Ok(()),
        Ok(_) => fail(&"the Rust root module and the C entry return different tables"),
        Err(error) => fail(&error),
    }
}
