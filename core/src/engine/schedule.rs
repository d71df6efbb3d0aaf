//! Exports on schedule, on a thread that the host asked for.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use super::{
    Engine, Inner,
    background::{Bell, Woken},
    share::{Tell, jitter},
    targets::{By, Order, RunOptions},
};
use crate::{
    event::{Listen, Subscription},
    export::{Due, Ending, Fingerprint, Plan, Planner, Strategy},
    model::{Error, ErrorKind, fork},
};

impl Engine {
    /// Starts a thread that exports every enabled target of the configuration when it is due.
    ///
    /// Of several processes with the same store one exports in each interval: it keeps the lease of
    /// the target until the next start is near. The thread calls no code of the host: no event is
    /// published, and what it logs goes to a process-wide subscriber only. What it did is in
    /// [`Engine::export_history`], [`Engine::target_status`] and in `tallyport_export_*`.
    ///
    /// It ends with [`Engine::stop_schedule`] or with the engine. A forked child has none, and may
    /// start its own.
    ///
    /// # Errors
    /// AlreadyExists when there is one, NotFound where no target is enabled, Io when no thread can be
    /// started.
    pub fn start_schedule(&self) -> Result<(), Error> {
        let config = &self.0.config;
        let enabled = config.targets.iter().filter(|(_, target)| target.enabled);
        let mut names = Vec::new();
        let mut plans = Vec::new();
        for (name, target) in enabled {
            names.push(name.clone());
            plans.push(Plan { strategy: config.strategy_of(target), jitter: target.jitter });
        }
        if names.is_empty() {
            let message = "the configuration has no enabled target: `[targets.NAME]`";
            return Err(Error::new(ErrorKind::NotFound, message).with_field("targets"));
        }
        let listen = |bell: &Arc<Bell>| {
            let events =
                plans.iter().enumerate().filter_map(|(index, plan)| match &plan.strategy {
                    Strategy::Event { name } => Some((index, name.as_str())),
                    _ => None,
                });
            events.map(|(index, name)| self.ring_on(bell, index, name)).collect()
        };
        let engine = Arc::downgrade(&self.0);
        let schedule = (names, plans.clone());
        self.0.schedule.start(listen, move |bell| keep(&engine, bell, schedule))
    }

    /// Has an event ring for a target.
    fn ring_on(&self, bell: &Arc<Bell>, index: usize, name: &str) -> Result<Subscription, Error> {
        let (bell, here) = (Arc::clone(bell), fork::generation());
        self.0.events.subscribe(Listen::to(&[name]), move |_| {
            // A forked child has the subscription, and no thread behind it.
            if fork::generation() == here {
                bell.ring(index);
            }
            Ok(())
        })
    }

    /// Ends the thread of [`Engine::start_schedule`]: it ends the run that it is in, exports every
    /// target for the last time, and is waited for, at most `timeout`. Without one it does nothing.
    ///
    /// # Errors
    /// Timeout when it had not ended by then: it does so after what it is in.
    pub fn stop_schedule(&self, timeout: Duration) -> Result<(), Error> {
        if self.0.schedule.end(Some(timeout)) {
            return Ok(());
        }
        let message = format!("the schedule's last exports were not done within {timeout:?}");
        Err(Error::new(ErrorKind::Timeout, message))
    }

    /// Whether this process has the thread of [`Engine::start_schedule`].
    #[must_use]
    pub fn schedule_runs(&self) -> bool {
        self.0.schedule.runs()
    }
}

/// Targets by their places, with what they wait for.
type Schedule = (Vec<String>, Vec<Plan>);

