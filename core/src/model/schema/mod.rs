//! A validator for the subset of JSON Schema (draft 2020-12) that `schemars` writes.
//!
//! It checks configuration files and plugin options, and knows neither: a [`Schema`] is compiled
//! from JSON, [`Schema::check`] collects every [`Violation`] of a JSON value. A keyword that would
//! constrain values but is not supported is an error of the schema, never ignored; annotations
//! (`title`, `format`, `default`, … and `x-…`) say nothing about validity and are skipped.
//!
//! Two deliberate differences from the standard: `1.0` is not an integer (the code behind a schema
//! that asks for one would refuse it), and messages call an object a table and a property a key,
//! the words of the people who read them.
//!
//! Start at `compile.rs` for what is supported, `check.rs` for what it means, `fault.rs` for what
//! is said.

mod check;
mod compile;
mod fault;
mod path;
#[cfg(test)]
mod tests;
mod types;

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

pub use self::path::{KeyPath, Step};
use self::{check::Checker, compile::Node};
use super::Error;

/// A compiled schema, which checks any number of values.
#[derive(Debug, Clone)]
pub struct Schema {
    root: Node,
    definitions: BTreeMap<String, Node>,
}

impl Schema {
    /// Compiles a schema.
    ///
    /// # Errors
    /// `Unsupported` for a keyword that constrains values in a way that is not checked here,
    /// `InvalidArgument` for a keyword with a malformed value or a reference to nothing; the
    /// error's field is the place in the schema (`#/properties/port/pattern`).
    pub fn compile(schema: &Value) -> Result<Self, Error> {
        compile::schema(schema, compile::Unknown::Refused).map(|(schema, _)| schema)
    }

    /// Compiles somebody else's schema: keywords that are not checked here are passed over.
    ///
    /// Returns the places of those keywords too (`#/properties/port/pattern`).
    ///
    /// # Errors
    /// As [`Schema::compile`], `Unsupported` aside.
    pub fn compile_foreign(schema: &Value) -> Result<(Self, Vec<String>), Error> {
        compile::schema(schema, compile::Unknown::Noted)
    }

    /// Every way in which `value` breaks the schema, in the order of the value's keys.
    ///
    /// Empty: the value is valid.
    #[must_use]
    pub fn check(&self, value: &Value) -> Vec<Violation> {
        Checker::new(self).run(value)
    }
}

/// One way in which a value breaks its schema; displays as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Where: the value that is wrong, or the key that is unknown or missing.
    pub path: KeyPath,
    /// What is wrong, without the place: `expected a string, found an integer`.
    pub message: String,
    /// What was probably meant: a known key or an allowed value.
    pub suggestion: Option<String>,
    /// What is wrong, coarsely.
    pub kind: ViolationKind,
}

impl Violation {
    /// A violation without a suggestion, for a rule that no schema can state.
    #[must_use]
    pub fn new(path: KeyPath, kind: ViolationKind, message: impl Into<String>) -> Self {
        Self { path, message: message.into(), suggestion: None, kind }
    }

    /// Place and message, without the suggestion.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self.kind {
            ViolationKind::UnknownProperty | ViolationKind::MissingProperty => {
                format!("{} `{}`", self.message, self.path)
            }
            _ if self.path.is_empty() => self.message.clone(),
            _ => format!("`{}`: {}", self.path, self.message),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence())?;
        match &self.suggestion {
            Some(meant) => write!(f, " (did you mean `{meant}`?)"),
            None => Ok(()),
        }
    }
}

/// The classes of violations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ViolationKind {
    /// The table has a key that the schema does not know.
    UnknownProperty,
    /// The table lacks a required key.
    MissingProperty,
    /// The value has another type.
    WrongType,
    /// The value is not among the allowed ones.
    NotAllowed,
    /// The number is too small, too large or not finite, or breaks an order.
    OutOfRange,
    /// The text or array is too short or too long.
    WrongLength,
    /// Two elements of the array are equal.
    Duplicate,
    /// The value fits more than one of the alternatives.
    Ambiguous,
    /// The schema nests, or refers to itself, too deeply to be checked.
    TooComplex,
}
