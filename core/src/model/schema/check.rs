//! Checks a value against compiled rules and collects every fault.

use std::{cmp::Ordering, collections::BTreeSet};

use serde_json::{Map, Number, Value};

use super::{
    KeyPath, Schema, Violation,
    compile::{Bound, Fields, Node, Rule, Side},
    fault::{Fault, Found, closest},
    types::{Types, compare, equal, identity},
};

/// Schemas within schemas, through references or into the value.
const MAX_DEPTH: usize = 256;
/// Rules looked at for one value: alternatives that refer to each other double the work at each
/// step, and a schema comes from a plugin.
const MAX_STEPS: u32 = 5_000_000;

pub(super) struct Checker<'s> {
    schema: &'s Schema,
    path: KeyPath,
    depth: usize,
    steps_left: u32,
    /// Where the check was abandoned.
    gave_up_at: Option<KeyPath>,
}

impl<'s> Checker<'s> {
    pub(super) fn new(schema: &'s Schema) -> Self {
        let (path, gave_up_at) = (KeyPath::new(), None);
        Self { schema, path, depth: 0, steps_left: MAX_STEPS, gave_up_at }
    }

    pub(super) fn run(mut self, value: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        self.node(&self.schema.root, value, &mut found);
        if let Some(path) = self.gave_up_at {
            // What was found is not reliable: an abandoned alternative looks like a fitting one.
            found = vec![Found { path, fault: Fault::TooComplex }];
        }
        found.into_iter().map(Found::describe).collect()
    }

    fn node(&mut self, node: &'s Node, value: &Value, found: &mut Vec<Found<'s>>) {
        let Node::Rules(rules) = node else {
            return self.report(Fault::Never, found);
        };
        if self.gave_up_at.is_some() {
            return;
        }
        if self.depth >= MAX_DEPTH || self.steps_left == 0 {
            self.gave_up_at = Some(self.path.clone());
            return;
        }
        self.depth += 1;
        for rule in rules {
            self.steps_left = self.steps_left.saturating_sub(1);
            if let Rule::Type(expected) = rule {
                if !expected.accepts(Types::of(value)) {
                    let fault = Fault::Type { expected: *expected, found: Types::of(value) };
                    self.report(fault, found);
                    break;
                }
            } else {
                self.rule(rule, value, found);
            }
        }
        self.depth -= 1;
    }

    fn report(&self, fault: Fault<'s>, found: &mut Vec<Found<'s>>) {
        found.push(Found { path: self.path.clone(), fault });
    }

    /// A rule says nothing about a value of a type that it is not made for.
    fn rule(&mut self, rule: &'s Rule, value: &Value, found: &mut Vec<Found<'s>>) {
        match (rule, value) {
            (Rule::Fields(fields), Value::Object(object)) => self.fields(fields, object, found),
            (Rule::Items(items), Value::Array(values)) => {
                for (index, value) in values.iter().enumerate() {
                    self.path.push(index);
                    self.node(items, value, found);
                    self.path.pop();
                }
            }
            (Rule::Names(names), Value::Object(object)) => {
                for key in object.keys() {
                    self.path.push(key.as_str());
                    self.node(names, &Value::String(key.clone()), found);
                    self.path.pop();
                }
            }
            (Rule::Values(allowed), _) => self.values(allowed, value, found),
            (Rule::Range(bound, limit), Value::Number(number))
                if !within(*bound, number, limit) =>
            {
                self.report(Fault::Range { bound: *bound, limit, found: number.clone() }, found);
            }
            (Rule::TextLength(side, limit), Value::String(text)) => {
                self.length(*side, *limit, text.chars().count(), "character", found);
            }
            (Rule::ArrayLength(side, limit), Value::Array(values)) => {
                self.length(*side, *limit, values.len(), "element", found);
            }
            (Rule::Unique, Value::Array(values)) => self.unique(values, found),
            (Rule::AllOf(nodes), _) => {
                for node in nodes {
                    self.node(node, value, found);
                }
            }
            (Rule::AnyOf(nodes), _) => {
                self.alternatives(nodes, value, found);
            }
            (Rule::OneOf(nodes), _) => {
                let matching = self.alternatives(nodes, value, found);
                if matching > 1 {
                    self.report(Fault::Ambiguous { matching }, found);
                }
            }
            (Rule::Reference(name), _) => {
                let schema = self.schema;
                let target = match name {
                    None => Some(&schema.root),
                    Some(name) => schema.definitions.get(name),
                };
                if let Some(target) = target {
                    self.node(target, value, found);
                }
            }
            _ => {}
        }
    }

    fn fields(
        &mut self,
        fields: &'s Fields,
        object: &Map<String, Value>,
        found: &mut Vec<Found<'s>>,
    ) {
        for (key, value) in object {
            self.path.push(key.as_str());
            match (fields.known.get(key), &fields.others) {
                (Some(node), _) => self.node(node, value, found),
                (None, Node::Never) => {
                    self.report(Fault::Unknown { key: key.clone(), fields }, found);
                }
                (None, others) => self.node(others, value, found),
            }
            self.path.pop();
        }
        for name in &fields.required {
            if !object.contains_key(name) {
                self.path.push(name.as_str());
                self.report(Fault::Missing, found);
                self.path.pop();
            }
        }
    }

    fn values(&self, allowed: &'s [Value], value: &Value, found: &mut Vec<Found<'s>>) {
        if !allowed.iter().any(|one| equal(one, value)) {
            let text = value.as_str().map(str::to_owned);
            self.report(Fault::Values { allowed: allowed.iter().collect(), found: text }, found);
        }
    }

    fn length(
        &self,
        side: Side,
        limit: u64,
        length: usize,
        unit: &'static str,
        found: &mut Vec<Found<'s>>,
    ) {
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let fits = match side {
            Side::Least => length >= limit,
            Side::Most => length <= limit,
        };
        if !fits {
            self.report(Fault::Length { side, limit, length, unit }, found);
        }
    }

    fn unique(&mut self, values: &[Value], found: &mut Vec<Found<'s>>) {
        let mut seen = BTreeSet::new();
        for (index, value) in values.iter().enumerate() {
            if !seen.insert(identity(value)) {
                self.path.push(index);
                self.report(Fault::Duplicate, found);
                self.path.pop();
            }
        }
    }

    /// Reports what keeps the value from the alternative that it comes closest to; returns how
    /// many it fits.
    fn alternatives(
        &mut self,
        nodes: &'s [Node],
        value: &Value,
        found: &mut Vec<Found<'s>>,
    ) -> usize {
        let mut failures = Vec::new();
        for node in nodes {
            let mut faults = Vec::new();
            self.node(node, value, &mut faults);
            if !faults.is_empty() {
                failures.push(faults);
            }
        }
        let matching = nodes.len() - failures.len();
        if matching == 0 {
            found.extend(closest(failures, &self.path));
        }
        matching
    }
}

fn within(bound: Bound, number: &Number, limit: &Number) -> bool {
    match (bound, compare(number, limit)) {
        (_, None) => false,
        (Bound::AtLeast, Some(order)) => order != Ordering::Less,
        (Bound::AtMost, Some(order)) => order != Ordering::Greater,
        (Bound::MoreThan, Some(order)) => order == Ordering::Greater,
        (Bound::LessThan, Some(order)) => order == Ordering::Less,
    }
}
