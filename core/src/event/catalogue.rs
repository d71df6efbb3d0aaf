//! What events there are: name, category, description, payload schema.
//!
//! The built-in ones are always there; a host registers its own as custom ones. What is in the
//! catalogue may be published whether or not anybody listens; so may what is not: the catalogue
//! describes, it does not forbid.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    builtin::EVENTS,
    name::{check_event_name, namespace},
};
use crate::model::{Error, ErrorKind, schema::Schema};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Category {
    /// A task's life.
    Task,
    /// A step's life.
    Step,
    /// The work as a whole.
    Workflow,
    /// What operators watch.
    Observability,
    /// What took too long or too much.
    Performance,
    /// Queries.
    Database,
    /// Exports, stores and exporters.
    Export,
    /// Plugins, subscribers, handlers.
    Registry,
    /// The host's own.
    Custom,
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 9] = [
        Self::Task,
        Self::Step,
        Self::Workflow,
        Self::Observability,
        Self::Performance,
        Self::Database,
        Self::Export,
        Self::Registry,
        Self::Custom,
    ];

    /// Its name in lists.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Step => "step",
            Self::Workflow => "workflow",
            Self::Observability => "observability",
            Self::Performance => "performance",
            Self::Database => "database",
            Self::Export => "export",
            Self::Registry => "registry",
            Self::Custom => "custom",
        }
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Most custom events.
const MAX_CUSTOM: usize = 4096;
/// Longest description and schema of a custom event.
const MAX_TEXT_BYTES: usize = 16 * 1024;

/// One event of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    name: Box<str>,
    category: Category,
    description: Box<str>,
    schema: Value,
}

impl Definition {
    /// An event of the host's own.
    ///
    /// `schema` is a JSON Schema of the payload, or null for any. It says what subscribers may
    /// expect; a payload is checked against it by [`Definition::check`] and not when it is
    /// published.
    ///
    /// # Errors
    /// InvalidArgument for a name that is not `namespace.event`, a text over 16 KiB, or a
    /// schema that is none.
    pub fn custom(name: &str, description: &str, schema: Value) -> Result<Self, Error> {
        check_event_name(name)?;
        let too_long = |field: &str, bytes: usize| {
            let message = format!(
                "the {field} of event `{name}` has {bytes} bytes; {MAX_TEXT_BYTES} are the most"
            );
            Err(Error::invalid(field, message))
        };
        if description.len() > MAX_TEXT_BYTES {
            return too_long("description", description.len());
        }
        let schema = if schema.is_null() { json!({ "type": "object" }) } else { schema };
        let bytes = schema.to_string().len();
        if bytes > MAX_TEXT_BYTES {
            return too_long("schema", bytes);
        }
        Schema::compile_foreign(&schema).map_err(|error| {
            let place = error.field().map(|place| format!(" at {place}")).unwrap_or_default();
            let message = format!("the schema of event `{name}`{place}: {error}");
            Error::invalid("schema", message)
        })?;
        Ok(Self {
            name: name.into(),
            category: Category::Custom,
            description: description.into(),
            schema,
        })
    }

    /// Its name, `namespace.event`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The part of the name before the first dot.
    #[must_use]
    pub fn namespace(&self) -> &str {
        namespace(&self.name)
    }

    /// What it is about.
    #[must_use]
    pub fn category(&self) -> Category {
        self.category
    }

    /// When it is published.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// JSON Schema of its payload.
    #[must_use]
    pub fn schema(&self) -> &Value {
        &self.schema
    }

    /// Says whether a payload is as the schema has it: for tests of publishers.
    ///
    /// # Errors
    /// InvalidArgument with everything that is wrong, and the first wrong field.
    pub fn check(&self, payload: &Value) -> Result<(), Error> {
        let (schema, _) = Schema::compile_foreign(&self.schema)?;
        let wrong = schema.check(payload);
        let Some(first) = wrong.first() else { return Ok(()) };
        let all: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        let message = format!("payload of event `{}`: {}", self.name, all.join("; "));
        Err(Error::invalid(&first.path.to_string(), message))
    }

