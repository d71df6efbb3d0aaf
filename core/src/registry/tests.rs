use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use proptest::prelude::*;

use super::*;

struct Thing {
    name: String,
    version: u32,
    statistics: Statistics,
}

impl Thing {
    fn new(name: &str, version: u32) -> Arc<Self> {
        Arc::new(Self { name: name.to_owned(), version, statistics: Statistics::default() })
    }
}

impl Entry for Thing {
    fn name(&self) -> &str {
        &self.name
    }

    fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn summary(&self) -> Option<String> {
        (self.version > 1).then(|| format!("version {}", self.version))
    }
}

/// Writes every change down.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Watch<Thing> for Log {
    fn changed(&self, change: Change<'_, Thing>) {
        self.0.lock().push(match change {
            Change::Registered { entry, replaced: None } => format!("+{}", entry.name),
            Change::Registered { entry, replaced: Some(old) } => {
                format!("{}: {} to {}", entry.name, old.version, entry.version)
            }
            Change::Unregistered(entry) => format!("-{}", entry.name),
            Change::Refused { name, error } => format!("{name}: {:?}", error.kind()),
        });
    }
}

fn registry(most: usize) -> (Registry<Thing>, Log) {
    let log = Log::default();
    (Registry::new("thing", most, Box::new(log.clone())), log)
}

fn names(registry: &Registry<Thing>) -> Vec<String> {
    registry.list().iter().map(|thing| thing.name.clone()).collect()
}

#[test]
fn every_change_is_told_after_it_was_made() {
    let (registry, log) = registry(8);
    registry.register(vec![Thing::new("a", 1), Thing::new("b", 1)]).unwrap();
    let old = registry.replace(Thing::new("a", 2)).unwrap();
    assert_eq!(old.version, 1);
    assert_eq!(registry.by_name("a").unwrap().version, 2);
    assert_eq!(names(&registry), ["a", "b"], "a replacement takes the place of the old one");
    registry.unregister("a").unwrap();
    assert!(registry.by_name("a").is_none());
    registry.clear();
    assert_eq!(*log.0.lock(), ["+a", "+b", "a: 1 to 2", "-a", "-b"]);
}

