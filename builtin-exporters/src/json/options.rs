//! The options of the exporter `json`, and how fields are called after them.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use tallyport_plugin_api::Error;

/// Fields of the document.
const DOCUMENT: [&str; 4] = ["timestamp", "metrics", "total_metrics", "metadata"];
/// Fields of a metric.
const METRIC: [&str; 9] =
    ["name", "type", "help", "unit", "labels", "value", "count", "sum", "buckets"];

/// Options of the exporter `json`; see `options.schema.json`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// Whether the document is indented.
    pub pretty: bool,
    /// Standard field to wanted name.
    pub field_mapping: BTreeMap<String, String>,
    /// Whether the document says which exporter wrote it, and when.
    pub include_metadata: bool,
    /// Fields that are added to the document.
    pub additional_fields: Map<String, Value>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pretty: false,
            field_mapping: BTreeMap::new(),
            include_metadata: true,
            additional_fields: Map::new(),
        }
    }
}

impl Options {
    /// What `standard` is called.
    pub(super) fn field<'a>(&'a self, standard: &'a str) -> &'a str {
        self.field_mapping.get(standard).map_or(standard, String::as_str)
    }

    /// Checks that every field has one name and every name one field.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, naming the option.
    pub(super) fn check(&self) -> Result<(), Error> {
        for (standard, wanted) in &self.field_mapping {
            let path = format!("field_mapping.{standard}");
            if !DOCUMENT.iter().chain(&METRIC).any(|field| field == standard) {
                let known = [&DOCUMENT[..], &METRIC].concat().join(", ");
                return Err(Error::option(&path, format!("is no field; fields are {known}")));
            }
            if wanted.is_empty() {
                return Err(Error::option(&path, "the name is empty"));
            }
            let level: &[&str] =
                if DOCUMENT.contains(&standard.as_str()) { &DOCUMENT } else { &METRIC };
            let same_level = level.iter().copied().filter(|other| self.field(other) == wanted);
            let mapped = self.field_mapping.iter().filter(|(_, name)| *name == wanted);
            let mut others =
                same_level.chain(mapped.map(|(field, _)| field.as_str())).filter(|o| o != standard);
            if let Some(other) = others.next() {
                let message = format!("`{other}` is called `{wanted}` already");
                return Err(Error::option(&path, message));
            }
        }
        for name in self.additional_fields.keys() {
            if DOCUMENT.iter().any(|field| field == name || self.field(field) == name) {
                let path = format!("additional_fields.{name}");
                return Err(Error::option(&path, "is the name of a standard field"));
            }
        }
        Ok(())
    }
}
