//! How targets stand for all who share the store: who has the lease, what the last run did.

use super::{
    super::{Engine, config::TargetDestination, share::instance},
    By, TargetStatus, lease_of,
};
use crate::{
    export::{Again, Ending, Fencing, LastRun, Run},
    model::{Error, ErrorKind},
    store::{LeaseStanding, Locking},
};

/// A target, with what the store says of it.
#[derive(Debug, Clone)]
pub struct TargetStanding {
    /// What it is, and how it stands in this process.
    pub status: TargetStatus,
    /// Its lease; `None`: it has none, for it exports what one process recorded, or the store cannot
    /// lock.
    pub lease: Option<LeaseStanding>,
    /// What the last run did, by whichever process; `None`: nothing is known of one.
    pub last_run: Option<LastRun>,
}

impl Engine {
    /// The targets, and how they stand in the store: as somebody who looks and changes nothing.
    ///
    /// # Errors
    /// Where a target has a lease: Unsupported in a forked child, Unavailable while a failing store is
    /// left alone, what connecting to it or the store answers, Damaged.
    pub fn target_standings(&self) -> Result<Vec<TargetStanding>, Error> {
        let mut standings: Vec<TargetStanding> = self
            .target_status()
            .into_iter()
            .map(|status| TargetStanding { status, lease: None, last_run: None })
            .collect();
        let targets = &self.0.config.targets;
        let shared = |one: &TargetStanding| {
            targets.get(&one.status.name).filter(|target| self.exports_all(target))
        };
        if !standings.iter().any(|one| shared(one).is_some()) {
            return Ok(standings);
        }
        self.with_store(&mut |store| {
            for one in &mut standings {
                let Some(target) = shared(one) else { continue };
                let locking = store.locking();
                let is_file = target.destination == TargetDestination::File;
                one.status.fencing = Fencing::of(locking, is_file);
                if locking == Locking::Absent {
                    continue;
                }
                let lease = lease_of(&one.status.name);
                one.lease = Some(store.standing(&lease)?);
                let noted = store.noted(&lease)?;
                one.last_run = noted.map(|text| read(&lease, &text)).transpose()?;
            }
            Ok(())
        })?;
        Ok(standings)
    }

    /// Keeps what a run did beside the lease of its target. A failure is no failure of the export.
    pub(super) fn note(&self, run: &Run, by: By) {
        // What the store kept from being an export for all would keep a note from it too.
        let worth = match &run.ending {
            Ending::Skipped(_) => false,
            Ending::Failed { again: Again::Never, .. } => true,
            Ending::Failed { .. } | Ending::Delivered => run.token.is_some(),
        };
        if !worth || self.0.share.own_process().is_err() {
            return;
        }
        let next = match (&run.ending, by) {
            (Ending::Failed { retry: Some(delay), .. }, By::Schedule(_)) => Some(*delay),
            (_, By::Schedule(Some(interval))) => Some(interval.saturating_sub(run.duration)),
            _ => None,
        };
        let Some(kept) = LastRun::of(run, &instance(&self.0.config), next) else { return };
        let done = serde_json::to_string(&kept)
            .map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))
            .and_then(|text| {
                self.with_store(&mut |store| store.note(&lease_of(&run.target), &text))
            });
        if let Err(error) = done {
            tracing::warn!(
                target_name = run.target,
                "what it did was not noted in the store: {error}"
            );
        }
    }
}

fn read(lease: &str, text: &str) -> Result<LastRun, Error> {
    serde_json::from_str(text).map_err(|error| {
        let message = format!("the note at the lease `{lease}` cannot be read: {error}");
        Error::new(ErrorKind::Damaged, message)
    })
}
