//! The conformance kit: green on what is fit, and for each unfit plugin the case of its defect.
//!
//! What each file of `tests/plugins/unfit` breaks, and which cases say so, stands in the table of
//! its README, which is read here: a kit that cannot fail is worth nothing.

// A helper that fails is a test that fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;
use tallyport_tests::{Output, built, plugin, repo_root, run};

/// Runs `plugins check` on a file; the seed is fixed, so that a table can say what fails.
fn check(file: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(built("tallyport"));
    command.args(["plugins", "check"]).arg(file).args(["--report", "json"]).args(flags);
    run(&mut command)
}

fn json(said: &Output) -> Value {
    serde_json::from_str(&said.stdout).unwrap_or_else(|e| panic!("{e}: {said:#?}"))
}

/// Names of the cases with that verdict.
fn cases(report: &Value, verdict: &str) -> BTreeSet<String> {
    let of = |case: &Value| case["case"].as_str().unwrap().to_owned();
    let all = report["cases"].as_array().unwrap().iter();
    all.filter(|case| case["verdict"] == verdict).map(of).collect()
}

fn passes(file: &Path, skipped: &[&str]) {
    // A seed of its own each time: what fails prints it.
    let said = check(file, &[]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let report = json(&said);
    let wanted: BTreeSet<String> = skipped.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(cases(&report, "skipped"), wanted, "{}", file.display());
    assert_eq!(report["failed"], 0);
    assert!(report["passed"].as_u64().unwrap() >= 28, "{}", file.display());
    assert!(report["notes"][0].as_str().unwrap().contains("build tree"));
}

#[test]
fn the_samples_pass_every_case() {
    let rust = built("libtallyport_example_statsd.so");
    let always = ["sink-windows", "deadline"];
    passes(&plugin("statsd_lines.c"), &[&always[..], &["shutdown-twice"]].concat());
    passes(&plugin("statsd_lines.cpp"), &always);
    passes(&rust, &always);
    let small = ["options", "error-text", "shutdown-twice", "concurrent"];
    passes(&plugin("template.c"), &[&always[..], &small].concat());
}

#[test]
fn our_own_exporters_pass_every_case() {
    let file = "libtallyport_builtin_exporters_loadable.so";
    let said = check(&built(file), &[]);
    assert_eq!(said.code, Some(0), "{said:#?}");
    let report = json(&said);
    let ids: Vec<_> =
        report["exporters"].as_array().unwrap().iter().map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, [Some("prometheus"), Some("json"), Some("csv")]);
    let skipped = cases(&report, "skipped");
    assert!(!skipped.contains("cancel"), "one of them never asks whether it is cancelled");
}

/// Rows of the table: file, what is wrong, cases that fail.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let text = fs::read_to_string(repo_root().join("tests/plugins/unfit/README.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `"));
    let row = |line: &str| {
        let cells: Vec<_> = line.trim_end_matches('|').split('|').map(str::trim).collect();
        let file = cells[0].trim_end_matches('`').to_owned();
        let names = cells[2].split(", ").filter(|name| !name.is_empty());
        (file, names.map(|name| name.trim_matches('`').to_owned()).collect())
    };
    rows.map(row).collect()
}

#[test]
fn the_kit_fails_what_is_bad_under_the_name_of_the_case() {
    let mut rows = table();
    let folder = repo_root().join("tests/plugins/unfit");
    let files = fs::read_dir(folder).unwrap();
    let files = files.map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    let files: BTreeSet<_> = files.filter(|name| name.ends_with(".c")).collect();
    let listed: BTreeSet<_> = rows.iter().map(|(file, _)| file.clone()).collect();
    assert_eq!(files, listed, "the table of the README and the folder");
    // Those that wait for a time limit go first, and beside those that work.
    let waits = ["hangs.c", "hangs_at_load.c", "ignores_deadline.c", "leaves_thread.c"];
    rows.sort_by_key(|(file, _)| !waits.contains(&file.as_str()));
    let next = AtomicUsize::new(0);
    let wrong: Vec<String> = thread::scope(|scope| {
        let work = || {
            let mut wrong = Vec::new();
            while let Some((file, wanted)) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                wrong.extend(unfit(file, wanted));
            }
            wrong
        };
        let running: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Checks one unfit plugin; what is not as the table says.
fn unfit(file: &str, wanted: &BTreeSet<String>) -> Option<String> {
    let path = plugin(&format!("unfit/{file}"));
    let mut flags = vec!["--seed=1", "--rounds=6", "--series=10500", "--jobs=1"];
    // A hang costs its whole time limit in each case, a flood much memory: one of them has to do.
    if file.starts_with("hangs") || file == "floods.c" {
        flags.extend(["--timeout=3", "--case=load", "--case=export"]);
    }
    let said = check(&path, &flags);
    let failed = cases(&json(&said), "failed");
    let code = if wanted.is_empty() { 0 } else { 9 };
    (failed != *wanted || said.code != Some(code))
        .then(|| format!("{file}: failed {failed:?}, not {wanted:?}\n{}", said.stdout))
}

#[test]
fn every_case_of_the_kit_is_failed_by_some_plugin() {
    let failed: BTreeSet<String> = table().into_iter().flat_map(|(_, cases)| cases).collect();
    let listed =
        run(Command::new(built("tallyport"))
            .args(["plugins", "check", "--list", "--report", "json"]));
    let listed: Value = serde_json::from_str(&listed.success().stdout).unwrap();
    let all = listed["cases"].as_array().unwrap().iter();
    let all: BTreeSet<String> = all.map(|case| case["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(failed, all);
}

#[test]
fn a_failure_of_a_random_case_is_had_again_with_its_line() {
    let path = plugin("unfit/ignores_sink.c");
    let report = json(&check(&path, &["--case", "short-sink"]));
    let again = report["cases"][0]["reproduce"].as_str().unwrap().to_owned();
    assert!(again.contains(&format!("--seed {}", report["seed"])), "{again}");
    let text = report["cases"][0]["text"].as_str().unwrap();
    assert!(text.contains("the sink answered"), "{text}");
    let words: Vec<&str> = again.split(' ').collect();
    assert_eq!(words[..3], ["tallyport", "plugins", "check"]);
    let command = built("tallyport");
    let second = run(Command::new(command).args(&words[1..]));
    assert_eq!(second.code, Some(9), "{second:#?}");
    assert!(second.stdout.contains(text), "{second:#?}");
}

#[test]
fn a_process_that_hangs_is_killed_with_all_that_it_started() {
    // Files of our own: other tests run the same plugins.
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str| {
        let path = folder.path().join(name);
        fs::copy(plugin(&format!("unfit/{name}.c")), &path).unwrap();
        path
    };
    let path = copy("hangs");
    let said = check(&path, &["--case=export", "--timeout=3"]);
    let report = json(&said);
    let text = report["cases"][0]["text"].as_str().unwrap();
    assert!(text.contains("did not come back within 3 s, and was killed"), "{text}");
    assert!(processes(&path).is_empty());
    let left = copy("leaves_process");
    assert_eq!(check(&left, &["--case=nothing-left"]).code, Some(9));
    assert!(processes(&left).is_empty(), "a process that the plugin left is killed with its group");
}

/// Processes that have the file in their memory.
fn processes(file: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let maps = |process: &PathBuf| fs::read_to_string(process.join("maps")).unwrap_or_default();
    all.filter(|process| maps(process).contains(&*file.to_string_lossy())).collect()
}
