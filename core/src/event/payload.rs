//! What an event carries: borrowed while it is delivered, owned while it waits in a queue.

use std::cell::OnceCell;

use serde_json::{Map, Number, Value, json};

use super::catalogue::Category;
use crate::model::{Clock, CorrelationId};

/// One value of an event's fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FieldValue<'a> {
    /// Nothing.
    Null,
    /// Yes or no.
    Bool(bool),
    /// A signed number.
    I64(i64),
    /// An unsigned number.
    U64(u64),
    /// Any number.
    F64(f64),
    /// Text.
    Str(&'a str),
    /// Something nested.
    Json(&'a Value),
}

/// A field's name and value.
pub type Field<'a> = (&'a str, FieldValue<'a>);

macro_rules! from {
    ($($from:ty => $variant:ident($to:ty)),*) => {
        $(impl From<$from> for FieldValue<'_> {
            fn from(value: $from) -> Self {
                Self::$variant(<$to>::from(value))
            }
        })*
    };
}

from!(bool => Bool(bool), i32 => I64(i64), i64 => I64(i64), u32 => U64(u64), u64 => U64(u64),
    f64 => F64(f64));

impl<'a> From<&'a str> for FieldValue<'a> {
    fn from(text: &'a str) -> Self {
        Self::Str(text)
    }
}

impl<'a> From<&'a Value> for FieldValue<'a> {
    /// A nested value stays JSON; the others are what they are.
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(value) => Self::Bool(*value),
            Value::String(text) => Self::Str(text),
            Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(value), ..) => Self::I64(value),
                (_, Some(value), _) => Self::U64(value),
                (_, _, Some(value)) => Self::F64(value),
                _ => Self::Json(value),
            },
            Value::Array(_) | Value::Object(_) => Self::Json(value),
        }
    }
}

impl FieldValue<'_> {
    /// The value as a number, if it is one.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::I64(value) => Some(value as f64),
            Self::U64(value) => Some(value as f64),
            Self::F64(value) => Some(value),
            _ => None,
        }
    }

    /// The value as JSON. A number that is not finite has no JSON, and is null.
    #[must_use]
    pub fn to_json(&self) -> Value {
        match *self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::I64(value) => Value::from(value),
            Self::U64(value) => Value::from(value),
            Self::F64(value) => Number::from_f64(value).map_or(Value::Null, Value::Number),
            Self::Str(text) => Value::from(text),
            Self::Json(value) => value.clone(),
        }
    }

    /// What the value takes in memory, roughly.
    fn weight(&self) -> usize {
        match self {
            Self::Str(text) => text.len(),
            Self::Json(value) => json_weight(value),
            _ => 0,
        }
    }

    fn keep(self) -> OwnedValue {
        match self {
            Self::Str(text) => OwnedValue::Str(text.into()),
            Self::Json(value) => OwnedValue::Json(value.clone()),
            Self::Null => OwnedValue::Plain(FieldValue::Null),
            Self::Bool(value) => OwnedValue::Plain(FieldValue::Bool(value)),
            Self::I64(value) => OwnedValue::Plain(FieldValue::I64(value)),
            Self::U64(value) => OwnedValue::Plain(FieldValue::U64(value)),
            Self::F64(value) => OwnedValue::Plain(FieldValue::F64(value)),
        }
    }
}

/// What a nested value takes in memory, roughly. JSON that was read nests 128 deep at most.
fn json_weight(value: &Value) -> usize {
    let inside = match value {
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(json_weight).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + json_weight(value)).sum(),
        _ => 0,
    };
    size_of::<Value>() + inside
}

/// When an event was published.
#[derive(Debug)]
pub(super) enum Published<'a> {
    /// So long after the Unix epoch, in nanoseconds.
    At(u64),
    /// Now: the clock is read when somebody asks, and then once. That is a third of a delivery to
    /// a listener that only counts.
    Now(&'a dyn Clock, OnceCell<u64>),
}

impl<'a> Published<'a> {
    #[inline]
    pub(super) fn now(clock: &'a dyn Clock) -> Self {
        Self::Now(clock, OnceCell::new())
    }

