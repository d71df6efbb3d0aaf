//! Functions of the host that are asked for values before a snapshot, registered and called.

use super::{Metrics, SortedLabels};
use crate::{
    metrics::collect::{Ask, Collector, CollectorInfo, Entry, Threads, Told, Way},
    model::{Error, check_metric_name},
};

/// Name of the engine's own family that counts functions that failed.
const FAILURES_FAMILY: &str = "tallyport_collect_failures_total";

impl Metrics {
    /// Has a gauge set to what `function` answers whenever a snapshot is taken.
    ///
    /// The function is called on threads that ask for snapshots, on one at a time, with no lock held. It
    /// may call the engine, but should be quick: whoever asked waits.
    ///
    /// # Errors
    /// As [`Metrics::collector`].
    pub fn gauge_fn(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        function: impl Fn() -> f64 + Send + Sync + 'static,
    ) -> Result<Collector, Error> {
        let ask = Ask::Gauge(Box::new(move || Ok(function())));
        self.collector(name, labels, Threads::default(), ask)
    }

    /// Has a counter follow the total that `function` answers whenever a snapshot is taken.
    ///
    /// What the total rose by since the last call is added; one that fell began anew, and is added. A
    /// forked child's first call says only where its total stands.
    ///
    /// # Errors
    /// As [`Metrics::collector`].
    pub fn counter_fn(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        function: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Collector, Error> {
        let ask = Ask::Counter(Box::new(move || Ok(function())));
        self.collector(name, labels, Threads::default(), ask)
    }

    /// Has a function called whenever a snapshot is taken, before values are read.
    ///
    /// `name` and `labels` are the series that it fills; of one that records itself
    /// ([`Ask::All`]), its name in lists and in the log. It ends when the [`Collector`] is dropped, or
    /// with the engine, which it must not own.
    ///
    /// # Errors
    /// What the call for the series' handle answers, AlreadyExists when the series or name has a function,
    /// Limit, InvalidArgument for labels of one that records itself.
    pub fn collector(
        &self,
        name: &str,
        labels: &[(&str, &str)],
        threads: Threads,
        ask: Ask,
    ) -> Result<Collector, Error> {
        let kind = ask.kind();
        let series = SortedLabels::new(labels)?;
        let told = match series.pairs() {
            [] => name.to_owned(),
            _ => format!("{name}{series}"),
        };
        let way = match ask {
            Ask::Gauge(function) => Way::Gauge(self.gauge(name, labels)?, function),
            Ask::Counter(function) => {
                Way::Counter(self.counter(name, labels)?, Told::default(), function)
            }
            Ask::CounterF64(function) => {
                Way::CounterF64(self.counter_f64(name, labels)?, Told::default(), function)
            }
            Ask::All(function) => {
                check_metric_name(name)?;
                if !labels.is_empty() {
                    let message = "a function that records itself has a name and no labels";
                    return Err(Error::invalid("labels", message));
                }
                Way::All(function)
            }
        };
        self.0.collectors.add(Entry::new(told, kind, threads, way))
    }

    /// The functions, in the order of their registration.
    #[must_use]
    pub fn collectors(&self) -> Vec<CollectorInfo> {
        self.0.collectors.infos()
    }

    /// Calls the functions that may be called on this thread. No lock is held.
    pub(super) fn collect(&self) {
        self.0.collectors.run(|name| match self.own_counter(FAILURES_FAMILY, "collector", name) {
            Ok(counter) => counter.inc(),
            Err(error) => tracing::warn!(%error, "the engine's own counter"),
        });
    }

    /// Ends all functions: the engine ends.
    pub(crate) fn end_collectors(&self) {
        self.0.collectors.end();
    }
}
