//! Stores that the model can break: their time, their memory.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    model::{Clock, Error},
    store::{
        Answer, Batch, Book, Epoch, Fold, Identity, Lease, Leases, MemoryStore, Prune, Roll, State,
        Store, Strategy, Swap, Totals, Wanted,
    },
};

/// A store under test.
pub(super) trait Rig: Store {
    /// Lets time pass; more than 90 s ends every lease.
    fn pass(&mut self, seconds: u64);
    /// Loses a record.
    fn evict(&mut self, id: Identity) -> bool;
    /// Loses the totals, the tombstones and the epoch.
    fn evict_total(&mut self);
    /// Loses everything.
    fn flush(&mut self);
}

#[derive(Debug, Default)]
pub(super) struct Hand(pub(super) Mutex<Duration>);

impl Clock for Hand {
    fn unix_ns(&self) -> u64 {
        self.0.lock().as_nanos() as u64 + 1_000_000
    }

    fn monotonic(&self) -> Duration {
        *self.0.lock()
    }
}

/// Hands every step on to a field.
macro_rules! through {
    ($type:ty) => {
        impl Leases for $type {}

        impl Store for $type {
            fn shards(&self) -> u32 {
                self.store.shards()
            }

            fn strategy(&self) -> Strategy {
                self.store.strategy()
            }

            fn register(
                &mut self,
                id: Identity,
                name: &str,
                fresh: Epoch,
                lease: Lease,
            ) -> Result<Answer, Error> {
                self.store.register(id, name, fresh, lease)
            }

            fn publish(
                &mut self,
                id: Identity,
                epochs: (Epoch, Epoch),
                lease: Lease,
                batches: &[Batch],
            ) -> Result<Answer, Error> {
                self.store.publish(id, epochs, lease, batches)
            }

            fn roll(&mut self, shard: u32) -> Result<Roll, Error> {
                self.store.roll(shard)
            }

            fn states(
                &mut self,
                shard: u32,
                ids: &[Identity],
            ) -> Result<Vec<Option<State>>, Error> {
                self.store.states(shard, ids)
            }

            fn totals(&mut self, shard: u32, wanted: Wanted<'_>) -> Result<Totals, Error> {
                self.store.totals(shard, wanted)
            }

            fn fold(&mut self, fold: &Fold) -> Result<Swap, Error> {
                self.store.fold(fold)
            }

            fn prune(&mut self, prune: &Prune) -> Result<Swap, Error> {
                self.store.prune(prune)
            }
        }
    };
}

/// The memory store, whose clock is moved by hand.
#[derive(Debug)]
pub(super) struct Simulated {
    clock: Arc<Hand>,
    store: MemoryStore,
}

impl Default for Simulated {
    fn default() -> Self {
        let clock = Arc::new(Hand::default());
        Self { store: MemoryStore::new(Arc::clone(&clock) as Arc<dyn Clock>), clock }
    }
}

through!(Simulated);

impl Rig for Simulated {
    fn pass(&mut self, seconds: u64) {
        *self.clock.0.lock() += Duration::from_secs(seconds);
    }

    fn evict(&mut self, id: Identity) -> bool {
        self.store.book().evict(id)
    }

    fn evict_total(&mut self) {
        self.store.book().evict_total();
    }

    fn flush(&mut self) {
        *self.store.book() = Book::default();
    }
}

pub(super) mod keyed {
    use super::*;
    use crate::store::keyed::{Opened, open, testing::MemoryItems};

    /// A store of items in memory, of which each may be lost.
    #[derive(Debug)]
    pub(in super::super) struct OnShelf {
        clock: Arc<Hand>,
        items: MemoryItems,
        store: Box<dyn Store>,
        losses: usize,
    }

    impl OnShelf {
        pub(in super::super) fn new() -> Self {
            let clock = Arc::new(Hand::default());
            let items = MemoryItems::new(true);
            let now = Arc::clone(&clock) as Arc<dyn Clock>;
            let opened = open(Box::new(items.clone()), "n", now, None).unwrap();
            let Opened::Store(store) = opened else { panic!("it keeps nothing") };
            Self { clock, items, store, losses: 0 }
        }

        /// Loses one page, of whatever it is; an aggregate finds it out.
        fn lose_page(&mut self) -> bool {
            let page = {
                let kept = self.items.kept.lock().unwrap();
                kept.items.keys().filter(|key| key.contains(":p:")).min().cloned()
            };
            let Some(page) = page else { return false };
            self.items.lose(&page);
            let roll = self.store.roll(0).unwrap();
            let ids: Vec<_> = roll.instances.iter().map(|listed| listed.id).collect();
            self.store.states(0, &ids).unwrap();
            self.store.totals(0, Wanted::All).unwrap();
            true
        }
    }

    through!(OnShelf);

    impl Rig for OnShelf {
        fn pass(&mut self, seconds: u64) {
            *self.clock.0.lock() += Duration::from_secs(seconds);
        }

        fn evict(&mut self, id: Identity) -> bool {
            self.losses += 1;
            match self.losses % 2 {
                0 => self.lose_page(),
                _ => self.items.lose(&format!(":i:{id}")) > 0,
            }
        }

        fn evict_total(&mut self) {
            self.items.lose(":ledger");
        }

        fn flush(&mut self) {
            self.items.lose("tallyport");
        }
    }
}

