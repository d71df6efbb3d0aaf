//! [`Metrics`]: every family of an engine, found by name; series found or made by label set.
//!
//! Families are few and read often; series are many. One lock for the map of families, one per
//! family for its series, taken for the lookup only. Recording through a handle takes none.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use crossbeam::utils::CachePadded;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tallyport_plugin_api::{Kind, Number};

use super::{
    arena::{Arena, Cells},
    directory::Directory,
    family::{DEFAULT_BOUNDS, Description, Family, FamilyInfo, Table, check_bounds},
    handle::{Counter, CounterF64, Gauge, Histogram, UpDownCounter, UpDownCounterF64},
    series::Series,
};
use crate::model::{Clock, Error, ErrorKind, MAX_VALUE_BYTES, SortedLabels, check_metric_name};

/// Label of the series that label sets past the limit fold into.
pub const OVERFLOW_LABEL: &str = "tallyport_overflow";

/// Name of the engine's own family that counts what was not recorded.
const DROPPED_FAMILY: &str = "tallyport_dropped_samples_total";

/// Histogram series of a family that get per-CPU cells; later ones share theirs, because one
/// takes 16 bytes a bucket and CPU.
const PER_CPU_HISTOGRAMS: usize = 1024;

/// How much the metrics of one engine may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Series of the engine.
    pub max_series: usize,
    /// Series of one family.
    pub max_series_per_family: usize,
    /// Bytes of cells, counted over all planes; memory is used as series are.
    pub max_cell_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_series: 1_000_000, max_series_per_family: 100_000, max_cell_bytes: 1 << 30 }
    }
}

/// What was not recorded, by reason; also exported as `tallyport_dropped_samples_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// NaN observations of histograms.
    pub nan: u64,
    /// Series refused past a limit: of gauges, and where not even the series that others fold into
    /// found memory.
    pub overflow: u64,
}

/// Whose series it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    /// The program's: limits hold.
    Host,
    /// The engine's own, of which there are few.
    Engine,
}

/// All metrics of an engine.
#[derive(Debug)]
pub struct Metrics {
    directory: Directory,
    hash: RandomState,
    arena: Arc<Arena>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    default_bounds: Box<[f64]>,
    /// On lines of their own: lookups of known series read what lies beside them.
    series: CachePadded<AtomicUsize>,
    /// Changes with every family, series and description: the schema's version. Always before
    /// another thread can see the change, under the lock that makes it: who saw it is not handed
    /// an older schema.
    generation: CachePadded<AtomicU64>,
    refused_nan: Arc<AtomicU64>,
    refused_overflow: AtomicU64,
    /// Held while the engine's own families are brought up to date, so that no two do.
    recording_own: Mutex<()>,
}

impl Metrics {
    /// Empty metrics with their limits; `default_bounds` empty means [`DEFAULT_BOUNDS`].
    ///
    /// [`Cells::PerCpu`] falls back to shared cells where the system cannot; [`Metrics::cells`].
    ///
    /// # Errors
    /// InvalidArgument for bounds that do not increase, Io when memory cannot be reserved.
    pub fn new(
        limits: Limits,
        cells: Cells,
        default_bounds: &[f64],
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let default_bounds =
            if default_bounds.is_empty() { &DEFAULT_BOUNDS } else { default_bounds };
        check_bounds(default_bounds)?;
        Ok(Self {
            directory: Directory::default(),
            hash: RandomState::default(),
            arena: Arena::private(limits.max_cell_bytes, cells)?,
            clock,
            limits,
            default_bounds: default_bounds.into(),
            series: CachePadded::new(AtomicUsize::new(0)),
            generation: CachePadded::new(AtomicU64::new(1)),
            refused_nan: Arc::default(),
            refused_overflow: AtomicU64::new(0),
            recording_own: Mutex::new(()),
        })
    }

