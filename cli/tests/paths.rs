//! `tallyport plugins paths`: the search order, and what lies in it.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::fs;

use common::{Place, Run, plugin};
use serde_json::Value;

/// The command with an environment that leads nowhere but into the place.
fn paths(place: &Place, words: &str) -> Run {
    let mut command = place.command(format!("plugins paths {words}").split_whitespace());
    command.env("HOME", place.path("home")).env_remove("XDG_DATA_HOME");
    command.env("TALLYPORT_PLUGIN_PATH", place.path("extra"));
    Run::of(command.output().unwrap())
}

fn folders(json: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let all = json["folders"].as_array().unwrap().iter();
    all.map(|one| (text(&one["path"]), text(&one["source"]), text(&one["state"]))).collect()
}

#[test]
fn the_folders_are_listed_in_the_order_in_which_they_are_searched() {
    let place = Place::new();
    place.write("tallyport.toml", "schema = 1\n");
    fs::create_dir(place.path("extra")).unwrap();
    let json = paths(&place, "-c tallyport.toml --report json").exits(0).silent().json();
    assert_eq!(json["schema"], "tallyport.plugin-paths/1");
    let at = |name: &str| place.path(name).display().to_string();
    let own = at("").trim_end_matches('/').to_owned();
    let wanted = [
        (own, "searched"),
        (at("plugins"), "missing"),
        (at("extra"), "searched"),
        (at("home/.local/share/tallyport/plugins"), "missing"),
    ];
    let found = folders(&json);
    for ((path, _, state), (wanted, wanted_state)) in found.iter().zip(&wanted) {
        assert_eq!((path, state.as_str()), (wanted, *wanted_state));
    }
    assert_eq!(found[2].1, "TALLYPORT_PLUGIN_PATH");
    assert!(found.len() > wanted.len(), "the system's folders come last: {found:?}");

    // A search path of the configuration takes the place of the environment's.
    place.write("tallyport.toml", "schema = 1\n[loading]\nsearch_path = [\"only\"]\n");
    let json = paths(&place, "-c tallyport.toml --report json").exits(0).json();
    let found: Vec<_> = folders(&json).into_iter().map(|(path, ..)| path).collect();
    assert_eq!(found.last(), Some(&at("only")));
    assert_eq!(found.len(), 3);
}

#[test]
fn what_lies_there_is_listed_and_what_is_hidden_says_by_what() {
    let place = Place::new();
    place.write("tallyport.toml", "schema = 1\n");
    for folder in ["plugins", "extra"] {
        fs::create_dir(place.path(folder)).unwrap();
        fs::copy(plugin(), place.path(folder).join("libmine.so")).unwrap();
    }
    place.write("extra/notes.txt", "no plugin");
    place.write("extra/libother.so", "no plugin either");
    let run = paths(&place, "-c tallyport.toml").exits(0).silent();
    assert!(run.stdout.starts_with("ORDER  FOLDER"), "{run:#?}");
    assert!(run.stdout.contains("\nmine  com.example.obedient  "), "{run:#?}");
    assert!(run.stdout.contains("\n  by this name a host gets "), "{run:#?}");
    assert!(!run.stdout.contains("other"), "{run:#?}");
    let json = paths(&place, "-c tallyport.toml --report json").exits(0).json();
    let listed = json["plugins"].as_array().unwrap();
    assert_eq!(listed.len(), 2, "{json:#}");
    assert_eq!(listed[0]["hidden_by"], Value::Null);
    assert_eq!(listed[1]["hidden_by"], listed[0]["path"]);
    assert_eq!(listed[1]["problem"], Value::Null);
    place.run("plugins paths -c none.toml").fails(3, &["none.toml: cannot be read"]);
}
