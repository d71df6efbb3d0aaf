//! Cells by kind: how many bytes each takes, how it is added to and read.
//!
//! A cell is a copyable view of a place in an arena, which its holder keeps. Gauges are in
//! `gauges.rs`: they are not sums.
//!
//! Any thread and any signal handler may add at any time: no lock, no allocation, no thread-local.
//! A histogram's bucket is one 16-byte {f64 sum, u64 count} that is committed at once, so a
//! snapshot's count, sum and buckets cover the same observations.

use std::sync::atomic::Ordering::Relaxed;

use super::{Place, Planes};

macro_rules! cell {
    ($(#[$meta:meta])* $name:ident) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name {
            pub(super) place: Place,
        }

        impl $name {
            /// Bytes to allocate.
            pub(crate) const BYTES: usize = 8;

            /// The cell at a place.
            #[inline]
            pub(crate) fn new(place: Place) -> Self {
                Self { place }
            }
        }
    };
}

cell! {
    /// A sum of u64 amounts.
    U64Cell
}
cell! {
    /// A sum of i64 amounts.
    I64Cell
}
cell! {
    /// A sum of f64 amounts.
    F64Cell
}
impl U64Cell {
    #[inline]
    pub(crate) fn add(&self, amount: u64) {
        self.place.add_u64(amount);
    }

    pub(crate) fn read(&self, planes: &Planes) -> u64 {
        self.place.words(0, planes).fold(0, |sum, word| sum.wrapping_add(word.load(Relaxed)))
    }
}

impl I64Cell {
    #[inline]
    pub(crate) fn add(&self, amount: i64) {
        self.place.add_u64(amount.cast_unsigned());
    }

    pub(crate) fn read(&self, planes: &Planes) -> i64 {
        let words = self.place.words(0, planes);
        let sum = words.fold(0_u64, |sum, word| sum.wrapping_add(word.load(Relaxed)));
        sum.cast_signed()
    }
}

impl F64Cell {
    #[inline]
    pub(crate) fn add(&self, amount: f64) {
        self.place.add_f64(amount);
    }

    pub(crate) fn read(&self, planes: &Planes) -> f64 {
        self.place.words(0, planes).map(|word| f64::from_bits(word.load(Relaxed))).sum()
    }
}

/// One {sum, count} per bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HistogramCell {
    pub(super) place: Place,
    buckets: usize,
}

impl HistogramCell {
    /// Bytes for a number of buckets, the one up to +Inf included.
    pub(crate) fn bytes(buckets: usize) -> usize {
        buckets * 16
    }

    /// The cell at a place.
    #[inline]
    pub(crate) fn new(place: Place, buckets: usize) -> Self {
        Self { place, buckets }
    }

    /// Number of buckets, the one up to +Inf included.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets
    }

    /// Adds one observation to a bucket; an index past the last counts in the last.
    #[inline]
    pub(crate) fn observe(&self, bucket: usize, value: f64) {
        self.place.add_pair(bucket.min(self.buckets - 1), value);
    }

    /// Sum and count of one bucket, which cover the same observations.
    pub(crate) fn read(&self, bucket: usize, planes: &Planes) -> (f64, u64) {
        let pairs = self.place.pairs(bucket.min(self.buckets - 1), planes);
        pairs.fold((0.0, 0), |(sum, count), (more, counted)| (sum + more, count + counted))
    }
}
