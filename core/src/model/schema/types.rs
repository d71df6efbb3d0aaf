//! The JSON types as a set, and how two JSON values and numbers compare.

use std::cmp::Ordering;

use serde_json::{Number, Value};

/// A set of JSON types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    /// Name in a schema, bit, words in a message; the order is the order of the words.
    const ALL: [(&'static str, Self, &'static str); 7] = [
        ("string", Self(1), "a string"),
        ("integer", Self(2), "an integer"),
        ("number", Self(4), "a number"),
        ("boolean", Self(8), "a boolean"),
        ("array", Self(16), "an array"),
        ("object", Self(32), "a table"),
        ("null", Self(64), "null"),
    ];
    const INTEGER: Self = Self(2);
    const NUMBER: Self = Self(4);
    const NULL: Self = Self(64);

    /// The type that a schema calls `name`.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, ..)| *known == name).map(|(_, types, _)| *types)
    }

    /// The narrowest type of a value.
    pub(super) fn of(value: &Value) -> Self {
        let name = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        Self::named(name).unwrap_or(Self::NULL)
    }

    pub(super) fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    /// True if a value of the narrowest type `found` belongs to one of these.
    pub(super) fn accepts(self, found: Self) -> bool {
        self.has(found) || (found == Self::INTEGER && self.has(Self::NUMBER))
    }

    /// `a string`, `a string or an integer`, …
    ///
    /// Null is left out beside another type: who may leave a key out need not write null.
    pub(super) fn words(self) -> String {
        let spoken = |one: Self| {
            self.has(one)
                && !(one == Self::NULL && self != Self::NULL)
                && !(one == Self::INTEGER && self.has(Self::NUMBER))
        };
        let words = Self::ALL.iter().filter(|(_, one, _)| spoken(*one)).map(|(.., words)| *words);
        either(words.map(str::to_owned).collect())
    }
}

/// Joins alternatives: `a`, `a or b`, `a, b or c`.
pub(super) fn either(mut words: Vec<String>) -> String {
    match words.pop() {
        None => String::new(),
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} or {last}", words.join(", ")),
    }
}

/// Compares numbers: integers exactly, others as f64.
pub(super) fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

/// Equality as JSON Schema has it: `1` and `1.0` are the same number.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

/// Text that is the same for equal values, so that duplicates are found without comparing pairs.
pub(super) fn identity(value: &Value) -> String {
    match value {
        Value::Number(number) => match number.as_f64() {
            // -0.0 is 0, and a float without a fraction is written like the integer.
            Some(float) if number.is_f64() && float == 0.0 => "0".to_owned(),
            Some(float) if number.is_f64() && float.fract() == 0.0 => format!("{float:.0}"),
            _ => number.to_string(),
        },
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(identity).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::String(key.clone()), identity(value)))
                .collect();
            fields.sort_unstable();
            format!("{{{}}}", fields.join(","))
        }
        other => other.to_string(),
    }
}
