//! The rules at made-up times: nothing here sleeps.

use super::*;

const OK: Result<(), Blame> = Ok(());

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn limits() -> Limits {
    Limits {
        breaker_failures: 3,
        backoff: seconds(1),
        max_backoff: seconds(4),
        max_restarts: 2,
        ..Limits::default()
    }
}

/// One call at a time, settled at once.
struct Rig {
    rules: Rules,
    limits: Limits,
}

impl Rig {
    fn new() -> Self {
        Self { rules: Rules::new(), limits: limits() }
    }

    fn call(&mut self, now: u64, ended: Result<(), Blame>) -> Result<Pass, Refused> {
        let pass = self.rules.pass(seconds(now))?;
        self.rules.settle(pass, ended, &self.limits, seconds(now));
        Ok(pass)
    }

    fn refused(&mut self, now: u64) -> Option<(Health, u64)> {
        let refused = self.rules.pass(seconds(now)).err()?;
        Some((refused.health, refused.wait.as_secs()))
    }
}

#[test]
fn failures_in_a_row_open_the_circuit_and_one_trial_closes_it() {
    let mut rig = Rig::new();
    let failed = Err(Blame::Exporter);
    for ended in [failed, failed, OK, failed, failed] {
        assert_eq!(rig.call(0, ended), Ok(Pass::Usual), "a success between them counts anew");
    }
    assert_eq!(rig.call(0, failed), Ok(Pass::Usual));
    assert_eq!(rig.refused(0), Some((Health::Open, 1)));
    // Each failed trial doubles the wait, up to the most.
    for (now, wait) in [(1, 2), (3, 4), (7, 4)] {
        assert_eq!(rig.call(now, failed), Ok(Pass::Trial));
        assert_eq!(rig.refused(now), Some((Health::Open, wait)));
    }
    assert_eq!(rig.call(11, OK), Ok(Pass::Trial));
    assert_eq!(rig.rules.health(), Health::Ready);
    // It starts from the first backoff again.
    for _ in 0..3 {
        assert_eq!(rig.call(12, failed), Ok(Pass::Usual));
    }
    assert_eq!(rig.refused(12), Some((Health::Open, 1)));
}

#[test]
fn one_call_tries_while_others_are_refused() {
    let mut rig = Rig::new();
    let _ = rig.call(0, Err(Blame::Lost));
    let trial = rig.rules.pass(seconds(1)).unwrap();
    assert_eq!(rig.refused(1), Some((Health::HalfOpen, 0)));
    // A trial that showed nothing is followed by the next, without another wait.
    rig.rules.settle(trial, Err(Blame::Caller), &limits(), seconds(1));
    let trial = rig.rules.pass(seconds(1)).unwrap();
    assert_eq!(trial, Pass::Trial);
    rig.rules.settle(trial, OK, &limits(), seconds(1));
    assert_eq!(rig.rules.health(), Health::Ready);
}

#[test]
fn calls_beside_the_one_that_opened_the_circuit_change_nothing() {
    let mut rig = Rig::new();
    let calls: Vec<_> = (0..8).map(|_| rig.rules.pass(seconds(0)).unwrap()).collect();
    for pass in calls {
        rig.rules.settle(pass, Err(Blame::Lost), &limits(), seconds(0));
    }
    assert_eq!(rig.refused(0), Some((Health::Open, 1)), "one wait, not eight");
    let mut rig = Rig::new();
    let calls: Vec<_> = (0..8).map(|_| rig.rules.pass(seconds(0)).unwrap()).collect();
    for pass in calls {
        rig.rules.settle(pass, Err(Blame::Panic), &limits(), seconds(0));
    }
    assert_eq!(rig.refused(0), Some((Health::Poisoned, 1)), "one restart of two");
    // A success that comes late does not end the wait.
    rig.rules.settle(Pass::Usual, OK, &limits(), seconds(0));
    assert_eq!(rig.refused(0), Some((Health::Poisoned, 1)));
}

#[test]
fn panics_are_counted_to_a_limit() {
    let mut rig = Rig::new();
    let panicked = Err(Blame::Panic);
    assert_eq!(rig.call(0, panicked), Ok(Pass::Usual));
    assert_eq!(rig.refused(0), Some((Health::Poisoned, 1)));
    assert_eq!(rig.call(1, OK), Ok(Pass::Trial));
    // That it worked for a moment is no cure.
    assert_eq!(rig.call(2, panicked), Ok(Pass::Usual));
    assert_eq!(rig.refused(2), Some((Health::Poisoned, 2)));
    assert_eq!(rig.call(4, panicked), Ok(Pass::Trial));
    assert_eq!(rig.refused(1_000_000), Some((Health::GivenUp, 0)));
}

#[test]
fn panics_that_lie_far_apart_are_not_added_up() {
    let mut rig = Rig::new();
    for now in (0..100).map(|round| round * 10) {
        let _ = rig.call(now, Err(Blame::Panic));
        assert_eq!(rig.refused(now), Some((Health::Poisoned, 1)));
        let _ = rig.call(now + 1, OK);
    }
}

#[test]
fn without_a_threshold_failures_close_nothing() {
    let mut rig = Rig::new();
    rig.limits.breaker_failures = 0;
    for _ in 0..100 {
        assert_eq!(rig.call(0, Err(Blame::Exporter)), Ok(Pass::Usual));
    }
    // What is made anew after a panic may fail like before.
    let _ = rig.call(0, Err(Blame::Panic));
    assert_eq!(rig.call(1, Err(Blame::Exporter)), Ok(Pass::Trial));
    assert_eq!(rig.rules.health(), Health::Ready);
}

#[test]
fn what_the_caller_did_counts_for_nothing() {
    let mut rig = Rig::new();
    for _ in 0..100 {
        assert_eq!(rig.call(0, Err(Blame::Caller)), Ok(Pass::Usual));
    }
    assert_eq!((rig.rules.health(), rig.rules.failures()), (Health::Ready, 0));
}

#[test]
fn waits_do_not_overflow() {
    let mut rig = Rig::new();
    rig.limits.backoff = Duration::MAX;
    rig.limits.max_backoff = Duration::MAX;
    for now in 1..100 {
        let _ = rig.call(now, Err(Blame::Lost));
    }
    assert_eq!(rig.rules.health(), Health::Open);
}
