//! A store that was created anew with another number of shards, and a publisher that follows.
//!
//! A base is what the retired total of one shard holds of an arena. So an arena stays in its shard while
//! that is one of the store's: elsewhere it would count again what lies there.

use super::publisher::Publisher;
use crate::store::Identity;

impl Publisher {
    /// Goes on in a store that has this many shards. True when it had others.
    pub(super) fn reshard(&mut self, shards: u32, draw: &mut dyn FnMut() -> u128) -> bool {
        if shards == self.shards {
            return false;
        }
        let home = self.identity.shard(self.shards);
        self.shards = shards;
        self.unwritten.whole = true;
        if home >= shards {
            // Nobody reads that shard any more: another one is told everything.
            self.mishaps.resets += u64::from(self.registered);
            (self.epoch, self.generation) = (None, 0);
            self.slots.iter_mut().for_each(|slot| slot.base = None);
            self.rename(draw);
        } else if self.identity.shard(shards) != home {
            // Its record stays there as it is, and is folded there when its lease has ended.
            self.mishaps.ambiguous += u64::from(!self.batches.is_empty());
            self.take_all_as_folded();
            let at_home = |id: &Identity| id.shard(shards) == home;
            let mut drawn = std::iter::repeat_with(|| Identity(draw())).take(100_000);
            self.identity = drawn.find(at_home).unwrap_or(Identity(home.into()));
            drop(drawn);
            self.rename(draw);
        }
        true
    }
}
