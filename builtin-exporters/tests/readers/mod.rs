//! Small strict readers, written against the formats and not against our writers.

use std::collections::BTreeMap;

pub(crate) type Labels = BTreeMap<String, String>;

/// One sample: name, labels, value as text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sample {
    pub(crate) name: String,
    pub(crate) labels: Labels,
    pub(crate) value: String,
}

/// Reads Prometheus text or OpenMetrics; with `escaped`, names are given back as they were.
pub(crate) fn prometheus(text: &str, escaped: bool) -> Vec<Sample> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line has no end");
    let lines = text.split_terminator('\n').filter(|line| !line.starts_with('#'));
    lines.map(|line| Text { rest: line, escaped }.sample()).collect()
}

struct Text<'a> {
    rest: &'a str,
    escaped: bool,
}

impl Text<'_> {
    fn sample(mut self) -> Sample {
        let mut name = self.bare_name();
        let mut labels = Labels::new();
        let mut first = true;
        if self.eat('{') {
            while !self.eat('}') {
                assert!(first || self.eat(','), "no comma at {:?}", self.rest);
                let quoted = self.rest.starts_with('"');
                let key = if quoted { self.quoted() } else { self.bare_name() };
                if self.eat('=') {
                    assert_eq!(labels.insert(key, self.quoted()), None, "label twice");
                } else {
                    assert!(first && quoted && name.is_empty(), "a quoted name stands first, once");
                    name = key;
                }
                first = false;
            }
        }
        assert!(self.eat(' '), "no space before the value: {:?}", self.rest);
        assert!(!self.rest.contains(' '), "something behind the value: {:?}", self.rest);
        Sample { name, labels, value: self.rest.to_owned() }
    }

    fn eat(&mut self, letter: char) -> bool {
        let rest = self.rest.strip_prefix(letter);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn bare_name(&mut self) -> String {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let end = self.rest.find(|c| !legal(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        if self.escaped { unescape(name) } else { name.to_owned() }
    }

    fn quoted(&mut self) -> String {
        assert!(self.eat('"'), "no quote at {:?}", self.rest);
        let mut out = String::new();
        let mut letters = self.rest.chars();
        loop {
            match letters.next().unwrap() {
                '"' => break,
                '\\' => out.push(match letters.next().unwrap() {
                    'n' => '\n',
                    other @ ('\\' | '"') => other,
                    other => panic!("escape \\{other}"),
                }),
                other => out.push(other),
            }
        }
        self.rest = letters.as_str();
        out
    }
}

/// Takes the `values` escaping of Prometheus back; a suffix of ours stays as it is.
pub(crate) fn unescape(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("U__") else { return name.to_owned() };
    let mut out = String::new();
    while let Some(at) = rest.find('_') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix('_') {
            out.push('_');
            rest = tail;
            continue;
        }
        let hex = rest.find('_').map(|end| (u32::from_str_radix(&rest[..end], 16), end));
        let Some((Ok(code), end)) = hex else { return format!("{out}_{rest}") };
        out.push(char::from_u32(code).unwrap());
        rest = &rest[end + 1..];
    }
    out + rest
}

/// Reads the JSON document with its default field names; histograms as their parts.
pub(crate) fn json(text: &[u8]) -> Vec<Sample> {
    let document: serde_json::Value = serde_json::from_slice(text).unwrap();
    let metrics = document["metrics"].as_array().unwrap();
    assert_eq!(document["total_metrics"], metrics.len());
    metrics.iter().flat_map(json_metric).collect()
}

fn json_metric(metric: &serde_json::Value) -> Vec<Sample> {
    let name = metric["name"].as_str().unwrap();
    let labels: Labels = serde_json::from_value(metric["labels"].clone()).unwrap();
    let text = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let sample = |suffix: &str, value| Sample {
        name: format!("{name}{suffix}"),
        labels: labels.clone(),
        value: text(value),
    };
    let Some(buckets) = metric["buckets"].as_array() else {
        return vec![sample("", &metric["value"])];
    };
    let mut out = vec![sample("_sum", &metric["sum"]), sample("_count", &metric["count"])];
    for bucket in buckets {
        let mut sample = sample("_bucket", &bucket["count"]);
        sample.labels.insert("le".to_owned(), text(&bucket["le"]));
        out.push(sample);
    }
    out
}

/// Reads the default columns of CSV.
pub(crate) fn csv(text: &[u8]) -> Vec<Sample> {
    let mut reader = csv::Reader::from_reader(text);
    assert_eq!(reader.headers().unwrap(), &["timestamp", "name", "type", "value", "labels"][..]);
    let rows = reader.records().map(|row| {
        let row = row.unwrap();
        let labels = serde_json::from_str(&row[4]).unwrap();
        Sample { name: row[1].to_owned(), labels, value: row[3].to_owned() }
    });
    rows.collect()
}
