//! A held counter over the C ABI: libtallyport.so as a host opens it, and prometheus-cpp.
//!
//! Ours is called through a pointer that dlsym gave, as a C host's call through the linkage table
//! is; prometheus-cpp is called from a loop in C++.

use super::Task;
use crate::{
    artifacts,
    measure::{Contender, compare, fits},
    raw::{prometheus_cpp::PrometheusCpp, rseq::Bare, tallyport_so::TallyportSo},
    report::{Role, Section},
    targets::{BARE_CALL, OURS},
};

/// Measures the group.
///
/// # Errors
/// That libtallyport.so or prometheus-cpp cannot be had, and what to install.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let so = TallyportSo::open(&artifacts::libtallyport()?)?;
    let counter = so.counter("requests_total")?;
    let cpp = PrometheusCpp::open(&artifacts::prometheus_cpp()?)?;
    let mut contenders = vec![
        Contender::new(Role::Ours, OURS, move |_, times| counter.add_many(times)),
        Contender::new(Role::Peer, "prometheus-cpp", move |_, times| cpp.add_many(times)),
    ];
    if let Some(bare) = Bare::detect() {
        contenders.push(Contender::new(Role::Limit, BARE_CALL, move |_, times| {
            bare.call_many(times);
        }));
    }
    let mut sections = Vec::new();
    for (threads, title) in [(1, "1 thread"), (2, "2 threads")] {
        if fits(threads) {
            let rows = compare(&contenders, threads, task.plan);
            sections.push(Section::new("counter_c", title, "ns per add", rows));
        }
    }
    Ok(sections)
}
