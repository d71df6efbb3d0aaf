//! A run that is told to end early, and what a process that ends in the middle of one leaves behind.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use super::{super::Engine, lease_of};
use crate::{export::wake, model::fork};

/// Tells runs that have it to end: between two pieces that the exporter writes, and before they deliver.
/// Clones are one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Tells them. Any thread.
    pub fn stop(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether they were told.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.load(Relaxed)
    }
}

impl Engine {
    /// Gives back the leases of runs that go on on other threads, and removes the files that they have not
    /// delivered: for a process that ends now, whatever those threads wait for.
    ///
    /// What a run delivers after it is delivered without a lease: end the process at once. It waits for
    /// a step of the store that runs, at most for that one's deadline.
    pub fn abandon_runs(&self) {
        for (name, state) in &self.0.targets.states {
            let (held, temporary) = {
                let mut state = state.lock();
                (state.held.take(), state.temporary.take())
            };
            if let Some(path) = temporary
                && let Err(error) = std::fs::remove_file(&path)
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!("`{}` was left behind: {error}", path.display());
            }
            if let Some((owner, held)) = held
                && owner == fork::generation()
            {
                wake(self, &lease_of(name), &held);
            }
        }
    }
}
