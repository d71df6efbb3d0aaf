//! The exporter of `statsd_lines.c` with the Rust SDK, byte for byte.
//!
//! What the lines mean and which options there are is told in `statsd_lines.c`. What differs is
//! what the SDK takes over: options come as a struct, the snapshot as iterators, and no line here
//! is unsafe.

use serde::Deserialize;
use tallyport_plugin_api::{
    Call, Error, Exporter, Family, Host, Info, Kind, LogLevel, Series, Sink, Snapshot, Value,
    abi::{
        TALLYPORT_CANCELLED, TALLYPORT_CAP_CONCURRENT, TALLYPORT_CAP_OUT_OF_PROC,
        TALLYPORT_CAP_WRITES_SINK,
    },
    format,
};

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    prefix: String,
    tags: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { prefix: String::new(), tags: true }
    }
}

struct Statsd {
    host: Host,
    prefix: String,
    tags: bool,
}

impl Exporter for Statsd {
    type Options = Options;

    const INFO: Info = Info {
        vendor: "Example Ltd",
        description: "StatsD lines with DogStatsD tags, in Rust",
        formats: &[format("statsd_rust", "text/plain; charset=utf-8")],
        caps: TALLYPORT_CAP_WRITES_SINK | TALLYPORT_CAP_CONCURRENT | TALLYPORT_CAP_OUT_OF_PROC,
        config_schema_json: r#"{"type":"object","additionalProperties":false,"properties":{"prefix":{"type":"string","maxLength":255},"tags":{"type":"boolean"}}}"#,
        ..Info::new("statsd_rust", "1.0.0")
    };

    fn create(host: Host, options: Options) -> Result<Self, Error> {
        if options.prefix.len() > 255 {
            return Err(Error::option("prefix", "longer than 255 bytes"));
        }
        let mut prefix = String::new();
        push_clean(&mut prefix, &options.prefix, NAME_ENDS);
        Ok(Self { host, prefix, tags: options.tags })
    }

    fn export(
        &self,
        call: &Call<'_>,
        snapshot: &Snapshot<'_>,
        sink: &mut Sink<'_>,
    ) -> Result<(), Error> {
        let mut left_out = 0_u32;
        for family in snapshot.families() {
            for series in family.series() {
                let written = match family.kind() {
                    Kind::Histogram => self.histogram(sink, &family, &series)?,
                    _ => self.value(sink, &family, &series)?,
                };
                left_out += u32::from(!written);
                if call.is_cancelled() {
                    return Err(Error::new(TALLYPORT_CANCELLED, "the caller withdrew the call"));
                }
            }
        }
        if left_out != 0 {
            let text = format!("{left_out} values are not finite and were left out");
            self.host.log(LogLevel::Warn, &text);
        }
        Ok(())
    }
}

impl Statsd {
    /// Writes a counter or gauge; false when its value has no spelling.
    fn value(
        &self,
        sink: &mut Sink<'_>,
        family: &Family<'_>,
        of: &Series<'_>,
    ) -> Result<bool, Error> {
        let Some(value) = text_of(of.value()) else { return Ok(false) };
        if family.kind() == Kind::Counter {
            self.line(sink, family, of, ["", "", &value, "|c"])?;
            return Ok(true);
        }
        if !self.tags && value.starts_with('-') {
            self.line(sink, family, of, ["", "", "0", "|g"])?;
        }
        self.line(sink, family, of, ["", "", &value, "|g"])?;
        Ok(true)
    }

