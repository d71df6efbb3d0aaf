//! One family: what is fixed for a name, and its series by their label names.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use tallyport_plugin_api::{Kind, Number};

use super::{
    arena::Cells,
    bounds::Bounds,
    levels::Levels,
    table::{Layout, Memory, Shape},
};
use crate::model::{Error, ErrorKind, Mutex};

/// Upper bounds of a histogram that names none, in the unit of its observations.
pub const DEFAULT_BOUNDS: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Label of the series that label sets past the limit fold into.
pub const OVERFLOW_LABEL: &str = "tallyport_overflow";

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
    /// Number of series.
    pub series: usize,
}

/// A family and its series.
pub(crate) struct Family {
    pub(crate) name: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) number: Number,
    pub(crate) bounds: Bounds,
    cells: Option<Cells>,
    text: Mutex<Text>,
    memory: Arc<Memory>,
    shapes: Levels<Arc<Shape>>,
    /// In order of creation; the lock also orders inserts.
    order: Mutex<Vec<Arc<Shape>>>,
    /// Series that count against the limit.
    counted: AtomicUsize,
    /// Whether it was said that label sets came past the limit.
    warned: AtomicBool,
}

#[derive(Debug, Default, Clone)]
struct Text {
    help: Box<str>,
    unit: Box<str>,
}

impl fmt::Debug for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Family").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Family {
    pub(crate) fn new(memory: &Arc<Memory>, description: &Description<'_>, bounds: &[f64]) -> Self {
        Self {
            name: description.name.into(),
            kind: description.kind,
            number: description.number,
            bounds: Bounds::new(bounds),
            cells: description.cells,
            text: Mutex::new(Text { help: description.help.into(), unit: description.unit.into() }),
            memory: Arc::clone(memory),
            shapes: Levels::new(0),
            order: Mutex::default(),
            counted: AtomicUsize::new(0),
            warned: AtomicBool::new(false),
        }
    }

    /// What its cells are.
    fn layout(&self) -> Layout {
        let (kind, number, cells) = (self.kind, self.number, self.cells);
        let buckets = if kind == Kind::Histogram { self.bounds.len() + 1 } else { 0 };
        Layout { kind, number, buckets, cells }
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
        let mut order = self.order.lock();
        if let Some(shape) = self.shape(sorted.clone()) {
            return Ok(shape);
        }
        let Some(place) = self.shapes.free_place(self.memory.hash.of(sorted)) else {
            let message = "too many sets of label names have one hash; use others";
            return Err(Error::new(ErrorKind::Limit, message).with_field("labels"));
        };
        let names = declared.map(Box::from).collect();
        let shape = Arc::new(Shape::new(&self.memory, self.layout(), names));
        order.push(Arc::clone(&shape));
        Ok(place.get_or_init(|| Box::new(shape)))
    }

    /// The table of the series that label sets past a limit fold into, once there is one.
    pub(crate) fn overflow(&self) -> Option<&Arc<Shape>> {
        self.shape(std::iter::once(OVERFLOW_LABEL))
    }

    /// Its series by label names, in order of creation.
    pub(crate) fn shapes(&self) -> Vec<Arc<Shape>> {
        self.order.lock().clone()
    }

    /// Number of series.
    pub(crate) fn len(&self) -> usize {
        self.order.lock().iter().map(|shape| shape.len()).sum()
    }

    /// Counts a series unless there are `limit`.
    pub(crate) fn count(&self, limit: usize) -> bool {
        let below = |count: usize| (count < limit).then_some(count + 1);
        self.counted.fetch_update(Relaxed, Relaxed, below).is_ok()
    }

    /// Whether there are `limit` series.
    pub(crate) fn is_full(&self, limit: usize) -> bool {
        self.counted.load(Relaxed) >= limit
    }

    /// Takes back so many counts of series.
    pub(crate) fn uncount(&self, count: usize) {
        self.counted.fetch_sub(count, Relaxed);
    }

    /// Whether this is the first time that somebody wants to say that it is at a limit.
    pub(crate) fn warn_once(&self) -> bool {
        !self.warned.load(Relaxed) && !self.warned.swap(true, Relaxed)
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
        let text = self.text.lock();
        (text.help.clone(), text.unit.clone())
    }

    /// Checks a further description or use against what is fixed; sets help and unit once.
    ///
    /// `bounds` is `None` where the caller named none. `changed` is called before anybody can see a
    /// text that changes.
    pub(crate) fn agree(
        &self,
        description: &Description<'_>,
        bounds: Option<&[f64]>,
        changed: impl FnOnce(),
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
        if description.help.is_empty() && description.unit.is_empty() {
            return Ok(());
        }
        let mut text = self.text.lock();
        for (field, have, wanted) in
            [("help", &text.help, description.help), ("unit", &text.unit, description.unit)]
        {
            if !wanted.is_empty() && !have.is_empty() && **have != *wanted {
                return Err(self
                    .conflict(&format!("has {field} {have:?}; it was described with {wanted:?}")));
            }
        }
        let sets = |have: &str, wanted: &str| have.is_empty() && !wanted.is_empty();
        if sets(&text.help, description.help) || sets(&text.unit, description.unit) {
            changed();
        }
        if text.help.is_empty() {
            text.help = description.help.into();
        }
        if text.unit.is_empty() {
            text.unit = description.unit.into();
        }
        Ok(())
    }

    fn conflict(&self, what: &str) -> Error {
        Error::new(ErrorKind::Conflict, format!("metric `{}` {what}", self.name)).with_field("name")
    }
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
