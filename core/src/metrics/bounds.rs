//! Bucket bounds of a histogram, laid out for a search without branches.

use std::{ops::Deref, sync::Arc};

/// Bounds that are compared at a time: what fits four SSE registers.
const LANES: usize = 8;

/// Up to so many bounds all are compared; more are first halved.
const LINEAR: usize = 64;

/// Exponents of an f64, the sign bit being 0.
const EXPONENTS: usize = 2048;

/// Finite, increasing upper bounds, padded with +Inf. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    padded: Arc<[f64]>,
    len: usize,
    by_exponent: Option<Arc<[u8; EXPONENTS]>>,
}

impl Bounds {
    pub(crate) fn new(bounds: &[f64]) -> Self {
        let mut padded = bounds.to_vec();
        // At least one, which the last index of `by_exponent` leads to.
        padded.resize((bounds.len() + 1).next_multiple_of(LANES), f64::INFINITY);
        Self { padded: padded.into(), len: bounds.len(), by_exponent: by_exponent(bounds) }
    }

    /// Index of the first bucket whose upper bound is not below `value`; the last one is +Inf.
    ///
    /// The number of bounds below `value`: the padding is never below anything. NaN has no bucket,
    /// and gets any.
    #[inline]
    pub(crate) fn bucket(&self, value: f64) -> usize {
        match &self.by_exponent {
            Some(table) => {
                // A sign bit leaves the table: no bound is below what is not positive.
                let first = table.get((value.to_bits() >> 52) as usize).map_or(0, |at| *at);
                let below = self.padded.get(usize::from(first)).is_some_and(|bound| *bound < value);
                usize::from(first) + usize::from(below)
            }
            None => self.search(value),
        }
    }

    fn search(&self, value: f64) -> usize {
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

/// How many bounds have a smaller exponent, by exponent: the one bound that is left to compare with.
///
/// `None` where that is not enough: bounds that are not all positive, or two within a power of two.
fn by_exponent(bounds: &[f64]) -> Option<Arc<[u8; EXPONENTS]>> {
    let exponent = |bound: &f64| (bound.to_bits() >> 52) as usize;
    let apart = bounds.iter().zip(bounds.iter().skip(1)).all(|(a, b)| exponent(a) < exponent(b));
    if bounds.first().is_none_or(|first| *first <= 0.0) || !apart || bounds.len() > 255 {
        return None;
    }
    let mut table = [0; EXPONENTS];
    for (at, count) in table.iter_mut().enumerate() {
        *count = bounds.partition_point(|bound| exponent(bound) < at) as u8;
    }
    Some(Arc::new(table))
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

    #[test]
    fn default_bounds_are_found_by_their_exponent() {
        let bounds = Bounds::new(&crate::metrics::DEFAULT_BOUNDS);
        assert!(bounds.by_exponent.is_some());
        for value in crate::metrics::DEFAULT_BOUNDS {
            for value in [value.next_down(), value, value.next_up(), -value, 0.0, -0.0] {
                let plain = bounds.partition_point(|bound| *bound < value);
                assert_eq!(bounds.bucket(value), plain, "{value}");
            }
        }
        let extremes = [
            (f64::NEG_INFINITY, 0),
            (f64::MIN_POSITIVE / 2.0, 0),
            (f64::MAX, 11),
            (f64::INFINITY, 11),
        ];
        for (value, bucket) in extremes {
            assert_eq!(bounds.bucket(value), bucket, "{value}");
        }
    }

    proptest! {
        #[test]
        fn bounds_that_double_are_found_like_any_others(
            exponents in prop::collection::btree_set(-20..20_i32, 1..30),
            factor in 1.0..2.0_f64,
            values in prop::collection::vec(-3.0..2e6_f64, 50),
        ) {
            let plain: Vec<f64> = exponents.into_iter().map(|e| 2.0_f64.powi(e) * factor).collect();
            let bounds = Bounds::new(&plain);
            prop_assert!(bounds.by_exponent.is_some());
            for value in values.into_iter().chain(plain.iter().copied()) {
                let expected = plain.partition_point(|b| *b < value);
                prop_assert_eq!(bounds.bucket(value), expected);
                prop_assert_eq!(bounds.search(value), expected);
            }
        }

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
