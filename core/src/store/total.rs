//! Values as stores keep them: wide sums, their bytes, and how they add.
//!
//! The arithmetic of every store is here; a store only keeps and compares bytes. Integers are summed
//! in 128 bits and clamped when they are exported.

use super::exact::Exact;
use crate::model::{Error, ErrorKind, Kind, Number};

/// Most buckets of a histogram that are read from a store.
const MAX_BUCKETS: u64 = 1 << 16;

/// One value, as it is published, folded and added.
#[derive(Debug, Clone, PartialEq)]
pub enum Total {
    /// Of a u64 counter.
    Count(u128),
    /// Of an f64 counter.
    Sum(Exact),
    /// Of an i64 up-down counter.
    Level(i128),
    /// Of an f64 up-down counter.
    LevelF64(f64),
    /// Of a gauge.
    Gauge {
        /// What it was set to.
        value: f64,
        /// When that was first seen, Unix ns.
        at_ns: u64,
    },
    /// Of a histogram.
    Histogram(Box<Distribution>),
}

/// A histogram's observations.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Sum of the observations.
    pub sum: Exact,
    /// Observations per bucket, not cumulative; the last one is up to +Inf.
    pub buckets: Vec<u128>,
}

impl Total {
    /// Nothing, of a kind and number type; `bounds` is the number of a histogram's bounds.
    #[must_use]
    pub fn zero(kind: Kind, number: Number, bounds: usize) -> Self {
        match (kind, number) {
            (Kind::Counter, Number::F64) => Self::Sum(Exact::default()),
            (Kind::Counter, _) => Self::Count(0),
            (Kind::UpDownCounter, Number::F64) => Self::LevelF64(0.0),
            (Kind::UpDownCounter, _) => Self::Level(0),
            (Kind::Gauge, _) => Self::Gauge { value: 0.0, at_ns: 0 },
            (Kind::Histogram, _) => {
                let buckets = vec![0; bounds + 1];
                Self::Histogram(Box::new(Distribution { sum: Exact::default(), buckets }))
            }
        }
    }

    /// Whether it stays when its instance ends: counters and histograms do, levels end with it.
    #[must_use]
    pub fn outlives_its_instance(&self) -> bool {
        matches!(self, Self::Count(_) | Self::Sum(_) | Self::Histogram(_))
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        match self {
            Self::Count(count) => *count == 0,
            Self::Level(level) => *level == 0,
            Self::Sum(sum) => sum.value() == 0.0,
            Self::LevelF64(level) => *level == 0.0,
            Self::Gauge { .. } => false,
            Self::Histogram(all) => all.buckets.iter().all(|count| *count == 0),
        }
    }

    /// Adds another of the same kind. What reaches the end of 128 bits stays there.
    ///
    /// # Errors
    /// Conflict for another kind or number of buckets; nothing is added then.
    pub fn add(&mut self, other: &Self) -> Result<(), Error> {
        match (&mut *self, other) {
            (Self::Count(a), Self::Count(b)) => *a = a.saturating_add(*b),
            (Self::Level(a), Self::Level(b)) => *a = a.saturating_add(*b),
            (Self::Sum(a), Self::Sum(b)) => a.add(b),
            (Self::LevelF64(a), Self::LevelF64(b)) => *a += b,
            (Self::Gauge { value, at_ns }, Self::Gauge { value: other, at_ns: at }) => {
                *value += other;
                *at_ns = (*at_ns).max(*at);
            }
            (Self::Histogram(a), Self::Histogram(b)) if a.buckets.len() == b.buckets.len() => {
                a.sum.add(&b.sum);
                for (a, b) in a.buckets.iter_mut().zip(&b.buckets) {
                    *a = a.saturating_add(*b);
                }
            }
            _ => return Err(Error::new(ErrorKind::Conflict, "values of different kinds")),
        }
        Ok(())
    }

    /// This, less a base that it has grown from; what is not of one kind is left as it is.
    ///
    /// Sums are exact, so what was taken off and what is left are all of it.
    #[must_use]
    pub fn since(&self, base: &Self) -> Self {
        match (self, base) {
            (Self::Count(a), Self::Count(b)) => Self::Count(a.saturating_sub(*b)),
            (Self::Sum(a), Self::Sum(b)) => {
                let mut left = a.clone();
                left.sub(b);
                Self::Sum(if left.value() > 0.0 { left } else { Exact::default() })
            }
            (Self::Histogram(a), Self::Histogram(b)) if a.buckets.len() == b.buckets.len() => {
                let buckets = a.buckets.iter().zip(&b.buckets);
                let buckets = buckets.map(|(a, b)| a.saturating_sub(*b)).collect();
                let mut sum = a.sum.clone();
                sum.sub(&b.sum);
                Self::Histogram(Box::new(Distribution { sum, buckets }))
            }
            _ => self.clone(),
        }
    }

