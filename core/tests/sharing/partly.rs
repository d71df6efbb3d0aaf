//! Stores of items whose calls fail in the middle of a step.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use tallyport_core::{
    model::{Error, ErrorKind},
    store::{Item, KeyValue},
};

use crate::{
    instances::{Instance, named},
    items::store_of,
    memory_items::MemoryItems,
};

/// Items that take only so many pages more in one step.
#[derive(Debug, Clone)]
struct Partly {
    items: MemoryItems,
    room: Arc<AtomicUsize>,
    steps: Arc<AtomicUsize>,
}

impl Partly {
    fn new() -> Self {
        let (items, steps) = (MemoryItems::new(true), Arc::default());
        Self { items, room: Arc::new(AtomicUsize::new(usize::MAX)), steps }
    }
}

impl KeyValue for Partly {
    fn name(&self) -> &str {
        "partly"
    }

    fn has_cas(&self) -> bool {
        true
    }

    fn begin(&mut self) {
        self.steps.fetch_add(1, SeqCst);
    }

    fn get(&mut self, key: &str) -> Result<Option<Item>, Error> {
        self.items.get(key)
    }

    fn set(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<(), Error> {
        let less = |room: usize| room.checked_sub(1);
        if self.room.fetch_update(SeqCst, SeqCst, less).is_err() {
            return Err(Error::new(ErrorKind::Timeout, "the deadline passed"));
        }
        self.items.set(key, bytes, ttl)
    }

    fn add(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<bool, Error> {
        self.items.add(key, bytes, ttl)
    }

    fn cas(&mut self, key: &str, bytes: &[u8], ttl: Duration, token: u64) -> Result<bool, Error> {
        self.items.cas(key, bytes, ttl, token)
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.items.delete(key)
    }
}

#[test]
fn what_a_step_that_failed_wrote_is_removed_by_the_next_one() {
    let partly = Partly::new();
    let mut one = Instance::new(store_of(partly.clone(), None), named("one"));
    // Texts of 1.5 MB, so six pages, and more of values.
    for number in 0..5000 {
        one.add("requests", &format!("{}{number}", "x".repeat(300)), 1);
    }
    let items = || partly.items.kept.lock().unwrap().items.len();
    let mut most = 0;
    // It fails at the list, among the texts, among the values.
    for room in 0.. {
        partly.room.store(room, SeqCst);
        let snapshot = one.snapshot();
        match one.session.sync(&snapshot) {
            Ok(_) => break,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Timeout, "{error}"),
        }
        most = most.max(items());
    }
    assert!((8..20).contains(&most), "{most} items");
    partly.room.store(usize::MAX, SeqCst);
    let all = items();
    // Nothing else is there: the ledger, its list, the record, and what those name.
    one.add("requests", "/", 1);
    one.sync();
    assert!(items() <= all + 1, "{} of {all} items", items());
}

#[test]
fn many_instances_are_read_in_several_steps_each_with_its_deadline() {
    let partly = Partly::new();
    let all: Vec<_> = (0..70)
        .map(|n| {
            let mut one = Instance::new(store_of(partly.clone(), None), named(&format!("i{n}")));
            one.add("requests", "/", 1);
            one.sync();
            one
        })
        .collect();
    let mut observer = Instance::new(store_of(partly.clone(), None), named("observer"));
    let before = partly.steps.load(SeqCst);
    assert_eq!(observer.total("requests", "/"), 70);
    // The list, 3 for the records, the totals, and one for each shard more.
    let steps = partly.steps.load(SeqCst) - before;
    assert!(steps >= 5, "{steps} steps");
    drop(all);
}
