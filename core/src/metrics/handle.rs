//! Handles: what a program keeps and records through.
//!
//! Clone and send them freely; recording takes no lock, allocates nothing, and is safe in a signal
//! handler. A handle keeps its series' memory: after `remove` or the engine's end it still records,
//! where nobody looks.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::series::{Cell, Series};
use crate::model::Error;

/// A monotonic sum of u64 amounts.
#[derive(Debug, Clone)]
pub struct Counter(pub(super) Arc<Series>);

impl Counter {
    /// Adds `amount`. Any thread, async-signal-safe, cannot fail.
    #[inline]
    pub fn add(&self, amount: u64) {
        if let Cell::U64(cell) = &self.0.cell {
            cell.add(amount);
        }
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// The sum.
    #[must_use]
    pub fn value(&self) -> u64 {
        if let Cell::U64(cell) = &self.0.cell { cell.read() } else { 0 }
    }
}

/// A monotonic sum of f64 amounts.
#[derive(Debug, Clone)]
pub struct CounterF64(pub(super) Arc<Series>);

impl CounterF64 {
    /// Adds `amount`. Any thread, async-signal-safe.
    ///
    /// # Errors
    /// InvalidArgument for a negative, NaN or infinite amount; nothing is added.
    #[inline]
    pub fn add(&self, amount: f64) -> Result<(), Error> {
        if !(amount >= 0.0 && amount.is_finite()) {
            let message = format!("a counter cannot add {amount}: it must be finite and >= 0");
            return Err(Error::invalid("amount", message));
        }
        if let Cell::F64(cell) = &self.0.cell {
            cell.add(amount);
        }
        Ok(())
    }

    /// The sum.
    #[must_use]
    pub fn value(&self) -> f64 {
        if let Cell::F64(cell) = &self.0.cell { cell.read() } else { 0.0 }
    }
}

/// A sum of i64 amounts that may fall: things in flight.
#[derive(Debug, Clone)]
pub struct UpDownCounter(pub(super) Arc<Series>);

impl UpDownCounter {
    /// Adds `amount`, which may be negative. Any thread, async-signal-safe, cannot fail.
    #[inline]
    pub fn add(&self, amount: i64) {
        if let Cell::I64(cell) = &self.0.cell {
            cell.add(amount);
        }
    }

    /// Subtracts `amount`.
    #[inline]
    pub fn sub(&self, amount: i64) {
        self.add(amount.wrapping_neg());
    }

    /// The sum.
    #[must_use]
    pub fn value(&self) -> i64 {
        if let Cell::I64(cell) = &self.0.cell { cell.read() } else { 0 }
    }
}

/// A sum of f64 amounts that may fall.
#[derive(Debug, Clone)]
pub struct UpDownCounterF64(pub(super) Arc<Series>);

impl UpDownCounterF64 {
    /// Adds `amount`, which may be negative. Any thread, async-signal-safe.
    ///
    /// # Errors
    /// InvalidArgument for NaN or an infinite amount; nothing is added.
    #[inline]
    pub fn add(&self, amount: f64) -> Result<(), Error> {
        if !amount.is_finite() {
            let message = format!("an up-down counter cannot add {amount}: it must be finite");
            return Err(Error::invalid("amount", message));
        }
        if let Cell::F64(cell) = &self.0.cell {
            cell.add(amount);
        }
        Ok(())
    }

    /// Subtracts `amount`.
    ///
    /// # Errors
    /// As [`UpDownCounterF64::add`].
    #[inline]
    pub fn sub(&self, amount: f64) -> Result<(), Error> {
        self.add(-amount)
    }

    /// The sum.
    #[must_use]
    pub fn value(&self) -> f64 {
        if let Cell::F64(cell) = &self.0.cell { cell.read() } else { 0.0 }
    }
}

/// A value that is set; any f64.
#[derive(Debug, Clone)]
pub struct Gauge(pub(super) Arc<Series>);

impl Gauge {
    /// Sets the value. Any thread, async-signal-safe, cannot fail.
    #[inline]
    pub fn set(&self, value: f64) {
        if let Cell::Gauge(cell) = &self.0.cell {
            cell.set(value);
        }
    }

    /// Adds `amount`, which may be negative.
    #[inline]
    pub fn add(&self, amount: f64) {
        if let Cell::Gauge(cell) = &self.0.cell {
            cell.add(amount);
        }
    }

    /// Subtracts `amount`.
    #[inline]
    pub fn sub(&self, amount: f64) {
        self.add(-amount);
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> f64 {
        if let Cell::Gauge(cell) = &self.0.cell { cell.read() } else { 0.0 }
    }
}

/// Counts observations in buckets.
#[derive(Debug, Clone)]
pub struct Histogram {
    pub(super) series: Arc<Series>,
    pub(super) bounds: Arc<[f64]>,
    pub(super) refused: Arc<AtomicU64>,
}

impl Histogram {
    /// Counts `value` in the first bucket whose upper bound is not below it.
    ///
    /// Any thread, async-signal-safe. ±Inf counts in the outermost bucket and makes the sum
    /// infinite; NaN is not counted, but counted as dropped (`tallyport_dropped_samples_total`).
    #[inline]
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            self.refused.fetch_add(1, Relaxed);
            return;
        }
        if let Cell::Histogram(cell) = &self.series.cell {
            cell.observe(self.bounds.partition_point(|bound| *bound < value), value);
        }
    }

    /// Number of observations and their sum.
    #[must_use]
    pub fn totals(&self) -> (u64, f64) {
        let Cell::Histogram(cell) = &self.series.cell else { return (0, 0.0) };
        (0..=self.bounds.len())
            .map(|bucket| cell.read(bucket))
            .fold((0, 0.0), |(count, sum), (bucket_sum, bucket_count)| {
                (count + bucket_count, sum + bucket_sum)
            })
    }
}
