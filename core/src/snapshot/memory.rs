//! A snapshot's memory: blocks of typed rows, lent through the ABI's tables.
//!
//! The one place of this floor where rows become bytes and a table becomes pointers.

use std::{fmt, slice, sync::Arc};

use super::GaugeModes;
use tallyport_plugin_api::{
    self as api,
    abi::{
        tallyport_column, tallyport_family, tallyport_label_pair, tallyport_range,
        tallyport_region, tallyport_snapshot,
    },
};

/// Types that a column may hold.
///
/// # Safety
/// No padding, no pointer, valid for any bytes.
pub(crate) unsafe trait Row: Send + Sync + 'static {}
// SAFETY: plain numbers.
unsafe impl Row for u8 {}
// SAFETY: plain numbers.
unsafe impl Row for u32 {}
// SAFETY: plain numbers.
unsafe impl Row for u64 {}
// SAFETY: plain numbers; every bit pattern is an f64.
unsafe impl Row for f64 {}
// SAFETY: repr(C), ten u32 and one u64 in 48 bytes: no padding (asserted in plugin-api/layout.rs).
unsafe impl Row for tallyport_family {}
// SAFETY: repr(C), two u32 in 8 bytes.
unsafe impl Row for tallyport_range {}
// SAFETY: repr(C), two u32 in 8 bytes.
unsafe impl Row for tallyport_label_pair {}

/// Rows of one type, seen as bytes.
pub(crate) trait Block: Send + Sync {
    fn bytes(&self) -> &[u8];
}

impl<T: Row> Block for Vec<T> {
    fn bytes(&self) -> &[u8] {
        bytes_of(self)
    }
}

/// The bytes of rows.
pub(crate) fn bytes_of<T: Row>(rows: &[T]) -> &[u8] {
    // SAFETY: a Row has no padding, so every byte is initialised, and u8 needs no alignment.
    // Test: a_saved_snapshot_is_read_back_as_it_was.
    unsafe { slice::from_raw_parts(rows.as_ptr().cast(), size_of_val(rows)) }
}

/// The bytes of rows, to be filled.
pub(crate) fn bytes_of_mut<T: Row>(rows: &mut [T]) -> &mut [u8] {
    // SAFETY: as in `bytes_of`, and a Row is valid for any bytes.
    unsafe { slice::from_raw_parts_mut(rows.as_mut_ptr().cast(), size_of_val(rows)) }
}

/// Metrics at one time: immutable, cheap to clone, sent between threads freely.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) schema_id: u64,
    pub(crate) time_unix_ns: u64,
    pub(crate) series_count: u64,
    pub(crate) blocks: Vec<Arc<dyn Block>>,
    pub(crate) columns: Vec<tallyport_column>,
    /// Of the gauges that have one; exporters see none of it.
    pub(crate) modes: Arc<GaugeModes>,
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("schema_id", &self.schema_id)
            .field("time_unix_ns", &self.time_unix_ns)
            .field("series_count", &self.series_count)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Adds a column that is a block of its own.
    pub(crate) fn push<T: Row>(&mut self, id: u32, rows: Arc<Vec<T>>) {
        self.columns.push(tallyport_column {
            id,
            elem_size: size_of::<T>() as u32,
            region: self.blocks.len() as u32,
            flags: 0,
            count: rows.len() as u64,
            offset: 0,
        });
        self.blocks.push(rows);
    }

    /// Bytes of a column, for what writes snapshots elsewhere.
    pub(crate) fn column_bytes(&self, column: &tallyport_column) -> &[u8] {
        let block = self.blocks.get(column.region as usize).map_or(&[][..], |block| block.bytes());
        let start = column.offset as usize;
        let len = (column.count * u64::from(column.elem_size)) as usize;
        block.get(start..start + len).unwrap_or(&[])
    }

    /// Lends the snapshot in the ABI's shape.
    pub(crate) fn lend<R>(&self, borrower: impl FnOnce(&tallyport_snapshot) -> R) -> R {
        let regions: Vec<tallyport_region> = self
            .blocks
            .iter()
            .map(|block| block.bytes())
            .map(|bytes| tallyport_region { base: bytes.as_ptr(), len: bytes.len() as u64 })
            .collect();
        borrower(&tallyport_snapshot {
            struct_size: size_of::<tallyport_snapshot>() as u32,
            flags: 0,
            schema_id: self.schema_id,
            time_unix_ns: self.time_unix_ns,
            series_count: self.series_count,
            region_count: regions.len() as u32,
            column_count: self.columns.len() as u32,
            regions: regions.as_ptr(),
            columns: self.columns.as_ptr(),
        })
    }

    /// Reads the snapshot as an exporter does.
    ///
    /// # Errors
    /// Whatever `reader` answers; Damaged for a snapshot that breaks its own tables.
    pub fn read<R, E: From<api::Error>>(
        &self,
        reader: impl FnOnce(&api::Snapshot<'_>) -> Result<R, E>,
    ) -> Result<R, E> {
        self.lend(|raw| {
            // SAFETY: the tables point to blocks that `self` keeps alive and nobody writes.
            // Test: a_saved_snapshot_is_read_back_as_it_was.
            let view = unsafe { api::Snapshot::from_abi(raw) }?;
            reader(&view)
        })
    }

    /// Number of series.
    #[must_use]
    pub fn series_count(&self) -> u64 {
        self.series_count
    }

    /// Identity of the schema, unique in the process.
    #[must_use]
    pub fn schema_id(&self) -> u64 {
        self.schema_id
    }

    /// When the values were read, in nanoseconds since the Unix epoch.
    #[must_use]
    pub fn time_unix_ns(&self) -> u64 {
        self.time_unix_ns
    }
}
