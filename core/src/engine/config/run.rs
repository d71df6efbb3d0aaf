//! The keys of `[plugins.NAME.run]`.

use std::{ops::RangeInclusive, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    model::schema::{KeyPath, Violation, ViolationKind},
    plugin,
};

/// The longest time that a key can name: one day.
const MAX_MS: u64 = 86_400_000;
const MAX_QUEUE: usize = 4096;
const MAX_ZOMBIES: usize = 64;

/// How an exporter is called, and what happens after it failed. All times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Longest time of a call, the wait for its turn included. Starts a thread for the exporter, up
    /// to four for one that is CONCURRENT. Absent: calls run on the thread that asks for them, for
    /// as long as they take.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub deadline_ms: Option<u64>,
    /// How long a call may go on after it was cancelled at its deadline, before it is given up.
    #[schemars(range(max = MAX_MS))]
    pub grace_ms: u64,
    /// How long shutdown may take, where there is a deadline.
    #[schemars(range(max = MAX_MS))]
    pub drain_ms: u64,
    /// Calls that may wait for their turn, where there is a deadline; more are refused.
    #[schemars(range(min = 1, max = MAX_QUEUE))]
    pub queue: usize,
    /// Calls that may hang after they were given up, each with a thread; the exporter is then not
    /// started again.
    #[schemars(range(min = 1, max = MAX_ZOMBIES))]
    pub max_zombies: usize,
    /// Most bytes of one export.
    #[schemars(range(min = 1))]
    pub max_output_bytes: u64,
    /// Failures in a row after which the exporter is left alone for `backoff_ms`; 0: never. Absent:
    /// 5 where there is a deadline, else 0.
    pub breaker_failures: Option<u32>,
    /// How long it is left alone after failures, a panic or a call that hung; doubles each time.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub backoff_ms: u64,
    /// The most that `backoff_ms` doubles to.
    #[schemars(range(min = 1, max = MAX_MS))]
    pub max_backoff_ms: u64,
    /// How often an exporter that panicked is made anew; counted from 0 again after
    /// `max_backoff_ms` without a panic.
    pub max_restarts: u32,
}

impl Default for RunConfig {
    fn default() -> Self {
        let plugin::Limits {
            deadline,
            grace,
            drain,
            queue,
            max_zombies,
            max_output_bytes,
            breaker_failures: _,
            backoff,
            max_backoff,
            max_restarts,
        } = plugin::Limits::default();
        Self {
            deadline_ms: deadline.map(ms),
            grace_ms: ms(grace),
            drain_ms: ms(drain),
            queue,
            max_zombies,
            max_output_bytes,
            breaker_failures: None,
            backoff_ms: ms(backoff),
            max_backoff_ms: ms(max_backoff),
            max_restarts,
        }
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl From<&RunConfig> for plugin::Limits {
    fn from(run: &RunConfig) -> Self {
        let usual = if run.deadline_ms.is_some() { Self::BREAKER_FAILURES } else { 0 };
        Self {
            deadline: run.deadline_ms.map(Duration::from_millis),
            grace: Duration::from_millis(run.grace_ms),
            drain: Duration::from_millis(run.drain_ms),
            queue: run.queue,
            max_zombies: run.max_zombies,
            max_output_bytes: run.max_output_bytes,
            breaker_failures: run.breaker_failures.unwrap_or(usual),
            backoff: Duration::from_millis(run.backoff_ms),
            max_backoff: Duration::from_millis(run.max_backoff_ms),
            max_restarts: run.max_restarts,
        }
    }
}

impl RunConfig {
    /// What the schema says of a file, for what code filled in.
    pub(super) fn check(&self, table: &KeyPath, violations: &mut Vec<Violation>) {
        let number = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let checks: [(&str, u64, RangeInclusive<u64>); 8] = [
            ("deadline_ms", self.deadline_ms.unwrap_or(1), 1..=MAX_MS),
            ("grace_ms", self.grace_ms, 0..=MAX_MS),
            ("drain_ms", self.drain_ms, 0..=MAX_MS),
            ("queue", number(self.queue), 1..=number(MAX_QUEUE)),
            ("max_zombies", number(self.max_zombies), 1..=number(MAX_ZOMBIES)),
            ("max_output_bytes", self.max_output_bytes, 1..=u64::MAX),
            ("backoff_ms", self.backoff_ms, 1..=MAX_MS),
            ("max_backoff_ms", self.max_backoff_ms, 1..=MAX_MS),
        ];
        for (key, value, range) in checks {
            if !range.contains(&value) {
                let message =
                    format!("must be between {} and {}, is {value}", range.start(), range.end());
                let place = table.then("run").then(key);
                violations.push(Violation::new(place, ViolationKind::OutOfRange, message));
            }
        }
    }
}
