//! One family: what is fixed for a name, and its series by their label names.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
};

use tallyport_plugin_api::{Kind, Number};

use super::{
    arena::{At, Cells},
    bounds::Bounds,
    levels::Levels,
    table::{
        Layout, Memory, Shape,
        record::{self, family as word},
    },
};
use crate::model::{Error, ErrorKind, GaugeMode, Mutex, check_metric_name};

/// Upper bounds of a histogram that names none, in the unit of its observations.
pub const DEFAULT_BOUNDS: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Label of the series that label sets past the limit fold into.
pub const OVERFLOW_LABEL: &str = "tallyport_overflow";

/// Where the gauge mode stands in a family's first word.
pub(super) const MODE_SHIFT: u32 = 24;

/// Most finite bounds of a histogram.
pub(crate) const MAX_BOUNDS: usize = 512;

/// What a family is: fixed when it is first described or used.
#[derive(Debug, Clone, Copy)]
pub struct Description<'a> {
    /// Name.
    pub name: &'a str,
    /// Kind.
    pub kind: Kind,
    /// Number type; `F64` for gauges and histograms.
    pub number: Number,
    /// Finite, increasing upper bounds of a histogram; empty: the engine's default.
    pub bounds: &'a [f64],
    /// Help text; "" sets none and matches any.
    pub help: &'a str,
    /// Unit, for example `seconds`; "" sets none and matches any.
    pub unit: &'a str,
    /// Which cells the series of a new family get; `None`: the engine decides.
    pub cells: Option<Cells>,
    /// How a gauge that several processes or instances set becomes one value; undeclared sets none and
    /// matches any.
    pub mode: GaugeMode,
}

/// A family as it stands, for introspection.
#[derive(Debug, Clone, PartialEq)]
pub struct FamilyInfo {
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: Kind,
    /// Number type.
    pub number: Number,
    /// Upper bounds; empty unless a histogram.
    pub bounds: Vec<f64>,
    /// Help text.
    pub help: String,
    /// Unit.
    pub unit: String,
    /// How a gauge that several processes set becomes one value.
    pub mode: GaugeMode,
    /// Number of series.
    pub series: usize,
}

