//! `tallyport plugins check` as a command: its words, its JSON, its codes.
//!
//! What the cases find is held in the tests of the workspace (tests/kit.rs).

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::fs;

use common::{Place, plugin};

#[test]
fn the_cases_are_listed_with_what_they_promise() {
    let place = Place::new();
    let text = place.run("plugins check --list").exits(0).silent().stdout;
    assert!(text.starts_with("load "), "{text}");
    assert!(text.lines().count() > 30, "{text}");
    let json = place.run("plugins check --list --report json").exits(0).silent().json();
    assert_eq!(json["schema"], "tallyport.plugin-cases/1");
    assert_eq!(json["cases"][0]["name"], "load");
}

#[test]
fn one_case_runs_alone_and_says_so_for_people_and_programs() {
    let place = Place::new();
    fs::copy(plugin(), place.path("mine.so")).unwrap();
    let words = "plugins check ./mine.so@com.example.obedient --case table --seed 5";
    let run = place.run(words).exits(0).says(&["build tree"]);
    assert!(run.stdout.contains("exporter com.example.obedient\n  ok       table "), "{run:#?}");
    assert!(run.stdout.contains("1 passed, 0 failed, 0 skipped"), "{run:#?}");
    assert!(run.stdout.contains("seed 5"), "{run:#?}");
    let quiet = place.run(&format!("{words} --quiet")).exits(0).silent();
    assert!(quiet.stdout.contains("1 passed"));
    // The flag is `--report`, as everywhere; `--format` is understood too.
    for flag in ["--report", "--format"] {
        let json = place.run(&format!("{words} {flag} json")).exits(0).silent().json();
        assert_eq!(json["schema"], "tallyport.plugin-check/1");
        assert_eq!((&json["passed"], &json["seed"]), (&1.into(), &5.into()));
        assert_eq!(json["cases"][0]["verdict"], "ok");
        assert_eq!(json["cases"][0]["exporter"], "com.example.obedient");
    }
}

#[test]
fn options_are_handed_to_every_exporter() {
    let place = Place::new();
    fs::copy(plugin(), place.path("mine.so")).unwrap();
    let mut command = place.command(["plugins", "check", "mine.so", "--case", "export"]);
    let run = common::Run::of(command.args(["--options", r#"{"panic": true}"#]).output().unwrap());
    let run = run.exits(9).says(&["1 case of 1 failed"]);
    assert!(run.stdout.contains("PANIC (panic at "), "{run:#?}");
    assert!(run.stdout.contains(r#"--case export --options '{"panic": true}'"#), "{run:#?}");
}

#[test]
fn what_is_no_plugin_or_no_case_is_refused_before_anything_runs() {
    let place = Place::new();
    fs::copy(plugin(), place.path("mine.so")).unwrap();
    place.write("text.so", "#!/bin/sh\n");
    place.run("plugins check text.so").fails(9, &["plugin refused: ", "not an ELF file"]);
    place.run("plugins check none.so").fails(9, &["No such file"]);
    place.run("plugins check mine.so --case nothing").fails(2, &["no case `nothing`", "--list"]);
    place.run("plugins check mine.so@other").fails(2, &["no exporter `other`"]);
    place.run("plugins check mine.so --options [1]").fails(2, &["--options is no JSON object"]);
    place.run("plugins check mine.so --rounds 0").fails(2, &["--rounds"]);
    place.run("plugins check").fails(2, &["FILE[@ID]"]);
}

#[test]
fn a_report_that_nobody_can_read_is_no_success() {
    let place = Place::new();
    fs::copy(plugin(), place.path("mine.so")).unwrap();
    let run = place.shell("tallyport plugins check mine.so --case table > /dev/full");
    run.exits(5).says(&["stdout", "No space left"]);
}
