//! Sums of floats that are rounded once, when they are read: in which order the parts came, and which
//! of them were folded into one before, changes nothing. So a total of things that grow never falls.

use std::mem;

/// Most parts that a sum has, and that are read from a store.
///
/// The bits of all doubles are 2098 places; [`merged`] passes 52 of them or more from part to part on its
/// way down, and makes no more parts on its way up: they are at most 42 then.
const MAX_PARTS: usize = 64;

/// A sum of floats, exact.
///
/// Its parts do not overlap: each is less than the last bit that is set in the next (J. R. Shewchuk, "Adaptive
/// Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates", 1997, section 2.4). As a
/// rule there is one. A sum that leaves the range of doubles is infinite from then on.
#[derive(Debug, Clone, Default)]
pub struct Exact {
    /// The greatest part.
    most: f64,
    /// The others, the least first; none is 0.
    rest: Option<Box<[f64]>>,
}

impl From<f64> for Exact {
    fn from(value: f64) -> Self {
        Self { most: value, rest: None }
    }
}

impl PartialEq for Exact {
    /// By value: other parts may make the same sum.
    fn eq(&self, other: &Self) -> bool {
        let same = self.most == other.most && self.rest == other.rest;
        same || {
            let mut difference = self.clone();
            difference.sub(other);
            difference.value() == 0.0
        }
    }
}

/// The rounded sum of two floats, and what rounding lost (Dekker's FastTwoSum: the greater one first, so
/// that nothing leaves the range of doubles where the sum does not).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let (most, least) = if a.abs() < b.abs() { (b, a) } else { (a, b) };
    let sum = most + least;
    (sum, least - (sum - most))
}

/// The same sum in as few parts as it needs (Shewchuk's Compress, section 2.8). Parts that do not
/// overlap may be of one bit each, as many as a double has places.
fn merged(parts: &[f64]) -> Vec<f64> {
    // From the greatest down: each takes what fits into it from those below.
    let mut down = Vec::with_capacity(MAX_PARTS);
    let mut carry = 0.0;
    for part in parts.iter().rev() {
        let (sum, lost) = two_sum(carry, *part);
        carry = sum;
        if lost != 0.0 {
            down.push(sum);
            carry = lost;
        }
    }
    // And up again: what a sum rounded off stays below it.
    let mut up = Vec::with_capacity(down.len() + 1);
    for part in down.iter().rev() {
        let (sum, lost) = two_sum(*part, carry);
        if lost != 0.0 {
            up.push(lost);
        }
        carry = sum;
    }
    up.push(carry);
    up
}

impl Exact {
    /// The double that is nearest to the sum; of two, the even one.
    #[must_use]
    pub fn value(&self) -> f64 {
        let mut lower = self.rest.as_deref().unwrap_or_default().iter().rev().copied();
        let mut sum = self.most;
        while let Some(part) = lower.next() {
            let (rounded, lost) = two_sum(sum, part);
            sum = rounded;
            if lost != 0.0 {
                // In the middle between two doubles, what comes below decides.
                let below = lower.next().unwrap_or(0.0);
                let twice = 2.0 * lost;
                if (lost > 0.0) == (below > 0.0) && below != 0.0 && (sum + twice) - sum == twice {
                    sum += twice;
                }
                break;
            }
        }
        sum
    }

