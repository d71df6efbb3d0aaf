//! When the next export is, how long data must live, when a failed one is tried again: the formulas.
//!
//! Times are points of one clock, as durations since its start; which clock that is the caller
//! knows. Chance comes in as a number from 0 to 1.
//!
//! ```text
//! interval      = retention_window − safety_margin          unless a target has its own
//! next          = start of the last one + interval × (1 ± jitter)
//! before        : expiry ≥ start + timeout + margin
//! after success : expiry ≥ next + margin
//! after failure : expiry ≥ now + retry delay + margin
//! retry delay   = min(first × 2^(attempt − 1), longest) × (1 ± ½), or what the receiver demands
//! ```

use std::time::Duration;

/// How long recorded changes may wait for their export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The deadline by which what was recorded must be exported.
    pub retention: Duration,
    /// Time between an export's expected end and the expiry of what it exports.
    pub margin: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self { retention: Duration::from_secs(300), margin: Duration::from_secs(60) }
    }
}

impl Window {
    /// The time between two exports, where a target does not say.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.retention.saturating_sub(self.margin)
    }
}

/// Until when data lives that waits for an export. It only grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Expiry(pub Duration);

impl Expiry {
    /// Moves it to `needed` + a retention window if it would be before `needed`: once for many
    /// exports, where those are frequent. How long data must then live from `now`.
    fn reach(&mut self, now: Duration, needed: Duration, window: Window) -> Option<Duration> {
        if self.0 >= needed {
            return None;
        }
        self.0 = needed.max(now + window.retention);
        Some(self.0.saturating_sub(now))
    }

    /// Before an export that may take `timeout`.
    pub fn before(&mut self, now: Duration, timeout: Duration, window: Window) -> Option<Duration> {
        self.reach(now, now + timeout + window.margin, window)
    }

    /// After an export that succeeded, or before a wait for the next one.
    pub fn until(&mut self, now: Duration, next: Duration, window: Window) -> Option<Duration> {
        self.reach(now, next + window.margin, window)
    }

    /// After an export that failed and is tried again after `delay`.
    pub fn after_failure(
        &mut self,
        now: Duration,
        delay: Duration,
        window: Window,
    ) -> Option<Duration> {
        self.reach(now, now + delay + window.margin, window)
    }
}

/// How often and when a failed export is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Attempts after the first one.
    pub retries: u32,
    /// The first delay; it doubles.
    pub first: Duration,
    /// The most that it doubles to.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { retries: 3, first: Duration::from_secs(2), longest: Duration::from_secs(60) }
    }
}

impl Backoff {
    /// The delay after the failure of this attempt (the first one is 1); `None`: that was the last.
    ///
    /// `demanded` is what the receiver said, such as by Retry-After: it is not tried earlier, and no
    /// later than the longest delay allows.
    #[must_use]
    pub fn delay(&self, attempt: u32, demanded: Option<Duration>, chance: f64) -> Option<Duration> {
        if attempt > self.retries {
            return None;
        }
        let doubled = self.first.saturating_mul(1 << attempt.saturating_sub(1).min(20));
        let usual = doubled.min(self.longest).mul_f64(0.5 + chance.clamp(0.0, 1.0));
        Some(match demanded {
            // A demand past the longest delay would leave data waiting for as long as somebody else
            // wants: the data's window is ours.
            Some(demanded) => usual.max(demanded.min(self.longest.max(usual))),
            None => usual,
        })
    }

    /// The longest time that all attempts of one export and the waits between them can take.
    #[must_use]
    pub fn longest_series(&self, timeout: Duration) -> Duration {
        let waits = (1..=self.retries)
            .filter_map(|attempt| self.delay(attempt, Some(self.longest), 1.0))
            .fold(Duration::ZERO, Duration::saturating_add);
        waits.saturating_add(timeout.saturating_mul(self.retries.saturating_add(1)))
    }
}

/// The start of the next export of an interval: in step with the last start, but never in the past.
/// The second value is how many starts were missed.
#[must_use]
pub fn next_start(
    last: Duration,
    now: Duration,
    interval: Duration,
    jitter: f64,
    chance: f64,
) -> (Duration, u64) {
    let jittered =
        interval.mul_f64(1.0 + jitter.clamp(0.0, 1.0) * (2.0 * chance.clamp(0.0, 1.0) - 1.0));
    let next = last + jittered;
    if next >= now || interval.is_zero() {
        return (next.max(now), 0);
    }
    let missed = now.saturating_sub(next).as_nanos() / interval.as_nanos() + 1;
    (now, u64::try_from(missed).unwrap_or(u64::MAX))
}

