//! A held histogram of 11 bounds, observations spread evenly over its buckets.
//!
//! Values come from an array of 4096, so that no branch predictor learns where the next belongs.

use std::{hint::black_box, sync::Arc};

use tallyport_core::engine::config::CellsConfig;

use super::Task;
use crate::{
    artifacts,
    dataset::{self, BOUNDS},
    measure::{Contender, compare, fits},
    peers::{client_rust, fastmetrics, measured, metrics_rs, opentelemetry, tallyport, tikv},
    raw::{prometheus_cpp::PrometheusCpp, rseq, tallyport_so::TallyportSo},
    report::{Role, Section},
    targets::{BARE_PAIR, OURS},
};

type Values = Arc<[f64]>;

fn held<T: Send + Sync + 'static>(
    role: Role,
    name: &str,
    values: &Values,
    handle: T,
    observe: impl Fn(&T, f64) + Send + Sync + 'static,
) -> Contender {
    let values = Arc::clone(values);
    Contender::new(role, name, move |_, times| {
        for n in 0..times {
            let value = values[n as usize & 0xfff & (values.len() - 1)];
            observe(black_box(&handle), value);
        }
    })
}

fn ours(name: &str, values: &Values, cells: CellsConfig) -> Result<Contender, String> {
    let engine = tallyport::engine(cells)?;
    let histogram = engine.metrics().histogram("wait_seconds", &BOUNDS, &[]);
    let histogram = histogram.map_err(|e| e.to_string())?;
    Ok(held(Role::Ours, name, values, (histogram, engine), |(histogram, _), value| {
        histogram.observe(value);
    }))
}

fn rust_peers(values: &Values) -> Vec<Contender> {
    let otel = opentelemetry::OpenTelemetry::default();
    let bound = otel.histogram();
    let (recorded, recorder) = metrics_rs::histogram();
    let metrics_values = Arc::clone(values);
    vec![
        held(Role::Peer, "prometheus-client", values, client_rust::histogram(), |h, v| {
            h.observe(v);
        }),
        held(Role::Peer, "prometheus (tikv)", values, tikv::histogram(), |h, v| h.observe(v)),
        // It keeps observations until its upkeep runs, so the upkeep is part of the cost.
        Contender::new(Role::Peer, "metrics + prometheus recorder", move |thread, times| {
            for n in 0..times {
                black_box(&recorded).record(metrics_values[n as usize & 0xfff]);
                if thread == 0 && n & 0xffff == 0xffff {
                    metrics_rs::drain(recorder);
                }
            }
            metrics_rs::drain(recorder);
        }),
        held(Role::Peer, "opentelemetry_sdk, bound", values, (bound, otel), |(h, _), v| {
            h.record(v);
        }),
        held(Role::Peer, "measured", values, measured::histogram(), |h, v| h.observe(v)),
        held(Role::Peer, "fastmetrics", values, fastmetrics::histogram(), |h, v| h.observe(v)),
    ]
}

fn limits(values: &Values) -> Vec<Contender> {
    let mut limits = vec![held(Role::Limit, "limit: bucket search alone", values, (), |(), v| {
        black_box(bucket(v));
    })];
    if let Some(bare) = rseq::Bare::detect() {
        limits.push(held(Role::Limit, BARE_PAIR, values, bare, |bare, value| {
            bare.add_pair(bucket(value), value);
        }));
    }
    limits
}

/// Branchless search over bounds that the compiler does not know.
#[inline]
fn bucket(value: f64) -> usize {
    static PADDED: [f64; 16] = {
        let mut padded = [f64::INFINITY; 16];
        let mut at = 0;
        while at < BOUNDS.len() {
            padded[at] = BOUNDS[at];
            at += 1;
        }
        padded
    };
    let bounds = black_box(&PADDED);
    bounds.iter().map(|bound| usize::from(*bound < value)).sum()
}

fn over_c(values: &Values) -> Result<Vec<Contender>, String> {
    let so = TallyportSo::open(&artifacts::libtallyport()?)?;
    let histogram = so.histogram("wait_seconds", &BOUNDS)?;
    let cpp = PrometheusCpp::open(&artifacts::prometheus_cpp()?)?;
    let cpp_values = Arc::clone(values);
    Ok(vec![
        held(Role::Ours, "Tallyport, C ABI", values, histogram, |h, v| h.observe(v)),
        Contender::new(Role::Peer, "prometheus-cpp", move |_, times| {
            cpp.observe_many(&cpp_values, times);
        }),
    ])
}

/// Measures the group.
///
/// # Errors
/// What the engine says. Without the libraries of the C side their rows are missing.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let values: Values = dataset::observations().into();
    let mut contenders = vec![
        ours(OURS, &values, CellsConfig::PerCpu)?,
        ours("Tallyport, cells = shared", &values, CellsConfig::Shared)?,
    ];
    let over_c = over_c(&values);
    let missing = over_c.as_ref().err().map(|error| format!("without the C ABI: {error}"));
    contenders.extend(over_c.unwrap_or_default());
    contenders.extend(rust_peers(&values));
    contenders.extend(limits(&values));
    let mut sections = Vec::new();
    for (threads, title) in [(1, "1 thread"), (2, "2 threads")] {
        if fits(threads) {
            let rows = compare(&contenders, threads, task.plan);
            let mut section = Section::new("histogram", title, "ns per observe", rows);
            section.notes.extend(missing.clone());
            sections.push(section);
        }
    }
    Ok(sections)
}
