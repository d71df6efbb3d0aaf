//! [`Metrics`]: every family of an engine, found by name; series found or made by label set.
//!
//! Finding a family or a series takes no lock; making one does. Limits on numbers live here, the
//! tables of series in `table/`.

mod functions;
mod handles;
mod modes;
mod upkeep;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use once_cell::race::OnceBox;
use tallyport_plugin_api::{Kind, Number};

use super::{
    arena::{Cells, Member, Planes, Share, Word, step},
    collect::Collectors,
    directory::Directory,
    family::{DEFAULT_BOUNDS, Description, Family, FamilyInfo, OVERFLOW_LABEL, check_bounds},
    ledger::Ledger,
    limits::{Dropped, Limits},
    sweeper::Sweeper,
    table::{Admission, Found, Memory, Shape, Spot},
};
use crate::model::{
    Clock, Error, ErrorKind, GaugeMode, MAX_VALUE_BYTES, SortedLabels, check_metric_name,
};

/// Told the name of a family that reached a limit, once per family; no lock is held.
pub type OverflowHook = Box<dyn Fn(&str) + Send + Sync>;

/// All metrics of an engine. Clones share them.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    directory: Directory,
    memory: Arc<Memory>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    default_bounds: Box<[f64]>,
    /// Version of what other processes made that this one knows.
    known: AtomicU64,
    expired: AtomicU64,
    sweeper: Sweeper,
    /// Modes of gauges that the configuration names.
    modes: OnceBox<BTreeMap<String, GaugeMode>>,
    on_overflow: OnceBox<OverflowHook>,
    collectors: Arc<Collectors>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limits, series) = (&self.limits, self.memory.ground.word(Word::Series));
        f.debug_struct("Metrics")
            .field("limits", limits)
            .field("series", &series)
            .finish_non_exhaustive()
    }
}

/// A series, where it was found or made, pinned for a handle.
pub(super) struct Located<'m> {
    pub(super) family: &'m Arc<Family>,
    pub(super) shape: &'m Arc<Shape>,
    pub(super) found: Found,
}

impl Metrics {
    /// Empty metrics with their limits; `default_bounds` empty means [`DEFAULT_BOUNDS`].
    ///
    /// [`Cells::PerCpu`] falls back to shared cells where the system cannot; [`Metrics::cells`].
    ///
    /// # Errors
    /// InvalidArgument for bounds that do not increase, Io when memory cannot be reserved or the
    /// arena's file not be opened; Damaged, Conflict or Unsupported for a file that is no arena of
    /// this version, boot and machine.
    pub fn new(
        limits: Limits,
        cells: Cells,
        share: &Share,
        default_bounds: &[f64],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let default_bounds =
            if default_bounds.is_empty() { &DEFAULT_BOUNDS } else { default_bounds };
        check_bounds(default_bounds)?;
        let memory = Memory::new(share, limits.max_cell_bytes, limits.max_label_bytes, cells)?;
        Ok(Self(Arc::new(Inner {
            directory: Directory::new(&memory),
            memory,
            sweeper: Sweeper::new(limits.series_idle_timeout, clock.monotonic()),
            clock,
            limits,
            default_bounds: default_bounds.into(),
            known: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            modes: OnceBox::new(),
            on_overflow: OnceBox::new(),
            collectors: Arc::default(),
        })))
    }

    /// Fixes what a family is, and sets its help, unit and gauge mode.
    ///
    /// # Errors
    /// Conflict with what it already is, or with another family's sample names; InvalidArgument.
    pub fn describe(&self, description: &Description<'_>) -> Result<(), Error> {
        let bounds = Some(description.bounds).filter(|bounds| !bounds.is_empty());
        for (field, text) in [("help", description.help), ("unit", description.unit)] {
            if text.len() > MAX_VALUE_BYTES {
                let message =
                    format!("{field} has {} bytes; at most {MAX_VALUE_BYTES}", text.len());
                return Err(Error::invalid(field, message));
            }
        }
        if description.mode != GaugeMode::Undeclared && description.kind != Kind::Gauge {
            return Err(Error::invalid("mode", "only gauges have a mode"));
        }
        self.family(description, bounds).map(|_| ())
    }