/// The longest time without an export of a target that several processes export at an interval (with
/// its jitter), as long as the store answers, where one of them may be paused for `pause` at any step.
///
/// A holder that is paused or killed right after it took the lease keeps it for its term, one that
/// exported rests for up to an interval; paused between the lock of a file's fence and the rename it
/// keeps that lock, or its transaction. Then the next one of the others comes at its turn, and may fail
/// once by what the paused one left, and try again. Any run takes up to `timeout`.
#[must_use]
pub fn longest_gap(
    (interval, jitter): (Duration, f64),
    term: Duration,
    pause: Duration,
    backoff: Backoff,
    timeout: Duration,
) -> Duration {
    let turn = interval.mul_f64(1.0 + jitter);
    let again = backoff.delay(1, None, 1.0).unwrap_or(turn);
    turn + term.max(pause).max(interval) + turn.max(again) + timeout
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_defaults_export_every_four_minutes() {
        assert_eq!(Window::default().interval(), s(240));
        let backoff = Backoff::default();
        let delays: Vec<_> = (1..=4).map(|attempt| backoff.delay(attempt, None, 0.5)).collect();
        assert_eq!(delays, [Some(s(2)), Some(s(4)), Some(s(8)), None]);
        assert_eq!(backoff.delay(1, None, 0.0), Some(s(1)));
        assert_eq!(backoff.delay(1, None, 1.0), Some(s(3)));
    }

    #[test]
    fn a_demand_is_kept_up_to_the_longest_delay() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(1, Some(s(30)), 0.5), Some(s(30)));
        assert_eq!(backoff.delay(1, Some(s(3600)), 0.5), Some(s(60)));
        assert_eq!(backoff.delay(1, Some(s(0)), 0.5), Some(s(2)));
        assert_eq!(backoff.delay(4, Some(s(1)), 0.5), None, "a demand is no further attempt");
    }

    #[test]
    fn missed_starts_are_counted_and_not_made_up_for() {
        assert_eq!(next_start(s(100), s(101), s(10), 0.0, 0.5), (s(110), 0));
        assert_eq!(next_start(s(100), s(110), s(10), 0.0, 0.5), (s(110), 0));
        assert_eq!(next_start(s(100), s(111), s(10), 0.0, 0.5), (s(111), 1));
        assert_eq!(next_start(s(100), s(145), s(10), 0.0, 0.5), (s(145), 4));
        assert_eq!(next_start(s(100), s(100), s(10), 0.1, 1.0), (s(111), 0));
        assert_eq!(next_start(s(100), s(100), s(10), 0.1, 0.0), (s(109), 0));
    }

    /// One attempt of a schedule: how late it starts, how long it takes, whether it fails.
    type Attempt = (f64, f64, bool, f64);

    proptest! {
        /// A timer is late by up to half the margin, an attempt takes up to its timeout: whatever
        /// fails, what waits for its export is never past its expiry.
        #[test]
        fn no_live_data_expires_within_the_retry_limit(
            retention in 10_u64..3600,
            margin_part in 0.05_f64..0.9,
            timeout_part in 0.0_f64..1.0,
            retries in 0_u32..6,
            first in 0.01_f64..100.0,
            longest in 0.01_f64..1000.0,
            attempts in prop::collection::vec(
                (0.0_f64..1.0, 0.0_f64..1.0, any::<bool>(), 0.0_f64..1.0), 1..60
            ),
            demands in prop::collection::vec(prop::option::of(0_u64..5000), 60),
        ) {
            let window = Window {
                retention: s(retention),
                margin: s(retention).mul_f64(margin_part),
            };
            let timeout = window.margin.mul_f64(timeout_part);
            let backoff = Backoff {
                retries,
                first: Duration::from_secs_f64(first),
                longest: Duration::from_secs_f64(longest),
            };
            let (mut now, mut expiry) = (s(1_000_000), Expiry::default());
            // Recorded, and published with the store's usual life.
            expiry.until(now, now + window.interval(), window);
            let mut due = now + window.interval();
            let mut attempt = 1;
            for ((late, took, fails, chance), demanded) in attempts.iter().zip(demands) {
                let (late, took, fails, chance): Attempt = (*late, *took, *fails, *chance);
                now = due + window.margin.mul_f64(late / 2.0);
                prop_assert!(now <= expiry.0, "expired while it waited: {now:?} {expiry:?}");
                let start = now;
                expiry.before(now, timeout, window);
                now += timeout.mul_f64(took);
                prop_assert!(now <= expiry.0, "expired during an export");
                let demanded = demanded.map(s);
                let retry = fails.then(|| backoff.delay(attempt, demanded, chance)).flatten();
                match retry {
                    Some(delay) => {
                        attempt += 1;
                        due = now + delay;
                        expiry.after_failure(now, delay, window);
                    }
                    None => {
                        attempt = 1;
                        (due, _) = next_start(start, now, window.interval(), 0.1, chance);
                        expiry.until(now, due, window);
                    }
                }
                prop_assert!(due >= now, "into the past");
                prop_assert!(due - now <= window.interval().mul_f64(1.1).max(backoff.longest.mul_f64(1.5)));
            }
        }

        #[test]
        fn delays_are_bounded_and_end(
            retries in 0_u32..40, first in 0_u64..100, longest in 0_u64..1000,
            attempt in 1_u32..60, chance in 0.0_f64..1.0, demanded in prop::option::of(0_u64..10_000),
        ) {
            let backoff = Backoff { retries, first: s(first), longest: s(longest) };
            let delay = backoff.delay(attempt, demanded.map(s), chance);
            prop_assert_eq!(delay.is_some(), attempt <= retries);
            if let Some(delay) = delay {
                prop_assert!(delay <= s(longest).mul_f64(1.5));
                prop_assert!(demanded.is_none_or(|demanded| delay >= s(demanded.min(longest))));
            }
        }
    }
}
