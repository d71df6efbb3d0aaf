//! TOML text with positions: syntax errors, conversion to JSON, and the place of every key.

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    problems::{ConfigErrors, Problem},
    schema::{KeyPath, Step, Violation, ViolationKind},
};

/// A TOML text that parsed.
pub(crate) struct Document<'t> {
    origin: &'t str,
    text: &'t str,
    root: DeTable<'t>,
}

impl<'t> Document<'t> {
    /// Parses a text (without byte order mark); else, all its syntax errors.
    pub(crate) fn parse(text: &'t str, origin: &'t str) -> Result<Self, ConfigErrors> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if errors.is_empty() {
            return Ok(Self { origin, text, root: root.into_inner() });
        }
        let mut problems = Vec::with_capacity(errors.len());
        for error in errors {
            let span = error.span().unwrap_or_default();
            let byte = span.start;
            let message = match (error.message(), text.get(span)) {
                ("duplicate key", Some(key)) => format!("duplicate key `{key}`"),
                (message, _) => message.to_owned(),
            };
            problems.push((byte, Problem::new(message)));
        }
        // What follows the first error of a line is often its echo.
        problems.sort_by_key(|(byte, _)| *byte);
        problems.dedup_by(|(later, _), (first, _)| {
            text.get(*first..*later).is_some_and(|between| !between.contains('\n'))
        });
        Err(ConfigErrors::placed(origin, text, problems))
    }

    /// The file's name.
    pub(crate) fn origin(&self) -> &'t str {
        self.origin
    }

    /// The document as JSON.
    ///
    /// What JSON cannot hold (NaN, infinities, integers past 64 bits) becomes 0 and a violation.
    pub(crate) fn to_json(&self) -> (Map<String, Value>, Vec<Violation>) {
        let mut conversion = Conversion { path: KeyPath::new(), violations: Vec::new() };
        let root = conversion.table(&self.root);
        (root, conversion.violations)
    }

    /// Violations at their places: at a key that is unknown, else at the value, and for a key
    /// that is missing, at the table that lacks it.
    pub(crate) fn errors(&self, violations: &[Violation]) -> ConfigErrors {
        let placed = |violation: &Violation| {
            let place = self.find(&violation.path);
            let byte = match violation.kind {
                ViolationKind::UnknownProperty => place.key,
                _ => place.value,
            };
            (byte, Problem::from(violation))
        };
        ConfigErrors::placed(self.origin, self.text, violations.iter().map(placed).collect())
    }

    /// The line, from 1, of the last key of a path.
    pub(crate) fn line(&self, path: &KeyPath) -> usize {
        let before = self.text.get(..self.find(path).key).unwrap_or_default();
        before.bytes().filter(|byte| *byte == b'\n').count() + 1
    }

    /// The deepest part of the path that exists; the root begins with the text.
    fn find(&self, path: &KeyPath) -> Place {
        let mut place = Place { key: 0, value: 0 };
        let mut table = Some(&self.root);
        let mut value: Option<&Spanned<DeValue<'_>>> = None;
        for step in path.steps() {
            let (key, next) = match step {
                Step::Key(key) => match table.and_then(|table| table.get_key_value(key.as_str())) {
                    Some((key, next)) => (key.span().start, next),
                    None => break,
                },
                Step::Index(index) => match value.and_then(|value| value.get_ref().get(*index)) {
                    Some(next) => (next.span().start, next),
                    None => break,
                },
            };
            place = Place { key, value: next.span().start };
            table = next.get_ref().as_table();
            value = Some(next);
        }
        place
    }
}

/// Byte offsets of a key (an element has none, and stands for it) and of its value.
struct Place {
    key: usize,
    value: usize,
}

/// The parser bounds how deep a document nests, so this may recurse.
struct Conversion {
    path: KeyPath,
    violations: Vec<Violation>,
}

impl Conversion {
    fn table(&mut self, table: &DeTable<'_>) -> Map<String, Value> {
        let mut object = Map::new();
        for (key, value) in table {
            let key: &str = key.get_ref();
            self.path.push(key);
            object.insert(key.to_owned(), self.value(value.get_ref()));
            self.path.pop();
        }
        object
    }

    fn value(&mut self, value: &DeValue<'_>) -> Value {
        match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Integer(number) => {
                let (digits, radix) = (number.as_str(), number.radix());
                let signed = i64::from_str_radix(digits, radix).map(Number::from);
                let number = signed.or_else(|_| u64::from_str_radix(digits, radix).map(Into::into));
                self.number(number.ok(), "does not fit in 64 bits")
            }
            DeValue::Float(number) => {
                let number = number.as_str().parse::<f64>().ok();
                self.number(number.and_then(Number::from_f64), "must be a finite number")
            }
            DeValue::Boolean(flag) => Value::Bool(*flag),
            // TOML's dates and times are written as RFC 3339 has them.
            DeValue::Datetime(time) => Value::String(time.to_string()),
            DeValue::Array(items) => {
                let mut values = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    self.path.push(index);
                    values.push(self.value(item.get_ref()));
                    self.path.pop();
                }
                Value::Array(values)
            }
            DeValue::Table(table) => Value::Object(self.table(table)),
        }
    }

    fn number(&mut self, number: Option<Number>, otherwise: &str) -> Value {
        if number.is_none() {
            let (path, kind) = (self.path.clone(), ViolationKind::OutOfRange);
            self.violations.push(Violation::new(path, kind, otherwise));
        }
        Value::Number(number.unwrap_or_else(|| 0.into()))
    }
}