/// Keeps a schedule until its bell stops, or the engine is gone.
fn keep(engine: &Weak<Inner>, bell: &Bell, (names, plans): Schedule) {
    let strategies: Vec<Strategy> = plans.iter().map(|plan| plan.strategy.clone()).collect();
    let Some(now) = engine.upgrade().map(|inner| inner.metrics.clock().monotonic()) else { return };
    let mut desk =
        Desk { planner: Planner::new(plans, now, jitter), names, strategies, look: None };
    loop {
        let Some(inner) = engine.upgrade() else { return };
        let engine_now = Engine(inner);
        desk.tell_plans(&engine_now);
        let now = engine_now.0.metrics.clock().monotonic();
        let wait = desk.planner.next().map(|next| next.saturating_sub(now));
        // Else waiting would keep the engine alive.
        drop(engine_now);
        let woken = bell.wait(wait);
        let Some(inner) = engine.upgrade() else { return };
        let engine_now = Engine(inner);
        match woken {
            Woken::Stop => {
                desk.close(&engine_now, bell);
                return;
            }
            Woken::Go(rung) => rung.into_iter().for_each(|index| desk.planner.ask(index)),
        }
        desk.serve(&engine_now, bell);
    }
}

struct Desk {
    planner: Planner,
    names: Vec<String>,
    strategies: Vec<Strategy>,
    /// The look of this round, which targets share.
    look: Option<Fingerprint>,
}

impl Desk {
    /// Does what is due.
    fn serve(&mut self, engine: &Engine, bell: &Bell) {
        let clock = engine.0.metrics.clock();
        let round = clock.monotonic();
        self.look = None;
        for (index, due) in self.planner.due(round) {
            if bell.is_stopped() {
                return;
            }
            if due == Due::Look {
                let changed = self.changed(engine, index);
                self.planner.looked(index, clock.monotonic(), changed, jitter());
                if !self.planner.due(round).contains(&(index, Due::Export)) {
                    continue;
                }
            }
            self.export(engine, index);
        }
    }

    fn export(&mut self, engine: &Engine, index: usize) {
        let Some(name) = self.names.get(index) else { return };
        let clock = engine.0.metrics.clock();
        let start = clock.monotonic();
        let interval = match self.strategies.get(index) {
            Some(Strategy::Scheduled { interval }) => Some(*interval),
            _ => None,
        };
        let order = Order { tell: Tell::Nobody, by: By::Schedule(interval) };
        let retry = match engine.run_target(name, &RunOptions::default(), order) {
            Ok(run) => match run.ending {
                Ending::Failed { retry, .. } => retry,
                _ => None,
            },
            Err(error) => {
                tracing::error!(target_name = name, "not exported: {error}");
                None
            }
        };
        let missed = self.planner.ran(index, (start, clock.monotonic()), retry, jitter());
        if missed > 0 {
            engine.0.targets.meter.missed(name, missed);
        }
    }

    /// How many series changed since a target was exported.
    fn changed(&mut self, engine: &Engine, index: usize) -> u64 {
        let Some(name) = self.names.get(index) else { return 0 };
        if self.look.is_none() {
            match engine.snapshot().and_then(|snapshot| Fingerprint::of(&snapshot)) {
                Ok(look) => self.look = Some(look),
                Err(error) => {
                    tracing::error!(target_name = name, "changes were not counted: {error}");
                    return 0;
                }
            }
        }
        self.look.as_ref().map_or(0, |look| engine.0.targets.changed(name, look))
    }

    /// Exports every target for the last time, and lets others export.
    fn close(&self, engine: &Engine, bell: &Bell) {
        let order = Order { tell: Tell::Nobody, by: By::Caller };
        for name in &self.names {
            let timeout = bell.left().map(|left| left.min(engine.timeout_of(name)));
            let options = RunOptions { timeout, ..RunOptions::default() };
            if let Err(error) = engine.run_target(name, &options, order) {
                tracing::error!(target_name = name, "not exported for the last time: {error}");
            }
            engine.0.targets.plan(name, None);
        }
        engine.wake_leases();
    }

    /// Notes for the status when each target is next.
    fn tell_plans(&self, engine: &Engine) {
        let clock = engine.0.metrics.clock();
        let (now, unix_ns) = (clock.monotonic(), clock.unix_ns());
        for (index, name) in self.names.iter().enumerate() {
            let next = self.planner.next_of(index).map(|next| {
                let wait = u64::try_from(next.saturating_sub(now).as_nanos()).unwrap_or(u64::MAX);
                unix_ns.saturating_add(wait)
            });
            engine.0.targets.plan(name, next);
        }
    }
}
