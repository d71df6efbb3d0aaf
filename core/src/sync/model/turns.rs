//! Steps of a store of items, cut into their single calls and woven into each other.
//!
//! Instances on threads of their own, one of which runs at a time: before each call on the items the
//! turn goes to another one, by chance of a seed. Calls fail before they are done, after they are done,
//! or are done later; leases end in the middle of anything; instances crash. All the while one more
//! looks: its totals hold what was acknowledged before, at most what was recorded, and never fall.

use std::{
    collections::HashSet,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use super::{
    super::{
        Session, Settings,
        planted::{Bug, plant},
    },
    rigs::Hand,
};
use crate::{
    metrics::{Cells, Limits, Metrics, Share},
    model::{Clock, Error, ErrorKind, SystemClock, Value},
    snapshot::Snapshots,
    store::{
        Item, KeyValue,
        keyed::{Opened, open, testing::MemoryItems},
    },
};

const INSTANCES: usize = 3;
const LEASE: Duration = Duration::from_secs(90);

/// Whose turn it is.
struct Baton {
    state: Mutex<Turn>,
    passed: Condvar,
}

/// A call that writes: the key, and the value with the token of a swap; without a value, a removal.
type Call = (String, Option<(Vec<u8>, Option<u64>)>);

struct Turn {
    whose: usize,
    here: HashSet<usize>,
    random: u64,
    /// Calls that are done later.
    late: Vec<Call>,
}

impl Turn {
    fn below(&mut self, most: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % most
    }
}

impl Baton {
    fn new(seed: u64, threads: usize) -> Self {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let here = (0..threads).collect();
        let turn = Turn { whose: 0, here, random, late: Vec::new() };
        Self { state: Mutex::new(turn), passed: Condvar::new() }
    }

    /// Gives the turn away, and returns when it has come back, with a number below `most`.
    fn pass(&self, me: usize, most: usize) -> usize {
        let mut turn = self.state.lock().unwrap();
        let mut here: Vec<usize> = turn.here.iter().copied().collect();
        here.sort_unstable();
        let next = turn.below(here.len());
        turn.whose = here[next];
        self.passed.notify_all();
        while turn.whose != me {
            turn = self.passed.wait(turn).unwrap();
        }
        turn.below(most)
    }

    fn enter(&self, me: usize) {
        let mut turn = self.state.lock().unwrap();
        while turn.whose != me {
            turn = self.passed.wait(turn).unwrap();
        }
    }

    fn leave(&self, me: usize) {
        let mut turn = self.state.lock().unwrap();
        turn.here.remove(&me);
        turn.whose = turn.here.iter().copied().min().unwrap_or(usize::MAX);
        self.passed.notify_all();
    }
}

/// Items whose every call waits for its turn, and may fail.
#[derive(Clone)]
struct TurnItems {
    items: MemoryItems,
    baton: Arc<Baton>,
    me: usize,
    faulty: bool,
}

impl std::fmt::Debug for TurnItems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TurnItems")
    }
}

const TTL: Duration = Duration::from_secs(1);

impl TurnItems {
    /// Does a call that writes, in one of the ways that it can go.
    fn write(
        &mut self,
        call: Call,
        act: impl FnOnce(&mut MemoryItems) -> Result<bool, Error>,
    ) -> Result<bool, Error> {
        let fate = self.baton.pass(self.me, 60);
        self.arrive();
        let lost = || Err(Error::new(ErrorKind::Io, "the connection was cut"));
        match fate {
            0 if self.faulty => lost(),
            1 if self.faulty => {
                act(&mut self.items)?;
                lost()
            }
            2 if self.faulty => {
                self.baton.state.lock().unwrap().late.push(call);
                lost()
            }
            _ => act(&mut self.items),
        }
    }

    /// Calls that were given up arrive.
    fn arrive(&mut self) {
        let late = {
            let mut turn = self.baton.state.lock().unwrap();
            if turn.late.is_empty() || turn.below(8) > 0 {
                return;
            }
            let at = turn.below(usize::MAX) % turn.late.len();
            turn.late.remove(at)
        };
        match late {
            (key, Some((bytes, Some(token)))) => {
                let _ = self.items.cas(&key, &bytes, TTL, token).unwrap();
            }
            (key, Some((bytes, None))) => {
                let _ = self.items.add(&key, &bytes, TTL).unwrap();
            }
            (key, None) => self.items.delete(&key).unwrap(),
        }
    }
}

impl KeyValue for TurnItems {
    fn name(&self) -> &str {
        "turns"
    }

    fn has_cas(&self) -> bool {
        true
    }

    fn get(&mut self, key: &str) -> Result<Option<Item>, Error> {
        if self.baton.pass(self.me, 80) == 0 && self.faulty {
            return Err(Error::new(ErrorKind::Io, "the connection was cut"));
        }
        self.items.get(key)
    }

