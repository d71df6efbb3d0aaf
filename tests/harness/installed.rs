//! An installation of what the tests' profile built, and how programs find it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{build_folder, built, repo_root, run};

/// The prefix that the installation believes it has.
pub const PREFIX: &str = "/opt/tallyport";

/// A tree that `cargo xtask install` made.
#[derive(Debug)]
pub struct Installed {
    root: PathBuf,
}

/// The folder in which cargo put the library, the command, the helper and the exporters.
#[must_use]
pub fn everything_built() -> PathBuf {
    let library = built("libtallyport.so");
    library.parent().unwrap_or(&library).to_path_buf()
}

/// Runs a verb of `cargo xtask`.
#[must_use]
pub fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(built("xtask"));
    command.current_dir(repo_root()).args(arguments);
    command
}

/// The installation of this process's tests, made once.
#[must_use]
pub fn installed() -> &'static Installed {
    static MADE: OnceLock<Installed> = OnceLock::new();
    MADE.get_or_init(|| {
        let root = build_folder().join(format!("installed-{}", std::process::id()));
        Installed::make(&root, &[])
    })
}

impl Installed {
    /// Installs below `root`.
    #[must_use]
    pub fn make(root: &Path, more: &[&str]) -> Self {
        let built = everything_built();
        let (from, destdir) = (built.to_string_lossy(), root.to_string_lossy());
        let mut install = xtask(&["install", "--prefix", PREFIX, "--from", &from]);
        let _ = run(install.args(["--destdir", &destdir]).args(more)).success();
        Self { root: root.to_path_buf() }
    }

    /// The prefix, as it lies in this system.
    #[must_use]
    pub fn prefix(&self) -> PathBuf {
        self.root.join(PREFIX.trim_start_matches('/'))
    }

    /// The folder of libraries.
    #[must_use]
    pub fn lib(&self) -> PathBuf {
        self.prefix().join("lib")
    }

    /// A command that finds the installation: when it compiles, and when it runs what was compiled.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env("PKG_CONFIG_PATH", self.lib().join("pkgconfig"))
            .env("PKG_CONFIG_SYSROOT_DIR", &self.root)
            .env("CMAKE_PREFIX_PATH", self.prefix())
            .env("LD_LIBRARY_PATH", self.lib());
        command
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        // What is left behind lies beside cargo's own files and goes with them.
        let _ = fs::remove_dir_all(&self.root);
    }
}
