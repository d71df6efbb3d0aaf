//! From JSON to rules: which keywords exist here, and what their values must look like.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Number, Value};

use super::{
    super::{Error, ErrorKind},
    Schema,
    types::Types,
};

/// Keywords that say nothing about validity.
const ANNOTATIONS: [&str; 12] = [
    "$schema",
    "$id",
    "$comment",
    "title",
    "description",
    "default",
    "examples",
    "format",
    "deprecated",
    "readOnly",
    "writeOnly",
    "contentMediaType",
];

/// A schema within a schema can be this deep.
const MAX_DEPTH: usize = 64;

/// One schema: `false`, or rules that must all hold (`true` has none).
#[derive(Debug, Clone)]
pub(super) enum Node {
    Never,
    Rules(Vec<Rule>),
}

/// What one keyword, or a few that belong together, demand.
#[derive(Debug, Clone)]
pub(super) enum Rule {
    Type(Types),
    Fields(Box<Fields>),
    Items(Box<Node>),
    /// What every key of an object, as a text, must be.
    Names(Box<Node>),
    /// `enum` and `const`.
    Values(Vec<Value>),
    Range(Bound, Number),
    TextLength(Side, u64),
    ArrayLength(Side, u64),
    Unique,
    AnyOf(Vec<Node>),
    OneOf(Vec<Node>),
    AllOf(Vec<Node>),
    /// A name in `$defs`; `None` is the root.
    Reference(Option<String>),
}

/// `properties`, `required` and `additionalProperties`.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    pub(super) known: BTreeMap<String, Node>,
    pub(super) required: Vec<String>,
    pub(super) others: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bound {
    AtLeast,
    AtMost,
    MoreThan,
    LessThan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Least,
    Most,
}

/// What a keyword outside the subset does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Unknown {
    /// It is an error of the schema.
    #[default]
    Refused,
    /// It is noted and not checked: whoever wrote the schema checks it.
    Noted,
}

/// Compiles a whole schema; also returns the places of keywords that are not checked.
pub(super) fn schema(schema: &Value, unknown: Unknown) -> Result<(Schema, Vec<String>), Error> {
    let mut compiler = Compiler { unknown, ..Compiler::default() };
    let root = compiler.node(schema, &Place { pointer: "#".to_owned(), depth: 0 })?;
    for (name, place) in &compiler.references {
        if !compiler.definitions.contains_key(name) {
            return Err(malformed(place, &format!("refers to `{name}`, which `$defs` lacks")));
        }
    }
    Ok((Schema { root, definitions: compiler.definitions }, compiler.noted))
}

#[derive(Default)]
struct Compiler {
    definitions: BTreeMap<String, Node>,
    /// The names that were referred to, and from where.
    references: BTreeMap<String, String>,
    unknown: Unknown,
    noted: Vec<String>,
}

/// Where in the schema the compiler is.
struct Place {
    pointer: String,
    depth: usize,
}

impl Place {
    fn at(&self, keyword: &str) -> Self {
        let keyword = keyword.replace('~', "~0").replace('/', "~1");
        Self { pointer: format!("{}/{keyword}", self.pointer), depth: self.depth + 1 }
    }
}

fn malformed(pointer: &str, reason: &str) -> Error {
    Error::invalid(pointer, format!("JSON Schema: {pointer}: {reason}"))
}

fn unsupported(pointer: &str) -> Error {
    let reason = "this keyword is not supported (prefix your own with `x-`)";
    Error::new(ErrorKind::Unsupported, format!("JSON Schema: {pointer}: {reason}"))
        .with_field(pointer)
}

impl Compiler {
    fn node(&mut self, schema: &Value, place: &Place) -> Result<Node, Error> {
        if place.depth > MAX_DEPTH {
            return Err(malformed(&place.pointer, "is nested too deeply"));
        }
        match schema {
            Value::Bool(true) => Ok(Node::Rules(Vec::new())),
            Value::Bool(false) => Ok(Node::Never),
            Value::Object(keywords) => Ok(Node::Rules(self.rules(keywords, place)?)),
            _ => Err(malformed(&place.pointer, "a schema is an object or a boolean")),
        }
    }

    fn rules(&mut self, keywords: &Map<String, Value>, place: &Place) -> Result<Vec<Rule>, Error> {
        let mut rules = Vec::new();
        for (keyword, value) in keywords {
            let place = place.at(keyword);
            match keyword.as_str() {
                "$defs" if place.pointer == "#/$defs" => {
                    self.definitions = self.nodes_by_name(value, &place)?;
                }
                // The type comes first: when it is wrong, nothing else is worth saying.
                "type" => rules.insert(0, Rule::Type(types(value, &place.pointer)?)),
                "properties" | "required" | "additionalProperties" => {}
                "$ref" => rules.push(self.reference(value, &place)?),
                "anyOf" => rules.push(Rule::AnyOf(self.nodes(value, &place)?)),
                "oneOf" => rules.push(Rule::OneOf(self.nodes(value, &place)?)),
                "allOf" => rules.push(Rule::AllOf(self.nodes(value, &place)?)),
                "items" => rules.push(Rule::Items(Box::new(self.node(value, &place)?))),
                annotation if ANNOTATIONS.contains(&annotation) => {}
                own if own.starts_with("x-") => {}
                "propertyNames" => rules.push(Rule::Names(Box::new(self.node(value, &place)?))),
                plain => match plain_rule(plain, value, &place.pointer) {
                    Err(error) if self.notes(&error) => self.noted.push(place.pointer),
                    rule => rules.extend(rule?),
                },
            }
        }
        rules.extend(self.fields(keywords, place)?);
        Ok(rules)
    }

