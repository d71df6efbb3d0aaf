//! Finding one of 1000 series by three `&str` labels and adding one, in random order.
//!
//! What every contender gets is borrowed text that it has not seen before as a pointer: peers whose
//! label sets are keys of a map copy it, as their users must.

use std::sync::Arc;

use super::{Task, lookup_limit::Table};
use crate::{
    artifacts,
    dataset::{self, Set},
    measure::{Contender, compare, fits},
    peers::{
        Family, client_rust, fastmetrics, measured, metrics_rs, opentelemetry, tallyport, tikv,
    },
    raw::{
        prometheus_cpp::{PrometheusCpp, Texts},
        rseq::Bare,
    },
    report::{Role, Section},
    targets::{FIND_AND_ADD, OURS},
};

/// The label sets and an order per thread.
#[derive(Clone)]
struct Keys {
    sets: Arc<[Set]>,
    orders: Arc<[Vec<u32>; 2]>,
}

impl Keys {
    fn new() -> Self {
        let orders = [dataset::order(1000, 1), dataset::order(1000, 2)];
        Self { sets: dataset::thousand().into(), orders: Arc::new(orders) }
    }

    #[inline]
    fn each(&self, thread: usize, times: u64, mut add: impl FnMut(Set)) {
        let order = &self.orders[thread % 2];
        for n in 0..times {
            add(self.sets[order[n as usize % 8192] as usize]);
        }
    }
}

fn family(role: Role, name: &str, keys: &Keys, family: impl Family + Send + 'static) -> Contender {
    let keys = keys.clone();
    Contender::new(role, name, move |thread, times| {
        keys.each(thread, times, |set| family.add(std::hint::black_box(set), 1));
    })
}

fn prometheus_cpp(keys: &Keys) -> Result<Contender, String> {
    let cpp = PrometheusCpp::open(&artifacts::prometheus_cpp()?)?;
    let sets: Vec<Texts> = keys.sets.iter().map(|set| Texts::new(*set)).collect();
    let keys = keys.clone();
    Ok(Contender::new(Role::Peer, "prometheus-cpp", move |thread, times| {
        cpp.lookup_many(&sets, &keys.orders[thread % 2], times);
    }))
}

fn limits(keys: &Keys) -> Vec<Contender> {
    let read = keys.clone();
    let mut limits =
        vec![Contender::new(Role::Limit, "limit: reading the labels", move |thread, times| {
            read.each(thread, times, |set| {
                std::hint::black_box(set);
            });
        })];
    if let Some(cells) = Bare::detect() {
        let (keys, table) = (keys.clone(), Table::new(&keys.sets));
        limits.push(Contender::new(Role::Limit, FIND_AND_ADD, move |thread, times| {
            keys.each(thread, times, |set| table.add(std::hint::black_box(set), &cells));
        }));
    }
    limits
}

/// Measures the group.
///
/// # Errors
/// What the engine says.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let keys = Keys::new();
    let mut contenders = vec![
        family(Role::Ours, OURS, &keys, tallyport::Ours::new()?),
        family(Role::Ours, "Tallyport, by name, no family kept", &keys, tallyport::ByName::new()?),
        family(Role::Ours, "Tallyport, past the limit", &keys, tallyport::Ours::limited(100)?),
        family(Role::Peer, "prometheus (tikv)", &keys, tikv::Tikv::default()),
        family(Role::Peer, "prometheus-client", &keys, client_rust::ClientRust::default()),
        family(Role::Peer, "measured, fixed sets", &keys, measured::Fixed::default()),
        family(Role::Peer, "measured, dynamic sets", &keys, measured::Dynamic::default()),
        family(Role::Peer, "fastmetrics", &keys, fastmetrics::FastMetrics::default()),
        family(
            Role::Peer,
            "metrics + prometheus recorder",
            &keys,
            metrics_rs::MetricsRs::default(),
        ),
        family(Role::Peer, "opentelemetry_sdk", &keys, opentelemetry::OpenTelemetry::default()),
    ];
    let cpp = prometheus_cpp(&keys);
    let missing = cpp.as_ref().err().map(|error| format!("without prometheus-cpp: {error}"));
    contenders.extend(cpp.ok());
    contenders.extend(limits(&keys));
    let mut sections = Vec::new();
    for (threads, title) in [(1, "1 thread"), (2, "2 threads")] {
        if fits(threads) {
            let rows = compare(&contenders, threads, task.plan);
            let mut section = Section::new("lookup", title, "ns per lookup and add", rows);
            section.notes.extend(missing.clone());
            sections.push(section);
        }
    }
    Ok(sections)
}
