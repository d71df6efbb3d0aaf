//! A snapshot made by hand: rows go in as Rust values and come out as the ABI's columns.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    Error, Kind, Number, Snapshot, Value,
    abi::{
        TALLYPORT_COLUMN_CREATED_NS, TALLYPORT_COLUMN_FAMILIES, TALLYPORT_COLUMN_HIST_BOUNDS,
        TALLYPORT_COLUMN_HIST_BUCKETS, TALLYPORT_COLUMN_HIST_COUNT, TALLYPORT_COLUMN_LABEL_PAIRS,
        TALLYPORT_COLUMN_LABEL_RANGES, TALLYPORT_COLUMN_STR_BYTES, TALLYPORT_COLUMN_STR_OFF,
        TALLYPORT_COLUMN_VALUE_BITS, TALLYPORT_KIND_HISTOGRAM, tallyport_column, tallyport_family,
        tallyport_label_pair, tallyport_range, tallyport_region, tallyport_snapshot,
    },
};

static SCHEMAS: AtomicU64 = AtomicU64::new(1);

/// Families and series, to be lent as a snapshot.
#[derive(Debug, Clone, Default)]
pub struct Fixture {
    schema_id: u64,
    time_unix_ns: u64,
    ids: HashMap<String, u32>,
    strings: Vec<String>,
    families: Vec<tallyport_family>,
    label_ranges: Vec<tallyport_range>,
    label_pairs: Vec<tallyport_label_pair>,
    bounds: Vec<f64>,
    created_ns: Vec<u64>,
    values: Vec<u64>,
    hist_count: Vec<u64>,
    hist_buckets: Vec<u64>,
}

impl Fixture {
    /// An empty snapshot whose values were read at `time_unix_ns`.
    #[must_use]
    pub fn at(time_unix_ns: u64) -> Self {
        let mut fixture = Self { time_unix_ns, ..Self::default() };
        fixture.schema_changed();
        let _empty = fixture.string("");
        fixture
    }

