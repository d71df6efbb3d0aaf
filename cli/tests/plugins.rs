//! `tallyport plugins`: what is there, in which state, and what a file says of itself.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::fs;

use common::{Place, plugin};
use serde_json::Value;
use tallyport_plugin_api::abi;

#[test]
fn without_a_configuration_the_built_in_exporters_are_there() {
    let place = Place::new();
    let text = place.run("plugins list").exits(0).silent().stdout;
    let rows: Vec<_> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<_> = rows.iter().map(|row: &Vec<&str>| row[0]).collect();
    assert_eq!(names, ["NAME", "prometheus", "json", "csv"]);
    assert_eq!(rows[1][1], "loaded");
    assert_eq!(rows[1][4], "prometheus,openmetrics,prometheus_utf8,openmetrics_utf8");
}

#[test]
fn loaded_failed_and_disabled_plugins_are_told_apart() {
    let place = Place::new();
    let path = plugin();
    let path = path.display();
    let text = format!(
        "schema = 1\n[plugins.good]\npath = \"{path}\"\n[plugins.off]\npath = \"{path}\"\n\
         enabled = false\n[plugins.gone]\npath = \"gone.so\"\n[plugins.bad]\npath = \"{path}\"\n\
         options = {{ refuse = true }}\n"
    );
    place.write("t.toml", &text);
    let list = place.run("plugins list -c t.toml --report json").exits(0).silent().json();
    assert_eq!(list["schema"], "tallyport.plugins/1");
    let plugins = list["plugins"].as_array().unwrap();
    let of = |name: &str| plugins.iter().find(|plugin| plugin["name"] == name).unwrap();
    assert_eq!(of("csv")["origin"], "linked in");
    let good = of("good");
    assert_eq!(good["state"], "loaded");
    assert_eq!(good["reason"], Value::Null);
    assert_eq!(good["id"], "com.example.obedient");
    assert_eq!(good["version"], "1.2.3");
    assert_eq!(good["formats"][0]["name"], "names");
    assert_eq!(good["origin"], path.to_string());
    assert_eq!(of("off")["state"], "disabled");
    assert_eq!(of("off")["reason"], "`enabled = false` at t.toml:4");
    assert_eq!(of("off")["id"], "com.example.obedient");
    assert_eq!(of("gone")["state"], "failed");
    assert_eq!(of("gone")["id"], Value::Null);
    assert!(of("gone")["reason"].as_str().unwrap().contains("has no gone.so"));
    assert!(of("bad")["reason"].as_str().unwrap().contains("refused, as told"));

    let text = place.run("plugins list -c t.toml").exits(0).silent().stdout;
    assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    assert!(text.contains("\n  plugin `bad` could not be created"), "{text}");

    // A plugin in a helper process is listed with it.
    let text = format!("schema = 1\n[plugins.far]\npath = \"{path}\"\nisolation = \"process\"\n");
    place.write("t.toml", &text);
    let list = place.run("plugins list -c t.toml --report json").exits(0).silent().json();
    let plugins = list["plugins"].as_array().unwrap();
    let process = |name: &str| {
        let found = plugins.iter().find(|plugin| plugin["name"] == name).unwrap();
        found["process"].as_u64()
    };
    assert!(process("far").is_some_and(|process| process > 1), "{list}");
    assert_eq!(process("csv"), None);
    let text = place.run("plugins list -c t.toml").exits(0).silent().stdout;
    assert!(text.contains(&format!("{path} (helper process ")), "{text}");

    // The list is printed; that the host would not start is said too.
    place.write("t.toml", "schema = 1\n[plugins.gone]\npath = \"gone.so\"\nrequired = true\n");
    let run = place.run("plugins list -c t.toml").exits(9).says(&["`gone`: required and refused"]);
    assert!(run.stdout.contains("gone"), "{run:#?}");
}

#[test]
fn a_file_is_inspected_without_running_its_code() {
    let place = Place::new();
    fs::copy(plugin(), place.path("mine.so")).unwrap();
    let run = place.run("plugins inspect ./mine.so").exits(0).says(&["--load"]);
    let abi = (abi::TALLYPORT_PLUGIN_ABI_MAJOR, abi::TALLYPORT_PLUGIN_ABI_MINOR);
    let abi = format!("plugin ABI  {}.{}", abi.0, abi.1);
    for text in ["com.example.obedient", &abi, "Rust SDK"] {
        assert!(run.stdout.contains(text), "{run:#?}");
    }
    let json = place.run("plugins inspect mine.so --report json").exits(0).silent().json();
    assert_eq!(json["schema"], "tallyport.plugin/1");
    assert_eq!(json["exporters"], Value::Null);
    assert_eq!(json["sdk"], "rust");
    place.run("plugins inspect mine.so --schema").fails(2, &["add --load"]);
}

