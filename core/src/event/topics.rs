//! The topics by name. They are never taken out, so they are found without a lock and without
//! counting references: a bucket's list only grows at its end.

use std::{hash::BuildHasher, sync::Arc};

use foldhash::fast::RandomState;
use once_cell::race::OnceBox;

use super::bus::TopicState;

/// A power of two; a custom event more than once in a bucket costs a comparison.
const BUCKETS: usize = 1024;

/// Topics by name. Any thread may look; who adds holds the bus's lock.
#[derive(Debug)]
pub(super) struct Topics {
    hasher: RandomState,
    buckets: Box<[OnceBox<Node>]>,
}

#[derive(Debug)]
struct Node {
    /// The topic's, beside it: comparing follows one pointer.
    name: Box<str>,
    topic: Arc<TopicState>,
    next: OnceBox<Node>,
}

impl Topics {
    pub(super) fn new() -> Self {
        let buckets = (0..BUCKETS).map(|_| OnceBox::new()).collect();
        Self { hasher: RandomState::default(), buckets }
    }

    /// The topic of that name.
    #[inline]
    pub(super) fn get(&self, name: &str) -> Option<&Arc<TopicState>> {
        let mut next = self.buckets.get(self.bucket(name))?.get();
        while let Some(node) = next {
            if *node.name == *name {
                return Some(&node.topic);
            }
            next = node.next.get();
        }
        None
    }

    /// Adds a topic whose name is not there yet; under the bus's lock.
    pub(super) fn add(&self, topic: TopicState) {
        let Some(mut place) = self.buckets.get(self.bucket(topic.definition.name())) else {
            return;
        };
        while let Some(node) = place.get() {
            place = &node.next;
        }
        let name = topic.definition.name().into();
        let node = Node { name, topic: Arc::new(topic), next: OnceBox::new() };
        // Nobody else adds, so the place is still empty.
        let _ = place.set(Box::new(node));
    }

    /// Every topic, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<TopicState>> {
        self.buckets.iter().flat_map(|bucket| {
            std::iter::successors(bucket.get(), |node| node.next.get()).map(|node| &node.topic)
        })
    }

    fn bucket(&self, name: &str) -> usize {
        (self.hasher.hash_one(name) as usize) & (BUCKETS - 1)
    }
}
