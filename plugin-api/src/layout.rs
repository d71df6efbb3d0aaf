//! The ABI's layout, once: asserted at compile time, hashed for the file descriptor, and read
//! by `cargo xtask headers` to write the same assertions into the C header.
//!
//! A change of a number here is a change of the ABI. It owns no types; see `abi.rs`.

use crate::abi::*;

/// Size, alignment and field offsets of one ABI struct, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct TypeLayout {
    /// The C name.
    pub name: &'static str,
    /// `sizeof`.
    pub size: usize,
    /// Fields in order, with `offsetof`.
    pub fields: &'static [(&'static str, usize)],
}

macro_rules! layouts {
    ($($name:ident = $size:literal { $($field:ident: $offset:literal),* $(,)? })*) => {
        $(
            const _: () = assert!(size_of::<$name>() == $size);
            $(const _: () = assert!(core::mem::offset_of!($name, $field) == $offset);)*
        )*
        /// Every struct of the ABI.
        pub const LAYOUTS: &[TypeLayout] = &[
            $(TypeLayout {
                name: stringify!($name),
                size: $size,
                fields: &[$((stringify!($field), $offset)),*],
            }),*
        ];
    };
}

layouts! {
    tallyport_str = 16 { ptr: 0, len: 8 }
    tallyport_host = 80 {
        struct_size: 0, abi: 4, host_data: 8, log: 16, error_set: 24, error_detail: 32,
        sink_write: 40, sink_reserve: 48, sink_commit: 56, mono_ns: 64, get_service: 72,
    }
    tallyport_call = 72 {
        struct_size: 0, flags: 4, call_id: 8, deadline_ns: 16, host_data: 24, is_cancelled: 32,
        format: 40, traceparent: 56,
    }
    tallyport_family = 48 {
        name: 0, help: 4, unit: 8, kind: 12, number: 16, series_start: 20, series_count: 24,
        bounds_start: 28, bounds_count: 32, hist_start: 36, bucket_start: 40,
    }
    tallyport_range = 8 { start: 0, count: 4 }
    tallyport_label_pair = 8 { name: 0, value: 4 }
    tallyport_region = 16 { base: 0, len: 8 }
    tallyport_column = 32 { id: 0, elem_size: 4, region: 8, flags: 12, count: 16, offset: 24 }
    tallyport_snapshot = 56 {
        struct_size: 0, flags: 4, schema_id: 8, time_unix_ns: 16, series_count: 24,
        region_count: 32, column_count: 36, regions: 40, columns: 48,
    }
    tallyport_format = 32 { name: 0, content_type: 16 }
    tallyport_plugin_v1 = 176 {
        struct_size: 0, abi: 4, caps: 8, id: 16, version: 32, vendor: 48, description: 64,
        formats: 80, format_count: 88, signals: 92, config_schema_json: 96, create: 112,
        export_snapshot: 120, flush: 128, cancel: 136, shutdown: 144, destroy: 152,
        after_fork_child: 160, get_extension: 168,
    }
    tallyport_export_result = 24 { struct_size: 0, status: 4, bytes: 8, duration_ns: 16 }
    tallyport_sync_result = 64 {
        struct_size: 0, syncs: 4, series: 8, bytes: 16, duration_ns: 24, store: 32, strategy: 48,
    }
    tallyport_lifecycle_v1 = 32 {
        struct_size: 0, flags: 4, on_export_request: 8, on_export_complete: 16, on_sync: 24,
    }
    tallyport_plugin_set = 24 { struct_size: 0, count: 4, stride: 8, flags: 12, plugins: 16 }
    tallyport_file_desc = 128 {
        magic: 0, struct_size: 8, abi: 12, layout_hash: 16, flags: 24, id: 32, version: 96,
    }
}

const _: () = assert!(
    TALLYPORT_PLUGIN_ABI == (TALLYPORT_PLUGIN_ABI_MAJOR << 16) | TALLYPORT_PLUGIN_ABI_MINOR
);

/// Hash of every name, size and offset above, in order (FNV-1a, 64 bit).
pub const TALLYPORT_PLUGIN_LAYOUT_HASH: u64 = hash_layouts();

const fn hash_layouts() -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut types = LAYOUTS;
    while let [first, rest @ ..] = types {
        hash = hash_name(hash, first.name.as_bytes());
        hash = hash_byte_string(hash, &(first.size as u64).to_le_bytes());
        let mut fields = first.fields;
        while let [(name, offset), more @ ..] = fields {
            hash = hash_name(hash, name.as_bytes());
            hash = hash_byte_string(hash, &(*offset as u64).to_le_bytes());
            fields = more;
        }
        types = rest;
    }
    hash
}

const fn hash_name(hash: u64, name: &[u8]) -> u64 {
    hash_byte_string(hash_byte_string(hash, name), b"\0")
}

const fn hash_byte_string(mut hash: u64, mut bytes: &[u8]) -> u64 {
    while let [first, rest @ ..] = bytes {
        hash = (hash ^ *first as u64).wrapping_mul(0x0000_0100_0000_01b3);
        bytes = rest;
    }
    hash
}
