//! What comes with loading: an engine without plugins, the plugin boundary, the library's size.

use std::{
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use tallyport_builtin_exporters::EXPORTERS;
use tallyport_core::engine::{
    Engine,
    config::{CellsConfig, PluginConfig},
};

use super::Task;
use crate::{
    artifacts, dataset,
    measure::{Contender, compare},
    peers::{
        self,
        tallyport::{self, Ours, export},
    },
    raw::tallyport_so::TallyportSo,
    report::{Role, Row, Section},
    targets::OURS,
};

#[path = "../../walker/src/walk.rs"]
mod walker;

const SERIES: usize = 1_000_000;

/// Measures the group.
///
/// # Errors
/// What the engine says, or that a library does not build.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    Ok(vec![ready(task)?, walk(task)?, loaded_or_linked(task)?, size()?])
}

/// A new engine in this process, and a new process that opens the library.
fn ready(task: Task) -> Result<Section, String> {
    let rounds = if task.quick { 5 } else { 31 };
    let so = artifacts::libtallyport()?;
    let (mut linked, mut opened) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        let engine = Engine::builder().linked(&EXPORTERS).build();
        linked.push(milliseconds(start));
        drop(engine.map_err(|e| e.to_string())?);
        let program = env::current_exe().map_err(|e| e.to_string())?;
        let out = Command::new(program).args(["--child", "load"]).arg(&so).output();
        let out = out.map_err(|e| e.to_string())?;
        let text = String::from_utf8_lossy(&out.stdout);
        let sample = text.trim().parse().map_err(|_| {
            format!("child: {}{}", text.trim(), String::from_utf8_lossy(&out.stderr).trim())
        })?;
        opened.push(sample);
    }
    let rows = vec![
        Row::new(Role::Ours, OURS, linked),
        Row::new(Role::Ours, "Tallyport, dlopen + engine, C ABI", opened),
    ];
    Ok(Section::new("load", "engine ready without plugins", "ms", rows))
}

/// The child's side: opens the library and an engine in a new process, and prints the time.
///
/// # Errors
/// What the loader says.
pub fn child(path: &str) -> Result<(), String> {
    let start = Instant::now();
    let so = TallyportSo::open(Path::new(path))?;
    println!("{}", milliseconds(start));
    black_box(&so);
    Ok(())
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

fn loaded(engine: &Engine, name: &str, path: &Path, exporter: Option<&str>) -> Result<(), String> {
    let plugin = PluginConfig {
        path: Some(path.to_path_buf()),
        exporter: exporter.map(str::to_owned),
        ..PluginConfig::default()
    };
    engine.load_plugin(name, &plugin).map(drop).map_err(|e| e.to_string())
}

/// A plugin that looks at every label and value, and does no more.
fn walk(task: Task) -> Result<Section, String> {
    let engine = tallyport::engine(CellsConfig::PerCpu)?;
    for index in 0..SERIES {
        let [a, b, c] = dataset::set(index);
        let labels = [("instance", a), ("route", b), ("code", c), ("zone", "eu-west-1a")];
        let counter = engine.metrics().counter(dataset::NAME, &labels);
        counter.map_err(|e| e.to_string())?.add(dataset::value(index));
    }
    loaded(&engine, "walker", &artifacts::walker()?, None)?;
    let snapshot = engine.snapshot().map_err(|e| e.to_string())?;
    let mut line = Vec::new();
    let done = engine.export_snapshot(&snapshot, "walker", &mut |chunk| {
        line.extend_from_slice(chunk);
        Ok(())
    });
    done.map_err(|e| e.to_string())?;
    let line = String::from_utf8_lossy(&line).trim().to_owned();
    let here = snapshot.clone();
    let direct =
        Contender::new(Role::Ours, "Tallyport, the same walk in this program", move |_, times| {
            for _ in 0..times {
                let seen =
                    here.read(|view| Ok::<_, tallyport_plugin_api::Error>(walker::walk(view)));
                assert!(black_box(seen).is_ok());
            }
        });
    let walker = Contender::new(Role::Ours, "Tallyport, loaded plugin", move |_, times| {
        for _ in 0..times {
            assert!(export(&engine, &snapshot, "walker").is_ok());
        }
    });
    // Nanoseconds per million parts are milliseconds.
    let rows = compare(&[walker.per(1_000_000), direct.per(1_000_000)], 1, task.plan.slow());
    let title = format!("walking {SERIES} series × 4 labels");
    Ok(Section::new("load", title, "ms", rows).note(format!("the plugin saw {line}")))
}

/// The same exporter linked in and loaded from its file, in turn on one snapshot.
fn loaded_or_linked(task: Task) -> Result<Section, String> {
    let family = Ours::new()?;
    peers::fill(&family, SERIES);
    let engine = family.0;
    loaded(&engine, "loaded", &artifacts::loadable_exporters()?, Some("prometheus"))?;
    let snapshot = engine.snapshot().map_err(|e| e.to_string())?;
    for name in ["prometheus", "loaded"] {
        export(&engine, &snapshot, name)?;
    }
    let mut ratios = Vec::new();
    for _ in 0..(if task.quick { 5 } else { 31 }) {
        let time = |name| {
            let start = Instant::now();
            export(&engine, &snapshot, name).map(|_| start.elapsed().as_secs_f64())
        };
        let linked = time("prometheus")?;
        ratios.push(time("loaded")? / linked);
    }
    let rows = vec![Row::new(Role::Ours, OURS, ratios)];
    Ok(Section::new("load", "exporter loaded ÷ linked in", "ratio", rows))
}

/// The shared library: as small as it can be had, and as a distribution ships it.
fn size() -> Result<Section, String> {
    let so = artifacts::libtallyport()?;
    let small = artifacts::libtallyport_without_stores()?;
    let row = |name, path: &Path| {
        let bytes = fs::metadata(path).map_err(|e| e.to_string())?.len();
        Ok::<_, String>(Row::new(Role::Ours, name, vec![bytes as f64 / f64::from(1 << 20)]))
    };
    let rows = vec![
        row("Tallyport, stripped, no stores", &stripped(&small)?)?,
        row("Tallyport, stripped", &stripped(&so)?)?,
        row("Tallyport, as built", &so)?,
    ];
    Ok(Section::new("load", "libtallyport.so", "MiB", rows))
}

fn stripped(so: &Path) -> Result<PathBuf, String> {
    let stripped = so.with_extension("stripped");
    let status = Command::new("strip").arg("-o").arg(&stripped).arg(so).status();
    if !status.map_err(|e| format!("strip: {e}"))?.success() {
        return Err("strip failed".to_owned());
    }
    Ok(stripped)
}
