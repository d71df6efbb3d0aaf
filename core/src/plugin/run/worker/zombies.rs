//! What hangs and was given up, by name: it outlives the exporter's registration.

use std::collections::HashMap;

use crate::model::{Mutex, MutexGuard, fork};

/// Exporters of an engine that hang in a call, by the name they were registered under. In a forked
/// child nothing hangs: the threads are not there.
#[derive(Debug, Default)]
pub(crate) struct Zombies(Mutex<Hanging>);

#[derive(Debug, Default)]
struct Hanging {
    generation: u64,
    counts: HashMap<String, usize>,
}

impl Zombies {
    /// How many of that name hang.
    pub(crate) fn of(&self, name: &str) -> usize {
        self.hanging().counts.get(name).copied().unwrap_or(0)
    }

    /// One more hangs. Returns how many that makes.
    pub(crate) fn add(&self, name: &str) -> usize {
        let mut hanging = self.hanging();
        let count = hanging.counts.entry(name.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// One that hung ended after all.
    pub(crate) fn remove(&self, name: &str) {
        let mut hanging = self.hanging();
        if let Some(count) = hanging.counts.get_mut(name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                hanging.counts.remove(name);
            }
        }
    }

    fn hanging(&self) -> MutexGuard<'_, Hanging> {
        let mut hanging = self.0.lock();
        let generation = fork::generation();
        if hanging.generation != generation {
            *hanging = Hanging { generation, counts: HashMap::new() };
        }
        hanging
    }
}
