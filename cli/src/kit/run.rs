//! The outer side: a process for each case, its time limit, and the verdict on how it ended.

use std::{
    ffi::OsString,
    fmt,
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tallyport_core::plugin::{FileInfo, inspect_file};

use crate::{
    cases::{ALL, LOAD},
    child::{ChildResult, PROBE, Probe},
    report::{CaseReport, ExporterReport, FileReport, Verdict},
    sys::process::{End, Group},
    words,
};

/// Most of a case's output that is kept.
const MAX_OUTPUT: usize = 64 * 1024;

/// A check that is to be run.
#[derive(Debug, Clone)]
pub struct Check {
    /// The plugin file.
    pub file: PathBuf,
    /// One exporter of the file, by id; all of them without.
    pub exporter: Option<String>,
    /// Names of cases; all of them where it is empty.
    pub cases: Vec<String>,
    /// What random cases follow from.
    pub seed: u64,
    /// Series of the case `many-series`.
    pub series: u32,
    /// Rounds of random cases.
    pub rounds: u32,
    /// Options of the exporters: a JSON object, or empty.
    pub options: String,
    /// Time limit of a case.
    pub limit: Duration,
    /// Cases that run at the same time.
    pub jobs: usize,
    /// The program, with its first arguments, that hands over to [`run_child`](crate::run_child).
    /// It gets: file, exporter, case, seed, series, rounds, options, result.
    pub program: Vec<OsString>,
}

/// Why there is no report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckError {
    /// No host would look at the file any further; none of its code ran.
    Refused(String),
    /// There is no such case or exporter.
    Unknown(String),
    /// The machine refused.
    Machine(String),
}

