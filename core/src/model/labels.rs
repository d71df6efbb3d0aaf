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
///
/// One piece of memory: for each label a head (length of the name, 16 bit, and of the value, 32
/// bit), the name, the value. Comparing with a caller's labels reads it once from front to back.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Labels(Box<[u8]>);

/// Bytes of a label's head.
const HEAD: usize = 6;

/// The lengths before a label's texts; `None` for texts that no series has, because
/// `SortedLabels::check` bounds both far below. A caller may still ask for them.
fn head(name: &str, value: &str) -> Option<[u8; HEAD]> {
    let [a, b] = u16::try_from(name.len()).ok()?.to_ne_bytes();
    let [c, d, e, f] = u32::try_from(value.len()).ok()?.to_ne_bytes();
    Some([a, b, c, d, e, f])
}

impl Labels {
    fn new(pairs: &[(&str, &str)]) -> Self {
        let bytes = pairs.iter().map(|(name, value)| HEAD + name.len() + value.len()).sum();
        let mut packed = Vec::with_capacity(bytes);
        for (name, value) in pairs {
            let Some(head) = head(name, value) else { continue };
            packed.extend_from_slice(&head);
            packed.extend_from_slice(name.as_bytes());
            packed.extend_from_slice(value.as_bytes());
        }
        Self(packed.into())
    }

    /// The pairs, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut rest = &*self.0;
        std::iter::from_fn(move || {
            let ([a, b, c, d, e, f], texts) = rest.split_first_chunk::<HEAD>()?;
            let name = usize::from(u16::from_ne_bytes([*a, *b]));
            let value = u32::from_ne_bytes([*c, *d, *e, *f]) as usize;
            let (name, texts) = texts.split_at_checked(name)?;
            let (value, after) = texts.split_at_checked(value)?;
            rest = after;
            Some((str::from_utf8(name).ok()?, str::from_utf8(value).ok()?))
        })
    }

    /// Number of labels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
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
        let mut rest = &*labels.0;
        self.pairs().iter().all(|(name, value)| {
            let after = head(name, value)
                .and_then(|head| rest.strip_prefix(&head))
                .and_then(|rest| rest.strip_prefix(name.as_bytes()))
                .and_then(|rest| rest.strip_prefix(value.as_bytes()));
            rest = after.unwrap_or_default();
            after.is_some()
        }) && rest.is_empty()
    }

    pub(crate) fn to_owned(&self) -> Labels {
        Labels::new(self.pairs())
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
    fn a_label_set_matches_itself_only() {
        let sets: [&[(&str, &str)]; 8] = [
            &[],
            &[("a", "1")],
            &[("a", "12")],
            &[("a1", "2")],
            &[("a", "1"), ("b", "2")],
            &[("a", "1"), ("b", "3")],
            &[("b", "2")],
            &[("ä", "\u{1f375}\n\0")],
        ];
        for (i, one) in sets.iter().enumerate() {
            let owned = SortedLabels::new(one).unwrap().to_owned();
            assert_eq!(owned.iter().collect::<Vec<_>>(), **one);
            assert_eq!((owned.len(), owned.is_empty()), (one.len(), one.is_empty()));
            for (j, other) in sets.iter().enumerate() {
                assert_eq!(SortedLabels::new(other).unwrap().matches(&owned), i == j, "{i} {j}");
            }
        }
    }

    #[test]
    fn a_name_whose_length_does_not_fit_matches_nothing() {
        // Cut to 16 bits, its length would be that of the short one.
        let long = format!("a{}", "b".repeat(1 << 16));
        let value = "b".repeat(1 << 17);
        let short = SortedLabels::new(&[("a", &value)]).unwrap().to_owned();
        assert!(!SortedLabels::new(&[(&long, &value)]).unwrap().matches(&short));
        assert!(head(&long, &value).is_none());
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
