//! What nobody sends on purpose: odd texts, a sink that stops, a call that was withdrawn.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a test: a panic is its verdict

mod readers;

use tallyport_builtin_exporters::{EXPORTERS, csv::Csv, json::Json, prometheus::Prometheus};
use tallyport_plugin_api::{
    Exporter, Kind, Number, Value,
    abi::{
        TALLYPORT_CANCELLED, TALLYPORT_CAP_CONCURRENT, TALLYPORT_CONFLICT, TALLYPORT_DAMAGED,
        TALLYPORT_IO, TALLYPORT_LIMIT, TALLYPORT_NULL_ARGUMENT, TALLYPORT_UNSUPPORTED,
    },
    testing::{Failure, Fixture, Frozen, Harness, Run},
};

/// Runs `check` on every exporter with each of its formats.
fn each(mut check: impl FnMut(&Harness, &str)) {
    fn one<E: Exporter>(formats: &[&str], check: &mut dyn FnMut(&Harness, &str)) {
        for format in formats {
            check(&Harness::create::<E>("").unwrap(), format);
        }
    }
    let prometheus = ["prometheus", "openmetrics", "prometheus_utf8", "openmetrics_utf8"];
    one::<Prometheus>(&prometheus, &mut check);
    one::<Json>(&["json"], &mut check);
    one::<Csv>(&["csv"], &mut check);
}

fn many(series: u64) -> Frozen {
    let mut fixture = Fixture::at(1_700_000_000_000_000_000);
    let mut rows = fixture.family("requests_total", Kind::Counter, Number::U64);
    for index in 0..series {
        rows = rows.series(&[("index", &index.to_string())], Value::U64(index));
    }
    drop(rows);
    let mut rows = fixture.histogram("wait", &[0.1, 1.0]);
    for index in 0..series {
        rows = rows.observed(&[("index", &index.to_string())], &[index, 1, 2], 3.0);
    }
    drop(rows);
    fixture.freeze()
}

#[test]
fn the_set_holds_three_exporters() {
    assert_eq!(EXPORTERS.as_abi().count, 3);
    for caps in [Prometheus::INFO.caps, Json::INFO.caps, Csv::INFO.caps] {
        assert_eq!(caps & TALLYPORT_CAP_CONCURRENT, TALLYPORT_CAP_CONCURRENT);
    }
}

#[test]
fn hostile_texts_come_back() {
    let megabyte = "\"\\\n\u{0}é".repeat(170_000);
    let texts =
        ["\"\\\n\r\t\0\u{7f}", "\u{202e}\u{2066}abc", "=SUM(A1)", "", "\\n", "}, {x=\"", &megabyte];
    let mut fixture = Fixture::at(0);
    let mut rows = fixture.family("g", Kind::Gauge, Number::U64).help(&megabyte);
    for text in texts {
        rows = rows.series(&[("text", text)], Value::U64(1));
    }
    drop(rows);
    let snapshot = fixture.freeze();
    each(|harness, format| {
        let bytes = harness.export(format, &snapshot).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        let samples = match format {
            "json" => readers::json(&bytes),
            "csv" => readers::csv(&bytes),
            _ => readers::prometheus(text.strip_suffix("# EOF\n").unwrap_or(text), true),
        };
        let read: Vec<&str> = samples.iter().map(|sample| sample.labels["text"].as_str()).collect();
        assert!(read == texts, "{format}");
    });
}

#[test]
fn a_sink_that_stops_anywhere_ends_the_export_with_its_status() {
    let snapshot = many(700);
    each(|harness, format| {
        let whole = harness.export(format, &snapshot).unwrap();
        for limit in (0..whole.len()).step_by(whole.len() / 97) {
            for limit_status in [TALLYPORT_LIMIT, TALLYPORT_CANCELLED, TALLYPORT_IO] {
                let run = Run { limit, limit_status, ..Run::new(format) };
                let (written, result) = harness.run(run, &snapshot);
                assert_eq!(result.unwrap_err().status, limit_status, "{format} at {limit}");
                if format != "json" {
                    assert!(whole.starts_with(&written), "{format} at {limit}");
                }
            }
        }
        let again = harness.export(format, &snapshot).unwrap();
        assert_eq!(again.len(), whole.len(), "{format}: usable after all of it");
    });
}

#[test]
fn a_withdrawn_call_stops_while_it_renders() {
    let snapshot = many(3_000);
    each(|harness, format| {
        let run = Run { cancel_at: Some(0), ..Run::new(format) };
        let (written, result) = harness.run(run, &snapshot);
        assert_eq!(result.unwrap_err().status, TALLYPORT_CANCELLED, "{format}");
        assert!(written.is_empty(), "{format}");
    });
}

