//! What a schema cannot say: the rules that hold for a configuration from a file and from code.

use super::{
    Config, LoadingConfig, MAX_SERIES, PluginConfig, RecordingConfig, ShareConfig, isolation,
    serve, share, targets,
    types::{MAX_BOUNDS, MAX_CELL_BYTES, MAX_IDLE_SECONDS, MAX_PROBE_MS, MAX_UID, MIN_CELL_BYTES},
};
use crate::{
    model::schema::{KeyPath, Violation, ViolationKind},
    plugin::Sha256,
    registry::{NAME_RULE, is_name},
};

/// Every rule that the configuration breaks.
pub(super) fn check(config: &Config) -> Vec<Violation> {
    let mut violations = Vec::new();
    let limits = &config.limits;
    for (key, limit, range) in [
        ("max_series", limits.max_series, 1..=MAX_SERIES),
        ("max_series_per_family", limits.max_series_per_family, 1..=MAX_SERIES),
        ("max_cell_bytes", limits.max_cell_bytes, MIN_CELL_BYTES..=MAX_CELL_BYTES),
        ("max_label_bytes", limits.max_label_bytes, MIN_CELL_BYTES..=MAX_CELL_BYTES),
    ] {
        if !range.contains(&limit) {
            let message =
                format!("must be between {} and {}, is {limit}", range.start(), range.end());
            let path = KeyPath::keys(&["limits", key]);
            violations.push(Violation::new(path, ViolationKind::OutOfRange, message));
        }
    }
    check_loading(&config.loading, &mut violations);
    check_arena(&config.recording, &mut violations);
    let idle = limits.series_idle_timeout;
    if idle > MAX_IDLE_SECONDS {
        let message = format!("must be between 0 and {MAX_IDLE_SECONDS}, is {idle}");
        let path = KeyPath::keys(&["limits", "series_idle_timeout"]);
        violations.push(Violation::new(path, ViolationKind::OutOfRange, message));
    }
    check_bounds(&config.histogram.default_bounds, &mut violations);
    share::check(config, &mut violations);
    targets::check(config, &mut violations);
    serve::check(&config.serve, &mut violations);
    for (name, plugin) in &config.plugins {
        let table = KeyPath::keys(&["plugins", name]);
        if !is_name(name) {
            let message = format!("a plugin's name {NAME_RULE}");
            violations.push(Violation::new(table.clone(), ViolationKind::NotAllowed, message));
        }
        check_plugin(&table, plugin, &mut violations);
    }
    violations
}

/// What a plugin's table breaks, wherever it stands.
pub(super) fn check_plugin(
    table: &KeyPath,
    plugin: &PluginConfig,
    violations: &mut Vec<Violation>,
) {
    plugin.run.check(table, violations);
    isolation::check(plugin, table, violations);
    let path = plugin.path.as_ref().map(|path| path.as_os_str().as_encoded_bytes());
    let exporter = plugin.exporter.as_ref().map(String::as_bytes);
    for (key, text) in [("path", path), ("exporter", exporter)] {
        if let Some(message) = text.and_then(unusable_text) {
            let (place, kind) = (table.then(key), ViolationKind::NotAllowed);
            violations.push(Violation::new(place, kind, message));
        }
    }
    check_pins(table, plugin, violations);
}

fn check_arena(recording: &RecordingConfig, violations: &mut Vec<Violation>) {
    let file = recording.share == ShareConfig::File;
    let wrong = match &recording.arena {
        None if file => "is needed with `share = \"file\"`",
        Some(_) if !file => "is only used with `share = \"file\"`",
        Some(path) if !path.is_absolute() => "must be an absolute path",
        _ => return,
    };
    let path = KeyPath::keys(&["recording", "arena"]);
    violations.push(Violation::new(path, ViolationKind::NotAllowed, wrong));
}

fn check_pins(table: &KeyPath, plugin: &PluginConfig, violations: &mut Vec<Violation>) {
    let mut wrong = |path: KeyPath, message: &str| {
        violations.push(Violation::new(path, ViolationKind::NotAllowed, message));
    };
    let hash = |text: &String| text.parse::<Sha256>().err();
    if let Some(message) = plugin.sha256.as_ref().and_then(hash) {
        wrong(table.then("sha256"), message);
    }
    if plugin.sha256.is_none() && !plugin.libraries.is_empty() {
        wrong(table.then("libraries"), "needs a `sha256` of the plugin beside it");
    }
    for (name, library) in &plugin.libraries {
        let table = table.then("libraries").then(name.as_str());
        if let Some(message) = unusable_text(library.path.as_os_str().as_encoded_bytes()) {
            wrong(table.then("path"), message);
        }
        if let Some(message) = hash(&library.sha256) {
            wrong(table.then("sha256"), message);
        }
    }
}

fn check_loading(loading: &LoadingConfig, violations: &mut Vec<Violation>) {
    let table = KeyPath::keys(&["loading"]);
    for (index, _) in loading.trusted_owners.iter().enumerate().filter(|(_, id)| **id > MAX_UID) {
        let path = table.then("trusted_owners").then(index);
        violations.push(Violation::new(path, ViolationKind::OutOfRange, "is no number of a user"));
    }
    let (least, most) = (1, MAX_PROBE_MS);
    if !(least..=most).contains(&loading.probe_timeout_ms) {
        let message =
            format!("must be between {least} and {most}, is {}", loading.probe_timeout_ms);
        let path = table.then("probe_timeout_ms");
        violations.push(Violation::new(path, ViolationKind::OutOfRange, message));
    }
    for (index, folder) in loading.search_path.iter().flatten().enumerate() {
        if let Some(message) = unusable_text(folder.as_os_str().as_encoded_bytes()) {
            let path = table.then("search_path").then(index);
            violations.push(Violation::new(path, ViolationKind::NotAllowed, message));
        }
    }
    let host = loading.plugin_host.as_ref().map(|path| path.as_os_str().as_encoded_bytes());
    if let Some(message) = host.and_then(unusable_text) {
        let path = table.then("plugin_host");
        violations.push(Violation::new(path, ViolationKind::NotAllowed, message));
    }
}

fn check_bounds(bounds: &[f64], violations: &mut Vec<Violation>) {
    let path = KeyPath::keys(&["histogram", "default_bounds"]);
    if !(1..=MAX_BOUNDS).contains(&bounds.len()) {
        let message = format!("must have 1 to {MAX_BOUNDS} bounds, has {}", bounds.len());
        violations.push(Violation::new(path.clone(), ViolationKind::WrongLength, message));
    }
    let mut before = None;
    for (index, bound) in bounds.iter().enumerate() {
        let message = match before {
            _ if !bound.is_finite() => Some("must be a finite number".to_owned()),
            Some(before) if *bound <= before => {
                Some(format!("must be more than the bound before it, {before}, is {bound}"))
            }
            _ => None,
        };
        match message {
            None => before = Some(*bound),
            Some(message) => {
                let place = path.then(index);
                violations.push(Violation::new(place, ViolationKind::OutOfRange, message));
            }
        }
    }
}

fn unusable_text(text: &[u8]) -> Option<&'static str> {
    if text.is_empty() {
        Some("must not be empty; leave the key out instead")
    } else if text.contains(&0) {
        Some("must not contain a NUL character")
    } else {
        None
    }
}
