//! What is measured from outside: libtallyport.so, loadable exporters, the C++ shim. Each is built
//! when a group first asks for it, beside the benchmarks' own build.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const HERE: &str = env!("CARGO_MANIFEST_DIR");

/// Folder of the benchmarks' build: two levels above the program, `…/release/program`.
fn target() -> Result<PathBuf, String> {
    let program = env::current_exe().map_err(|e| e.to_string())?;
    program.ancestors().nth(2).map(Path::to_path_buf).ok_or_else(|| "no build folder".to_owned())
}

fn cargo(manifest: &str, target: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    cargo_with(manifest, target, packages, &[])
}

fn cargo_with(
    manifest: &str,
    target: &Path,
    packages: &[&str],
    features: &[&str],
) -> Result<PathBuf, String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--manifest-path"]);
    command.arg(Path::new(HERE).join(manifest)).arg("--target-dir").arg(target);
    for package in packages {
        command.args(["--package", package]);
    }
    command.args(features);
    let status = command.status().map_err(|e| format!("cargo: {e}"))?;
    if !status.success() {
        return Err(format!("cargo build of {} failed", packages.join(", ")));
    }
    Ok(target.join("release"))
}

/// libtallyport.so, as it ships.
///
/// # Errors
/// That it does not build.
pub fn libtallyport() -> Result<PathBuf, String> {
    let folder = cargo("../Cargo.toml", &target()?.join("shipped"), &["tallyport-ffi"])?;
    Ok(folder.join("libtallyport.so"))
}

/// libtallyport.so without the stores that are optional.
///
/// # Errors
/// That it does not build.
pub fn libtallyport_without_stores() -> Result<PathBuf, String> {
    let features = ["--no-default-features", "--features", "serve,export-http"];
    let folder = target()?.join("without-stores");
    let folder = cargo_with("../Cargo.toml", &folder, &["tallyport-ffi"], &features)?;
    Ok(folder.join("libtallyport.so"))
}

/// The built-in exporters as a loadable file.
///
/// # Errors
/// That it does not build.
pub fn loadable_exporters() -> Result<PathBuf, String> {
    let package = "tallyport-builtin-exporters-loadable";
    let folder = cargo("../Cargo.toml", &target()?.join("shipped"), &[package])?;
    Ok(folder.join("libtallyport_builtin_exporters_loadable.so"))
}

/// The helper program that runs isolated plugins.
///
/// # Errors
/// That it does not build.
pub fn plugin_host() -> Result<PathBuf, String> {
    let folder = cargo("../Cargo.toml", &target()?.join("shipped"), &["tallyport-cli"])?;
    Ok(folder.join("tallyport-plugin-host"))
}

/// The plugin that only walks.
///
/// # Errors
/// That it does not build.
pub fn walker() -> Result<PathBuf, String> {
    let folder = cargo("Cargo.toml", &target()?, &["tallyport-bench-walker"])?;
    Ok(folder.join("libtallyport_bench_walker.so"))
}

/// The shim over prometheus-cpp.
///
/// # Errors
/// That the package or a C++ compiler is missing.
pub fn prometheus_cpp() -> Result<PathBuf, String> {
    if !Path::new("/usr/include/prometheus/registry.h").is_file() {
        return Err("prometheus-cpp is not installed; Debian and Ubuntu have it: \
             apt-get install prometheus-cpp-dev g++"
            .to_owned());
    }
    let shim = target()?.join("prometheus_cpp.so");
    let source = Path::new(HERE).join("cpp/prometheus_cpp.cc");
    let changed = |path: &Path| fs::metadata(path).and_then(|m| m.modified()).ok();
    if shim.is_file() && changed(&shim) >= changed(&source) {
        return Ok(shim);
    }
    let compiler = env::var_os("CXX").unwrap_or_else(|| "g++".into());
    let status = Command::new(&compiler)
        .args(["-O2", "-std=c++17", "-shared", "-fPIC"])
        .arg(&source)
        .arg("-o")
        .arg(&shim)
        .arg("-lprometheus-cpp-core")
        .status()
        .map_err(|e| format!("{}: {e}", compiler.display()))?;
    if status.success() { Ok(shim) } else { Err("the C++ shim does not compile".to_owned()) }
}
