//! Label sets: sorted by name, without duplicates, compared in full.
//!
//! Lookups borrow the caller's text: [`SortedLabels`] sorts references (up to eight on the stack),
//! and only a new series copies them into [`Labels`].

use std::{
    fmt,
    hash::{BuildHasher, Hasher},
};

use super::{Error, MAX_VALUE_BYTES, check_label_name};

/// Most labels of one series.
pub(crate) const MAX_LABELS: usize = 64;

/// An owned label set, sorted by name.
///
/// A label with an empty value is the same as no label (the Prometheus data model says so), so it
/// is not kept: two series that a server would take for one cannot exist.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no label.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Labels that are sorted without allocating: most series have fewer.
const INLINE: usize = 8;

/// A caller's labels, borrowed and sorted.
#[derive(Debug)]
pub(crate) struct SortedLabels<'a> {
    inline: [(&'a str, &'a str); INLINE],
    /// Where more are.
    heap: Vec<(&'a str, &'a str)>,
    len: usize,
}

impl<'a> SortedLabels<'a> {
    /// Sorts labels by name; order in the call does not matter.
    ///
    /// # Errors
    /// InvalidArgument for more than [`MAX_LABELS`] or a name given twice. Names are checked only
    /// by `check`, when a series is created: an existing series has checked names.
    pub(crate) fn new(labels: &[(&'a str, &'a str)]) -> Result<Self, Error> {
        if labels.len() > MAX_LABELS {
            let message = format!("{} labels; a series has at most {MAX_LABELS}", labels.len());
            return Err(Error::invalid("labels", message));
        }
        let mut sorted = Self { inline: [("", ""); INLINE], heap: Vec::new(), len: labels.len() };
        let pairs = match sorted.inline.get_mut(..labels.len()) {
            Some(pairs) => {
                pairs.copy_from_slice(labels);
                pairs
            }
            None => {
                sorted.heap = labels.to_vec();
                &mut sorted.heap
            }
        };
        // Empty values sort last, and are then cut off.
        let key = |(name, value): &(&'a str, &'a str)| (value.is_empty(), *name);
        if !pairs.is_sorted_by_key(key) {
            pairs.sort_unstable_by_key(key);
        }
        while sorted.pairs().last().is_some_and(|(_, value)| value.is_empty()) {
            sorted.len -= 1;
        }
        let pairs = sorted.pairs();
        let twice = pairs.iter().zip(pairs.iter().skip(1)).find(|(a, b)| a.0 == b.0);
        if let Some(((name, _), _)) = twice {
            return Err(Error::invalid("labels", format!("label `{name}` is given twice")));
        }
        Ok(sorted)
    }

    pub(crate) fn pairs(&self) -> &[(&'a str, &'a str)] {
        let all = if self.heap.is_empty() { &self.inline[..] } else { &self.heap };
        all.get(..self.len).unwrap_or(&[])
    }

    /// Hash of the set, with lengths as separators: ("ab", "c") is not ("a", "bc").
    pub(crate) fn hash(&self, state: &impl BuildHasher) -> u64 {
        let mut hasher = state.build_hasher();
        for (name, value) in self.pairs() {
            // A hasher may add its own length; this one is ours, whatever it does.
            hasher.write_u64((name.len() as u64) << 32 | value.len() as u64);
            hasher.write(name.as_bytes());
            hasher.write(value.as_bytes());
        }
        hasher.finish()
    }

    /// Checks every name and value, for a series that is about to be created.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for (name, value) in self.pairs() {
            check_label_name(name)?;
            if value.len() > MAX_VALUE_BYTES {
                let message = format!(
                    "the value of label `{name}` has {} bytes; at most {MAX_VALUE_BYTES}",
                    value.len()
                );
                return Err(Error::invalid("labels", message));
            }
        }
        Ok(())
    }

    pub(crate) fn matches(&self, labels: &Labels) -> bool {
        self.len == labels.len() && self.pairs().iter().copied().eq(labels.iter())
    }

    pub(crate) fn to_owned(&self) -> Labels {
        Labels(self.pairs().iter().map(|(name, value)| ((*name).into(), (*value).into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter_and_text_boundaries_do() {
        let a = SortedLabels::new(&[("b", "2"), ("a", "1")]).unwrap();
        let b = SortedLabels::new(&[("a", "1"), ("b", "2")]).unwrap();
        assert_eq!(a.pairs(), b.pairs());
        assert!(a.matches(&b.to_owned()));
        let state = foldhash::fast::FixedState::default();
        let hash = |pairs: &[(&str, &str)]| SortedLabels::new(pairs).unwrap().hash(&state);
        assert_ne!(hash(&[("ab", "c")]), hash(&[("a", "bc")]));
        assert_eq!(hash(&[("b", "2"), ("a", "1")]), hash(&[("a", "1"), ("b", "2")]));
        let ab_c = SortedLabels::new(&[("ab", "c")]).unwrap().to_owned();
        assert!(!SortedLabels::new(&[("a", "bc")]).unwrap().matches(&ab_c));
    }

    #[test]
    fn an_empty_value_is_no_label() {
        let with = SortedLabels::new(&[("a", ""), ("b", "1")]).unwrap();
        assert!(with.matches(&SortedLabels::new(&[("b", "1")]).unwrap().to_owned()));
    }

    #[test]
    fn bad_label_sets_are_refused_with_the_field() {
        let many: Vec<_> = (0..=MAX_LABELS).map(|_| ("x", "1")).collect();
        assert_eq!(SortedLabels::new(&many).unwrap_err().field(), Some("labels"));
        let twice = SortedLabels::new(&[("a", "1"), ("a", "2")]).unwrap_err();
        assert_eq!(twice.to_string(), "label `a` is given twice");
        let long = "v".repeat(MAX_VALUE_BYTES + 1);
        let labels = [("a", long.as_str())];
        assert!(SortedLabels::new(&labels).unwrap().check().is_err());
    }
}
