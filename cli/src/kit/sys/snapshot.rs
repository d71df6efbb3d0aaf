//! Snapshots in guarded memory, in shapes that the ABI allows and our own host never makes.

use std::slice;

use tallyport_plugin_api::{
    abi::{
        TALLYPORT_COLUMN_FAMILIES, tallyport_column, tallyport_family, tallyport_region,
        tallyport_snapshot,
    },
    testing::Frozen,
};

use super::{
    call::Age,
    memory::{Loan, bytes_of},
};
use crate::rng::Rng;

/// What a careless reader may read behind a region without a fault, unless columns lie apart.
const ROOM: usize = 256;

/// How a snapshot is laid out.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Layout {
    pub(crate) age: Age,
    /// One region for each column, each against a guard page; else one for schema, one for values,
    /// with room behind them.
    pub(crate) apart: bool,
    /// Read-only memory.
    pub(crate) locked: bool,
    /// Columns in an order by this seed; 0: in the order of their ids.
    pub(crate) shuffled: u64,
    /// Flags that nobody knows, in the table and in the columns, and a column that nobody knows.
    pub(crate) unknown: bool,
}

/// A snapshot that is lent until it is dropped or closed.
#[derive(Debug)]
pub(crate) struct Lent {
    table: Loan,
    parts: Vec<Loan>,
}

/// Bytes of a column, and what the table says of it.
struct Column {
    entry: tallyport_column,
    bytes: Vec<u8>,
}

impl Lent {
    pub(crate) fn new(frozen: &Frozen, layout: Layout) -> Result<Self, String> {
        let (table, mut columns) = frozen.lend(read)?;
        if layout.age == Age::Newer {
            columns.iter_mut().for_each(widen);
        }
        if layout.unknown {
            let entry = tallyport_column {
                id: 0x4000_0001,
                elem_size: 24,
                region: 1,
                flags: 1 << 31,
                count: 3,
                offset: 0,
            };
            columns.push(Column { entry, bytes: vec![0xEE; 72] });
            columns.iter_mut().for_each(|column| column.entry.flags |= 1 << 30);
        }
        if layout.shuffled != 0 {
            Rng::new(layout.shuffled).shuffle(&mut columns);
        }
        let mut parts = Vec::new();
        let mut regions = Vec::new();
        if layout.apart {
            for (index, column) in columns.iter_mut().enumerate() {
                column.entry.region = index as u32;
                column.entry.offset = 0;
                parts.push(Loan::of(&column.bytes, 8)?);
                regions.push(column.bytes.len());
            }
        } else {
            for region in 0..2 {
                let mut bytes: Vec<u8> = Vec::new();
                for column in columns.iter_mut().filter(|column| column.entry.region == region) {
                    bytes.resize(bytes.len().next_multiple_of(8), 0);
                    column.entry.offset = bytes.len() as u64;
                    bytes.extend_from_slice(&column.bytes);
                }
                regions.push(bytes.len());
                bytes.resize(bytes.len() + ROOM, 0);
                parts.push(Loan::of(&bytes, 8)?);
            }
        }
        let regions = parts.iter().zip(regions);
        let regions: Vec<_> = regions
            .map(|(loan, len)| tallyport_region { base: loan.start(), len: len as u64 })
            .collect();
        Self::table(&table, layout, parts, &regions, &columns)
    }

    fn table(
        from: &tallyport_snapshot,
        layout: Layout,
        mut parts: Vec<Loan>,
        regions: &[tallyport_region],
        columns: &[Column],
    ) -> Result<Self, String> {
        let rows: Vec<u8> =
            regions.iter().flat_map(|row| bytes_of(row, size_of_val(row))).collect();
        let entries = columns.iter().map(|column| column.entry);
        let entries: Vec<u8> = entries.flat_map(|row| bytes_of(&row, size_of_val(&row))).collect();
        let (rows, entries) = (Loan::of(&rows, 8)?, Loan::of(&entries, 8)?);
        let own = size_of::<tallyport_snapshot>();
        let size = if layout.age == Age::Newer { own + 40 } else { own };
        let table = tallyport_snapshot {
            struct_size: size as u32,
            flags: if layout.unknown { 1 << 31 } else { 0 },
            region_count: regions.len() as u32,
            column_count: columns.len() as u32,
            regions: rows.start().cast(),
            columns: entries.start().cast(),
            ..*from
        };
        let table = Loan::of(&bytes_of(&table, size), 8)?;
        parts.extend([rows, entries]);
        if layout.locked {
            parts.iter().chain([&table]).try_for_each(Loan::lock)?;
        }
        Ok(Self { table, parts })
    }

    pub(crate) fn table_ptr(&self) -> *const tallyport_snapshot {
        self.table.start().cast()
    }

    /// Ends the loan: whoever still reads faults. The addresses stay taken until it is dropped.
    pub(crate) fn close(&self) -> Result<(), String> {
        self.table.close()?;
        self.parts.iter().try_for_each(Loan::close)
    }
}

/// Copies the columns of a snapshot that the SDK's fixture lends.
fn read(table: *const tallyport_snapshot) -> Result<(tallyport_snapshot, Vec<Column>), String> {
    // SAFETY: `Frozen::lend` hands over a whole table.
    let table = unsafe { table.read() };
    // SAFETY: as many regions as the table says lie there, during the call.
    let regions = unsafe { slice::from_raw_parts(table.regions, table.region_count as usize) };
    // SAFETY: as many columns as the table says lie there, during the call.
    let columns = unsafe { slice::from_raw_parts(table.columns, table.column_count as usize) };
    let column = |entry: &tallyport_column| {
        let region = regions.get(entry.region as usize).ok_or("the fixture has no such region")?;
        let len = usize::try_from(entry.count * u64::from(entry.elem_size)).unwrap_or(0);
        let first = region.base.wrapping_add(usize::try_from(entry.offset).unwrap_or(0));
        // SAFETY: the fixture places its columns inside its regions.
        let bytes = unsafe { slice::from_raw_parts(first, len) };
        Ok(Column { entry: *entry, bytes: bytes.to_vec() })
    };
    let columns: Result<Vec<_>, &str> = columns.iter().map(column).collect();
    Ok((table, columns?))
}

/// Rows of families as a later minor writes them: longer, with bytes that mean nothing here.
fn widen(column: &mut Column) {
    let own = size_of::<tallyport_family>();
    if column.entry.id != TALLYPORT_COLUMN_FAMILIES || column.entry.elem_size as usize != own {
        return;
    }
    let rows = column.bytes.chunks(own);
    column.bytes = rows.flat_map(|row| row.iter().copied().chain([0xEE; 16])).collect();
    column.entry.elem_size += 16;
}