#[test]
fn a_withdrawn_call_of_a_large_snapshot_ends_early() {
    let snapshot = many(20_000);
    each(|harness, format| {
        let whole = harness.export(format, &snapshot).unwrap();
        // What is rendered is kept, so from here on only values are written.
        for polls in [0, 1, 5] {
            let run = Run { cancel_at: Some(polls), ..Run::new(format) };
            let (written, result) = harness.run(run, &snapshot);
            assert_eq!(result.unwrap_err().status, TALLYPORT_CANCELLED, "{format}, {polls}");
            assert!(written.len() < whole.len() / 10, "{format}, {polls}: {}", written.len());
        }
        let run = Run { cancel_at: Some(500), ..Run::new(format) };
        assert_eq!(
            harness.run(run, &snapshot).0.len(),
            whole.len(),
            "{format}: never asked so often"
        );
    });
    let flat = Harness::create::<Csv>(r#"{"flatten_labels":true}"#).unwrap();
    let run = Run { cancel_at: Some(1), ..Run::new("csv") };
    assert_eq!(flat.run(run, &snapshot).1.unwrap_err().status, TALLYPORT_CANCELLED);
}

#[test]
fn values_change_under_a_schema_that_is_kept() {
    let mut fixture = Fixture::at(0);
    let rows = fixture.family("a", Kind::Gauge, Number::F64);
    rows.series(&[], Value::F64(1.0)).series(&[("x", "y")], Value::F64(2.0));
    let mut other = fixture.clone();
    other.family("b", Kind::Gauge, Number::F64).series(&[], Value::F64(4.0));
    let harness = Harness::create::<Prometheus>("").unwrap();
    let text = |fixture: &Fixture, format| {
        String::from_utf8(harness.export(format, &fixture.freeze()).unwrap()).unwrap()
    };
    for value in [5.0, 6.5, -7.0] {
        fixture.set(1, Value::F64(value));
        let expected = format!("# TYPE a gauge\na 1\na{{x=\"y\"}} {value}\n");
        assert_eq!(text(&fixture, "prometheus"), expected);
        assert_eq!(text(&fixture, "openmetrics"), expected + "# EOF\n");
        let second = "# TYPE a gauge\na 1\na{x=\"y\"} 2\n# TYPE b gauge\nb 4\n";
        assert_eq!(text(&other, "prometheus"), second);
    }
}

#[test]
fn concurrent_exports_do_not_disturb_each_other() {
    let (small, large) = (many(3), many(2_000));
    each(|harness, format| {
        if format == "json" {
            return; // the time of export differs
        }
        let expected = [&small, &large].map(|snapshot| harness.export(format, snapshot).unwrap());
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (small, large, expected) = (&small, &large, &expected);
                scope.spawn(move || {
                    for round in 0..20 {
                        let which = (thread + round) % 2;
                        let snapshot = [small, large][which];
                        assert!(harness.export(format, snapshot).unwrap() == expected[which]);
                    }
                });
            }
        });
    });
}

fn failure<E: Exporter>(format: &str, snapshot: &Frozen) -> Failure {
    Harness::create::<E>("").unwrap().export(format, snapshot).unwrap_err()
}

