//! Engines with a store that is not always itself: one that forgets for a while.

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
}

/// Items of a mood, which clones share.
#[derive(Debug, Clone)]
struct Moody {
    items: MemoryItems,
    mood: Arc<Mutex<Mood>>,
    /// Calls that wrote or read.
    calls: Arc<AtomicU64>,
}

impl Moody {
    fn new(mood: Mood) -> Self {
        let mood = Arc::new(Mutex::new(mood));
        Self { items: MemoryItems::new(true), mood, calls: Arc::default() }
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
        self.items.add(key, bytes, ttl)
    }

    fn cas(&mut self, key: &str, bytes: &[u8], ttl: Duration, token: u64) -> Result<bool, Error> {
        self.mood();
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
