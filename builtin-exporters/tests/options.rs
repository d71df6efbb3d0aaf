//! Options: what the schemas say, what is accepted, what a wrong one is told.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test: a panic is its verdict

use serde_json::{Map, Value, json};
use tallyport_builtin_exporters::{csv::Csv, json::Json, prometheus::Prometheus};
use tallyport_plugin_api::{
    Exporter, Kind, Number,
    abi::TALLYPORT_INVALID_ARGUMENT,
    testing::{Fixture, Frozen, Harness},
};

fn snapshot() -> Frozen {
    let mut fixture = Fixture::at(1);
    let rows = fixture.family("a.b_total", Kind::Counter, Number::U64).help("h").created(5);
    rows.series(&[("x", "=1+1")], tallyport_plugin_api::Value::U64(1));
    fixture.histogram("h", &[1.0]).observed(&[("y", "@z")], &[1, 1], 3.0);
    fixture.freeze()
}

fn export<E: Exporter>(options: &str) -> String {
    let harness = Harness::create::<E>(options).unwrap();
    String::from_utf8(harness.export("", &snapshot()).unwrap()).unwrap()
}

/// The option that `create` refuses, and its message.
#[track_caller]
fn refused<E: Exporter>(options: Value) -> (String, String) {
    let failure = Harness::create::<E>(&options.to_string()).unwrap_err();
    assert_eq!(failure.status, TALLYPORT_INVALID_ARGUMENT);
    let named = failure.details.into_iter().find(|(key, _)| key == "option");
    (named.map(|(_, path)| path).unwrap_or_default(), failure.message)
}

/// The schema describes exactly the options that are read, and their defaults.
fn schema_is_true<E: Exporter>() {
    let schema: Value = serde_json::from_str(E::INFO.config_schema_json).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    let properties = schema["properties"].as_object().unwrap();
    let mut defaults = Map::new();
    for (name, property) in properties {
        assert!(property["description"].as_str().unwrap().ends_with('.'), "{name}");
        defaults.insert(name.clone(), property["default"].clone());
        Harness::create::<E>(&json!({name: property["default"]}).to_string()).unwrap();
        for one in property["enum"].as_array().into_iter().flatten() {
            Harness::create::<E>(&json!({name: one}).to_string()).unwrap();
        }
    }
    let without_time = |text: String| match text.find("exported_at") {
        Some(at) => text[..at].to_owned(),
        None => text,
    };
    let all_defaults = Value::Object(defaults).to_string();
    assert_eq!(without_time(export::<E>(&all_defaults)), without_time(export::<E>("")));

    let (option, message) = refused::<E>(json!({"no_such_option": 1}));
    assert_eq!(option, "no_such_option");
    let known = message.split_once("expected").unwrap().1;
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    assert_eq!(known.len(), properties.len(), "{message}");
    assert!(known.iter().all(|name| properties.contains_key(*name)), "{message}");
}

#[test]
fn schemas_say_what_is_read() {
    schema_is_true::<Prometheus>();
    schema_is_true::<Json>();
    schema_is_true::<Csv>();
}

#[test]
fn the_separator_pattern_of_the_schema_is_what_is_accepted() {
    // The pattern's class, spelled out: there is no schema validator in this crate.
    let in_pattern = |c: char| matches!(c, '\t' | ' ' | '!' | '#'..='*' | ',' | '/' | ':'..='@' | '['..='`' | '|' | '~');
    for byte in 0..=127_u8 {
        let separator = char::from(byte);
        let created = Harness::create::<Csv>(&json!({"separator": separator}).to_string());
        assert_eq!(created.is_ok(), in_pattern(separator), "{separator:?}");
    }
    let schema: Value = serde_json::from_str(Csv::INFO.config_schema_json).unwrap();
    assert_eq!(schema["properties"]["separator"]["pattern"], "^[\\t !#-*,/:-@\\[-`|~]$");
}

