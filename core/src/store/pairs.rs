/// Pairs of byte strings, in one piece of memory: an instance has hundreds of thousands of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pairs {
    bytes: Vec<u8>,
    /// Where the first and the second string of each pair end.
    ends: Vec<(usize, usize)>,
}

impl Pairs {
    /// None yet, with room for some.
    #[must_use]
    pub fn with_capacity(pairs: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ends: Vec::with_capacity(pairs) }
    }

    /// Appends one.
    pub fn push(&mut self, first: &[u8], second: &[u8]) {
        self.bytes.extend_from_slice(first);
        let end = self.bytes.len();
        self.bytes.extend_from_slice(second);
        self.ends.push((end, self.bytes.len()));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all strings.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// In the order in which they were appended.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0;
        self.ends.iter().map(move |(end, next)| {
            let first = self.bytes.get(start..*end).unwrap_or_default();
            let second = self.bytes.get(*end..*next).unwrap_or_default();
            start = *next;
            (first, second)
        })
    }
}

impl<A: AsRef<[u8]>, B: AsRef<[u8]>> FromIterator<(A, B)> for Pairs {
    fn from_iter<I: IntoIterator<Item = (A, B)>>(pairs: I) -> Self {
        let mut all = Self::default();
        pairs.into_iter().for_each(|(first, second)| all.push(first.as_ref(), second.as_ref()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_come_back_as_they_were_given() {
        let given: [(&[u8], &[u8]); 4] = [(b"a", b"bc"), (b"", b""), (b"", b"d"), (b"ef", b"")];
        let pairs: Pairs = given.iter().copied().collect();
        assert_eq!((pairs.len(), pairs.byte_len(), pairs.is_empty()), (4, 6, false));
        assert_eq!(pairs.iter().collect::<Vec<_>>(), given);
        assert!(Pairs::default().is_empty() && Pairs::default().iter().next().is_none());
    }
}
