//! Stores of items: memcached, and hosts' own, with compare-and-swap and without.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tallyport_core::{
    engine::{Engine, Strategy, config::Config},
    model::{Error, ErrorKind, SystemClock},
    store::{
        Item, KeyValue, Memcached, Store,
        keyed::{self, Opened},
    },
};

use crate::{
    instances::{DEADLINE, Instance, named, values},
    memory_items::MemoryItems,
    testing::MemcachedServer,
};

/// A store over items; the test fails where there is none to be had.
pub(crate) fn store_of(items: impl KeyValue + 'static, demand: Option<Strategy>) -> Box<dyn Store> {
    store_in(items, "shared", demand)
}

pub(crate) fn store_in(
    items: impl KeyValue + 'static,
    namespace: &str,
    demand: Option<Strategy>,
) -> Box<dyn Store> {
    let clock = Arc::new(SystemClock::default());
    match keyed::open(Box::new(items), namespace, clock, demand).unwrap() {
        Opened::Store(store) => store,
        Opened::KeepsNothing => panic!("it keeps nothing"),
    }
}

pub(crate) fn memcached_at(address: &str, deadline: Duration) -> Box<dyn Store> {
    store_of(Memcached::connect(address, deadline).unwrap(), None)
}

pub(crate) fn memcached(server: &MemcachedServer) -> Box<dyn Store> {
    memcached_at(&server.address(), DEADLINE)
}

/// A host's own store: a folder of files that processes share, each call under one file lock.
#[derive(Debug)]
pub(crate) struct FolderItems {
    folder: PathBuf,
    lock: File,
}

impl FolderItems {
    pub(crate) fn open(folder: &Path) -> Self {
        fs::create_dir_all(folder).unwrap();
        let lock = folder.join("lock");
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).read(true).open(lock);
        Self { folder: folder.into(), lock: lock.unwrap() }
    }

    fn path(&self, key: &str) -> PathBuf {
        self.folder.join(key.replace(':', "_"))
    }

    /// Does something while nobody else does; the lock ends with the process too.
    fn locked<R>(&mut self, act: impl FnOnce(&mut Self) -> R) -> R {
        self.lock.lock().unwrap();
        let done = act(self);
        self.lock.unlock().unwrap();
        done
    }

    fn read(&self, key: &str) -> Option<Item> {
        let all = fs::read(self.path(key)).ok()?;
        let (token, bytes) = all.split_first_chunk()?;
        Some(Item { bytes: bytes.to_vec(), token: u64::from_le_bytes(*token) })
    }

    fn write(&mut self, key: &str, bytes: &[u8]) {
        // A number that no item had before: of the lock file's length.
        let token = self.lock.seek(SeekFrom::End(0)).unwrap() + 1;
        self.lock.write_all(b".").unwrap();
        let new = self.folder.join("new");
        fs::write(&new, [&token.to_le_bytes(), bytes].concat()).unwrap();
        fs::rename(new, self.path(key)).unwrap();
    }
}

impl KeyValue for FolderItems {
    fn name(&self) -> &str {
        "a folder"
    }

    fn has_cas(&self) -> bool {
        true
    }

    fn get(&mut self, key: &str) -> Result<Option<Item>, Error> {
        Ok(self.locked(|all| all.read(key)))
    }

    fn set(&mut self, key: &str, bytes: &[u8], _: Duration) -> Result<(), Error> {
        self.locked(|all| all.write(key, bytes));
        Ok(())
    }

    fn add(&mut self, key: &str, bytes: &[u8], _: Duration) -> Result<bool, Error> {
        Ok(self.locked(|all| {
            let free = all.read(key).is_none();
            if free {
                all.write(key, bytes);
            }
            free
        }))
    }

    fn cas(&mut self, key: &str, bytes: &[u8], _: Duration, token: u64) -> Result<bool, Error> {
        Ok(self.locked(|all| {
            let same = all.read(key).is_some_and(|item| item.token == token);
            if same {
                all.write(key, bytes);
            }
            same
        }))
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        let path = self.path(key);
        self.locked(|_| drop(fs::remove_file(path)));
        Ok(())
    }
}

