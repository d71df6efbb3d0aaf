//! One family: what is fixed for a name, and the table of its series.

use std::sync::Arc;

use hashbrown::HashTable;

use parking_lot::RwLock;
use tallyport_plugin_api::{Kind, Number};

use super::{arena::Cells, bounds::Bounds, series::Series};
use crate::model::{Error, ErrorKind, SortedLabels};

/// Upper bounds of a histogram that names none, in the unit of its observations.
pub const DEFAULT_BOUNDS: [f64; 11] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

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
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: Box<str>,
    pub(crate) kind: Kind,
    pub(crate) number: Number,
    pub(crate) bounds: Bounds,
    pub(crate) cells: Option<Cells>,
    text: RwLock<Text>,
    pub(crate) table: RwLock<Table>,
}

#[derive(Debug, Default, Clone)]
struct Text {
    help: Box<str>,
    unit: Box<str>,
}

/// The series of a family in order of creation, found by the hash of their labels.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Each with the hash of its labels.
    found: HashTable<(u64, Arc<Series>)>,
    pub(crate) order: Vec<Arc<Series>>,
    /// Past the limit, what new label sets fold into.
    pub(crate) overflow: Option<Arc<Series>>,
    /// Whether a label set came past the limit: said once.
    pub(crate) at_limit: bool,
}

impl Family {
    pub(crate) fn new(description: &Description<'_>, bounds: &[f64]) -> Self {
        Self {
            name: description.name.into(),
            kind: description.kind,
            number: description.number,
            bounds: Bounds::new(bounds),
            cells: description.cells,
            text: RwLock::new(Text {
                help: description.help.into(),
                unit: description.unit.into(),
            }),
            table: RwLock::default(),
        }
    }

    /// Whether it is a family of that kind and number type.
    pub(crate) fn is(&self, kind: Kind, number: Number) -> bool {
        (self.kind, self.number) == (kind, number)
    }

    /// Help and unit.
    pub(crate) fn text(&self) -> (Box<str>, Box<str>) {
        let text = self.text.read();
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
        let mut text = self.text.write();
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

impl Table {
    pub(crate) fn find(&self, hash: u64, labels: &SortedLabels<'_>) -> Option<&Arc<Series>> {
        let found = self
            .found
            .find(hash, |(known, series)| *known == hash && labels.matches(&series.labels));
        found.map(|(_, series)| series)
    }

    pub(crate) fn insert(&mut self, hash: u64, series: &Arc<Series>) {
        self.found.insert_unique(hash, (hash, Arc::clone(series)), |(hash, _)| *hash);
        self.order.push(Arc::clone(series));
    }

    /// Takes a series out; handles to it go on recording where nobody looks.
    pub(crate) fn remove(&mut self, hash: u64, labels: &SortedLabels<'_>) -> bool {
        let found = self
            .found
            .find_entry(hash, |(known, series)| *known == hash && labels.matches(&series.labels));
        let Ok(found) = found else { return false };
        let ((_, series), _) = found.remove();
        self.order.retain(|other| !Arc::ptr_eq(other, &series));
        if self.overflow.as_ref().is_some_and(|overflow| Arc::ptr_eq(overflow, &series)) {
            self.overflow = None;
        }
        true
    }

    /// Takes every series out, the overflow too. Returns how many.
    pub(crate) fn clear(&mut self) -> usize {
        let count = self.order.len();
        *self = Self::default();
        count
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
