//! Families by label values: record without keeping a handle per series.
//!
//! A family object fixes the label names once; then a call brings the values only, in the same
//! order. Finding the series takes no lock, no reference count and no allocation.

use std::sync::Arc;

use tallyport_plugin_api::{Kind, Number};

use super::{
    arena::{F64Cell, HistogramCell, I64Cell, U64Cell},
    family::Family,
    handle::{
        Counter, CounterF64, Gauge, Histogram, UpDownCounter, UpDownCounterF64,
        check_counter_amount, check_up_down_amount,
    },
    registry::{Located, Metrics, check_new},
    table::{Shape, Spot},
};
use crate::model::{Error, SortedLabels};

/// What all families share: the table, and where each of its names stands in a call.
#[derive(Debug, Clone)]
struct Base {
    metrics: Metrics,
    family: Arc<Family>,
    shape: Arc<Shape>,
    /// Label names as the caller orders them.
    names: Arc<[Box<str>]>,
    /// For each name of the table, its index in `names`; `None` where the order is the same.
    order: Option<Arc<[usize]>>,
}

impl Base {
    fn new(
        metrics: &Metrics,
        name: &str,
        what: (Kind, Number),
        bounds: Option<&[f64]>,
        names: &[&str],
    ) -> Result<Self, Error> {
        let pairs: Vec<_> = names.iter().map(|name| (*name, "x")).collect();
        let sorted = SortedLabels::new(&pairs)?;
        check_new(what.0, &sorted)?;
        let family = metrics.typed_family(name, what, bounds)?;
        let shape = family.shape_or_make(sorted.names(), names.iter().copied())?;
        let index = |name: &str| names.iter().position(|other| *other == name);
        let order: Vec<usize> = shape.names().iter().filter_map(|name| index(name)).collect();
        Ok(Self {
            metrics: metrics.clone(),
            family: Arc::clone(family),
            shape: Arc::clone(shape),
            names: names.iter().map(|name| Box::from(*name)).collect(),
            order: Some(order).filter(|order| !order.is_sorted()).map(Into::into),
        })
    }

