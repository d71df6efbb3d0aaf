//! `cargo xtask bench`: builds and runs the benchmarks, which are a workspace of their own.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::Outcome;

/// Where `--markdown` writes the tables.
const REPORT: &str = "docs/BENCHMARKS.md";

/// Runs cargo in `benches/`; the benchmarks read the rest of `args`.
pub(crate) fn run(root: &Path, args: &[&str]) -> Outcome {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    // Its .cargo/config.toml counts from there.
    command.current_dir(root.join("benches"));
    command.args(["run", "--release", "--quiet", "--package", "tallyport-benches", "--"]);
    let mut args = args.iter();
    while let Some(&arg) = args.next() {
        command.arg(arg);
        match arg {
            "--markdown" => {
                command.arg(root.join(REPORT));
            }
            "--json" => {
                let file = args.next().ok_or("--json needs a file")?;
                command.arg(absolute(file)?);
            }
            _ => {}
        }
    }
    let status = command.status().map_err(|e| format!("cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err("the benchmarks failed".to_owned()) }
}

fn absolute(file: &str) -> Result<PathBuf, String> {
    std::path::absolute(file).map_err(|e| format!("{file}: {e}"))
}