#[test]
fn a_wrong_option_is_named() {
    for (options, option) in [
        (json!({"utf8_names": "maybe"}), "utf8_names"),
        (json!({"utf8_names": null}), "utf8_names"),
        (json!({"created_lines": "yes", "utf8_names": "quote"}), "created_lines"),
    ] {
        assert_eq!(refused::<Prometheus>(options).0, option);
    }
    for (options, option) in [
        (json!({"pretty": 1}), "pretty"),
        (json!({"field_mapping": {"nane": "x"}}), "field_mapping.nane"),
        (json!({"field_mapping": {"name": ""}}), "field_mapping.name"),
        (json!({"field_mapping": {"name": 5}}), "field_mapping"),
        (json!({"field_mapping": {"name": "x", "type": "x"}}), "field_mapping.name"),
        (json!({"field_mapping": {"name": "x", "timestamp": "x"}}), "field_mapping.name"),
        (json!({"field_mapping": {"name": "type"}}), "field_mapping.name"),
        (json!({"field_mapping": {"metrics": "metadata"}}), "field_mapping.metrics"),
        (json!({"additional_fields": {"metrics": 1}}), "additional_fields.metrics"),
        (
            json!({"field_mapping": {"timestamp": "at"}, "additional_fields": {"at": 1}}),
            "additional_fields.at",
        ),
        (json!({"additional_fields": []}), "additional_fields"),
    ] {
        assert_eq!(refused::<Json>(options.clone()).0, option, "{options}");
    }
    for (options, option) in [
        (json!({"columns": []}), "columns"),
        (json!({"columns": ["name", "size"]}), "columns"),
        (json!({"columns": ["name", "value", "name"]}), "columns[2]"),
        (json!({"columns": ["name"], "flatten_labels": true}), "flatten_labels"),
        (json!({"separator": ""}), "separator"),
        (json!({"separator": ",,"}), "separator"),
        (json!({"separator": "é"}), "separator"),
        (json!({"row_separator": "\r"}), "row_separator"),
        (json!({"header": "no"}), "header"),
    ] {
        assert_eq!(refused::<Csv>(options.clone()).0, option, "{options}");
    }
}

#[test]
fn names_of_fields_may_be_exchanged() {
    let options = json!({
        "field_mapping": {"name": "type", "type": "name", "metrics": "value"},
        "include_metadata": false,
    });
    let document: Value = serde_json::from_str(&export::<Json>(&options.to_string())).unwrap();
    assert_eq!(document["value"][0]["type"], "a.b_total");
    assert_eq!(document["value"][0]["name"], "counter");
    assert_eq!(document.as_object().unwrap().len(), 3, "{document}");
}

#[test]
fn metadata_repeats_the_mapping_and_added_fields_stand_as_given() {
    let added = json!({"env": "test", "nested": {"list": [1, null, "a\nb"]}, "big": u64::MAX});
    for pretty in [false, true] {
        let mapping = json!({"labels": "tags", "metadata": "meta"});
        let options =
            json!({"pretty": pretty, "field_mapping": mapping, "additional_fields": added});
        let document: Value = serde_json::from_str(&export::<Json>(&options.to_string())).unwrap();
        assert_eq!(document["meta"]["field_mapping"], mapping);
        assert_eq!(document["meta"]["exporter"], "json");
        assert_eq!(document["meta"]["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(document["metrics"][0]["tags"], json!({"x": "=1+1"}));
        for (name, value) in added.as_object().unwrap() {
            assert_eq!(document[name], *value);
        }
    }
}

#[test]
fn a_spreadsheet_computes_no_cell() {
    let options = json!({
        "flatten_labels": true, "escape_formulas": true, "header": false,
        "columns": ["name", "value", "labels"],
    });
    let text = export::<Csv>(&options.to_string());
    assert_eq!(
        text,
        "a.b_total,1,,'=1+1,\n\
         h_bucket,1,1,,'@z\n\
         h_bucket,2,'+Inf,,'@z\n\
         h_sum,3,,,'@z\n\
         h_count,2,,,'@z\n"
    );
    let mut fixture = Fixture::at(1);
    for (name, value) in [("-n", -1.0), ("\tn", f64::INFINITY), ("\rn", 0.0), ("'n", 1.0)] {
        let value = tallyport_plugin_api::Value::F64(value);
        fixture.family(name, Kind::Gauge, Number::F64).help("+help").series(&[], value);
    }
    let options = json!({"escape_formulas": true, "columns": ["value", "name", "help"]});
    let harness = Harness::create::<Csv>(&options.to_string()).unwrap();
    let text = harness.export("csv", &fixture.freeze()).unwrap();
    let expected =
        "value,name,help\n-1,'-n,'+help\n+Inf,'\tn,'+help\n0,\"'\rn\",'+help\n1,'n,'+help\n";
    assert_eq!(String::from_utf8(text).unwrap(), expected);
}

#[test]
fn a_row_of_one_empty_cell_is_a_row() {
    let text = export::<Csv>(r#"{"columns":["unit"]}"#);
    assert_eq!(text, "unit\n".to_owned() + &"\"\"\n".repeat(5));
    assert_eq!(csv::Reader::from_reader(text.as_bytes()).records().count(), 5);
}