    /// `{"name", "namespace", "category", "description", "schema"}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "name": self.name(),
            "namespace": self.namespace(),
            "category": self.category.as_str(),
            "description": self.description(),
            "schema": self.schema,
        })
    }
}

/// The built-in events.
pub(super) fn builtin() -> impl Iterator<Item = Definition> {
    EVENTS.iter().map(|(name, category, description, payload)| Definition {
        name: (*name).into(),
        category: *category,
        description: (*description).into(),
        schema: schema_of(payload),
    })
}

/// The JSON Schema of a payload written as `name:type!`.
fn schema_of(payload: &str) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in payload.split_whitespace() {
        let (name, kind) = field.split_once(':').unwrap_or((field, ""));
        let always = kind.ends_with('!');
        let types = match kind.trim_end_matches('!') {
            "id" => json!(["string", "integer"]),
            "text" => json!("string"),
            "int" => json!("integer"),
            "num" => json!("number"),
            "bool" => json!("boolean"),
            "list" => json!("array"),
            _ => json!("object"),
        };
        properties.insert(name.to_owned(), json!({ "type": types }));
        if always {
            required.push(name);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

/// Says whether a definition may join those that there are; `false`: it is there already.
///
/// # Errors
/// AlreadyExists for another definition of the same name, Limit.
pub(super) fn admit<'a>(
    known: impl Iterator<Item = &'a Arc<Definition>>,
    new: &Definition,
) -> Result<bool, Error> {
    let mut custom = 0;
    for definition in known {
        if definition.name == new.name {
            if **definition == *new {
                return Ok(false);
            }
            let message = format!(
                "event `{}` is in the catalogue already ({}), with another description or schema",
                new.name, definition.category
            );
            return Err(Error::new(ErrorKind::AlreadyExists, message).with_field("name"));
        }
        custom += usize::from(definition.category == Category::Custom);
    }
    if custom >= MAX_CUSTOM {
        let message =
            format!("{MAX_CUSTOM} custom events are registered, the most that there may be");
        return Err(Error::new(ErrorKind::Limit, message).with_field("name"));
    }
    Ok(true)
}

/// The events of a bus at one time, by name. Registering more does not change it.
#[derive(Debug, Clone)]
pub struct Catalogue {
    pub(super) events: BTreeMap<Box<str>, Arc<Definition>>,
}

impl Catalogue {
    /// The event of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Definition> {
        self.events.get(name).map(|definition| &**definition)
    }

    /// Every event, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Definition> {
        self.events.values().map(|definition| &**definition)
    }

    /// The events of a namespace, by name.
    pub fn namespace<'a>(&'a self, wanted: &'a str) -> impl Iterator<Item = &'a Definition> {
        self.iter().filter(move |definition| definition.namespace() == wanted)
    }

    /// The events of a category, by name.
    pub fn category(&self, wanted: Category) -> impl Iterator<Item = &Definition> {
        self.iter().filter(move |definition| definition.category == wanted)
    }

    /// The namespaces, with how many events each has.
    #[must_use]
    pub fn namespaces(&self) -> BTreeMap<&str, usize> {
        let mut found = BTreeMap::new();
        for definition in self.iter() {
            *found.entry(definition.namespace()).or_default() += 1;
        }
        found
    }

    /// The events whose name, category or description has every word of `words`, whatever the
    /// case of ASCII letters.
    #[must_use]
    pub fn search(&self, words: &str) -> Vec<&Definition> {
        let words = words.to_ascii_lowercase();
        let has_all = |definition: &&Definition| {
            let texts = [definition.name(), definition.category.as_str(), definition.description()];
            let texts = texts.join("\n").to_ascii_lowercase();
            words.split_whitespace().all(|word| texts.contains(word))
        };
        self.iter().filter(has_all).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_event_is_well_formed_and_there_once() {
        let mut seen = std::collections::BTreeSet::new();
        for definition in builtin() {
            let name = definition.name();
            check_event_name(name).unwrap();
            assert!(seen.insert(name.to_owned()), "{name} twice");
            assert!(definition.description().ends_with('.'), "{name}");
            assert_ne!(definition.category(), Category::Custom, "{name}");
            Schema::compile(definition.schema()).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
        for (name, .., payload) in EVENTS {
            for field in payload.split_whitespace() {
                let kind = field.split_once(':').map(|(_, kind)| kind.trim_end_matches('!'));
                let known = ["id", "text", "int", "num", "bool", "list", "map"];
                assert!(kind.is_some_and(|kind| known.contains(&kind)), "{name}: {field}");
            }
        }
    }

    #[test]
    fn the_catalogue_has_every_event_of_the_specification() {
        let names: Vec<String> = builtin().map(|event| event.name().to_owned()).collect();
        let mut wanted: Vec<String> = [
            "cache.synced",
            "export.requested",
            "export.completed",
            "export.failed",
            "task.initialize_requested",
            "task.start_requested",
            "task.completed",
            "task.failed",
            "step.execution_requested",
            "step.completed",
            "step.failed",
            "step.retry_requested",
            "workflow.viable_steps_discovered",
            "observability.step.backoff",
            "observability.step.skip",
            "batch.step_execution",
            "observability.step.max_retries_reached",
            "performance.slow_operation",
            "observability.task.enqueue",
            "memory.spike_detected",
            "observability.task.finalize",
            "observability.step.find_viable",
            "observability.step.handle",
            "step.before_handle",
            "dependency.resolved",
            "database.query_executed",
            "performance.slow_sql_query",
            "registry.sync_requested",
            "registry.health_check",
            "registry.stats_collected",
            "registry.cross_discovery",
            "registry.coordination_complete",
        ]
        .map(str::to_owned)
        .to_vec();
        for what in ["handler", "plugin", "subscriber"] {
            for change in ["registered", "unregistered", "validation_failed"] {
                wanted.push(format!("{what}.{change}"));
            }
        }
        for name in wanted {
            assert!(names.contains(&name), "{name}");
        }
    }

    #[test]
    fn a_schema_says_what_a_payload_lacks() {
        let definition = builtin().find(|event| event.name() == "task.completed").unwrap();
        definition.check(&json!({ "task_id": 7, "duration": 0.2, "more": [] })).unwrap();
        definition.check(&json!({ "task_id": "seven" })).unwrap();
        let error = definition.check(&json!({ "task_id": true, "duration": "long" })).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("`task_id`") && text.contains("`duration`"), "{text}");
        let error = definition.check(&json!({})).unwrap_err();
        assert!(error.to_string().contains("task_id"), "{error}");
    }

    #[test]
    fn a_bad_custom_event_is_refused_with_the_field() {
        let long = "x".repeat(MAX_TEXT_BYTES + 1);
        for (name, description, schema, field) in [
            ("order", "", Value::Null, "name"),
            ("order.*", "", Value::Null, "name"),
            ("order.paid", long.as_str(), Value::Null, "description"),
            ("order.paid", "", json!({ "title": long }), "schema"),
            ("order.paid", "", json!({ "type": "sum" }), "schema"),
            ("order.paid", "", json!([]), "schema"),
        ] {
            let error = Definition::custom(name, description, schema).unwrap_err();
            assert_eq!(error.field(), Some(field), "{error}");
        }
        let event = Definition::custom("order.paid", "Paid.", Value::Null).unwrap();
        assert_eq!((event.namespace(), event.category()), ("order", Category::Custom));
        event.check(&json!({ "anything": 1 })).unwrap();
    }
}
