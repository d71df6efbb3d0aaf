//! Events: published, described, listed. Who listens is in `subscription` and `handler`.

use serde_json::Value;
use tallyport_core::{
    engine::Engine,
    event::{Category, Definition, Event, Field, FieldValue},
    model::Error,
};
use tallyport_plugin_api::{
    abi::{tallyport_error, tallyport_status, tallyport_str},
    text,
};

use crate::{
    boundary::{Call, fallible},
    buf::tallyport_buf,
    engine::tallyport_engine,
    options::{
        TALLYPORT_FIELD_BOOL, TALLYPORT_FIELD_F64, TALLYPORT_FIELD_I64, TALLYPORT_FIELD_JSON,
        TALLYPORT_FIELD_NULL, TALLYPORT_FIELD_STR, TALLYPORT_FIELD_U64, tallyport_event,
        tallyport_event_field,
    },
};

/// Fields that are read without an allocation.
const FEW: usize = 16;

/// A field without a name and a value.
const EMPTY: tallyport_event_field = tallyport_event_field {
    name: tallyport_str { ptr: std::ptr::null(), len: 0 },
    r#type: TALLYPORT_FIELD_NULL,
    reserved: 0,
    integer: 0,
    number: 0.0,
    text: tallyport_str { ptr: std::ptr::null(), len: 0 },
};

/// Publishes an event: its listeners are called on this thread, or have it queued.
///
/// A listener that fails is no error here: it is counted and logged. The name need not be in the
/// catalogue. An event that is published while 16 others are being delivered on this thread, each
/// inside the one before, is dropped and counted.
///
/// Threads: any thread. Ownership: borrows `name`, `correlation_id` (empty: one is made when
/// somebody asks for it) and `fields`; returns owned `err`. Errors: INVALID_ARGUMENT for a name
/// that is not `namespace.event`, a correlation id that is not 1 to 128 visible ASCII characters, or
/// a field of no type; INVALID_UTF8, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_event_publish(
    engine: *const tallyport_engine,
    name: tallyport_str,
    correlation_id: tallyport_str,
    fields: *const tallyport_event_field,
    field_count: usize,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        let called = called(call, name, correlation_id)?;
        with_fields(call, fields, field_count, |fields| publish(&entered.engine, called, fields))
    })
}

/// Publishes an event whose fields are a JSON object; slower than tallyport_event_publish.
///
/// Threads: any thread. Ownership: borrows all texts; returns owned `err`. Errors: as
/// tallyport_event_publish; INVALID_ARGUMENT when `payload_json` is neither empty nor an object.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_event_publish_json(
    engine: *const tallyport_engine,
    name: tallyport_str,
    correlation_id: tallyport_str,
    payload_json: tallyport_str,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        let called = called(call, name, correlation_id)?;
        let payload = call.object("payload_json", payload_json)?;
        let fields: Vec<Field<'_>> =
            payload.iter().map(|(name, value)| (name.as_str(), value.into())).collect();
        publish(&entered.engine, called, &fields)
    })
}

/// Puts an event of the host's own into the catalogue, in the category `custom`.
///
/// `schema_json` is a JSON Schema of its payload, or empty for any; it tells subscribers what to
/// expect, and payloads are not checked against it. The same definition twice is fine.
///
/// Threads: any thread. Ownership: borrows all texts; returns owned `err`. Errors:
/// INVALID_ARGUMENT with the argument, ALREADY_EXISTS when the name is taken by another definition,
/// LIMIT, NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_event_define(
    engine: *const tallyport_engine,
    name: tallyport_str,
    description: tallyport_str,
    schema_json: tallyport_str,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        let entered = call.engine(engine)?;
        let name = call.text("name", name)?;
        let description = call.text("description", description)?;
        let schema = match schema_json.len {
            0 => Value::Null,
            _ => Value::Object(call.object("schema_json", schema_json)?),
        };
        let definition =
            Definition::custom(name, description, schema).map_err(|error| match error.field() {
                Some("schema") => error.with_field("schema_json"),
                _ => error,
            })?;
        entered.engine.events().define(definition)
    })
}

/// The events of the catalogue, by name, as a JSON array: name, namespace, category, description,
/// schema.
///
/// Threads: any thread. Ownership: borrows `event_namespace` (`task`; empty: all); returns owned
/// `buf` (free with tallyport_buf_free) and `err`. Errors: NULL_ARGUMENT, BAD_HANDLE, POISONED.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_events_list(
    engine: *const tallyport_engine,
    event_namespace: tallyport_str,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill_json(buf, || {
            let entered = call.engine(engine)?;
            let wanted = call.text_or_none("event_namespace", event_namespace)?;
            let catalogue = entered.engine.events().catalogue();
            let found = catalogue.iter().filter(|e| wanted.is_none_or(|w| e.namespace() == w));
            Ok(found.map(Definition::to_json).collect())
        })
    })
}

/// The events that have every word of `words`, as tallyport_events_list.
///
/// A word is looked for in name, category and description, whatever the case of ASCII letters.
///
/// Threads: any thread. Ownership: borrows `words`; returns owned `buf` (free with
/// tallyport_buf_free) and `err`. Errors: NULL_ARGUMENT, BAD_HANDLE, POISONED. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tallyport_events_search(
    engine: *const tallyport_engine,
    words: tallyport_str,
    buf: *mut tallyport_buf,
    err: *mut *mut tallyport_error,
) -> tallyport_status {
    fallible!(err, |call| {
        call.fill_json(buf, || {
            let entered = call.engine(engine)?;
            let catalogue = entered.engine.events().catalogue();
            let found = catalogue.search(call.text("words", words)?);
            Ok(found.into_iter().map(Definition::to_json).collect())
        })
    })
}