    /// Whether it is of one kind with another, with as many buckets.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Histogram(a), Self::Histogram(b)) => a.buckets.len() == b.buckets.len(),
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }

    /// Whether it is of a kind and number type; `bounds` is the number of a histogram's bounds.
    #[must_use]
    pub fn is_of(&self, kind: Kind, number: Number, bounds: usize) -> bool {
        match self {
            Self::Histogram(all) => kind == Kind::Histogram && all.buckets.len() == bounds + 1,
            // Of no other kind does this make anything.
            other => kind != Kind::Histogram && other.is_like(&Self::zero(kind, number, 0)),
        }
    }

    /// Whether something that only grows is less than it was.
    #[must_use]
    pub fn fell_from(&self, before: &Self) -> bool {
        match (self, before) {
            (Self::Count(a), Self::Count(b)) => a < b,
            (Self::Sum(a), Self::Sum(b)) => a.value() < b.value(),
            (Self::Histogram(a), Self::Histogram(b)) => {
                let count = |all: &Distribution| -> u128 { all.buckets.iter().sum() };
                count(a) < count(b)
            }
            _ => false,
        }
    }

    /// Whether the same was published: for a gauge, when it was seen does not matter.
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gauge { value: a, .. }, Self::Gauge { value: b, .. })
            | (Self::LevelF64(a), Self::LevelF64(b)) => a.to_bits() == b.to_bits(),
            (Self::Histogram(a), Self::Histogram(b)) => {
                let bits = |sum: &Exact| sum.value().to_bits();
                a.buckets == b.buckets && (a.sum == b.sum || bits(&a.sum) == bits(&b.sum))
            }
            _ => self == other,
        }
    }

    /// Appends its bytes: a tag, then LEB128 integers and little-endian floats. A sum of one part is
    /// one float; one of several has another tag, and their number first.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Count(count) => {
                out.push(1);
                varint(out, *count);
            }
            Self::Sum(sum) => sum_bytes(out, (2, 7), sum),
            Self::Level(level) => {
                out.push(3);
                varint(out, (level.cast_unsigned() << 1) ^ (level >> 127).cast_unsigned());
            }
            Self::LevelF64(level) => {
                out.push(4);
                out.extend_from_slice(&level.to_bits().to_le_bytes());
            }
            Self::Gauge { value, at_ns } => {
                out.push(5);
                out.extend_from_slice(&value.to_bits().to_le_bytes());
                varint(out, u128::from(*at_ns));
            }
            Self::Histogram(all) => {
                sum_bytes(out, (6, 8), &all.sum);
                varint(out, all.buckets.len() as u128);
                all.buckets.iter().for_each(|count| varint(out, *count));
            }
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(12);
        self.encode(&mut out);
        out
    }

    /// Reads bytes that a store gave, which may be anything.
    ///
    /// # Errors
    /// Damaged when they are not one whole value.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut read = Reader::new(bytes);
        let total = read.total()?;
        read.end()?;
        Ok(total)
    }
}

/// Appends a tag and a sum; the second tag if the sum has several parts.
fn sum_bytes(out: &mut Vec<u8>, (one, several): (u8, u8), sum: &Exact) {
    let parts = sum.parts();
    if parts.len() == 1 {
        out.push(one);
    } else {
        out.push(several);
        varint(out, parts.len() as u128);
    }
    parts.for_each(|part| out.extend_from_slice(&part.to_bits().to_le_bytes()));
}

