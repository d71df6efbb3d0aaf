//! A prefork family whose workers all sync, killed at any time: nothing is doubled or lost in a store.
//!
//! `TALLYPORT_PREFORK_SECONDS` sets the length of one run.

// A helper that fails is a test that fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

#[path = "../core/src/store/testing.rs"]
mod testing;

use std::{fs, path::PathBuf, process::Command, sync::OnceLock};

use tallyport_tests::{Compiler, build_folder, built, compile, repo_root, run};
use testing::RedisServer;

fn host() -> &'static PathBuf {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    HOST.get_or_init(|| {
        let folder = build_folder().join("prefork");
        fs::create_dir_all(&folder).unwrap();
        let library = folder.join("libtallyport.so.1");
        fs::copy(built("libtallyport.so"), &library).unwrap();
        let (hosts, output) = (repo_root().join("tests/hosts"), folder.join("prefork"));
        let rpath = format!("-Wl,-rpath,{}", folder.display());
        let flags = ["-O1", "-I", hosts.to_str().unwrap(), library.to_str().unwrap(), &rpath];
        compile(Compiler::Gcc, "c11", &[&hosts.join("prefork.c")], &flags, &output)
            .unwrap_or_else(|text| panic!("{text}"));
        output
    })
}

/// Leases end between two syncs of a killed family, too.
fn stands_it(store: &str) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tallyport.toml");
    let text = format!(
        "schema = 1\n[store]\n{store}\ndeadline_ms = 20000\n\
         [sync]\ninterval_ms = 20\nlease_ms = 300\n"
    );
    fs::write(&config, text).unwrap();
    let seconds = std::env::var("TALLYPORT_PREFORK_SECONDS").unwrap_or_else(|_| "5".into());
    let output = run(Command::new(host()).arg(&config).arg(seconds)).success();
    print!("{}", output.stdout);
}

#[test]
fn workers_that_are_killed_while_they_publish_double_and_lose_nothing_in_sqlite() {
    stands_it("kind = \"sqlite\"\npath = \"store.db\"");
}

#[test]
fn workers_that_are_killed_while_they_publish_double_and_lose_nothing_in_redis() {
    let server = RedisServer::start(&[]);
    stands_it(&format!("kind = \"redis\"\nurl = \"{}\"", server.url()));
}