    /// All parts, the least first.
    pub fn parts(&self) -> impl ExactSizeIterator<Item = f64> + '_ {
        let rest = self.rest.as_deref().unwrap_or_default();
        let all = rest.len() + 1;
        (0..all).map(|at| rest.get(at).copied().unwrap_or(self.most))
    }

    /// The sum of these parts; `None` if there are none, or too many, or one is not finite.
    #[must_use]
    pub fn of(parts: &[f64]) -> Option<Self> {
        if !(1..=MAX_PARTS).contains(&parts.len()) || !parts.iter().all(|part| part.is_finite()) {
            return None;
        }
        let mut sum = Self::default();
        parts.iter().for_each(|part| sum.push(*part));
        Some(sum)
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        other.parts().for_each(|part| self.push(part));
    }

    /// Takes another off.
    pub fn sub(&mut self, other: &Self) {
        other.parts().for_each(|part| self.push(-part));
    }

    fn push(&mut self, value: f64) {
        let (sum, lost) = two_sum(self.most, value);
        if self.rest.is_none() && lost == 0.0 {
            self.most = sum;
            return;
        }
        let before = mem::take(self);
        let mut parts = Vec::with_capacity(4);
        let mut carry = value;
        for part in before.parts() {
            let (sum, lost) = two_sum(carry, part);
            if !sum.is_finite() {
                *self = Self::from(sum);
                return;
            }
            if lost != 0.0 {
                parts.push(lost);
            }
            carry = sum;
        }
        // Parts that cancel out may leave 0 above others.
        if carry == 0.0 {
            carry = parts.pop().unwrap_or(0.0);
        }
        if parts.len() >= MAX_PARTS {
            parts.push(carry);
            parts = merged(&parts);
            carry = parts.pop().unwrap_or(0.0);
        }
        let rest = (!parts.is_empty()).then(|| parts.into_boxed_slice());
        *self = Self { most: carry, rest };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A double of few bits, as a multiple of 2^-70: their sums are exact in 128 bits.
    fn parts() -> impl Strategy<Value = Vec<(i64, u32)>> {
        let part = (-(1_i64 << 53)..(1_i64 << 53), 0..60_u32);
        prop::collection::vec(part, 1..20)
    }

    fn double((digits, shift): (i64, u32)) -> f64 {
        digits as f64 * f64::from(shift).exp2() * (-70_f64).exp2()
    }

    proptest! {
        #[test]
        fn a_sum_is_rounded_once(parts in parts(), split in 0..20_usize) {
            let mut all = Exact::default();
            parts.iter().for_each(|part| all.add(&double(*part).into()));
            let wanted: i128 = parts.iter().map(|(digits, shift)| i128::from(*digits) << shift).sum();
            let wanted = wanted as f64 * (-70_f64).exp2();
            prop_assert_eq!(all.value(), wanted);
            // Some first, the others first, and one less the other.
            let (first, last) = parts.split_at(split.min(parts.len()));
            let sum = |parts: &[(i64, u32)]| {
                let mut sum = Exact::default();
                parts.iter().rev().for_each(|part| sum.add(&double(*part).into()));
                sum
            };
            let mut folded = sum(last);
            folded.add(&sum(first));
            prop_assert_eq!(folded.value(), wanted);
            folded.sub(&sum(first));
            prop_assert_eq!(folded.value(), sum(last).value());
            let read: Vec<f64> = all.parts().collect();
            prop_assert_eq!(Exact::of(&read), Some(all));
        }

        #[test]
        fn parts_of_any_size_do_not_overlap_are_few_and_lose_nothing(
            values in prop::collection::vec(any::<f64>().prop_filter("finite", |f| f.is_finite()), 1..600),
        ) {
            let values: Vec<f64> = values.iter().map(|value| value / 1024.0).collect();
            check_parts(&values)?;
        }
    }

    /// The value of the last bit of a double that is not 0.
    fn last_bit(value: f64) -> f64 {
        let exponent = value.to_bits() >> 52 & 0x7ff;
        let digits = value.to_bits() & ((1 << 52) - 1) | if exponent == 0 { 0 } else { 1 << 52 };
        (exponent.max(1) as f64 - 1075.0 + f64::from(digits.trailing_zeros())).exp2()
    }

    /// Adds all, reads the parts back, and takes all off again.
    fn check_parts(values: &[f64]) -> Result<(), TestCaseError> {
        let mut sum = Exact::default();
        values.iter().for_each(|value| sum.add(&(*value).into()));
        let parts: Vec<f64> = sum.parts().collect();
        prop_assert!(parts.len() <= MAX_PARTS, "{}", parts.len());
        for pair in parts.windows(2) {
            prop_assert!(pair[0] != 0.0 && pair[0].abs() < last_bit(pair[1]), "{:?}", pair);
        }
        let mut read = Exact::of(&parts).unwrap();
        prop_assert_eq!(read.value(), sum.value());
        values.iter().for_each(|value| read.add(&(-value).into()));
        prop_assert_eq!((read.value(), read.parts().len()), (0.0, 1));
        Ok(())
    }

    #[test]
    fn a_sum_of_bits_far_apart_has_no_more_parts_than_are_read() {
        // One of three bits, in several orders.
        let bits: Vec<f64> = (0..690).map(|at| (f64::from(3 * at) - 1070.0).exp2()).collect();
        for stride in [1, 7, 53, 211, 397] {
            let values: Vec<f64> =
                (0..bits.len()).map(|at| bits[at * stride % bits.len()]).collect();
            check_parts(&values).unwrap();
        }
    }

    #[test]
    fn sums_at_the_end_of_the_range_are_exact() {
        let last = 971_f64.exp2();
        check_parts(&[f64::MAX, -1.5 * last, 0.25 * last]).unwrap();
        check_parts(&[-1.5 * last, f64::MAX, 1e-300]).unwrap();
        check_parts(&[1.5 * last, -f64::MAX, last, 3.0]).unwrap();
    }

    #[test]
    fn a_tie_is_decided_by_what_comes_below() {
        let half = f64::EPSILON / 2.0;
        let sum = |parts: &[f64]| Exact::of(parts).unwrap().value();
        assert_eq!(sum(&[1.0, half]), 1.0);
        assert_eq!(sum(&[1.0, half, 1e-300]), 1.0 + f64::EPSILON);
        assert_eq!(sum(&[1.0 + f64::EPSILON, half, -1e-300]), 1.0 + f64::EPSILON);
        assert_eq!(sum(&[0.1, 0.2, 0.3]), 0.6);
        assert_eq!(sum(&[1e100, 1.0, -1e100]), 1.0);
        assert_eq!(sum(&[5.0, -5.0]), 0.0);
    }

    #[test]
    fn what_leaves_the_range_is_infinite_and_stays() {
        let mut sum = Exact::from(f64::MAX);
        sum.add(&f64::MAX.into());
        sum.add(&1.0.into());
        assert_eq!((sum.value(), sum.parts().len()), (f64::INFINITY, 1));
        assert!(Exact::of(&[f64::NAN]).is_none() && Exact::of(&[]).is_none());
        assert!(Exact::of(&[1.0; MAX_PARTS + 1]).is_none());
    }
}
