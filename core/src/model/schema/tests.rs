//! Each keyword with a value that passes and one that fails, the words of each fault, and the
//! schemas that are refused.

use schemars::JsonSchema;
use serde_json::{Value, json};

use super::{KeyPath, Schema, Step, Violation, ViolationKind as Kind};
use crate::model::ErrorKind;

fn check(schema: Value, value: Value) -> Vec<Violation> {
    Schema::compile(&schema).expect("the schema compiles").check(&value)
}

fn said(schema: Value, value: Value) -> Vec<String> {
    check(schema, value).iter().map(ToString::to_string).collect()
}

/// `good` are valid; `bad` have one violation of `kind`, at the root.
fn keyword(schema: Value, kind: Kind, good: &[Value], bad: &[Value]) {
    for value in good {
        assert_eq!(said(schema.clone(), value.clone()), [""; 0], "{schema} {value}");
    }
    for value in bad {
        let found = check(schema.clone(), value.clone());
        let kinds: Vec<_> = found.iter().map(|one| (one.kind, one.path.clone())).collect();
        assert_eq!(kinds, [(kind, KeyPath::new())], "{schema} {value}");
    }
}

#[test]
fn every_type_accepts_its_values_only() {
    let values = [
        ("string", json!("a")),
        ("integer", json!(-1)),
        ("boolean", json!(true)),
        ("array", json!([])),
        ("object", json!({})),
        ("null", Value::Null),
    ];
    for (name, _) in &values {
        let mine = |(of, value): &(&str, Value)| (of == name).then(|| value.clone());
        let other = |(of, value): &(&str, Value)| (of != name).then(|| value.clone());
        let (good, bad): (Vec<_>, Vec<_>) =
            (values.iter().filter_map(mine).collect(), values.iter().filter_map(other).collect());
        keyword(json!({ "type": name }), Kind::WrongType, &good, &bad);
    }
}

#[test]
fn a_number_may_be_an_integer_but_not_the_other_way_round() {
    keyword(json!({ "type": "number" }), Kind::WrongType, &[json!(1), json!(1.5)], &[json!("1")]);
    let big = json!(u64::MAX);
    keyword(json!({ "type": "integer" }), Kind::WrongType, &[json!(1), big], &[json!(1.0)]);
}

#[test]
fn an_array_of_types_accepts_each_of_them() {
    let schema = json!({ "type": ["string", "integer"] });
    keyword(schema, Kind::WrongType, &[json!("a"), json!(1)], &[json!(1.5), json!(null)]);
}

#[test]
fn a_wrong_type_names_the_expected_ones() {
    let message = |types: Value| said(json!({ "type": types }), json!([]));
    assert_eq!(message(json!("object")), ["expected a table, found an array"]);
    assert_eq!(message(json!(["string", "null"])), ["expected a string, found an array"]);
    assert_eq!(message(json!(["integer", "number"])), ["expected a number, found an array"]);
    assert_eq!(
        message(json!(["boolean", "string", "integer"])),
        ["expected a string, an integer or a boolean, found an array"]
    );
    assert_eq!(said(json!({ "type": "null" }), json!(1)), ["expected null, found an integer"]);
}

#[test]
fn a_wrong_type_silences_the_other_keywords() {
    let schema = json!({ "enum": ["a", "b"], "minimum": 3, "type": "string" });
    assert_eq!(said(schema, json!(1)), ["expected a string, found an integer"]);
}

#[test]
fn properties_are_checked_and_others_are_free() {
    let schema = json!({ "properties": { "a": { "type": "integer" } } });
    assert!(check(schema.clone(), json!({ "a": 1, "b": "x" })).is_empty());
    assert!(check(schema.clone(), json!("not a table")).is_empty());
    assert_eq!(said(schema, json!({ "a": "x" })), ["`a`: expected an integer, found a string"]);
}

#[test]
fn a_required_property_is_missed_under_its_own_path() {
    let schema = json!({ "properties": { "x": { "required": ["b", "a"] } } });
    assert!(check(schema.clone(), json!({ "x": { "a": 1, "b": null } })).is_empty());
    assert_eq!(said(schema, json!({ "x": {} })), ["missing key `x.b`", "missing key `x.a`"]);
}