    /// Adds a family; its series follow on what is returned. For histograms see `histogram`.
    pub fn family(&mut self, name: &str, kind: Kind, number: Number) -> FamilyRows<'_> {
        self.row(name, kind.to_abi(), number.to_abi(), &[])
    }

    /// Adds a family of histograms with these finite upper bounds.
    pub fn histogram(&mut self, name: &str, bounds: &[f64]) -> FamilyRows<'_> {
        self.row(name, TALLYPORT_KIND_HISTOGRAM, Number::F64.to_abi(), bounds)
    }

    /// Adds a family with a kind and a number type that need not be known.
    pub fn unknown(&mut self, name: &str, kind: u32, number: u32) -> FamilyRows<'_> {
        self.row(name, kind, number, &[])
    }

    /// Replaces the value of the `row`-th series; the schema stays the same.
    pub fn set(&mut self, row: usize, value: Value) {
        if let Some(slot) = self.values.get_mut(row) {
            *slot = bits(value);
        }
    }

    fn row(&mut self, name: &str, kind: u32, number: u32, bounds: &[f64]) -> FamilyRows<'_> {
        self.schema_changed();
        let row = tallyport_family {
            name: self.string(name),
            help: 0,
            unit: 0,
            kind,
            number,
            series_start: self.values.len() as u32,
            series_count: 0,
            bounds_start: self.bounds.len() as u32,
            bounds_count: bounds.len() as u32,
            hist_start: self.hist_count.len() as u32,
            bucket_start: self.hist_buckets.len() as u64,
        };
        self.bounds.extend_from_slice(bounds);
        FamilyRows { fixture: self, row, created_ns: 0 }
    }

    fn schema_changed(&mut self) {
        self.schema_id = SCHEMAS.fetch_add(1, Ordering::Relaxed);
    }

    fn string(&mut self, text: &str) -> u32 {
        if let Some(&id) = self.ids.get(text) {
            return id;
        }
        let id = self.strings.len() as u32;
        self.ids.insert(text.to_owned(), id);
        self.strings.push(text.to_owned());
        id
    }

    /// Lays the columns out: schema columns in one region, value columns in another.
    #[must_use]
    pub fn freeze(&self) -> Frozen {
        let mut offsets = vec![0_u32];
        let mut text = Vec::new();
        for string in &self.strings {
            text.extend_from_slice(string.as_bytes());
            offsets.push(text.len() as u32);
        }
        let families = self.families.iter().flat_map(|family| {
            let words = [
                family.name,
                family.help,
                family.unit,
                family.kind,
                family.number,
                family.series_start,
                family.series_count,
                family.bounds_start,
                family.bounds_count,
                family.hist_start,
            ];
            let start = family.bucket_start.to_ne_bytes();
            words.into_iter().flat_map(u32::to_ne_bytes).chain(start).collect::<Vec<u8>>()
        });
        let ranges = self.label_ranges.iter().flat_map(|range| [range.start, range.count]);
        let pairs = self.label_pairs.iter().flat_map(|pair| [pair.name, pair.value]);

        let mut schema = Region::new(0);
        schema.column(TALLYPORT_COLUMN_STR_OFF, 4, offsets.into_iter().flat_map(u32::to_ne_bytes));
        schema.column(TALLYPORT_COLUMN_STR_BYTES, 1, text);
        schema.column(TALLYPORT_COLUMN_FAMILIES, 48, families);
        schema.column(TALLYPORT_COLUMN_LABEL_RANGES, 8, ranges.flat_map(u32::to_ne_bytes));
        schema.column(TALLYPORT_COLUMN_LABEL_PAIRS, 8, pairs.flat_map(u32::to_ne_bytes));
        let bounds = self.bounds.iter().map(|bound| bound.to_bits());
        schema.column(TALLYPORT_COLUMN_HIST_BOUNDS, 8, bounds.flat_map(u64::to_ne_bytes));
        schema.words(TALLYPORT_COLUMN_CREATED_NS, &self.created_ns);
        let mut values = Region::new(1);
        values.words(TALLYPORT_COLUMN_VALUE_BITS, &self.values);
        values.words(TALLYPORT_COLUMN_HIST_COUNT, &self.hist_count);
        values.words(TALLYPORT_COLUMN_HIST_BUCKETS, &self.hist_buckets);
        // A column of a later version, to be skipped.
        values.words(9_999, &[1, 2, 3]);

        let columns = schema.columns.iter().chain(&values.columns).copied().collect();
        Frozen {
            schema_id: self.schema_id,
            time_unix_ns: self.time_unix_ns,
            series_count: self.values.len() as u64,
            regions: [schema.aligned(), values.aligned()],
            columns,
        }
    }
}

/// The family that was added last: what it means, and its series.
#[derive(Debug)]
pub struct FamilyRows<'a> {
    fixture: &'a mut Fixture,
    row: tallyport_family,
    created_ns: u64,
}

impl FamilyRows<'_> {
    /// Sets the help text.
    #[must_use = "the family is added when this is dropped; call series or drop it"]
    pub fn help(mut self, help: &str) -> Self {
        self.row.help = self.fixture.string(help);
        self
    }

    /// Sets the unit.
    #[must_use = "the family is added when this is dropped; call series or drop it"]
    pub fn unit(mut self, unit: &str) -> Self {
        self.row.unit = self.fixture.string(unit);
        self
    }

    /// Sets the creation time of the series that follow, in nanoseconds since the Unix epoch.
    #[must_use = "applies to the series that follow"]
    pub fn created(mut self, created_ns: u64) -> Self {
        self.created_ns = created_ns;
        self
    }

    /// Adds a series. Labels are taken in the given order: give them sorted by name.
    #[allow(clippy::return_self_not_must_use)] // the series is added already
    pub fn series(mut self, labels: &[(&str, &str)], value: Value) -> Self {
        let fixture = &mut *self.fixture;
        let start = fixture.label_pairs.len() as u32;
        for (name, text) in labels {
            let pair =
                tallyport_label_pair { name: fixture.string(name), value: fixture.string(text) };
            fixture.label_pairs.push(pair);
        }
        fixture.label_ranges.push(tallyport_range { start, count: labels.len() as u32 });
        fixture.created_ns.push(self.created_ns);
        fixture.values.push(bits(value));
        self.row.series_count += 1;
        self
    }

    /// Adds a histogram series with these bucket counts, not cumulative, up to +Inf.
    #[allow(clippy::return_self_not_must_use)] // the series is added already
    pub fn observed(self, labels: &[(&str, &str)], buckets: &[u64], sum: f64) -> Self {
        let width = self.row.bounds_count as usize + 1;
        let counts = buckets.iter().copied().chain(std::iter::repeat(0)).take(width);
        let before = self.fixture.hist_buckets.len();
        self.fixture.hist_buckets.extend(counts);
        let total = self.fixture.hist_buckets.iter().skip(before).sum();
        self.fixture.hist_count.push(total);
        self.series(labels, Value::F64(sum))
    }
}

