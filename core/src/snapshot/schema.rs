//! The columns that only change with names and labels, and which row of a table each series is.
//!
//! A schema grows out of the one before: texts and label pairs are only ever appended, a series
//! that stayed keeps its range, and what is new is read from the tables. It is built anew when more
//! than half of its label pairs belong to series that are gone.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use tallyport_plugin_api::{
    Kind,
    abi::{tallyport_family, tallyport_label_pair, tallyport_range},
};

use super::{GaugeModes, new_schema_id};
use crate::{
    metrics::{At, Extent, Family, Learned, Member, Metrics, Shape},
    model::{Error, ErrorKind, GaugeMode},
};

/// Label that tells the gauges of processes apart.
const PID_LABEL: &str = "pid";
/// Label pairs of gone series that are kept whatever their part is.
const SPARE_PAIRS: usize = 1024;

/// Schema columns of one version of the metrics.
#[derive(Debug, Clone)]
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
    /// By family, and there by label names, in order of creation.
    parts: Vec<Vec<Part>>,
    known: Known,
    pub(super) modes: Arc<GaugeModes>,
    pub(super) histograms: usize,
    pub(super) buckets: usize,
}

/// The series of one table.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) shape: Arc<Shape>,
    /// The row of each series.
    pub(super) rows: Vec<u32>,
    extent: Extent,
    /// Where its series start in the columns.
    start: usize,
    /// Ids of the label names.
    names: Vec<u32>,
    /// Where further rows of a series are added to: its place in `rows`, and the row.
    pub(super) more: Vec<(usize, u32)>,
    /// Of whose gauges it consists.
    pub(super) owner: Owner,
}

/// Whose gauges a part consists of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Owner {
    /// Of whoever has one; of at most one process.
    #[default]
    Any,
    /// Of the process at a place.
    One(usize),
    /// Of the processes at these places, which become one value.
    Together(GaugeMode, Arc<[usize]>),
}

/// Ids of texts.
#[derive(Debug, Clone, Default)]
struct Known {
    /// Names, help, units.
    names: HashMap<Box<str>, u32, RandomState>,
    /// Label values by where they lie, with the number that tells whether it still is that text.
    values: HashMap<At, (u32, u32), RandomState>,
}

fn number(count: usize, what: &str) -> Result<u32, Error> {
    u32::try_from(count).map_err(|_| {
        Error::new(ErrorKind::Limit, format!("a snapshot holds at most {} {what}", u32::MAX))
    })
}

impl Schema {
    /// The schema of the metrics as they are, grown out of `old`. In a section: the rows that it
    /// names stay what they are until the section ends, and as long as `generation` is current.
    ///
    /// `undeclared` gets the gauges that several processes set and nobody declared a mode of, once.
    ///
    /// # Errors
    /// Limit, when text or series are more than the columns can number.
    pub(super) fn build(
        metrics: &Metrics,
        generation: u64,
        old: Option<&mut Self>,
        undeclared: &mut Vec<Box<str>>,
    ) -> Result<Self, Error> {
        let mut empty = Self::empty();
        let old = old.filter(|old| {
            let pairs = |part: &Part| part.rows.len() * part.names.len();
            let used: usize = old.parts.iter().flatten().map(pairs).sum();
            old.label_pairs.len() <= used * 2 + SPARE_PAIRS
        });
        let old = old.unwrap_or(&mut empty);
        let mut before = std::mem::take(&mut old.parts).into_iter();
        let mut next = Next {
            str_off: take(&mut old.str_off),
            str_bytes: take(&mut old.str_bytes),
            label_pairs: take(&mut old.label_pairs),
            known: std::mem::take(&mut old.known),
            families: Vec::new(),
            label_ranges: Vec::with_capacity(old.label_ranges.len() + 1),
            created_ns: Vec::with_capacity(old.created_ns.len() + 1),
            bounds: Vec::new(),
            histograms: 0,
            buckets: 0,
            old_ranges: &old.label_ranges,
            old_created: &old.created_ns,
            modes: GaugeModes::new(),
            undeclared,
            pid: 0,
        };
        let members = metrics.members();
        next.pid = next.name(PID_LABEL)?;
        let mut parts = Vec::new();
        // Families and their tables are never removed, so they stand where they stood.
        for family in metrics.list() {
            parts.push(next.family(&family, before.next().unwrap_or_default(), &members)?);
        }
        Ok(Self {
            id: new_schema_id(),
            generation,
            str_off: Arc::new(next.str_off),
            str_bytes: Arc::new(next.str_bytes),
            families: Arc::new(next.families),
            label_ranges: Arc::new(next.label_ranges),
            label_pairs: Arc::new(next.label_pairs),
            bounds: Arc::new(next.bounds),
            created_ns: Arc::new(next.created_ns),
            parts,
            known: next.known,
            modes: Arc::new(next.modes),
            histograms: next.histograms,
            buckets: next.buckets,
        })
    }