#[test]
fn additional_properties_can_be_forbidden_or_have_a_schema() {
    let closed = json!({ "properties": { "a": true }, "additionalProperties": false });
    assert!(check(closed.clone(), json!({ "a": 1 })).is_empty());
    let found = check(closed, json!({ "zzz": 1 }));
    assert_eq!(found[0].kind, Kind::UnknownProperty);
    assert_eq!(found[0].suggestion, None);
    let typed = json!({ "additionalProperties": { "type": "boolean" } });
    assert!(check(typed.clone(), json!({ "x": true })).is_empty());
    assert_eq!(said(typed, json!({ "x": 1 })), ["`x`: expected a boolean, found an integer"]);
}

#[test]
fn an_unknown_property_names_the_nearest_known_one_only_when_it_is_close() {
    let schema = json!({
        "properties": { "options": true, "max_series": true, "path": true, "x": true },
        "additionalProperties": false,
    });
    let suggestion = |key: &str| check(schema.clone(), json!({ key: 1 }))[0].suggestion.clone();
    for (written, meant) in [
        ("optoins", "options"),
        ("Options", "options"),
        ("max-series", "max_series"),
        ("maxseries", "max_series"),
        ("pth", "path"),
        ("paths", "path"),
    ] {
        assert_eq!(suggestion(written).as_deref(), Some(meant), "{written}");
    }
    for written in ["", "y", "colour", "p", &"options".repeat(1000)] {
        assert_eq!(suggestion(written), None, "{written}");
    }
}

#[test]
fn items_are_checked_each_under_its_index() {
    let schema = json!({ "properties": { "c": { "items": { "type": "string" } } } });
    assert!(check(schema.clone(), json!({ "c": ["a", "b"] })).is_empty());
    let found = said(schema, json!({ "c": [1, "a", true] }));
    assert_eq!(
        found,
        [
            "`c[0]`: expected a string, found an integer",
            "`c[2]`: expected a string, found a boolean"
        ]
    );
}

#[test]
fn enum_lists_what_is_allowed_and_the_nearest() {
    let schema = json!({ "enum": ["info", "error", 3, null] });
    let good = [json!("info"), json!(3), json!(3.0), Value::Null];
    keyword(schema.clone(), Kind::NotAllowed, &good, &[json!("Error!!!"), json!(4), json!([])]);
    assert_eq!(
        said(schema, json!("inof")),
        ["must be \"info\", \"error\", 3 or null (did you mean `info`?)"]
    );
}

#[test]
fn const_allows_one_value() {
    let schema = json!({ "const": { "a": [1, 2.0] } });
    keyword(
        schema,
        Kind::NotAllowed,
        &[json!({ "a": [1.0, 2] })],
        &[json!({ "a": [1] }), json!({}), json!(1)],
    );
}

#[test]
fn bounds_include_or_exclude_themselves() {
    let at = |schema| {
        move |good: &[Value], bad: &[Value]| {
            keyword(schema, Kind::OutOfRange, good, bad);
        }
    };
    at(json!({ "minimum": 1 }))(&[json!(1), json!(1.0), json!("text")], &[json!(0), json!(0.99)]);
    at(json!({ "maximum": 2.5 }))(&[json!(2.5), json!(-1)], &[json!(3), json!(2.6)]);
    at(json!({ "exclusiveMinimum": 0 }))(&[json!(1e-300)], &[json!(0), json!(-0.0)]);
    at(json!({ "exclusiveMaximum": 1 }))(&[json!(0.99)], &[json!(1), json!(u64::MAX)]);
    // Past 2^53 a comparison as f64 would not see the difference.
    at(json!({ "maximum": 9_007_199_254_740_992_u64 }))(
        &[json!(9_007_199_254_740_992_u64)],
        &[json!(9_007_199_254_740_993_u64)],
    );
    let (low, high) = (json!({ "minimum": 1 }), json!({ "exclusiveMaximum": 9 }));
    assert_eq!(said(low, json!(0)), ["must be at least 1, is 0"]);
    assert_eq!(said(high, json!(9.5)), ["must be less than 9, is 9.5"]);
}

#[test]
fn text_lengths_count_characters() {
    let schema = json!({ "minLength": 2, "maxLength": 3 });
    let (good, bad) = ([json!("éé"), json!("abc"), json!(1)], [json!("é"), json!("abcd")]);
    keyword(schema.clone(), Kind::WrongLength, &good, &bad);
    assert_eq!(said(schema, json!("a")), ["must have at least 2 characters, has 1"]);
}

