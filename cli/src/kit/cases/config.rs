//! Options: those that the schema allows, those that it does not, and those that are none.

use serde_json::{Map, Value, json};
use tallyport_core::model::schema::Schema;

use crate::{
    sys::{desk::HostShape, instance::Answer},
    trial::{Done, Stop, Trial, expect_no_panic},
};

/// Bytes that no host sends, and a plugin survives.
pub(super) fn garbage_options() -> Vec<Vec<u8>> {
    let deep = [b"{\"a\":".as_slice(), "[".repeat(20_000).as_bytes()].concat();
    let long = format!("{{\"{}\":\"{}\"}}", "k".repeat(10_000), "v".repeat(1 << 20));
    let texts: [&[u8]; 10] = [
        b"\xff\xfe\xfd",
        b"{\"prefix\":\"\xc3\x28\"}",
        b"{\"\xf0\x9f\x98\":1}",
        b"{",
        b"[]",
        b"null",
        b"{\"a\":1,}",
        b"\0",
        b"{} {}",
        b"{\"no_such_option_anywhere\":1}",
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|text| text.to_vec()).collect();
    all.extend([deep, long.into_bytes()]);
    all
}

/// What `create` makes of options; an exporter that it made is destroyed.
fn answer(trial: &Trial<'_>, options: &[u8]) -> Result<Option<Answer>, Stop> {
    Ok(trial.try_create(HostShape::default(), options)?.err())
}

pub(super) fn garbage(trial: &mut Trial<'_>) -> Done {
    for options in garbage_options() {
        let text = String::from_utf8_lossy(&options);
        let short = crate::words::short(&text);
        // A host promises UTF-8, so who takes it is not wrong; who falls over it is.
        if let Some(answer) = answer(trial, &options)? {
            expect_no_panic(&answer, &format!("`create` with the options {short}"))?;
        }
    }
    Ok(())
}

pub(super) fn error_text(trial: &mut Trial<'_>) -> Done {
    let mut refusals = 0;
    let mut candidates = garbage_options();
    if let Some(described) = Described::of(trial)? {
        candidates.extend(described.forbidden.iter().map(|v| v.to_string().into_bytes()));
    }
    for options in candidates {
        let Some(answer) = answer(trial, &options)? else { continue };
        refusals += 1;
        if answer.fault.message.is_empty() {
            let options = String::from_utf8_lossy(&options);
            let short = crate::words::short(&options);
            return Stop::fail(format!("`create` with the options {short} answered {answer}"));
        }
    }
    if refusals == 0 {
        return Stop::skip("it refuses no options");
    }
    Ok(())
}

pub(super) fn options(trial: &mut Trial<'_>) -> Done {
    let Some(described) = Described::of(trial)? else {
        return Stop::skip("it has no options schema");
    };
    for options in &described.allowed {
        let text = options.to_string();
        if let Some(answer) = answer(trial, text.as_bytes())? {
            return Stop::fail(format!("the schema allows {text}, and `create` answered {answer}"));
        }
    }
    for options in &described.forbidden {
        let text = options.to_string();
        let short = crate::words::short(&text);
        match answer(trial, text.as_bytes())? {
            Some(answer) => expect_no_panic(&answer, &format!("`create` with {short}"))?,
            None => return Stop::fail(format!("the schema forbids {short}, and `create` took it")),
        }
    }
    Ok(())
}

/// Options that follow from a schema.
struct Described {
    /// Defaults and members of enumerations, each beside the options of the command line.
    allowed: Vec<Value>,
    /// Each breaks the schema in one place.
    forbidden: Vec<Value>,
}

impl Described {
    fn of(trial: &Trial<'_>) -> Result<Option<Self>, Stop> {
        let Some(schema) = &trial.exporter.table.options_schema else { return Ok(None) };
        let Ok((checker, _)) = Schema::compile_foreign(schema) else {
            return Stop::skip("its options schema is no JSON Schema: see the case `table`");
        };
        let given = if trial.options.is_empty() { "{}" } else { trial.options };
        let Ok(Value::Object(base)) = serde_json::from_str(given) else {
            return Stop::skip("the options of the command line are no JSON object");
        };
        let mut tried = Vec::new();
        let with = |key: &str, value: Value| {
            let mut options = base.clone();
            options.insert(key.to_owned(), value);
            Value::Object(options)
        };
        let mut allowed = vec![Value::Object(base.clone())];
        let none = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
        for (key, of) in properties {
            let of = resolve(schema, of);
            let members = of.get("enum").and_then(Value::as_array).into_iter().flatten();
            for value in members.chain(of.get("default")).filter(|value| !value.is_null()) {
                allowed.push(with(key, value.clone()));
            }
            tried.extend(values().into_iter().map(|value| with(key, value)));
        }
        tried.push(with("no_such_option_anywhere", json!(1)));
        for key in base.keys() {
            let mut options = base.clone();
            options.remove(key);
            tried.push(Value::Object(options));
        }
        // The checker decides; what it lets pass may still be wrong for the exporter, or right.
        allowed.retain(|options| checker.check(options).is_empty());
        tried.retain(|options| !checker.check(options).is_empty());
        Ok(Some(Self { allowed, forbidden: tried }))
    }
}

/// A schema behind a reference of one step.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let place = schema.get("$ref").and_then(Value::as_str);
    let place = place.and_then(|place| place.strip_prefix('#'));
    place.and_then(|place| root.pointer(place)).unwrap_or(schema)
}

/// One of each type, and some that are long, large or odd. Not null: a host's TOML has none.
fn values() -> Vec<Value> {
    vec![
        json!(true),
        json!(0),
        json!(-1),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(1e300),
        json!(""),
        json!("a"),
        json!("no such value"),
        json!("x".repeat(100_000)),
        json!("\u{0}\u{1b}"),
        json!([]),
        json!([1, "a", {}]),
        json!({}),
        json!({"a": {"b": 1}}),
    ]
}
