//! `tallyport plugins inspect`: what is in a plugin file, before and after its code runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use serde::Serialize;
use serde_json::Value;
use tallyport_core::{
    engine::{PluginFile, config::Config},
    model::ErrorKind,
    plugin::{FileInfo, LoadedFile, Request, Table, inspect_file},
};
use tallyport_plugin_api::abi::{
    TALLYPORT_CAP_CANCEL, TALLYPORT_CAP_CONCURRENT, TALLYPORT_CAP_FORK_AWARE,
    TALLYPORT_CAP_OUT_OF_PROC, TALLYPORT_CAP_UNLOAD_SAFE, TALLYPORT_CAP_WRITES_SINK,
    TALLYPORT_SIGNAL_METRICS, TALLYPORT_SIGNAL_TRACES,
};

use super::list::Format;
use crate::{
    console::Console,
    engine::{ConfigArg, is_linked},
    exit::{Exit, Failure},
    report::{self, Report},
};

pub(super) const HELP: &str = "\
Examples:
  tallyport plugins inspect prometheus --schema
  tallyport plugins inspect ./libstatsd_lines.so
  tallyport plugins inspect ./libstatsd_lines.so --load
  tallyport plugins inspect statsd --config tallyport.toml --load --report json

A name of the configuration or of a built-in exporter comes before a file; a word with a `/` is a
file. Without --load no code of a file runs. A file that a host would refuse: exit code 9.";

/// The flags of `plugins inspect`.
#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Plugin file, or the name of a plugin
    #[arg(value_name = "FILE|NAME")]
    what: PathBuf,
    #[command(flatten)]
    config: ConfigArg,
    /// Load the file, which runs its code, and show its exporters
    #[arg(long)]
    load: bool,
    /// Show the JSON Schema of the options too
    #[arg(long)]
    schema: bool,
    /// How to print the result
    #[arg(long, value_enum, value_name = "KIND", default_value = "text")]
    report: Report,
}

/// What is to be looked into.
enum Subject {
    /// A file, as it is.
    File(PathBuf),
    /// A file as the configuration means it.
    Configured {
        file: Box<PluginFile>,
        exporter: Option<String>,
    },
    LinkedIn(Arc<Table>),
}

/// The result; the keys never change their meaning.
#[derive(Serialize)]
struct Inspected {
    schema: &'static str,
    /// Null for an exporter that is linked in; so are the next four.
    file: Option<String>,
    id: Option<String>,
    version: Option<String>,
    plugin_abi: Option<String>,
    sdk: Option<&'static str>,
    /// Null for a file that was not loaded.
    exporters: Option<Vec<Exporter>>,
}

#[derive(Serialize)]
struct Exporter {
    id: String,
    version: String,
    vendor: String,
    description: String,
    formats: Vec<Format>,
    capabilities: Vec<String>,
    signals: Vec<String>,
    options_schema: Option<Value>,
}

/// Inspects.
pub(crate) fn run(args: &InspectArgs, console: Console) -> Result<(), Failure> {
    let config = args.config.load()?.unwrap_or_default();
    let inspected = match subject(&args.what, &config)? {
        Subject::LinkedIn(table) => {
            Inspected { exporters: Some(vec![exporter(&table)]), ..described(None, None) }
        }
        Subject::File(_) | Subject::Configured { .. } if args.schema && !args.load => {
            let failure = Failure::usage("only the code of the file knows its options");
            return Err(failure.hint("add --load, which runs it"));
        }
        Subject::File(path) if !args.load => {
            let info = inspect_file(&path).map_err(|error| refused(&error))?;
            described(Some(&path), Some(info))
        }
        Subject::File(path) => {
            let loaded = config.loader().load(&Request::new(&path));
            exporters(loaded.map_err(|error| refused(&error))?, None)?
        }
        Subject::Configured { file, .. } if !args.load => {
            let info = file.check(&config.loader()).map_err(|error| refused(&error))?;
            described(Some(file.path()), Some(info))
        }
        Subject::Configured { file, exporter } => {
            let loaded = file.load(&config.loader()).map_err(|error| refused(&error))?;
            exporters(loaded, exporter)?
        }
    };
    match args.report {
        Report::Json => report::print_json(&inspected),
        Report::Text => {
            report::print(&text(&inspected, args.schema)?)?;
            if inspected.exporters.is_none() {
                console.note("none of the file's code was run; --load shows its exporters");
            }
            Ok(())
        }
    }
}