/// Appends an integer, seven bits a byte.
pub(crate) fn varint(out: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends text with its length before it.
pub(crate) fn text(out: &mut Vec<u8>, text: &[u8]) {
    varint(out, text.len() as u128);
    out.extend_from_slice(text);
}

/// Reads what a store gave, from the front.
#[derive(Debug)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Error> {
        let (first, rest) = self.0.split_first().ok_or_else(cut)?;
        self.0 = rest;
        Ok(*first)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (bytes, rest) = self.0.split_at_checked(len).ok_or_else(cut)?;
        self.0 = rest;
        Ok(bytes)
    }

    pub(crate) fn varint(&mut self) -> Result<u128, Error> {
        let mut value = 0_u128;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            let bits = u128::from(byte & 0x7f);
            if shift >= 128 || (shift == 126 && bits > 3) {
                return Err(damaged("an integer of more than 128 bits"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        u64::try_from(self.varint()?).map_err(|_| damaged("an integer of more than 64 bits"))
    }

    pub(crate) fn u64_le(&mut self) -> Result<u64, Error> {
        let bytes = self.bytes(8)?.try_into().map_err(|_| cut())?;
        Ok(u64::from_le_bytes(bytes))
    }

    pub(crate) fn f64(&mut self) -> Result<f64, Error> {
        self.u64_le().map(f64::from_bits)
    }

    pub(crate) fn block(&mut self) -> Result<&'a [u8], Error> {
        let len = usize::try_from(self.varint()?).map_err(|_| cut())?;
        self.bytes(len)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.block()?).map_err(|_| damaged("text that is not UTF-8"))
    }

    pub(crate) fn total(&mut self) -> Result<Total, Error> {
        Ok(match self.byte()? {
            1 => Total::Count(self.varint()?),
            tag @ (2 | 7) => {
                let sum = self.sum(tag == 7)?;
                if sum.value().is_nan() || sum.value() < 0.0 {
                    return Err(damaged("a counter below 0 or NaN"));
                }
                Total::Sum(sum)
            }
            3 => {
                let bits = self.varint()?;
                Total::Level((bits >> 1).cast_signed() ^ -(bits & 1).cast_signed())
            }
            4 => Total::LevelF64(self.f64()?),
            5 => Total::Gauge { value: self.f64()?, at_ns: self.u64()? },
            tag @ (6 | 8) => {
                let sum = self.sum(tag == 8)?;
                let count = self.u64()?;
                if count == 0 || count > MAX_BUCKETS {
                    return Err(damaged("a histogram without buckets, or with too many"));
                }
                let buckets = (0..count).map(|_| self.varint()).collect::<Result<_, _>>()?;
                Total::Histogram(Box::new(Distribution { sum, buckets }))
            }
            tag => return Err(damaged(&format!("a value of unknown kind {tag}"))),
        })
    }

    fn sum(&mut self, several: bool) -> Result<Exact, Error> {
        if !several {
            return self.f64().map(Exact::from);
        }
        let count = self.u64()?;
        let parts: Vec<f64> = (0..count).map(|_| self.f64()).collect::<Result<_, _>>()?;
        Exact::of(&parts).ok_or_else(|| damaged("a sum of too many parts, or of one that is none"))
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    pub(crate) fn end(&self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(damaged("bytes after the end")) }
    }
}

fn cut() -> Error {
    damaged("it ends too early")
}

pub(crate) fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("a store gave damaged data: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn totals() -> impl Strategy<Value = Total> {
        let number = prop_oneof![Just(0.0), -1e300..1e300_f64];
        let sum =
            prop::collection::vec(0.0..1e300_f64, 1..4).prop_map(|all| Exact::of(&all).unwrap());
        prop_oneof![
            any::<u128>().prop_map(Total::Count),
            sum.clone().prop_map(Total::Sum),
            any::<i128>().prop_map(Total::Level),
            number.clone().prop_map(Total::LevelF64),
            (number.clone(), any::<u64>()).prop_map(|(value, at_ns)| Total::Gauge { value, at_ns }),
            (sum, prop::collection::vec(any::<u128>(), 1..20)).prop_map(|(sum, buckets)| {
                Total::Histogram(Box::new(Distribution { sum, buckets }))
            }),
        ]
    }

    proptest! {
        #[test]
        fn bytes_give_the_value_back_and_no_part_of_them_does(total in totals()) {
            let bytes = total.to_bytes();
            prop_assert_eq!(&Total::from_bytes(&bytes).unwrap(), &total);
            for end in 0..bytes.len() {
                prop_assert!(Total::from_bytes(&bytes[..end]).is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Total::from_bytes(&bytes);
        }

        #[test]
        fn what_was_folded_and_what_came_since_is_all(a in any::<u64>(), b in any::<u64>()) {
            let (low, high) = (Total::Count(a.min(b).into()), Total::Count(a.max(b).into()));
            let mut sum = high.since(&low);
            sum.add(&low).unwrap();
            prop_assert_eq!(sum, high);
        }
    }

    #[test]
    fn sums_past_the_end_stay_there_and_kinds_do_not_mix() {
        let mut total = Total::Count(u128::MAX - 1);
        total.add(&Total::Count(5)).unwrap();
        assert_eq!(total, Total::Count(u128::MAX));
        assert_eq!(total.add(&Total::Sum(1.0.into())).unwrap_err().kind(), ErrorKind::Conflict);
        let histogram = |n| Total::zero(Kind::Histogram, Number::F64, n);
        assert!(histogram(2).add(&histogram(3)).is_err());
    }
}
