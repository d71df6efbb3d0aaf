//! The interface as abidw and abidiff (abigail-tools) see it: an independent reader of types.
//!
//! The library itself is no use for that: its functions are Rust's, and so are their types. A library
//! that is compiled from the header, with functions that do nothing, has the types that hosts see.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{DUMP, HEADERS, interface::functions, read};
use crate::{Outcome, deb::tell};

/// What abidiff may see: a struct that grows at its end. `compare` says which ones may.
const SUPPRESSIONS: &str = "\
[suppress_type]
  type_kind = struct
  has_data_member_inserted_at = end
";

/// Writes the dump of headers into a record.
pub(super) fn write(place: &Path, include: &Path) -> Outcome {
    with_library(include, |library, _| {
        let dump = abidw(library)?;
        super::write(&place.join(DUMP), &dump)
    })
}

/// Compares headers with the dump of a record.
pub(super) fn check(place: &Path, include: &Path) -> Outcome {
    with_library(include, |library, folder| {
        let (new, rules) = (folder.join("new.abi"), folder.join("rules"));
        super::write(&new, &abidw(library)?)?;
        super::write(&rules, SUPPRESSIONS)?;
        let mut diff = Command::new("abidiff");
        diff.args(["--no-added-syms", "--suppressions"]).arg(&rules);
        diff.arg(place.join(DUMP)).arg(&new);
        let said = diff.output().map_err(|error| format!("abidiff: {error}"))?;
        match said.status.success() {
            true => Ok(()),
            false => Err(format!(
                "abidiff finds that the interface changed:\n{}{}",
                String::from_utf8_lossy(&said.stdout),
                String::from_utf8_lossy(&said.stderr)
            )),
        }
    })
}

fn abidw(library: &Path) -> Result<String, String> {
    let small = ["--no-show-locs", "--no-comp-dir-path", "--no-corpus-path", "--no-elf-needed"];
    tell(Command::new("abidw").args(small).arg(library))
}

/// Compiles functions that do nothing from the headers, and hands the library over.
fn with_library(include: &Path, with: impl Fn(&Path, &Path) -> Outcome) -> Outcome {
    let folder = scratch()?;
    let done = compile(include, &folder).and_then(|library| with(&library, &folder));
    let _ = fs::remove_dir_all(folder); // scratch
    done
}

fn compile(include: &Path, folder: &Path) -> Result<PathBuf, String> {
    let mut source = String::new();
    for header in HEADERS {
        source.push_str(&format!("#include \"{header}\"\n"));
    }
    for header in HEADERS {
        for (name, text) in functions(&read(&include.join(header))?) {
            let head = text.split('(').next().unwrap_or_default();
            let returns = head.strip_suffix(&name).unwrap_or_default();
            let returns = returns.replace("TALLYPORT_EXPORT", "").trim().to_owned();
            let body = match returns.as_str() {
                "void" => String::new(),
                returns => format!(" static {returns} nothing; return nothing; "),
            };
            // An attribute stands before the declaration only.
            let text = text.replace("TALLYPORT_EXPORT ", "");
            source.push_str(&format!("{text} {{{body}}}\n"));
        }
    }
    let (file, library) = (folder.join("interface.c"), folder.join("libtallyport.so"));
    super::write(&file, &source)?;
    let compiler = std::env::var("CC").unwrap_or("gcc".to_owned());
    let mut command = Command::new(compiler);
    // Debian 12's abidw reads DWARF 4 and 5; the older one is the same with every compiler.
    command.args(["-std=c11", "-gdwarf-4", "-O0", "-fPIC", "-shared", "-w", "-I"]).arg(include);
    tell(command.current_dir(folder).arg("interface.c").arg("-o").arg(&library))?;
    Ok(library)
}

/// A folder for one run.
pub(super) fn scratch() -> Result<PathBuf, String> {
    static RUNS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let run = RUNS.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("tallyport-abi-{}-{run}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}
