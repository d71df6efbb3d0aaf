//! A plugin is a guest: it leaves the process as it found it.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use super::lives;
use crate::{
    sys::surroundings::{Surroundings, descriptors, threads},
    trial::{Done, Stop, Trial},
};

/// Does everything; the runner looks at what was printed meanwhile.
pub(super) fn quiet(trial: &mut Trial<'_>) -> Done {
    lives::rich(trial).map(drop)
}

pub(super) fn nothing_left(trial: &mut Trial<'_>) -> Done {
    for _ in 0..3 {
        lives::rich(trial)?;
    }
    // A thread that was joined may take a moment to go.
    let until = Instant::now() + Duration::from_secs(2);
    let mut now = threads();
    while now.len() > trial.before.threads.len() && Instant::now() < until {
        thread::sleep(Duration::from_millis(5));
        now = threads();
    }
    if now.len() > trial.before.threads.len() {
        let count = now.len() - trial.before.threads.len();
        return Stop::fail(format!("{count} threads are left after `destroy`: {}", now.join(", ")));
    }
    let (before, after) = (&trial.before.descriptors, descriptors());
    if let Some(text) = difference(before, &after) {
        return Stop::fail(text);
    }
    Ok(())
}

fn difference(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Option<String> {
    let left = after.iter().find(|(number, _)| !before.contains_key(*number));
    if let Some((number, target)) = left {
        let more = after.len().saturating_sub(before.len());
        return Some(format!(
            "{more} descriptors are left after `destroy`, among them {number} ({target})"
        ));
    }
    before.iter().find_map(|(number, target)| match after.get(number) {
        Some(now) if now == target => None,
        Some(now) => Some(format!("descriptor {number} was {target} and is {now}")),
        None => Some(format!("descriptor {number} ({target}) is closed, and was the host's")),
    })
}

pub(super) fn guest(trial: &mut Trial<'_>) -> Done {
    lives::rich(trial)?;
    let changes = trial.before.changes(&Surroundings::now());
    if changes.is_empty() { Ok(()) } else { Stop::fail(changes.join("; ")) }
}