#[test]
fn a_loaded_file_shows_its_exporters() {
    let place = Place::new();
    place.config("mine", "");
    let words = "plugins inspect mine -c tallyport.toml --load";
    let json = place.run(&format!("{words} --report json")).exits(0).silent().json();
    let exporter = &json["exporters"][0];
    assert_eq!(exporter["id"], "com.example.obedient");
    assert_eq!(
        exporter["capabilities"],
        serde_json::json!(["CANCEL", "OUT_OF_PROC", "WRITES_SINK", "bit 40"])
    );
    assert_eq!(exporter["signals"], serde_json::json!(["metrics"]));
    assert_eq!(exporter["formats"][1]["content_type"], "text/other");
    assert_eq!(exporter["options_schema"]["properties"]["repeat"]["default"], 0);
    let text = place.run(&format!("{words} --schema")).exits(0).silent().stdout;
    assert!(text.contains("names (default, text/plain; charset=utf-8)"), "{text}");
    assert!(text.contains("refuse boolean: Fail to be created."), "{text}");
    assert!(text.contains("\"additionalProperties\": false"), "{text}");
    // A plugin's text does not reach the terminal as it is.
    assert!(text.contains("Writes names,\\u{1b}[31m and") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_name_means_the_configuration_then_a_built_in_exporter_then_a_file() {
    let place = Place::new();
    place.write("json", "no plugin");
    place.run("plugins inspect json").exits(0);
    place.run("plugins inspect ./json").fails(9, &["not an ELF file"]);
    place.config("json", "");
    let run = place.run("plugins inspect json -c tallyport.toml").exits(0);
    assert!(run.stdout.contains("com.example.obedient"));
    place.run("plugins inspect nothing").fails(2, &["`nothing`", "prometheus, json, csv"]);
    place.write("t.toml", "schema = 1\n[plugins.sheet]\nexporter = \"csv\"\n[plugins.x]\n");
    let run = place.run("plugins inspect sheet -c t.toml").exits(0).silent();
    assert!(run.stdout.contains("exporter      csv"), "{run:#?}");
    place.run("plugins inspect x -c t.toml").fails(3, &["t.toml:4", "no exporter `x`"]);
}

#[test]
fn a_file_that_is_no_plugin_is_refused_with_its_reason() {
    let place = Place::new();
    let whole = fs::read(plugin()).unwrap();
    place.write("cut.so", &whole[..5000]);
    place.write("half.so", &whole[..whole.len() / 2]);
    place.write("empty.so", "");
    place.write("text.so", "#!/bin/sh\n");
    fs::create_dir(place.path("folder.so")).unwrap();
    for (file, reason) in [
        ("cut.so", "truncated"),
        ("half.so", "section"),
        ("empty.so", "empty"),
        ("text.so", "not an ELF file"),
        ("folder.so", "not a regular file"),
        ("./none.so", "No such file"),
        (env!("CARGO_BIN_EXE_tallyport"), "not a Tallyport plugin"),
    ] {
        for load in ["", " --load"] {
            let run = place.run(&format!("plugins inspect {file}{load}"));
            run.fails(9, &["tallyport: plugin refused: ", reason]);
        }
    }
}

#[test]
fn what_is_available_is_listed_and_not_loaded() {
    let place = Place::new();
    place.write("libgood.so", std::fs::read(plugin()).unwrap());
    place.write("cut.so", &std::fs::read(plugin()).unwrap()[..5000]);
    place.write("bad.plugin.toml", "manifest = 1\n");
    place.write("t.toml", "schema = 1\n[loading]\nsearch_path = []\n");
    let list = "plugins list -c t.toml --available";
    let listed = place.run(&format!("{list} --report json")).exits(0).silent().json();
    let plugins = listed["plugins"].as_array().unwrap();
    let seen: Vec<_> = plugins
        .iter()
        .map(|one| format!("{} {} {}", one["name"], one["state"], one["id"]))
        .collect();
    // A library that is none of ours, or damaged, is nothing that could be loaded.
    let expected = ["\"bad\" \"refused\" null", "\"good\" \"available\" \"com.example.obedient\""];
    assert_eq!(seen, expected);
    assert!(plugins[0]["reason"].as_str().unwrap().contains("bad.plugin.toml:1:1: missing key"));
    let text = place.run(list).exits(0);
    assert!(text.stdout.contains("missing key `id`"), "{}", text.stdout);
}