/// What is in a file that was loaded; of several exporters the one that is wanted.
fn exporters(loaded: LoadedFile, wanted: Option<String>) -> Result<Inspected, Failure> {
    let tables = loaded.tables.iter();
    let tables = tables.filter(|table| wanted.as_ref().is_none_or(|id| *id == table.id));
    let exporters: Vec<_> = tables.map(|table| exporter(table)).collect();
    let path = &loaded.path;
    if let Some(wanted) = wanted.filter(|_| exporters.is_empty()) {
        let reason = format!("`{}` has no exporter `{wanted}`", path.display());
        return Err(Failure::new(Exit::Config, "plugin", reason));
    }
    Ok(Inspected { exporters: Some(exporters), ..described(Some(path), Some(loaded.info)) })
}

fn refused(error: &tallyport_core::model::Error) -> Failure {
    Failure::new(Exit::PluginRefused, "plugin refused", error)
}

/// A name of the configuration, then a built-in exporter, then a file.
fn subject(what: &Path, config: &Config) -> Result<Subject, Failure> {
    let name = what.to_str().filter(|name| !name.contains('/'));
    let linked = Table::linked(&tallyport_builtin_exporters::EXPORTERS)
        .map_err(|error| Failure::new(Exit::Unexpected, "built-in exporters", error))?;
    let by_id = |id: &str| linked.iter().find(|table| table.id == id).map(Arc::clone);
    let Some(name) = name else {
        return Ok(Subject::File(what.to_owned()));
    };
    if let Some(plugin) = config.plugins.get(name) {
        if is_linked(name, plugin) {
            let id = plugin.exporter.as_deref().unwrap_or(name);
            if let Some(table) = by_id(id) {
                return Ok(Subject::LinkedIn(table));
            }
        }
        let found = PluginFile::find(config, name, plugin);
        let file = found.map_err(|error| {
            let place = format!("{}:{}", config.source.origin(), plugin.line);
            let exit = match error.kind() {
                ErrorKind::NotFound | ErrorKind::Config => Exit::Config,
                _ => Exit::PluginRefused,
            };
            let reason = match &plugin.path {
                Some(_) => error.to_string(),
                None => {
                    let id = plugin.exporter.as_deref().unwrap_or(name);
                    format!("it has no `path`, and no exporter `{id}` is built in: {error}")
                }
            };
            Failure::new(exit, format_args!("{place}: plugin `{name}`"), reason)
        })?;
        return Ok(Subject::Configured { file: Box::new(file), exporter: plugin.exporter.clone() });
    }
    if let Some(table) = by_id(name) {
        return Ok(Subject::LinkedIn(table));
    }
    if what.exists() {
        return Ok(Subject::File(Path::new(".").join(what)));
    }
    let mut known: Vec<_> = config.plugins.keys().map(String::as_str).collect();
    known.extend(linked.iter().map(|table| table.id.as_str()));
    let failure = Failure::usage(format_args!("there is no plugin and no file `{name}`"));
    Err(failure.hint(format!("plugins: {}", known.join(", "))))
}

fn described(path: Option<&Path>, info: Option<FileInfo>) -> Inspected {
    let sdk = info.as_ref().map(|info| if info.rust { "rust" } else { "c" });
    let abi = info.as_ref().map(|info| format!("{}.{}", info.abi.0, info.abi.1));
    let (id, version) = info.map(|info| (info.id, info.version)).unzip();
    Inspected {
        schema: "tallyport.plugin/1",
        file: path.map(|path| path.display().to_string()),
        id,
        version,
        plugin_abi: abi,
        sdk,
        exporters: None,
    }
}

fn exporter(table: &Table) -> Exporter {
    let formats = table.formats.iter().map(|format| Format {
        name: format.name.clone(),
        content_type: format.content_type.clone(),
    });
    Exporter {
        id: table.id.clone(),
        version: table.version.clone(),
        vendor: table.vendor.clone(),
        description: table.description.clone(),
        formats: formats.collect(),
        capabilities: names(table.caps, &CAPABILITIES),
        signals: names(u64::from(table.signals), &SIGNALS),
        options_schema: table.options_schema.clone(),
    }
}