    fn set(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<(), Error> {
        // A page is set under a name of its own, once, or again as it is: late is as adding it.
        let call = (key.to_owned(), Some((bytes.to_vec(), None)));
        self.write(call, |items| items.set(key, bytes, ttl).map(|()| true)).map(drop)
    }

    fn add(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<bool, Error> {
        let call = (key.to_owned(), Some((bytes.to_vec(), None)));
        self.write(call, |items| items.add(key, bytes, ttl))
    }

    fn cas(&mut self, key: &str, bytes: &[u8], ttl: Duration, token: u64) -> Result<bool, Error> {
        let call = (key.to_owned(), Some((bytes.to_vec(), Some(token))));
        self.write(call, |items| items.cas(key, bytes, ttl, token))
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.write((key.to_owned(), None), |items| items.delete(key).map(|()| true)).map(drop)
    }
}

/// One arena and its session.
struct One {
    metrics: Metrics,
    snapshots: Snapshots,
    session: Session,
}

impl One {
    fn new(items: &TurnItems, clock: &Arc<Hand>) -> Self {
        // A probe is no part of what is tried here.
        let quiet = TurnItems { faulty: false, ..items.clone() };
        let now = Arc::clone(clock) as Arc<dyn Clock>;
        drop(open(Box::new(quiet), "n", Arc::clone(&now), None).unwrap());
        let store = loop {
            match open(Box::new(items.clone()), "n", Arc::clone(&now), None) {
                Ok(Opened::Store(store)) => break store,
                Ok(Opened::KeepsNothing) => panic!("it keeps nothing"),
                Err(_) => {}
            }
        };
        let system = Arc::new(SystemClock::default());
        let metrics = Metrics::new(Limits::default(), Cells::Shared, &Share::Auto, &[], system);
        Self {
            metrics: metrics.unwrap(),
            snapshots: Snapshots::default(),
            session: Session::new(store, Settings::default()),
        }
    }
}

#[derive(Default)]
struct Books {
    recorded: [AtomicU64; INSTANCES],
    acknowledged: [AtomicU64; INSTANCES],
    stop: AtomicBool,
}

fn sum(of: &[AtomicU64]) -> u64 {
    of.iter().map(|one| one.load(SeqCst)).sum()
}

fn live(me: usize, items: &TurnItems, clock: &Arc<Hand>, books: &Books, rounds: usize) {
    let mut one = One::new(items, clock);
    let (recorded, acknowledged) = (&books.recorded[me], &books.acknowledged[me]);
    // What this life acknowledged goes on from what lives before it did.
    let mut before = acknowledged.load(SeqCst);
    let mut own = 0;
    for _ in 0..rounds {
        let what = items.baton.pass(me, 20);
        for series in ["a", "b"] {
            one.metrics.counter("c", &[("s", series)]).unwrap().inc();
        }
        own += 2;
        recorded.fetch_add(2, SeqCst);
        match what {
            // Everyone's lease ends, in the middle of what others do.
            0 | 1 => *clock.0.lock() += LEASE + Duration::from_secs(1),
            2 => {
                one = One::new(items, clock);
                (before, own) = (acknowledged.load(SeqCst), 0);
                continue;
            }
            _ => *clock.0.lock() += Duration::from_secs(1),
        }
        let snapshot = one.snapshots.take(&one.metrics).unwrap();
        if one.session.sync(&snapshot).is_ok() {
            acknowledged.store(before + own, SeqCst);
        }
    }
}

fn look(one: &mut One, books: &Books, seen: &mut u64) {
    let least = sum(&books.acknowledged);
    let own = one.snapshots.take(&one.metrics).unwrap();
    let Ok((overview, done)) = one.session.aggregate(&own) else { return };
    assert_eq!((overview.damaged, done.damaged), (0, 0));
    let most = sum(&books.recorded);
    let mut total = 0;
    let read = overview.snapshot.read(|view| {
        for family in view.families() {
            for series in family.series() {
                let Value::U64(value) = series.value() else { unreachable!() };
                total += value;
            }
        }
        Ok::<_, Error>(())
    });
    read.unwrap();
    assert!(total >= least, "lost: {total} of {least} acknowledged");
    assert!(total <= most, "doubled: {total} of {most} recorded");
    assert!(total >= *seen, "fell: {total} from {seen}");
    *seen = total;
}

/// One run; false when an invariant broke.
fn run(seed: u64, rounds: usize, bug: Option<Bug>) -> bool {
    let clock = Arc::new(Hand::default());
    let items = MemoryItems::new(true);
    let baton = Arc::new(Baton::new(seed, INSTANCES + 1));
    let books = Arc::new(Books::default());
    let mut threads = Vec::new();
    for me in 0..=INSTANCES {
        let (items, baton, clock) = (items.clone(), Arc::clone(&baton), Arc::clone(&clock));
        let books = Arc::clone(&books);
        threads.push(thread::spawn(move || {
            plant(bug);
            let items = TurnItems { items, baton: Arc::clone(&baton), me, faulty: true };
            baton.enter(me);
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                if me < INSTANCES {
                    return live(me, &items, &clock, &books, rounds);
                }
                let mut one = One::new(&items, &clock);
                let mut seen = 0;
                while !books.stop.load(SeqCst) {
                    look(&mut one, &books, &mut seen);
                    let alone = baton.state.lock().unwrap().here.len() == 1;
                    if alone {
                        books.stop.store(true, SeqCst);
                    }
                }
                // Quiet: all leases end, everything is folded.
                *clock.0.lock() += LEASE * 2;
                for _ in 0..20 {
                    look(&mut one, &books, &mut seen);
                }
            }));
            baton.leave(me);
            done
        }));
    }
    let ends: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    match ends.into_iter().find_map(Result::err) {
        Some(payload) if bug.is_none() => std::panic::resume_unwind(payload),
        broken => broken.is_none(),
    }
}

#[test]
fn calls_of_steps_that_are_woven_into_each_other_lose_and_double_nothing() {
    let seeds = std::env::var("TALLYPORT_TURN_SEEDS").ok().and_then(|text| text.parse().ok());
    for seed in 1..=seeds.unwrap_or(40) {
        let done = std::panic::catch_unwind(|| run(seed, 30, None));
        if let Err(payload) = done {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(payload);
        }
    }
}

#[test]
fn a_fold_that_does_not_seal_is_found() {
    assert!((1..=200).any(|seed| !run(seed, 30, Some(Bug::NoSeal))), "the runs do not find it");
}
