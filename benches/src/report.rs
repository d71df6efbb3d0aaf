//! What was measured, as tables for people, as JSON and as Markdown.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::targets::{self, Target};

/// Which side a contender is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Tallyport.
    Ours,
    /// Another library.
    Peer,
    /// What the machine can do.
    Limit,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::Limit => "limit",
        }
    }
}

/// One contender's samples.
#[derive(Debug, Clone)]
pub struct Row {
    /// Which side.
    pub role: Role,
    /// Who, and in which form.
    pub name: String,
    /// One number per round, sorted.
    samples: Vec<f64>,
    /// Bytes of one part of an operation, to say GB/s beside ns.
    pub bytes_per_part: Option<f64>,
}

impl Row {
    /// A row of samples in any order.
    #[must_use]
    pub fn new(role: Role, name: &str, mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { role, name: name.to_owned(), samples, bytes_per_part: None }
    }

    /// The middle sample.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    fn quantile(&self, q: f64) -> f64 {
        let last = self.samples.len().saturating_sub(1) as f64;
        let (at, rest) = ((last * q).floor() as usize, (last * q).fract());
        let low = self.samples.get(at).copied().unwrap_or(f64::NAN);
        let high = self.samples.get(at + 1).copied().unwrap_or(low);
        low + (high - low) * rest
    }
}

/// A table: contenders that did the same thing.
#[derive(Debug, Clone)]
pub struct Section {
    /// Group on the command line.
    pub group: &'static str,
    /// What was done; with the group it names the target rows.
    pub title: String,
    /// Unit of the numbers.
    pub unit: &'static str,
    /// Contenders.
    pub rows: Vec<Row>,
    /// What a reader must know.
    pub notes: Vec<String>,
}

impl Section {
    /// A table without notes.
    #[must_use]
    pub fn new(
        group: &'static str,
        title: impl Into<String>,
        unit: &'static str,
        rows: Vec<Row>,
    ) -> Self {
        Self { group, title: title.into(), unit, rows, notes: Vec::new() }
    }

    /// With a note below the table.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    fn ours(&self) -> Option<f64> {
        self.rows.iter().find(|row| row.role == Role::Ours).map(Row::median)
    }

    fn limit(&self, target: &Target) -> Option<f64> {
        let (name, _) = target.limit?;
        self.rows.iter().find(|row| row.name == name).map(Row::median)
    }

    fn targets<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = &'static Target> + 'a {
        targets::of(self.group, &self.title, &row.name)
    }

    /// Cells of the table, the header first.
    fn cells(&self) -> Vec<[String; 5]> {
        let header = ["contender", self.unit, "p10 – p90", "÷ ours", "target"];
        let mut cells = vec![header.map(str::to_owned)];
        let ours = self.ours();
        for row in &self.rows {
            let mut value = number(row.median());
            if let Some(bytes) = row.bytes_per_part {
                let _ = write!(value, " ({} GB/s)", number(bytes / row.median()));
            }
            let spread = match row.samples.len() {
                0 | 1 => "one sample".to_owned(),
                n => {
                    let few = if n < 15 { format!(" of {n}") } else { String::new() };
                    format!("{} – {}{few}", number(row.quantile(0.1)), number(row.quantile(0.9)))
                }
            };
            let ratio = ours.map_or_else(String::new, |ours| number(row.median() / ours));
            let verdicts: Vec<String> = self
                .targets(row)
                .map(|target| target.verdict(row.median(), row.bytes_per_part, self.limit(target)))
                .collect();
            let name = match row.role {
                Role::Ours => format!("**{}**", row.name),
                Role::Peer => row.name.clone(),
                Role::Limit => format!("_{}_", row.name),
            };
            cells.push([name, value, spread, ratio, verdicts.join("; ")]);
        }
        cells
    }

    /// The table for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let cells = self.cells();
        let widths: Vec<usize> = (0..5)
            .map(|at| cells.iter().map(|row| row[at].chars().count()).max().unwrap_or(0))
            .collect();
        let mut out = format!("\n{} · {}\n", self.group, self.title);
        for row in &cells {
            let line: Vec<String> = row
                .iter()
                .zip(&widths)
                .enumerate()
                .map(|(at, (cell, &width))| {
                    let cell = cell.trim_matches(['*', '_']);
                    if at == 0 || at == 4 {
                        format!("{cell:<width$}")
                    } else {
                        format!("{cell:>width$}")
                    }
                })
                .collect();
            let _ = writeln!(out, "  {}", line.join("  ").trim_end());
        }
        for note in &self.notes {
            let _ = writeln!(out, "  note: {note}");
        }
        out
    }

    /// The table as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("**{}**\n\n", self.title);
        for (index, row) in self.cells().iter().enumerate() {
            let _ = writeln!(out, "| {} |", row.join(" | "));
            if index == 0 {
                out.push_str("|---|---:|---:|---:|---|\n");
            }
        }
        for note in &self.notes {
            let _ = write!(out, "\n{note}\n");
        }
        out
    }

    /// The table as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let ours = self.ours();
        let row = |row: &Row| {
            let targets: Vec<Value> = self
                .targets(row)
                .map(|t| t.json(row.median(), row.bytes_per_part, self.limit(t)))
                .collect();
            json!({
                "contender": row.name, "role": row.role.name(),
                "median": row.median(), "p10": row.quantile(0.1), "p90": row.quantile(0.9),
                "min": row.quantile(0.0), "max": row.quantile(1.0),
                "samples": row.samples.len(),
                "gb_per_s": row.bytes_per_part.map(|bytes| bytes / row.median()),
                "ratio_to_ours": ours.map(|ours| row.median() / ours),
                "targets": targets,
            })
        };
        json!({
            "group": self.group, "title": self.title, "unit": self.unit,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(), "notes": self.notes,
        })
    }

    /// One line per target of this table.
    #[must_use]
    pub fn verdicts(&self) -> Vec<(bool, String)> {
        let each = |row: &Row| {
            let (median, bytes) = (row.median(), row.bytes_per_part);
            let lines = self.targets(row).map(move |target| {
                let text = target.verdict(median, bytes, self.limit(target));
                let measured = number(target.measured(median, bytes));
                let place = format!("{} · {}", self.group, self.title);
                (target.met(median, bytes), format!("{place} · {}: {measured}, {text}", row.name))
            });
            lines.collect::<Vec<_>>()
        };
        self.rows.iter().flat_map(each).collect()
    }
}

/// Three significant digits.
#[must_use]
pub fn number(value: f64) -> String {
    match value.abs() {
        a if !a.is_finite() => "–".to_owned(),
        a if a >= 99.95 => format!("{value:.0}"),
        a if a >= 9.995 => format!("{value:.1}"),
        a if a >= 0.0005 || a == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.1e}"),
    }
}
