//! The targets, all in one place: what the project promised itself before measuring.
//!
//! They were set on one machine; on another, absolute times differ and ratios carry over. So a
//! target may name the limit that was measured with it, and a verdict says both: the number
//! itself, and the ratio to the same limit on this machine.

use serde_json::{Value, json};

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// The number is at most this.
    AtMost(f64),
    /// GB/s, from a row's bytes: at least this.
    GbPerS(f64),
}

/// One promise.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    group: &'static str,
    title: &'static str,
    contender: &'static str,
    bound: Bound,
    /// A limit's name in the same table, and what it was on the machine of the target.
    pub limit: Option<(&'static str, f64)>,
}

const fn at_most(
    group: &'static str,
    title: &'static str,
    contender: &'static str,
    most: f64,
    limit: Option<(&'static str, f64)>,
) -> Target {
    Target { group, title, contender, bound: Bound::AtMost(most), limit }
}

const fn gb_per_s(
    group: &'static str,
    title: &'static str,
    contender: &'static str,
    least: f64,
) -> Target {
    Target { group, title, contender, bound: Bound::GbPerS(least), limit: None }
}

/// Name of ours in every table.
pub const OURS: &str = "Tallyport";
/// Name of the subscriber that a metrics route is at least.
pub const COUNTS: &str = "Tallyport, one that counts by a field";
/// Name of a limit.
pub const BARE_RSEQ: &str = "limit: bare rseq section";
/// Name of a limit.
pub const BARE_CALL: &str = "limit: bare rseq section behind a call";
/// Name of a limit.
pub const FIND_AND_ADD: &str = "limit: hash, compare, bare rseq section";
/// Name of a limit.
pub const BARE_PAIR: &str = "limit: bucket search + bare rseq pair";
/// Name of a limit.
pub const PRERENDERED: &str = "limit: pre-rendered heads, itoa";

/// Name of a limit.
pub const EMPTY_FFI_CALL: &str = "limit: ffi call of an empty C function";

const ADDS: &str = "add in shared memory ÷ in private memory";
const ONE: &str = "1 thread";
const TWO: &str = "2 threads";
// 51 ns is what the whole add took through ffi where the target was set.
const FFI: Option<(&str, f64)> = Some((EMPTY_FFI_CALL, 51.0));
const CALL: Option<(&str, f64)> = Some((BARE_CALL, 1.3));
const FIND: Option<(&str, f64)> = Some((FIND_AND_ADD, 22.4));
const SECTION: Option<(&str, f64)> = Some((BARE_RSEQ, 0.43));
const PAIR: Option<(&str, f64)> = Some((BARE_PAIR, 2.60));
const FORMAT: Option<(&str, f64)> = Some((PRERENDERED, 7.3));

/// Every target that a benchmark here can check.
pub const TARGETS: &[Target] = &[
    at_most("counter", ONE, OURS, 0.8, SECTION),
    at_most("counter", TWO, OURS, 0.8, SECTION),
    at_most("counter_c", ONE, OURS, 2.2, CALL),
    at_most("counter_c", TWO, OURS, 2.2, CALL),
    at_most("histogram", ONE, OURS, 3.2, PAIR),
    at_most("histogram", TWO, OURS, 3.2, PAIR),
    at_most("histogram", ONE, "Tallyport, C ABI", 4.0, PAIR),
    at_most("histogram", TWO, "Tallyport, C ABI", 4.0, PAIR),
    at_most("lookup", ONE, OURS, 26.0, FIND),
    at_most("lookup", TWO, OURS, 27.0, FIND),
    at_most("encode", "Prometheus text, 100000 series", OURS, 15.0, FORMAT),
    at_most("encode", "Prometheus text, 1000000 series", OURS, 15.0, FORMAT),
    gb_per_s("encode", "JSON, 100000 series", OURS, 1.0),
    gb_per_s("encode", "CSV, 100000 series", OURS, 1.0),
    at_most("memory", "1000000 series, 3 labels, one CPU", OURS, 48.0, None),
    at_most("snapshot", "snapshot of 1000000 series", "Tallyport, 2 threads write", 20.0, None),
    at_most("snapshot", "writers' slow-down", OURS, 5.0, None),
    at_most("load", "walking 1000000 series × 4 labels", "Tallyport, loaded plugin", 20.0, None),
    at_most("load", "exporter loaded ÷ linked in", OURS, 1.05, None),
    at_most("load", "engine ready without plugins", OURS, 5.0, None),
    at_most("load", "engine ready without plugins", "Tallyport, dlopen + engine, C ABI", 5.0, None),
    at_most("load", "libtallyport.so", "Tallyport, stripped, no stores", 4.0, None),
    at_most("isolation", "prometheus: in a helper process ÷ in this one", OURS, 2.0, None),
    at_most("isolation", "json: in a helper process ÷ in this one", OURS, 2.0, None),
    at_most("isolation", "csv: in a helper process ÷ in this one", OURS, 2.0, None),
    at_most("events", "nobody listens, 1 thread", OURS, 20.0, None),
    at_most("events", "nobody listens, 2 threads", OURS, 20.0, None),
    at_most("events", "one subscriber, 1 thread", COUNTS, 100.0, None),
    at_most("ruby", "held", OURS, 30.0, None),
    at_most("ruby", "held", "Tallyport, ffi function", 60.0, FFI),
    at_most("ruby", "held", "Tallyport, Ruby method over ffi", 90.0, FFI),
    at_most("shared", ADDS, OURS, 1.1, None),
    at_most("shared", ADDS, "Tallyport, histogram", 1.1, None),
    at_most("shared", "scrape of 100000 series: of 8 processes ÷ of one", OURS, 1.5, None),
    at_most(
        "sync",
        "sync of 100000 changed series ÷ the same bytes pipelined raw",
        OURS,
        1.5,
        None,
    ),
    at_most("sync", "aggregate of 10 instances × 10000 series, the same", OURS, 100.0, None),
    at_most("sync", "aggregate of 10 instances × 10000 series, all different", OURS, 100.0, None),
    at_most("overhead", "10 µs of work, 1 counter and 1 histogram", OURS, 1.0, None),
];

/// Targets of one row.
pub fn of<'a>(
    group: &'a str,
    title: &'a str,
    name: &'a str,
) -> impl Iterator<Item = &'static Target> + 'a {
    TARGETS.iter().filter(move |t| t.group == group && t.title == title && t.contender == name)
}

