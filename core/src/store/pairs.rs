use std::fmt;

/// Pairs of byte strings, in one piece of memory: an instance has hundreds of thousands of them.
#[derive(Clone, Default)]
pub struct Pairs {
    bytes: Vec<u8>,
    spans: Vec<[Span; 2]>,
}

/// Where a string begins and ends.
type Span = (usize, usize);

impl Pairs {
    /// None yet, with room for some.
    #[must_use]
    pub fn with_capacity(pairs: usize, bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), spans: Vec::with_capacity(pairs) }
    }

    /// Appends one.
    pub fn push(&mut self, first: &[u8], second: &[u8]) {
        let mut parts = [first, second].into_iter();
        let append = |bytes: &mut Vec<u8>| {
            bytes.extend_from_slice(parts.next().unwrap_or_default());
            Ok::<_, std::convert::Infallible>(())
        };
        let Ok(()) = self.push_with(append);
    }

    /// Appends one, whose first and then second string are written behind what is there.
    ///
    /// # Errors
    /// What writing answers; then nothing was appended.
    pub fn push_with<E>(
        &mut self,
        mut write: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let start = self.bytes.len();
        write(&mut self.bytes)?;
        let middle = self.bytes.len();
        write(&mut self.bytes)?;
        self.spans.push([(start, middle), (middle, self.bytes.len())]);
        Ok(())
    }

    /// Pairs of its second strings, each named by the numbers of the pairs whose they are: in the same
    /// memory. What is not there is left out.
    #[must_use]
    pub fn seconds(self, picked: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let second = |number: usize| self.spans.get(number).map(|[_, second]| *second);
        let pair = |(a, b)| Some([second(a)?, second(b)?]);
        let spans = picked.into_iter().filter_map(pair).collect();
        Self { bytes: self.bytes, spans }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// In the order in which they were appended.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let part = |(start, end): Span| self.bytes.get(start..end).unwrap_or_default();
        self.spans.iter().map(move |[first, second]| (part(*first), part(*second)))
    }
}

impl PartialEq for Pairs {
    /// By what they are, wherever it lies.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
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
        assert_eq!((pairs.len(), pairs.is_empty()), (4, false));
        assert_eq!(pairs.iter().collect::<Vec<_>>(), given);
        assert!(Pairs::default().is_empty() && Pairs::default().iter().next().is_none());
    }

    #[test]
    fn second_strings_are_paired_anew() {
        let given: [(&[u8], &[u8]); 3] = [(b"x", b"a"), (b"y", b""), (b"z", b"cd")];
        let pairs: Pairs = given.iter().copied().collect();
        let picked = pairs.seconds([(2, 0), (1, 7), (1, 2), (0, 0)]);
        let expected: [(&[u8], &[u8]); 3] = [(b"cd", b"a"), (b"", b"cd"), (b"a", b"a")];
        assert_eq!(picked, expected.iter().copied().collect());
        assert_ne!(picked, given.iter().copied().collect());
    }

    #[test]
    fn what_could_not_be_written_is_no_pair() {
        let mut pairs = Pairs::default();
        let mut times = 0;
        let fails_late = |bytes: &mut Vec<u8>| {
            bytes.push(b'?');
            times += 1;
            if times == 2 { Err(()) } else { Ok(()) }
        };
        assert!(pairs.push_with(fails_late).is_err() && pairs.is_empty());
        pairs.push(b"a", b"b");
        assert_eq!(pairs.iter().collect::<Vec<_>>(), [(b"a".as_slice(), b"b".as_slice())]);
    }
}
