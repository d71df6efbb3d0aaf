//! Reading what all instances have, and dropping what is old there.

use super::{
    super::{
        aggregate::{Everyone, read_shard},
        columns::{Modes, own_family},
        output::{Overview, View, overview},
        retire::{Retirement, prunable},
    },
    Session,
};
use crate::{model::Error, snapshot::Snapshot, store::Swap};

impl Session {
    /// What all instances have: counters and histograms added, gauges by their mode.
    ///
    /// It does not publish: sync first, so that this instance's last values are in it. `own` is a
    /// snapshot of this engine, whose families keep their name where instances disagree.
    ///
    /// # Errors
    /// What the store answers; Timeout when the time is over; Limit when there are more series than a snapshot can number.
    pub fn aggregate(&mut self, own: &Snapshot) -> Result<(Overview, Retirement), Error> {
        let mut done = Retirement::default();
        let result = self.read_everyone(own, &mut done);
        let overview = self.told(result, &mut done)?;
        Ok((overview, done))
    }

    fn read_everyone(&mut self, own: &Snapshot, done: &mut Retirement) -> Result<Overview, Error> {
        let mut everyone = Everyone::default();
        let mut totals = Vec::new();
        // The publisher follows when it publishes: this may be somebody who only looks.
        for shard in 0..self.store.recount()? {
            self.in_time()?;
            if self.store.strategy().folds() {
                let roll = self.store.roll(shard)?;
                self.fold(shard, &roll, None, done)?;
            }
            let read = read_shard(&mut *self.store, shard)?;
            everyone.add(&read);
            totals.push(read.totals);
        }
        let retention_ms = self.settings.retired_retention.as_millis() as u64;
        for (shard, totals) in (0..).zip(&totals) {
            let is_live = |key: &[u8]| everyone.get(key).is_some_and(|merged| merged.published > 0);
            let mut dropped = Retirement::default();
            let Some(prune) = prunable(shard, totals, retention_ms, &is_live, &mut dropped) else {
                continue;
            };
            match self.store.prune(&prune)? {
                Swap::Done => done.add(&dropped),
                // A fold came first; the next aggregate looks again.
                Swap::Conflict => done.conflicts += 1,
            }
        }
        let modes = Modes { declared: &own.modes, named: &self.settings.gauge_modes };
        let view = own.read(|view| {
            let own = view.families().map(|family| own_family(&family, modes)).collect();
            let include_instances = self.settings.include_instances;
            Ok::<_, Error>(View { include_instances, own })
        })?;
        overview(&everyone, &view, own.time_unix_ns())
    }
}