#[test]
fn what_is_refused_is_told_and_changes_nothing() {
    let (registry, log) = registry(2);
    registry.register(vec![Thing::new("a", 3)]).unwrap();
    let kind = |done: Result<(), Error>| done.map_err(|error| error.kind()).unwrap_err();
    let two = |second: &str| vec![Thing::new("b", 1), Thing::new(second, 1)];
    assert_eq!(kind(registry.register(two("a"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(registry.register(two("b"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(registry.register(two("c"))), ErrorKind::Limit);
    assert_eq!(kind(registry.register(two("c/d"))), ErrorKind::InvalidArgument);
    assert_eq!(kind(registry.admit(&["a"])), ErrorKind::AlreadyExists);
    let error = registry.replace(Thing::new("z", 1)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.to_string(), "no thing is called `z`; registered: a (version 3)");
    assert_eq!(registry.unregister("z").err().unwrap().kind(), ErrorKind::NotFound);
    assert_eq!(names(&registry), ["a"]);
    let told = [
        "+a",
        "a: AlreadyExists",
        "b: AlreadyExists",
        "c: Limit",
        "c/d: InvalidArgument",
        "a: AlreadyExists",
        "z: NotFound",
    ];
    assert_eq!(*log.0.lock(), told);
}

#[test]
fn an_entry_is_taken_out_by_what_it_is_not_by_its_name() {
    let (registry, _) = registry(8);
    let old = Thing::new("a", 1);
    registry.register(vec![Arc::clone(&old)]).unwrap();
    registry.replace(Thing::new("a", 2)).unwrap();
    assert!(!registry.unregister_entry(&old), "another has its name now");
    assert_eq!(registry.by_name("a").unwrap().version, 2);
}

#[test]
fn statistics_count_what_an_entry_did() {
    let thing = Thing::new("a", 1);
    thing.statistics.succeeded(Duration::from_millis(3), 10);
    thing.statistics.succeeded(Duration::from_millis(1), 5);
    thing.statistics.called();
    assert_eq!(thing.statistics.failed("first".into()), 1);
    assert_eq!(thing.statistics.failed("last".into()), 2);
    let counts = Counts {
        calls: 3,
        failures: 2,
        bytes: 15,
        total_duration: Duration::from_millis(4),
        last_duration: Duration::from_millis(1),
        last_error: Some("last".into()),
    };
    assert_eq!(thing.statistics.read(), counts);
}

/// A watch that changes the registry again would wait for ever if it were called with a lock held.
#[test]
fn a_watch_may_change_the_registry() {
    struct Again(mpsc::Sender<String>, Mutex<std::sync::Weak<Registry<Thing>>>);
    impl Watch<Thing> for Again {
        fn changed(&self, change: Change<'_, Thing>) {
            let registry = self.1.lock().upgrade();
            if let (Change::Registered { entry, .. }, Some(registry)) = (&change, registry) {
                registry.unregister(entry.name()).unwrap();
                self.0.send(entry.name.clone()).unwrap();
            }
        }
    }
    let (sender, receiver) = mpsc::channel();
    let registry = Arc::new_cyclic(|own: &std::sync::Weak<Registry<Thing>>| {
        Registry::new("thing", 8, Box::new(Again(sender, Mutex::new(own.clone()))))
    });
    registry.register(vec![Thing::new("a", 1)]).unwrap();
    assert_eq!(receiver.try_recv().unwrap(), "a");
    assert!(registry.list().is_empty());
}

/// Readers always find the entry that is only ever replaced, and never an older one than before.
#[test]
fn readers_see_every_replacement_in_order_and_never_a_gap() {
    let (registry, _) = registry(64);
    registry.register(vec![Thing::new("kept", 0)]).unwrap();
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                while !done.load(Relaxed) {
                    let version = registry.by_name("kept").expect("it is always there").version;
                    assert!(version >= newest, "{version} after {newest}");
                    newest = version;
                    reads.fetch_add(1, Relaxed);
                }
            });
        }
        scope.spawn(|| {
            // Others come and go beside it.
            for round in 0..2_000 {
                let name = format!("guest-{}", round % 8);
                registry.register(vec![Thing::new(&name, 1)]).unwrap();
                registry.unregister(&name).unwrap();
            }
        });
        for version in 1..=2_000 {
            registry.replace(Thing::new("kept", version)).unwrap();
        }
        while reads.load(Relaxed) < 1_000 {
            thread::yield_now();
        }
        done.store(true, Relaxed);
    });
    assert_eq!(registry.by_name("kept").unwrap().version, 2_000);
}

proptest! {
    /// The registry does what a list with the same rules does.
    #[test]
    fn it_is_a_list_with_rules(
        steps in prop::collection::vec((0..4_u8, "[a-d]", 1..100_u32), 0..60),
    ) {
        let (registry, _) = registry(3);
        let mut model: Vec<(String, u32)> = Vec::new();
        for (what, name, version) in steps {
            let at = model.iter().position(|(known, _)| *known == name);
            match what {
                0 | 1 => {
                    let done = registry.register(vec![Thing::new(&name, version)]);
                    prop_assert_eq!(done.is_ok(), at.is_none() && model.len() < 3);
                    if done.is_ok() {
                        model.push((name, version));
                    }
                }
                2 => {
                    let done = registry.replace(Thing::new(&name, version));
                    prop_assert_eq!(done.ok().map(|old| old.version), at.map(|at| model[at].1));
                    if let Some(at) = at {
                        model[at].1 = version;
                    }
                }
                _ => {
                    let done = registry.unregister(&name);
                    prop_assert_eq!(done.ok().map(|old| old.version), at.map(|at| model[at].1));
                    if let Some(at) = at {
                        model.remove(at);
                    }
                }
            }
            let now: Vec<(String, u32)> =
                registry.list().iter().map(|thing| (thing.name.clone(), thing.version)).collect();
            prop_assert_eq!(&now, &model);
        }
    }
}
