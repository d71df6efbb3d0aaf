//! The inner side of a case: a process that loads the file, runs the case and writes the result.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use serde::{Deserialize, Serialize};

use crate::{
    cases::{self, LOAD},
    data,
    report::ExporterReport,
    rng::Rng,
    sys::{
        desk::HostShape,
        file::{self, Exporter, File, Step},
        instance::{Ask, Instance},
        process,
        snapshot::{Layout, Lent},
        surroundings::Surroundings,
    },
    trial::{Done, Stop, Trial},
};

/// The case that takes times for [`probe`](crate::probe); not one of [`cases`](crate::cases()).
pub(crate) const PROBE: &str = "probe";

/// What the runner tells the process of a case.
#[derive(Debug, Clone)]
pub struct ChildArgs {
    /// The plugin file.
    pub file: PathBuf,
    /// The exporter; empty for a case of the file.
    pub exporter: String,
    /// Name of the case.
    pub case: String,
    /// What random cases follow from.
    pub seed: u64,
    /// Series of the case `many-series`.
    pub series: u32,
    /// Rounds of random cases.
    pub rounds: u32,
    /// Options of the exporter: a JSON object, or empty.
    pub options: String,
    /// Where the result goes.
    pub result: PathBuf,
}

/// What a case's process writes.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ChildResult {
    pub(crate) verdict: String,
    pub(crate) text: String,
    pub(crate) probe: Probe,
}

/// A file, loaded in a process of its own, with the time of each step.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Its exporters; none where a step before failed.
    pub exporters: Vec<ExporterReport>,
    /// The steps, in order; the last one may have failed.
    pub steps: Vec<ProbeStep>,
}

/// A step of loading.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProbeStep {
    /// Its name.
    pub name: String,
    /// How long it took.
    pub microseconds: u64,
    /// Whether it went well.
    pub ok: bool,
    /// What was found, or why it failed.
    pub text: String,
}

/// Runs one case in this process, which must have been started for it, and writes the result.
///
/// Returns whether the result could be written. What the case found is in it.
#[must_use]
pub fn run_child(args: &ChildArgs) -> bool {
    process::prepare();
    let result = run(args);
    let text = serde_json::to_string(&result).unwrap_or_default();
    // Whole or not at all: the runner takes a missing result for a process that ended early.
    let fresh = args.result.with_extension("part");
    fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, &args.result)).is_ok()
}

fn run(args: &ChildArgs) -> ChildResult {
    let before = Surroundings::now();
    let (file, steps) = file::load(&args.file);
    let mut probe = Probe {
        exporters: file.iter().flat_map(|file| file.exporters.iter().map(named)).collect(),
        steps: steps.iter().map(told).collect(),
    };
    let Some(file) = file else {
        let why = steps.last().and_then(|step| step.outcome.as_ref().err());
        let text = why.cloned().unwrap_or_default();
        return ChildResult { verdict: "failed".to_owned(), text, probe };
    };
    let done = match args.case.as_str() {
        name if name == LOAD.0 => Ok(()),
        PROBE => {
            for exporter in &file.exporters {
                uses(exporter, &args.options, &mut probe.steps);
            }
            Ok(())
        }
        name => on_exporter(args, name, &file, &before),
    };
    let (verdict, text) = match done {
        Ok(()) => ("ok", String::new()),
        Err(Stop::Fail(text)) => ("failed", text),
        Err(Stop::Skip(text)) => ("skipped", text),
        Err(Stop::Broken(text)) => ("broken", text),
    };
    ChildResult { verdict: verdict.to_owned(), text, probe }
}

fn named(exporter: &Exporter) -> ExporterReport {
    let table = &exporter.table;
    ExporterReport { id: table.id.clone(), version: table.version.clone() }
}

fn told(step: &Step) -> ProbeStep {
    let (ok, text) = match &step.outcome {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    let microseconds = u64::try_from(step.took.as_micros()).unwrap_or(u64::MAX);
    ProbeStep { name: step.name.to_owned(), microseconds, ok, text: text.clone() }
}

fn on_exporter(args: &ChildArgs, name: &str, file: &File, before: &Surroundings) -> Done {
    let case = cases::by_name(name);
    let case = case.ok_or_else(|| Stop::Broken(format!("there is no case `{name}`")))?;
    let exporter = file.exporters.iter().find(|exporter| exporter.table.id == args.exporter);
    let exporter = exporter
        .ok_or_else(|| Stop::Fail(format!("the exporter `{}` is not there", args.exporter)))?;
    // The same seed gives a case the same numbers, whichever others run.
    let own = name
        .bytes()
        .fold(args.seed, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    let mut trial = Trial {
        file,
        exporter,
        before,
        options: &args.options,
        series: args.series,
        rounds: args.rounds,
        rng: Rng::new(own),
    };
    (case.run)(&mut trial)
}

/// A first use of an exporter, timed: created, an export of nothing, shut down, destroyed.
fn uses(exporter: &Exporter, options: &str, steps: &mut Vec<ProbeStep>) {
    let id = &exporter.table.id;
    let mut step = |what: &str, start: Instant, outcome: Result<String, String>| {
        let microseconds = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (ok, text) = (outcome.is_ok(), outcome.unwrap_or_else(|text| text));
        steps.push(ProbeStep { name: format!("{what} {id}"), microseconds, ok, text });
        ok
    };
    let start = Instant::now();
    let made = Instance::create(exporter, HostShape::default(), options.as_bytes());
    let made = made.and_then(|made| made.map_err(|(answer, _)| answer.to_string()));
    let instance = match made {
        Ok(instance) => instance,
        Err(text) => {
            step("create", start, Err(text));
            return;
        }
    };
    step("create", start, Ok(format!("version {}", exporter.table.version)));
    let format = exporter.table.formats.first().map_or("", |format| format.name.as_str());
    let start = Instant::now();
    let exported = Lent::new(&data::empty(), Layout::default())
        .and_then(|lent| instance.export(format, &lent, Ask::default()));
    let exported = exported.and_then(|done| match done.answer.ok() {
        true => Ok(format!("{} bytes of `{format}` for no metrics", done.sink.bytes.len())),
        false => Err(done.answer.to_string()),
    });
    step("export", start, exported);
    let start = Instant::now();
    let shut = match instance.shutdown() {
        Ok(Some(answer)) if !answer.ok() => Err(answer.to_string()),
        Ok(_) => Ok("shut down and destroyed".to_owned()),
        Err(text) => Err(text),
    };
    drop(instance);
    step("stop", start, shut);
}

impl ChildResult {
    /// Reads what a child wrote; `None`: it wrote nothing whole.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}
