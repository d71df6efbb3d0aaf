//! Items in memory for tests: with compare-and-swap or without, forgetful, out of order.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
// Two crates of tests use it, each another part.
#![allow(dead_code)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{Error, Item, KeyValue};

/// What several stores of one test share.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) items: HashMap<String, (Vec<u8>, u64)>,
    token: u64,
}

/// Items in memory; clones share them.
#[derive(Debug, Clone)]
pub(crate) struct MemoryItems {
    pub(crate) kept: Arc<Mutex<Kept>>,
    pub(crate) cas: bool,
    pub(crate) most: usize,
}

impl MemoryItems {
    pub(crate) fn new(cas: bool) -> Self {
        Self { kept: Arc::default(), cas, most: 1 << 20 }
    }

    /// Loses the items whose keys have this in them, and says how many those were.
    pub(crate) fn lose(&self, part: &str) -> usize {
        let items = &mut self.kept.lock().unwrap().items;
        let before = items.len();
        items.retain(|key, _| !key.contains(part));
        before - items.len()
    }

    fn put(&self, kept: &mut Kept, key: &str, bytes: &[u8]) -> Result<(), Error> {
        assert!(key.len() <= 250 && key.is_ascii(), "{key}");
        assert!(bytes.len() <= self.most, "{key} has {} bytes", bytes.len());
        kept.token += 1;
        kept.items.insert(key.into(), (bytes.to_vec(), kept.token));
        Ok(())
    }
}

impl KeyValue for MemoryItems {
    fn name(&self) -> &str {
        "memory"
    }

    fn max_item_bytes(&self) -> usize {
        self.most
    }

    fn has_cas(&self) -> bool {
        self.cas
    }

    fn get(&mut self, key: &str) -> Result<Option<Item>, Error> {
        let kept = self.kept.lock().unwrap();
        let item = kept.items.get(key);
        Ok(item.map(|(bytes, token)| Item { bytes: bytes.clone(), token: *token }))
    }

    fn set(&mut self, key: &str, bytes: &[u8], _: Duration) -> Result<(), Error> {
        let mut kept = self.kept.lock().unwrap();
        self.put(&mut kept, key, bytes)
    }

    fn add(&mut self, key: &str, bytes: &[u8], _: Duration) -> Result<bool, Error> {
        let mut kept = self.kept.lock().unwrap();
        if kept.items.contains_key(key) {
            return Ok(false);
        }
        self.put(&mut kept, key, bytes)?;
        Ok(true)
    }

    fn cas(&mut self, key: &str, bytes: &[u8], _: Duration, token: u64) -> Result<bool, Error> {
        assert!(self.cas);
        let mut kept = self.kept.lock().unwrap();
        if kept.items.get(key).is_none_or(|(_, now)| *now != token) {
            return Ok(false);
        }
        self.put(&mut kept, key, bytes)?;
        Ok(true)
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.kept.lock().unwrap().items.remove(key);
        Ok(())
    }
}
