//! What tests of several crates share: where things are, how to build them, how to run them.
//!
//! - [`plugin`] compiles a plugin of `examples/plugins` or `tests/plugins` from C or C++.
//! - [`built`] builds the workspace and names a file that came out.
//! - [`compile`] and [`run`] are what these are made of; [`copy_program`] makes one that is a test's own.
//! - [`python`] runs an independent reader of what was exported.
//! - [`served`] runs `tallyport serve`, and asks it.
//!
//! A tool that is missing fails the test: a skipped check looks like a passed one.

#![allow(clippy::panic)] // a harness fails a test by panicking, with the whole output as the text

mod cc;
mod installed;
pub mod served;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

pub use cc::{Compiler, PLUGIN_LINK, WARNINGS, compile, plugin};
pub use installed::{Installed, PREFIX, everything_built, installed, xtask};

/// The repository.
#[must_use]
pub fn repo_root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// What a finished command said.
#[derive(Debug, Clone)]
pub struct Output {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// Itself, when the command ended with 0; else the test fails with all that it said.
    #[must_use]
    pub fn success(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// Copies a program to where a test runs it.
///
/// By another process: what this one has open to be written, a test beside may hand on to a child that it
/// forks just then, and nobody can run it (`ETXTBSY`) until that has run its own program.
pub fn copy_program(from: &Path, to: &Path) {
    let _ = run(Command::new("cp").arg(from).arg(to)).success();
}

/// Runs a command to its end. One that cannot be started fails the test.
pub fn run(command: &mut Command) -> Output {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{command:?}: {error}; `make setup` installs what tests need"),
    };
    Output {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Where cargo put the running test, and with which options it has to be called for the same.
struct Profile {
    folder: PathBuf,
    options: Vec<String>,
}

impl Profile {
    /// `target[/TRIPLE]/PROFILE`, read off the path of the running test in its `deps`.
    fn current() -> Self {
        let test = std::env::current_exe().unwrap_or_else(|e| panic!("current_exe: {e}"));
        let name = |path: &Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
        let folder = test.ancestors().nth(2).unwrap_or(&test).to_path_buf();
        let profile = name(&folder).filter(|name| name != "debug").unwrap_or("dev".to_owned());
        let mut options = vec!["--profile".to_owned(), profile];
        let mut target = folder.parent().unwrap_or(&folder);
        // A cross or sanitizer build has one folder more, named after its target.
        if let Some(triple) = name(target).filter(|name| name.matches('-').count() >= 2) {
            options.extend(["--target".to_owned(), triple]);
            target = target.parent().unwrap_or(target);
        }
        options.extend(["--target-dir".to_owned(), target.to_string_lossy().into_owned()]);
        Self { folder, options }
    }
}

/// A reader of `tests/readers`, with the Python that has what it needs.
#[must_use]
pub fn python(script: &str) -> Command {
    let own = repo_root().join(".venv/bin/python");
    let mut command = Command::new(if own.exists() { own } else { "python3".into() });
    command.arg("-B").arg(repo_root().join("tests/readers").join(script));
    command
}

/// A folder for what tests build, beside cargo's own files and removed with them.
#[must_use]
pub fn build_folder() -> PathBuf {
    let folder = Profile::current().folder.join("test-files");
    fs::create_dir_all(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    folder
}

/// What else is built for the tests: with a target that has development dependencies, a build of the whole
/// workspace has the features that `cargo test --workspace` has, and nothing is compiled twice.
const WITH: [&str; 2] = ["--example", "hello"];

/// Builds the workspace's libraries and programs with the current profile, once per process, and returns
/// the path of one: `built("libtallyport.so")`.
#[must_use]
pub fn built(file: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let folder = BUILT.get_or_init(|| {
        let profile = Profile::current();
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
        command.current_dir(repo_root()).args(["build", "--quiet", "--workspace"]);
        command.args(["--lib", "--bins"]).args(WITH).args(&profile.options);
        let _ = run(&mut command).success();
        profile.folder
    });
    let path = folder.join(file);
    assert!(path.exists(), "the workspace was built without {}", path.display());
    path
}

/// The Rust blocks of the README, as documentation tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The Rust block of docs/EVENTS.md.
#[cfg(doctest)]
#[doc = include_str!("../../docs/EVENTS.md")]
struct Events;

/// The Rust block of docs/HOSTS.md.
#[cfg(doctest)]
#[doc = include_str!("../../docs/HOSTS.md")]
struct Hosts;

/// The Rust blocks of the vendor's guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/PLUGINS.md")]
struct VendorsGuide;
