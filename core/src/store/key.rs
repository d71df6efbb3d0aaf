//! What a series is called in a store: its family, its labels, and all that makes two series one.
//!
//! Series of another kind, number type, bounds or gauge mode have other keys, so nothing can add
//! them by mistake.

use std::fmt;

use super::total::{Reader, damaged, text, varint};
use crate::model::{Error, GaugeMode, Kind, Number};

/// All that makes a series the same series for every instance.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Name of the family.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// Its number type.
    pub number: Number,
    /// Its gauge mode.
    pub mode: GaugeMode,
    /// A histogram's finite bounds.
    pub bounds: Vec<f64>,
    /// Labels, sorted by name.
    pub labels: Vec<(String, String)>,
}

const VERSION: u8 = 1;

/// Bytes of a family: what its series' keys begin with.
pub(crate) fn family_bytes(
    name: &str,
    (kind, number, mode): (Kind, Number, GaugeMode),
    bounds: &[f64],
) -> Vec<u8> {
    let mut out = vec![VERSION, kind.to_abi() as u8, number.to_abi() as u8, mode as u8];
    text(&mut out, name.as_bytes());
    varint(&mut out, bounds.len() as u128);
    bounds.iter().for_each(|bound| out.extend_from_slice(&bound.to_bits().to_le_bytes()));
    out
}

/// Appends a series' labels to the bytes of its family.
pub(crate) fn label_bytes<'a>(out: &mut Vec<u8>, labels: impl Iterator<Item = (&'a str, &'a str)>) {
    for (name, value) in labels {
        text(out, name.as_bytes());
        text(out, value.as_bytes());
    }
}

impl Key {
    /// The canonical bytes: equal keys have equal bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = family_bytes(&self.name, (self.kind, self.number, self.mode), &self.bounds);
        let labels = self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        label_bytes(&mut out, labels);
        out
    }

    /// Reads bytes that a store gave, which may be anything.
    ///
    /// # Errors
    /// Damaged, when an engine cannot have written them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (family, rest) = Self::family_of(bytes)?;
        let mut last = "";
        let mut labels = Vec::new();
        for pair in labels_of(rest) {
            let (label, value) = pair?;
            in_order(&mut last, label)?;
            labels.push((label.to_owned(), value.to_owned()));
        }
        Ok(Self { labels, ..family })
    }

    /// The family of a key, without labels, and the bytes of these, which are checked.
    ///
    /// # Errors
    /// As [`Key::from_bytes`].
    pub(crate) fn split(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let (family, rest) = Self::family_of(bytes)?;
        let mut last = "";
        for pair in labels_of(rest) {
            in_order(&mut last, pair?.0)?;
        }
        Ok((family, rest))
    }

    /// The same where the family is known already: `family` are its bytes.
    ///
    /// # Errors
    /// As [`Key::from_bytes`], of the labels.
    pub(crate) fn split_after<'a>(
        family: &[u8],
        bytes: &'a [u8],
    ) -> Result<Option<&'a [u8]>, Error> {
        let Some(rest) = bytes.strip_prefix(family) else { return Ok(None) };
        let mut last = "";
        for pair in labels_of(rest) {
            in_order(&mut last, pair?.0)?;
        }
        Ok(Some(rest))
    }

    fn family_of(bytes: &[u8]) -> Result<(Self, &[u8]), Error> {
        let mut read = Reader::new(bytes);
        if read.byte()? != VERSION {
            return Err(damaged("a series of another format"));
        }
        let kind = Kind::from_abi(read.byte()?.into());
        let number = Number::from_abi(read.byte()?.into());
        let mode = GaugeMode::from_byte(read.byte()?);
        let (Some(kind), Some(number), Some(mode)) = (kind, number, mode) else {
            return Err(damaged("a series of unknown kind"));
        };
        let name = read.text()?.to_owned();
        let bounds = read.u64()?;
        let bounds = (0..bounds).map(|_| read.f64()).collect::<Result<Vec<_>, _>>()?;
        let increasing = bounds.iter().zip(bounds.iter().skip(1)).all(|(a, b)| a < b);
        if name.is_empty() || !increasing || !bounds.iter().all(|bound| bound.is_finite()) {
            return Err(damaged("a series without a name, or with disordered bounds"));
        }
        Ok((Self { name, kind, number, mode, bounds, labels: Vec::new() }, read.rest()))
    }
}

