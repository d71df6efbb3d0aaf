//! Whatever text a name or a label holds, a reader gets it back, from every format.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test: a panic is its verdict

mod readers;

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, test_runner::FileFailurePersistence};
use readers::{Labels, Sample};
use tallyport_builtin_exporters::{csv::Csv, json::Json, prometheus::Prometheus};
use tallyport_plugin_api::{
    Exporter, Kind, Number, Value,
    testing::{Fixture, Frozen, Harness},
};

fn export<E: Exporter>(options: &str, format: &str, snapshot: &Frozen) -> Vec<u8> {
    Harness::create::<E>(options).unwrap().export(format, snapshot).unwrap()
}

fn utf8(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap()
}

/// Text that formats stumble over, and any other text.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[\\\\\"'\n\r\t,;{}=_:#U0a\u{0}\u{202e}é\u{1f600} +@-]{0,12}",
        any::<String>(),
        Just("=SUM(A1)".to_owned()),
    ]
}

/// A family of gauges: a name, and series with a distinct value each.
fn gauges() -> impl Strategy<Value = BTreeMap<String, BTreeSet<Labels>>> {
    let label = text().prop_filter("reserved", |name| !name.is_empty() && name != "__name__");
    let series = prop::collection::btree_map(label, text(), 0..4);
    let family = prop::collection::btree_set(series, 1..4);
    prop::collection::btree_map(text().prop_filter("empty", |name| !name.is_empty()), family, 0..4)
}

fn freeze(families: &BTreeMap<String, BTreeSet<Labels>>) -> (Frozen, Vec<Sample>) {
    let mut fixture = Fixture::at(1_700_000_000_000_000_000);
    let mut samples = Vec::new();
    for (name, series) in families {
        let mut rows = fixture.family(name, Kind::Gauge, Number::U64).help(name).unit(name);
        for labels in series {
            let pairs: Vec<_> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let value = samples.len() as u64;
            rows = rows.series(&pairs, Value::U64(value));
            let (name, labels) = (name.clone(), labels.clone());
            samples.push(Sample { name, labels, value: value.to_string() });
        }
    }
    (fixture.freeze(), samples)
}

