//! What is to be installed, built.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::plan::exporters;

/// Builds the release of what is installed, and says where it lies.
pub(crate) fn release(root: &Path) -> Result<PathBuf, String> {
    let mut packages = vec!["tallyport-ffi".to_owned(), "tallyport-cli".to_owned()];
    packages.extend(exporters(root)?.into_iter().map(|exporter| exporter.package));
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--release"]);
    for package in &packages {
        command.args(["-p", package]);
    }
    let status = command.status().map_err(|error| format!("cargo: {error}"))?;
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    status.success().then(|| folder.join("release")).ok_or("cargo build failed".to_owned())
}
