//! Which target is due when: a machine without a thread and without a clock.
//!
//! Times are points of a monotonic clock. Whoever drives it says what time it is, what happened,
//! and how the runs that it asked for ended.

use std::time::Duration;

use super::timing::next_start;

/// When a target is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strategy {
    /// At an interval.
    Scheduled {
        /// From one start to the next.
        interval: Duration,
    },
    /// After so many series changed, as looks at an interval find.
    Threshold {
        /// Series whose value is another one than at the last export.
        changes: u64,
        /// From one look to the next.
        check: Duration,
    },
    /// After an event.
    Event {
        /// Its name or pattern.
        name: String,
    },
}

impl Strategy {
    /// Its name in configurations and reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Scheduled { .. } => "scheduled",
            Self::Threshold { .. } => "threshold",
            Self::Event { .. } => "event",
        }
    }
}

/// What a target waits for.
#[derive(Debug, Clone)]
pub struct Plan {
    /// When it is exported.
    pub strategy: Strategy,
    /// How much earlier or later each start may be, as a part of the interval.
    pub jitter: f64,
}

/// What is to be done now for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Export it.
    Export,
    /// Count what changed, and say so by [`Planner::looked`].
    Look,
}

#[derive(Debug)]
struct Entry {
    plan: Plan,
    /// The next start or look; `None`: it waits for an event.
    next: Option<Duration>,
    /// A failed export waits for its next attempt.
    retrying: bool,
    /// Asked for by an event or by a look.
    asked: bool,
}

/// The targets of a schedule, by their places.
#[derive(Debug)]
pub struct Planner {
    entries: Vec<Entry>,
    start: Duration,
}

impl Entry {
    /// The time from one start or look to the next; `None` for events.
    fn period(&self) -> Option<Duration> {
        match &self.plan.strategy {
            Strategy::Scheduled { interval } => Some(*interval),
            Strategy::Threshold { check, .. } => Some(*check),
            Strategy::Event { .. } => None,
        }
    }

    fn after(&self, last: Duration, now: Duration, chance: f64) -> (Option<Duration>, u64) {
        match self.period() {
            None => (None, 0),
            Some(period) => {
                let (next, missed) = next_start(last, now, period, self.plan.jitter, chance);
                (Some(next), missed)
            }
        }
    }
}

impl Planner {
    /// A schedule that starts now: the first export of an interval comes at its end.
    #[must_use]
    pub fn new(plans: Vec<Plan>, now: Duration, mut chance: impl FnMut() -> f64) -> Self {
        let entries = plans.into_iter().map(|plan| {
            let mut entry = Entry { plan, next: None, retrying: false, asked: false };
            (entry.next, _) = entry.after(now, now, chance());
            entry
        });
        Self { entries: entries.collect(), start: now }
    }

