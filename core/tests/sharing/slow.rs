//! Syncs that take longer than the lease, or than one step may; steps that fail; and many at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use tallyport_core::{
    metrics::{Cells, Limits, Metrics, Share},
    model::{Error, ErrorKind},
    snapshot::Snapshots,
    store::{
        Answer, Batch, Epoch, Fold, Identity, Lease, Leases, MemoryStore, Prune, Roll, State,
        Store, Swap, Totals, Wanted,
    },
    sync::{Session, Settings},
};

use crate::{
    engine::Hand,
    instances::{Instance, named},
};

/// A store each of whose steps takes time, half of it before it takes place.
#[derive(Debug, Clone)]
struct Slow {
    store: MemoryStore,
    clock: Arc<Hand>,
    step: Duration,
    /// How often its instances were listed.
    rolls: Arc<AtomicUsize>,
    /// Bytes that it still takes in time.
    room: Arc<AtomicU64>,
    /// Records that it lost and did not tell of yet.
    lost: Arc<AtomicU64>,
    /// Its totals cannot be read.
    broken: Arc<AtomicBool>,
}

impl Slow {
    fn new(step: Duration) -> Self {
        let clock = Arc::new(Hand::default());
        let store = MemoryStore::new(Arc::clone(&clock) as _);
        let room = Arc::new(AtomicU64::new(u64::MAX));
        let (rolls, lost, broken) = Default::default();
        Self { store, clock, step, rolls, room, lost, broken }
    }

    fn step<R>(&mut self, act: impl FnOnce(&mut MemoryStore) -> R) -> R {
        self.clock.pass(self.step / 2);
        let done = act(&mut self.store);
        self.clock.pass(self.step / 2);
        done
    }
}

impl Leases for Slow {}

impl Store for Slow {
    fn register(
        &mut self,
        id: Identity,
        name: &str,
        fresh: Epoch,
        lease: Lease,
    ) -> Result<Answer, Error> {
        self.step(|store| store.register(id, name, fresh, lease))
    }

    fn publish(
        &mut self,
        id: Identity,
        epochs: (Epoch, Epoch),
        lease: Lease,
        batches: &[Batch],
    ) -> Result<Answer, Error> {
        let sizes = batches.iter().flat_map(|batch| batch.values.iter().chain(&batch.texts));
        let bytes = sizes.map(|(_, bytes)| bytes.len() as u64).sum();
        let room = self.room.load(SeqCst).checked_sub(bytes);
        let room = room.ok_or_else(|| Error::new(ErrorKind::Timeout, "the deadline passed"))?;
        self.room.store(room, SeqCst);
        self.step(|store| store.publish(id, epochs, lease, batches))
    }

    fn roll(&mut self, shard: u32) -> Result<Roll, Error> {
        self.rolls.fetch_add(1, SeqCst);
        let mut roll = self.step(|store| store.roll(shard))?;
        roll.lost += self.lost.swap(0, SeqCst);
        Ok(roll)
    }

    fn states(&mut self, shard: u32, ids: &[Identity]) -> Result<Vec<Option<State>>, Error> {
        self.step(|store| store.states(shard, ids))
    }

    fn totals(&mut self, shard: u32, wanted: Wanted<'_>) -> Result<Totals, Error> {
        if self.broken.load(SeqCst) {
            return Err(Error::new(ErrorKind::Io, "the connection went"));
        }
        self.step(|store| store.totals(shard, wanted))
    }

    fn fold(&mut self, fold: &Fold) -> Result<Swap, Error> {
        self.step(|store| store.fold(fold))
    }

    fn prune(&mut self, prune: &Prune) -> Result<Swap, Error> {
        self.step(|store| store.prune(prune))
    }
}

