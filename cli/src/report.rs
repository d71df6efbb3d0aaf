//! Data on stdout: JSON with a schema name, and tables for people.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::AsFd,
};

use clap::ValueEnum;
use serde::Serialize;

use crate::{
    console::printable,
    descriptors,
    exit::{Exit, Failure},
};

/// How a result is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Report {
    // No help for each: clap would then spread every option over three lines.
    Text,
    Json,
}

/// Stdout without a buffer: whatever fails, fails where it is written.
pub(crate) fn stdout() -> io::Result<File> {
    if descriptors::stdout_was_closed() {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    io::stdout().as_fd().try_clone_to_owned().map(File::from)
}

/// Prints a result on stdout, the last newline added where it is missing.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    let text = format!("{text}{newline}");
    let done = stdout().and_then(|mut out| out.write_all(text.as_bytes()));
    done.map_err(|error| Failure::write("stdout", &error))
}

/// Prints a result as JSON on stdout.
pub(crate) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    print(&json(value)?)
}

/// A value as JSON text for people and programs.
pub(crate) fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Exit::Unexpected, "report", error))
}

/// Rows of cells as columns; a row of one cell stands across all of them.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell, false)).collect()).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in rows.iter().filter(|row| row.len() > 1) {
        for (index, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(index) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        let single = row.len() == 1;
        for (cell, width) in row.iter().zip(&widths) {
            let padding = if single { 0 } else { width + 2 - cell.chars().count() };
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', padding));
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect();
        let rows = [row(&["NAME", "STATE"]), row(&["a", "failed"]), row(&["  why so long"])];
        assert_eq!(table(&rows), "NAME  STATE\na     failed\n  why so long\n");
    }
}