    /// Whether an error is a keyword that is passed over.
    fn notes(&self, error: &Error) -> bool {
        self.unknown == Unknown::Noted && error.kind() == ErrorKind::Unsupported
    }

    fn fields(
        &mut self,
        keywords: &Map<String, Value>,
        place: &Place,
    ) -> Result<Option<Rule>, Error> {
        let (known, required, others) = (
            keywords.get("properties"),
            keywords.get("required"),
            keywords.get("additionalProperties"),
        );
        if known.is_none() && required.is_none() && others.is_none() {
            return Ok(None);
        }
        let known = match known {
            Some(known) => self.nodes_by_name(known, &place.at("properties"))?,
            None => BTreeMap::new(),
        };
        let required = match required {
            Some(names) => strings(names, &place.at("required").pointer)?,
            None => Vec::new(),
        };
        let others = match others {
            Some(others) => self.node(others, &place.at("additionalProperties"))?,
            None => Node::Rules(Vec::new()),
        };
        Ok(Some(Rule::Fields(Box::new(Fields { known, required, others }))))
    }

    fn nodes(&mut self, value: &Value, place: &Place) -> Result<Vec<Node>, Error> {
        let schemas = value.as_array().filter(|schemas| !schemas.is_empty());
        let schemas = schemas
            .ok_or_else(|| malformed(&place.pointer, "must be a non-empty array of schemas"))?;
        let numbered = schemas.iter().enumerate();
        numbered.map(|(at, schema)| self.node(schema, &place.at(&at.to_string()))).collect()
    }

    fn nodes_by_name(
        &mut self,
        value: &Value,
        place: &Place,
    ) -> Result<BTreeMap<String, Node>, Error> {
        let schemas =
            value.as_object().ok_or_else(|| malformed(&place.pointer, "must be an object"))?;
        let compile = |(name, schema): (&String, &Value)| {
            Ok((name.clone(), self.node(schema, &place.at(name))?))
        };
        schemas.iter().map(compile).collect()
    }

    fn reference(&mut self, value: &Value, place: &Place) -> Result<Rule, Error> {
        let target = value.as_str().unwrap_or_default();
        if target == "#" {
            return Ok(Rule::Reference(None));
        }
        let name = target.strip_prefix("#/$defs/").filter(|name| !name.contains(['/', '%']));
        let name = name.ok_or_else(|| {
            malformed(&place.pointer, "only `#` and `#/$defs/NAME` can be referred to")
        })?;
        let name = name.replace("~1", "/").replace("~0", "~");
        self.references.entry(name.clone()).or_insert_with(|| place.pointer.clone());
        Ok(Rule::Reference(Some(name)))
    }
}

/// The keywords whose value is no schema.
fn plain_rule(keyword: &str, value: &Value, pointer: &str) -> Result<Option<Rule>, Error> {
    let range = |bound| match value {
        Value::Number(limit) => Ok(Some(Rule::Range(bound, limit.clone()))),
        _ => Err(malformed(pointer, "must be a number")),
    };
    let length =
        || value.as_u64().ok_or_else(|| malformed(pointer, "must be a non-negative integer"));
    Ok(Some(match keyword {
        "const" => Rule::Values(vec![value.clone()]),
        "enum" => match value.as_array() {
            Some(values) if !values.is_empty() => Rule::Values(values.clone()),
            _ => return Err(malformed(pointer, "must be a non-empty array")),
        },
        "minimum" => return range(Bound::AtLeast),
        "maximum" => return range(Bound::AtMost),
        "exclusiveMinimum" => return range(Bound::MoreThan),
        "exclusiveMaximum" => return range(Bound::LessThan),
        "minLength" => Rule::TextLength(Side::Least, length()?),
        "maxLength" => Rule::TextLength(Side::Most, length()?),
        "minItems" => Rule::ArrayLength(Side::Least, length()?),
        "maxItems" => Rule::ArrayLength(Side::Most, length()?),
        "uniqueItems" => match value {
            Value::Bool(true) => Rule::Unique,
            Value::Bool(false) => return Ok(None),
            _ => return Err(malformed(pointer, "must be a boolean")),
        },
        _ => return Err(unsupported(pointer)),
    }))
}

fn types(value: &Value, pointer: &str) -> Result<Types, Error> {
    let wrong = || malformed(pointer, "must name JSON types");
    let named = |name: &Value| name.as_str().and_then(Types::named).ok_or_else(wrong);
    match value {
        Value::Array(names) => {
            let mut all = names.iter().map(named);
            let first = all.next().ok_or_else(wrong)??;
            all.try_fold(first, |sum, one| Ok(sum.union(one?)))
        }
        name => named(name),
    }
}

/// An array of different strings, in its order.
fn strings(value: &Value, pointer: &str) -> Result<Vec<String>, Error> {
    let wrong = || malformed(pointer, "must be an array of different strings");
    let values = value.as_array().ok_or_else(wrong)?;
    let names: Option<Vec<_>> =
        values.iter().map(|name| name.as_str().map(str::to_owned)).collect();
    let names = names.ok_or_else(wrong)?;
    let different: BTreeSet<_> = names.iter().collect();
    if different.len() == names.len() { Ok(names) } else { Err(wrong()) }
}