    /// Takes one series out of the exports. Handles to it stay valid and record where nobody looks.
    ///
    /// # Errors
    /// NotFound when there is no such family or series.
    pub fn remove(&self, name: &str, labels: &[(&str, &str)]) -> Result<(), Error> {
        let family = self.find(name)?;
        let labels = SortedLabels::new(labels)?;
        family.catch_up();
        let removed = family
            .shape(labels.names())
            .map_or(0, |shape| shape.remove(&labels.values(shape.ranks())));
        if removed == 0 {
            let message = format!("metric `{name}` has no series {labels}");
            return Err(Error::new(ErrorKind::NotFound, message).with_field("labels"));
        }
        self.uncount(family, removed);
        Ok(())
    }

    /// Takes all series of a family out of the exports; the family stays described.
    ///
    /// # Errors
    /// NotFound when there is no such family.
    pub fn clear(&self, name: &str) -> Result<(), Error> {
        let family = self.find(name)?;
        family.catch_up();
        let removed = family.shapes().iter().map(|shape| shape.clear()).sum();
        self.uncount(family, removed);
        family.warn_again();
        Ok(())
    }

    /// Has `hook` told when a family reaches a limit. False when there is a hook already.
    ///
    /// It is called on the thread that records, which it delays.
    pub fn on_overflow(&self, hook: OverflowHook) -> bool {
        self.0.on_overflow.set(Box::new(hook)).is_ok()
    }

    /// Which cells run: `PerCpu` only where the system can and nobody asked for shared ones.
    #[must_use]
    pub fn cells(&self) -> Cells {
        self.0.memory.arena.cells()
    }

    /// Identity of the arena: what processes that record into the same cells have in common.
    #[must_use]
    pub fn arena_id(&self) -> u128 {
        self.0.memory.ground.id()
    }

