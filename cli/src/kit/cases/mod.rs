//! The cases: each is one promise of the contract, and what breaks it is named after it.
//!
//! A case judges its own promise and is lenient about those of others, so that a defect shows
//! under its own name.

mod config;
mod exports;
mod guest;
mod hosts;
mod lives;
mod stops;
mod table;

use crate::trial::{Done, Trial};

/// A case.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// One line: what is promised.
    pub(crate) promise: &'static str,
    pub(crate) run: fn(&mut Trial<'_>) -> Done,
    /// Whether it follows from the seed.
    pub(crate) random: bool,
}

/// Name of the case that the runner makes of loading the file.
pub(crate) const LOAD: (&str, &str) = ("load", "it loads, and this host negotiates with it");

const fn case(name: &'static str, promise: &'static str, run: fn(&mut Trial<'_>) -> Done) -> Case {
    Case { name, promise, run, random: false }
}

const fn random(
    name: &'static str,
    promise: &'static str,
    run: fn(&mut Trial<'_>) -> Done,
) -> Case {
    Case { name, promise, run, random: true }
}

/// Every case, in the order in which they run.
pub(crate) const ALL: &[Case] = &[
    case("table", "what it declares agrees with the functions that it has", table::table),
    case(
        "entry",
        "the entry point answers the same again, and NULL to another major",
        table::entry,
    ),
    case("export", "each format is written, text as UTF-8", exports::export),
    case("empty", "a snapshot without families or series is exported", exports::empty),
    case("numbers", "NaN, infinities and the ends of each type are endured", exports::numbers),
    case("hostile-text", "names and values with quotes, NUL, newlines, 1 MB", exports::hostile),
    case("many-series", "many series are exported (--series)", exports::many),
    case("unknown", "unknown kinds, number types, flags and columns are skipped", exports::unknown),
    random("layouts", "columns may lie anywhere; nothing outside them is read", exports::layouts),
    case("deterministic", "one snapshot gives the same bytes again", exports::deterministic),
    case("schema-id", "what is kept by schema_id serves no other schema", exports::schema_id),
    case("newer-host", "longer structs and rows of a later host", hosts::newer),
    case(
        "older-host",
        "shorter structs of an earlier host are not read past their end",
        hosts::older,
    ),
    case("sparse-host", "services that a host may lack are not called", hosts::sparse),
    case("borrowed", "nothing that was lent is used after the call", hosts::borrowed),
    case("read-only", "a snapshot is not written to", hosts::read_only),
    random("short-sink", "a sink that refuses ends the export with a failure", stops::short_sink),
    random(
        "late-writes",
        "nothing is written once the sink answered CANCELLED",
        stops::late_writes,
    ),
    case("sink-windows", "sink_reserve and sink_commit as they are lent", stops::windows),
    random("cancel", "a call that is withdrawn ends, and the next one works", stops::cancel),
    case("deadline", "with CANCEL: an export ends soon after its deadline", stops::deadline),
    case("services", "handles, texts, levels and threads as the header says", hosts::services),
    case("options", "options that the schema allows are taken, others are not", config::options),
    case("garbage-options", "options that are not UTF-8 or not JSON do no harm", config::garbage),
    case("error-text", "a refusal says why", config::error_text),
    case("shutdown-twice", "a second shutdown does no harm", lives::shutdown_twice),
    case("many-lives", "created and destroyed many times without a leak", lives::many),
    case("side-by-side", "two exporters do not meet", lives::side_by_side),
    case("threads", "created, used and destroyed on different threads", lives::threads),
    case("concurrent", "with CONCURRENT: calls at the same time", lives::concurrent),
    case("fork", "a forked child exports, by after_fork_child or anew", lives::fork),
    random("random-life", "calls in any order that a host may choose", lives::random),
    case("quiet", "nothing is printed to stdout or stderr", guest::quiet),
    case(
        "nothing-left",
        "no descriptor, thread or process is left after destroy",
        guest::nothing_left,
    ),
    case("guest", "signal handlers, folder, locale, environment … stay as they were", guest::guest),
];

/// The case of a name.
pub(crate) fn by_name(name: &str) -> Option<&'static Case> {
    ALL.iter().find(|case| case.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_words_and_promises_fit_a_line() {
        for (at, case) in ALL.iter().enumerate() {
            assert!(
                case.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{}",
                case.name
            );
            assert!(!case.promise.is_empty() && case.promise.len() < 80, "{}", case.name);
            assert!(ALL.iter().skip(at + 1).all(|other| other.name != case.name), "{}", case.name);
            assert_ne!(case.name, LOAD.0);
        }
    }
}
