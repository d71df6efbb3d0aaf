//! The columns that only change with names and labels, and which series each row reads.

use std::{collections::HashMap, sync::Arc};

use tallyport_plugin_api::{
    Kind,
    abi::{tallyport_family, tallyport_label_pair, tallyport_range},
};

use super::new_schema_id;
use crate::{
    metrics::{Family, Metrics, Series},
    model::{Error, ErrorKind},
};

/// Schema columns of one version of the metrics.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) id: u64,
    /// Version of the metrics that it describes.
    pub(super) generation: u64,
    pub(super) str_off: Arc<Vec<u32>>,
    pub(super) str_bytes: Arc<Vec<u8>>,
    pub(super) families: Arc<Vec<tallyport_family>>,
    pub(super) label_ranges: Arc<Vec<tallyport_range>>,
    pub(super) label_pairs: Arc<Vec<tallyport_label_pair>>,
    pub(super) bounds: Arc<Vec<f64>>,
    pub(super) created_ns: Arc<Vec<u64>>,
    /// The series of each row: what the values are read from, kept alive by this schema.
    pub(super) rows: Vec<Arc<Series>>,
    pub(super) histograms: usize,
    pub(super) buckets: usize,
}

/// Texts by id; the same text has one id.
#[derive(Default)]
struct Strings {
    ids: HashMap<Box<str>, u32>,
    offsets: Vec<u32>,
    bytes: Vec<u8>,
}

impl Strings {
    fn new() -> Self {
        let mut strings = Self { offsets: vec![0, 0], ..Self::default() };
        strings.ids.insert("".into(), 0);
        strings
    }

    fn id(&mut self, text: &str) -> Result<u32, Error> {
        if let Some(id) = self.ids.get(text) {
            return Ok(*id);
        }
        let id = number(self.offsets.len() - 1, "texts")?;
        self.bytes.extend_from_slice(text.as_bytes());
        self.offsets.push(number(self.bytes.len(), "bytes of text")?);
        self.ids.insert(text.into(), id);
        Ok(id)
    }
}

fn number(count: usize, what: &str) -> Result<u32, Error> {
    u32::try_from(count).map_err(|_| {
        Error::new(ErrorKind::Limit, format!("a snapshot holds at most {} {what}", u32::MAX))
    })
}

impl Schema {
    pub(super) fn build(metrics: &Metrics, generation: u64) -> Result<Self, Error> {
        let mut strings = Strings::new();
        let mut schema = Columns::default();
        for family in metrics.list() {
            schema.push(&family, &mut strings)?;
        }
        Ok(Self {
            id: new_schema_id(),
            generation,
            str_off: Arc::new(strings.offsets),
            str_bytes: Arc::new(strings.bytes),
            families: Arc::new(schema.families),
            label_ranges: Arc::new(schema.label_ranges),
            label_pairs: Arc::new(schema.label_pairs),
            bounds: Arc::new(schema.bounds),
            created_ns: Arc::new(schema.created_ns),
            rows: schema.rows,
            histograms: schema.histograms,
            buckets: schema.buckets,
        })
    }
}

#[derive(Default)]
struct Columns {
    families: Vec<tallyport_family>,
    label_ranges: Vec<tallyport_range>,
    label_pairs: Vec<tallyport_label_pair>,
    bounds: Vec<f64>,
    created_ns: Vec<u64>,
    rows: Vec<Arc<Series>>,
    histograms: usize,
    buckets: usize,
}

impl Columns {
    fn push(&mut self, family: &Family, strings: &mut Strings) -> Result<(), Error> {
        let (help, unit) = family.text();
        let series = family.table.read().order.clone();
        self.families.push(tallyport_family {
            name: strings.id(&family.name)?,
            help: strings.id(&help)?,
            unit: strings.id(&unit)?,
            kind: family.kind.to_abi(),
            number: family.number.to_abi(),
            series_start: number(self.rows.len(), "series")?,
            series_count: number(series.len(), "series")?,
            bounds_start: number(self.bounds.len(), "bounds")?,
            bounds_count: number(family.bounds.len(), "bounds")?,
            hist_start: number(self.histograms, "histograms")?,
            bucket_start: self.buckets as u64,
        });
        self.bounds.extend_from_slice(&family.bounds);
        if family.kind == Kind::Histogram {
            self.histograms += series.len();
            self.buckets += series.len() * (family.bounds.len() + 1);
        }
        for series in series {
            let start = number(self.label_pairs.len(), "labels")?;
            for (name, value) in series.labels.iter() {
                let pair =
                    tallyport_label_pair { name: strings.id(name)?, value: strings.id(value)? };
                self.label_pairs.push(pair);
            }
            let count = series.labels.len() as u32;
            self.label_ranges.push(tallyport_range { start, count });
            self.created_ns.push(series.created_ns);
            self.rows.push(series);
        }
        number(self.rows.len(), "series").map(|_| ())
    }
}
