//! `tallyport plugins list`: loaded, failed and disabled exporters.

use clap::Args;
use serde::Serialize;
use tallyport_core::{
    engine::{
        PluginFile,
        config::{Config, PluginConfig},
    },
    plugin::{FileInfo, PluginInfo, inspect_file},
};

use crate::{
    engine::{ConfigArg, Opened, is_linked},
    exit::Failure,
    report::{self, Report},
};

pub(super) const HELP: &str = "\
Examples:
  tallyport plugins list
  tallyport plugins list --config tallyport.toml
  tallyport plugins list --config tallyport.toml --report json
  tallyport plugins list --available

The plugins of the configuration are loaded as a host would do, which runs their code.
A plugin that failed is listed with its reason; the exit code is 0 unless it is `required`.";

/// The flags of `plugins list`.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// List what lies in the folders that are searched instead: nothing of it is loaded
    #[arg(long)]
    available: bool,
    /// How to print the list
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    report: Report,
}

#[derive(Serialize)]
struct Listed {
    schema: &'static str,
    plugins: Vec<Row>,
}

/// One exporter; the keys never change their meaning.
#[derive(Serialize)]
struct Row {
    name: String,
    state: &'static str,
    /// Why it is not loaded, else null.
    reason: Option<String>,
    required: bool,
    /// Null where no descriptor could be read.
    id: Option<String>,
    version: Option<String>,
    vendor: Option<String>,
    description: Option<String>,
    formats: Vec<Format>,
    /// The file, or "linked in".
    origin: String,
    /// The helper process that it runs in, else null.
    process: Option<u32>,
}

#[derive(Serialize)]
pub(super) struct Format {
    pub(super) name: String,
    pub(super) content_type: String,
}

/// Lists; a required plugin that was refused is a failure after the list.
pub(crate) fn run(args: &ListArgs) -> Result<(), Failure> {
    let config = args.config.load()?.unwrap_or_default();
    if args.available {
        return available(&config, args.report);
    }
    let opened = Opened::new(Some(config.clone()))?;
    let plugins = rows(&config, &opened);
    match args.report {
        Report::Json => report::print_json(&Listed { schema: "tallyport.plugins/1", plugins })?,
        Report::Text => report::print(&text(&plugins))?,
    }
    opened.required()
}

/// What could be loaded if the configuration named it.
fn available(config: &Config, report: Report) -> Result<(), Failure> {
    let found = config.search_path().discover(&config.policy().trust);
    let plugins: Vec<Row> = found
        .into_iter()
        .map(|one| {
            let (known, reason) = match one.info {
                Ok(info) => (Some(info), None),
                Err(error) => (None, Some(error.to_string())),
            };
            let (id, version) = known.map(|info| (info.id, info.version)).unzip();
            Row {
                name: one.name,
                state: if reason.is_none() { "available" } else { "refused" },
                reason,
                required: false,
                id,
                version,
                vendor: None,
                description: None,
                formats: Vec::new(),
                origin: one.path.display().to_string(),
                process: None,
            }
        })
        .collect();
    match report {
        Report::Json => report::print_json(&Listed { schema: "tallyport.plugins/1", plugins }),
        Report::Text => report::print(&text(&plugins)),
    }
}

fn rows(config: &Config, opened: &Opened) -> Vec<Row> {
    let mut rows: Vec<Row> = opened.engine.plugins().list().into_iter().map(loaded).collect();
    for row in &mut rows {
        row.required = config.plugins.get(&row.name).is_some_and(|plugin| plugin.required);
    }
    for refused in &opened.refused {
        if let Some(plugin) = config.plugins.get(&refused.name) {
            let reason = refused.error.to_string();
            rows.push(absent(config, &refused.name, plugin, "failed", reason));
        }
    }
    for (name, plugin) in config.plugins.iter().filter(|(_, plugin)| !plugin.enabled) {
        let reason = format!("`enabled = false` at {}:{}", config.source.origin(), plugin.line);
        rows.push(absent(config, name, plugin, "disabled", reason));
    }
    rows
}

fn loaded(info: PluginInfo) -> Row {
    let formats = info.formats.into_iter();
    Row {
        name: info.name,
        state: "loaded",
        reason: None,
        required: false,
        id: Some(info.id),
        version: Some(info.version),
        vendor: Some(info.vendor),
        description: Some(info.description),
        formats: formats
            .map(|format| Format { name: format.name, content_type: format.content_type })
            .collect(),
        origin: info.origin,
        process: info.process,
    }
}

fn absent(
    config: &Config,
    name: &str,
    plugin: &PluginConfig,
    state: &'static str,
    reason: String,
) -> Row {
    let linked = is_linked(name, plugin);
    let file = if linked { None } else { PluginFile::find(config, name, plugin).ok() };
    let path = file.map(|file| file.path().to_owned()).or_else(|| plugin.file(&config.base_dir));
    // The descriptor is read without running the file's code.
    let known = path.as_ref().and_then(|path| inspect_file(path).ok());
    let (id, version) = known.map(|FileInfo { id, version, .. }| (id, version)).unzip();
    Row {
        name: name.to_owned(),
        state,
        reason: Some(reason),
        required: plugin.required,
        id,
        version,
        vendor: None,
        description: None,
        formats: Vec::new(),
        origin: match (path, linked) {
            (Some(path), _) => path.display().to_string(),
            (None, true) => "linked in".to_owned(),
            (None, false) => "-".to_owned(),
        },
        process: None,
    }
}

fn text(rows: &[Row]) -> String {
    let head = ["NAME", "STATE", "ID", "VERSION", "FORMATS", "ORIGIN"];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let formats: Vec<_> = row.formats.iter().map(|format| format.name.as_str()).collect();
        let formats = if formats.is_empty() { "-".to_owned() } else { formats.join(",") };
        cells.push(vec![
            row.name.clone(),
            row.state.to_owned(),
            or_dash(&row.id),
            or_dash(&row.version),
            formats,
            match row.process {
                Some(process) => format!("{} (helper process {process})", row.origin),
                None => row.origin.clone(),
            },
        ]);
        let reason = row.reason.iter().flat_map(|reason| reason.lines());
        cells.extend(reason.map(|line| vec![format!("  {line}")]));
    }
    report::table(&cells)
}
