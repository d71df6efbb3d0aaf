//! What a helper process costs: the same file exports the same snapshot in this process and in a
//! helper, in turn; also the first export of a schema, which copies the columns of the schema too.

use std::{path::Path, time::Instant};

use tallyport_core::{
    engine::{
        Engine,
        config::{Config, IsolationConfig, Limits, PluginConfig, ProbeConfig},
    },
    snapshot::Snapshot,
};

use super::Task;
use crate::{
    artifacts,
    peers::{
        self,
        tallyport::{Ours, export},
    },
    report::{Role, Row, Section},
    targets::OURS,
};

const SERIES: usize = 1_000_000;
const FORMATS: [&str; 3] = ["prometheus", "json", "csv"];

/// Measures the group.
///
/// # Errors
/// What the engine says, or that a library or the helper does not build.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let engine = engine()?;
    peers::fill(&Ours::of(engine.clone())?, SERIES);
    let file = artifacts::loadable_exporters()?;
    for format in FORMATS {
        load(&engine, &format!("near-{format}"), &file, format, IsolationConfig::None)?;
        load(&engine, &format!("far-{format}"), &file, format, IsolationConfig::Process)?;
    }
    let snapshot = engine.snapshot().map_err(|e| e.to_string())?;
    FORMATS.iter().map(|format| compare(task, &engine, &snapshot, format)).collect()
}

fn engine() -> Result<Engine, String> {
    let mut config = Config {
        limits: Limits {
            max_series: 2 * SERIES,
            max_series_per_family: 2 * SERIES,
            max_cell_bytes: 1 << 32,
            ..Limits::default()
        },
        ..Config::default()
    };
    config.loading.plugin_host = Some(artifacts::plugin_host()?);
    config.loading.probe = ProbeConfig::Never;
    Engine::builder().config(config).build().map_err(|e| e.to_string())
}

fn load(
    engine: &Engine,
    name: &str,
    path: &Path,
    exporter: &str,
    isolation: IsolationConfig,
) -> Result<(), String> {
    let plugin = PluginConfig {
        path: Some(path.to_path_buf()),
        exporter: Some(exporter.to_owned()),
        isolation,
        ..PluginConfig::default()
    };
    engine.load_plugin(name, &plugin).map(drop).map_err(|e| e.to_string())
}

fn compare(
    task: Task,
    engine: &Engine,
    snapshot: &Snapshot,
    format: &str,
) -> Result<Section, String> {
    let milliseconds = |name: &str, snapshot: &Snapshot| {
        let start = Instant::now();
        let bytes = export(engine, snapshot, &format!("{name}-{format}"))?;
        Ok::<_, String>((start.elapsed().as_secs_f64() * 1000.0, bytes))
    };
    let (first_near, bytes) = milliseconds("near", snapshot)?;
    let (first_far, _) = milliseconds("far", snapshot)?;
    let (mut near, mut far, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..(if task.quick { 7 } else { 31 }) {
        near.push(milliseconds("near", snapshot)?.0);
        far.push(milliseconds("far", snapshot)?.0);
        ratios.extend(far.last().zip(near.last()).map(|(far, near)| far / near));
    }
    let rows = vec![
        Row::new(Role::Ours, OURS, ratios),
        Row::new(Role::Ours, "in this process, ms", near),
        Row::new(Role::Ours, "in a helper process, ms", far),
        Row::new(Role::Ours, "first of a schema, in this process, ms", vec![first_near]),
        Row::new(Role::Ours, "first of a schema, in a helper process, ms", vec![first_far]),
    ];
    let title = format!("{format}: in a helper process ÷ in this one");
    let note = format!("{SERIES} series × 3 labels, {} MB of output", bytes / 1_000_000);
    Ok(Section::new("isolation", title, "ratio", rows).note(note))
}
