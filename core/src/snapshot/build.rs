//! A snapshot made of rows that come from elsewhere: a store, not this engine's metrics.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use tallyport_plugin_api::{
    Kind, Number,
    abi::{
        TALLYPORT_COLUMN_CREATED_NS, TALLYPORT_COLUMN_FAMILIES, TALLYPORT_COLUMN_HIST_BOUNDS,
        TALLYPORT_COLUMN_HIST_BUCKETS, TALLYPORT_COLUMN_HIST_COUNT, TALLYPORT_COLUMN_LABEL_PAIRS,
        TALLYPORT_COLUMN_LABEL_RANGES, TALLYPORT_COLUMN_STR_BYTES, TALLYPORT_COLUMN_STR_OFF,
        TALLYPORT_COLUMN_VALUE_BITS, tallyport_family, tallyport_label_pair, tallyport_range,
    },
};

use super::{Snapshot, new_schema_id};
use crate::model::{Error, ErrorKind};

/// Columns that are being filled: a family, then its series, then the next.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    str_off: Vec<u32>,
    str_bytes: Vec<u8>,
    /// Numbers of the texts.
    known: HashTable<u32>,
    hashing: RandomState,
    families: Vec<tallyport_family>,
    label_ranges: Vec<tallyport_range>,
    label_pairs: Vec<tallyport_label_pair>,
    bounds: Vec<f64>,
    created_ns: Vec<u64>,
    values: Vec<u64>,
    counts: Vec<u64>,
    buckets: Vec<u64>,
}

fn number(count: usize, what: &str) -> Result<u32, Error> {
    u32::try_from(count).map_err(|_| {
        Error::new(ErrorKind::Limit, format!("a snapshot holds at most {} {what}", u32::MAX))
    })
}

impl Builder {
    /// Begins a family; its name must be new.
    pub(crate) fn family(
        &mut self,
        name: &str,
        (kind, value): (Kind, Number),
        (help, unit): (&str, &str),
        bounds: &[f64],
    ) -> Result<(), Error> {
        let row = tallyport_family {
            name: self.text(name.as_bytes())?,
            help: self.text(help.as_bytes())?,
            unit: self.text(unit.as_bytes())?,
            kind: kind.to_abi(),
            number: value.to_abi(),
            series_start: number(self.values.len(), "series")?,
            series_count: 0,
            bounds_start: number(self.bounds.len(), "bounds")?,
            bounds_count: number(bounds.len(), "bounds")?,
            hist_start: number(self.counts.len(), "histograms")?,
            bucket_start: self.buckets.len() as u64,
        };
        self.bounds.extend_from_slice(bounds);
        self.families.push(row);
        Ok(())
    }

    /// Adds a series to the family that was begun last; `labels` are sorted, and UTF-8.
    pub(crate) fn series<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        created_ns: u64,
        bits: u64,
    ) -> Result<(), Error> {
        let start = number(self.label_pairs.len(), "labels")?;
        for (name, value) in labels {
            let pair = tallyport_label_pair { name: self.text(name)?, value: self.text(value)? };
            self.label_pairs.push(pair);
        }
        let count = self.label_pairs.len() as u32 - start;
        self.label_ranges.push(tallyport_range { start, count });
        self.created_ns.push(created_ns);
        self.values.push(bits);
        number(self.values.len(), "series")?;
        if let Some(family) = self.families.last_mut() {
            family.series_count += 1;
        }
        Ok(())
    }

    /// The buckets of the histogram that was added last, one more than its family's bounds.
    ///
    /// Their sum must be a u64.
    pub(crate) fn buckets(&mut self, buckets: impl Iterator<Item = u64>) {
        let start = self.buckets.len();
        self.buckets.extend(buckets);
        self.counts.push(self.buckets.iter().skip(start).sum());
    }

    /// The snapshot of these rows.
    pub(crate) fn finish(mut self, time_unix_ns: u64) -> Result<Snapshot, Error> {
        // The empty text is there even where nothing has one.
        self.text(b"")?;
        self.str_off.push(number(self.str_bytes.len(), "bytes of text")?);
        let mut snapshot = Snapshot {
            schema_id: new_schema_id(),
            time_unix_ns,
            series_count: self.values.len() as u64,
            blocks: Vec::new(),
            columns: Vec::new(),
            modes: Arc::default(),
        };
        snapshot.push(TALLYPORT_COLUMN_STR_OFF, Arc::new(self.str_off));
        snapshot.push(TALLYPORT_COLUMN_STR_BYTES, Arc::new(self.str_bytes));
        snapshot.push(TALLYPORT_COLUMN_FAMILIES, Arc::new(self.families));
        snapshot.push(TALLYPORT_COLUMN_LABEL_RANGES, Arc::new(self.label_ranges));
        snapshot.push(TALLYPORT_COLUMN_LABEL_PAIRS, Arc::new(self.label_pairs));
        snapshot.push(TALLYPORT_COLUMN_HIST_BOUNDS, Arc::new(self.bounds));
        snapshot.push(TALLYPORT_COLUMN_CREATED_NS, Arc::new(self.created_ns));
        snapshot.push(TALLYPORT_COLUMN_VALUE_BITS, Arc::new(self.values));
        snapshot.push(TALLYPORT_COLUMN_HIST_COUNT, Arc::new(self.counts));
        snapshot.push(TALLYPORT_COLUMN_HIST_BUCKETS, Arc::new(self.buckets));
        Ok(snapshot)
    }

    fn text(&mut self, text: &[u8]) -> Result<u32, Error> {
        let hash = self.hashing.hash_one(text);
        let Self { known, hashing, str_off, str_bytes, .. } = self;
        let text_of = |id: u32| {
            let id = id as usize;
            let start = str_off.get(id).map_or(0, |start| *start as usize);
            let end = str_off.get(id + 1).map_or(str_bytes.len(), |end| *end as usize);
            str_bytes.get(start..end).unwrap_or_default()
        };
        if let Some(id) = known.find(hash, |id| text_of(*id) == text) {
            return Ok(*id);
        }
        let id = number(str_off.len(), "texts")?;
        let start = number(str_bytes.len(), "bytes of text")?;
        known.insert_unique(hash, id, |id| hashing.hash_one(text_of(*id)));
        str_off.push(start);
        str_bytes.extend_from_slice(text);
        Ok(id)
    }
}