#[test]
fn array_lengths_count_elements() {
    let schema = json!({ "minItems": 1, "maxItems": 2 });
    keyword(schema.clone(), Kind::WrongLength, &[json!([1]), json!([1, 2])], &[json!([])]);
    assert_eq!(said(schema.clone(), json!([])), ["must have at least 1 element, has 0"]);
    assert_eq!(said(schema, json!([1, 2, 3])), ["must have at most 2 elements, has 3"]);
}

#[test]
fn unique_items_finds_every_repetition() {
    let schema = json!({ "uniqueItems": true });
    for different in [json!([1, "1", [1], { "a": 1 }, null]), json!([0.5, 0.25]), json!([])] {
        assert_eq!(said(schema.clone(), different), [""; 0]);
    }
    assert_eq!(
        said(schema.clone(), json!(["a", "b", "a", "a"])),
        ["`[2]`: repeats an earlier element", "`[3]`: repeats an earlier element"]
    );
    for equal in [json!([1, 1.0]), json!([0, -0.0]), json!([{ "a": [1] }, { "a": [1.0] }])] {
        assert_eq!(check(schema.clone(), equal)[0].kind, Kind::Duplicate);
    }
    assert!(check(json!({ "uniqueItems": false }), json!([1, 1])).is_empty());
}

#[test]
fn all_of_reports_the_faults_of_every_part() {
    let schema = json!({ "allOf": [{ "minimum": 2 }, { "maximum": 1 }, true] });
    assert_eq!(said(schema, json!(1.5)).len(), 2);
    let schema = json!({ "allOf": [{ "minimum": 1 }, { "maximum": 2 }] });
    keyword(schema, Kind::OutOfRange, &[json!(1)], &[json!(0), json!(3)]);
}

#[test]
fn any_of_needs_one_and_one_of_exactly_one() {
    let parts = json!([{ "minimum": 10 }, { "maximum": 20 }]);
    assert!(check(json!({ "anyOf": parts }), json!(15)).is_empty());
    let one_of = json!({ "oneOf": parts });
    keyword(one_of.clone(), Kind::Ambiguous, &[json!(5), json!(25)], &[json!(15)]);
    assert_eq!(said(one_of, json!(15)), ["fits 2 alternatives, but must fit exactly one"]);
    let strict = json!({ "anyOf": [{ "minimum": 10 }, { "maximum": 5 }] });
    keyword(strict, Kind::OutOfRange, &[json!(5), json!(10)], &[json!(7)]);
}

#[test]
fn alternatives_of_other_types_are_named_together() {
    let schema = json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] });
    assert_eq!(said(schema, json!(true)), ["expected a string or an integer, found a boolean"]);
    let optional =
        json!({ "anyOf": [{ "type": "object", "required": ["a"] }, { "type": "null" }] });
    assert_eq!(said(optional.clone(), json!({})), ["missing key `a`"]);
    assert_eq!(said(optional, json!(1)), ["expected a table, found an integer"]);
}

#[test]
fn variants_of_an_enumeration_are_named_together() {
    let schema = json!({ "oneOf": [
        { "type": "string", "enum": ["off", "error"] },
        { "type": "string", "const": "trace" },
    ] });
    let found = said(schema, json!("trce"));
    assert_eq!(found, ["must be \"off\", \"error\" or \"trace\" (did you mean `trace`?)"]);
}

#[test]
fn the_tag_chooses_the_alternative_that_speaks() {
    let variant = |tag: &str, field: &str| {
        json!({
            "type": "object",
            "properties": { "type": { "const": tag }, field: { "type": "integer" } },
            "required": ["type", field],
        })
    };
    let schema = json!({ "oneOf": [variant("file", "mode"), variant("http", "port")] });
    let found = said(schema.clone(), json!({ "type": "http", "port": "x" }));
    assert_eq!(found, ["`port`: expected an integer, found a string"]);
    let found = said(schema, json!({ "type": "htp" }));
    assert_eq!(found, ["`type`: must be \"file\" or \"http\" (did you mean `http`?)"]);
}