impl fmt::Display for CheckError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(text) | Self::Unknown(text) | Self::Machine(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for CheckError {}

/// How a case's process ended, and what it left.
struct Ended {
    end: End,
    /// Processes of the group outlived it.
    left: bool,
    result: Option<ChildResult>,
    output: String,
    took: Duration,
}

/// One case on one exporter, to be run.
struct Task {
    exporter: Option<String>,
    case: &'static str,
    promise: &'static str,
    random: bool,
}

impl Check {
    /// Runs the cases. `on_case` is told of each one, in order.
    ///
    /// # Errors
    /// When the file is no plugin, when a case or an exporter does not exist, or when the machine
    /// gives no processes. That cases failed is in the report.
    pub fn run(&self, on_case: &(dyn Fn(&CaseReport) + Sync)) -> Result<FileReport, CheckError> {
        let start = Instant::now();
        let known = |name: &String| name == LOAD.0 || ALL.iter().any(|case| case.name == name);
        if let Some(unknown) = self.cases.iter().find(|name| !known(name)) {
            return Err(CheckError::Unknown(format!("there is no case `{unknown}`")));
        }
        // None of the file's code runs here.
        let info = inspect_file(&self.file).map_err(|e| CheckError::Refused(e.to_string()))?;
        let folder = tempfile::tempdir().map_err(|e| CheckError::Machine(e.to_string()))?;
        let load = Task { exporter: None, case: LOAD.0, promise: LOAD.1, random: false };
        let ended = self.start(&load, &folder.path().join("load"))?;
        let exporters = match &ended.result {
            Some(result) => result.probe.exporters.clone(),
            None => Vec::new(),
        };
        let loaded = self.judge(&load, ended);
        // What cannot be loaded whole is not looked at any further.
        let exporters = if loaded.verdict == Verdict::Ok { exporters } else { Vec::new() };
        let chosen = exporters.into_iter();
        let chosen = chosen.filter(|one| self.exporter.as_ref().is_none_or(|id| *id == one.id));
        let chosen: Vec<_> = chosen.collect();
        if let (Some(id), true, Verdict::Ok) = (&self.exporter, chosen.is_empty(), loaded.verdict) {
            return Err(CheckError::Unknown(format!("the file has no exporter `{id}`")));
        }
        let mut cases = Vec::new();
        if loaded.verdict != Verdict::Ok || self.wants(LOAD.0) {
            on_case(&loaded);
            cases.push(loaded.clone());
        }
        let wanted: Vec<_> = ALL.iter().filter(|case| self.wants(case.name)).collect();
        let tasks = chosen.iter().flat_map(|exporter| {
            wanted.iter().map(|case| Task {
                exporter: Some(exporter.id.clone()),
                case: case.name,
                promise: case.promise,
                random: case.random,
            })
        });
        let tasks: Vec<Task> = tasks.collect();
        cases.extend(self.all(&tasks, folder.path(), on_case)?);
        Ok(self.report(info, chosen, cases, start.elapsed()))
    }

    fn report(
        &self,
        info: FileInfo,
        exporters: Vec<ExporterReport>,
        cases: Vec<CaseReport>,
        took: Duration,
    ) -> FileReport {
        let count = |verdict| cases.iter().filter(|case| case.verdict == verdict).count();
        FileReport {
            schema: "tallyport.plugin-check/1",
            file: self.file.clone(),
            id: info.id,
            version: info.version,
            exporters,
            seed: self.seed,
            notes: vec![
                "owner and mode of the file were not looked at, as it may lie in a build tree; \
                 hosts refuse a file that others can write"
                    .to_owned(),
            ],
            passed: count(Verdict::Ok),
            failed: count(Verdict::Failed),
            skipped: count(Verdict::Skipped),
            broken: count(Verdict::Broken),
            milliseconds: millis(took),
            cases,
        }
    }

    fn wants(&self, name: &str) -> bool {
        self.cases.is_empty() || self.cases.iter().any(|case| case == name)
    }

    /// Runs tasks on `jobs` threads and tells of them in order.
    fn all(
        &self,
        tasks: &[Task],
        folder: &Path,
        on_case: &(dyn Fn(&CaseReport) + Sync),
    ) -> Result<Vec<CaseReport>, CheckError> {
        let next = AtomicUsize::new(0);
        let failed: Mutex<Option<CheckError>> = Mutex::new(None);
        let (send, receive) = mpsc::channel::<(usize, CaseReport)>();
        let mut done: Vec<Option<CaseReport>> = tasks.iter().map(|_| None).collect();
        thread::scope(|scope| {
            for _ in 0..self.jobs.clamp(1, 64).min(tasks.len()) {
                let send = send.clone();
                let (next, failed) = (&next, &failed);
                scope.spawn(move || {
                    loop {
                        let at = next.fetch_add(1, Relaxed);
                        let Some(task) = tasks.get(at) else { return };
                        match self.start(task, &folder.join(at.to_string())) {
                            // The receiver lives as long as this scope.
                            Ok(ended) => drop(send.send((at, self.judge(task, ended)))),
                            Err(error) => {
                                next.store(usize::MAX / 2, Relaxed);
                                *failed.lock().unwrap_or_else(PoisonError::into_inner) =
                                    Some(error);
                                return;
                            }
                        }
                    }
                });
            }
            drop(send);
            let mut told = 0;
            for (at, report) in receive {
                if let Some(slot) = done.get_mut(at) {
                    *slot = Some(report);
                }
                while let Some(report) = done.get(told).and_then(Option::as_ref) {
                    on_case(report);
                    told += 1;
                }
            }
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(done.into_iter().flatten().collect()),
        }
    }

    /// Starts the process of a case and waits for its end, or makes it.
    fn start(&self, task: &Task, result: &Path) -> Result<Ended, CheckError> {
        let machine = |error: std::io::Error| {
            CheckError::Machine(format!("the process of the case `{}`: {error}", task.case))
        };
        let [program, first @ ..] = self.program.as_slice() else {
            return Err(CheckError::Machine("the kit was given no program".to_owned()));
        };
        let mut command = Command::new(program);
        command.args(first).arg(&self.file).arg(task.exporter.as_deref().unwrap_or(""));
        command.arg(task.case).arg(self.seed.to_string()).arg(self.series.to_string());
        command.arg(self.rounds.to_string()).arg(&self.options).arg(result);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = Instant::now();
        let mut group = Group::spawn(&mut command).map_err(machine)?;
        let stdout = gather(group.child.stdout.take());
        let stderr = gather(group.child.stderr.take());
        // A million series take their time in a debug build.
        let extra = match task.case {
            "many-series" => Duration::from_secs(u64::from(self.series / 20_000)),
            _ => Duration::ZERO,
        };
        let (end, left) = group.end(start + self.limit + extra).map_err(machine)?;
        let took = start.elapsed();
        // Somebody who left the group may keep the pipe open: then what came is enough.
        let text = |from: mpsc::Receiver<Vec<u8>>| {
            let bytes = from.recv_timeout(Duration::from_secs(2)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let (stdout, stderr) = (text(stdout), text(stderr));
        let result = ChildResult::read(result);
        Ok(Ended { end, left, result, output: stdout + &stderr, took })
    }

    fn judge(&self, task: &Task, ended: Ended) -> CaseReport {
        let Ended { end, left, result, output, took } = ended;
        let printed = match output.trim() {
            "" => String::new(),
            text => format!("; printed: {}", words::short(text)),
        };
        let over = result.is_some();
        let when = if over { "after the case was over" } else { "before the case was over" };
        let (verdict, text) = match (end, result) {
            (End::Timeout, _) => {
                let limit = self.limit.as_secs_f64();
                let text = format!("it did not come back within {limit} s, and was killed");
                (Verdict::Failed, text + &printed)
            }
            (End::Signal(signal), _) => {
                let signal = words::signal(signal);
                let hint = if over { "" } else { fault(task.case) };
                (Verdict::Failed, format!("the process died of {signal} {when}{hint}{printed}"))
            }
            (End::Exit(code), None) => {
                (Verdict::Failed, format!("the process ended with code {code} {when}{printed}"))
            }
            (End::Exit(code), Some(_)) if code != 0 => {
                (Verdict::Failed, format!("the process ended with code {code} {when}{printed}"))
            }
            (End::Exit(_), Some(result)) => match result.verdict.as_str() {
                "ok" if task.case == "quiet" && !output.is_empty() => {
                    (Verdict::Failed, format!("it printed: {}", words::short(&output)))
                }
                "ok" if task.case == "nothing-left" && left => {
                    (Verdict::Failed, "it left processes behind".to_owned())
                }
                "ok" => (Verdict::Ok, result.text),
                "failed" => (Verdict::Failed, result.text),
                "skipped" => (Verdict::Skipped, result.text),
                _ => (Verdict::Broken, result.text),
            },
        };
        let again = matches!(verdict, Verdict::Failed | Verdict::Broken);
        CaseReport {
            exporter: task.exporter.clone(),
            case: task.case,
            promise: task.promise,
            verdict,
            text,
            milliseconds: millis(took),
            reproduce: again.then(|| self.reproduce(task)),
        }
    }

    fn reproduce(&self, task: &Task) -> String {
        let id = task.exporter.as_ref().map(|id| format!("@{id}")).unwrap_or_default();
        let mut line = format!("tallyport plugins check {}{id}", self.file.display());
        line.push_str(&format!(" --case {}", task.case));
        if task.random {
            line.push_str(&format!(" --seed {} --rounds {}", self.seed, self.rounds));
        }
        if task.case == "many-series" {
            line.push_str(&format!(" --series {}", self.series));
        }
        if !self.options.is_empty() {
            line.push_str(&format!(" --options '{}'", self.options));
        }
        line
    }
}

/// What a fault in the memory of a case means.
fn fault(case: &str) -> &'static str {
    match case {
        "borrowed" => ": it may have used what was lent to it for a call that had returned",
        "read-only" => ": it may have written to the snapshot",
        "layouts" => ": it may have read past the end of a column",
        "older-host" => ": it may have read past `struct_size` (TALLYPORT_HAS asks)",
        "sparse-host" => ": it may have called a service that is NULL",
        "sink-windows" => ": it may have written past what sink_reserve lent",
        _ => "",
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Reads a pipe to its end on a thread, and keeps the start of it.
fn gather(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut kept = Vec::new();
        let mut chunk = [0; 8192];
        let mut pipe = pipe;
        while let Some(count) = pipe.as_mut().and_then(|pipe| pipe.read(&mut chunk).ok()) {
            let room = MAX_OUTPUT.saturating_sub(kept.len());
            kept.extend_from_slice(chunk.get(..count.min(room)).unwrap_or(&[]));
            if count == 0 {
                break;
            }
        }
        // Nobody waits for it any more: then it is not needed.
        let _ = send.send(kept);
    });
    receive
}

/// Loads the file in a process of its own, creates each exporter and exports nothing with it.
///
/// # Errors
/// [`CheckError::Machine`]. What went wrong with the file is the last step of the probe.
pub fn probe(check: &Check) -> Result<Probe, CheckError> {
    let folder = tempfile::tempdir().map_err(|e| CheckError::Machine(e.to_string()))?;
    let task = Task { exporter: None, case: PROBE, promise: "", random: false };
    let ended = check.start(&task, &folder.path().join("probe"))?;
    let report = |text: String| crate::child::ProbeStep {
        name: "process".to_owned(),
        microseconds: u64::try_from(ended.took.as_micros()).unwrap_or(u64::MAX),
        ok: false,
        text,
    };
    let problem = match ended.end {
        End::Exit(0) if ended.result.is_some() => None,
        End::Exit(code) => Some(format!("the file's code ended the process with code {code}")),
        End::Signal(signal) => Some(format!("it died of {}", words::signal(signal))),
        End::Timeout => {
            Some(format!("it did not come back within {} s", check.limit.as_secs_f64()))
        }
    };
    let mut probe = ended.result.map(|result| result.probe).unwrap_or_default();
    probe.steps.extend(problem.map(report));
    Ok(probe)
}
