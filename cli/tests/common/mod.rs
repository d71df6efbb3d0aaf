//! What the tests of the command share: real snapshot files, and runs of the real binary.

#![allow(dead_code)] // each test file uses its part
#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

use std::{
    ffi::OsStr,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::Value;
use tallyport_core::engine::Engine;
use tempfile::TempDir;

/// A folder with a snapshot `app.snap`, in which the command runs.
pub(crate) struct Place {
    folder: TempDir,
}

/// What a run did.
#[derive(Debug)]
pub(crate) struct Run {
    /// Exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        engine().save_snapshot(&folder.path().join("app.snap")).unwrap();
        Self { folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// A configuration with the test plugin under `name`; its options are TOML.
    pub(crate) fn config(&self, name: &str, options: &str) -> PathBuf {
        let plugin = plugin();
        let text = format!(
            "schema = 1\n\n[plugins.{name}]\npath = \"{}\"\noptions = {{ {options} }}\n",
            plugin.display()
        );
        self.write("tallyport.toml", text)
    }

    /// The names in the folder, sorted.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
        let mut names: Vec<_> =
            entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// The command, to be run in the folder, without our environment's configuration.
    pub(crate) fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tallyport"));
        command.current_dir(self.folder.path()).env_remove("TALLYPORT_CONFIG");
        command.stdin(Stdio::null()).args(args);
        command
    }

    /// Runs the command with words that are separated by blanks.
    pub(crate) fn run(&self, words: &str) -> Run {
        Run::of(self.command(words.split_whitespace()).output().unwrap())
    }

    /// Runs a shell script in which `tallyport` is the command.
    pub(crate) fn shell(&self, script: &str) -> Run {
        let mut command = Command::new("sh");
        command.current_dir(self.folder.path()).env_remove("TALLYPORT_CONFIG");
        let function = format!("tallyport() {{ '{}' \"$@\"; }}\n", env!("CARGO_BIN_EXE_tallyport"));
        Run::of(command.arg("-c").arg(format!("{function}{script}")).output().unwrap())
    }
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Ended with that code; else the test fails with all that it said.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Failed with that code, nothing on stdout, and all of `texts` on stderr.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, texts: &[&str]) -> Self {
        let run = self.exits(code).says(texts);
        assert_eq!(run.stdout, "", "{run:#?}");
        assert!(run.stderr.starts_with("tallyport: "), "{run:#?}");
        run
    }

    /// Has all of `texts` on stderr.
    #[track_caller]
    pub(crate) fn says(self, texts: &[&str]) -> Self {
        for text in texts {
            assert!(self.stderr.contains(text), "{text:?} is not in {self:#?}");
        }
        self
    }

    /// Said nothing to people.
    #[track_caller]
    pub(crate) fn silent(self) -> Self {
        assert_eq!(self.stderr, "", "{self:#?}");
        self
    }

    /// Stdout as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

/// An engine with one series of each kind that matters, and text that formats must escape.
pub(crate) fn engine() -> Engine {
    let engine = Engine::builder().build().unwrap();
    let metrics = engine.metrics();
    metrics
        .counter("requests_total", &[("method", "GET"), ("path", "/a\"b\\c\nd")])
        .unwrap()
        .add(7);
    metrics.counter("requests_total", &[("method", "PUT"), ("path", "/")]).unwrap().add(3);
    metrics.gauge("temperature_celsius", &[]).unwrap().set(-1.5);
    let took = metrics.histogram("request_seconds", &[], &[("method", "GET")]).unwrap();
    for value in [0.003, 0.2, 7.0] {
        took.observe(value);
    }
    engine
}

/// The test plugin, which cargo builds beside the command.
pub(crate) fn plugin() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_tallyport")).parent().unwrap();
    let suffix = if cfg!(target_os = "macos") { "dylib" } else { "so" };
    let path = folder.join(format!("examples/libobedient_plugin.{suffix}"));
    assert!(path.exists(), "{} is missing: cargo build --examples", path.display());
    path
}