#[test]
fn without_compare_and_swap_totals_add_up_and_fall_when_one_ends() {
    let items = MemoryItems::new(false);
    let open = || store_of(items.clone(), None);
    assert_eq!(open().strategy(), Strategy::DistributedManual);
    let mut all: Vec<_> = (0..40).map(|n| Instance::new(open(), named(&format!("i{n}")))).collect();
    for one in &mut all {
        one.add("requests", "/", 2);
        one.metrics.gauge("level", &[]).unwrap().set(1.0);
        one.sync();
        one.add("requests", "/", 1);
        one.sync();
    }
    assert_eq!(all[7].total("requests", "/"), 120);
    assert_eq!(all[7].everyone().instances, 40);
    // It leaves: its gauge goes, its counts stay as long as its items.
    let last = all[3].snapshot();
    assert_eq!(all[3].session.withdraw(&last).unwrap().retirement.folded, 0);
    let seen = values(&all[7].everyone().snapshot);
    assert_eq!(seen["requests{path=/}"], "120");
    assert_eq!(seen.keys().filter(|key| key.starts_with("level{")).count(), 39);
    items.lose(":s:3");
    assert_eq!(all[7].total("requests", "/"), 120 - 3 * 11, "slots 3 and 30 to 39 are lost");
    // Who finds its slot gone takes one again; who finds its record gone sends it again.
    items.lose(":i:");
    for one in &mut all {
        one.sync();
    }
    assert_eq!(all[7].total("requests", "/"), 120);
    assert!(all.iter().all(|one| one.session.mishaps().lost == 1));
}

#[test]
fn who_finds_someone_else_in_its_slot_takes_another_one() {
    let items = MemoryItems::new(false);
    let mut a = Instance::new(store_of(items.clone(), None), named("a"));
    a.add("requests", "/", 1);
    a.sync();
    items.lose(":s:0");
    let mut b = Instance::new(store_of(items.clone(), None), named("b"));
    b.add("requests", "/", 10);
    b.sync();
    assert_eq!(b.total("requests", "/"), 10);
    a.sync();
    assert_eq!(b.total("requests", "/"), 11);
}

/// Items that are not what they say.
#[derive(Debug)]
struct Liar {
    items: MemoryItems,
    lie: &'static str,
}

impl KeyValue for Liar {
    fn name(&self) -> &str {
        "the liar"
    }

    fn max_item_bytes(&self) -> usize {
        if self.lie == "small" { 1000 } else { 1 << 20 }
    }

    fn has_cas(&self) -> bool {
        true
    }

    fn get(&mut self, key: &str) -> Result<Option<Item>, Error> {
        let item = self.items.get(key)?;
        Ok(match (self.lie, item) {
            ("empty", _) => None,
            ("cut", Some(mut item)) => {
                item.bytes.truncate(4000);
                Some(item)
            }
            ("text", Some(mut item)) => {
                item.bytes = String::from_utf8_lossy(&item.bytes).into_owned().into_bytes();
                Some(item)
            }
            (_, item) => item,
        })
    }

