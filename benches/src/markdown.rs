//! Writes tables into docs/BENCHMARKS.md: between two comments per group, and nowhere else.

use std::{fmt::Write as _, fs, path::Path};

use crate::{machine::Machine, report::Section};

/// Checks that there is a place for each of these groups, before they are measured.
///
/// # Errors
/// That the file cannot be read, or which group has none.
pub fn check(path: &Path, groups: &[&str]) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    match groups.iter().find(|group| replaced(&text, group, "").is_none()) {
        None => Ok(()),
        Some(group) => Err(format!("{} has no place for `{group}`", path.display())),
    }
}

/// Puts the tables of each measured group in the place of its last ones.
///
/// # Errors
/// That the file cannot be read or written, or has no place for a group.
pub fn update(
    path: &Path,
    sections: &[Section],
    machine: &Machine,
    quick: bool,
) -> Result<(), String> {
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut text = fs::read_to_string(path).map_err(fail)?;
    let mut groups: Vec<&str> = sections.iter().map(|section| section.group).collect();
    groups.dedup();
    for group in groups {
        let quick = if quick { " --quick" } else { "" };
        let mut tables =
            format!("`cargo xtask bench {group} --markdown{quick}`: {}.\n", machine.text());
        for section in sections.iter().filter(|section| section.group == group) {
            let _ = write!(tables, "\n{}", section.markdown());
        }
        text = replaced(&text, group, &tables)
            .ok_or_else(|| format!("{} has no place for `{group}`", path.display()))?;
    }
    fs::write(path, text).map_err(fail)
}

/// The text with what stands between a group's comments replaced.
fn replaced(text: &str, group: &str, tables: &str) -> Option<String> {
    let (open, close) = (format!("<!-- {group} -->\n"), format!("<!-- /{group} -->"));
    let start = text.find(&open)? + open.len();
    let end = start + text.get(start..)?.find(&close)?;
    Some(format!("{}{tables}{}", text.get(..start)?, text.get(end..)?))
}
