//! `tallyport plugins paths`: where plugins that are named without a path are looked for.

use std::{fs, io, path::PathBuf};

use clap::Args;
use serde::Serialize;
use tallyport_core::plugin::Trust;

use crate::{
    engine::ConfigArg,
    exit::Failure,
    report::{self, Report},
};

pub(super) const HELP: &str = "\
Examples:
  tallyport plugins paths
  tallyport plugins paths --config tallyport.toml --report json

The first folder that has something of a name decides. What lies in a folder is listed, not loaded:
only what a configuration names is. None of its code is run.";

/// The flags of `plugins paths`.
#[derive(Debug, Args)]
pub(crate) struct PathsArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// How to print the result
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    report: Report,
}

/// The result; the keys never change their meaning.
#[derive(Serialize)]
struct Paths {
    schema: &'static str,
    /// In the order in which they are searched.
    folders: Vec<Folder>,
    /// What lies in them.
    plugins: Vec<Plugin>,
}

#[derive(Serialize)]
struct Folder {
    path: PathBuf,
    /// Why it is searched.
    source: &'static str,
    /// `searched`, `missing`, or why it cannot be read.
    state: String,
}

#[derive(Serialize)]
struct Plugin {
    /// What a configuration would call it by.
    name: String,
    /// The library or the manifest.
    path: PathBuf,
    /// Null for one that would be refused; so is the version.
    id: Option<String>,
    version: Option<String>,
    /// Why it would be refused, else null.
    problem: Option<String>,
    /// The path of what a configuration gets instead by this name, if a folder before has it.
    hidden_by: Option<PathBuf>,
}

/// Lists the folders, and what lies in them.
pub(crate) fn run(args: &PathsArgs) -> Result<(), Failure> {
    let config = args.config.load()?.unwrap_or_default();
    let search = config.search_path();
    let trust = Trust::new(&config.loading.trusted_owners);
    let folders = search.folders.iter().map(|folder| Folder {
        path: folder.path.clone(),
        source: folder.source,
        state: match fs::read_dir(&folder.path) {
            Ok(_) => "searched".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "missing".to_owned(),
            Err(error) => error.to_string(),
        },
    });
    let folders = folders.collect();
    let mut plugins: Vec<Plugin> = Vec::new();
    for found in search.discover(&trust) {
        let hidden_by = plugins.iter().find(|earlier| earlier.name == found.name);
        let hidden_by = hidden_by.map(|earlier| earlier.path.clone());
        let (id, version, problem) = match found.info {
            Ok(info) => (Some(info.id), Some(info.version), None),
            Err(error) => (None, None, Some(error.to_string())),
        };
        plugins.push(Plugin {
            name: found.name,
            path: found.path,
            id,
            version,
            problem,
            hidden_by,
        });
    }
    let paths = Paths { schema: "tallyport.plugin-paths/1", folders, plugins };
    match args.report {
        Report::Json => report::print_json(&paths),
        Report::Text => report::print(&text(&paths)),
    }
}

fn text(paths: &Paths) -> String {
    let mut rows = vec![["ORDER", "FOLDER", "STATE", "FROM"].map(str::to_owned).to_vec()];
    for (index, folder) in paths.folders.iter().enumerate() {
        rows.push(vec![
            (index + 1).to_string(),
            folder.path.display().to_string(),
            folder.state.clone(),
            folder.source.to_owned(),
        ]);
    }
    let mut out = report::table(&rows);
    if paths.plugins.is_empty() {
        return out;
    }
    let mut rows = vec![["NAME", "ID", "VERSION", "FILE"].map(str::to_owned).to_vec()];
    for plugin in &paths.plugins {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            plugin.name.clone(),
            or_dash(&plugin.id),
            or_dash(&plugin.version),
            plugin.path.display().to_string(),
        ]);
        if let Some(first) = &plugin.hidden_by {
            rows.push(vec![format!("  by this name a host gets {}", first.display())]);
        }
        let problem = plugin.problem.iter().flat_map(|text| text.lines());
        rows.extend(problem.map(|line| vec![format!("  would be refused: {line}")]));
    }
    out.push('\n');
    out.push_str(&report::table(&rows));
    out
}
