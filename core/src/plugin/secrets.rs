//! Secrets of options: texts that no log line, status or error of a plugin may show.
//!
//! A plugin that was given a password may say it: in an error of its own, or in a log line. What
//! comes from plugins therefore goes through [`filtered`]. The list is the process's, because what
//! plugins say may reach any engine's log; it is short, and only grows.

use std::{fmt, ops::Deref, sync::Arc};

use crate::model::Mutex;

/// What stands in the place of a secret.
pub(crate) const MASK: &str = "[FILTERED]";
/// A shorter text is part of too many words to be looked for.
const LEAST_BYTES: usize = 4;
/// Most secrets that are looked for.
const MAX_SECRETS: usize = 1024;

static KNOWN: Mutex<Option<Arc<Vec<String>>>> = Mutex::new(None);

/// A text that may hold secrets: its Debug form does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Hidden(String);

impl From<&str> for Hidden {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Deref for Hidden {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Looks for this text from now on.
pub(crate) fn remember(secret: &str) {
    let secret = secret.trim();
    if secret.len() < LEAST_BYTES {
        return;
    }
    let mut known = KNOWN.lock();
    let before = known.as_ref().map_or(&[][..], |list| list);
    if before.len() >= MAX_SECRETS || before.iter().any(|other| other == secret) {
        return;
    }
    let mut list = before.to_vec();
    list.push(secret.to_owned());
    // A secret that holds another is looked for first.
    list.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    *known = Some(Arc::new(list));
}

/// The text without secrets.
pub(crate) fn filtered(text: String) -> String {
    let known = KNOWN.lock().clone();
    let Some(known) = known else { return text };
    known.iter().fold(text, |text, secret| match text.contains(secret.as_str()) {
        true => text.replace(secret.as_str(), MASK),
        false => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_the_longest_first_and_short_ones_are_not_looked_for() {
        for secret in ["tes", "hunter22\n", "hunter22-and-more", "hunter22"] {
            remember(secret);
        }
        let said = filtered("a test: hunter22-and-more, not hunter22".to_owned());
        assert_eq!(said, "a test: [FILTERED], not [FILTERED]");
    }
}