    /// The tables in the order of the columns.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.parts.iter().flatten()
    }

    /// Number of series.
    pub(super) fn len(&self) -> usize {
        self.created_ns.len()
    }

    fn empty() -> Self {
        let known = Known { names: HashMap::from_iter([("".into(), 0)]), ..Known::default() };
        Self {
            id: 0,
            generation: 0,
            str_off: Arc::new(vec![0, 0]),
            str_bytes: Arc::default(),
            families: Arc::default(),
            label_ranges: Arc::default(),
            label_pairs: Arc::default(),
            bounds: Arc::default(),
            created_ns: Arc::default(),
            parts: Vec::new(),
            known,
            modes: Arc::default(),
            histograms: 0,
            buckets: 0,
        }
    }
}

/// The processes whose gauges of a family are set, where that is for the snapshot to show.
fn gauge_owners(family: &Family, shapes: &[Arc<Shape>], members: &[Member]) -> Vec<Member> {
    if family.kind != Kind::Gauge || members.len() == 1 {
        return Vec::new();
    }
    let sets = |member: &&Member| {
        shapes.iter().any(|shape| {
            let rows = shape.live(0..shape.extent().used);
            let mut gauges = rows.map(|row| shape.gauge(row));
            gauges.any(|gauge| gauge.read_at(member.place).is_some())
        })
    };
    members.iter().filter(sets).copied().collect()
}

/// Takes a column out, copied if a snapshot still has it.
///
/// By `make_mut`, because ThreadSanitizer does not see the fence of `Arc::try_unwrap`.
fn take<T: Clone>(column: &mut Arc<Vec<T>>) -> Vec<T> {
    std::mem::take(Arc::make_mut(column))
}

/// A schema that is being built.
struct Next<'a> {
    str_off: Vec<u32>,
    str_bytes: Vec<u8>,
    label_pairs: Vec<tallyport_label_pair>,
    known: Known,
    families: Vec<tallyport_family>,
    label_ranges: Vec<tallyport_range>,
    created_ns: Vec<u64>,
    bounds: Vec<f64>,
    histograms: usize,
    buckets: usize,
    old_ranges: &'a [tallyport_range],
    old_created: &'a [u64],
    modes: GaugeModes,
    undeclared: &'a mut Vec<Box<str>>,
    /// Id of [`PID_LABEL`].
    pid: u32,
}