    /// Writes a histogram; false when its sum has no spelling.
    fn histogram(
        &self,
        sink: &mut Sink<'_>,
        family: &Family<'_>,
        of: &Series<'_>,
    ) -> Result<bool, Error> {
        let Some(histogram) = of.histogram() else { return Ok(true) };
        self.line(sink, family, of, ["_count", "", &histogram.count.to_string(), "|c"])?;
        let sum = text_of(Value::F64(histogram.sum));
        if let Some(sum) = &sum {
            self.line(sink, family, of, ["_sum", "", sum, "|c"])?;
        }
        let bounds = family.bounds().iter().map(|&bound| shortest(bound));
        let mut total = 0_u64;
        for (bucket, le) in histogram.buckets.iter().zip(bounds.chain(["+Inf".to_owned()])) {
            total = total.wrapping_add(*bucket);
            self.line(sink, family, of, ["_bucket", &le, &total.to_string(), "|c"])?;
        }
        Ok(sum.is_some())
    }

    /// Writes one line; `le` is the bound of a bucket, empty for other lines.
    fn line(
        &self,
        sink: &mut Sink<'_>,
        family: &Family<'_>,
        of: &Series<'_>,
        [suffix, le, value, kind]: [&str; 4],
    ) -> Result<(), Error> {
        let mut labels = String::new();
        let bound = (!le.is_empty()).then_some(("le", le));
        for (key, text) in of.labels().chain(bound) {
            let (first, between, ends) =
                if self.tags { ("|#", ",", TAG_ENDS) } else { (".", ".", LABEL_ENDS) };
            labels.push_str(if labels.is_empty() { first } else { between });
            push_clean(&mut labels, key, ends);
            labels.push(if self.tags { ':' } else { '.' });
            push_clean(&mut labels, text, ends);
        }
        let (before, after) = if self.tags { ("", &*labels) } else { (&*labels, "") };
        let mut name = self.prefix.clone();
        push_clean(&mut name, family.name(), NAME_ENDS);
        sink.write(format!("{name}{suffix}{before}:{value}{kind}{after}\n").as_bytes())
    }
}

/// What would end a name.
const NAME_ENDS: &[char] = &[':', '|', '@', '#'];
/// What would end a label as a part of the name, in plain StatsD.
const LABEL_ENDS: &[char] = &[':', '|', '@', '#', '.'];
/// What would end a tag's key or value.
const TAG_ENDS: &[char] = &[':', '|', '#', ','];

/// Appends text with what would end it replaced, and control characters.
fn push_clean(out: &mut String, text: &str, ends: &[char]) {
    let unfit = |c: char| c.is_ascii_control() || ends.contains(&c);
    out.extend(text.chars().map(|c| if unfit(c) { '_' } else { c }));
}

/// `None` for a value that StatsD cannot spell.
fn text_of(value: Value) -> Option<String> {
    match value {
        Value::U64(whole) => Some(whole.to_string()),
        Value::I64(whole) => Some(whole.to_string()),
        Value::F64(real) => real.is_finite().then(|| shortest(real)),
    }
}

/// The shortest text of 15 to 17 digits that reads back as the same number, spelled as C's `%g`.
fn shortest(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned(); // -0 would read as a change of a gauge
    }
    for digits in 15..17 {
        let text = general(number, digits);
        if text.parse() == Ok(number) {
            return text;
        }
    }
    general(number, 17)
}

/// `printf("%.{digits}g")`: the exponent decides the form, trailing zeros go.
fn general(number: f64, digits: usize) -> String {
    let scientific = format!("{number:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.unsigned_abs());
    }
    // In range: -4 <= exponent < digits, so the number of decimals is not negative.
    let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
    trimmed(&format!("{number:.decimals$}"))
}

tallyport_plugin_api::export_plugins!("com.example.statsd-rust", [Statsd]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_as_printf_does() {
        let cases = [
            (0.1, "0.1"),
            (-0.0, "0"),
            (100_000.0, "100000"),
            (1e15, "1e+15"),
            (1e-5, "1e-05"),
            (0.000_1, "0.0001"),
            (1e300, "1e+300"),
            (0.1 + 0.2, "0.30000000000000004"),
            (123_456_789_012_345.0, "123456789012345"),
            (-2.5, "-2.5"),
            (5e-324, "4.94065645841247e-324"),
        ];
        for (number, text) in cases {
            assert_eq!(shortest(number), text);
        }
    }
}
