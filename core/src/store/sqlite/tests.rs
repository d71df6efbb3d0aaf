use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::*;
use crate::store::Lease;

const HOUR_MS: u64 = 3_600_000;

/// A wall clock that is set.
#[derive(Debug, Default)]
struct Wall(AtomicU64);

impl Clock for Wall {
    fn unix_ns(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn monotonic(&self) -> Duration {
        Duration::ZERO
    }
}

/// A store of a host whose clock stands in 1970, and what sets that.
fn store(folder: &tempfile::TempDir) -> (SqliteStore, Arc<Wall>) {
    let wall = Arc::new(Wall::default());
    let (path, deadline) = (folder.path().join("store.db"), Duration::from_secs(20).into());
    (SqliteStore { path, deadline, clock: Arc::clone(&wall) as _ }, wall)
}

fn all(store: &mut SqliteStore) -> Totals {
    store.totals(0, Wanted::All).unwrap()
}

#[test]
fn nothing_gets_old_because_the_wall_clock_was_set() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, wall) = store(&folder);
    let lease = Lease { alive: Duration::ZERO, data: Duration::ZERO };
    let epoch = store.register(Identity(1), "a", Epoch(7), lease).unwrap().epoch;
    let fold = Fold { id: Identity(1), version: 0, epoch, generation: 0, series: Vec::new() };
    let before = all(&mut store).now_ms;
    assert_eq!(store.fold(&fold).unwrap(), Swap::Done);
    let year_ns = 365 * 24 * HOUR_MS * 1_000_000;
    for years in [50, 0] {
        wall.0.store(years * year_ns, Relaxed);
        let totals = all(&mut store);
        assert!((before..before + HOUR_MS).contains(&totals.now_ms), "{years}: {totals:?}");
        assert!((before..=totals.now_ms).contains(&totals.tombstones[0].at_ms), "{totals:?}");
    }
}

#[test]
fn the_clock_of_a_file_goes_on_with_the_system_and_stands_while_it_is_off() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = store(&folder);
    let execute = |sql| {
        let file = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
        file.execute_batch(sql).unwrap();
    };
    let begin = all(&mut store).now_ms;
    // As two hours later.
    execute("UPDATE shard SET ahead_ms = ahead_ms + 7200000");
    store.probe().unwrap();
    // As after a restart of a system that ran for a year.
    execute("UPDATE shard SET boot = 'before', ahead_ms = ahead_ms - 31536000000");
    let after = all(&mut store).now_ms;
    assert!((begin + 2 * HOUR_MS..begin + 3 * HOUR_MS).contains(&after), "{begin}, {after}");
    // It goes on from there.
    execute("UPDATE shard SET ahead_ms = ahead_ms + 7200000");
    assert!(all(&mut store).now_ms >= after + 2 * HOUR_MS);
}