    /// Fixes what a family is, and sets its help and unit.
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
        self.family(description, bounds).map(|_| ())
    }

    /// The u64 counter with these labels, created on first use.
    ///
    /// # Errors
    /// InvalidArgument for a bad name or label, Conflict, or Limit when memory for cells is used.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Result<Counter, Error> {
        self.series(name, Kind::Counter, Number::U64, None, labels)
            .and_then(|(_, s)| Counter::new(s))
    }

    /// The f64 counter with these labels, created on first use.
    ///
    /// # Errors
    /// As [`Metrics::counter`].
    pub fn counter_f64(&self, name: &str, labels: &[(&str, &str)]) -> Result<CounterF64, Error> {
        self.series(name, Kind::Counter, Number::F64, None, labels)
            .and_then(|(_, s)| CounterF64::new(s))
    }

    /// The i64 up-down counter with these labels, created on first use.
    ///
    /// # Errors
    /// As [`Metrics::counter`].
    pub fn up_down_counter(
        &self,
        name: &str,
        labels: &[(&str, &str)],
    ) -> Result<UpDownCounter, Error> {
        let series = self.series(name, Kind::UpDownCounter, Number::I64, None, labels);
        series.and_then(|(_, s)| UpDownCounter::new(s))
    }

    /// The f64 up-down counter with these labels, created on first use.
    ///
    /// # Errors
    /// As [`Metrics::counter`].
    pub fn up_down_counter_f64(
        &self,
        name: &str,
        labels: &[(&str, &str)],
    ) -> Result<UpDownCounterF64, Error> {
        let series = self.series(name, Kind::UpDownCounter, Number::F64, None, labels);
        series.and_then(|(_, s)| UpDownCounterF64::new(s))
    }

    /// The gauge with these labels, created on first use.
    ///
    /// # Errors
    /// As [`Metrics::counter`]; past a cardinality limit Limit, because gauges cannot be folded.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Result<Gauge, Error> {
        self.series(name, Kind::Gauge, Number::F64, None, labels).and_then(|(_, s)| Gauge::new(s))
    }

    /// The histogram with these labels, created on first use; `bounds` empty: the family's.
    ///
    /// # Errors
    /// As [`Metrics::counter`]; InvalidArgument for bad bounds, Conflict for differing ones.
    pub fn histogram(
        &self,
        name: &str,
        bounds: &[f64],
        labels: &[(&str, &str)],
    ) -> Result<Histogram, Error> {
        let bounds = Some(bounds).filter(|bounds| !bounds.is_empty());
        let (family, series) = self.series(name, Kind::Histogram, Number::F64, bounds, labels)?;
        let refused = Arc::clone(&self.refused_nan);
        Histogram::new(series, family.bounds.clone(), refused)
    }

    /// Takes one series out of the exports. Handles to it stay valid and record where nobody looks.
    ///
    /// # Errors
    /// NotFound when there is no such family or series.
    pub fn remove(&self, name: &str, labels: &[(&str, &str)]) -> Result<(), Error> {
        let family = self.find(name)?;
        let labels = SortedLabels::new(labels)?;
        let mut table = family.table.write();
        if !table.remove(labels.hash(&self.hash), &labels) {
            let message = format!("metric `{name}` has no series {:?}", labels.to_owned());
            return Err(Error::new(ErrorKind::NotFound, message).with_field("labels"));
        }
        self.series.fetch_sub(1, Relaxed);
        self.changed();
        Ok(())
    }

    /// Takes all series of a family out of the exports; the family stays described.
    ///
    /// # Errors
    /// NotFound when there is no such family.
    pub fn clear(&self, name: &str) -> Result<(), Error> {
        let mut table = self.find(name)?.table.write();
        self.series.fetch_sub(table.clear(), Relaxed);
        self.changed();
        Ok(())
    }

    /// Which cells run: `PerCpu` only where the system can and nobody asked for shared ones.
    #[must_use]
    pub fn cells(&self) -> Cells {
        self.arena.cells()
    }

    /// The families in order of creation.
    #[must_use]
    pub fn families(&self) -> Vec<FamilyInfo> {
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
                    series: family.table.read().order.len(),
                }
            })
            .collect()
    }

    /// Number of series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.series.load(Relaxed)
    }

    /// What was not recorded so far.
    #[must_use]
    pub fn dropped(&self) -> Dropped {
        Dropped {
            nan: self.refused_nan.load(Relaxed),
            overflow: self.refused_overflow.load(Relaxed),
        }
    }

    /// Brings the engine's own families up to date; called before a snapshot.
    pub(crate) fn record_own(&self) {
        let dropped = self.dropped();
        for (reason, count) in [("nan", dropped.nan), ("overflow", dropped.overflow)] {
            if count == 0 {
                continue;
            }
            // Not under the lock: what is logged may reach a subscriber that takes a snapshot.
            match self.own_counter(reason) {
                Ok(counter) => {
                    let _only = self.recording_own.lock();
                    counter.add(count.saturating_sub(counter.value()));
                }
                Err(error) => tracing::warn!(%error, "the engine's own counter"),
            }
        }
    }

    /// A counter of [`DROPPED_FAMILY`], past the limits: it is there to tell of them.
    fn own_counter(&self, reason: &str) -> Result<Counter, Error> {
        let what = Description {
            name: DROPPED_FAMILY,
            kind: Kind::Counter,
            number: Number::U64,
            bounds: &[],
            help: "",
            unit: "",
            cells: None,
        };
        let family = self.family(&what, None)?;
        let labels = SortedLabels::new(&[("reason", reason)])?;
        self.series_of(family, &labels, Owner::Engine).and_then(Counter::new)
    }

    /// The families as they are, for a schema.
    pub(crate) fn list(&self) -> Vec<Arc<Family>> {
        self.directory.list()
    }

    /// Version of names, labels and descriptions; values do not change it.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn changed(&self) {
        self.generation.fetch_add(1, Relaxed);
    }

    fn find(&self, name: &str) -> Result<&Arc<Family>, Error> {
        self.directory.find(name).ok_or_else(|| {
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
        let known = self.directory.find(wanted.name);
        let (family, made) = match known {
            Some(family) => (family, false),
            None => {
                check_metric_name(wanted.name)?;
                let bounds = match (wanted.kind, bounds) {
                    (Kind::Histogram, None) => &*self.default_bounds,
                    (_, bounds) => bounds.unwrap_or(&[]),
                };
                let make = || {
                    self.changed();
                    Family::new(wanted, bounds)
                };
                self.directory.find_or_insert(wanted.name, wanted.kind, make)?
            }
        };
        if !made {
            family.agree(wanted, bounds, || self.changed())?;
        }
        Ok(family)
    }

    /// The series with these labels, created on first use.
    fn series(
        &self,
        name: &str,
        kind: Kind,
        number: Number,
        bounds: Option<&[f64]>,
        labels: &[(&str, &str)],
    ) -> Result<(&Family, Arc<Series>), Error> {
        let labels = SortedLabels::new(labels)?;
        let known = self.directory.find(name);
        if known.is_none() {
            // Before the family is made, so that a refused call leaves no empty one behind.
            self.check_new(kind, &labels)?;
        }
        let family = match known.filter(|known| bounds.is_none() && known.is(kind, number)) {
            Some(family) => family,
            None => {
                let (help, unit) = ("", "");
                let what = Description { name, kind, number, bounds: &[], help, unit, cells: None };
                self.family(&what, bounds).inspect_err(|error| self.count_refusal(error))?
            }
        };
        let series = self.series_of(family, &labels, Owner::Host)?;
        Ok((family, series))
    }

    /// The series of a family with these labels, created on first use.
    fn series_of(
        &self,
        family: &Family,
        labels: &SortedLabels<'_>,
        owner: Owner,
    ) -> Result<Arc<Series>, Error> {
        let hash = labels.hash(&self.hash);
        if let Some(series) = family.table.read().find(hash, labels) {
            return Ok(Arc::clone(series));
        }
        self.check_new(family.kind, labels)?;
        let mut table = family.table.write();
        if let Some(series) = table.find(hash, labels) {
            return Ok(Arc::clone(series));
        }
        let warned = table.at_limit;
        let made = self.make(family, &mut table, (hash, labels), owner);
        let warn = table.at_limit && !warned;
        drop(table);
        // Not under the lock: a subscriber may count its lines here.
        if warn && family.kind == Kind::Gauge {
            tracing::warn!(metric = &*family.name, "limit: new gauge series are refused");
        } else if warn {
            tracing::warn!(
                metric = &*family.name,
                "limit: further label sets fold into {OVERFLOW_LABEL}=\"true\""
            );
        }
        made.inspect_err(|error| self.count_refusal(error))
    }

    /// Makes a series, or folds it into the family's overflow series.
    fn make(
        &self,
        family: &Family,
        table: &mut Table,
        (hash, labels): (u64, &SortedLabels<'_>),
        owner: Owner,
    ) -> Result<Arc<Series>, Error> {
        let refused = if self.reserve(table, owner) {
            match self.new_series(family, table.order.len(), labels) {
                Ok(series) => {
                    self.changed();
                    table.insert(hash, &series);
                    return Ok(series);
                }
                Err(full) => {
                    self.series.fetch_sub(1, Relaxed);
                    full
                }
            }
        } else {
            let message = format!(
                "metric `{}` is at its limit of series, and gauges cannot be folded",
                family.name
            );
            Error::new(ErrorKind::Limit, message).with_field("labels")
        };
        table.at_limit = true;
        if family.kind == Kind::Gauge { Err(refused) } else { self.overflow(family, table) }
    }

    /// What could not be recorded is counted.
    fn count_refusal(&self, error: &Error) {
        if error.kind() == ErrorKind::Limit {
            self.refused_overflow.fetch_add(1, Relaxed);
        }
    }

    fn check_new(&self, kind: Kind, labels: &SortedLabels<'_>) -> Result<(), Error> {
        labels.check()?;
        for (label, _) in labels.pairs() {
            if *label == OVERFLOW_LABEL || (*label == "le" && kind == Kind::Histogram) {
                let message = format!("label name `{label}` is reserved");
                return Err(Error::invalid("labels", message));
            }
        }
        Ok(())
    }

    /// Counts one more series of the engine, unless a limit is reached.
    fn reserve(&self, table: &Table, owner: Owner) -> bool {
        if owner == Owner::Engine {
            self.series.fetch_add(1, Relaxed);
            return true;
        }
        let below = |count: usize| (count < self.limits.max_series).then_some(count + 1);
        table.order.len() < self.limits.max_series_per_family
            && self.series.fetch_update(Relaxed, Relaxed, below).is_ok()
    }

    /// The series that label sets past a limit fold into: one per family, past the limit itself.
    fn overflow(&self, family: &Family, table: &mut Table) -> Result<Arc<Series>, Error> {
        if let Some(series) = &table.overflow {
            return Ok(Arc::clone(series));
        }
        let labels = SortedLabels::new(&[(OVERFLOW_LABEL, "true")])?;
        let series = self.new_series(family, table.order.len(), &labels)?;
        self.changed();
        table.overflow = Some(Arc::clone(&series));
        table.insert(labels.hash(&self.hash), &series);
        self.series.fetch_add(1, Relaxed);
        Ok(series)
    }

    fn new_series(
        &self,
        family: &Family,
        series_before: usize,
        labels: &SortedLabels<'_>,
    ) -> Result<Arc<Series>, Error> {
        let many = family.kind == Kind::Histogram && series_before >= PER_CPU_HISTOGRAMS;
        let cells = family.cells.unwrap_or(if many { Cells::Shared } else { Cells::PerCpu });
        let bounds = family.bounds.len();
        let what = (family.kind, family.number);
        let (labels, now) = (labels.to_owned(), self.clock.unix_ns());
        Series::new(&self.arena, what, bounds, cells, labels, now).map(Arc::new)
    }
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
