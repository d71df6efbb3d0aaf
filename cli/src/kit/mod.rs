//! The conformance kit: whether a plugin file keeps to the ABI, case by case.
//!
//! `tallyport plugins check` is the door for people; a vendor's own tests may use this library.
//! Each case runs in a process of its own, which leads a process group, has a time limit and is
//! killed at it: a plugin that hangs, crashes or exits costs one case. [`Check::run`] is the
//! runner; the program that it starts again for each case hands over to [`run_child`].
//!
//! - `cases/`: what is promised, one function per promise; safe code.
//! - `sys/`: the kit as a host; everything unsafe.
//! - `data.rs`: the snapshots. `trial.rs`: what a case has to work with.
//! - `run.rs`, `child.rs`: the two sides of a case. `report.rs`: what comes out.
//!
//! It knows no policy of where plugins may lie or who may own them: a file in a build tree will do.

#![deny(missing_docs)]

mod cases;
mod child;
mod clock;
mod data;
mod report;
mod rng;
mod run;
mod sys;
mod trial;
mod words;

pub use child::{ChildArgs, Probe, ProbeStep, run_child};
pub use report::{CaseReport, ExporterReport, FileReport, Verdict};
pub use run::{Check, CheckError, probe};

/// Name and promise of every case, in the order in which they run.
pub fn cases() -> impl Iterator<Item = (&'static str, &'static str)> {
    let others = cases::ALL.iter().map(|case| (case.name, case.promise));
    std::iter::once(cases::LOAD).chain(others)
}
