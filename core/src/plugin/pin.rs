//! What a file must be, byte for byte: its SHA-256.

use std::{fmt, path::PathBuf, str::FromStr};

use sha2::{Digest, Sha256 as Hasher};

/// A SHA-256 of a file's bytes; text is 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256([u8; 32]);

/// A library that a pinned plugin needs, pinned too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinnedLibrary {
    /// The name under which it is needed (NEEDED, which is its SONAME).
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What the file must be.
    pub sha256: Sha256,
}

impl Sha256 {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Hasher::digest(bytes).into())
    }
}

impl FromStr for Sha256 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const RULE: &str = "is no SHA-256: 64 hexadecimal digits, as `sha256sum` prints them";
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != 32 || !rest.is_empty() {
            return Err(RULE);
        }
        let mut bytes = [0; 32];
        let digit = |c: u8| char::from(c).to_digit(16);
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            let (high, low) = (digit(high).ok_or(RULE)?, digit(low).ok_or(RULE)?);
            *byte = (high << 4 | low) as u8;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha256sum_and_survive_text() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::of(b"").to_string(), empty);
        assert_eq!(empty.to_uppercase().parse(), Ok(Sha256::of(b"")));
        for bad in ["", &empty[1..], &format!("{empty}0"), &empty.replace('b', "g"), "é", "0x"] {
            assert!(bad.parse::<Sha256>().is_err(), "{bad}");
        }
    }
}
