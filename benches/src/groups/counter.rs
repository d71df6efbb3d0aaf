//! A held handle of one counter: one thread, then two on the same counter.
//!
//! Each operation goes through `black_box` of the handle, so that every contender finds its cell
//! anew, as code between two adds would make it; the limits go through the same.

use std::{
    cell::Cell,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use tallyport_core::engine::config::CellsConfig;

use super::Task;
use crate::{
    dataset,
    measure::{Contender, compare, fits},
    peers::{client_rust, fastmetrics, measured, metrics_rs, opentelemetry, tallyport, tikv},
    raw::rseq,
    report::{Role, Section},
    targets::{BARE_RSEQ, OURS},
};

/// A loop over one held thing.
fn held<T: Send + Sync + 'static>(
    role: Role,
    name: &str,
    handle: T,
    add: impl Fn(&T) + Send + Sync + 'static,
) -> Contender {
    Contender::new(role, name, move |_, times| {
        for _ in 0..times {
            add(black_box(&handle));
        }
    })
}

fn ours(name: &str, cells: CellsConfig) -> Result<Contender, String> {
    let engine = tallyport::engine(cells)?;
    let counter = engine.metrics().counter("requests_total", &[]).map_err(|e| e.to_string())?;
    Ok(held(Role::Ours, name, (counter, engine), |(counter, _)| counter.inc()))
}

thread_local! {
    static SLAB: Cell<u64> = const { Cell::new(0) };
}

fn limits() -> Vec<Contender> {
    let mut limits = vec![
        held(Role::Limit, "limit: empty loop", (), |()| ()),
        held(Role::Limit, "limit: thread-local add", (), |()| {
            SLAB.with(|cell| cell.set(black_box(cell.get()) + 1));
        }),
    ];
    if let Some(bare) = rseq::Bare::detect() {
        limits.push(Contender::new(Role::Limit, BARE_RSEQ, move |_, times| bare.add_many(times)));
    }
    limits.push(held(
        Role::Limit,
        "limit: fetch_add on one word",
        Arc::new(AtomicU64::new(0)),
        |word| {
            word.fetch_add(1, Relaxed);
        },
    ));
    limits
}

fn peers() -> Vec<Contender> {
    let otel = opentelemetry::OpenTelemetry::default();
    let bound = otel.bound(dataset::set(0));
    let attributes = opentelemetry::attributes(dataset::set(1));
    vec![
        held(Role::Peer, "prometheus-client", client_rust::counter(), |counter| {
            counter.inc();
        }),
        held(Role::Peer, "prometheus (tikv)", tikv::counter(), |counter| counter.inc()),
        held(Role::Peer, "metrics + prometheus recorder", metrics_rs::counter(), |counter| {
            counter.increment(1);
        }),
        held(Role::Peer, "opentelemetry_sdk, bound", bound, |counter| counter.add(1)),
        held(
            Role::Peer,
            "opentelemetry_sdk, 3 attributes",
            (otel, attributes),
            |(otel, attributes)| otel.add(attributes),
        ),
        held(Role::Peer, "measured", measured::counter(), |counter| counter.inc()),
        held(Role::Peer, "fastmetrics", fastmetrics::counter(), |counter| {
            counter.inc();
        }),
    ]
}

/// Measures the group.
///
/// # Errors
/// What the engine says.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let mut contenders = vec![
        ours(OURS, CellsConfig::PerCpu)?,
        ours("Tallyport, cells = shared", CellsConfig::Shared)?,
    ];
    contenders.extend(peers());
    contenders.extend(limits());
    let mut sections = Vec::new();
    for (threads, title) in [(1, "1 thread"), (2, "2 threads")] {
        if fits(threads) {
            let rows = compare(&contenders, threads, task.plan);
            sections.push(Section::new("counter", title, "ns per add", rows));
        }
    }
    Ok(sections)
}
