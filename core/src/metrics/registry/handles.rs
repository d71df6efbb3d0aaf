//! Handles of series, found or made by name and labels.

use tallyport_plugin_api::{Kind, Number};

use super::{
    super::handle::{Counter, CounterF64, Gauge, Histogram, UpDownCounter, UpDownCounterF64},
    Metrics,
};
use crate::model::Error;

impl Metrics {
    /// The u64 counter with these labels, created on first use.
    ///
    /// # Errors
    /// InvalidArgument for a bad name or label, Conflict, or Limit when memory for cells is used.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Result<Counter, Error> {
        let at = self.locate(name, Kind::Counter, Number::U64, None, labels)?;
        Ok(Counter::new(at.shape, at.found))
    }

    /// The f64 counter with these labels, created on first use.
    ///
    /// # Errors
    /// As [`Metrics::counter`].
    pub fn counter_f64(&self, name: &str, labels: &[(&str, &str)]) -> Result<CounterF64, Error> {
        let at = self.locate(name, Kind::Counter, Number::F64, None, labels)?;
        Ok(CounterF64::new(at.shape, at.found))
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
        let at = self.locate(name, Kind::UpDownCounter, Number::I64, None, labels)?;
        Ok(UpDownCounter::new(at.shape, at.found))
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
        let at = self.locate(name, Kind::UpDownCounter, Number::F64, None, labels)?;
        Ok(UpDownCounterF64::new(at.shape, at.found))
    }

    /// The gauge with these labels, created on first use.
    ///
    /// # Errors
    /// As [`Metrics::counter`]; past a cardinality limit Limit, because gauges cannot be folded.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Result<Gauge, Error> {
        let at = self.locate(name, Kind::Gauge, Number::F64, None, labels)?;
        Ok(Gauge::new(at.shape, at.found))
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
        let at = self.locate(name, Kind::Histogram, Number::F64, bounds, labels)?;
        Ok(Histogram::new(at.shape, at.found, at.family.bounds.clone()))
    }
}