#[cfg(feature = "store-memcached")]
pub(super) mod memcached {
    use super::*;
    use crate::store::{
        KeyValue, Memcached,
        keyed::{Opened, open},
        testing::MemcachedServer,
    };

    /// A memcached server, which loses items by commands of its own.
    #[derive(Debug)]
    pub(in super::super) struct Served {
        clock: Arc<Hand>,
        items: Memcached,
        namespace: String,
        store: Box<dyn Store>,
    }

    impl Served {
        pub(in super::super) fn new(server: &MemcachedServer, namespace: &str) -> Self {
            let clock = Arc::new(Hand::default());
            let connect =
                || Memcached::connect(&server.address(), Duration::from_secs(10)).unwrap();
            let now = Arc::clone(&clock) as Arc<dyn Clock>;
            let opened = open(Box::new(connect()), namespace, now, None).unwrap();
            let Opened::Store(store) = opened else { panic!("it keeps nothing") };
            Self { clock, items: connect(), namespace: namespace.into(), store }
        }

        fn lose(&mut self, name: &str) -> bool {
            self.items.begin();
            let key = format!("tallyport:{}:{name}", self.namespace);
            let there = self.items.get(&key).unwrap().is_some();
            self.items.delete(&key).unwrap();
            there
        }
    }

    through!(Served);

    impl Rig for Served {
        fn pass(&mut self, seconds: u64) {
            *self.clock.0.lock() += Duration::from_secs(seconds);
        }

        fn evict(&mut self, id: Identity) -> bool {
            self.lose(&format!("i:{id}"))
        }

        fn evict_total(&mut self) {
            self.lose("ledger");
        }

        fn flush(&mut self) {
            let roll = self.store.roll(0).unwrap();
            for listed in roll.instances {
                self.evict(listed.id);
            }
            self.evict_total();
        }
    }
}

#[cfg(feature = "store-sqlite")]
pub(super) mod sqlite {
    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;
    use crate::store::SqliteStore;

    /// A SQLite file, broken by statements of its own.
    #[derive(Debug)]
    pub(in super::super) struct OnDisk {
        folder: TempDir,
        store: SqliteStore,
    }

    impl OnDisk {
        pub(in super::super) fn new() -> Self {
            // Thousands of commits: on a disk each of them is synced.
            let memory = std::path::Path::new("/dev/shm");
            let folder = if memory.is_dir() {
                tempfile::tempdir_in(memory).unwrap()
            } else {
                tempfile::tempdir().unwrap()
            };
            let path = folder.path().join("store.db");
            let store = SqliteStore::open(&path, Duration::from_secs(10)).unwrap();
            Self { folder, store }
        }

        fn execute(&self, sql: &str) -> usize {
            let connection = Connection::open(self.folder.path().join("store.db")).unwrap();
            connection.execute_batch(sql).unwrap();
            connection.changes() as usize
        }
    }

    through!(OnDisk);

    impl Rig for OnDisk {
        fn pass(&mut self, seconds: u64) {
            if seconds > 90 {
                self.execute("UPDATE instance SET lease_ms = 0");
            }
        }

        fn evict(&mut self, id: Identity) -> bool {
            self.execute(&format!(
                "DELETE FROM series WHERE id = x'{id}'; DELETE FROM instance WHERE id = x'{id}'"
            )) > 0
        }

        fn evict_total(&mut self) {
            self.execute(
                "UPDATE shard SET epoch = NULL, generation = 0, forgotten = 0;
                 DELETE FROM total; DELETE FROM tombstone",
            );
        }

        fn flush(&mut self) {
            self.evict_total();
            self.execute("DELETE FROM series; DELETE FROM instance");
        }
    }
}

#[cfg(feature = "store-redis")]
pub(super) mod redis {
    use super::*;
    use crate::store::{RedisSettings, RedisStore, testing::RedisServer};

    /// A Redis server, broken by commands of its own.
    #[derive(Debug)]
    pub(in super::super) struct Served {
        server: Arc<RedisServer>,
        namespace: String,
        store: RedisStore,
    }

    impl Served {
        /// The store of a new namespace.
        pub(in super::super) fn new(server: &Arc<RedisServer>, namespace: String) -> Self {
            let store = RedisStore::connect(&RedisSettings {
                url: server.url(),
                namespace: namespace.clone(),
                shards: 1,
                deadline: Duration::from_secs(10).into(),
            });
            Self { server: Arc::clone(server), namespace, store: store.unwrap() }
        }

        fn key(&self, name: &str) -> String {
            format!("{{tallyport:{}:0}}:{name}", self.namespace)
        }
    }

    through!(Served);

    impl Rig for Served {
        fn pass(&mut self, seconds: u64) {
            if seconds > 90 {
                let roll = self.store.roll(0).unwrap();
                for listed in roll.instances {
                    let record = self.key(&format!("i:{}", listed.id));
                    self.server.command(&["HSET", &record, "l", "0"]);
                }
            }
        }

        fn evict(&mut self, id: Identity) -> bool {
            self.server.command(&["DEL", &self.key(&format!("i:{id}"))]) == ":1\r\n"
        }

        fn evict_total(&mut self) {
            self.server.command(&["DEL", &self.key("total")]);
        }

        fn flush(&mut self) {
            let roll = self.store.roll(0).unwrap();
            for listed in roll.instances {
                self.evict(listed.id);
            }
            self.evict_total();
        }
    }
}
