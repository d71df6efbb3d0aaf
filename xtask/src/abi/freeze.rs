//! `cargo xtask abi freeze`: the step from major 0 to 1, once and for good (docs/ABI.md).
//!
//! It changes what says which major this is, everywhere at once, or nothing at all. What remains is
//! printed: a record to make, tests to run, a commit.

use std::path::Path;

use super::{read, write};
use crate::Outcome;

/// Whether files are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Look,
    Write,
}

/// A file, what stands in it while the major is 0, and what from then on.
const STEPS: &[(&str, &str, &str)] = &[
    ("ffi/build.rs", "-soname,libtallyport.so.0", "-soname,libtallyport.so.1"),
    (
        "ffi/build.rs",
        "`.0` until the ABI is frozen.",
        "The number is the ABI's major (docs/ABI.md).",
    ),
    (
        "ffi/src/version.rs",
        "major << 16 | minor. Until major 1 only the same minor fits.\npub const \
         TALLYPORT_ABI_VERSION: u32 = 1;",
        "major << 16 | minor. A library serves older minors of its major.\npub const \
         TALLYPORT_ABI_VERSION: u32 = 1 << 16;",
    ),
    (
        "plugin-api/src/abi.rs",
        "pub const TALLYPORT_PLUGIN_ABI_MAJOR: u32 = 0;",
        "pub const TALLYPORT_PLUGIN_ABI_MAJOR: u32 = 1;",
    ),
    (
        "plugin-api/src/abi.rs",
        "pub const TALLYPORT_PLUGIN_ABI_MINOR: u32 = 1;",
        "pub const TALLYPORT_PLUGIN_ABI_MINOR: u32 = 0;",
    ),
    (
        "xtask/src/install/plan.rs",
        "/// The number in the library's SONAME: 0 until the ABI is frozen (docs/ABI.md).\npub(crate) \
         const SOVERSION: u32 = 0;",
        "/// The number in the library's SONAME: the ABI's major (docs/ABI.md).\npub(crate) const \
         SOVERSION: u32 = 1;",
    ),
    ("examples/build.sh", "$out/libtallyport.so.0", "$out/libtallyport.so.1"),
    ("tests/consumers/dlopen/Makefile", "libtallyport.so.0", "libtallyport.so.1"),
    ("tests/demo.rs", "libtallyport.so.0", "libtallyport.so.1"),
    ("tests/isolation.rs", "libtallyport.so.0", "libtallyport.so.1"),
    ("tests/c_hosts.rs", "libtallyport.so.0", "libtallyport.so.1"),
    ("tests/shared_arena.rs", "libtallyport.so.0", "libtallyport.so.1"),
];

const REST: &str = "\
Now, in this order:
  1. cargo xtask headers
  2. cargo xtask abi record            (writes tests/abi/v1; git rm -r tests/abi/v0)
  3. grep -rn 'major is 0\\|until the ABI is frozen\\|libtallyport.so.0' README.md docs include
  4. docs/ABI.md, CHANGELOG.md: the date of the freeze
  5. make test
  6. one commit: ABI v1 is frozen";

pub(super) fn run(root: &Path, mode: Mode) -> Outcome {
    let mut changed: Vec<(&str, String)> = Vec::new();
    for (file, from, to) in STEPS {
        let at = changed.iter().position(|(known, _)| known == file);
        let text = match at.and_then(|at| changed.get(at)) {
            Some((_, text)) => text.clone(),
            None => read(&root.join(file))?,
        };
        if !text.contains(from) {
            return Err(format!("{file}: `{from}` is not there; nothing was changed"));
        }
        let text = text.replace(from, to);
        match at.and_then(|at| changed.get_mut(at)) {
            Some(known) => known.1 = text,
            None => changed.push((file, text)),
        }
    }
    for (file, text) in &changed {
        if mode == Mode::Write {
            write(&root.join(file), text)?;
        }
        println!("{file}: {}", if mode == Mode::Write { "changed" } else { "would be changed" });
    }
    println!("{REST}");
    Ok(())
}
