//! Correlation ids: one text that follows a piece of work through events, exports and logs.

use std::{
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use once_cell::race::OnceBox;

use super::{Error, gate};

/// Longest correlation id of a host.
const MAX_BYTES: usize = 128;

/// A correlation id of our own: 32 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CorrelationId([u8; 32]);

impl CorrelationId {
    /// A new one, unlike all others: of this process, of its forked children, of other processes.
    #[must_use]
    pub fn generate() -> Self {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        // A forked child has its parent's keys and counter, and another process id.
        Self::of((std::process::id(), time))
    }

    /// A new one for something that happened at `unix_ns`, unlike all others of this process.
    ///
    /// It asks the system nothing. One of a forked child could be equal to one of its parent only
    /// if both were the n-th since the fork, and happened in the same nanosecond.
    #[must_use]
    pub(crate) fn generate_at(unix_ns: u64) -> Self {
        Self::of(unix_ns)
    }

    fn of(unique: impl Hash) -> Self {
        static KEYS: OnceBox<[RandomState; 2]> = OnceBox::new();
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let make = || Box::new([RandomState::new(), RandomState::new()]);
        // Inside the gate, so that a forked child sees them whole or not at all.
        let keys = KEYS.get().unwrap_or_else(|| gate::within(|| KEYS.get_or_init(make)));
        let unique = (NEXT.fetch_add(1, Relaxed), unique);
        let mut digits = [b'0'; 32];
        let numbers = keys.iter().map(|key| key.hash_one(&unique));
        for (half, number) in digits.chunks_exact_mut(16).zip(numbers) {
            for (at, digit) in half.iter_mut().rev().enumerate() {
                let value = (number >> (4 * at) & 15) as u8;
                *digit = if value < 10 { b'0' + value } else { b'a' + value - 10 };
            }
        }
        Self(digits)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Checks an id that a host gives: 1 to 128 visible ASCII characters.
    ///
    /// It comes from a request's header, and goes into logs and headers again.
    ///
    /// # Errors
    /// InvalidArgument, naming `correlation_id`.
    pub fn check(id: &str) -> Result<(), Error> {
        if (1..=MAX_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(());
        }
        let cut: String = id.chars().take(MAX_BYTES).collect();
        let message = format!(
            "{cut:?} is no correlation id: that is 1 to {MAX_BYTES} visible ASCII characters"
        );
        Err(Error::invalid("correlation_id", message))
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn generated_ids_are_32_digits_and_all_different() {
        let ids: HashSet<String> = (0..5_000)
            .flat_map(|_| [CorrelationId::generate(), CorrelationId::generate_at(7)])
            .map(|id| id.to_string())
            .collect();
        assert_eq!(ids.len(), 10_000);
        let hexadecimal = |id: &String| {
            id.len() == 32 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        assert!(ids.iter().all(hexadecimal));
        // Every digit varies.
        for at in 0..32 {
            let digits: HashSet<u8> = ids.iter().map(|id| id.as_bytes()[at]).collect();
            assert_eq!(digits.len(), 16, "digit {at}");
        }
    }

    #[test]
    fn a_hosts_id_must_be_visible_ascii() {
        for good in ["a", "5f1c-9", "x:y/z=~", &"x".repeat(128)] {
            CorrelationId::check(good).unwrap();
        }
        for bad in ["", " ", "a b", "a\n", "é", "\u{7f}", &"x".repeat(129)] {
            let error = CorrelationId::check(bad).unwrap_err();
            assert_eq!(error.field(), Some("correlation_id"), "{bad:?}");
        }
    }
}