proptest! {
    // Cases that failed once are kept beside this file and tried first.
    #![proptest_config(ProptestConfig {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn names_and_labels_come_back_from_the_text_formats(families in gauges()) {
        let (snapshot, samples) = freeze(&families);
        for utf8_names in ["escape", "quote"] {
            let escaped = utf8_names == "escape";
            let options = format!(r#"{{"utf8_names":"{utf8_names}"}}"#);
            let classic = utf8(export::<Prometheus>(&options, "prometheus", &snapshot));
            prop_assert_eq!(&readers::prometheus(&classic, escaped), &samples);
            let open = utf8(export::<Prometheus>(&options, "openmetrics", &snapshot));
            let open = open.strip_suffix("# EOF\n").unwrap();
            prop_assert_eq!(&readers::prometheus(open, escaped), &samples);
        }
    }

    #[test]
    fn names_and_labels_come_back_from_json(families in gauges(), pretty: bool) {
        let (snapshot, samples) = freeze(&families);
        let text = export::<Json>(&format!(r#"{{"pretty":{pretty}}}"#), "json", &snapshot);
        prop_assert_eq!(readers::json(&text), samples);
    }

    #[test]
    fn names_and_labels_come_back_from_csv(families in gauges(), crlf: bool) {
        let (snapshot, samples) = freeze(&families);
        let options = if crlf { r#"{"row_separator":"\r\n"}"# } else { "" };
        let text = export::<Csv>(options, "csv", &snapshot);
        prop_assert_eq!(readers::csv(&text), samples);
    }

    #[test]
    fn labels_come_back_from_flattened_csv(families in gauges()) {
        let (snapshot, samples) = freeze(&families);
        let options = r#"{"flatten_labels":true,"columns":["value","labels"],"separator":";"}"#;
        let text = export::<Csv>(options, "csv", &snapshot);
        let mut reader = csv::ReaderBuilder::new().delimiter(b';').from_reader(&*text);
        let header = reader.headers().unwrap().clone();
        let names: Vec<&str> = header.iter().skip(1).map(|name| &name["label_".len()..]).collect();
        prop_assert!(names.is_sorted());
        for (row, sample) in reader.records().map(Result::unwrap).zip(&samples) {
            prop_assert_eq!(&row[0], &*sample.value);
            for (name, cell) in names.iter().zip(row.iter().skip(1)) {
                prop_assert_eq!(cell, sample.labels.get(*name).map_or("", String::as_str));
            }
        }
    }

    #[test]
    fn values_come_back_from_every_format(
        floats in prop::collection::vec(any::<f64>(), 1..6),
        counts in prop::collection::vec(any::<u64>(), 1..6),
        signed in prop::collection::vec(any::<i64>(), 1..6),
    ) {
        let mut fixture = Fixture::at(0);
        let mut expected = Vec::new();
        let mut add = |name: &str, kind, number, values: Vec<Value>| {
            let mut rows = fixture.family(name, kind, number);
            for (index, value) in values.into_iter().enumerate() {
                rows = rows.series(&[("n", &index.to_string())], value);
                expected.push(value);
            }
        };
        add("f", Kind::Gauge, Number::F64, floats.into_iter().map(Value::F64).collect());
        add("c_total", Kind::Counter, Number::U64, counts.into_iter().map(Value::U64).collect());
        add("u", Kind::UpDownCounter, Number::I64, signed.into_iter().map(Value::I64).collect());
        let snapshot = fixture.freeze();
        let classic = utf8(export::<Prometheus>("", "prometheus", &snapshot));
        let open = utf8(export::<Prometheus>("", "openmetrics", &snapshot));
        for samples in [
            readers::prometheus(&classic, true),
            readers::prometheus(open.strip_suffix("# EOF\n").unwrap(), true),
            readers::json(&export::<Json>("", "json", &snapshot)),
            readers::csv(&export::<Csv>("", "csv", &snapshot)),
        ] {
            prop_assert_eq!(samples.len(), expected.len());
            for (sample, expected) in samples.iter().zip(&expected) {
                match *expected {
                    Value::U64(value) => prop_assert_eq!(&sample.value, &value.to_string()),
                    Value::I64(value) => prop_assert_eq!(&sample.value, &value.to_string()),
                    Value::F64(value) if value.is_nan() => prop_assert_eq!(&sample.value, "NaN"),
                    Value::F64(value) => {
                        let read: f64 = sample.value.parse().unwrap();
                        prop_assert_eq!(read.to_bits(), value.to_bits(), "{}", &sample.value);
                    }
                }
            }
        }
    }

    #[test]
    fn histograms_are_cumulative_in_every_format(
        counts in prop::collection::vec(0_u64..1 << 40, 4),
        sum in 0.0..1e18_f64,
        label in text(),
    ) {
        let mut fixture = Fixture::at(0);
        fixture.histogram("h", &[0.5, 1.0, 2.5]).observed(&[("k", &label)], &counts, sum);
        let snapshot = fixture.freeze();
        let classic = utf8(export::<Prometheus>("", "prometheus", &snapshot));
        let open = utf8(export::<Prometheus>("", "openmetrics", &snapshot));
        for mut samples in [
            readers::prometheus(&classic, true),
            readers::prometheus(open.strip_suffix("# EOF\n").unwrap(), true),
            readers::json(&export::<Json>("", "json", &snapshot)),
            readers::csv(&export::<Csv>("", "csv", &snapshot)),
        ] {
            let mut below = 0;
            for (bound, count) in ["0.5", "1", "2.5", "+Inf"].into_iter().zip(&counts) {
                below += count;
                let at = samples.iter().position(|sample| {
                    let le = sample.labels.get("le").map(String::as_str);
                    le == Some(bound) || (le == Some("1.0") && bound == "1")
                });
                let sample = samples.remove(at.unwrap());
                prop_assert_eq!((&*sample.name, sample.value), ("h_bucket", below.to_string()));
                prop_assert_eq!(&sample.labels["k"], &label);
            }
            samples.sort();
            prop_assert_eq!((&*samples[0].name, &samples[0].value), ("h_count", &below.to_string()));
            prop_assert_eq!((&*samples[1].name, samples[1].value.parse()), ("h_sum", Ok(sum)));
            prop_assert_eq!(samples.len(), 2);
        }
    }
}
