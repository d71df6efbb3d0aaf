//! Snapshots for the cases: what every host has, and what a host may have once.

use tallyport_plugin_api::{
    Kind, Number, Value,
    testing::{Fixture, Frozen},
};

/// When every snapshot was taken, so that exports of it do not depend on the clock.
const TIME: u64 = 1_700_000_000_123_456_789;
const CREATED: u64 = 1_699_999_999_000_000_000;

/// Every kind and number type, with and without labels, help and unit.
pub(crate) fn standard() -> Frozen {
    fixture().freeze()
}

/// As [`standard`], to be changed.
pub(crate) fn fixture() -> Fixture {
    let mut all = Fixture::at(TIME);
    all.family("requests_total", Kind::Counter, Number::U64)
        .help("Requests that were answered")
        .created(CREATED)
        .series(&[("method", "GET"), ("status", "200")], Value::U64(1027))
        .series(&[("method", "PUT"), ("status", "404")], Value::U64(3));
    all.family("received_bytes_total", Kind::Counter, Number::F64)
        .unit("bytes")
        .created(CREATED)
        .series(&[], Value::F64(12345.678));
    all.family("in_flight", Kind::UpDownCounter, Number::I64).series(&[], Value::I64(-4));
    all.family("balance", Kind::UpDownCounter, Number::F64).series(&[], Value::F64(-0.5));
    all.family("temperature_celsius", Kind::Gauge, Number::F64)
        .help("Where the sensors are")
        .unit("celsius")
        .series(&[("room", "north")], Value::F64(21.5))
        .series(&[("room", "south")], Value::F64(-3.25));
    all.histogram("request_seconds", &[0.01, 0.1, 1.0])
        .help("How long answers took")
        .unit("seconds")
        .created(CREATED)
        .observed(&[("method", "GET")], &[5, 3, 2, 1], 4.75)
        .observed(&[("method", "PUT")], &[0, 0, 0, 0], 0.0);
    all
}

/// No family at all.
pub(crate) fn empty() -> Frozen {
    Fixture::at(TIME).freeze()
}

/// Families without a series.
pub(crate) fn hollow() -> Frozen {
    let mut all = Fixture::at(TIME);
    drop(all.family("nothing_yet_total", Kind::Counter, Number::U64).help("Nothing yet"));
    drop(all.histogram("nothing_seconds", &[1.0]));
    drop(all.histogram("unbounded_seconds", &[]));
    all.freeze()
}

/// Numbers at the ends of their types, and those that are none.
pub(crate) fn numbers() -> Frozen {
    let mut all = Fixture::at(TIME);
    let reals = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        -0.0,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE / 4.0,
        0.1 + 0.2,
        1e21,
        9_007_199_254_740_993.0,
    ];
    // A host's counters are finite and never negative; its gauges are whatever they were set to.
    let counted = reals.iter().filter(|real| real.is_finite() && !real.is_sign_negative());
    for (kind, name, reals) in [
        (Kind::Counter, "real_total", counted.copied().collect()),
        (Kind::Gauge, "real_value", reals.to_vec()),
    ] {
        let reals: Vec<f64> = reals;
        let mut family = all.family(name, kind, Number::F64);
        for (index, real) in reals.iter().enumerate() {
            family = family.series(&[("n", &format!("{index:02}"))], Value::F64(*real));
        }
        drop(family);
    }
    all.family("whole_total", Kind::Counter, Number::U64)
        .series(&[("n", "0")], Value::U64(0))
        .series(&[("n", "1")], Value::U64(u64::MAX));
    all.family("signed", Kind::Gauge, Number::I64)
        .series(&[("n", "0")], Value::I64(i64::MIN))
        .series(&[("n", "1")], Value::I64(i64::MAX));
    all.histogram("odd_seconds", &[-1.0, 0.0, f64::MAX])
        .observed(&[("n", "0")], &[u64::MAX / 2, 0, 1, 0], f64::NAN)
        .observed(&[("n", "1")], &[0, 0, 0, 1], f64::NEG_INFINITY);
    all.histogram("unbounded_seconds", &[]).observed(&[], &[3], 1.5);
    all.freeze()
}

/// Names and values that formats have to escape, or to endure.
pub(crate) fn hostile() -> Frozen {
    let mut all = Fixture::at(TIME);
    let long = "ä".repeat(500_000);
    let values = [
        "",
        "\"quoted\\\" and \\ and '",
        "two\nlines\r\nand\ttabs",
        "a\0nul",
        "\u{1}\u{1b}[31mred\u{7f}",
        "\u{202e}right to left\u{2066}",
        "=SUM(A1)",
        "</script>&amp;{}[],;|#:@%",
        "\u{feff}é𝄞\u{10ffff}",
        &long,
    ];
    let mut family = all
        .family("hostile_total", Kind::Counter, Number::U64)
        .help("Help with \"quotes\", \\ and\nnewlines\0");
    for (index, value) in values.iter().enumerate() {
        let labels = [("n", index.to_string()), ("text", (*value).to_owned())];
        let labels = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
        family = family.series(&labels, Value::U64(index as u64));
    }
    drop(family);
    all.family("http.server é \"x\"\n", Kind::Gauge, Number::F64)
        .series(&[("label with é", "1"), ("quote\"d", "2")], Value::F64(1.0));
    let many: Vec<(String, String)> =
        (0..64).map(|n| (format!("l{n:02}"), n.to_string())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    all.family("wide", Kind::Gauge, Number::I64).series(&many, Value::I64(64));
    all.freeze()
}

/// What every host has, between kinds and number types that nobody knows.
pub(crate) fn unknown() -> Frozen {
    let mut all = fixture();
    all.unknown("of_tomorrow", 77, Number::F64.to_abi()).series(&[("a", "b")], Value::F64(1.0));
    all.unknown("of_no_number", Kind::Counter.to_abi(), 99).series(&[], Value::U64(7));
    all.unknown("of_nothing", u32::MAX, 0).series(&[], Value::U64(7));
    all.freeze()
}

/// `count` series in families of up to 10,000.
pub(crate) fn many(count: u32) -> Frozen {
    const WIDTH: u32 = 10_000;
    let mut all = Fixture::at(TIME);
    let mut left = count;
    while left > 0 {
        let take = left.min(WIDTH);
        let name = format!("many_{:03}_total", (count - left) / WIDTH);
        let mut family = all.family(&name, Kind::Counter, Number::U64).help("One of many");
        for series in 0..take {
            let (shard, host) = ((series % 100).to_string(), series.to_string());
            let labels = [("host", host.as_str()), ("shard", shard.as_str())];
            family = family.series(&labels, Value::U64(u64::from(series)));
        }
        drop(family);
        left -= take;
    }
    all.freeze()
}
