//! The command line itself: help, version, and words that it does not know.

#![allow(clippy::unwrap_used)] // a test fails by panicking

mod common;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

use common::{Place, Run};
use tallyport_plugin_api::abi;

const VERBS: [&str; 9] = [
    "export",
    "serve",
    "status",
    "plugins list",
    "plugins inspect",
    "config check",
    "config schema",
    "man",
    "completions",
];

#[test]
fn every_verb_has_help_with_an_example_of_itself() {
    let place = Place::new();
    for verb in VERBS {
        let help = place.run(&format!("{verb} --help")).exits(0).silent().stdout;
        let (_, examples) = help.split_once("Examples:").unwrap();
        assert!(examples.contains(&format!("tallyport {verb}")), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
        assert_eq!(place.run(&format!("help {verb}")).exits(0).stdout, help);
    }
}

#[test]
fn the_examples_of_the_help_are_command_lines() {
    let place = Place::new();
    let mut examples = 0;
    for verb in VERBS {
        let help = place.run(&format!("{verb} --help")).exits(0).stdout;
        for line in help.lines().filter_map(|line| line.trim().strip_prefix("tallyport ")) {
            let words =
                line.split_whitespace().take_while(|word| !matches!(*word, ">" | "|" | "&&"));
            let mut command = place.command(words);
            if verb == "serve" {
                // It would serve until a signal ends it; without its configuration it does not.
                command.env("TALLYPORT_CONFIG", "nowhere.toml");
            }
            let run = Run::of(command.output().unwrap());
            // They name files that are not here; what counts is that the grammar takes them.
            assert_ne!(run.code, Some(2), "{line}: {run:#?}");
            examples += 1;
        }
    }
    assert!(examples >= 10, "{examples}");
}

#[test]
fn the_long_help_lists_the_exit_codes_and_the_environment() {
    let help = Place::new().run("--help").exits(0).silent().stdout;
    for code in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 130, 141, 143] {
        let line = help.lines().find(|line| line.starts_with(&format!("  {code:>3}  ")));
        assert!(line.is_some(), "{code}: {help}");
    }
    assert!(help.contains("TALLYPORT_CONFIG"), "{help}");
    assert!(help.contains("tallyport export --from"), "{help}");
}

#[test]
fn the_version_names_the_plugin_abi() {
    let place = Place::new();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(place.run("-V").exits(0).silent().stdout, format!("tallyport {version}\n"));
    let long = place.run("--version").exits(0).silent().stdout;
    let (major, minor) = (abi::TALLYPORT_PLUGIN_ABI_MAJOR, abi::TALLYPORT_PLUGIN_ABI_MINOR);
    assert_eq!(long, format!("tallyport {version}\nplugin ABI {major}.{minor}\n"));
}

#[test]
fn what_clap_refuses_is_usage() {
    let place = Place::new();
    place.run("exprot").fails(2, &["tallyport: usage: ", "exprot", "'export'"]);
    place.run("export --fromm x").fails(2, &["--fromm", "'--from'"]);
    place.run("export --from").fails(2, &["--from"]);
    place.run("export --report xml").fails(2, &["xml", "text", "json"]);
    place.run("plugins inspect").fails(2, &["FILE|NAME"]);
    place.run("-q -v plugins list").fails(2, &["--quiet", "--verbose"]);
}

#[test]
fn a_command_without_its_verb_shows_help_on_stderr() {
    let place = Place::new();
    for words in ["", "plugins", "config"] {
        let run = place.run(words).exits(2).says(&["Usage: tallyport", "Commands:"]);
        assert_eq!(run.stdout, "");
    }
}

#[test]
fn arguments_that_are_not_utf8_are_refused_or_used_and_never_panic() {
    let place = Place::new();
    let odd = OsStr::from_bytes(b"\xff\xfe.snap");
    let run = |args: &[&OsStr]| Run::of(place.command(args).output().unwrap());
    let word = OsStr::new;
    run(&[odd]).exits(2);
    run(&[word("export"), word("--from"), word("app.snap"), word("--format"), odd]).exits(2);
    run(&[word("export"), word("--from"), odd, word("--format"), word("json")]).exits(7);
    run(&[word("plugins"), word("inspect"), odd]).exits(9);
    run(&[word("config"), word("check"), word("--config"), odd]).exits(3);
    let to = [word("export"), word("--from"), word("app.snap"), word("-f"), word("json")];
    run(&[&to[..], &[word("-o"), odd, word("--report"), word("json")]].concat()).exits(0);
    assert!(std::fs::metadata(place.path("").join(odd)).unwrap().is_file());
}

#[test]
fn the_configuration_may_come_from_the_environment() {
    let place = Place::new();
    place.write("bad.toml", "schema = 2\n");
    place.write("good.toml", "schema = 1\n");
    let with = |file: &str, words: &str| {
        let mut command = place.command(words.split_whitespace());
        Run::of(command.env("TALLYPORT_CONFIG", file).output().unwrap())
    };
    with("bad.toml", "config check").fails(3, &["bad.toml:1:", "$TALLYPORT_CONFIG"]);
    with("bad.toml", "config check --config good.toml").exits(0);
    with("", "plugins list").exits(0);
}
