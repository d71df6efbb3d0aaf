//! What it costs that processes share one arena: an add in shared memory over one in private memory,
//! and a scrape of what eight processes recorded over the same of one.

use std::{
    env, fs,
    hint::black_box,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use tallyport_builtin_exporters::EXPORTERS;
use tallyport_core::engine::{
    Engine,
    config::{CellsConfig, Config, ShareConfig},
};

use super::Task;
use crate::{
    measure::on_threads,
    peers::{
        self,
        tallyport::{self, Ours},
    },
    report::{Role, Row, Section},
    targets::OURS,
};

const SERIES: usize = 100_000;
const PROCESSES: usize = 8;
/// Adds of one sample.
const ADDS: u64 = 4 << 20;

/// Measures the group.
///
/// # Errors
/// What the engine says.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    Ok(vec![adds(task)?, scrapes(task)?])
}

fn config(share: ShareConfig, arena: Option<PathBuf>) -> Result<Config, String> {
    let mut config = tallyport::engine(CellsConfig::PerCpu)?.config().clone();
    (config.recording.share, config.recording.arena) = (share, arena);
    Ok(config)
}

fn engine(share: ShareConfig, arena: Option<PathBuf>) -> Result<Engine, String> {
    let builder = Engine::builder().config(config(share, arena)?).linked(&EXPORTERS);
    builder.build().map_err(|e| e.to_string())
}

/// The same adds on one pinned thread, in turn: memory that children share, and memory of one process.
fn adds(task: Task) -> Result<Section, String> {
    let (shared, private) = (engine(ShareConfig::Auto, None)?, engine(ShareConfig::Reset, None)?);
    let handles = |engine: &Engine| {
        let counter = engine.metrics().counter("requests_total", &[]);
        let histogram = engine.metrics().histogram("took_seconds", &[], &[]);
        Ok::<_, String>((
            counter.map_err(|e| e.to_string())?,
            histogram.map_err(|e| e.to_string())?,
        ))
    };
    let (shared_handles, private_handles) = (handles(&shared)?, handles(&private)?);
    let count = |counter: &tallyport_core::metrics::Counter| {
        let start = Instant::now();
        (0..ADDS).for_each(|_| black_box(counter).inc());
        start.elapsed().as_secs_f64()
    };
    let observe = |histogram: &tallyport_core::metrics::Histogram| {
        let start = Instant::now();
        (0..ADDS).for_each(|n| black_box(histogram).observe((n & 7) as f64));
        start.elapsed().as_secs_f64()
    };
    let (mut counters, mut histograms) = (Vec::new(), Vec::new());
    for _ in 0..task.plan.rounds {
        let ratios = on_threads(1, |_| {
            let base = count(&private_handles.0);
            let counter = count(&shared_handles.0) / base;
            let base = observe(&private_handles.1);
            (counter, observe(&shared_handles.1) / base)
        });
        for (counter, histogram) in ratios {
            counters.push(counter);
            histograms.push(histogram);
        }
    }
    let rows = vec![
        Row::new(Role::Ours, OURS, counters),
        Row::new(Role::Ours, "Tallyport, histogram", histograms),
    ];
    Ok(Section::new("shared", "add in shared memory ÷ in private memory", "ratio", rows))
}

/// Processes that record into an arena file until this is dropped.
struct Others(Vec<Child>);

impl Others {
    fn start(arena: &Path, count: usize) -> Result<Self, String> {
        let program = env::current_exe().map_err(|e| e.to_string())?;
        let mut others = Self(Vec::new());
        for _ in 0..count {
            let child = Command::new(&program)
                .args(["--child", "shared"])
                .arg(arena)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn();
            others.0.push(child.map_err(|e| e.to_string())?);
        }
        for child in &mut others.0 {
            let mut line = String::new();
            if let Some(out) = &mut child.stdout {
                BufReader::new(out).read_line(&mut line).map_err(|e| e.to_string())?;
            }
            if line.trim() != "ready" {
                return Err(format!("a process that records says {line:?}"));
            }
        }
        Ok(others)
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It ends with its input.
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

/// The child's side: records into every series, and stays.
///
/// # Errors
/// What the engine says.
pub fn child(path: &str) -> Result<(), String> {
    let family = Ours::of(engine(ShareConfig::File, Some(path.into()))?)?;
    peers::fill(&family, SERIES);
    println!("ready");
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop).map_err(|e| e.to_string())
}

/// Prometheus text of the same series: of an arena that one process has, and of one that eight have,
/// which made the series at the same time.
fn scrapes(task: Task) -> Result<Section, String> {
    let folder = env::temp_dir().join(format!("tallyport-benches-{}", std::process::id()));
    fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
    let measured = scrapes_in(&folder, task);
    let _ = fs::remove_dir_all(&folder);
    measured
}

fn scrapes_in(folder: &Path, task: Task) -> Result<Section, String> {
    let (one, eight) = (folder.join("one.arena"), folder.join("eight.arena"));
    let alone = Ours::of(engine(ShareConfig::File, Some(one))?)?;
    peers::fill(&alone, SERIES);
    let others = Others::start(&eight, PROCESSES - 1)?;
    let together = Ours::of(engine(ShareConfig::File, Some(eight))?)?;
    peers::fill(&together, SERIES);
    let scrape = |engine: &Engine| {
        let start = Instant::now();
        let snapshot = engine.snapshot().map_err(|e| e.to_string())?;
        let bytes = tallyport::export(engine, &snapshot, "prometheus")?;
        Ok::<_, String>((start.elapsed().as_secs_f64(), bytes))
    };
    let mut ratios = Vec::new();
    for round in 0..=(if task.quick { 7 } else { 41 }) {
        let (base, bytes) = scrape(&alone.0)?;
        let (time, more) = scrape(&together.0)?;
        // Sums have more digits than their parts.
        if more < bytes || more > bytes + bytes / 10 {
            return Err(format!("eight processes made {more} bytes, one {bytes}"));
        }
        // The first one renders the labels.
        if round > 0 {
            ratios.push(time / base);
        }
    }
    drop(others);
    let rows = vec![Row::new(Role::Ours, OURS, ratios)];
    let title = format!("scrape of {SERIES} series: of {PROCESSES} processes ÷ of one");
    Ok(Section::new("shared", title, "ratio", rows))
}
