//! The host's side of shared memory: memory files (memfd) that are written and read like files.
//!
//! The host maps none of them, so a helper that cuts one makes a short read here and not a SIGBUS.
//! Sizes are sealed, which is what the helper, which does map them, relies on. Of the schema's the
//! content is sealed too. The values' file is written again for each export: pages that exist cost
//! a fifth of new ones.

use std::{
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileExt,
    },
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use tallyport_plugin_api::abi::{TALLYPORT_COLUMN_VALUE_BITS, tallyport_column};

use super::messages::Slots;
use crate::snapshot::Snapshot;

/// Slots of output, and the bytes of each: what fits into a core's cache, and is filled while the
/// one before is emptied.
pub(super) const SLOTS: Slots = Slots { count: 8, bytes: 256 * 1024 };

/// Columns begin at multiples of this: more than any element needs.
const ALIGN: u64 = 64;
/// No file is empty, because an empty one cannot be mapped.
const MIN_BYTES: u64 = 4096;

/// A memory file of a fixed size.
#[derive(Debug)]
pub(super) struct MemoryFile {
    file: File,
    len: u64,
}

impl MemoryFile {
    /// Zeroed memory that neither side can make shorter or longer.
    pub(super) fn new(name: &str, len: u64) -> io::Result<Self> {
        let len = len.max(MIN_BYTES);
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = File::from(memfd_create(name, flags)?);
        ftruncate(&file, len)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(Self { file, len })
    }

    /// Nobody writes to it any more.
    fn freeze(&self) -> io::Result<()> {
        Ok(fcntl_add_seals(&self.file, SealFlags::WRITE | SealFlags::SEAL)?)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    pub(super) fn read(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(into, at)
    }

    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Where the columns of a snapshot go: schema columns in region 0, value columns in region 1.
#[derive(Debug)]
pub(super) struct Plan {
    /// As they are in the helper, in the snapshot's order.
    pub(super) columns: Vec<tallyport_column>,
    schema_bytes: u64,
    pub(super) values_bytes: u64,
}

const VALUES: u32 = 1;

impl Plan {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut ends = [0_u64; 2];
        let columns = snapshot.columns.iter().map(|column| {
            // Ids under that of the values are the schema's, by the ABI.
            let values = column.id >= TALLYPORT_COLUMN_VALUE_BITS;
            let [schema_end, values_end] = &mut ends;
            let end = if values { values_end } else { schema_end };
            let offset = end.next_multiple_of(ALIGN);
            *end = offset + snapshot.column_bytes(column).len() as u64;
            tallyport_column { region: u32::from(values), offset, ..*column }
        });
        let columns = columns.collect();
        let [schema_bytes, values_bytes] = ends;
        Self { columns, schema_bytes, values_bytes }
    }

    /// A new file of the schema columns, for good.
    pub(super) fn schema(&self, snapshot: &Snapshot) -> io::Result<MemoryFile> {
        let file = MemoryFile::new("tallyport-schema", self.schema_bytes)?;
        self.copy(snapshot, &file, |region| region != VALUES)?;
        file.freeze()?;
        Ok(file)
    }

    /// Writes the value columns to a file that is long enough.
    pub(super) fn values(&self, snapshot: &Snapshot, file: &MemoryFile) -> io::Result<()> {
        self.copy(snapshot, file, |region| region == VALUES)
    }

    fn copy(
        &self,
        snapshot: &Snapshot,
        file: &MemoryFile,
        wanted: impl Fn(u32) -> bool,
    ) -> io::Result<()> {
        for (from, to) in snapshot.columns.iter().zip(&self.columns) {
            if wanted(to.region) {
                file.write(snapshot.column_bytes(from), to.offset)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;

    #[test]
    fn a_memory_file_keeps_its_size_and_a_frozen_one_its_content() {
        let file = MemoryFile::new("test", 5).unwrap();
        assert_eq!(file.len(), MIN_BYTES);
        file.write(b"abc", 1).unwrap();
        assert!(file.write(b"abc", MIN_BYTES - 1).is_err(), "it does not grow");
        assert!(file.file.set_len(0).is_err(), "it does not shrink");
        file.freeze().unwrap();
        assert!(file.write(b"x", 0).is_err());
        let mut bytes = [0; 4];
        file.read(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0abc");
        assert!(file.read(&mut bytes, MIN_BYTES - 2).is_err(), "a short read is an error");
    }

    #[test]
    fn columns_of_schema_and_values_go_to_their_own_memory() {
        let engine = Engine::builder().build().unwrap();
        engine.metrics().counter("c_total", &[("a", "b")]).unwrap().add(7);
        let snapshot = engine.snapshot().unwrap();
        let plan = Plan::of(&snapshot);
        let schema = plan.schema(&snapshot).unwrap();
        let values = MemoryFile::new("values", plan.values_bytes).unwrap();
        plan.values(&snapshot, &values).unwrap();
        for (from, to) in snapshot.columns.iter().zip(&plan.columns) {
            let mut bytes = vec![0; (to.count * u64::from(to.elem_size)) as usize];
            let file = if to.id < 32 { &schema } else { &values };
            file.read(&mut bytes, to.offset).unwrap();
            assert_eq!(bytes, snapshot.column_bytes(from), "column {}", to.id);
            assert_eq!(to.offset % ALIGN, 0);
        }
    }
}
