//! The rules after a failure, without threads and clocks: when an exporter may be called.
//!
//! ```text
//! Ready ──n failures in a row, a panic, a call that hangs──► Waiting ──backoff over──► Trying
//!   ▲                                                          ▲  │                      │
//!   └──────────────────── the one call succeeds ───────────────┼──┼──────────────────────┤
//!                                                              └──┼── it fails ──────────┘
//!                                             too many panics ────▼ GivenUp
//! ```

use std::{fmt, time::Duration};

use super::{Blame, Limits};

/// Whether an exporter is called, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It is called.
    Ready,
    /// It failed too often, or hung: it is left alone until its backoff is over.
    Open,
    /// Its backoff is over: one call shows whether it works again.
    HalfOpen,
    /// It panicked: it is made anew when its backoff is over.
    Poisoned,
    /// It panicked too often: it is not called again until it is replaced or reloaded.
    GivenUp,
}

impl Health {
    /// Every one, in order.
    pub const ALL: [Self; 5] =
        [Self::Ready, Self::Open, Self::HalfOpen, Self::Poisoned, Self::GivenUp];

    /// Its name in metrics and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Poisoned => "poisoned",
            Self::GivenUp => "given_up",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why an exporter waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Failures,
    Panic,
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    Waiting { until: Duration, why: Why },
    Trying { why: Why },
    GivenUp,
}

/// A call that the rules let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// One of many.
    Usual,
    /// The one that shows whether the exporter works again.
    Trial,
}

/// Why a call is not let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) health: Health,
    /// How long until the next one is; zero while a trial runs.
    pub(super) wait: Duration,
}

/// The state of one exporter. Times are [`Clock::monotonic`](crate::model::Clock::monotonic).
#[derive(Debug)]
pub(super) struct Rules {
    state: State,
    /// Failures in a row.
    failures: u32,
    /// Waits in a row that no success ended.
    waits: u32,
    /// Panics in a row, and when the last one was.
    panics: u32,
    last_panic: Duration,
}

impl Rules {
    pub(super) fn new() -> Self {
        Self { state: State::Ready, failures: 0, waits: 0, panics: 0, last_panic: Duration::ZERO }
    }

    pub(super) fn health(&self) -> Health {
        match self.state {
            State::Ready => Health::Ready,
            State::Waiting { why: Why::Panic, .. } => Health::Poisoned,
            State::Waiting { .. } => Health::Open,
            State::Trying { .. } => Health::HalfOpen,
            State::GivenUp => Health::GivenUp,
        }
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Asks for a call at `now`. One that passes must be settled.
    pub(super) fn pass(&mut self, now: Duration) -> Result<Pass, Refused> {
        match self.state {
            State::Ready => Ok(Pass::Usual),
            State::Waiting { until, why } if now >= until => {
                self.state = State::Trying { why };
                Ok(Pass::Trial)
            }
            State::Waiting { until, .. } => {
                Err(Refused { health: self.health(), wait: until.saturating_sub(now) })
            }
            State::Trying { .. } | State::GivenUp => {
                Err(Refused { health: self.health(), wait: Duration::ZERO })
            }
        }
    }

    /// In a forked child: a trial is made by nobody, so the next call is one.
    pub(super) fn forked(&mut self) {
        if let State::Trying { why } = self.state {
            self.state = State::Waiting { until: Duration::ZERO, why };
        }
    }

    /// Takes note of how a call ended, at `now`.
    pub(super) fn settle(
        &mut self,
        pass: Pass,
        ended: Result<(), Blame>,
        limits: &Limits,
        now: Duration,
    ) {
        match ended {
            Ok(()) => self.succeeded(pass),
            Err(Blame::Caller) => {
                // A trial that showed nothing: the next call is one.
                if let (Pass::Trial, State::Trying { why }) = (pass, self.state) {
                    self.state = State::Waiting { until: now, why };
                }
            }
            // Calls that ran beside the one that ended it say nothing new.
            Err(_) if pass == Pass::Usual && self.state != State::Ready => {}
            Err(Blame::Exporter) => self.failed(pass, limits, now),
            Err(Blame::Panic) => self.panicked(limits, now),
            Err(Blame::Lost) => self.wait(Why::Lost, limits, now),
        }
    }

    fn succeeded(&mut self, pass: Pass) {
        if pass == Pass::Trial || self.state == State::Ready {
            self.failures = 0;
            self.waits = 0;
            self.state = State::Ready;
        }
    }

    fn failed(&mut self, pass: Pass, limits: &Limits, now: Duration) {
        self.failures = self.failures.saturating_add(1);
        if limits.breaker_failures == 0 {
            // What was made anew may fail as often as it likes.
            self.state = State::Ready;
        } else if pass == Pass::Trial || self.failures >= limits.breaker_failures {
            self.wait(Why::Failures, limits, now);
        }
    }

    fn panicked(&mut self, limits: &Limits, now: Duration) {
        if now.saturating_sub(self.last_panic) > limits.max_backoff {
            self.panics = 0;
        }
        self.panics = self.panics.saturating_add(1);
        self.last_panic = now;
        if self.panics > limits.max_restarts {
            self.state = State::GivenUp;
        } else {
            let until = now.saturating_add(backoff(limits, self.panics));
            self.state = State::Waiting { until, why: Why::Panic };
        }
    }

    fn wait(&mut self, why: Why, limits: &Limits, now: Duration) {
        self.waits = self.waits.saturating_add(1);
        self.state = State::Waiting { until: now.saturating_add(backoff(limits, self.waits)), why };
    }
}

/// The first, second … backoff: each twice the one before, up to the most.
fn backoff(limits: &Limits, number: u32) -> Duration {
    let doubled = 2_u32.saturating_pow(number.saturating_sub(1));
    limits.backoff.saturating_mul(doubled).min(limits.max_backoff)
}

#[cfg(test)]
mod tests;
