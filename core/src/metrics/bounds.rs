//! Bucket bounds of a histogram, laid out for a search without branches.

use std::{ops::Deref, sync::Arc};

/// Bounds that are compared at a time: what fits two AVX registers.
const LANES: usize = 8;

/// Up to so many bounds all are compared; more are first halved.
const LINEAR: usize = 64;

/// Finite, increasing upper bounds, padded with +Inf. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    padded: Arc<[f64]>,
    len: usize,
}

impl Bounds {
    pub(crate) fn new(bounds: &[f64]) -> Self {
        let mut padded = bounds.to_vec();
        padded.resize(bounds.len().next_multiple_of(LANES), f64::INFINITY);
        Self { padded: padded.into(), len: bounds.len() }
    }

    /// Index of the first bucket whose upper bound is not below `value`; the last one is +Inf.
    ///
    /// The number of bounds below `value`: the padding is never below anything. For NaN 0.
    #[inline]
    pub(crate) fn bucket(&self, value: f64) -> usize {
        let mut rest = &*self.padded;
        let mut below = 0;
        while rest.len() > LINEAR {
            let (low, high) = rest.split_at(rest.len() / 2);
            if low.last().is_some_and(|bound| *bound < value) {
                below += low.len();
                rest = high;
            } else {
                rest = low;
            }
        }
        // No early exit, so that it becomes compares and adds of whole registers.
        below + rest.iter().map(|bound| usize::from(*bound < value)).sum::<usize>()
    }
}

impl Deref for Bounds {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        self.padded.get(..self.len).unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn upper_bounds_are_inclusive_and_the_outer_buckets_take_the_rest() {
        let bounds = Bounds::new(&[1.0, 2.0]);
        let expected = [
            (f64::NEG_INFINITY, 0),
            (-0.0, 0),
            (1.0, 0),
            (1.0 + f64::EPSILON, 1),
            (2.0, 1),
            (2.5, 2),
            (f64::MAX, 2),
            (f64::INFINITY, 2),
        ];
        for (value, bucket) in expected {
            assert_eq!(bounds.bucket(value), bucket, "{value}");
        }
        assert_eq!(&*bounds, [1.0, 2.0]);
    }

    proptest! {
        #[test]
        fn a_bucket_is_what_a_plain_search_finds(
            bounds in prop::collection::btree_set(-1000..1000_i32, 1..300),
            values in prop::collection::vec(-1100.0..1100.0_f64, 50),
        ) {
            let plain: Vec<f64> = bounds.into_iter().map(f64::from).collect();
            let bounds = Bounds::new(&plain);
            for value in values.into_iter().chain(plain.iter().copied()) {
                prop_assert_eq!(bounds.bucket(value), plain.partition_point(|b| *b < value));
            }
        }
    }
}