    pub(super) fn unix_ns(&self) -> u64 {
        match self {
            Self::At(unix_ns) => *unix_ns,
            Self::Now(clock, read) => *read.get_or_init(|| clock.unix_ns()),
        }
    }
}

/// An event while it is delivered.
#[derive(Debug)]
pub struct Event<'a> {
    pub(super) name: &'a str,
    pub(super) category: Option<Category>,
    pub(super) published: Published<'a>,
    pub(super) correlation_id: Option<&'a str>,
    /// Made when somebody asks: most subscribers do not.
    pub(super) generated: OnceCell<CorrelationId>,
    pub(super) fields: &'a [Field<'a>],
}

impl<'a> Event<'a> {
    /// Its name, `namespace.event`.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// Its category; `None` for an event that is not in the catalogue.
    #[must_use]
    pub fn category(&self) -> Option<Category> {
        self.category
    }

    /// When it was published: nanoseconds since the Unix epoch.
    #[must_use]
    pub fn timestamp_ns(&self) -> u64 {
        self.published.unix_ns()
    }

    /// The publisher's correlation id, or one that is made for this event.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        match self.correlation_id {
            Some(id) => id,
            None => {
                let generate = || CorrelationId::generate_at(self.timestamp_ns());
                self.generated.get_or_init(generate).as_str()
            }
        }
    }

    /// Its own fields, in the publisher's order.
    #[must_use]
    pub fn fields(&self) -> &'a [Field<'a>] {
        self.fields
    }

    /// The field of that name, the first of several.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<FieldValue<'a>> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// `{"event", "timestamp_ns", "correlation_id", "payload": {…}}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let payload: Map<String, Value> = self
            .fields
            .iter()
            .rev() // of equal names the first one counts
            .map(|(name, value)| ((*name).to_owned(), value.to_json()))
            .collect();
        json!({
            "event": self.name,
            "timestamp_ns": self.timestamp_ns(),
            "correlation_id": self.correlation_id(),
            "payload": payload,
        })
    }

    /// A copy that outlives the delivery.
    #[must_use]
    pub fn to_owned(&self) -> OwnedEvent {
        OwnedEvent {
            name: self.name.into(),
            category: self.category,
            timestamp_ns: self.timestamp_ns(),
            correlation_id: self.correlation_id().into(),
            fields: self.fields.iter().map(|(n, v)| (Box::from(*n), v.keep())).collect(),
        }
    }

    /// What a copy takes in memory, roughly.
    pub(super) fn weight(&self) -> usize {
        let field = |(name, value): &Field<'_>| {
            name.len() + value.weight() + size_of::<(Box<str>, OwnedValue)>()
        };
        let fields: usize = self.fields.iter().map(field).sum();
        size_of::<OwnedEvent>() + self.name.len() + self.correlation_id().len() + fields
    }
}

#[derive(Debug, Clone)]
enum OwnedValue {
    /// A value without text.
    Plain(FieldValue<'static>),
    Str(Box<str>),
    Json(Value),
}

/// An event that waits in a queue, or was kept.
#[derive(Debug, Clone)]
pub struct OwnedEvent {
    name: Box<str>,
    category: Option<Category>,
    timestamp_ns: u64,
    correlation_id: Box<str>,
    fields: Vec<(Box<str>, OwnedValue)>,
}

impl OwnedEvent {
    /// Its name, `namespace.event`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Calls `with` with the event as a subscriber sees it.
    pub fn lend<R>(&self, with: impl FnOnce(&Event<'_>) -> R) -> R {
        let value = |value| match value {
            &OwnedValue::Plain(value) => value,
            OwnedValue::Str(text) => FieldValue::Str(text),
            OwnedValue::Json(value) => FieldValue::Json(value),
        };
        let fields: Vec<Field<'_>> =
            self.fields.iter().map(|(name, own)| (&**name, value(own))).collect();
        with(&Event {
            name: &self.name,
            category: self.category,
            published: Published::At(self.timestamp_ns),
            correlation_id: Some(&self.correlation_id),
            generated: OnceCell::new(),
            fields: &fields,
        })
    }
}
