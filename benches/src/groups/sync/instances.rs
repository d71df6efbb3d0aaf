//! Engines that share through a Redis.

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, Limits, StoreConfig, StoreKind, SyncConfig},
    },
    sync::Synced,
};

use super::raw::{Raw, request};
use crate::{
    dataset,
    peers::{Family, tallyport::Ours},
};

/// What the stores are called.
pub(super) const NAMESPACE: &str = "bench";

/// An engine with some of the data set's series.
pub(super) struct Instance {
    ours: Ours,
    series: std::ops::Range<usize>,
}

impl Instance {
    /// With `count` series from the `first` on, recorded once.
    pub(super) fn new(url: &str, name: &str, count: usize, first: usize) -> Result<Self, String> {
        let config = Config {
            limits: Limits {
                max_series: 2 * count + 10_000,
                max_series_per_family: 2 * count + 1000,
                ..Limits::default()
            },
            store: StoreConfig {
                kind: StoreKind::Redis,
                url: Some(url.to_owned()),
                namespace: NAMESPACE.to_owned(),
                // One server has all of them.
                shards: 1,
                deadline_ms: 60_000,
                ..StoreConfig::default()
            },
            sync: SyncConfig {
                instance: Some(name.to_owned()),
                // Nobody is retired while others are measured.
                lease_ms: Some(3_600_000),
                ..SyncConfig::default()
            },
            ..Config::default()
        };
        let engine = Engine::builder().config(config).build().map_err(|e| e.to_string())?;
        let one = Self { ours: Ours::of(engine)?, series: first..first + count };
        for index in one.series.clone() {
            one.ours.add(dataset::set(index), dataset::value(index));
        }
        Ok(one)
    }

    /// Every series counts one more.
    pub(super) fn change(&self) {
        self.series.clone().for_each(|index| self.ours.add(dataset::set(index), 1));
    }

    pub(super) fn sync(&self) -> Result<Synced, String> {
        self.ours.0.sync().map_err(|e| e.to_string())
    }

    /// Reads what all have; the number of series.
    pub(super) fn read_all(&self) -> Result<usize, String> {
        let all = self.ours.0.read_shared().map_err(|e| e.to_string())?;
        Ok(all.snapshot.series_count() as usize)
    }

    /// Puts the version of its record back to what it was before some commands, so that they write
    /// again what they wrote.
    pub(super) fn stand_where_it_was(&self, raw: &mut Raw, commands: &[u8]) -> Result<(), String> {
        // EVALSHA hash 3 total record ids id fresh alive data epoch from to …
        let mut rest = commands;
        let words = loop {
            let (words, next) = request(rest).ok_or("no publish was written down")?;
            if words.first() == Some(&b"EVALSHA".as_slice()) {
                break words;
            }
            rest = next;
        };
        let [_, .., from, _to] = words.get(..13).ok_or("a publish has more words")? else {
            return Err("a publish has more words".to_owned());
        };
        let record = words.get(4).copied().unwrap_or_default();
        if !record.starts_with(b"{tallyport:bench:0}:i:") {
            return Err(format!("the first script is no publish: {}", record.escape_ascii()));
        }
        raw.exchange(&super::raw::command(&[b"HSET", record, b"v", from])).map(drop)
    }
}
