//! `cargo xtask unsafe-check`: the word `unsafe` stands in the files named here and in no other.
//!
//! The compiler checks that unsafe code is written down; this checks that it stays where a reader
//! looks for it. Comments and literals do not count, nor does the form of a C entry.

use std::{fs, path::Path};

use crate::{Outcome, headers::rust_files};

/// A file, or a folder (ending in `/`), and why it cannot do without.
const ALLOWED: &[(&str, &str)] = &[
    ("plugin-api/src/abi.rs", "types of foreign functions; Sync for tables that never change"),
    ("plugin-api/src/raw.rs", "the SDK's only place where a pointer becomes a reference"),
    ("plugin-api/src/export.rs", "entries that a host calls; the macro's exported symbols"),
    ("plugin-api/src/layout_check.rs", "abi_stable's header and erased root module"),
    ("plugin-api/src/testing/", "a host for exporters under test: it calls through the tables"),
    ("core/src/model/platform/", "system calls, one module per system"),
    ("core/src/model/lock/raw.rs", "raw locks: lock_api takes their word that they exclude"),
    ("core/src/metrics/arena/", "cells shared between threads and mapped memory"),
    ("core/src/snapshot/memory.rs", "columns as typed slices of one block"),
    ("core/src/plugin/image.rs", "dlopen, dlsym, dladdr; the memory of what was loaded"),
    ("core/src/plugin/isolation/spawn.rs", "posix_spawn"),
    ("core/src/plugin/isolation/confine.rs", "a process's own descriptors, limits and end"),
    ("core/src/plugin/isolation/map.rs", "memory that the host shares, by address"),
    ("core/src/plugin/load.rs", "calls the entry point of a plugin, and reads what it returns"),
    ("core/src/plugin/host.rs", "the services that plugins call: pointers come in"),
    ("core/src/plugin/table.rs", "tables of a loaded plugin, read up to their size"),
    ("core/src/plugin/exporter.rs", "calls into a plugin"),
    ("cli/src/descriptors.rs", "a constructor that looks at stdout before std does"),
    ("cli/src/kit/sys/", "the conformance kit as a host: tables, guarded memory, processes, fork"),
    ("ffi/src/handles.rs", "handles become references"),
    ("ffi/src/boundary.rs", "the shape of every C entry"),
    ("ffi/src/callback.rs", "functions of the host, called with their data"),
    ("ffi/src/store_functions.rs", "calls the functions of a host's store"),
    ("ffi/src/text.rs", "C strings and buffers"),
    ("core/tests/table_model.rs", "loom's cells, as in grace_model.rs"),
    ("core/tests/forks.rs", "fork and clone, which is what it tests"),
    ("core/tests/gate_model.rs", "loom's cells, as in grace_model.rs"),
    ("core/tests/lock_model.rs", "loom's cells, as in grace_model.rs"),
    ("core/tests/grace_model.rs", "loom's cells, whose access is unsafe so that loom sees it"),
    ("benches/src/raw/", "affinity, bare sections, libraries by name: no part of a release"),
    ("tests/stress/race.rs", "the race that ThreadSanitizer must report"),
];

/// Never ours, or never compiled into anything.
const SKIPPED: &[&str] = &["target", ".git", ".venv", "build", "node_modules"];

/// Reports every `unsafe` outside [`ALLOWED`].
pub(crate) fn run(root: &Path, args: &[&str]) -> Outcome {
    if !args.is_empty() {
        return Err("usage: cargo xtask unsafe-check".to_owned());
    }
    let mut found = 0_usize;
    for folder in fs::read_dir(root).map_err(|e| e.to_string())? {
        let folder = folder.map_err(|e| e.to_string())?;
        let skipped = folder.file_name().to_str().is_none_or(|name| SKIPPED.contains(&name));
        if skipped || !folder.path().is_dir() {
            continue;
        }
        for file in rust_files(&folder.path())? {
            let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
            if allowed(&name) {
                continue;
            }
            let source = fs::read_to_string(&file).map_err(|e| format!("{name}: {e}"))?;
            for line in unsafe_lines(&source) {
                println!("{name}:{line}: `unsafe` in a file that is not on the list");
                found += 1;
            }
        }
    }
    if found == 0 {
        println!("unsafe code stands in the {} listed places only", ALLOWED.len());
        return Ok(());
    }
    Err(format!("{found} uses; move them, or argue for the file in xtask/src/unsafe_check.rs"))
}

fn allowed(name: &str) -> bool {
    ALLOWED
        .iter()
        .any(|(place, _)| *place == name || (place.ends_with('/') && name.starts_with(place)))
}

