//! `cargo xtask abi`: what the C headers promise, recorded and compared (docs/ABI.md).
//!
//! `tests/abi/vN` has the recorded headers, an old host and an old plugin in source, every function,
//! constant, size and offset as a text, and abidw's dump of the functions as C sees them. `check`
//! compares the headers of today with it: what was recorded must hold, what is new may come. `record`
//! writes it anew, at a release.

mod compare;
mod dump;
mod interface;

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{Outcome, install::plan::SOVERSION};
use interface::Interface;

/// The headers of the ABI; C++ headers are source that hosts compile, and promise nothing of their own.
const HEADERS: [&str; 2] = ["tallyport.h", "tallyport_plugin.h"];

/// What an old host and an old plugin are built from, and what they are called in the record.
const SOURCES: [(&str, &str); 4] = [
    ("tests/hosts/every_call.c", "every_call.c"),
    ("tests/hosts/host.h", "host.h"),
    ("tests/plugins/good_minimal.c", "good_minimal.c"),
    ("tests/plugins/good.h", "good.h"),
];

const INTERFACE: &str = "interface.txt";
const DUMP: &str = "libtallyport.abi";
const USAGE: &str = "usage: cargo xtask abi check [--include FOLDER] | record";

pub(crate) fn run(root: &Path, args: &[&str]) -> Outcome {
    match args {
        ["check"] => check(root, &root.join("include")),
        ["check", "--include", folder] => check(root, &root.join(folder)),
        ["record"] => record(root),
        _ => Err(USAGE.to_owned()),
    }
}

/// The record of the major that is served now.
fn recorded(root: &Path) -> PathBuf {
    root.join(format!("tests/abi/v{SOVERSION}"))
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Compares headers with the record: first the list, which says it best, then abidiff, which sees what
/// lists forget.
fn check(root: &Path, include: &Path) -> Outcome {
    let place = recorded(root);
    let old: Interface = read(&place.join(INTERFACE))?.parse()?;
    let new = Interface::of(include)?;
    let broken = compare::broken(&old, &new);
    broken.iter().for_each(|line| println!("{line}"));
    if !broken.is_empty() {
        return Err(format!(
            "{} promises of {} are broken; a frozen interface keeps them: add a function or a field at the \
             end instead",
            broken.len(),
            place.display()
        ));
    }
    dump::check(&place, include)?;
    let added = compare::added(&old, &new);
    println!("the interface of {} holds; {added} lines are new", place.display());
    Ok(())
}

fn record(root: &Path) -> Outcome {
    let (place, include) = (recorded(root), root.join("include"));
    fs::create_dir_all(&place).map_err(|error| format!("{}: {error}", place.display()))?;
    let new = Interface::of(&include)?;
    if place.join(INTERFACE).exists() {
        // A frozen interface grows only.
        let old: Interface = read(&place.join(INTERFACE))?.parse()?;
        if !compare::broken(&old, &new).is_empty() {
            return Err("what is recorded is broken: cargo xtask abi check says where".to_owned());
        }
    }
    for header in HEADERS {
        write(&place.join(header), &read(&include.join(header))?)?;
    }
    for (from, name) in SOURCES {
        write(&place.join(name), &read(&root.join(from))?)?;
    }
    write(&place.join(INTERFACE), &new.to_string())?;
    dump::write(&place, &include)?;
    println!("recorded {} lines in {}", new.lines().count(), place.display());
    Ok(())
}
