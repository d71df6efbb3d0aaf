//! C and C++ compilers as tests call them: always with every warning as an error.

use std::{
    collections::HashMap,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use crate::{build_folder, repo_root, run};

/// What every C and C++ file of the repository compiles with.
pub const WARNINGS: &[&str] = &["-Wall", "-Wextra", "-Wpedantic", "-Werror"];

/// How a plugin is linked: nothing leaks out, nothing is looked up late, nothing is unmapped.
pub const PLUGIN_LINK: &[&str] =
    &["-fPIC", "-shared", "-fvisibility=hidden", "-Wl,-Bsymbolic,-z,now,-z,nodelete"];

/// The compilers that headers and samples are held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiler {
    /// GNU C.
    Gcc,
    /// GNU C++.
    Gxx,
    /// Clang for C.
    Clang,
    /// Clang for C++.
    Clangxx,
}

impl Compiler {
    /// The program.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Gcc => "gcc",
            Self::Gxx => "g++",
            Self::Clang => "clang",
            Self::Clangxx => "clang++",
        }
    }
}

/// Compiles and links `sources` to `output` with `-std=STD`, [`WARNINGS`] and our `include`.
///
/// # Errors
/// The compiler's own text when it refused.
pub fn compile(
    compiler: Compiler,
    std: &str,
    sources: &[&Path],
    flags: &[&str],
    output: &Path,
) -> Result<PathBuf, String> {
    let mut command = Command::new(compiler.program());
    command.arg(format!("-std={std}")).args(WARNINGS).arg("-g");
    command.arg("-I").arg(repo_root().join("include")).args(sources);
    // After the sources, because a library serves what stands before it.
    command.args(flags).arg("-o").arg(output);
    let said = run(&mut command);
    if said.code == Some(0) { Ok(output.to_path_buf()) } else { Err(said.stderr) }
}

/// Compiles a plugin, named by its path in `examples/plugins` or `tests/plugins`, once per process.
///
/// C as C99 with gcc, C++ as C++17 with g++. The test fails when it does not compile.
#[must_use]
pub fn plugin(file: &str) -> PathBuf {
    static BUILT: Mutex<Option<HashMap<String, PathBuf>>> = Mutex::new(None);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.get_or_insert_default().entry(file.to_owned()).or_insert_with(|| build(file)).clone()
}

fn build(file: &str) -> PathBuf {
    let places = ["examples/plugins", "tests/plugins"].map(|folder| repo_root().join(folder));
    let Some(source) = places.iter().map(|folder| folder.join(file)).find(|path| path.exists())
    else {
        panic!("no plugin {file} in examples/plugins or tests/plugins");
    };
    let (compiler, std) = match source.extension().and_then(OsStr::to_str) {
        Some("c") => (Compiler::Gcc, "c99"),
        _ => (Compiler::Gxx, "c++17"),
    };
    let mut flags = PLUGIN_LINK.to_vec();
    // The one plugin whose defect is a missing function must get past the linker.
    if file != "unresolved_symbol.c" {
        flags.push("-Wl,-z,defs");
    }
    // Another test process may have the last build loaded, so the file is replaced, not rewritten.
    let path = build_folder().join(format!("{}.so", file.replace('/', "-")));
    let fresh = path.with_extension(format!("so.{}", std::process::id()));
    let made = compile(compiler, std, &[&source], &flags, &fresh);
    if let Err(text) = made.and_then(|_| std::fs::rename(&fresh, &path).map_err(|e| e.to_string()))
    {
        panic!("{file} does not compile:\n{text}");
    }
    path
}