/// A family and its series, as this process knows them: what is fixed, and where its record lies.
pub(crate) struct Family {
    pub(crate) name: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) number: Number,
    pub(crate) bounds: Bounds,
    cells: Option<Cells>,
    memory: Arc<Memory>,
    record: At,
    shapes: Levels<Arc<Shape>>,
    /// In order of creation; the lock also orders this process's inserts.
    order: Mutex<Vec<Arc<Shape>>>,
    /// Whether it was said that label sets came past the limit.
    warned: AtomicBool,
    /// Whether it was said that several processes set a gauge without a mode.
    undeclared: AtomicBool,
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Family {
    /// Writes the record of a family that nothing leads to yet.
    ///
    /// # Errors
    /// Limit, when no memory is left.
    pub(crate) fn write(
        memory: &Memory,
        description: &Description<'_>,
        bounds: &[f64],
    ) -> Result<At, Error> {
        let heap = &memory.heap;
        let keep = |text: &str| {
            if text.is_empty() { Ok(0) } else { record::keep(heap, text).ok_or_else(no_memory) }
        };
        let cells = match description.cells {
            None => 0,
            Some(Cells::PerCpu) => 1,
            Some(Cells::Shared) => 2,
        };
        let what = description.kind.to_abi()
            | description.number.to_abi() << 8
            | cells << 16
            | (description.mode as u32) << MODE_SHIFT;
        let mut words = vec![0; word::HEAD];
        for (index, value) in [
            (word::WHAT, what),
            (word::NAME, keep(description.name)?),
            (word::HELP, keep(description.help)?),
            (word::UNIT, keep(description.unit)?),
            (word::BOUNDS, bounds.len() as u32),
        ] {
            if let Some(word) = words.get_mut(index) {
                *word = value;
            }
        }
        for bound in bounds {
            let bits = bound.to_bits();
            words.extend([bits as u32, (bits >> 32) as u32]);
        }
        record::make(heap, &words).ok_or_else(no_memory)
    }

    /// The family of a record; `None` for a damaged one.
    pub(crate) fn read(memory: &Arc<Memory>, record: At) -> Option<Self> {
        let heap = &memory.heap;
        let load = |index| record::load(heap, record, index);
        let what = load(word::WHAT);
        let name = record::text(heap, load(word::NAME));
        check_metric_name(name).ok()?;
        let kind = Kind::from_abi(what & 0xff)?;
        let count = load(word::BOUNDS) as usize;
        if count > MAX_BOUNDS {
            return None;
        }
        let half = |index| u64::from(load(word::HEAD + index));
        let bounds: Vec<f64> = (0..count)
            .map(|bound| f64::from_bits(half(bound * 2) | half(bound * 2 + 1) << 32))
            .collect();
        match kind {
            Kind::Histogram => check_bounds(&bounds).ok()?,
            _ if count > 0 => return None,
            _ => {}
        }
        Some(Self {
            name: name.into(),
            kind,
            number: Number::from_abi(what >> 8 & 0xff)?,
            bounds: Bounds::new(&bounds),
            cells: match what >> 16 & 0xff {
                1 => Some(Cells::PerCpu),
                2 => Some(Cells::Shared),
                _ => None,
            },
            memory: Arc::clone(memory),
            record,
            shapes: Levels::new(0),
            order: Mutex::default(),
            warned: AtomicBool::new(false),
            undeclared: AtomicBool::new(false),
        })
    }

    /// Where its record lies.
    pub(crate) fn record(&self) -> At {
        self.record
    }

    fn load(&self, index: usize) -> u32 {
        record::load(&self.memory.heap, self.record, index)
    }

    /// Series that count against the limit.
    fn counted(&self) -> Option<&AtomicU32> {
        record::word(&self.memory.heap, self.record, word::COUNTED)
    }

    /// What its cells are.
    fn layout(&self) -> Layout {
        let (kind, number, cells) = (self.kind, self.number, self.cells);
        let buckets = if kind == Kind::Histogram { self.bounds.len() + 1 } else { 0 };
        Layout { kind, number, buckets, cells, family: self.record }
    }

    /// The series with these label names, sorted.
    pub(crate) fn shape<'n>(
        &self,
        sorted: impl ExactSizeIterator<Item = &'n str> + Clone,
    ) -> Option<&Arc<Shape>> {
        let hash = self.memory.hash.of(sorted.clone());
        self.shapes.find(hash, |shape| shape.is_named(sorted.clone()))
    }

    /// The series with these label names, sorted and checked; made if need be, for values in the
    /// order of `declared`.
    ///
    /// # Errors
    /// Limit, where very many sets of names have one hash.
    pub(crate) fn shape_or_make<'n>(
        &self,
        sorted: impl ExactSizeIterator<Item = &'n str> + Clone,
        declared: impl Iterator<Item = &'n str>,
    ) -> Result<&Arc<Shape>, Error> {
        if let Some(shape) = self.shape(sorted.clone()) {
            return Ok(shape);
        }
        let names: Vec<Box<str>> = declared.map(Box::from).collect();
        let mut order = self.order.lock();
        let heap = &self.memory.heap;
        let mut made = None;
        loop {
            let end = self.learn_shapes(&mut order);
            if let Some(shape) = self.shape(sorted.clone()) {
                return Ok(shape);
            }
            if self.shapes.free_place(self.memory.hash.of(sorted.clone())).is_none() {
                let message = "too many sets of label names have one hash; use others";
                return Err(Error::new(ErrorKind::Limit, message).with_field("labels"));
            }
            let Some((last, index)) = end else {
                let message = format!("the arena is damaged: label names of `{}`", self.name);
                return Err(Error::new(ErrorKind::Damaged, message));
            };
            let record = match made {
                Some(record) => record,
                None => write_shape(&self.memory, &names)?,
            };
            made = Some(record);
            // Taken: another process was faster, and may have made this one.
            let _ = record::lead(heap, last, index, record);
        }
    }

    /// Learns of the tables that other processes made; the word that is to lead to a further one,
    /// `None` where the list is damaged.
    fn learn_shapes(&self, order: &mut Vec<Arc<Shape>>) -> Option<(At, usize)> {
        let heap = &self.memory.heap;
        let last = order.last().map(|shape| shape.record());
        let (mut last, mut index) =
            last.map_or((self.record, word::SHAPES), |shape| (shape, record::NEXT));
        loop {
            let next = record::load(heap, last, index);
            if next == 0 {
                return Some((last, index));
            }
            (last, index) = (next, record::NEXT);
            let shape = Arc::new(Shape::read(&self.memory, self.layout(), next)?);
            let mut sorted: Vec<&str> = shape.names().iter().map(|name| &**name).collect();
            sorted.sort_unstable();
            // None is there twice, unless the list leads back into itself.
            if self.shape(sorted.iter().copied()).is_some() {
                return None;
            }
            let hash = self.memory.hash.of(sorted.iter().copied());
            if let Some(place) = self.shapes.free_place(hash) {
                place.get_or_init(|| Box::new(Arc::clone(&shape)));
            }
            order.push(shape);
        }
    }

    /// The table of the series that label sets past a limit fold into, once there is one.
    pub(crate) fn overflow(&self) -> Option<&Arc<Shape>> {
        self.shape(std::iter::once(OVERFLOW_LABEL))
    }

    /// Its series by label names, in order of creation.
    pub(crate) fn shapes(&self) -> Vec<Arc<Shape>> {
        self.order.lock().clone()
    }

    /// Learns of the tables and rows that other processes made.
    pub(crate) fn catch_up(&self) {
        self.learn_shapes(&mut self.order.lock());
        for shape in self.shapes() {
            shape.catch_up();
        }
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.order.lock().iter().map(|shape| shape.len()).sum()
    }

    /// Counts a series unless there are `limit`.
    pub(crate) fn count(&self, limit: usize) -> bool {
        let below = |count: u32| ((count as usize) < limit).then_some(count.saturating_add(1));
        self.counted().is_some_and(|word| word.fetch_update(Relaxed, Relaxed, below).is_ok())
    }

    /// Whether there are `limit` series.
    pub(crate) fn is_full(&self, limit: usize) -> bool {
        self.load(word::COUNTED) as usize >= limit
    }

    /// Takes back so many counts of series.
    pub(crate) fn uncount(&self, count: usize) {
        let less = |counted: u32| Some(counted.saturating_sub(count as u32));
        if let Some(word) = self.counted() {
            let _ = word.fetch_update(Relaxed, Relaxed, less);
        }
    }

    /// Whether this is the first time that somebody wants to say that it is at a limit.
    pub(crate) fn warn_once(&self) -> bool {
        !self.warned.load(Relaxed) && !self.warned.swap(true, Relaxed)
    }

    /// How a gauge that several processes set becomes one value.
    pub(crate) fn mode(&self) -> GaugeMode {
        mode_of(self.load(word::WHAT))
    }

    /// Says the mode of a gauge, once for all processes; the one that it has, where that is another.
    ///
    /// `changed` is called before anybody can see it, and after: who looked in between looks again.
    pub(crate) fn declare(&self, mode: GaugeMode, changed: impl Fn()) -> Result<(), GaugeMode> {
        let Some(what) = record::word(&self.memory.heap, self.record, word::WHAT) else {
            return Ok(());
        };
        let mut seen = what.load(Acquire);
        loop {
            match mode_of(seen) {
                have if have == mode => return Ok(()),
                GaugeMode::Undeclared => {}
                have => return Err(have),
            }
            changed();
            let said = seen & ((1 << MODE_SHIFT) - 1) | (mode as u32) << MODE_SHIFT;
            match what.compare_exchange(seen, said, AcqRel, Acquire) {
                Ok(_) => {
                    changed();
                    return Ok(());
                }
                Err(now) => seen = now,
            }
        }
    }

    /// Whether this is the first time that somebody wants to say that several processes set it and
    /// nobody said what is to become of that.
    pub(crate) fn is_undeclared_first(&self) -> bool {
        !self.undeclared.load(Relaxed) && !self.undeclared.swap(true, Relaxed)
    }

    /// From now on it may be said again.
    pub(crate) fn warn_again(&self) {
        self.warned.store(false, Relaxed);
    }

    /// Whether it is a family of that kind and number type.
    pub(crate) fn is(&self, kind: Kind, number: Number) -> bool {
        (self.kind, self.number) == (kind, number)
    }

    /// Help and unit.
    pub(crate) fn text(&self) -> (Box<str>, Box<str>) {
        let text = |index| record::text(&self.memory.heap, self.load(index)).into();
        (text(word::HELP), text(word::UNIT))
    }

    /// Checks a further description or use against what is fixed; sets help, unit and gauge mode once.
    ///
    /// `bounds` is `None` where the caller named none. `changed` is called before anybody can see a
    /// text that changes.
    pub(crate) fn agree(
        &self,
        description: &Description<'_>,
        bounds: Option<&[f64]>,
        changed: impl Fn(),
    ) -> Result<(), Error> {
        let wanted = what(description.kind, description.number);
        let have = what(self.kind, self.number);
        if !self.is(description.kind, description.number) {
            return Err(self.conflict(&format!("is a {have}; it was asked for as a {wanted}")));
        }
        if let Some(bounds) = bounds.filter(|bounds| **bounds != *self.bounds) {
            let have = &*self.bounds;
            return Err(
                self.conflict(&format!("has bounds {have:?}; it was asked for with {bounds:?}"))
            );
        }
        if description.mode != GaugeMode::Undeclared
            && let Err(have) = self.declare(description.mode, &changed)
        {
            let (have, wanted) = (have.name(), description.mode.name());
            return Err(
                self.conflict(&format!("has gauge mode {have}; it was described with {wanted}"))
            );
        }
        let heap = &self.memory.heap;
        let texts =
            [("help", word::HELP, description.help), ("unit", word::UNIT, description.unit)];
        for (field, index, wanted) in texts {
            let have = record::text(heap, self.load(index));
            if !wanted.is_empty() && !have.is_empty() && *have != *wanted {
                return Err(self
                    .conflict(&format!("has {field} {have:?}; it was described with {wanted:?}")));
            }
        }
        for (field, index, wanted) in texts {
            if wanted.is_empty() || self.load(index) != 0 {
                continue;
            }
            let kept = record::keep(heap, wanted).ok_or_else(no_memory)?;
            changed();
            if let Err(other) = record::lead(heap, self.record, index, kept) {
                let have = record::text(heap, other);
                if *have != *wanted {
                    return Err(self.conflict(&format!(
                        "has {field} {have:?}; it was described with {wanted:?}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn conflict(&self, what: &str) -> Error {
        Error::new(ErrorKind::Conflict, format!("metric `{}` {what}", self.name)).with_field("name")
    }
}

/// The gauge mode that a family's first word says; one that no version knows is none.
fn mode_of(what: u32) -> GaugeMode {
    GaugeMode::from_byte((what >> MODE_SHIFT) as u8).unwrap_or_default()
}

fn no_memory() -> Error {
    Error::new(ErrorKind::Limit, "no memory is left for metrics")
}

/// Writes the record of a table that nothing leads to yet.
fn write_shape(memory: &Memory, names: &[Box<str>]) -> Result<At, Error> {
    let mut words = vec![0; record::shape::HEAD];
    if let Some(count) = words.get_mut(record::shape::NAMES) {
        *count = names.len() as u32;
    }
    for name in names {
        words.push(record::keep(&memory.heap, name).ok_or_else(no_memory)?);
    }
    record::make(&memory.heap, &words).ok_or_else(no_memory)
}

fn what(kind: Kind, number: Number) -> &'static str {
    match (kind, number) {
        (Kind::Counter, Number::F64) => "counter (f64)",
        (Kind::Counter, _) => "counter (u64)",
        (Kind::UpDownCounter, Number::F64) => "up-down counter (f64)",
        (Kind::UpDownCounter, _) => "up-down counter (i64)",
        (Kind::Gauge, _) => "gauge",
        (Kind::Histogram, _) => "histogram",
    }
}

/// Checks a histogram's bounds.
///
/// # Errors
/// InvalidArgument with the field `bounds`.
pub(crate) fn check_bounds(bounds: &[f64]) -> Result<(), Error> {
    let bad = |message: String| Err(Error::invalid("bounds", message));
    if bounds.is_empty() {
        return bad("a histogram needs at least one bound".into());
    }
    if bounds.len() > MAX_BOUNDS {
        return bad(format!("{} bounds; at most {MAX_BOUNDS}", bounds.len()));
    }
    if let Some(bound) = bounds.iter().find(|bound| !bound.is_finite()) {
        return bad(format!("bound {bound} is not finite (+Inf is implied)"));
    }
    let pair = bounds.iter().zip(bounds.iter().skip(1)).find(|(a, b)| a >= b);
    match pair {
        Some((a, b)) => bad(format!("bounds must increase: {b} follows {a}")),
        None => Ok(()),
    }
}