    fn set(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<(), Error> {
        self.items.set(key, bytes, ttl)
    }

    fn add(&mut self, key: &str, bytes: &[u8], ttl: Duration) -> Result<bool, Error> {
        if self.lie == "adds" {
            return self.items.set(key, bytes, ttl).map(|()| true);
        }
        self.items.add(key, bytes, ttl)
    }

    fn cas(&mut self, key: &str, bytes: &[u8], ttl: Duration, token: u64) -> Result<bool, Error> {
        match self.lie {
            "swaps" => self.items.set(key, bytes, ttl).map(|()| true),
            "never" => Ok(false),
            _ => self.items.cas(key, bytes, ttl, token),
        }
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        if self.lie == "keeps" { Ok(()) } else { self.items.delete(key) }
    }
}

#[test]
fn what_items_can_is_tried_and_not_believed() {
    let found = |lie, demand| {
        let liar = Box::new(Liar { items: MemoryItems::new(true), lie });
        keyed::open(liar, "shared", Arc::new(SystemClock::default()), demand)
    };
    let strategy = |lie, demand| match found(lie, demand).unwrap() {
        Opened::Store(store) => Some(store.strategy()),
        Opened::KeepsNothing => None,
    };
    let (basic, manual) = (Strategy::DistributedBasic, Strategy::DistributedManual);
    assert_eq!(strategy("", None), Some(basic));
    assert_eq!(strategy("", Some(manual)), Some(manual));
    assert_eq!(strategy("swaps", None), Some(manual));
    assert_eq!(strategy("never", None), Some(manual));
    assert_eq!(strategy("empty", None), None);
    for (lie, demand, what) in [
        ("swaps", Some(basic), "swaps an item that was written since"),
        ("never", Some(basic), "does not swap"),
        ("empty", Some(manual), "does not give back"),
        ("", Some(Strategy::DistributedAtomic), "distributed_basic"),
        ("cut", None, "another value"),
        ("text", None, "another value"),
        ("adds", None, "is there already"),
        ("keeps", None, "removed"),
        ("small", None, "1000 bytes"),
    ] {
        let error = found(lie, demand).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{lie}: {error}");
        assert!(error.to_string().contains(what), "{lie}: {error}");
        assert!(error.to_string().contains("the liar"), "{lie}: {error}");
    }
}

#[test]
fn an_engine_shares_through_a_store_of_its_host() {
    let items = MemoryItems::new(true);
    let engine = |toml: &str| {
        let config = Config::parse(&format!("schema = 1\n{toml}"), "test", Path::new("")).unwrap();
        Engine::builder().config(config).build().unwrap()
    };
    let sharing = |toml: &str, items: &MemoryItems| {
        let (one, items) = (engine(toml), items.clone());
        one.set_store(move || Ok(Box::new(items.clone()))).unwrap();
        one
    };
    let (a, b) = (sharing("", &items), sharing("[store]\nkind = 'host'", &items));
    for (one, amount) in [(&a, 3), (&b, 4)] {
        one.metrics().counter("requests", &[]).unwrap().add(amount);
        assert!(!one.sync_status().probed);
        one.sync().unwrap();
        let status = one.sync_status();
        assert_eq!((status.store, status.strategy), ("host", Strategy::DistributedBasic));
        assert!(status.probed && status.cannot.unwrap().contains("exact while"));
    }
    assert_eq!(values(&a.shared().unwrap().snapshot)["requests{}"], "7");
    assert_eq!(a.start_sync().unwrap_err().kind(), ErrorKind::Unsupported);
    a.leave().unwrap();
    assert_eq!(values(&b.shared().unwrap().snapshot)["requests{}"], "7");

    // One that keeps nothing: told, and an engine has its own totals; demanded, it is an error.
    let nothing = |toml: &str| {
        let one = engine(toml);
        let liar = || Liar { items: MemoryItems::new(true), lie: "empty" };
        one.set_store(move || Ok(Box::new(liar()))).unwrap();
        one
    };
    let one = nothing("");
    one.metrics().counter("requests", &[]).unwrap().add(5);
    one.sync().unwrap();
    assert_eq!(one.sync_status().strategy, Strategy::LocalOnly);
    assert_eq!(values(&one.shared().unwrap().snapshot)["requests{}"], "5");
    let error = nothing("[store]\nkind = 'host'\n[sync]\ncoordination = 'on'").sync().unwrap_err();
    assert_eq!(error.field(), Some("sync.coordination"));
    let off = sharing("[sync]\ncoordination = 'off'", &MemoryItems::new(true));
    off.sync().unwrap();
    assert_eq!(off.sync_status().strategy, Strategy::LocalOnly);
}

#[test]
fn larger_than_an_item_is_cut_into_pages_and_a_series_that_is_alone_is_refused() {
    let items = MemoryItems { most: 20_000, ..MemoryItems::new(true) };
    let mut a = Instance::new(store_of(items.clone(), None), named("a"));
    for number in 0..2000 {
        a.add("requests", &format!("{}{number}", "long".repeat(20)), 1);
    }
    a.sync();
    let mut b = Instance::new(store_of(items.clone(), None), named("b"));
    let all = values(&b.everyone().snapshot);
    assert_eq!(all.len(), 2000);
    let pages = items.kept.lock().unwrap().items.len();
    assert!(pages > 12, "{pages} items");
    // What nothing leads to any more is removed.
    for number in 0..2000 {
        a.add("requests", &format!("{}{number}", "long".repeat(20)), 1);
    }
    a.sync();
    assert!(items.kept.lock().unwrap().items.len() <= pages + 2);
    let last = a.snapshot();
    a.session.withdraw(&last).unwrap();
    let sums: BTreeMap<_, _> = values(&b.everyone().snapshot);
    assert!(sums.len() == 2000 && sums.values().all(|value| value == "2"));
    let mut c = Instance::new(store_of(items, None), named("c"));
    c.add("requests", &"x".repeat(25_000), 1);
    let snapshot = c.snapshot();
    let error = c.session.sync(&snapshot).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert!(error.to_string().contains("does not fit"), "{error}");
}
