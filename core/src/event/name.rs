//! Names of events, and the patterns that subscribers give.

use std::fmt;

use crate::model::Error;

/// Longest name of an event.
pub(super) const MAX_NAME_BYTES: usize = 128;

const RULE: &str = "an event's name is `namespace.event`: at least two parts between dots, of \
                    letters, digits, `_` and `-`, 128 bytes at most";

/// Checks the name of an event: `namespace.event`, with any number of further parts.
///
/// # Errors
/// InvalidArgument, naming `name`.
pub fn check_event_name(name: &str) -> Result<(), Error> {
    let parts = dotted(name);
    if parts.is_some_and(|parts| parts >= 2) {
        return Ok(());
    }
    Err(Error::invalid("name", format!("{:?} names no event: {RULE}", cut(name))))
}

/// The first part of an event's name.
pub(super) fn namespace(name: &str) -> &str {
    name.split_once('.').map_or(name, |(namespace, _)| namespace)
}

/// Number of parts of a well-formed name.
fn dotted(name: &str) -> Option<usize> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let known = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let mut parts = 0;
    for part in name.split('.') {
        if part.is_empty() || !part.bytes().all(known) {
            return None;
        }
        parts += 1;
    }
    Some(parts)
}

/// The beginning of a text that may be of any length.
fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or_default()
}

/// Which events somebody listens to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    /// Every event.
    All,
    /// Events whose name begins with this text, which ends in a dot.
    Prefix(Box<str>),
    /// The event of that name.
    Exact(Box<str>),
}

impl Pattern {
    /// Reads `task.completed` (that event), `task.*` (every event under `task.`) or `*` (all).
    ///
    /// # Errors
    /// InvalidArgument, naming `pattern`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text == "*" {
            return Ok(Self::All);
        }
        let read = match text.strip_suffix(".*") {
            Some(prefix) => dotted(prefix).map(|_| Self::Prefix(format!("{prefix}.").into())),
            None => dotted(text).filter(|parts| *parts >= 2).map(|_| Self::Exact(text.into())),
        };
        read.ok_or_else(|| {
            let message = format!(
                "{:?} is no pattern of events: give a name (`task.completed`), a prefix \
                 (`task.*`) or `*`",
                cut(text)
            );
            Error::invalid("pattern", message)
        })
    }

    /// Whether the event of that name is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Prefix(prefix) => name.starts_with(&**prefix),
            Self::Exact(exact) => name == &**exact,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_have_a_namespace_and_an_event() {
        for good in ["task.completed", "a.b", "observability.step.backoff", "my-app.x_1"] {
            check_event_name(good).unwrap();
        }
        let long = format!("a.{}", "b".repeat(MAX_NAME_BYTES));
        for bad in ["", ".", "task", "task.", ".task", "a..b", "a b.c", "a.é", "a.*", "*", &long] {
            let error = check_event_name(bad).unwrap_err();
            assert_eq!(error.field(), Some("name"), "{bad:?}");
            assert!(error.to_string().len() < 400, "{error}");
        }
    }

    #[test]
    fn a_pattern_is_a_name_a_prefix_or_all() {
        let pattern = |text: &str| Pattern::parse(text).unwrap();
        assert!(pattern("*").matches("task.completed"));
        assert!(pattern("task.*").matches("task.completed"));
        assert!(pattern("task.*").matches("task.child.completed"));
        assert!(!pattern("task.*").matches("tasks.completed"));
        assert!(!pattern("task.*").matches("task"));
        assert!(pattern("task.completed").matches("task.completed"));
        assert!(!pattern("task.completed").matches("task.completed.late"));
        for bad in ["", "**", "task", "task*", "*.completed", "task.*.x", ".*", "task..*", "a.b."] {
            let error = Pattern::parse(bad).unwrap_err();
            assert_eq!(error.field(), Some("pattern"), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn a_pattern_means_what_its_text_says(
            name in "[a-z]{1,3}(\\.[a-z]{1,3}){1,3}",
            text in "[a-z]{1,3}(\\.[a-z]{1,3}){0,2}(\\.\\*)?",
        ) {
            check_event_name(&name).unwrap();
            if let Ok(pattern) = Pattern::parse(&text) {
                prop_assert_eq!(pattern.to_string(), text.as_str());
                let parts: Vec<&str> = name.split('.').collect();
                let wanted: Vec<&str> = text.split('.').collect();
                let meant = match wanted.split_last() {
                    Some((&"*", before)) => parts.len() > before.len() && parts.starts_with(before),
                    _ => parts == wanted,
                };
                prop_assert_eq!(pattern.matches(&name), meant);
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = Pattern::parse(&text);
            let _ = check_event_name(&text);
        }
    }
}
