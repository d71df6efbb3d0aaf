//! The slots against a plain map. Not in their file: their loom model includes that.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{
    slots::{Inserted, candidates, insert, remove},
    sync::AtomicU32,
};

proptest! {
    /// Few hashes, so that rows meet in every way.
    #[test]
    fn slots_equal_a_plain_map(
        steps in prop::collection::vec((any::<bool>(), 0..12_u32, 0..8_u32), 1..300),
    ) {
        let slots: Vec<AtomicU32> = (0..32).map(|_| AtomicU32::new(0)).collect();
        let mut model: HashMap<u32, u32> = HashMap::new();
        let hash_of = |key: u32| (key % 5) << 24 | (key % 3);
        for (adds, key, row) in steps {
            let row = row * 16 + key;
            match (adds, model.get(&key)) {
                (true, None) => {
                    prop_assert_ne!(insert(&slots, hash_of(key), row), Inserted::Full);
                    model.insert(key, row);
                }
                (false, Some(&known)) => {
                    remove(&slots, hash_of(key), known);
                    model.remove(&key);
                }
                _ => {}
            }
            for key in 0..12 {
                let found = candidates(&slots, hash_of(key)).find(|row| row % 16 == key);
                prop_assert_eq!(found, model.get(&key).copied());
            }
        }
    }
}