#[test]
fn references_are_followed_also_into_themselves() {
    let schema = json!({
        "$ref": "#/$defs/Tree~1",
        "description": "siblings of a reference count too",
        "required": ["children"],
        "$defs": { "Tree/": {
            "type": "object",
            "properties": { "children": { "items": { "$ref": "#/$defs/Tree~1" } } },
            "additionalProperties": false,
        } },
    });
    assert!(check(schema.clone(), json!({ "children": [{ "children": [{}] }] })).is_empty());
    let found = said(schema.clone(), json!({ "children": [{ "children": [{ "kids": 1 }] }] }));
    assert_eq!(found, ["unknown key `children[0].children[0].kids`"]);
    assert_eq!(said(schema, json!({})), ["missing key `children`"]);
    let root = json!({ "additionalProperties": { "$ref": "#" }, "type": "object" });
    assert_eq!(
        said(root, json!({ "a": { "b": 1 } })),
        ["`a.b`: expected a table, found an integer"]
    );
}

#[test]
fn a_schema_that_never_ends_is_a_violation_not_a_crash() {
    for schema in [
        json!({ "$ref": "#" }),
        json!({ "allOf": [{ "$ref": "#" }, { "$ref": "#" }] }),
        json!({ "anyOf": [{ "$ref": "#" }, { "$ref": "#" }, { "$ref": "#" }] }),
    ] {
        keyword(schema, Kind::TooComplex, &[], &[json!(1)]);
    }
    let mut deep = json!(1);
    for _ in 0..1000 {
        deep = json!([deep]);
    }
    let found = check(json!({ "items": { "$ref": "#" } }), deep);
    assert_eq!(found[0].kind, Kind::TooComplex);
}

#[test]
fn boolean_schemas_allow_all_or_nothing() {
    keyword(json!(true), Kind::NotAllowed, &[json!(1), json!({})], &[]);
    keyword(json!(false), Kind::NotAllowed, &[], &[json!(1), json!({})]);
    keyword(json!({}), Kind::NotAllowed, &[json!("x")], &[]);
}

#[test]
fn annotations_constrain_nothing() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "x", "$comment": "",
        "title": "T", "description": "", "default": 1, "examples": [1], "format": "uint16",
        "deprecated": true, "readOnly": true, "writeOnly": true, "x-order": 3,
    });
    keyword(schema, Kind::NotAllowed, &[json!("anything"), json!(-1)], &[]);
}

#[test]
fn an_unsupported_keyword_is_refused_with_its_place() {
    for keyword in [
        "pattern",
        "not",
        "if",
        "multipleOf",
        "prefixItems",
        "contains",
        "patternProperties",
        "minProperties",
        "dependentRequired",
        "unevaluatedProperties",
        "definitions",
        "$anchor",
        "$dynamicRef",
        "minimun",
    ] {
        let schema = json!({ "properties": { "a/b": { keyword: {} } } });
        let error = Schema::compile(&schema).expect_err(keyword);
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.field(), Some(format!("#/properties/a~1b/{keyword}").as_str()));
        assert!(error.to_string().contains(keyword), "{error}");
    }
}

#[test]
fn a_malformed_schema_is_refused_with_its_place() {
    for (schema, place) in [
        (json!(1), "#"),
        (json!({ "type": "text" }), "#/type"),
        (json!({ "type": [] }), "#/type"),
        (json!({ "properties": [] }), "#/properties"),
        (json!({ "properties": { "a": 1 } }), "#/properties/a"),
        (json!({ "required": ["a", "a"] }), "#/required"),
        (json!({ "required": "a" }), "#/required"),
        (json!({ "additionalProperties": 1 }), "#/additionalProperties"),
        (json!({ "items": [{}] }), "#/items"),
        (json!({ "enum": [] }), "#/enum"),
        (json!({ "minimum": "1" }), "#/minimum"),
        (json!({ "minLength": -1 }), "#/minLength"),
        (json!({ "uniqueItems": 1 }), "#/uniqueItems"),
        (json!({ "anyOf": [] }), "#/anyOf"),
        (json!({ "oneOf": [true, 3] }), "#/oneOf/1"),
        (json!({ "$ref": "#/$defs/Nothing" }), "#/$ref"),
        (json!({ "$ref": "other.json" }), "#/$ref"),
        (json!({ "$ref": 1 }), "#/$ref"),
        (json!({ "items": { "$defs": {} } }), "#/items/$defs"),
    ] {
        let error = Schema::compile(&schema).expect_err("malformed");
        assert_eq!(error.field(), Some(place), "{schema}: {error}");
    }
    let mut deep = json!(true);
    for _ in 0..100 {
        deep = json!({ "items": deep });
    }
    assert_eq!(
        Schema::compile(&deep).map(|_| ()).map_err(|e| e.kind()),
        Err(ErrorKind::InvalidArgument)
    );
}

