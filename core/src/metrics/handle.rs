//! Handles: what a program keeps and records through.
//!
//! Clone and send them freely; recording takes no lock, allocates nothing, and is safe in a signal
//! handler. A handle keeps its series' memory: after `remove` or the engine's end it still records,
//! where nobody looks.

use std::sync::Arc;

use super::{
    arena::{F64Cell, GaugeCell, HistogramCell, I64Cell, U64Cell},
    bounds::Bounds,
    table::{Found, Shape},
};
use crate::model::Error;

/// Keeps a series' cell from being used for another series.
#[derive(Debug)]
pub(super) struct Pin {
    shape: Arc<Shape>,
    row: u32,
}

impl Pin {
    /// Takes over the pin of what was found.
    pub(super) fn new(shape: &Arc<Shape>, found: Found) -> Self {
        Self { shape: Arc::clone(shape), row: found.row }
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        self.shape.pin_again(self.row);
        Self { shape: Arc::clone(&self.shape), row: self.row }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.shape.unpin(self.row);
    }
}

macro_rules! from_series {
    ($($handle:ident: $cell:ident),+) => {$(
        impl $handle {
            pub(super) fn new(shape: &Arc<Shape>, found: Found) -> Self {
                let cell = $cell::new(shape.place(found.row));
                Self { cell, pin: Pin::new(shape, found) }
            }
        }
    )+};
}

from_series!(
    Counter: U64Cell,
    CounterF64: F64Cell,
    UpDownCounter: I64Cell,
    UpDownCounterF64: F64Cell
);

impl Gauge {
    pub(super) fn new(shape: &Arc<Shape>, found: Found) -> Self {
        Self { cell: shape.gauge(found.row), pin: Pin::new(shape, found) }
    }
}

/// Checks what is added to an f64 counter.
#[inline]
pub(super) fn check_counter_amount(amount: f64) -> Result<(), Error> {
    if amount >= 0.0 && amount.is_finite() {
        return Ok(());
    }
    let message = format!("a counter cannot add {amount}: it must be finite and >= 0");
    Err(Error::invalid("amount", message))
}

/// Checks what is added to an f64 up-down counter.
#[inline]
pub(super) fn check_up_down_amount(amount: f64) -> Result<(), Error> {
    if amount.is_finite() {
        return Ok(());
    }
    let message = format!("an up-down counter cannot add {amount}: it must be finite");
    Err(Error::invalid("amount", message))
}

/// A monotonic sum of u64 amounts.
#[derive(Debug, Clone)]
pub struct Counter {
    cell: U64Cell,
    pin: Pin,
}

impl Counter {
    /// Adds `amount`. Any thread, async-signal-safe, cannot fail.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.cell.add(amount);
    }

    /// Adds one.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// The sum.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.cell.read(&self.pin.shape.planes())
    }
}

/// A monotonic sum of f64 amounts.
#[derive(Debug, Clone)]
pub struct CounterF64 {
    cell: F64Cell,
    pin: Pin,
}

impl CounterF64 {
    /// Adds `amount`. Any thread, async-signal-safe.
    ///
    /// # Errors
    /// InvalidArgument for a negative, NaN or infinite amount; nothing is added.
    #[inline]
    pub fn add(&self, amount: f64) -> Result<(), Error> {
        check_counter_amount(amount)?;
        self.cell.add(amount);
        Ok(())
    }

    /// The sum.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.cell.read(&self.pin.shape.planes())
    }
}

/// A sum of i64 amounts that may fall: things in flight.
#[derive(Debug, Clone)]
pub struct UpDownCounter {
    cell: I64Cell,
    pin: Pin,
}

impl UpDownCounter {
    /// Adds `amount`, which may be negative. Any thread, async-signal-safe, cannot fail.
    #[inline]
    pub fn add(&self, amount: i64) {
        self.cell.add(amount);
    }

    /// Subtracts `amount`.
    #[inline]
    pub fn sub(&self, amount: i64) {
        self.add(amount.wrapping_neg());
    }

    /// The sum.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.cell.read(&self.pin.shape.planes())
    }
}

/// A sum of f64 amounts that may fall.
#[derive(Debug, Clone)]
pub struct UpDownCounterF64 {
    cell: F64Cell,
    pin: Pin,
}

impl UpDownCounterF64 {
    /// Adds `amount`, which may be negative. Any thread, async-signal-safe.
    ///
    /// # Errors
    /// InvalidArgument for NaN or an infinite amount; nothing is added.
    #[inline]
    pub fn add(&self, amount: f64) -> Result<(), Error> {
        check_up_down_amount(amount)?;
        self.cell.add(amount);
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
        self.cell.read(&self.pin.shape.planes())
    }
}

/// A value that is set; any f64.
#[derive(Debug, Clone)]
pub struct Gauge {
    cell: GaugeCell,
    #[expect(dead_code, reason = "keeps the cell")]
    pin: Pin,
}

impl Gauge {
    /// Sets the value. Any thread, async-signal-safe, cannot fail.
    #[inline]
    pub fn set(&self, value: f64) {
        self.cell.set(value);
    }

    /// Adds `amount`, which may be negative.
    #[inline]
    pub fn add(&self, amount: f64) {
        self.cell.add(amount);
    }

    /// Subtracts `amount`.
    #[inline]
    pub fn sub(&self, amount: f64) {
        self.add(-amount);
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.cell.read()
    }
}

/// Counts observations in buckets.
#[derive(Debug, Clone)]
pub struct Histogram {
    cell: HistogramCell,
    bounds: Bounds,
    pin: Pin,
}

impl Histogram {
    pub(super) fn new(shape: &Arc<Shape>, found: Found, bounds: Bounds) -> Self {
        let cell = HistogramCell::new(shape.place(found.row), bounds.len() + 1);
        Self { cell, bounds, pin: Pin::new(shape, found) }
    }

    /// Counts `value` in the first bucket whose upper bound is not below it.
    ///
    /// Any thread, async-signal-safe. ±Inf counts in the outermost bucket and makes the sum
    /// infinite; NaN is not counted, but counted as dropped (`tallyport_dropped_samples_total`).
    #[inline]
    pub fn observe(&self, value: f64) {
        if value.is_nan() {
            self.pin.shape.refuse_nan();
            return;
        }
        self.cell.observe(self.bounds.bucket(value), value);
    }

    /// Number of observations and their sum.
    #[must_use]
    pub fn totals(&self) -> (u64, f64) {
        let planes = self.pin.shape.planes();
        let buckets = (0..self.cell.buckets()).map(|bucket| self.cell.read(bucket, &planes));
        buckets.fold((0, 0.0), |(count, sum), (more, counted)| (count + counted, sum + more))
    }
}
