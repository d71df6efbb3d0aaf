//! Tallyport beside its peers and the machine's limits: `cargo xtask bench [GROUP]…`.
//!
//! `measure` says how things are timed, `targets` what was promised, `groups` what is measured,
//! `peers` what the others are. docs/BENCHMARKS.md says what each row means.

// What a group measures is set up by hand; a failure there is a bug of the benchmark.
#![allow(clippy::expect_used)]

mod artifacts;
mod dataset;
mod groups;
mod machine;
mod markdown;
mod measure;
mod peers;
mod raw;
mod report;
mod targets;

use std::{fs, path::PathBuf, process::ExitCode};

use groups::{GROUPS, Group, Task};
use machine::Machine;
use measure::Plan;
use report::Section;
use serde_json::json;

#[derive(Debug, Default)]
struct Arguments {
    groups: Vec<String>,
    json: Option<PathBuf>,
    markdown: Option<PathBuf>,
    quick: bool,
}

const USAGE: &str = "usage: cargo xtask bench [GROUP]... [--json FILE] [--markdown] [--quick]";

fn parse(words: &[String]) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().map(PathBuf::from).ok_or_else(|| USAGE.to_owned());
        match word.as_str() {
            "--json" => arguments.json = Some(value()?),
            "--markdown" => arguments.markdown = Some(value()?),
            "--quick" => arguments.quick = true,
            name if GROUPS.iter().any(|group| group.name == name) => {
                arguments.groups.push(name.to_owned());
            }
            other => {
                let groups: Vec<String> =
                    GROUPS.iter().map(|g| format!("  {:<10} {}", g.name, g.about)).collect();
                return Err(format!("`{other}`?\n{USAGE}\ngroups:\n{}", groups.join("\n")));
            }
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [first, rest @ ..] = words.as_slice()
        && first == "--child"
    {
        return outcome(groups::child(rest));
    }
    outcome(parse(&words).and_then(|arguments| bench(&arguments)))
}

fn outcome(done: Result<(), String>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bench: {message}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &Arguments) -> Result<(), String> {
    let mut machine = Machine::look();
    println!("{}", machine.name());
    let task = Task { plan: Plan::new(arguments.quick), quick: arguments.quick };
    let chosen = |group: &&Group| {
        arguments.groups.is_empty() || arguments.groups.iter().any(|name| name == group.name)
    };
    if let Some(path) = &arguments.markdown {
        let names: Vec<&str> = GROUPS.iter().filter(chosen).map(|group| group.name).collect();
        markdown::check(path, &names)?;
    }
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    for group in GROUPS.iter().filter(chosen) {
        match (group.run)(task) {
            Ok(sections) => {
                sections.iter().for_each(|section| print!("{}", section.text()));
                all.extend(sections);
            }
            Err(error) => {
                println!("\n{}: FAILED: {error}", group.name);
                failures.push(format!("{}: {error}", group.name));
            }
        }
    }
    machine.finish();
    summary(&all);
    println!("\n{}", machine.text().replace("**", ""));
    if let Some(path) = &arguments.json {
        let sections: Vec<_> = all.iter().map(Section::json).collect();
        let document = json!({
            "machine": machine.json(), "quick": arguments.quick,
            "sections": sections, "failures": failures,
        });
        let text = format!("{document:#}\n");
        fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    if let Some(path) = &arguments.markdown {
        markdown::update(path, &all, &machine, arguments.quick)?;
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

fn summary(sections: &[Section]) {
    let verdicts: Vec<_> = sections.iter().flat_map(Section::verdicts).collect();
    let met = verdicts.iter().filter(|(met, _)| *met).count();
    println!("\ntargets: {met} of {} met", verdicts.len());
    for (_, line) in verdicts.iter().filter(|(met, _)| !met) {
        println!("  {line}");
    }
}
