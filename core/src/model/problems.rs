//! What is wrong with a configuration file or a manifest: every problem at once, each a line that says where.

use std::fmt;

use super::{Error, ErrorKind, schema::Violation};

/// Of a file with more problems, the first ones are listed and the rest is counted.
const MAX_PROBLEMS: usize = 200;

/// One thing that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problem {
    /// The line, from 1; 0: the problem has no place in a file.
    pub line: usize,
    /// The column in characters, from 1; 0: the problem has no place in a file.
    pub column: usize,
    /// The key, dotted (`plugins.csv.options`); empty: the file as a whole, or its syntax.
    pub key: String,
    /// What is wrong, with the key in it.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
}

impl Problem {
    /// A problem without a key and, so far, without a place.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }

    /// A problem at the place of a byte of the text.
    fn at(mut self, text: &str, byte: usize) -> Self {
        let before = text.get(..text.floor_char_boundary(byte)).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let in_line = before.get(line_start..).unwrap_or_default();
        self.line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        self.column = in_line.chars().count() + 1;
        self
    }
}

impl From<&Violation> for Problem {
    fn from(violation: &Violation) -> Self {
        Self {
            key: violation.path.to_string(),
            suggestion: violation.suggestion.clone(),
            ..Self::new(violation.sentence())
        }
    }
}

/// Everything that is wrong with a configuration, in the order of the file; never empty.
///
/// Displays one problem per line:
/// ``tallyport.toml:7:1: unknown key `plugins.csv.optoins` (did you mean `options`?)``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The file's name as it was given; empty: the configuration was filled in by code.
    pub origin: String,
    /// The problems; the last one counts the others, should there be more than 200.
    pub problems: Vec<Problem>,
}

impl ConfigErrors {
    /// One problem of the file as a whole.
    pub(crate) fn of_file(origin: &str, message: impl Into<String>) -> Self {
        Self { origin: origin.to_owned(), problems: vec![Problem::new(message)] }
    }

    /// Problems without places.
    pub(crate) fn unplaced(origin: &str, problems: Vec<Problem>) -> Self {
        Self { origin: origin.to_owned(), problems }
    }

    /// Problems at the places of bytes of the text.
    pub(crate) fn placed(origin: &str, text: &str, mut problems: Vec<(usize, Problem)>) -> Self {
        problems.sort_by_key(|(byte, _)| *byte);
        let more = problems.len().saturating_sub(MAX_PROBLEMS);
        let listed = problems.into_iter().take(MAX_PROBLEMS);
        let mut problems: Vec<_> = listed.map(|(byte, problem)| problem.at(text, byte)).collect();
        if more > 0 {
            problems.push(Problem::new(format!("and {more} more")));
        }
        Self::unplaced(origin, problems)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            match (self.origin.as_str(), problem.line) {
                ("", 0) => {}
                ("", line) => write!(f, "{line}:{}: ", problem.column)?,
                (origin, 0) => write!(f, "{origin}: ")?,
                (origin, line) => write!(f, "{origin}:{line}:{}: ", problem.column)?,
            }
            f.write_str(&problem.message)?;
            if let Some(meant) = &problem.suggestion {
                write!(f, " (did you mean `{meant}`?)")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<ConfigErrors> for Error {
    fn from(errors: ConfigErrors) -> Self {
        let error = Self::new(ErrorKind::Config, errors.to_string());
        match errors.problems.into_iter().map(|problem| problem.key).find(|key| !key.is_empty()) {
            Some(key) => error.with_field(key),
            None => error,
        }
    }
}
