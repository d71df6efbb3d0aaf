//! The protocol under schedules that nobody would think of: lost requests, lost replies, replies
//! that come late or twice, crashes, pauses past the lease, evictions, a store that begins anew.
//!
//! Whatever the schedule, an aggregate holds what was acknowledged before it began, at most what was
//! recorded, and never less than the one before. Planted bugs prove that the model can tell.

mod rigs;
mod turns;
mod world;

use std::time::Duration;

use proptest::{
    prelude::*,
    test_runner::{Config, RngSeed, TestRunner},
};

use super::{
    model::{
        rigs::{Rig, Simulated},
        world::World,
    },
    planted::{Bug, plant},
};
use crate::store::Lease;

const ARENAS: usize = 3;
const SERIES: usize = 2;
const LEASE: Lease = Lease { alive: Duration::from_secs(90), data: Duration::from_secs(86_400) };

#[derive(Debug, Clone, Copy)]
enum Fate {
    Delivered,
    ReplyLost,
    RequestLost,
    Delayed,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Add(usize, usize, u8),
    /// One message of an arena.
    Message(usize, Fate),
    /// Messages of an arena until all is acknowledged.
    Sync(usize),
    Crash(usize),
    /// The process that publishes an arena is killed in a message, and another one goes on.
    TakeOver(usize, Fate, Step),
    /// The series leaves the arena and may come again.
    Remove(usize, usize),
    Pass(u8),
    /// A late message arrives; it may arrive again.
    Arrive(usize, bool),
    Fold,
    /// A fold is read and computed, and sent later.
    PrepareFold(usize),
    Begin,
    End,
    Evict(usize),
    EvictTotal,
    Flush,
    Forget,
}

/// How far a process comes in a message before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Before what it planned is in the arena.
    Planned,
    /// Before it is sent.
    Noted,
    /// Before the answer is in the arena.
    Answered,
    /// Behind all.
    Done,
}

fn ops(hostile: bool) -> impl Strategy<Value = Vec<Op>> {
    let arena = 0..ARENAS;
    let fate = prop_oneof![
        4 => Just(Fate::Delivered),
        2 => Just(Fate::ReplyLost),
        1 => Just(Fate::RequestLost),
        2 => Just(Fate::Delayed),
    ];
    let step = prop_oneof![
        Just(Step::Planned),
        Just(Step::Noted),
        Just(Step::Answered),
        Just(Step::Done),
    ];
    let lossless = prop_oneof![
        4 => (arena.clone(), fate.clone(), step).prop_map(|(a, fate, s)| Op::TakeOver(a, fate, s)),
        8 => (arena.clone(), 0..SERIES, 1..9_u8).prop_map(|(a, s, n)| Op::Add(a, s, n)),
        10 => (arena.clone(), fate).prop_map(|(a, fate)| Op::Message(a, fate)),
        5 => arena.clone().prop_map(Op::Sync),
        1 => arena.clone().prop_map(Op::Crash),
        1 => (arena.clone(), 0..SERIES).prop_map(|(a, s)| Op::Remove(a, s)),
        4 => prop_oneof![Just(10_u8), Just(100)].prop_map(Op::Pass),
        4 => (0..8_usize, any::<bool>()).prop_map(|(i, again)| Op::Arrive(i, again)),
        3 => Just(Op::Fold),
        3 => arena.clone().prop_map(Op::PrepareFold),
        4 => Just(Op::Begin),
        5 => Just(Op::End),
    ];
    let loss = prop_oneof![
        2 => arena.prop_map(Op::Evict),
        1 => Just(Op::EvictTotal),
        1 => Just(Op::Flush),
        2 => Just(Op::Forget),
    ];
    let op = if hostile { prop_oneof![8 => lossless, 1 => loss].boxed() } else { lossless.boxed() };
    prop::collection::vec(op, 1..120)
}

fn explore(
    hostile: bool,
    cases: u32,
    bug: Option<Bug>,
    rig: impl Fn() -> Box<dyn Rig>,
) -> Result<(), String> {
    plant(bug);
    // A campaign has more of what is to hold.
    let times = std::env::var("TALLYPORT_MODEL_TIMES").ok().and_then(|text| text.parse().ok());
    let config = Config {
        cases: if bug.is_some() { cases } else { cases * times.unwrap_or(1) },
        failure_persistence: None,
        max_shrink_iters: if bug.is_some() { 0 } else { 2_000 },
        rng_seed: if bug.is_some() { RngSeed::Fixed(7) } else { RngSeed::Random },
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&ops(hostile), |ops| World::new(rig()).run(&ops));
    plant(None);
    result.map_err(|error| error.to_string())
}

fn simulated() -> Box<dyn Rig> {
    Box::new(Simulated::default())
}

#[test]
fn no_schedule_of_a_store_that_keeps_its_word_loses_or_doubles() {
    explore(false, 3000, None, simulated).unwrap();
}

