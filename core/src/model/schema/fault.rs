//! What a check finds, before it is put into words: which of several failed alternatives is worth
//! reporting, and the sentence and the suggestion for each fault.

use serde_json::{Number, Value};

use super::{
    KeyPath, Violation, ViolationKind,
    compile::{Bound, Fields, Side},
    types::{Types, either},
};

/// A fault and the place of it.
pub(super) struct Found<'s> {
    pub(super) path: KeyPath,
    pub(super) fault: Fault<'s>,
}

/// What is wrong with a value.
pub(super) enum Fault<'s> {
    Unknown { key: String, fields: &'s Fields },
    Missing,
    Type { expected: Types, found: Types },
    Values { allowed: Vec<&'s Value>, found: Option<String> },
    Range { bound: Bound, limit: &'s Number, found: Number },
    Length { side: Side, limit: u64, length: u64, unit: &'static str },
    Duplicate,
    Ambiguous { matching: usize },
    Never,
    TooComplex,
}

/// Of the faults of several alternatives that all failed at `path`, those that help.
///
/// Alternatives of another type are set aside. When the rest disagree about one value, as the
/// variants of an enumeration or the tags of a tagged one do, their allowed values are merged.
/// Otherwise the alternative with the right tag, then the one with the fewest faults, speaks.
pub(super) fn closest<'s>(failures: Vec<Vec<Found<'s>>>, path: &KeyPath) -> Vec<Found<'s>> {
    let types_at_root = |faults: &[Found<'s>]| match faults {
        [Found { path: at, fault: Fault::Type { expected, found } }] if at == path => {
            Some((*expected, *found))
        }
        _ => None,
    };
    let other_types: Option<Vec<_>> = failures.iter().map(|one| types_at_root(one)).collect();
    if let Some(all) = other_types {
        let merged = all.into_iter().reduce(|(sum, found), (one, _)| (sum.union(one), found));
        let fault = merged.map(|(expected, found)| Fault::Type { expected, found });
        return fault.into_iter().map(|fault| Found { path: path.clone(), fault }).collect();
    }
    let fitting = failures.into_iter().filter(|one| types_at_root(one).is_none());
    let mut candidates: Vec<_> = fitting.collect();
    if let Some(merged) = merged_values(&candidates) {
        return vec![merged];
    }
    let off_tag = |faults: &[Found<'s>]| {
        let near = |one: &Found<'_>| one.path.len() <= path.len() + 1;
        faults.iter().any(|one| near(one) && matches!(one.fault, Fault::Values { .. }))
    };
    candidates.sort_by_key(|faults| (off_tag(faults), faults.len()));
    candidates.into_iter().next().unwrap_or_default()
}

/// All alternatives refuse the same value for not being on their list: one fault, one long list.
fn merged_values<'s>(candidates: &[Vec<Found<'s>>]) -> Option<Found<'s>> {
    let list = |faults: &[Found<'s>]| {
        faults.iter().find_map(|one| match &one.fault {
            Fault::Values { allowed, found } => {
                Some((one.path.clone(), allowed.clone(), found.clone()))
            }
            _ => None,
        })
    };
    let mut lists = candidates.iter().map(|faults| list(faults));
    let (path, mut allowed, found) = lists.next()??;
    for one in lists {
        let (other, values, _) = one?;
        if other != path {
            return None;
        }
        allowed.extend(values);
    }
    Some(Found { path, fault: Fault::Values { allowed, found } })
}

impl Found<'_> {
    /// Puts the fault into words.
    pub(super) fn describe(self) -> Violation {
        let mut suggestion = None;
        let (kind, message) = match self.fault {
            Fault::Unknown { key, fields } => {
                suggestion = nearest(&key, fields.known.keys().map(String::as_str));
                (ViolationKind::UnknownProperty, "unknown key".to_owned())
            }
            Fault::Missing => (ViolationKind::MissingProperty, "missing key".to_owned()),
            Fault::Type { expected, found } => {
                let message = format!("expected {}, found {}", expected.words(), found.words());
                (ViolationKind::WrongType, message)
            }
            Fault::Values { allowed, found } => {
                let texts = allowed.iter().filter_map(|value| value.as_str());
                suggestion = found.and_then(|found| nearest(&found, texts));
                let words = either(allowed.iter().map(ToString::to_string).collect());
                (ViolationKind::NotAllowed, format!("must be {words}"))
            }
            Fault::Range { bound, limit, found } => {
                let words = match bound {
                    Bound::AtLeast => "at least",
                    Bound::AtMost => "at most",
                    Bound::MoreThan => "more than",
                    Bound::LessThan => "less than",
                };
                (ViolationKind::OutOfRange, format!("must be {words} {limit}, is {found}"))
            }
            Fault::Length { side, limit, length, unit } => {
                let words = if side == Side::Least { "at least" } else { "at most" };
                let plural = if limit == 1 { "" } else { "s" };
                let message = format!("must have {words} {limit} {unit}{plural}, has {length}");
                (ViolationKind::WrongLength, message)
            }
            Fault::Duplicate => (ViolationKind::Duplicate, "repeats an earlier element".to_owned()),
            Fault::Ambiguous { matching } => {
                let message = format!("fits {matching} alternatives, but must fit exactly one");
                (ViolationKind::Ambiguous, message)
            }
            Fault::Never => (ViolationKind::NotAllowed, "no value is allowed here".to_owned()),
            Fault::TooComplex => {
                let message = "cannot be checked: the schema nests or repeats itself too often";
                (ViolationKind::TooComplex, message.to_owned())
            }
        };
        Violation { path: self.path, message, suggestion, kind }
    }
}

/// The known word that `word` is probably a misspelling of.
///
/// One letter in three may be wrong, swapped, missing or too many; case and the choice of `-` or
/// `_` do not count.
fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    let plain = |word: &str| word.to_ascii_lowercase().replace('-', "_");
    let (length, plain_word) = (word.chars().count(), plain(word));
    let distance = |candidate: &str| {
        let candidate_length = candidate.chars().count();
        let allowed = (length.max(candidate_length) / 3).max(1);
        // The lengths first: the distance of a very long word is costly.
        if length.abs_diff(candidate_length) > allowed {
            return None;
        }
        let distance = strsim::damerau_levenshtein(&plain_word, &plain(candidate));
        // Never a word of which no letter is right.
        (distance <= allowed && distance < length).then_some(distance)
    };
    let close = known.filter_map(|candidate| Some((distance(candidate)?, candidate)));
    close.min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate.to_owned())
}
