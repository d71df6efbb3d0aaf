//! Processes that share one arena: real ones, forked or started, killed at any time.
//!
//! `TALLYPORT_SHARED_SECONDS` and `TALLYPORT_STARTS` set the lengths; the campaign has long ones.

// A helper that fails is a test that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tallyport_tests::{Compiler, built, compile, repo_root, run};

fn host() -> &'static Path {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    HOST.get_or_init(|| {
        let library = built("libtallyport.so");
        let folder = tallyport_tests::build_folder().join("shared-arena");
        fs::create_dir_all(&folder).unwrap();
        fs::copy(library, folder.join("libtallyport.so.1")).unwrap();
        let (hosts, output) = (repo_root().join("tests/hosts"), folder.join("shared_arena"));
        let library = folder.join("libtallyport.so.1");
        let rpath = format!("-Wl,-rpath,{}", folder.display());
        let flags =
            ["-O1", "-pthread", "-I", hosts.to_str().unwrap(), library.to_str().unwrap(), &rpath];
        compile(Compiler::Gcc, "c11", &[&hosts.join("shared_arena.c")], &flags, &output)
            .unwrap_or_else(|text| panic!("{text}"));
        output
    })
}

fn length(variable: &str, short: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| short.to_owned())
}

fn go(what: &str, length: &str, configs: &[PathBuf]) {
    let output = run(Command::new(host()).arg(what).arg(length).args(configs)).success();
    print!("{what}: {}", output.stdout);
}

/// Configurations of processes that open one file, with these keys more.
fn configs(folder: &Path, more: &[&str]) -> Vec<PathBuf> {
    let arena = folder.join("metrics.arena");
    let write = |(index, more): (usize, &&str)| {
        let path = folder.join(format!("{index}.toml"));
        let text = format!(
            "schema = 1\n[recording]\nshare = \"file\"\narena = {:?}\n{more}\n",
            arena.to_str().unwrap()
        );
        fs::write(&path, text).unwrap();
        path
    };
    more.iter().enumerate().map(write).collect()
}

#[test]
fn forks_add_to_the_same_cells_exactly() {
    go("exact", &length("TALLYPORT_SHARED_SECONDS", "3"), &[]);
}

#[test]
fn forks_that_are_killed_lose_what_was_in_flight_at_most() {
    go("kill", &length("TALLYPORT_SHARED_SECONDS", "4"), &[]);
}

#[test]
fn processes_that_open_a_file_add_to_the_same_cells_exactly() {
    let folder = tempfile::tempdir().unwrap();
    let configs = configs(folder.path(), &["", "cells = \"shared\"", "", ""]);
    go("exact", &length("TALLYPORT_SHARED_SECONDS", "3"), &configs);
    // A second run goes on where the first one ended.
    go("exact", "1", &configs);
}

#[test]
fn processes_that_open_a_file_and_are_killed_lose_what_was_in_flight_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let configs = configs(folder.path(), &["", "cells = \"shared\""]);
    go("kill", &length("TALLYPORT_SHARED_SECONDS", "4"), &configs);
}

#[test]
fn series_of_one_process_are_those_of_all() {
    go("series", "0", &[]);
    let folder = tempfile::tempdir().unwrap();
    go("series", "0", &configs(folder.path(), &[""]));
}

#[test]
fn gauges_are_each_process_s_own() {
    go("gauges", "0", &[]);
    let folder = tempfile::tempdir().unwrap();
    go("gauges", "0", &configs(folder.path(), &[""]));
}

#[test]
fn code_says_where_the_arena_lies() {
    let folder = tempfile::tempdir().unwrap();
    go("options", "0", &[folder.path().join("metrics.arena")]);
}

#[test]
fn an_arena_does_not_grow_with_the_workers_that_come_and_go() {
    go("many", &length("TALLYPORT_STARTS", "1000"), &[]);
}