impl Target {
    /// The number that is compared.
    #[must_use]
    pub fn measured(&self, median: f64, bytes_per_part: Option<f64>) -> f64 {
        match self.bound {
            Bound::AtMost(_) => median,
            Bound::GbPerS(_) => bytes_per_part.unwrap_or(0.0) / median,
        }
    }

    /// Whether it is kept.
    #[must_use]
    pub fn met(&self, median: f64, bytes_per_part: Option<f64>) -> bool {
        let measured = self.measured(median, bytes_per_part);
        match self.bound {
            Bound::AtMost(most) => measured <= most,
            Bound::GbPerS(least) => measured >= least,
        }
    }

    /// The same target relative to its limit: allowed and measured ratio.
    fn relative(&self, median: f64, limit_here: Option<f64>) -> Option<(f64, f64)> {
        let (Bound::AtMost(most), Some((_, limit_there))) = (self.bound, self.limit) else {
            return None;
        };
        Some((most / limit_there, median / limit_here?))
    }

    /// In words: met, or missed by how much.
    #[must_use]
    pub fn verdict(&self, median: f64, bytes: Option<f64>, limit_here: Option<f64>) -> String {
        let measured = self.measured(median, bytes);
        let missed = |by: f64| format!("missed by {:.0} %", by * 100.0);
        let (text, verdict) = match self.bound {
            Bound::AtMost(most) if measured <= most => (format!("≤ {most}"), "met".to_owned()),
            Bound::AtMost(most) => (format!("≤ {most}"), missed(measured / most - 1.0)),
            Bound::GbPerS(least) if measured >= least => {
                (format!("≥ {least} GB/s"), "met".to_owned())
            }
            Bound::GbPerS(least) => (format!("≥ {least} GB/s"), missed(1.0 - measured / least)),
        };
        let relative = self.relative(median, limit_here).map(|(allowed, ratio)| {
            let verdict = if ratio <= allowed { "met" } else { "missed" };
            format!(" (≤ {allowed:.2} × limit: {verdict} with {ratio:.2} ×)")
        });
        format!("{text}: {verdict}{}", relative.unwrap_or_default())
    }

    /// The verdict as JSON.
    #[must_use]
    pub fn json(&self, median: f64, bytes: Option<f64>, limit_here: Option<f64>) -> Value {
        let (kind, bound) = match self.bound {
            Bound::AtMost(most) => ("at_most", most),
            Bound::GbPerS(least) => ("gb_per_s_at_least", least),
        };
        let relative = self.relative(median, limit_here);
        json!({
            "kind": kind, "bound": bound,
            "measured": self.measured(median, bytes), "met": self.met(median, bytes),
            "limit": self.limit.map(|(name, _)| name),
            "allowed_ratio_to_limit": relative.map(|(allowed, _)| allowed),
            "ratio_to_limit": relative.map(|(_, ratio)| ratio),
        })
    }
}
