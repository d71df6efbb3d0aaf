//! What hangs and was given up, by name: it outlives the exporter's registration.

use std::collections::HashMap;

use parking_lot::Mutex;

/// Exporters of an engine that hang in a call, by the name they were registered under.
#[derive(Debug, Default)]
pub(crate) struct Zombies(Mutex<HashMap<String, usize>>);

impl Zombies {
    /// How many of that name hang.
    pub(crate) fn of(&self, name: &str) -> usize {
        self.0.lock().get(name).copied().unwrap_or(0)
    }

    /// One more hangs. Returns how many that makes.
    pub(crate) fn add(&self, name: &str) -> usize {
        let mut zombies = self.0.lock();
        let count = zombies.entry(name.to_owned()).or_default();
        *count += 1;
        *count
    }

    /// One that hung ended after all.
    pub(crate) fn remove(&self, name: &str) {
        let mut zombies = self.0.lock();
        if let Some(count) = zombies.get_mut(name) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                zombies.remove(name);
            }
        }
    }
}