/// Names and values of labels, as they follow a family's bytes.
fn labels_of(bytes: &[u8]) -> impl Iterator<Item = Result<(&str, &str), Error>> {
    let mut rest = Some(Reader::new(bytes));
    std::iter::from_fn(move || {
        let mut read = rest.take()?;
        if read.end().is_ok() {
            return None;
        }
        let pair = read.text().and_then(|name| Ok((name, read.text()?)));
        // After an error there is no more.
        rest = pair.is_ok().then_some(read);
        Some(pair)
    })
}

/// The same of labels that were checked before: the bytes of each text, which are UTF-8.
pub(crate) fn checked_labels_of(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut read = Reader::new(bytes);
    std::iter::from_fn(move || Some((read.block().ok()?, read.block().ok()?)))
}

fn in_order<'a>(last: &mut &'a str, label: &'a str) -> Result<(), Error> {
    // The last one of none is "", and a name is not.
    if label <= *last {
        return Err(damaged("labels that are not sorted, or twice"));
    }
    *last = label;
    Ok(())
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        f.debug_map().entries(self.labels.iter().map(|(name, value)| (name, value))).finish()
    }
}

/// What is told of a series once: its key, and what is shown with it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Text {
    /// Bytes of the [`Key`].
    pub key: Vec<u8>,
    /// When it was created, Unix ns.
    pub created_ns: u64,
    /// The family's help, with its first series only.
    pub help: String,
    /// The family's unit, with its first series only.
    pub unit: String,
}

impl Text {
    /// Bytes for a record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Self::bytes_of(&self.key, self.created_ns, &self.help, &self.unit)
    }

    pub(crate) fn bytes_of(key: &[u8], created_ns: u64, help: &str, unit: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(key.len() + help.len() + unit.len() + 16);
        text(&mut out, key);
        varint(&mut out, u128::from(created_ns));
        text(&mut out, help.as_bytes());
        text(&mut out, unit.as_bytes());
        out
    }

    /// Reads bytes that a store gave, which may be anything.
    ///
    /// # Errors
    /// Damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let TextView { key, created_ns, help, unit } = TextView::of(bytes)?;
        Ok(Self { key: key.to_vec(), created_ns, help: help.to_owned(), unit: unit.to_owned() })
    }
}

/// A [`Text`] that lies in bytes of a store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TextView<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) created_ns: u64,
    pub(crate) help: &'a str,
    pub(crate) unit: &'a str,
}

impl<'a> TextView<'a> {
    /// Reads bytes that a store gave, which may be anything.
    ///
    /// # Errors
    /// Damaged.
    pub(crate) fn of(bytes: &'a [u8]) -> Result<Self, Error> {
        let mut read = Reader::new(bytes);
        let (key, created_ns) = (read.block()?, read.u64()?);
        let view = Self { key, created_ns, help: read.text()?, unit: read.text()? };
        read.end()?;
        Ok(view)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(labels: &[(&str, &str)]) -> Key {
        let labels = labels.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        Key {
            name: "requests".into(),
            kind: Kind::Histogram,
            number: Number::F64,
            mode: GaugeMode::Undeclared,
            bounds: vec![0.5, 1.0],
            labels: labels.collect(),
        }
    }

    #[test]
    fn bytes_give_the_key_back() {
        let keys = [key(&[]), key(&[("a", "1"), ("b", "")]), key(&[("ab", "1")])];
        for key in &keys {
            assert_eq!(Key::from_bytes(&key.to_bytes()).unwrap(), *key);
        }
        assert_ne!(key(&[("a", "bc")]).to_bytes(), key(&[("ab", "c")]).to_bytes());
    }

    #[test]
    fn what_no_engine_writes_is_refused() {
        assert!(Key::from_bytes(&key(&[("b", "1"), ("a", "2")]).to_bytes()).is_err());
        assert!(Key::from_bytes(&key(&[("a", "1"), ("a", "2")]).to_bytes()).is_err());
        let mut other = key(&[]).to_bytes();
        other[0] = 9;
        assert!(Key::from_bytes(&other).is_err());
        assert!(Key::from_bytes(&Key { bounds: vec![1.0, 1.0], ..key(&[]) }.to_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..96)) {
            let _ = Key::from_bytes(&bytes);
            let _ = Text::from_bytes(&bytes);
        }
    }
}
