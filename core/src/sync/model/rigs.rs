//! Stores that the model can break: their time, their memory.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use crate::{
    model::{Clock, Error},
    store::{
        Answer, Batch, Book, Epoch, Fold, Identity, Lease, Leases, MemoryStore, Prune, Roll, State,
        Store, Swap, Totals, Wanted,
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
pub(super) struct Hand(Mutex<Duration>);

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
                deadline: Duration::from_secs(10),
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
            self.server.command(&["DEL", &self.key("ids")]);
        }
    }
}
