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
        "/// Major version of the plugin ABI. 0 until it is frozen: until then minors must match too.",
        "/// Major version of the plugin ABI.",
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
    ("tests/prefork.rs", "libtallyport.so.0", "libtallyport.so.1"),
    ("tests/shared_arena.rs", "libtallyport.so.0", "libtallyport.so.1"),
    ("bindings/ruby/lib/tallyport/library.rb", "    ABI = 1\n", "    ABI = 1 << 16\n"),
    ("plugin-api/src/layout_check.rs", "ABI 0.1", "ABI 1.0"),
    ("plugin-api/src/layout_check.rs", "v0_1", "v1_0"),
    ("plugin-api/src/export.rs", "v0_1", "v1_0"),
    ("cli/src/plugins/links.rs", "v0_1", "v1_0"),
    ("tests/plugin_samples.rs", "v0_1", "v1_0"),
    (
        "docs/ABI.md",
        "**Today the major of both is 0**: another minor may break, and is refused where it does. The \
         SONAME is\n`libtallyport.so.0`. From the freeze on (`cargo xtask abi freeze`) it is 1, \
         `libtallyport.so.1`, and\nwhat follows is promised.",
        "**The major of both is 1, and frozen**: the SONAME is `libtallyport.so.1`, and what follows is \
         promised.",
    ),
    (
        "docs/ABI.md",
        "Something that breaks, while the major is 0: the same, and `cargo xtask abi record` in the same \
         commit.\nFrom the freeze on that command refuses it.",
        "Something that breaks is refused by that command: it is another function, another struct, or \
         another\nmajor beside this one.",
    ),
    (
        "docs/ABI.md",
        "One step, once: `cargo xtask abi freeze` changes SONAME and majors wherever they stand, or \
         nothing if one\nof the places is not as it expects (`the_freeze_is_prepared` keeps them so), and \
         prints what remains:\nheaders, the record of v1, the documents, one commit.",
        "It was one step, `cargo xtask abi freeze`, which is of no use any more: it changed SONAME and \
         majors wherever\nthey stood, and would have changed nothing if one of the places had not been as \
         it expected.",
    ),
    (
        "docs/PLUGINS.md",
        "`TALLYPORT_PLUGIN_SERVES(host_abi)` is what the entry point asks. While the ABI's major is 0, \
         another\nminor is another ABI: build anew for each. From 1.0 on structs grow at their end only, \
         a plugin built\nfor 1.0 works",
        "`TALLYPORT_PLUGIN_SERVES(host_abi)` is what the entry point asks. Structs grow at their end only: \
         a plugin\nbuilt for 1.0 works",
    ),
    (
        "CHANGELOG.md",
        "- The growth rule of the plugin ABI: from 1.0 on every minor of a major serves every other;\n  \
         `TALLYPORT_PLUGIN_SERVES(host_abi)` is what an entry point asks. While the major is 0, as \
         now,\n  another minor is refused.",
        "- ABI v1 is frozen, of `tallyport.h` and of `tallyport_plugin.h`: docs/ABI.md has the promise. \
         The SONAME is\n  `libtallyport.so.1`. Every minor of a major serves every other; \
         `TALLYPORT_PLUGIN_SERVES(host_abi)` is what\n  an entry point asks.",
    ),
    ("CHANGELOG.md", "- The plugin ABI 0.1 (", "- The plugin ABI ("),
    ("docs/HOSTS.md", "libtallyport.so.0", "libtallyport.so.1"),
    ("docs/HOSTS.md", "build/deb: libtallyport0,", "build/deb: libtallyport1,"),
];

const REST: &str = "\
Now, in this order:
  1. cargo xtask headers
  2. cargo xtask abi record            (writes tests/abi/v1; git rm -r tests/abi/v0)
  3. grep -rn 'major is 0\\|until the ABI is frozen\\|libtallyport.so.0\\|ABI 0\\.1' README.md docs include
  4. make test
  5. one commit: ABI v1 is frozen";

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