impl Next<'_> {
    fn family(
        &mut self,
        family: &Family,
        mut before: Vec<Part>,
        members: &[Member],
    ) -> Result<Vec<Part>, Error> {
        let (help, unit) = family.text();
        let start = self.created_ns.len();
        let mut row = tallyport_family {
            name: self.name(&family.name)?,
            help: self.name(&help)?,
            unit: self.name(&unit)?,
            kind: family.kind.to_abi(),
            number: family.number.to_abi(),
            series_start: number(start, "series")?,
            series_count: 0,
            bounds_start: number(self.bounds.len(), "bounds")?,
            bounds_count: number(family.bounds.len(), "bounds")?,
            hist_start: number(self.histograms, "histograms")?,
            bucket_start: self.buckets as u64,
        };
        self.bounds.extend_from_slice(&family.bounds);
        let shapes = family.shapes();
        let mut parts = Vec::new();
        let owners = gauge_owners(family, &shapes, members);
        let mode = family.mode();
        if mode != GaugeMode::Undeclared {
            self.modes.insert(family.name.to_string(), mode);
        }
        let apart = owners.len() > 1 && mode == GaugeMode::Undeclared;
        if apart && family.is_undeclared_first() {
            self.undeclared.push(family.name.clone());
        }
        let together = owners.len() > 1 && !apart;
        let places = || owners.iter().map(|owner| owner.place).collect();
        let owner = if together { Owner::Together(mode, places()) } else { Owner::Any };
        if apart || before.iter().any(|part| matches!(part.owner, Owner::One(_))) {
            // Whose gauges there are may be different each time.
            before.clear();
        }
        let mut before = before.into_iter();
        for shape in shapes {
            if apart {
                for owner in &owners {
                    let mut part = self.empty_part(&shape)?;
                    part.owner = Owner::One(owner.place);
                    let pid = self.name(&owner.pid.to_string())?;
                    parts.push(self.add_new(part, Some(pid))?);
                }
                continue;
            }
            let mut part = match before.next() {
                Some(old) => self.carry(old)?,
                None => self.empty_part(&shape)?,
            };
            part.owner = owner.clone();
            parts.push(self.add_new(part, None)?);
        }
        let count = self.created_ns.len() - start;
        row.series_count = number(count, "series")?;
        number(self.created_ns.len(), "series")?;
        if family.kind == Kind::Histogram {
            self.histograms += count;
            self.buckets += count * (family.bounds.len() + 1);
        }
        self.families.push(row);
        Ok(parts)
    }

    fn empty_part(&mut self, shape: &Arc<Shape>) -> Result<Part, Error> {
        let names = shape.names().iter().map(|name| self.name(name));
        Ok(Part {
            names: names.collect::<Result<_, _>>()?,
            shape: Arc::clone(shape),
            rows: Vec::new(),
            extent: Extent::default(),
            start: self.created_ns.len(),
            more: Vec::new(),
            owner: Owner::Any,
        })
    }

    /// Takes over what an older schema has of a table, as far as it is still there.
    fn carry(&mut self, mut part: Part) -> Result<Part, Error> {
        let start = self.created_ns.len();
        let now = part.shape.extent();
        let old = std::mem::replace(&mut part.start, start);
        let kept = old..old + part.rows.len();
        let ranges = self.old_ranges.get(kept.clone()).unwrap_or_default();
        let created = self.old_created.get(kept).unwrap_or_default();
        if now.reused != part.extent.reused {
            // A row may be another series now.
            part.rows.clear();
            part.extent = Extent::default();
        } else if now.removed == part.extent.removed {
            self.label_ranges.extend_from_slice(ranges);
            self.created_ns.extend_from_slice(created);
        } else {
            let rows = std::mem::take(&mut part.rows);
            for ((row, range), created) in rows.into_iter().zip(ranges).zip(created) {
                if part.shape.live(row..row + 1).next().is_some() {
                    part.rows.push(row);
                    self.label_ranges.push(*range);
                    self.created_ns.push(*created);
                }
            }
        }
        Ok(part)
    }

    /// Adds the series that came since; those of one process with its number in a label.
    fn add_new(&mut self, mut part: Part, pid: Option<u32>) -> Result<Part, Error> {
        let from = part.extent.used;
        // Before the rows are read: what comes in between is found again by the next schema, which
        // there will be, because it changes the generation.
        let Learned { extent, duplicates, unfinished } = part.shape.learned();
        part.extent = extent;
        let doubled = |row: u32| duplicates.iter().any(|(_, other)| *other == row);
        for row in part.shape.live(from..part.extent.used) {
            // One that was finished just now may be another row of a series that is known.
            if !duplicates.is_empty() && doubled(row) || unfinished.contains(&row) {
                continue;
            }
            let mut of_series = std::iter::once(row)
                .chain(duplicates.iter().filter(|(of, _)| *of == row).map(|(_, other)| *other));
            if let Owner::One(owner) = part.owner
                && !of_series.any(|row| part.shape.gauge(row).read_at(owner).is_some())
            {
                continue;
            }
            let start = number(self.label_pairs.len(), "labels")?;
            let own = part.names.len();
            let count = own + usize::from(pid.is_some());
            let first = self.label_pairs.len();
            // Behind the names that come before it.
            let pid_rank = part.shape.names().iter().filter(|name| &***name < PID_LABEL).count();
            self.label_pairs.resize(first + count, tallyport_label_pair { name: 0, value: 0 });
            let texts = part.shape.texts(row).zip(&part.names).zip(part.shape.ranks());
            for (((at, text, serial), name), rank) in texts {
                let value = self.value(at, text, serial)?;
                let rank = usize::from(*rank);
                let rank = rank + usize::from(pid.is_some() && rank >= pid_rank);
                if let Some(pair) = self.label_pairs.get_mut(first + rank) {
                    *pair = tallyport_label_pair { name: *name, value };
                }
            }
            if let Some(value) = pid
                && let Some(pair) = self.label_pairs.get_mut(first + pid_rank)
            {
                *pair = tallyport_label_pair { name: self.pid, value };
            }
            self.label_ranges.push(tallyport_range { start, count: count as u32 });
            self.created_ns.push(part.shape.created_ns(row));
            part.rows.push(row);
        }
        let at = |row: u32| part.rows.binary_search(&row).ok();
        let more = duplicates.iter().filter_map(|(of, other)| Some((at(*of)?, *other)));
        part.more = more.collect();
        Ok(part)
    }

    /// The id of a label value.
    fn value(&mut self, at: At, text: &str, serial: u32) -> Result<u32, Error> {
        if let Some((known, id)) = self.known.values.get(&at)
            && *known == serial
        {
            return Ok(*id);
        }
        let id = self.text(text)?;
        self.known.values.insert(at, (serial, id));
        Ok(id)
    }

    /// The id of any other text.
    fn name(&mut self, text: &str) -> Result<u32, Error> {
        if let Some(id) = self.known.names.get(text) {
            return Ok(*id);
        }
        let id = self.text(text)?;
        self.known.names.insert(text.into(), id);
        Ok(id)
    }

    fn text(&mut self, text: &str) -> Result<u32, Error> {
        let id = number(self.str_off.len() - 1, "texts")?;
        self.str_bytes.extend_from_slice(text.as_bytes());
        self.str_off.push(number(self.str_bytes.len(), "bytes of text")?);
        Ok(id)
    }
}
