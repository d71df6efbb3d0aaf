//! What is measured, a file per group; `main.rs` knows them by name.

pub mod counter;
pub mod counter_c;
pub mod encode;
pub mod events;
pub mod histogram;
pub mod isolation;
pub mod load;
pub mod lookup;
pub mod lookup_limit;
pub mod memory;
pub mod overhead;
pub mod ruby;
pub mod shared;
pub mod snapshot;
pub mod sync;

use crate::{measure::Plan, report::Section};

/// What a group gets: how long to measure.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// Rounds and their length.
    pub plan: Plan,
    /// Whether a rough answer is enough.
    pub quick: bool,
}

/// A group: its name, what it is, and its measurement.
pub struct Group {
    /// Name on the command line.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
    /// Measures; an error fails this group only.
    pub run: fn(Task) -> Result<Vec<Section>, String>,
}

/// Every group, in the order of a full run.
pub const GROUPS: &[Group] = &[
    Group { name: "counter", about: "a held counter, 1 and 2 threads", run: counter::run },
    Group { name: "counter_c", about: "the same over the C ABI", run: counter_c::run },
    Group { name: "histogram", about: "a held histogram of 11 bounds", run: histogram::run },
    Group { name: "lookup", about: "1000 series by 3 labels, and an add", run: lookup::run },
    Group { name: "encode", about: "Prometheus text, JSON, CSV", run: encode::run },
    Group { name: "memory", about: "resident bytes per series", run: memory::run },
    Group { name: "snapshot", about: "1M series, also beside writers", run: snapshot::run },
    Group { name: "load", about: "start-up, plugin boundary, size", run: load::run },
    Group { name: "isolation", about: "the cost of a helper process", run: isolation::run },
    Group { name: "events", about: "publishing an event", run: events::run },
    Group { name: "shared", about: "processes that share an arena", run: shared::run },
    Group { name: "sync", about: "sharing totals through a Redis", run: sync::run },
    Group { name: "overhead", about: "a share of a program's time", run: overhead::run },
    Group { name: "ruby", about: "an add from Ruby, and what it allocates", run: ruby::run },
];

/// What a child process of a group does: `--child GROUP …`.
///
/// # Errors
/// An unknown group; what it says.
pub fn child(words: &[String]) -> Result<(), String> {
    match words {
        [group, name] if group == "memory" => memory::child(name),
        [group, path] if group == "load" => load::child(path),
        [group, path] if group == "shared" => shared::child(path),
        _ => Err(format!("no child {words:?}")),
    }
}