impl Drop for FamilyRows<'_> {
    fn drop(&mut self) {
        self.fixture.families.push(self.row);
    }
}

fn bits(value: Value) -> u64 {
    match value {
        Value::F64(value) => value.to_bits(),
        Value::U64(value) => value,
        Value::I64(value) => value.cast_unsigned(),
    }
}

/// Columns in memory, as a host lends them.
#[derive(Debug, Clone)]
pub struct Frozen {
    schema_id: u64,
    time_unix_ns: u64,
    series_count: u64,
    regions: [Vec<u64>; 2],
    columns: Vec<tallyport_column>,
}

impl Frozen {
    /// The safe view of it.
    ///
    /// # Errors
    /// DAMAGED, when columns were tampered with.
    pub fn view(&self) -> Result<Snapshot<'_>, Error> {
        // SAFETY: the table lives during the call and the regions as long as `self`, unchanged.
        // Test: a_snapshot_with_a_misplaced_column_is_damaged.
        self.lend(|table| unsafe { Snapshot::from_abi(table) })
    }

    /// The column table, to be damaged. Offsets and sizes only: there is no pointer in it.
    pub fn columns_mut(&mut self) -> &mut Vec<tallyport_column> {
        &mut self.columns
    }

    /// Lends the ABI's table, which is valid until `read` returns.
    pub fn lend<R>(&self, read: impl FnOnce(*const tallyport_snapshot) -> R) -> R {
        let regions = self.regions.each_ref().map(|words| tallyport_region {
            base: words.as_ptr().cast(),
            len: size_of_val(words.as_slice()) as u64,
        });
        let table = tallyport_snapshot {
            struct_size: size_of::<tallyport_snapshot>() as u32,
            flags: 0,
            schema_id: self.schema_id,
            time_unix_ns: self.time_unix_ns,
            series_count: self.series_count,
            region_count: regions.len() as u32,
            column_count: self.columns.len() as u32,
            regions: regions.as_ptr(),
            columns: self.columns.as_ptr(),
        };
        read(&raw const table)
    }
}

/// Columns of one region while they are laid out.
struct Region {
    index: u32,
    bytes: Vec<u8>,
    columns: Vec<tallyport_column>,
}

impl Region {
    fn new(index: u32) -> Self {
        Self { index, bytes: Vec::new(), columns: Vec::new() }
    }

    fn column(&mut self, id: u32, elem_size: u32, bytes: impl IntoIterator<Item = u8>) {
        let offset = self.bytes.len();
        self.bytes.extend(bytes);
        let count = (self.bytes.len() - offset) as u64 / u64::from(elem_size);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let (region, offset) = (self.index, offset as u64);
        self.columns.push(tallyport_column { id, elem_size, region, flags: 0, count, offset });
    }

    fn words(&mut self, id: u32, words: &[u64]) {
        self.column(id, 8, words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    /// The bytes as words, so that they are aligned to 8.
    fn aligned(self) -> Vec<u64> {
        let words = self.bytes.chunks_exact(8);
        words.filter_map(|word| word.try_into().ok().map(u64::from_ne_bytes)).collect()
    }
}
