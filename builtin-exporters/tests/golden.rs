//! Small outputs, written out in full.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test: a panic is its verdict

use std::{fs, path::Path};

use tallyport_builtin_exporters::{csv::Csv, json::Json, prometheus::Prometheus};
use tallyport_plugin_api::{
    Exporter, Kind, Number, Value,
    testing::{Fixture, Frozen, Harness},
};

const NS: u64 = 1_000_000_000;

/// One family of each kind, and a name and texts that need escapes.
fn sample() -> Frozen {
    let mut fixture = Fixture::at(1_700_000_000_123_456_789);
    fixture
        .family("http_requests_total", Kind::Counter, Number::U64)
        .help("Requests \"served\"\\seen\nso far")
        .created(1_690_000_000 * NS)
        .series(&[("method", "GET"), ("path", "/a\"b\\c\nd")], Value::U64(u64::MAX))
        .series(&[], Value::U64(0));
    fixture
        .family("bytes", Kind::Counter, Number::F64)
        .unit("bytes")
        .created(1_690_000_000 * NS + 5_000_000)
        .series(&[], Value::F64(1.5));
    fixture
        .family("in.flight", Kind::UpDownCounter, Number::I64)
        .series(&[("größe", "1")], Value::I64(-3));
    fixture
        .family("temperature_celsius", Kind::Gauge, Number::F64)
        .unit("celsius")
        .series(&[("probe", "a")], Value::F64(f64::NAN))
        .series(&[("probe", "b")], Value::F64(-0.0))
        .series(&[("probe", "c")], Value::F64(f64::NEG_INFINITY))
        .series(&[("probe", "d")], Value::F64(1e300));
    fixture
        .histogram("wait_seconds", &[0.005, 1.0, 1e6])
        .unit("seconds")
        .created(1_690_000_000 * NS)
        .observed(&[], &[1, 2, 0, 1], 2_000_003.25)
        .observed(&[("queue", "mail")], &[], 0.0);
    fixture.histogram("delta", &[-1.0]).observed(&[], &[2, 1], -7.5);
    fixture.unknown("from_the_future", 99, 2).series(&[], Value::U64(1));
    drop(fixture.family("silent", Kind::Gauge, Number::F64).help("no series yet"));
    fixture.freeze()
}

/// Compares the output with `tests/golden/FILE`; `TALLYPORT_BLESS=1` writes the file instead.
#[track_caller]
fn golden<E: Exporter>(options: &str, format: &str, snapshot: &Frozen, file: &str) {
    let harness = Harness::create::<E>(options).unwrap();
    let actual = stable(&harness.export(format, snapshot).unwrap());
    // The second export reads what the first one rendered.
    assert_eq!(actual, stable(&harness.export(format, snapshot).unwrap()), "from the cache");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("TALLYPORT_BLESS").is_some() {
        fs::write(path, actual).unwrap();
    } else {
        assert_eq!(actual, fs::read_to_string(path).unwrap(), "{file}");
    }
}

/// The text without what differs from run to run: the time of export and our version.
fn stable(text: &[u8]) -> String {
    let text = String::from_utf8(text.to_vec()).unwrap();
    let text = text.replace(&format!("\"{}\"", env!("CARGO_PKG_VERSION")), "\"VERSION\"");
    let Some(at) = text.find("exported_at") else { return text };
    let (head, tail) = text.split_at(at);
    let (key, tail) = tail.split_at(tail.find('2').unwrap());
    format!("{head}{key}NOW{}", &tail["2023-11-14T22:13:20.123Z".len()..])
}

#[test]
fn prometheus_text() {
    let snapshot = sample();
    golden::<Prometheus>("", "prometheus", &snapshot, "classic.prom");
    golden::<Prometheus>("", "", &snapshot, "classic.prom");
    golden::<Prometheus>(r#"{"utf8_names":"quote"}"#, "prometheus", &snapshot, "quoted.prom");
    golden::<Prometheus>("", "prometheus_utf8", &snapshot, "quoted.prom");
    golden::<Prometheus>("", "prometheus", &Fixture::at(0).freeze(), "empty.prom");
}

#[test]
fn openmetrics() {
    let snapshot = sample();
    golden::<Prometheus>("", "openmetrics", &snapshot, "classic.openmetrics");
    let options = r#"{"utf8_names":"quote","created_lines":true}"#;
    golden::<Prometheus>(options, "openmetrics", &snapshot, "quoted_created.openmetrics");
    let options = r#"{"created_lines":true}"#;
    golden::<Prometheus>(options, "openmetrics_utf8", &snapshot, "quoted_created.openmetrics");
    golden::<Prometheus>("", "openmetrics", &Fixture::at(0).freeze(), "empty.openmetrics");
}

#[test]
fn json() {
    let (snapshot, empty) = (sample(), Fixture::at(0).freeze());
    golden::<Json>("", "json", &snapshot, "compact.json");
    let options = r#"{"pretty":true,"field_mapping":{"name":"metric","timestamp":"at"},
        "additional_fields":{"host":{"name":"a","tags":[1,"x"]}}}"#;
    golden::<Json>(options, "json", &snapshot, "pretty_mapped.json");
    golden::<Json>("", "json", &empty, "empty.json");
    golden::<Json>(
        r#"{"pretty":true,"include_metadata":false}"#,
        "json",
        &empty,
        "empty_bare.json",
    );
}

#[test]
fn csv() {
    let (snapshot, empty) = (sample(), Fixture::at(0).freeze());
    golden::<Csv>("", "csv", &snapshot, "default.csv");
    let options = r#"{"flatten_labels":true,"columns":["labels","value","name","created"]}"#;
    golden::<Csv>(options, "csv", &snapshot, "flat.csv");
    let options = r#"{"columns":["help","unit","value","timestamp"],"separator":"\t",
        "row_separator":"\r\n","header":false}"#;
    golden::<Csv>(options, "csv", &snapshot, "texts.tsv");
    golden::<Csv>("", "csv", &empty, "empty.csv");
}
