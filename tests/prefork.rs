//! A prefork family whose workers all sync, killed at any time: nothing is doubled or lost in a store.
//! A master that forks in the middle of a step of SQLite.
//!
//! `TALLYPORT_PREFORK_SECONDS` sets the length of one run, `TALLYPORT_SQLITE_FORKS` the number of children.

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

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use tallyport_tests::{Compiler, build_folder, built, compile, repo_root, run};
use testing::RedisServer;

/// The folder with the library and the hosts.
fn hosts() -> &'static Path {
    static HOSTS: OnceLock<PathBuf> = OnceLock::new();
    HOSTS.get_or_init(|| {
        let folder = build_folder().join("prefork");
        fs::create_dir_all(&folder).unwrap();
        let library = folder.join("libtallyport.so.1");
        fs::copy(built("libtallyport.so"), &library).unwrap();
        let hosts = repo_root().join("tests/hosts");
        let rpath = format!("-Wl,-rpath,{}", folder.display());
        let flags =
            ["-O1", "-pthread", "-I", hosts.to_str().unwrap(), library.to_str().unwrap(), &rpath];
        for name in ["prefork", "sqlite_forks"] {
            let source = hosts.join(name).with_extension("c");
            compile(Compiler::Gcc, "c11", &[&source], &flags, &folder.join(name))
                .unwrap_or_else(|text| panic!("{text}"));
        }
        folder
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
    let output = run(Command::new(hosts().join("prefork")).arg(&config).arg(seconds)).success();
    print!("{}", output.stdout);
}

#[test]
fn workers_that_are_killed_while_they_publish_double_and_lose_nothing_in_sqlite() {
    stands_it("kind = \"sqlite\"\npath = \"store.db\"");
}

/// A host that forks while a thread of it syncs into a SQLite file.
fn forks_in_a_step(share: &str, what: impl FnOnce(&mut Command, &Path)) {
    // In memory, where there is room: hundreds of processes commit.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.unwrap();
    let config = folder.path().join("tallyport.toml");
    let text = format!(
        "schema = 1\n[recording]\nshare = \"{share}\"\n[store]\nkind = \"sqlite\"\n\
         path = \"store.db\"\ndeadline_ms = 20000\n"
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new(hosts().join("sqlite_forks"));
    command.arg(&config);
    what(&mut command, folder.path());
    let output = run(&mut command).success();
    print!("{}", output.stdout);
}

#[test]
fn children_of_a_master_that_syncs_into_sqlite_sync_at_once() {
    let children = std::env::var("TALLYPORT_SQLITE_FORKS").unwrap_or_else(|_| "300".into());
    for share in ["auto", "reset"] {
        forks_in_a_step(share, |command, _| {
            command.arg(&children);
        });
    }
}

#[test]
fn a_child_of_a_fork_that_waited_in_vain_for_sqlite_says_so_and_does_not_hang() {
    forks_in_a_step("reset", |command, folder| {
        command.arg("late").arg(folder.join("store.db"));
    });
}

#[test]
fn workers_that_are_killed_while_they_publish_double_and_lose_nothing_in_redis() {
    let server = RedisServer::start(&[]);
    stands_it(&format!("kind = \"redis\"\nurl = \"{}\"", server.url()));
}
