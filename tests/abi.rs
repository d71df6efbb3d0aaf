//! The promise of docs/ABI.md: what was recorded of the C interface holds, an old host runs with the
//! present library, an old plugin is loaded by it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tallyport_tests::{Output, PLUGIN_LINK, build_folder, built, repo_root, run, xtask};

/// The records, one folder for each major that is served.
fn records() -> Vec<PathBuf> {
    let folders = fs::read_dir(repo_root().join("tests/abi")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let folders: Vec<PathBuf> = folders.collect();
    assert!(!folders.is_empty(), "tests/abi has no record");
    folders
}

fn check(include: &Path) -> Output {
    run(xtask(&["abi", "check", "--include"]).arg(include))
}

#[test]
fn what_was_recorded_of_the_interface_holds() {
    let _ = check(&repo_root().join("include")).success();
}

/// A copy of the headers in which `from` is `to`.
fn drifted(name: &str, header: &str, from: &str, to: &str) -> PathBuf {
    let folder = build_folder().join(format!("abi-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    for file in ["tallyport.h", "tallyport_plugin.h"] {
        let text = fs::read_to_string(repo_root().join("include").join(file)).unwrap();
        let changed = if file == header { text.replace(from, to) } else { text.clone() };
        assert_eq!(file == header, changed != text, "`{from}` is not in {file}");
        fs::write(folder.join(file), changed).unwrap();
    }
    folder
}

#[test]
fn a_change_that_breaks_is_found_and_named() {
    for (name, header, from, to, said) in [
        (
            "value",
            "tallyport.h",
            "TALLYPORT_LIMIT 6",
            "TALLYPORT_LIMIT 60",
            "TALLYPORT_LIMIT was 6",
        ),
        (
            "argument",
            "tallyport.h",
            "void tallyport_gauge_set(const struct tallyport_gauge *gauge, double value);",
            "void tallyport_gauge_set(const struct tallyport_gauge *gauge, float value);",
            "tallyport_gauge_set was declared",
        ),
        (
            "order",
            "tallyport.h",
            "    uint64_t queue_events;\n",
            "    uint32_t before;\n    uint64_t queue_events;\n",
            "tallyport_listener_options: field 7",
        ),
    ] {
        // A comment may stand between the fields: the fields alone are what is replaced.
        let include = drifted(name, header, from, to);
        let found = check(&include);
        assert_ne!(found.code, Some(0), "{name}");
        assert!(found.stdout.contains(said), "{name}: {found:?}");
    }
}

#[test]
fn abidiff_finds_by_itself_what_the_list_would_forget() {
    // A type behind a name, of the same size: the declarations stay as they are.
    let from = "typedef int32_t tallyport_status;";
    let include = drifted("typedef", "tallyport.h", from, "typedef uint32_t tallyport_status;");
    // Both headers declare it; the second one is not read again.
    let header = include.join("tallyport_plugin.h");
    let text =
        fs::read_to_string(&header).unwrap().replace(from, "typedef uint32_t tallyport_status;");
    fs::write(&header, text).unwrap();
    let found = check(&include);
    assert_ne!(found.code, Some(0));
    assert!(found.stderr.contains("abidiff finds"), "{found:?}");
}

/// Compiles a file of a record with that record's headers only, into a folder of the test's own: another
/// test may be running the same.
fn compile(record: &Path, source: &str, flags: &[&str], folder: &Path) -> PathBuf {
    let output = folder.join(format!("{source}.out"));
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=c11", "-g", "-I"]).arg(record).arg(record.join(source)).args(flags);
    let _ = run(gcc.arg("-o").arg(&output)).success();
    output
}

#[test]
fn an_old_host_with_an_old_plugin_runs_with_the_present_library() {
    let library = built("libtallyport.so");
    let folder = build_folder().join(format!("abi-{}-lib", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let said = run(Command::new("readelf").arg("-dW").arg(&library)).success().stdout;
    let soname = said.split("Library soname: [").nth(1).unwrap().split(']').next().unwrap();
    fs::copy(&library, folder.join(soname)).unwrap();
    for record in records() {
        let work = tempfile::tempdir().unwrap();
        let built = tempfile::tempdir().unwrap();
        let plugin = compile(&record, "good_minimal.c", PLUGIN_LINK, built.path());
        let path = folder.join(soname);
        let library = [path.to_str().unwrap(), "-lm"];
        let host = compile(&record, "every_call.c", &library, built.path());
        let mut old = Command::new(host);
        old.env("LD_LIBRARY_PATH", &folder).arg(&plugin).arg(work.path());
        let said = run(&mut old).success();
        assert_eq!(said.stderr, "", "{}", record.display());
    }
}

#[test]
fn an_old_plugin_keeps_the_contract_as_the_present_kit_checks_it() {
    let command = built("tallyport");
    for record in records() {
        let folder = tempfile::tempdir().unwrap();
        let plugin = compile(&record, "good_minimal.c", PLUGIN_LINK, folder.path());
        let said = run(Command::new(&command).args(["plugins", "inspect"]).arg(&plugin)).success();
        assert!(said.stdout.contains("com.example.good-minimal"), "{said:?}");
    }
}
