//! Resident bytes per series: a child process per contender makes a million series, touches each
//! once on one CPU, and says by how much its resident memory grew.
//!
//! Text of labels is made before and not counted; what a contender copies of it is.

use std::{env, fs, hint::black_box, process::Command};

use super::Task;
use crate::{
    artifacts, dataset,
    peers::{
        self, Family, client_rust, fastmetrics, measured, metrics_rs, opentelemetry,
        tallyport::Ours, tikv,
    },
    raw::{
        prometheus_cpp::{PrometheusCpp, Texts},
        system,
    },
    report::{Role, Row, Section},
    targets::OURS,
};

const SERIES: usize = 1_000_000;

/// A contender's number in the child, and its name.
const CONTENDERS: &[(Role, &str)] = &[
    (Role::Ours, OURS),
    (Role::Ours, "Tallyport, after a snapshot"),
    (Role::Ours, "Tallyport, after a Prometheus export"),
    (Role::Peer, "measured, fixed sets"),
    (Role::Peer, "measured, dynamic sets"),
    (Role::Peer, "prometheus-client"),
    (Role::Peer, "fastmetrics"),
    (Role::Peer, "metrics + prometheus recorder"),
    (Role::Peer, "prometheus (tikv)"),
    (Role::Peer, "opentelemetry_sdk"),
    (Role::Peer, "prometheus-cpp"),
];

/// Measures the group.
///
/// # Errors
/// What a child says.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let runs = if task.quick { 1 } else { 3 };
    let mut rows = Vec::new();
    let mut missing = None;
    for &(role, name) in CONTENDERS {
        let samples: Result<Vec<f64>, String> = (0..runs).map(|_| measure(name)).collect();
        match samples {
            Ok(samples) => rows.push(Row::new(role, name, samples)),
            Err(error) if name == "prometheus-cpp" => missing = Some(error),
            Err(error) => return Err(error),
        }
    }
    let title = format!("{SERIES} series, 3 labels, one CPU");
    let mut section = Section::new("memory", title, "bytes per series", rows);
    section.notes.extend(missing.map(|error| format!("without prometheus-cpp: {error}")));
    Ok(vec![section])
}

fn measure(name: &str) -> Result<f64, String> {
    let program = env::current_exe().map_err(|e| e.to_string())?;
    let out = Command::new(program).args(["--child", "memory", name]).output();
    let out = out.map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&out.stdout);
    text.trim().parse().map_err(|_| {
        format!("{name}: {}{}", text.trim(), String::from_utf8_lossy(&out.stderr).trim())
    })
}

/// The child's side: prints the bytes per series.
///
/// # Errors
/// An unknown contender; what the engine says.
pub fn child(name: &str) -> Result<(), String> {
    let cpu = system::cpus().first().copied().unwrap_or(0);
    system::pin(cpu);
    black_box(dataset::set(0));
    let bytes = match name {
        OURS => grown(Ours::new()?, |_| ()),
        "Tallyport, after a snapshot" => grown(Ours::new()?, |ours| {
            black_box(ours.0.snapshot().is_ok());
        }),
        "Tallyport, after a Prometheus export" => grown(Ours::new()?, |ours| {
            let done = ours.0.export("prometheus", &mut |chunk| {
                black_box(chunk);
                Ok(())
            });
            assert!(done.is_ok());
        }),
        "measured, fixed sets" => grown(measured::Fixed::default(), |_| ()),
        "measured, dynamic sets" => grown(measured::Dynamic::default(), |_| ()),
        "prometheus-client" => grown(client_rust::ClientRust::default(), |_| ()),
        "fastmetrics" => grown(fastmetrics::FastMetrics::default(), |_| ()),
        "metrics + prometheus recorder" => grown(metrics_rs::MetricsRs::default(), |_| ()),
        "prometheus (tikv)" => grown(tikv::Tikv::default(), |_| ()),
        "opentelemetry_sdk" => grown(opentelemetry::OpenTelemetry::default(), |_| ()),
        "prometheus-cpp" => prometheus_cpp()?,
        other => return Err(format!("no contender `{other}`")),
    };
    println!("{bytes}");
    Ok(())
}

fn grown<F: Family>(family: F, after: impl FnOnce(&F)) -> f64 {
    let before = resident();
    peers::fill(&family, SERIES);
    after(&family);
    let grown = resident() - before;
    black_box(&family);
    grown / SERIES as f64
}

fn prometheus_cpp() -> Result<f64, String> {
    let cpp = PrometheusCpp::open(&artifacts::prometheus_cpp()?)?;
    let sets: Vec<Texts> = (0..SERIES).map(|n| Texts::new(dataset::set(n))).collect();
    let order: Vec<u32> = (0..SERIES as u32).collect();
    let before = resident();
    cpp.lookup_many(&sets, &order, SERIES as u64);
    Ok((resident() - before) / SERIES as f64)
}

/// Resident bytes of this process.
fn resident() -> f64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok());
    (pages.unwrap_or(0) * system::page_bytes()) as f64
}