const CAPABILITIES: [(u64, &str); 6] = [
    (TALLYPORT_CAP_CONCURRENT, "CONCURRENT"),
    (TALLYPORT_CAP_CANCEL, "CANCEL"),
    (TALLYPORT_CAP_OUT_OF_PROC, "OUT_OF_PROC"),
    (TALLYPORT_CAP_UNLOAD_SAFE, "UNLOAD_SAFE"),
    (TALLYPORT_CAP_FORK_AWARE, "FORK_AWARE"),
    (TALLYPORT_CAP_WRITES_SINK, "WRITES_SINK"),
];

const SIGNALS: [(u64, &str); 2] =
    [(TALLYPORT_SIGNAL_METRICS as u64, "metrics"), (TALLYPORT_SIGNAL_TRACES as u64, "traces")];

/// The names of set bits; a bit of a newer ABI has a number.
fn names(bits: u64, known: &[(u64, &str)]) -> Vec<String> {
    let set = (0..u64::BITS).filter(|bit| bits & (1 << bit) != 0);
    let name = |bit: u32| {
        let found = known.iter().find(|(mask, _)| *mask == 1 << bit);
        found.map_or_else(|| format!("bit {bit}"), |(_, name)| (*name).to_owned())
    };
    set.map(name).collect()
}

fn text(inspected: &Inspected, schema: bool) -> Result<String, Failure> {
    let mut out = String::new();
    let row = |key: &str, value: &str| vec![key.to_owned(), value.to_owned()];
    if let Some(file) = &inspected.file {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        out.push_str(&report::table(&[
            row("file", file),
            row("id", &or_dash(&inspected.id)),
            row("version", &or_dash(&inspected.version)),
            row("plugin ABI", &or_dash(&inspected.plugin_abi)),
            row("built with", if inspected.sdk == Some("rust") { "Rust SDK" } else { "C ABI" }),
        ]));
    }
    for exporter in inspected.exporters.iter().flatten() {
        let mut rows = vec![row("exporter", &format!("{} {}", exporter.id, exporter.version))];
        let mut optional = |key: &str, value: &str| {
            if !value.is_empty() {
                rows.push(row(key, value));
            }
        };
        optional("vendor", &exporter.vendor);
        optional("description", &exporter.description);
        for (index, format) in exporter.formats.iter().enumerate() {
            let default = if index == 0 { "default, " } else { "" };
            let line = format!("{} ({default}{})", format.name, format.content_type);
            optional(if index == 0 { "formats" } else { "" }, &line);
        }
        optional("capabilities", &exporter.capabilities.join(", "));
        optional("signals", &exporter.signals.join(", "));
        for (index, line) in options(exporter).iter().enumerate() {
            optional(if index == 0 { "options" } else { "" }, line);
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&report::table(&rows));
        if let Some(value) = exporter.options_schema.as_ref().filter(|_| schema) {
            out.push_str(&report::json(value)?);
            out.push('\n');
        }
    }
    Ok(out)
}

/// A line for each option: name, type, default, description.
fn options(exporter: &Exporter) -> Vec<String> {
    let Some(schema) = &exporter.options_schema else {
        return vec!["not described".to_owned()];
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    let lines = properties.into_iter().flatten().map(|(name, option)| {
        let mut line = name.clone();
        if let Some(values) = option.get("enum").and_then(Value::as_array) {
            let values: Vec<_> = values.iter().map(Value::to_string).collect();
            line.push_str(&format!(" {}", values.join("|")));
        } else if let Some(kind) = option.get("type") {
            line.push_str(&format!(" {}", kind.to_string().replace('"', "")));
        }
        if let Some(default) = option.get("default") {
            line.push_str(&format!(" = {default}"));
        }
        if let Some(description) = option.get("description").and_then(Value::as_str) {
            line.push_str(&format!(": {description}"));
        }
        line
    });
    let lines: Vec<_> = lines.collect();
    if lines.is_empty() { vec!["none".to_owned()] } else { lines }
}