    /// When something is due next; `None`: not before an event.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        (0..self.entries.len()).filter_map(|index| self.next_of(index)).min()
    }

    /// When a target is next looked at or exported.
    #[must_use]
    pub fn next_of(&self, index: usize) -> Option<Duration> {
        let entry = self.entries.get(index)?;
        // A retry keeps its delay, whatever asks.
        if entry.asked && !entry.retrying { Some(self.start) } else { entry.next }
    }

    /// What is due now.
    #[must_use]
    pub fn due(&self, now: Duration) -> Vec<(usize, Due)> {
        let due = |(index, entry): (usize, &Entry)| {
            let reached = self.next_of(index).is_some_and(|next| next <= now);
            let looks = matches!(entry.plan.strategy, Strategy::Threshold { .. });
            let what =
                if looks && !entry.asked && !entry.retrying { Due::Look } else { Due::Export };
            reached.then_some((index, what))
        };
        self.entries.iter().enumerate().filter_map(due).collect()
    }

    /// An event asked for a target.
    pub fn ask(&mut self, index: usize) {
        if let Some(entry) = self.entries.get_mut(index) {
            entry.asked = true;
        }
    }

    /// A look found that so many series changed.
    pub fn looked(&mut self, index: usize, now: Duration, changed: u64, chance: f64) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        if let Strategy::Threshold { changes, .. } = entry.plan.strategy
            && changed >= changes
        {
            entry.asked = true;
            return;
        }
        (entry.next, _) = entry.after(entry.next.unwrap_or(now), now, chance);
    }

    /// A run ended that began at `start`. Answers how many starts it missed.
    pub fn ran(
        &mut self,
        index: usize,
        (start, now): (Duration, Duration),
        retry: Option<Duration>,
        chance: f64,
    ) -> u64 {
        let Some(entry) = self.entries.get_mut(index) else { return 0 };
        entry.asked = false;
        let missed;
        match retry {
            Some(delay) => {
                entry.retrying = true;
                entry.next = Some(now + delay);
                missed = 0;
            }
            None => {
                entry.retrying = false;
                (entry.next, missed) = entry.after(start, now, chance);
            }
        }
        match entry.plan.strategy {
            Strategy::Scheduled { .. } => missed,
            // A look that comes late is no export that is missed.
            _ => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Strategy, *};

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn planner(strategies: &[Strategy]) -> Planner {
        let plan = |strategy: &Strategy| Plan { strategy: strategy.clone(), jitter: 0.0 };
        Planner::new(strategies.iter().map(plan).collect(), s(1000), || 0.5)
    }

    #[test]
    fn an_interval_goes_on_in_step_whatever_a_run_takes() {
        let mut planner = planner(&[Strategy::Scheduled { interval: s(240) }]);
        assert_eq!(planner.next(), Some(s(1240)));
        assert_eq!(planner.due(s(1239)), []);
        assert_eq!(planner.due(s(1240)), [(0, Due::Export)]);
        assert_eq!(planner.ran(0, (s(1240), s(1250)), None, 0.5), 0);
        assert_eq!(planner.next(), Some(s(1480)));
        // A run that takes longer than the interval: what it missed is counted, not made up for.
        assert_eq!(planner.ran(0, (s(1480), s(2000)), None, 0.5), 2);
        assert_eq!(planner.next(), Some(s(2000)));
    }

    #[test]
    fn a_failed_run_is_tried_again_after_its_delay_and_then_in_step() {
        let mut planner = planner(&[Strategy::Scheduled { interval: s(240) }]);
        planner.ran(0, (s(1240), s(1241)), Some(s(2)), 0.5);
        assert_eq!(planner.next(), Some(s(1243)));
        assert_eq!(planner.due(s(1243)), [(0, Due::Export)]);
        planner.ran(0, (s(1243), s(1244)), None, 0.5);
        assert_eq!(planner.next(), Some(s(1483)));
    }

    #[test]
    fn an_event_is_due_at_once_and_once() {
        let mut planner = planner(&[Strategy::Event { name: "task.completed".into() }]);
        assert_eq!(planner.next(), None);
        planner.ask(0);
        planner.ask(0);
        assert_eq!(planner.due(s(1000)), [(0, Due::Export)]);
        planner.ran(0, (s(1000), s(1001)), Some(s(10)), 0.5);
        // While it waits for its next attempt, nobody hurries it.
        planner.ask(0);
        assert_eq!((planner.due(s(1005)), planner.next()), (vec![], Some(s(1011))));
        planner.ran(0, (s(1011), s(1012)), None, 0.5);
        assert_eq!((planner.next(), planner.due(s(9999))), (None, vec![]));
    }

    #[test]
    fn a_threshold_is_looked_at_until_enough_changed() {
        let mut planner = planner(&[Strategy::Threshold { changes: 10, check: s(1) }]);
        assert_eq!(planner.due(s(1001)), [(0, Due::Look)]);
        planner.looked(0, s(1001), 9, 0.5);
        assert_eq!((planner.due(s(1001)), planner.next()), (vec![], Some(s(1002))));
        planner.looked(0, s(1002), 10, 0.5);
        assert_eq!(planner.due(s(1002)), [(0, Due::Export)]);
        planner.ran(0, (s(1002), s(1002)), None, 0.5);
        assert_eq!(planner.due(s(1003)), [(0, Due::Look)]);
    }

    proptest! {
        /// Whatever the runs take and however they end, an interval target is due again within its
        /// interval, or its delay, after each.
        #[test]
        fn a_target_is_always_due_again(
            interval in 1_u64..1000,
            jitter in 0.0_f64..0.5,
            runs in prop::collection::vec((0_u64..3000, prop::option::of(0_u64..500), 0.0_f64..1.0), 1..50),
        ) {
            let strategy = Strategy::Scheduled { interval: s(interval) };
            let mut planner = Planner::new(vec![Plan { strategy, jitter }], s(0), || 0.5);
            for (took, retry, chance) in runs {
                let start = planner.next().unwrap();
                prop_assert_eq!(planner.due(start).len(), 1);
                let now = start + s(took);
                planner.ran(0, (start, now), retry.map(s), chance);
                let next = planner.next().unwrap();
                prop_assert!(next >= now);
                let most = retry.map_or(s(interval).mul_f64(1.0 + jitter), s);
                prop_assert!(next - now <= most);
                prop_assert!(planner.due(next - Duration::from_nanos(1).min(next)).len() <= 1);
            }
        }
    }
}
