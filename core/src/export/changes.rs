//! How many series changed since an export, by hashes of their names and values.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, Hasher},
};

use foldhash::fast::FixedState;
use tallyport_plugin_api::{Error as ApiError, Value};

use crate::{model::Error, snapshot::Snapshot};

/// The bits of a value: equal ones are no change, whatever they mean.
fn bits(value: Value) -> u64 {
    match value {
        Value::F64(number) => number.to_bits(),
        Value::U64(number) => number,
        Value::I64(number) => number.cast_unsigned(),
    }
}

/// What the engine records of itself changes with every export, and is none.
const OWN: &str = "tallyport_";

/// The values of a snapshot, 16 bytes each.
#[derive(Debug, Default)]
pub struct Fingerprint(HashMap<u64, u64, FixedState>);

impl Fingerprint {
    /// That of a snapshot.
    ///
    /// # Errors
    /// Damaged, for one that breaks the rules of snapshots.
    pub fn of(snapshot: &Snapshot) -> Result<Self, Error> {
        let state = FixedState::default();
        let mut values = HashMap::with_hasher(FixedState::default());
        snapshot.read(|view| {
            for family in view.families().filter(|family| !family.name().starts_with(OWN)) {
                for series in family.series() {
                    let mut key = state.build_hasher();
                    family.name().hash(&mut key);
                    series.labels().for_each(|label| label.hash(&mut key));
                    let mut value = state.build_hasher();
                    match series.histogram() {
                        Some(histogram) => {
                            histogram.sum.to_bits().hash(&mut value);
                            histogram.buckets.hash(&mut value);
                        }
                        None => bits(series.value()).hash(&mut value),
                    }
                    values.insert(key.finish(), value.finish());
                }
            }
            Ok::<_, ApiError>(())
        })?;
        Ok(Self(values))
    }

    /// How many series of this one are new or have another value than in `before`.
    #[must_use]
    pub fn changed_since(&self, before: &Self) -> u64 {
        self.0.iter().filter(|(key, value)| before.0.get(key) != Some(value)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;

    #[test]
    fn changed_and_new_series_count_once_and_the_engines_own_do_not() {
        let engine = Engine::builder().build().unwrap();
        let metrics = engine.metrics();
        let now = || Fingerprint::of(&engine.snapshot().unwrap()).unwrap();
        let requests = |path: &str| metrics.counter("requests", &[("path", path)]).unwrap();
        requests("/a").inc();
        requests("/b").inc();
        metrics.histogram("sizes", &[1.0], &[]).unwrap().observe(0.5);
        metrics.gauge("level", &[]).unwrap().set(1.0);
        let before = now();
        assert_eq!(now().changed_since(&before), 0);
        assert_eq!(before.changed_since(&Fingerprint::default()), 4);
        requests("/a").add(7);
        requests("/c").inc();
        metrics.gauge("level", &[]).unwrap().set(1.0);
        metrics.histogram("sizes", &[1.0], &[]).unwrap().observe(3.0);
        metrics.counter("tallyport_x_total", &[]).unwrap().inc();
        assert_eq!(now().changed_since(&before), 3);
    }
}