/// Numbers of the lines on which `unsafe` is a word of code that may do something.
fn unsafe_lines(source: &str) -> Vec<usize> {
    let code = without_comments_and_literals(source);
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let uses = code.match_indices("unsafe").filter(|(at, word)| {
        let (before, after) = (code.get(..*at), code.get(at + word.len()..));
        let inside = |text: Option<&str>, end: fn(&str) -> Option<char>| {
            text.and_then(end).is_some_and(is_word)
        };
        !inside(before, |text| text.chars().next_back())
            && !inside(after, |text| text.chars().next())
            && !after.is_some_and(only_declares)
    });
    let line = |at: usize| code.get(..at).map_or(0, |text| text.matches('\n').count()) + 1;
    let mut lines: Vec<usize> = uses.map(|(at, _)| line(at)).collect();
    lines.dedup();
    lines
}

/// Whether what follows `unsafe` names a symbol or a function of C and cannot do anything itself.
///
/// An entry of a C API is `#[unsafe(no_mangle)] pub unsafe extern "C" fn`, in every file of it;
/// its body is safe code all the same (`unsafe_op_in_unsafe_fn`), so the danger is elsewhere.
fn only_declares(after: &str) -> bool {
    let after = after.trim_start();
    let function = after.strip_prefix("extern").is_some_and(|rest| {
        rest.starts_with(char::is_whitespace) && rest.trim_start().starts_with("fn")
    });
    function || after.starts_with("(no_mangle)")
}

/// The source with each comment and literal blanked; newlines stay, so line numbers hold.
fn without_comments_and_literals(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut after_word = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' | 'b' | 'c' if !after_word => raw_string(rest).unwrap_or(0),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            out.push(first);
            after_word = first.is_alphanumeric() || first == '_';
            rest = rest.get(first.len_utf8()..).unwrap_or("");
        } else {
            let (gone, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
            out.push(' ');
            out.extend(gone.chars().filter(|&c| c == '\n'));
            after_word = false;
            rest = after;
        }
    }
    out
}

/// Length of the block comment at the start of `text`; they nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Length of the string literal at the start of `text`, which begins with a quote.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Length of `r"…"`, `br#"…"#`, `cr"…"` … at the start of `text`, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let letters = text.strip_prefix(['b', 'c']).unwrap_or(text);
    let hashes = letters.strip_prefix('r')?;
    let body = hashes.trim_start_matches('#');
    let count = hashes.len() - body.len();
    let body = body.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(count));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + length)
}

/// Length of the character literal at the start of `text`; 0 for a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_)) => {
            chars.find(|&(_, c)| c == '\'').map_or(text.len(), |(at, _)| at + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `make test` runs: `cargo xtask` would build the tool again, with features of its own.
    #[test]
    fn unsafe_code_of_this_tree_stands_in_the_listed_places_only() {
        assert_eq!(run(&crate::root(), &[]), Ok(()));
    }

    #[test]
    fn code_counts_and_its_line_is_named() {
        assert_eq!(unsafe_lines("fn a() {\n    unsafe { b() }\n}\n"), [2]);
        assert_eq!(unsafe_lines("unsafe extern \"C\" {\n fn a();\n}"), [1]);
        assert_eq!(unsafe_lines("#[unsafe(link_section = \"x\")] static A: u8 = 0;"), [1]);
        assert_eq!(unsafe_lines("let a: &'static str = x; unsafe {}"), [1]);
    }

    #[test]
    fn the_form_of_a_c_entry_does_not_count_and_its_body_does() {
        let entry = "#[unsafe(no_mangle)]\npub unsafe extern \"C\" fn a() { b() }";
        assert_eq!(unsafe_lines(entry), [0_usize; 0]);
        assert_eq!(unsafe_lines("type A = Option<unsafe extern \"C\" fn(i32)>;"), [0_usize; 0]);
        assert_eq!(unsafe_lines("unsafe extern \"C\" fn a() {\n    unsafe { b() }\n}"), [2]);
        assert_eq!(unsafe_lines("unsafe fn a() {}"), [1]);
    }

    #[test]
    fn comments_literals_and_longer_words_do_not_count() {
        let source = r####"
            #![forbid(unsafe_code)] // no unsafe here
            /* unsafe /* nested */ unsafe */
            let text = "unsafe \" unsafe"; let quote = '"'; let tick = '\'';
            let raw = r#"unsafe " unsafe"#; let bytes = br"unsafe"; let c = c"unsafe";
        "####;
        assert_eq!(unsafe_lines(source), [0_usize; 0]);
    }

    #[test]
    fn a_literal_over_several_lines_keeps_the_count() {
        assert_eq!(unsafe_lines("let a = \"x\n\ny\";\nunsafe {}"), [4]);
    }

    #[test]
    fn a_folder_allows_what_lies_in_it_and_a_file_itself_only() {
        assert!(allowed("core/src/model/platform/linux.rs"));
        assert!(allowed("plugin-api/src/raw.rs"));
        assert!(!allowed("plugin-api/src/snapshot.rs"));
    }
}
