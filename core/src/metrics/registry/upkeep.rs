//! What is done before a snapshot: the engine's own counters, and series that were idle for too long.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tallyport_plugin_api::{Kind, Number};

use super::{super::handle::Counter, Admission, Description, Metrics, Spot, Word};
use crate::model::{Error, GaugeMode, SortedLabels, grace};

/// Name of the engine's own family that counts what was not recorded.
const DROPPED_FAMILY: &str = "tallyport_dropped_samples_total";

impl Metrics {
    /// Brings everything up to date before a snapshot: what the host's functions are asked for, and
    /// the engine's own families.
    pub(crate) fn record_own(&self) {
        self.collect();
        self.expire_idle();
        let words = [
            ("nan", Word::DroppedNan, Word::ToldNan),
            ("overflow", Word::DroppedOverflow, Word::ToldOverflow),
        ];
        for (reason, dropped, told) in words {
            let ground = &self.0.memory.ground;
            let count = ground.word(dropped).load(Relaxed);
            if count == ground.word(told).load(Relaxed) {
                continue;
            }
            // No lock is held: what is logged may reach a subscriber that takes a snapshot.
            match self.own_counter(DROPPED_FAMILY, "reason", reason) {
                // Of all threads and processes each tells of what it took.
                Ok(counter) => {
                    counter.add(count.saturating_sub(ground.word(told).fetch_max(count, Relaxed)));
                }
                Err(error) => tracing::warn!(%error, "the engine's own counter"),
            }
        }
    }

    /// A counter of one of the engine's own families, past the limits: it is there to tell of them.
    pub(super) fn own_counter(
        &self,
        name: &str,
        label: &str,
        value: &str,
    ) -> Result<Counter, Error> {
        let what = Description {
            name,
            kind: Kind::Counter,
            number: Number::U64,
            bounds: &[],
            help: "",
            unit: "",
            cells: None,
            mode: GaugeMode::Undeclared,
        };
        let family = self.family(&what, None)?;
        let labels = SortedLabels::new(&[(label, value)])?;
        let shape = family.shape_or_make(labels.names(), labels.names())?;
        let found =
            self.make(family, shape, &[value], Admission::Always, &|spot: Spot<'_>| spot.pin())?;
        Ok(Counter::new(shape, found))
    }

    /// Takes out the series that were idle for too long, when it is time to look.
    fn expire_idle(&self) {
        if !self.0.sweeper.is_due(self.0.clock.monotonic()) {
            return;
        }
        let mut fading = Vec::new();
        for family in self.list() {
            for shape in family.shapes() {
                let rows = shape.sweep();
                if !rows.is_empty() {
                    fading.push((Arc::clone(&family), shape, rows));
                }
            }
        }
        // A lookup that began before has ended after; one that begins later keeps its series.
        // Where some section still runs, the next sweep finds the same series fading.
        if fading.is_empty() || !grace::all_passed() {
            return;
        }
        for (family, shape, rows) in fading {
            let expired = shape.expire(&rows);
            self.uncount(&family, expired);
            self.0.expired.fetch_add(expired as u64, Relaxed);
        }
    }
}
