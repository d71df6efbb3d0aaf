//! An add from Ruby: the gem's forms, the client of Debian, a Mutex and a Hash.
//!
//! Each contender is a Ruby process of its own (`benches/ruby/contender.rb`), as they would load into
//! each other's names; rounds go from one to the next all the same.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use super::Task;
use crate::{
    artifacts,
    report::{Role, Row, Section},
    targets::{EMPTY_FFI_CALL, OURS},
};

/// Operations of a round.
const TIMES: u64 = 100_000;

/// What is measured: name of the row, of the contender, whether with the extension.
type Wanted = (Role, &'static str, &'static str, bool);

const HELD: &[Wanted] = &[
    (Role::Ours, OURS, "method", true),
    (Role::Ours, "Tallyport, Ruby method over ffi", "method", false),
    (Role::Ours, "Tallyport, ffi function", "function", false),
    (Role::Peer, "prometheus-client-mmap", "mmap", false),
    (Role::Peer, "Mutex + Hash", "hash", false),
    (Role::Limit, EMPTY_FFI_CALL, "nothing", false),
];

const LABELS: &[Wanted] = &[
    (Role::Ours, OURS, "labels", true),
    (Role::Ours, "Tallyport over ffi", "labels", false),
    (Role::Ours, "Tallyport, frozen hash", "constant", true),
    (Role::Ours, "Tallyport, frozen hash, over ffi", "constant", false),
    (Role::Peer, "prometheus-client-mmap", "mmap_labels", false),
    (Role::Peer, "Mutex + Hash", "hash_labels", false),
];

const OBSERVE: &[Wanted] = &[
    (Role::Ours, OURS, "observe", true),
    (Role::Ours, "Tallyport, Ruby method over ffi", "observe", false),
    (Role::Peer, "prometheus-client-mmap", "mmap_observe", false),
];

/// Measures the group.
///
/// # Errors
/// That Ruby or one of the packages is missing, or the extension does not build.
pub fn run(task: Task) -> Result<Vec<Section>, String> {
    let library = artifacts::libtallyport()?;
    let extension = extension()?;
    let rounds = if task.quick { 5 } else { 31 };
    let mut sections = Vec::new();
    for (title, wanted) in
        [("held", HELD), ("2 labels in the call", LABELS), ("observation", OBSERVE)]
    {
        sections.extend(table(title, wanted, rounds, &library, &extension)?);
    }
    Ok(sections)
}

fn table(
    title: &str,
    wanted: &[Wanted],
    rounds: usize,
    library: &Path,
    extension: &Path,
) -> Result<[Section; 2], String> {
    let mut processes = Vec::new();
    for (_, _, name, extended) in wanted {
        processes.push(Contender::start(name, extended.then_some(extension), library)?);
    }
    let mut times = vec![Vec::new(); wanted.len()];
    let mut objects = vec![Vec::new(); wanted.len()];
    for round in 0..=rounds {
        for step in 0..wanted.len() {
            let at = (round + step) % wanted.len();
            let (Some(process), Some(times), Some(objects)) =
                (processes.get_mut(at), times.get_mut(at), objects.get_mut(at))
            else {
                continue;
            };
            let (time, made) = process.round()?;
            // The first one warms up.
            if round > 0 {
                times.push(time);
                objects.push(made);
            }
        }
    }
    let rows = |samples: Vec<Vec<f64>>| {
        let rows = wanted.iter().zip(samples);
        rows.map(|((role, name, ..), samples)| Row::new(*role, name, samples)).collect()
    };
    Ok([
        Section::new("ruby", title, "ns per operation", rows(times)),
        Section::new("ruby", format!("{title}: objects"), "allocated per operation", rows(objects)),
    ])
}

/// A Ruby process that does a round when it is told to.
struct Contender {
    process: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Contender {
    fn start(name: &str, extension: Option<&Path>, library: &Path) -> Result<Self, String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new("ruby");
        command.args(["-W0", "-I"]).arg(here.join("../bindings/ruby/lib"));
        if let Some(folder) = extension {
            command.arg("-I").arg(folder);
        }
        command.arg(here.join("ruby/contender.rb")).arg(name);
        command.env("TALLYPORT_EXTENSION", if extension.is_some() { "on" } else { "off" });
        command.env("TALLYPORT_LIBRARY", library);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(|e| format!("ruby: {e}"))?;
        let (Some(orders), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("ruby: no pipes".to_owned());
        };
        let mut contender = Self { process, orders, answers: BufReader::new(answers) };
        let said = contender.line()?;
        if said == "ready" { Ok(contender) } else { Err(format!("{name}: {said}")) }
    }

    fn line(&mut self) -> Result<String, String> {
        let mut line = String::new();
        let read = self.answers.read_line(&mut line).map_err(|e| format!("ruby: {e}"))?;
        if read == 0 {
            let status = self.process.wait().map_err(|e| format!("ruby: {e}"))?;
            return Err(format!(
                "a contender ended ({status}); `xtask/setup.sh test` installs what it needs"
            ));
        }
        Ok(line.trim().to_owned())
    }

    /// Nanoseconds and allocated objects of an operation.
    fn round(&mut self) -> Result<(f64, f64), String> {
        writeln!(self.orders, "{TIMES}").map_err(|e| format!("ruby: {e}"))?;
        let line = self.line()?;
        let numbers: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let [time, objects] = numbers[..] else { return Err(format!("ruby said `{line}`")) };
        // What the count itself allocates is not the operation's.
        Ok((time / TIMES as f64, (objects / TIMES as f64 * 100.0).round() / 100.0))
    }
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Builds the C extension beside the benchmarks' own build.
fn extension() -> Result<PathBuf, String> {
    let gem = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bindings/ruby");
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let folder = program.with_file_name("ruby-extension");
    fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let output = Command::new("rake").arg("compile").current_dir(gem).env("INTO", &folder).output();
    let output = output.map_err(|e| format!("rake: {e}"))?;
    if output.status.success() {
        return Ok(folder);
    }
    Err(format!("rake compile: {}", String::from_utf8_lossy(&output.stderr)))
}
