//! Engines with a store that is not always itself: one that forgets for a while, and one that others are
//! at without a pause.

use std::{
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use tallyport_core::{
    engine::{Engine, Strategy, config::Config},
    model::{Error, ErrorKind},
    store::{Item, KeyValue},
};

use crate::{engine::Hand, instances::values, memory_items::MemoryItems};

/// What the items do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    /// What they should.
    Honest,
    /// They give nothing back.
    Forgetful,
    /// Others swap the ledger each time before this one does.
    Busy,
}

/// Items of a mood, which clones share.
#[derive(Debug, Clone)]
struct Moody {
    items: MemoryItems,
    mood: Arc<Mutex<Mood>>,
    /// Calls that wrote or read.
    calls: Arc<AtomicU64>,
    /// Times that it was tried.
    probes: Arc<AtomicU64>,
}

impl Moody {
    fn new(mood: Mood) -> Self {
        let mood = Arc::new(Mutex::new(mood));
        let (calls, probes) = Default::default();
        Self { items: MemoryItems::new(true), mood, calls, probes }
    }

    fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Calls since this was asked last.
    fn called(&self) -> u64 {
        self.calls.swap(0, SeqCst)
    }

    fn mood(&self) -> Mood {
        self.calls.fetch_add(1, SeqCst);
        *self.mood.lock().unwrap()
    }
}

impl KeyValue for Moody {
    fn name(&self) -> &str {
        "the moody one"
    }

    fn has_cas(&self) -> bool {
        true
    }

    fn get(&mut self, key: &str) -> Result<Option<Item>, Error> {
        if self.mood() == Mood::Forgetful { Ok(None) } else { self.items.get(key) }
    }

    fn set(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<(), Error> {
        self.mood();
        self.items.set(key, bytes, ttl)
    }

    fn add(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<bool, Error> {
        self.mood();
        self.probes.fetch_add(u64::from(key.contains(":probe:")), SeqCst);
        self.items.add(key, bytes, ttl)
    }

    fn cas(&mut self, key: &str, bytes: &[u8], ttl: Duration, token: u64) -> Result<bool, Error> {
        if self.mood() == Mood::Busy && key.ends_with(":ledger") {
            return Ok(false);
        }
        self.items.cas(key, bytes, ttl, token)
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.items.delete(key)
    }
}

/// An engine that shares through these items, by this clock.
fn sharing(items: &Moody, clock: &Arc<Hand>) -> Engine {
    let config = Config::parse("schema = 1", "test", Path::new("")).unwrap();
    let one = Engine::builder().config(config).clock(Arc::clone(clock) as _).build().unwrap();
    let items = items.clone();
    one.set_store(move || Ok(Box::new(items.clone()))).unwrap();
    one
}

fn add(one: &Engine, amount: u64) {
    one.metrics().counter("requests", &[]).unwrap().add(amount);
}

fn total(one: &Engine) -> String {
    values(&one.shared().unwrap().snapshot)["requests{}"].clone()
}

#[test]
fn a_store_that_kept_nothing_is_tried_again_ever_more_rarely_and_then_shared_through() {
    let (items, clock) = (Moody::new(Mood::Forgetful), Arc::new(Hand::default()));
    let (one, other) = (sharing(&items, &clock), sharing(&items, &clock));
    let mut probes = Vec::new();
    for second in 0..100 {
        add(&one, 1);
        one.sync().unwrap();
        if items.called() > 0 {
            probes.push(second);
        }
        // Nothing is shared, and that is no error.
        assert_eq!(one.shared().unwrap().instances, 1);
        assert_eq!(items.called(), 0);
        assert_eq!(one.read_shared().unwrap_err().kind(), ErrorKind::Unsupported);
        let status = one.sync_status();
        assert_eq!((status.strategy, status.probed), (Strategy::LocalOnly, true));
        assert!(status.cannot.unwrap().contains("tried again"), "{status:?}");
        assert_eq!((status.failures, status.identity), (0, None));
        clock.pass(Duration::from_secs(1));
    }
    // At first, and then after 1, 2, 4, 8, 16, 32 s, each half more or less.
    assert!((4..=9).contains(&probes.len()), "{probes:?}");
    let waits: Vec<u64> = probes.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(waits[0] <= 2 && waits[3] >= 4, "{waits:?}");

    items.becomes(Mood::Honest);
    clock.pass(Duration::from_secs(90));
    one.sync().unwrap();
    let status = one.sync_status();
    assert_eq!(status.strategy, Strategy::DistributedBasic);
    assert!(status.identity.is_some() && status.cannot.unwrap().contains("exact while"));
    // All that was recorded is there, for others too.
    add(&other, 5);
    assert_eq!((total(&other).as_str(), total(&one).as_str()), ("105", "105"));
    assert_eq!(one.read_shared().unwrap().instances, 2);
}

#[test]
fn a_store_that_others_are_at_is_not_left_alone_and_not_tried_for_long() {
    let (items, clock) = (Moody::new(Mood::Busy), Arc::new(Hand::default()));
    let one = sharing(&items, &clock);
    add(&one, 7);
    for failures in 1..=9 {
        let error = one.sync().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("other instances were at it"), "{error}");
        // A few tries, and none of them asks whether the store can what it could.
        let calls = items.called();
        assert!((8..80).contains(&calls), "{calls} calls");
        assert_eq!(items.probes.load(SeqCst), 2, "one try adds twice");
        let status = one.sync_status();
        assert_eq!((status.failures, status.failures_in_a_row), (failures, failures as u32));
    }
    // What was begun in vain does not stay.
    let records = items.items.kept.lock().unwrap();
    assert_eq!(records.items.keys().filter(|key| key.contains(":i:")).count(), 0);
    drop(records);
    items.becomes(Mood::Honest);
    assert_eq!(total(&one), "7");
    let status = one.sync_status();
    assert_eq!((status.syncs, status.failures_in_a_row, status.last_error), (1, 0, None));
}
