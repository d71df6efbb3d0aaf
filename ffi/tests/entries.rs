//! What must hold for every C entry, read from the source so that none is forgotten.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use std::{fs, path::Path};

/// One `extern "C"` function of the crate.
struct Entry {
    /// `file.rs: name`.
    place: String,
    name: String,
    comment: String,
    attributes: String,
    body: String,
}

/// Every `extern "C" fn` with a body, in the form that rustfmt gives it.
fn entries() -> Vec<Entry> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = source.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let Some((before, after)) = line.split_once("extern \"C\" fn ") else { continue };
            if before.trim_start().starts_with("//") || after.starts_with('(') {
                continue; // a comment, or the type of a callback
            }
            assert_eq!(before, "pub unsafe ", "{file}:{}: another form of entry", at + 1);
            let name = after.split('(').next().unwrap().to_owned();
            let above: Vec<&str> =
                lines[..at].iter().rev().take_while(|line| !line.is_empty()).copied().collect();
            let pick = |start: &str| {
                let lines = above.iter().rev().filter(|line| line.starts_with(start));
                lines.map(|line| format!("{line}\n")).collect::<String>()
            };
            let end = at + lines[at..].iter().position(|line| *line == "}").unwrap();
            let open = at + lines[at..].iter().position(|line| line.ends_with('{')).unwrap();
            found.push(Entry {
                place: format!("{file}: {name}"),
                name,
                comment: pick("///"),
                attributes: pick("#["),
                body: code(&lines[open + 1..end]),
            });
        }
    }
    assert!(found.len() > 60, "{} entries found; is the form of the source another?", found.len());
    found
}

/// Lines without those that are comments.
fn code(lines: &[&str]) -> String {
    let code = lines.iter().filter(|line| !line.trim_start().starts_with("//"));
    code.map(|line| format!("{line}\n")).collect::<String>().trim().to_owned()
}

#[test]
fn every_entry_goes_through_the_boundary_and_does_nothing_outside() {
    for entry in entries() {
        let body = entry.body.strip_suffix(';').unwrap_or(&entry.body);
        // The boundary is safe against panics, so everything must be in its one call.
        let call = ["fallible!(", "record!(", "plain!("]
            .iter()
            .find_map(|shape| body.strip_prefix(shape))
            .unwrap_or_else(|| panic!("{}: not fallible!, record! or plain!", entry.place));
        let mut open = 1;
        let closed = call.find(|c| {
            open += i32::from(c == '(') - i32::from(c == ')');
            open == 0
        });
        assert_eq!(closed, Some(call.len() - 1), "{}: code outside the boundary", entry.place);
    }
}

#[test]
fn every_entry_is_exported_under_our_prefix_and_says_its_contract() {
    for Entry { place, name, comment, attributes, .. } in entries() {
        assert!(name.starts_with("tallyport_"), "{place}");
        assert_eq!(attributes, "#[unsafe(no_mangle)]\n", "{place}");
        let text = comment.replace("///", "");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut rest = text.as_str();
        for word in ["Threads: ", "Ownership: ", "Errors: ", "Since: 0.1."] {
            let at = rest.find(word).unwrap_or_else(|| panic!("{place}: no `{word}` in order"));
            rest = &rest[at + word.len()..];
        }
        assert_eq!(rest, "", "{place}: `Since` comes last");
        let first = comment.lines().next().unwrap();
        assert!(first.ends_with('.') || first.len() > 80, "{place}: {first}");
    }
}

#[test]
fn only_the_boundary_catches_panics() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let source = fs::read_to_string(&path).unwrap();
        let boundary = path.ends_with("boundary.rs");
        assert_eq!(source.contains("catch_unwind("), boundary, "{}", path.display());
    }
}