    /// Numbers of the processes that have the arena now.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        self.members().iter().map(|member| member.pid).filter(|pid| *pid != 0).collect()
    }

    /// What is published of an arena that other processes have or may have; `None` for one of this
    /// process alone.
    pub(crate) fn ledger(&self) -> Option<Ledger> {
        let memory = &self.0.memory;
        memory.ground.is_shared().then(|| Ledger(Arc::clone(memory)))
    }

    /// Whether a forked child records into the same cells, or starts at zero: not where the system
    /// copies its parent's values into it.
    pub(crate) fn is_safe_in_children(&self) -> bool {
        self.0.memory.ground.is_safe_in_children()
    }

    /// The families in order of creation.
    #[must_use]
    pub fn families(&self) -> Vec<FamilyInfo> {
        self.catch_up();
        self.list()
            .iter()
            .map(|family| {
                let (help, unit) = family.text();
                FamilyInfo {
                    name: family.name.to_string(),
                    kind: family.kind,
                    number: family.number,
                    bounds: family.bounds.to_vec(),
                    help: help.into(),
                    unit: unit.into(),
                    mode: family.mode(),
                    series: family.len(),
                }
            })
            .collect()
    }

    /// Number of series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.0.memory.ground.word(Word::Series).load(Relaxed) as usize
    }

    /// Series taken out so far because they were idle.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.0.expired.load(Relaxed)
    }

    /// What was not recorded so far.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        let count = |word| self.0.memory.ground.word(word).load(Relaxed);
        Dropped { nan: count(Word::DroppedNan), overflow: count(Word::DroppedOverflow) }
    }

    /// Learns of what other processes made, and says up to which version it is known.
    pub(crate) fn catch_up(&self) -> u64 {
        // What ended processes had is not shown any more.
        self.0.memory.arena.membership.sweep_ended();
        let generation = self.generation();
        let others = self.0.memory.ground.is_shared() || self.0.memory.ground.is_copy();
        if others && self.0.known.load(Relaxed) != generation {
            self.0.directory.catch_up();
            self.say_modes();
            self.0.known.store(generation, Relaxed);
        }
        generation
    }

    /// The CPU planes to read.
    pub(crate) fn planes(&self) -> Planes {
        self.0.memory.arena.planes()
    }

    /// The processes that have the arena now.
    pub(crate) fn members(&self) -> Vec<Member> {
        self.0.memory.arena.membership.present()
    }

    /// The families as they are, for a schema.
    pub(crate) fn list(&self) -> Vec<Arc<Family>> {
        self.0.directory.list()
    }

    /// Version of names, labels and descriptions; values do not change it.
    pub(crate) fn generation(&self) -> u64 {
        self.0.memory.generation()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    fn find(&self, name: &str) -> Result<&Arc<Family>, Error> {
        self.0.directory.find_anew(name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("no metric is called `{name}`"))
                .with_field("name")
        })
    }

    /// The family of that name, created on first use, checked against what is asked.
    fn family(
        &self,
        wanted: &Description<'_>,
        bounds: Option<&[f64]>,
    ) -> Result<&Arc<Family>, Error> {
        if let Some(bounds) = bounds {
            if wanted.kind != Kind::Histogram {
                return Err(Error::invalid("bounds", "only histograms have bounds"));
            }
            check_bounds(bounds)?;
        }
        check_number(wanted.kind, wanted.number)?;
        let known = self.0.directory.find(wanted.name);
        let (family, made) = match known {
            Some(family) => (family, false),
            None => {
                check_metric_name(wanted.name)?;
                let bounds = match (wanted.kind, bounds) {
                    (Kind::Histogram, None) => &*self.0.default_bounds,
                    (_, bounds) => bounds.unwrap_or(&[]),
                };
                let mode = self.mode_of_new(wanted)?;
                let wanted = &Description { mode, ..*wanted };
                let write = || Family::write(&self.0.memory, wanted, bounds);
                self.0.directory.find_or_insert(wanted.name, wanted.kind, write)?
            }
        };
        if !made {
            family.agree(wanted, bounds, || self.0.memory.changed())?;
        }
        Ok(family)
    }

    /// The family of a name, of that kind and number type, made if there is none.
    pub(super) fn typed_family(
        &self,
        name: &str,
        (kind, number): (Kind, Number),
        bounds: Option<&[f64]>,
    ) -> Result<&Arc<Family>, Error> {
        let known = self.0.directory.find(name);
        match known.filter(|known| bounds.is_none() && known.is(kind, number)) {
            Some(family) => Ok(family),
            None => {
                let (help, unit) = ("", "");
                let what = Description {
                    name,
                    kind,
                    number,
                    bounds: &[],
                    help,
                    unit,
                    cells: None,
                    mode: GaugeMode::Undeclared,
                };
                self.family(&what, bounds).inspect_err(|error| self.count_refusal(error))
            }
        }
    }

    /// The series with these labels, created on first use.
    fn locate(
        &self,
        name: &str,
        kind: Kind,
        number: Number,
        bounds: Option<&[f64]>,
        labels: &[(&str, &str)],
    ) -> Result<Located<'_>, Error> {
        let labels = SortedLabels::new(labels)?;
        if self.0.directory.find(name).is_none() {
            // Before the family is made, so that a refused call leaves no empty one behind.
            check_new(kind, &labels)?;
        }
        let family = self.typed_family(name, (kind, number), bounds)?;
        self.locate_in(family, &labels)
    }

    /// The series of a family with these labels, created on first use, pinned.
    pub(super) fn locate_in<'m>(
        &'m self,
        family: &'m Arc<Family>,
        labels: &SortedLabels<'_>,
    ) -> Result<Located<'m>, Error> {
        let pin = |shape, spot: Spot<'_>| Located { family, shape, found: spot.pin() };
        self.with_series(family, labels, &pin)
    }

    /// Calls `f` with the series of a family with these labels, created on first use. It must not
    /// wait: a lock may be held.
    pub(super) fn with_series<'m, R>(
        &'m self,
        family: &'m Arc<Family>,
        labels: &SortedLabels<'_>,
        f: &dyn Fn(&'m Arc<Shape>, Spot<'_>) -> R,
    ) -> Result<R, Error> {
        let known = family.shape(labels.names());
        if let Some(shape) = known
            && let Some(done) = shape.look_up(&labels.values(shape.ranks()), &|spot| f(shape, spot))
        {
            return Ok(done);
        }
        check_new(family.kind, labels)?;
        let made = if self.has_room(family) {
            let shape = family.shape_or_make(labels.names(), labels.names())?;
            let values = labels.values(shape.ranks());
            self.make(family, shape, &values, Admission::Limited, &|spot| f(shape, spot))
        } else {
            Err(at_limit(family))
        };
        let made = made.or_else(|refused| match refused.kind() {
            ErrorKind::Limit => self.fold(family, refused, f),
            _ => Err(refused),
        });
        made.inspect_err(|error| self.count_refusal(error))
    }

    /// Makes a series, unless another thread just did, and calls `f` with it.
    fn make<R>(
        &self,
        family: &Family,
        shape: &Shape,
        values: &[&str],
        admission: Admission,
        f: &dyn Fn(Spot<'_>) -> R,
    ) -> Result<R, Error> {
        let admit = || match admission {
            Admission::Limited => self.reserve(family),
            Admission::Always => {
                family.count(usize::MAX);
                self.series().fetch_add(1, Relaxed);
                Ok(())
            }
        };
        let dismiss = || self.uncount(family, 1);
        let now = self.0.clock.unix_ns();
        shape.make(values, (admission, now), (admit, dismiss), f)
    }

    /// Whether no limit on the number of series is reached.
    pub(super) fn has_room(&self, family: &Family) -> bool {
        let limits = &self.0.limits;
        !family.is_full(limits.max_series_per_family)
            && (self.series().load(Relaxed) as usize) < limits.max_series
    }

    /// Counts one more series of the family and the engine, unless a limit is reached.
    fn reserve(&self, family: &Family) -> Result<(), Error> {
        let limits = &self.0.limits;
        if !family.count(limits.max_series_per_family) {
            return Err(at_limit(family));
        }
        step();
        let below = |count: u64| ((count as usize) < limits.max_series).then_some(count + 1);
        if self.series().fetch_update(Relaxed, Relaxed, below).is_err() {
            family.uncount(1);
            return Err(at_limit(family));
        }
        Ok(())
    }

    fn uncount(&self, family: &Family, series: usize) {
        family.uncount(series);
        let less = |count: u64| Some(count.saturating_sub(series as u64));
        let _ = self.series().fetch_update(Relaxed, Relaxed, less);
    }

    /// Number of series of all processes.
    fn series(&self) -> &AtomicU64 {
        self.0.memory.ground.word(Word::Series)
    }

    /// Calls `f` with the series that label sets past a limit fold into: one per family, past the limit itself.
    ///
    /// # Errors
    /// `refused`, for a gauge, whose values cannot be added.
    fn fold<'m, R>(
        &self,
        family: &'m Arc<Family>,
        refused: Error,
        f: &dyn Fn(&'m Arc<Shape>, Spot<'_>) -> R,
    ) -> Result<R, Error> {
        let gauge = family.kind == Kind::Gauge;
        if family.warn_once() {
            // No lock is held: a subscriber may count its lines here.
            let metric = &*family.name;
            if gauge {
                tracing::warn!(metric, "limit: new gauge series are refused");
            } else {
                tracing::warn!(
                    metric,
                    "limit: further label sets fold into {OVERFLOW_LABEL}=\"true\""
                );
            }
            if let Some(hook) = self.0.on_overflow.get() {
                hook(metric);
            }
        }
        if gauge {
            return Err(refused);
        }
        let name = std::iter::once(OVERFLOW_LABEL);
        let shape = match family.overflow() {
            Some(shape) => shape,
            None => family.shape_or_make(name.clone(), name)?,
        };
        let f = |spot: Spot<'_>| f(shape, spot);
        match shape.look_up(&["true"], &f) {
            Some(done) => Ok(done),
            None => self.make(family, shape, &["true"], Admission::Always, &f),
        }
    }

    /// What could not be recorded is counted.
    pub(super) fn count_refusal(&self, error: &Error) {
        if error.kind() == ErrorKind::Limit {
            self.0.memory.ground.word(Word::DroppedOverflow).fetch_add(1, Relaxed);
        }
    }
}

