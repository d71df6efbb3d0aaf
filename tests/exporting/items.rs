//! Exports over memcached and over a host's own store: one exporter at a time as long as the store
//! forgets nothing, and every report says that this is advisory.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use tallyport_core::{
    engine::{Engine, Strategy},
    export::{Ending, Fencing, Gathered, Run, Skip},
    model::{ErrorKind, SystemClock},
    store::{
        Claim, Held, KeyValue, Memcached, Owner, Store, Wish,
        keyed::{self, Opened},
    },
};

use crate::{add, engine, export, memory_items::MemoryItems, testing::MemcachedServer};

const FILE: &str = "[targets.main]\nexporter = 'prometheus'\npath = 'out.prom'\n";

fn read(folder: &Path) -> String {
    fs::read_to_string(folder.join("out.prom")).unwrap()
}

/// The same items, as another process would have them.
fn store_of(items: impl KeyValue + 'static) -> Box<dyn Store> {
    let clock = std::sync::Arc::new(SystemClock::default());
    match keyed::open(Box::new(items), "tallyport", clock, None).unwrap() {
        Opened::Store(store) => store,
        Opened::KeepsNothing => panic!("it keeps nothing"),
    }
}

fn delivered(run: &Run) {
    assert!(matches!(run.ending, Ending::Delivered), "{run:?}");
}

/// Two engines over the same items, one of which finds another process with the lease.
fn one_at_a_time(folder: &Path, a: &Engine, b: &Engine, other: &mut dyn Store) {
    add(a, 3);
    add(b, 4);
    a.sync().unwrap();
    let first = export(b, "main");
    delivered(&first);
    assert_eq!(first.gathered, Some(Gathered::Shared { instances: 2 }));
    // Tokens may repeat where items are evicted: the file is not compared with them, and it is said.
    assert_eq!(first.fencing, Fencing::Advisory);
    assert!(!folder.join(".out.prom.fence").exists());
    assert!(read(folder).contains("\nrequests_total 7\n"), "{}", read(folder));
    let second = export(a, "main");
    delivered(&second);
    assert!(second.token > first.token, "{first:?} {second:?}");
    let standing = a.target_lease("main").unwrap();
    assert_eq!((standing.token, standing.holder), (second.token, None));

    let (lease, owner) = ("export:main", Owner(7));
    let wish = Wish { lease, owner, holder: "another:1", term: Duration::from_secs(600) };
    let Claim::Granted(token) = other.acquire(&wish).unwrap() else { panic!("it is taken") };
    add(a, 10);
    let skipped = export(a, "main");
    let Ending::Skipped(Skip::Leased { holder, .. }) = &skipped.ending else {
        panic!("{skipped:?}")
    };
    assert_eq!(holder, "another:1");
    assert!(read(folder).contains("\nrequests_total 7\n"), "nothing was written");
    // It synced all the same, and whoever has the lease exports it.
    assert!(other.release(&Held { lease, owner, token }).unwrap());
    delivered(&export(b, "main"));
    assert!(read(folder).contains("\nrequests_total 17\n"), "{}", read(folder));
    let standing = &b.target_standings().unwrap()[0];
    assert_eq!(standing.status.fencing, Fencing::Advisory);
    let last = standing.last_run.as_ref().unwrap();
    assert_eq!((last.ending.as_str(), last.error.as_ref()), ("delivered", None));
}

#[test]
fn over_memcached_one_exports_at_a_time_and_says_that_it_is_advisory() {
    let (server, folder) = (MemcachedServer::start(&[]), tempfile::tempdir().unwrap());
    let address = server.address();
    let toml = format!("[store]\nkind = 'memcached'\naddress = '{address}'\n{FILE}");
    let (a, b) = (engine(&toml, folder.path()), engine(&toml, folder.path()));
    let items = Memcached::connect(&address, Duration::from_secs(20)).unwrap();
    one_at_a_time(folder.path(), &a, &b, &mut *store_of(items));

    // A lease that is evicted is lost: its holder does not deliver to a second one's place.
    let fresh = server.command("flush_all");
    assert!(fresh.starts_with("OK"), "{fresh}");
    let again = export(&a, "main");
    delivered(&again);
    // What living instances have came back with their syncs.
    delivered(&export(&b, "main"));
    assert!(read(folder.path()).contains("\nrequests_total 17\n"), "{}", read(folder.path()));
}

#[test]
fn over_a_hosts_own_store_one_exports_at_a_time_on_the_hosts_threads() {
    let folder = tempfile::tempdir().unwrap();
    let items = MemoryItems::new(true);
    let of = |toml: &str| {
        let engine = engine(toml, folder.path());
        let items = items.clone();
        engine.set_store(move || Ok(Box::new(items.clone()))).unwrap();
        engine
    };
    let (a, b) = (of(FILE), of(FILE));
    one_at_a_time(folder.path(), &a, &b, &mut *store_of(items.clone()));
    assert_eq!(a.sync_status().strategy, Strategy::DistributedBasic);

    // The thread of a schedule calls nothing of the host's: it exports its own data, and says so, or
    // leaves what is there where it is told to.
    for (more, fails) in [("", false), ("without_lease = 'fail'\n", true)] {
        let one = of(&format!("{FILE}interval_ms = 20\nretry_ms = 10\n{more}"));
        add(&one, 1);
        let before = read(folder.path());
        one.start_schedule().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while one.export_history().is_empty() {
            assert!(Instant::now() < until, "the schedule does nothing");
            std::thread::yield_now();
        }
        one.stop_schedule(Duration::from_secs(60)).unwrap();
        let run = &one.export_history()[0];
        if fails {
            let Ending::Failed { error, .. } = &run.ending else { panic!("{run:?}") };
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("on the host's threads only"), "{error}");
            assert_eq!(read(folder.path()), before);
        } else {
            delivered(run);
            let Some(Gathered::Own { because: Some(because) }) = &run.gathered else {
                panic!("{run:?}")
            };
            assert!(because.contains("on the host's threads only"), "{because}");
            assert!(read(folder.path()).contains("\nrequests_total 1\n"));
        }
    }
}

#[test]
fn over_a_hosts_store_that_cannot_swap_each_exports_its_own_data_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let items = MemoryItems::new(false);
    let of = |toml: &str| {
        let engine = engine(toml, folder.path());
        let items = items.clone();
        engine.set_store(move || Ok(Box::new(items.clone()))).unwrap();
        engine
    };
    let (a, b) = (of(FILE), of(&format!("{FILE}without_lease = 'fail'\n")));
    add(&a, 3);
    add(&b, 4);
    b.sync().unwrap();
    let run = export(&a, "main");
    delivered(&run);
    assert_eq!((run.fencing, run.token), (Fencing::Absent, None));
    let Some(Gathered::Own { because: Some(because) }) = &run.gathered else { panic!("{run:?}") };
    assert!(because.contains("cannot lock"), "{because}");
    assert!(read(folder.path()).contains("\nrequests_total 3\n"));
    let run = export(&b, "main");
    assert!(matches!(run.ending, Ending::Failed { .. }), "{run:?}");
    assert!(read(folder.path()).contains("\nrequests_total 3\n"));
    let standing = &a.target_standings().unwrap()[0];
    assert_eq!((standing.status.fencing, &standing.lease), (Fencing::Absent, &None));
    assert_eq!(a.sync_status().strategy, Strategy::DistributedManual);
}