#[test]
fn a_path_displays_as_people_write_it() {
    assert_eq!(
        KeyPath::keys(&["plugins", "statsd", "options"]).to_string(),
        "plugins.statsd.options"
    );
    assert_eq!(KeyPath::keys(&["columns"]).then(2).then("x").to_string(), "columns[2].x");
    assert_eq!(KeyPath::keys(&["a.b", "", "c\n"]).to_string(), r#""a.b".""."c\n""#);
    let inner: KeyPath = [Step::Index(0), Step::from("a")].into_iter().collect();
    assert_eq!(inner.within(&KeyPath::keys(&["x"])).to_string(), "x[0].a");
    assert_eq!(KeyPath::new().to_string(), "");
}

/// What authors of plugins derive.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only the schema is used")]
struct Options {
    prefix: Option<String>,
    port: u16,
    pair: [f32; 2],
    columns: std::collections::BTreeSet<String>,
    more: std::collections::BTreeMap<String, Vec<Options>>,
    separator: char,
    mode: Option<Mode>,
    target: Target,
}

#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "only the schema is used")]
enum Mode {
    Plain,
    Quoted,
}

#[derive(JsonSchema)]
#[schemars(tag = "kind", rename_all = "snake_case")]
#[expect(dead_code, reason = "only the schema is used")]
enum Target {
    File { path: std::path::PathBuf },
    Socket { port: std::num::NonZeroU16 },
}

#[test]
fn what_schemars_derives_compiles_and_checks() {
    let schema = schemars::schema_for!(Options).to_value();
    let good = json!({
        "prefix": null, "port": 8125, "pair": [1, 2.5], "columns": ["a", "b"], "more": {},
        "separator": ";", "mode": "plain", "target": { "kind": "socket", "port": 1 },
    });
    assert_eq!(said(schema.clone(), good.clone()), [""; 0]);
    let mut bad = good;
    bad["port"] = json!(65_536);
    bad["pair"] = json!([1]);
    bad["columns"] = json!(["a", "a"]);
    bad["separator"] = json!(";;");
    bad["mode"] = json!("quotd");
    bad["target"] = json!({ "kind": "socket", "port": 0 });
    bad["more"] = json!({ "x": [1] });
    bad["prefx"] = json!("");
    assert_eq!(
        said(schema, bad),
        [
            "`columns[1]`: repeats an earlier element",
            "`mode`: must be \"plain\" or \"quoted\" (did you mean `quoted`?)",
            "`more.x[0]`: expected a table, found an integer",
            "`pair`: must have at least 2 elements, has 1",
            "`port`: must be at most 65535, is 65536",
            "unknown key `prefx` (did you mean `prefix`?)",
            "`separator`: must have at most 1 character, has 2",
            "`target.port`: must be at least 1, is 0",
        ]
    );
}

#[test]
fn names_of_properties_are_checked_as_texts() {
    let schema = json!({ "propertyNames": { "enum": ["name", "value"] } });
    let schema = Schema::compile(&schema).unwrap();
    assert!(schema.check(&json!({ "name": 1, "value": 2 })).is_empty());
    let violations = schema.check(&json!({ "name": 1, "valeu": 2 }));
    assert_eq!(violations.len(), 1);
    assert_eq!(violations[0].path.to_string(), "valeu");
}

#[test]
fn a_foreign_schema_may_use_keywords_that_are_not_checked() {
    let foreign = json!({
        "properties": { "port": { "type": "integer", "multipleOf": 2 } },
        "additionalProperties": false,
    });
    assert_eq!(Schema::compile(&foreign).unwrap_err().kind(), ErrorKind::Unsupported);
    let (schema, passed_over) = Schema::compile_foreign(&foreign).unwrap();
    assert_eq!(passed_over, ["#/properties/port/multipleOf"]);
    assert!(schema.check(&json!({ "port": 3 })).is_empty());
    assert_eq!(schema.check(&json!({ "prot": 3 })).len(), 1);
    let malformed = json!({ "minimum": "low" });
    assert_eq!(Schema::compile_foreign(&malformed).unwrap_err().kind(), ErrorKind::InvalidArgument);
}
