//! A caller's label set: borrowed, sorted by name, without duplicates.
//!
//! A label with an empty value is the same as no label (the Prometheus data model says so), so it
//! is not kept: two series that a server would take for one cannot exist.

use std::{fmt, ops::Deref};

use super::{Error, MAX_VALUE_BYTES, check_label_name};

/// Most labels of one series.
pub(crate) const MAX_LABELS: usize = 64;

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

    /// The names.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &'a str> + Clone {
        self.pairs().iter().map(|(name, _)| *name)
    }

    /// The values in another order: of each name in turn, by where it stands among the sorted ones.
    pub(crate) fn values(&self, ranks: &[u8]) -> Values<'a> {
        let value = |rank: &u8| self.pairs().get(usize::from(*rank)).map_or("", |pair| pair.1);
        let mut values = Values { inline: [""; INLINE], heap: Vec::new(), len: ranks.len() };
        match values.inline.get_mut(..ranks.len()) {
            Some(inline) => inline.iter_mut().zip(ranks).for_each(|(at, rank)| *at = value(rank)),
            None => values.heap = ranks.iter().map(value).collect(),
        }
        values
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
}

/// Label values in some order; few of them without allocating.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    inline: [&'a str; INLINE],
    /// Where more are.
    heap: Vec<&'a str>,
    len: usize,
}

impl<'a> Deref for Values<'a> {
    type Target = [&'a str];

    fn deref(&self) -> &[&'a str] {
        self.inline.get(..self.len).unwrap_or(&self.heap)
    }
}

impl fmt::Display for SortedLabels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.pairs().iter().copied()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_matter() {
        let a = SortedLabels::new(&[("b", "2"), ("a", "1")]).unwrap();
        let b = SortedLabels::new(&[("a", "1"), ("b", "2")]).unwrap();
        assert_eq!(a.pairs(), b.pairs());
        assert_eq!(a.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(*a.values(&[1, 0, 2]), ["2", "1", ""]);
        assert_eq!(a.to_string(), r#"{"a": "1", "b": "2"}"#);
    }

    #[test]
    fn many_labels_are_sorted_too() {
        let names: Vec<String> = (0..MAX_LABELS).map(|n| format!("l{:02}", 63 - n)).collect();
        let labels: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let sorted = SortedLabels::new(&labels).unwrap();
        assert!(sorted.pairs().is_sorted() && sorted.pairs().len() == MAX_LABELS);
        assert_eq!(*sorted.values(&[3; 9]), ["x"; 9]);
    }

    #[test]
    fn an_empty_value_is_no_label() {
        let with = SortedLabels::new(&[("a", ""), ("b", "1")]).unwrap();
        assert_eq!(with.pairs(), [("b", "1")]);
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