    /// Calls `f` with the cell of the series with these values, made if there is none.
    #[inline(always)]
    fn with<R>(&self, values: &[&str], f: impl Fn(Spot<'_>) -> R) -> Result<R, Error> {
        // An empty value is no label: no series of this table has one, so it is not found. Nor is
        // one with another number of values.
        let done = match &self.order {
            None => self.shape.with(values, &f),
            Some(order) => self.with_reordered(order, values, &f),
        };
        match done {
            Some(done) => Ok(done),
            None => self.make(values, f),
        }
    }

    /// For callers that order the names in another way than who declared them first.
    #[inline(never)]
    fn with_reordered<R>(
        &self,
        order: &[usize],
        values: &[&str],
        f: impl Fn(Spot<'_>) -> R,
    ) -> Option<R> {
        if values.len() != order.len() {
            return None;
        }
        let value = |index: &usize| values.get(*index).copied().unwrap_or_default();
        let mut inline = [""; 8];
        match inline.get_mut(..order.len()) {
            Some(inline) => {
                inline.iter_mut().zip(order).for_each(|(at, index)| *at = value(index));
                self.shape.with(inline, f)
            }
            None => self.shape.with(&order.iter().map(value).collect::<Vec<_>>(), f),
        }
    }

    #[cold]
    #[inline(never)]
    fn make<R>(&self, values: &[&str], f: impl Fn(Spot<'_>) -> R) -> Result<R, Error> {
        // The frequent case past a limit. What the values are is not asked: they are not kept. An
        // empty one is no label, and may make it a series of another table.
        if !self.metrics.has_room(&self.family)
            && values.len() == self.names.len()
            && values.iter().all(|value| !value.is_empty())
            && let Some(shape) = self.family.overflow()
            && let Some(done) = shape.with(&["true"], &f)
        {
            return Ok(done);
        }
        let pairs = self.pairs(values)?;
        self.metrics.with_series(&self.family, &SortedLabels::new(&pairs)?, &|_, spot| f(spot))
    }

    /// The series with these values, pinned, made if there is none.
    fn locate(&self, values: &[&str]) -> Result<Located<'_>, Error> {
        self.metrics.locate_in(&self.family, &SortedLabels::new(&self.pairs(values)?)?)
    }

    /// Names and values.
    fn pairs<'v>(&'v self, values: &[&'v str]) -> Result<Vec<(&'v str, &'v str)>, Error> {
        if values.len() != self.names.len() {
            let message = format!(
                "metric `{}` is asked for with {} label values; it has {} label names: {}",
                self.family.name,
                values.len(),
                self.names.len(),
                self.names.join(", ")
            );
            return Err(Error::invalid("labels", message));
        }
        Ok(self.names.iter().map(|name| &**name).zip(values.iter().copied()).collect())
    }
}

macro_rules! family {
    (
        $(#[$meta:meta])* $name:ident, $handle:ident, $what:literal, $make:ident,
        $kind:ident, $number:ident
    ) => {
        $(#[$meta])*
        ///
        /// Clone and send it freely. Values come in the order of the label names; an empty value
        /// is no label.
        #[derive(Debug, Clone)]
        pub struct $name(Base);

        impl $name {
            /// The handle of one series, made if there is none.
            ///
            /// # Errors
            /// InvalidArgument for another number of values than names or a value that is too
            /// long; Limit when memory is used.
            pub fn get(&self, values: &[&str]) -> Result<$handle, Error> {
                let at = self.0.locate(values)?;
                Ok($handle::new(at.shape, at.found))
            }
        }

        impl Metrics {
            #[doc = concat!("The family of ", $what, " with these label names, made on first use.")]
            ///
            /// # Errors
            /// InvalidArgument for a bad name or label name, Conflict with what the family is.
            pub fn $make(&self, name: &str, label_names: &[&str]) -> Result<$name, Error> {
                Base::new(self, name, (Kind::$kind, Number::$number), None, label_names).map($name)
            }
        }
    };
}

family!(
    /// Counters of u64 amounts by label values.
    CounterFamily, Counter, "u64 counters", counter_family, Counter, U64
);
family!(
    /// Counters of f64 amounts by label values.
    CounterF64Family, CounterF64, "f64 counters", counter_f64_family, Counter, F64
);
family!(
    /// Up-down counters of i64 amounts by label values.
    UpDownCounterFamily, UpDownCounter, "i64 up-down counters", up_down_counter_family,
    UpDownCounter, I64
);
family!(
    /// Up-down counters of f64 amounts by label values.
    UpDownCounterF64Family, UpDownCounterF64, "f64 up-down counters", up_down_counter_f64_family,
    UpDownCounter, F64
);
family!(
    /// Gauges by label values.
    GaugeFamily, Gauge, "gauges", gauge_family, Gauge, F64
);

impl CounterFamily {
    /// Adds to the series with these values, made if there is none.
    ///
    /// Past a limit on series it adds to the family's overflow series, whatever the values are.
    ///
    /// # Errors
    /// InvalidArgument for another number of values than names or a value that is too long; Limit
    /// when not even the series that others fold into finds memory. Nothing is added then.
    #[inline]
    pub fn add(&self, values: &[&str], amount: u64) -> Result<(), Error> {
        self.0.with(values, |spot| U64Cell::new(spot.place()).add(amount))
    }

    /// Adds one.
    ///
    /// # Errors
    /// As [`CounterFamily::add`].
    #[inline]
    pub fn inc(&self, values: &[&str]) -> Result<(), Error> {
        self.add(values, 1)
    }
}

impl CounterF64Family {
    /// Adds to the series with these values, made if there is none.
    ///
    /// # Errors
    /// As [`CounterFamily::add`]; InvalidArgument for a negative, NaN or infinite amount.
    #[inline]
    pub fn add(&self, values: &[&str], amount: f64) -> Result<(), Error> {
        check_counter_amount(amount)?;
        self.0.with(values, |spot| F64Cell::new(spot.place()).add(amount))
    }
}

impl UpDownCounterFamily {
    /// Adds to the series with these values, made if there is none.
    ///
    /// # Errors
    /// As [`CounterFamily::add`].
    #[inline]
    pub fn add(&self, values: &[&str], amount: i64) -> Result<(), Error> {
        self.0.with(values, |spot| I64Cell::new(spot.place()).add(amount))
    }
}

impl UpDownCounterF64Family {
    /// Adds to the series with these values, made if there is none.
    ///
    /// # Errors
    /// As [`CounterFamily::add`]; InvalidArgument for NaN or an infinite amount.
    #[inline]
    pub fn add(&self, values: &[&str], amount: f64) -> Result<(), Error> {
        check_up_down_amount(amount)?;
        self.0.with(values, |spot| F64Cell::new(spot.place()).add(amount))
    }
}

impl GaugeFamily {
    /// Sets the series with these values, made if there is none.
    ///
    /// # Errors
    /// As [`CounterFamily::add`]; Limit past a cardinality limit too, because gauges cannot be
    /// folded.
    #[inline]
    pub fn set(&self, values: &[&str], value: f64) -> Result<(), Error> {
        self.0.with(values, |spot| spot.gauge().set(value))
    }

    /// Adds to the series with these values, made if there is none.
    ///
    /// # Errors
    /// As [`GaugeFamily::set`].
    #[inline]
    pub fn add(&self, values: &[&str], amount: f64) -> Result<(), Error> {
        self.0.with(values, |spot| spot.gauge().add(amount))
    }
}

/// Histograms by label values.
///
/// Clone and send it freely. Values come in the order of the label names; an empty value is no
/// label.
#[derive(Debug, Clone)]
pub struct HistogramFamily(Base);

impl HistogramFamily {
    /// The handle of one series, made if there is none.
    ///
    /// # Errors
    /// As [`CounterFamily::get`].
    pub fn get(&self, values: &[&str]) -> Result<Histogram, Error> {
        let at = self.0.locate(values)?;
        Ok(Histogram::new(at.shape, at.found, at.family.bounds.clone()))
    }

    /// Observes in the series with these values, made if there is none.
    ///
    /// NaN is not counted, but counted as dropped; ±Inf as [`Histogram::observe`] says.
    ///
    /// # Errors
    /// As [`CounterFamily::add`].
    #[inline]
    pub fn observe(&self, values: &[&str], value: f64) -> Result<(), Error> {
        if value.is_nan() {
            self.0.shape.refuse_nan();
            return Ok(());
        }
        let bounds = &self.0.family.bounds;
        let bucket = bounds.bucket(value);
        let buckets = bounds.len() + 1;
        self.0.with(values, |spot| {
            HistogramCell::new(spot.place(), buckets).observe(bucket, value);
        })
    }
}

impl Metrics {
    /// The family of histograms with these label names, made on first use; `bounds` empty: the
    /// family's, or the engine's default.
    ///
    /// # Errors
    /// InvalidArgument for a bad name, label name or bounds, Conflict with what the family is.
    pub fn histogram_family(
        &self,
        name: &str,
        bounds: &[f64],
        label_names: &[&str],
    ) -> Result<HistogramFamily, Error> {
        let bounds = Some(bounds).filter(|bounds| !bounds.is_empty());
        let what = (Kind::Histogram, Number::F64);
        Base::new(self, name, what, bounds, label_names).map(HistogramFamily)
    }
}