#[test]
fn an_instance_whose_syncs_outlast_its_lease_is_not_folded_again_and_again() {
    let slow = Slow::new(Duration::from_secs(4));
    let clock = Arc::clone(&slow.clock);
    let mut observer = Instance::new(Box::new(slow.store.clone()), named("observer"));
    let metrics =
        Metrics::new(Limits::default(), Cells::Shared, &Share::Auto, &[], Arc::clone(&clock) as _);
    let (metrics, snapshots) = (metrics.unwrap(), Snapshots::default());
    let lease = Lease { alive: Duration::from_secs(5), data: Duration::from_secs(3600) };
    let mut one = Session::of(&metrics, Box::new(slow), Settings { lease, ..named("slow") });
    for round in 1..=20 {
        metrics.counter("requests", &[("path", "/")]).unwrap().add(1);
        assert_eq!(one.begin().unwrap(), None);
        let done = one.sync(&snapshots.take(&metrics).unwrap()).unwrap();
        one.end();
        assert_eq!(done.retirement.folded, 0, "it folded itself");
        clock.pass(Duration::from_secs(2));
        // Whoever looks folds what has expired.
        assert_eq!(observer.total("requests", "/"), round);
    }
    assert!(one.mishaps().retired <= 1, "{:?}", one.mishaps());
    // It is gone: its lease ends all the same.
    clock.pass(Duration::from_secs(60));
    assert_eq!(observer.total("requests", "/"), 20);
    assert_eq!(observer.everyone().instances, 0);
}

#[test]
fn when_its_time_is_over_no_step_is_begun() {
    let slow = Slow::new(Duration::ZERO);
    let mut one = Instance::new(Box::new(slow.clone()), named("one"));
    one.add("requests", "/", 3);
    one.session.end_by(Some(Instant::now()));
    let snapshot = one.snapshot();
    for error in [
        one.session.sync(&snapshot).unwrap_err(),
        one.session.withdraw(&snapshot).unwrap_err(),
        one.session.aggregate(&snapshot).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert!(error.to_string().contains("sync.deadline_ms"), "{error}");
    }
    one.session.end_by(None);
    assert_eq!(one.everyone().instances, 0, "something was registered");
    one.sync();
    assert_eq!(one.total("requests", "/"), 3);
}

#[test]
fn of_many_instances_a_few_look_for_those_that_ended() {
    let store = Slow::new(Duration::ZERO);
    let one = |n| Instance::new(Box::new(store.clone()), named(&format!("i{n}")));
    let mut all: Vec<_> = (0..64).map(one).collect();
    for _ in 0..10 {
        all.iter_mut().for_each(|one| _ = one.sync());
    }
    let rolls = store.rolls.load(SeqCst);
    assert!((64..320).contains(&rolls), "{rolls} lists in 640 syncs");
    drop(all.pop());
    let mut folded = 0;
    for _ in 0..100 {
        store.clock.pass(Duration::from_secs(30));
        folded += all.iter_mut().map(|one| one.sync().retirement.folded).sum::<u64>();
        if folded > 0 {
            break;
        }
    }
    assert_eq!(folded, 1);
}

#[test]
fn a_store_that_is_too_slow_for_all_is_told_more_by_every_sync() {
    let store = Slow::new(Duration::ZERO);
    let mut one = Instance::new(Box::new(store.clone()), named("one"));
    // Twelve MB of texts.
    let long = "x".repeat(400);
    for number in 0..30_000 {
        one.add("requests", &format!("{long}{number}"), 1);
    }
    let mut failed = 0;
    loop {
        store.room.store(5 << 20, SeqCst);
        let snapshot = one.snapshot();
        match one.session.sync(&snapshot) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
        }
        failed += 1;
        assert!(failed < 10, "nothing arrives");
    }
    assert!(failed > 0, "it was quick enough for all");
    store.room.store(u64::MAX, SeqCst);
    let all = crate::instances::values(&one.everyone().snapshot);
    assert_eq!((all.len(), all.values().filter(|value| *value == "1").count()), (30_000, 30_000));
    // For the last time, in several steps: its lease ends with the last one only.
    for number in 0..30_000 {
        one.add("again", &format!("{long}{number}"), 1);
    }
    let last = one.snapshot();
    let done = one.session.withdraw(&last).unwrap();
    assert_eq!((done.series, done.retirement.folded), (30_000, 1));
    assert_eq!(one.session.mishaps(), Default::default());
}

#[test]
fn what_a_failed_aggregate_found_lost_is_told_by_the_next_one() {
    let store = Slow::new(Duration::ZERO);
    let mut one = Instance::new(Box::new(store.clone()), named("one"));
    one.add("requests", "/", 1);
    one.sync();
    store.lost.store(1, SeqCst);
    store.broken.store(true, SeqCst);
    let snapshot = one.snapshot();
    let error = one.session.aggregate(&snapshot).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    store.broken.store(false, SeqCst);
    assert_eq!(one.sync().retirement.lost, 1);
    assert_eq!(one.sync().retirement.lost, 0, "told twice");
}