#[cold]
fn at_limit(family: &Family) -> Error {
    let message =
        format!("metric `{}` is at its limit of series, and gauges cannot be folded", family.name);
    Error::new(ErrorKind::Limit, message).with_field("labels")
}

/// Checks labels that no series has yet.
pub(super) fn check_new(kind: Kind, labels: &SortedLabels<'_>) -> Result<(), Error> {
    labels.check()?;
    for (label, _) in labels.pairs() {
        if *label == OVERFLOW_LABEL || (*label == "le" && kind == Kind::Histogram) {
            let message = format!("label name `{label}` is reserved");
            return Err(Error::invalid("labels", message));
        }
    }
    Ok(())
}

/// Checks that there are handles to a family of that kind and number type.
fn check_number(kind: Kind, number: Number) -> Result<(), Error> {
    let known = match kind {
        Kind::Counter => number != Number::I64,
        Kind::UpDownCounter => number != Number::U64,
        Kind::Gauge | Kind::Histogram => number == Number::F64,
    };
    if known {
        return Ok(());
    }
    let numbers = match kind {
        Kind::Counter => "u64 or f64",
        Kind::UpDownCounter => "i64 or f64",
        Kind::Gauge | Kind::Histogram => "f64",
    };
    Err(Error::invalid("number", format!("{kind:?} has values of {numbers}, not {number:?}")))
}