#[test]
fn no_schedule_of_a_store_that_forgets_doubles() {
    explore(true, 3000, None, simulated).unwrap();
}

/// What the model once found, each smallest schedule.
#[test]
fn schedules_that_once_lost_or_doubled_do_not() {
    use Fate::{Delayed, Delivered, ReplyLost};
    use Op::{Add, Arrive, Evict, EvictTotal, Flush, Fold, Forget, Message, Pass, Sync, TakeOver};
    let schedules: [&[Op]; 7] = [
        // A heartbeat into a store that began anew was taken for an acknowledgement.
        &[Message(2, Delayed), Add(2, 0, 1), Sync(2), Flush],
        // Folded in a new epoch, and the tombstone dropped: taken for a loss.
        &[Add(1, 0, 1), Sync(1), EvictTotal, Pass(100), Sync(2), Fold, Forget],
        // A late register after that: taken for a rollback.
        &[Message(2, Delayed), Add(2, 0, 1), Sync(2), Pass(100), Fold, Forget, Add(0, 0, 1)],
        // A late register made a folded record anew, and what was in flight filled it.
        &[
            Message(0, Delayed),
            Message(2, Delayed),
            Message(2, Delivered),
            Add(2, 0, 1),
            Message(2, ReplyLost),
            Sync(0),
            Pass(100),
            Fold,
            Forget,
        ],
        // A late register made an evicted record anew, and a late publish filled it.
        &[
            Message(0, Delayed),
            Message(0, Delivered),
            Add(0, 0, 2),
            Message(0, Delayed),
            Evict(0),
            Sync(0),
            Arrive(0, false),
        ],
        &[Message(0, Delayed), Message(0, Delivered), Flush, Sync(0), Pass(100), Fold],
        // A series that came while a message was in flight was taken as noted with its answer.
        &[
            Add(0, 0, 1),
            TakeOver(0, Delivered, Step::Done),
            TakeOver(0, Delivered, Step::Noted),
            Add(0, 1, 1),
            Sync(0),
            TakeOver(0, Delivered, Step::Planned),
        ],
    ];
    for schedule in schedules {
        World::new(simulated()).run(schedule).unwrap();
    }
}

#[test]
fn planted_bugs_are_found() {
    for (bug, hostile) in [
        (Bug::AnyVersion, false),
        (Bug::FoldAnyVersion, false),
        (Bug::FoldAnyGeneration, false),
        (Bug::FoldTwice, false),
        (Bug::NoTombstone, false),
        (Bug::NoBase, false),
        (Bug::CountFoldedTwice, false),
        (Bug::BaseOutlivesEpoch, true),
        (Bug::RegisterAgain, true),
        (Bug::LostMeansUnfolded, true),
        (Bug::NoteAfterSending, false),
        (Bug::NoteNoBase, false),
    ] {
        let found = explore(hostile, 40_000, Some(bug), simulated);
        assert!(found.is_err(), "the model does not find {bug:?}");
    }
}

#[test]
fn a_store_of_items_stands_the_same_schedules() {
    let rig = || Box::new(rigs::keyed::OnShelf::new()) as Box<dyn Rig>;
    explore(false, 400, None, rig).unwrap();
    explore(true, 400, None, rig).unwrap();
}

#[cfg(feature = "store-memcached")]
#[test]
fn memcached_stands_the_same_schedules() {
    use std::cell::Cell;

    let server = crate::store::testing::MemcachedServer::start(&["-m", "1024"]);
    let namespaces = Cell::new(0);
    let rig = || {
        namespaces.set(namespaces.get() + 1);
        let namespace = format!("n{}", namespaces.get());
        Box::new(rigs::memcached::Served::new(&server, &namespace)) as Box<dyn Rig>
    };
    explore(false, 30, None, rig).unwrap();
    explore(true, 30, None, rig).unwrap();
}

#[cfg(feature = "store-sqlite")]
#[test]
fn sqlite_stands_the_same_schedules() {
    let rig = || Box::new(rigs::sqlite::OnDisk::new()) as Box<dyn Rig>;
    explore(false, 40, None, rig).unwrap();
    explore(true, 40, None, rig).unwrap();
}

#[cfg(feature = "store-redis")]
#[test]
fn redis_stands_the_same_schedules() {
    use std::{cell::Cell, sync::Arc};

    let server = Arc::new(crate::store::testing::RedisServer::start(&[]));
    let namespaces = Cell::new(0);
    let rig = || {
        namespaces.set(namespaces.get() + 1);
        let namespace = format!("n{}", namespaces.get());
        Box::new(rigs::redis::Served::new(&server, namespace)) as Box<dyn Rig>
    };
    explore(false, 60, None, rig).unwrap();
    explore(true, 60, None, rig).unwrap();
}