/// An event's name and its correlation id, if there is one.
fn called(
    call: &Call,
    name: tallyport_str,
    correlation_id: tallyport_str,
) -> Result<(&str, Option<&str>), Error> {
    let name = call.text("name", name)?;
    Ok((name, call.text_or_none("correlation_id", correlation_id)?))
}

/// Publishes with a correlation id or without.
fn publish(
    engine: &Engine,
    (name, correlation_id): (&str, Option<&str>),
    fields: &[Field<'_>],
) -> Result<(), Error> {
    let bus = engine.events();
    match correlation_id {
        Some(id) => bus.publish_as(name, id, fields).map(drop),
        None => bus.publish(name, fields).map(drop),
    }
}

/// Calls `with` with the fields that a host gives.
pub(crate) fn with_fields(
    call: &Call,
    from: *const tallyport_event_field,
    count: usize,
    with: impl FnOnce(&[Field<'_>]) -> Result<(), Error>,
) -> Result<(), Error> {
    let raw = call.array("fields", from, count)?;
    let nested = raw.iter().enumerate().filter(|(_, field)| field.r#type == TALLYPORT_FIELD_JSON);
    let nested: Vec<Value> =
        nested.map(|(at, field)| json_of(call, at, field.text)).collect::<Result<_, _>>()?;
    let mut nested = nested.iter();
    let mut few = [("", FieldValue::Null); FEW];
    let mut many = Vec::new();
    let fields = match few.get_mut(..raw.len()) {
        Some(few) => few,
        None => {
            many.resize(raw.len(), ("", FieldValue::Null));
            many.as_mut_slice()
        }
    };
    for ((at, raw), field) in raw.iter().enumerate().zip(fields.iter_mut()) {
        let place = |part: &str| format!("fields[{at}].{part}");
        let value = match raw.r#type {
            TALLYPORT_FIELD_NULL => FieldValue::Null,
            TALLYPORT_FIELD_BOOL => FieldValue::Bool(raw.integer != 0),
            TALLYPORT_FIELD_I64 => FieldValue::I64(raw.integer),
            TALLYPORT_FIELD_U64 => FieldValue::U64(raw.integer.cast_unsigned()),
            TALLYPORT_FIELD_F64 => FieldValue::F64(raw.number),
            TALLYPORT_FIELD_STR => FieldValue::Str(call.text_of(|| place("text"), raw.text)?),
            TALLYPORT_FIELD_JSON => nested.next().map_or(FieldValue::Null, FieldValue::from),
            other => {
                let field = place("type");
                let message = format!("`{field}` is {other}, which is no TALLYPORT_FIELD_*");
                return Err(Error::invalid(&field, message));
            }
        };
        *field = (call.text_of(|| place("name"), raw.name)?, value);
    }
    with(fields)
}

fn json_of(call: &Call, at: usize, text: tallyport_str) -> Result<Value, Error> {
    let place = || format!("fields[{at}].text");
    serde_json::from_str(call.text_of(place, text)?)
        .map_err(|error| Error::invalid(&place(), format!("`{}` is not JSON: {error}", place())))
}

/// Calls `with` with an event as C reads it.
pub(crate) fn lend<R>(event: &Event<'_>, with: impl FnOnce(&tallyport_event) -> R) -> R {
    let nested = event.fields().iter().filter_map(|(_, value)| match value {
        FieldValue::Json(value) => Some(value.to_string()),
        _ => None,
    });
    let nested: Vec<String> = nested.collect();
    let mut nested = nested.iter();
    let mut few = [EMPTY; FEW];
    let mut many = Vec::new();
    let fields = match few.get_mut(..event.fields().len()) {
        Some(few) => few,
        None => {
            many.resize(event.fields().len(), EMPTY);
            many.as_mut_slice()
        }
    };
    for ((name, value), raw) in event.fields().iter().zip(fields.iter_mut()) {
        raw.name = text(name);
        match *value {
            FieldValue::Null => raw.r#type = TALLYPORT_FIELD_NULL,
            FieldValue::Bool(yes) => (raw.r#type, raw.integer) = (TALLYPORT_FIELD_BOOL, yes.into()),
            FieldValue::I64(value) => (raw.r#type, raw.integer) = (TALLYPORT_FIELD_I64, value),
            FieldValue::U64(value) => {
                (raw.r#type, raw.integer) = (TALLYPORT_FIELD_U64, value.cast_signed());
            }
            FieldValue::F64(value) => (raw.r#type, raw.number) = (TALLYPORT_FIELD_F64, value),
            FieldValue::Str(value) => (raw.r#type, raw.text) = (TALLYPORT_FIELD_STR, text(value)),
            FieldValue::Json(_) => {
                let value = nested.next().map_or("null", String::as_str);
                (raw.r#type, raw.text) = (TALLYPORT_FIELD_JSON, text(value));
            }
        }
    }
    with(&tallyport_event {
        size: size_of::<tallyport_event>() as u32,
        flags: 0,
        name: text(event.name()),
        category: text(event.category().map_or("", Category::as_str)),
        correlation_id: text(event.correlation_id()),
        timestamp_ns: event.timestamp_ns(),
        fields: fields.as_ptr(),
        field_count: fields.len(),
    })
}