#[test]
fn names_that_would_meet_are_a_conflict() {
    let pair = |first: (&str, Kind), second: (&str, Kind)| {
        let mut fixture = Fixture::at(0);
        for (name, kind) in [first, second] {
            if kind == Kind::Histogram {
                fixture.histogram(name, &[1.0]).observed(&[], &[], 0.0);
            } else {
                fixture.family(name, kind, Number::U64).series(&[], Value::U64(1));
            }
        }
        fixture.freeze()
    };
    let (counter, gauge, histogram) = (Kind::Counter, Kind::Gauge, Kind::Histogram);
    for (first, second, in_classic) in [
        (("a", gauge), ("a", gauge), true),
        (("x_count", counter), ("x", histogram), true),
        (("x", histogram), ("x_bucket", gauge), true),
        (("a", counter), ("a_total", counter), false),
        (("a_total", counter), ("a", gauge), false),
        (("a", counter), ("a_created", gauge), false),
        (("a.b", counter), ("a.b_total", counter), false),
    ] {
        let snapshot = pair(first, second);
        let classic = Harness::create::<Prometheus>("").unwrap().export("prometheus", &snapshot);
        assert_eq!(classic.is_err(), in_classic, "{first:?} {second:?}");
        let open = Harness::create::<Prometheus>(r#"{"utf8_names":"quote"}"#).unwrap();
        let failure = open.export("openmetrics", &snapshot).unwrap_err();
        assert_eq!(failure.status, TALLYPORT_CONFLICT);
        for name in [first.0, second.0] {
            assert!(failure.message.contains(&format!("`{name}`")), "{}", failure.message);
        }
    }
    // Escaped they do not meet: the second name is escaped as well.
    let snapshot = pair(("a.b", gauge), ("U__a_2e_b", gauge));
    let text = Harness::create::<Prometheus>("").unwrap().export("prometheus", &snapshot).unwrap();
    let samples = readers::prometheus(std::str::from_utf8(&text).unwrap(), true);
    assert_eq!([&*samples[0].name, &*samples[1].name], ["a.b", "U__a_2e_b"]);
}

#[test]
fn a_label_that_names_the_bound_is_a_conflict_where_they_meet() {
    let mut fixture = Fixture::at(0);
    fixture.histogram("h", &[1.0]).observed(&[("le", "x")], &[1, 2], 0.0);
    let snapshot = fixture.freeze();
    for format in ["prometheus", "openmetrics"] {
        let failure = failure::<Prometheus>(format, &snapshot);
        assert_eq!(failure.status, TALLYPORT_CONFLICT);
        assert_eq!(failure.details, [("family".to_owned(), "h".to_owned())]);
    }
    assert_eq!(failure::<Csv>("csv", &snapshot).status, TALLYPORT_CONFLICT);
    // In JSON a bound is no label.
    assert!(Harness::create::<Json>("").unwrap().export("json", &snapshot).is_ok());

    let mut fixture = Fixture::at(0);
    fixture.family("g", Kind::Gauge, Number::U64).series(&[("le", "x")], Value::U64(1));
    fixture.histogram("h", &[1.0]).observed(&[], &[1, 2], 0.0);
    let snapshot = fixture.freeze();
    let options = r#"{"flatten_labels":true,"columns":["name","labels","value"]}"#;
    let text = Harness::create::<Csv>(options).unwrap().export("csv", &snapshot).unwrap();
    let expected =
        "name,label_le,value\ng,x,1\nh_bucket,1,1\nh_bucket,+Inf,3\nh_sum,,0\nh_count,,3\n";
    assert_eq!(String::from_utf8(text).unwrap(), expected);
    each(|harness, format| drop(harness.export(format, &snapshot).unwrap()));

    let mut fixture = Fixture::at(0);
    fixture.family("g", Kind::Gauge, Number::U64).series(&[("__name__", "x")], Value::U64(1));
    assert_eq!(failure::<Prometheus>("", &fixture.freeze()).status, TALLYPORT_CONFLICT);
}

#[test]
fn counters_are_counts_and_open_metrics_sums_are_counters() {
    for value in [Value::F64(f64::NAN), Value::F64(-1.0), Value::I64(-1)] {
        let number = if matches!(value, Value::I64(_)) { Number::I64 } else { Number::F64 };
        let mut fixture = Fixture::at(0);
        fixture.family("c", Kind::Counter, number).series(&[], value);
        assert_eq!(failure::<Prometheus>("", &fixture.freeze()).status, TALLYPORT_DAMAGED);
    }
    for (bound, sum, shown) in [
        (1.0, 2.5, true),
        (1.0, f64::INFINITY, true),
        (1.0, -2.5, false),
        (1.0, f64::NAN, false),
        (-1.0, 2.5, false),
    ] {
        let mut fixture = Fixture::at(0);
        fixture.histogram("h", &[bound]).observed(&[], &[1, 1], sum);
        let snapshot = fixture.freeze();
        let harness = Harness::create::<Prometheus>("").unwrap();
        let classic = String::from_utf8(harness.export("prometheus", &snapshot).unwrap()).unwrap();
        assert!(classic.contains("h_sum ") && classic.contains("h_count 2\n"));
        let open = String::from_utf8(harness.export("openmetrics", &snapshot).unwrap()).unwrap();
        assert_eq!((open.contains("h_sum "), open.contains("h_count ")), (shown, shown), "{open}");
        assert!(open.contains("h_bucket{le=\"+Inf\"} 2\n"));
    }
}

#[test]
fn a_format_of_another_exporter_is_unsupported() {
    let snapshot = many(1);
    assert_eq!(failure::<Prometheus>("json", &snapshot).status, TALLYPORT_UNSUPPORTED);
    assert_eq!(failure::<Json>("csv", &snapshot).status, TALLYPORT_UNSUPPORTED);
    assert_eq!(failure::<Csv>("prometheus", &snapshot).status, TALLYPORT_UNSUPPORTED);
    each(|harness, format| {
        assert_eq!(harness.export_null(format).unwrap_err().status, TALLYPORT_NULL_ARGUMENT);
    });
}
