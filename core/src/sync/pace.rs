//! How long a lease has to be, by how long syncs take.
//!
//! A lease is renewed by each publish, so it has to outlast what lies between two of them: the rest of
//! one sync, the wait, and the next sync up to its publish. Where it does not, a living instance is
//! folded again and again, and each time sends everything anew, which takes longer still. The wait is
//! the configuration's to allow for; what syncs take is seen here, and added.

use std::time::Duration;

use crate::store::Lease;

/// Syncs that are remembered.
const SYNCS: usize = 8;
/// How many times that long a sync may take the next time.
const MARGIN: u32 = 3;
/// What one sync counts for at the most: a process may have been stopped in the middle of one.
const LONGEST: Duration = Duration::from_secs(60);

/// How long the last syncs took.
#[derive(Debug, Default)]
pub(super) struct Pace {
    last: [Duration; SYNCS],
    count: usize,
}

impl Pace {
    /// A sync took this long. One that failed says how long they may take, not how short.
    pub(super) fn took(&mut self, time: Duration, well: bool) {
        let time = time.min(LONGEST);
        if !well && time <= self.typical() {
            return;
        }
        if self.count == 0 {
            self.last = [time; SYNCS];
        }
        if let Some(place) = self.last.get_mut(self.count % SYNCS) {
            *place = time;
        }
        self.count += 1;
    }

    /// A lease that outlasts syncs as they are, `so_far` into one. One that is to end at once does.
    pub(super) fn stretched(&self, lease: Lease, so_far: Duration) -> Lease {
        if lease.alive.is_zero() {
            return lease;
        }
        let slow = self.typical().max(so_far.min(LONGEST));
        Lease { alive: lease.alive.saturating_add(slow.saturating_mul(MARGIN)), ..lease }
    }

    /// The longest of the last ones but one: a process that is stopped once is not slow.
    fn typical(&self) -> Duration {
        let mut sorted = self.last;
        sorted.sort_unstable();
        let [.., second, _] = sorted;
        second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(seconds: u64) -> Lease {
        Lease { alive: Duration::from_secs(seconds), data: Duration::from_secs(3600) }
    }

    fn alive(pace: &Pace, so_far: u64) -> u64 {
        pace.stretched(lease(90), Duration::from_secs(so_far)).alive.as_secs()
    }

    #[test]
    fn slow_syncs_stretch_a_lease_and_quick_ones_do_not() {
        let mut pace = Pace::default();
        assert_eq!(alive(&pace, 0), 90);
        assert_eq!(alive(&pace, 2), 96, "the first one counts while it runs");
        pace.took(Duration::from_secs(4), true);
        assert_eq!(alive(&pace, 0), 90 + 3 * 4);
        for _ in 0..SYNCS {
            pace.took(Duration::from_secs(1), true);
        }
        assert_eq!(alive(&pace, 0), 93);
        // Stopped once, for an hour.
        pace.took(Duration::from_secs(3600), true);
        assert_eq!(alive(&pace, 0), 93);
        pace.took(Duration::from_secs(3600), true);
        assert_eq!(alive(&pace, 0), 90 + 3 * 60);
        assert_eq!(pace.stretched(lease(0), Duration::from_secs(9)).alive, Duration::ZERO);
    }

    #[test]
    fn failed_syncs_stretch_a_lease_and_never_shorten_it() {
        let mut pace = Pace::default();
        for _ in 0..2 {
            pace.took(Duration::from_secs(40), false);
        }
        assert_eq!(alive(&pace, 0), 90 + 3 * 40);
        for _ in 0..2 * SYNCS {
            // Refused at once.
            pace.took(Duration::ZERO, false);
        }
        assert_eq!(alive(&pace, 0), 90 + 3 * 40);
    }
}
