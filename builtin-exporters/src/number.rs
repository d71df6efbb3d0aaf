//! Numbers as text: exact integers, shortest floats, and the spelling of bucket bounds.
//!
//! One spelling for all formats: a float that is an integer below 2^53 is printed as one (the
//! fast path, and what people expect of a gauge of 3), any other one as the shortest decimal that
//! reads back as the same bits, `1e+300` beyond 1e16. Go, promtool, Python and JSON read all of
//! it. The sign of -0.0 is kept.

use tallyport_plugin_api::Value;

/// Floats up to here have no fraction that the integer path would lose.
const EXACT: u64 = 1 << 53;

/// Appends an unsigned integer.
pub(crate) fn u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a signed integer.
pub(crate) fn i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends a float; what is not finite as [`special`] says.
pub(crate) fn f64(out: &mut Vec<u8>, value: f64) {
    let integer = value as i64; // saturates, and NaN becomes 0: the comparison finds both
    if integer as f64 == value
        && integer.unsigned_abs() < EXACT
        && (integer != 0 || value.is_sign_positive())
    {
        i64(out, integer);
    } else if value.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        out.extend_from_slice(special(value).as_bytes());
    }
}

/// Appends a value of any number type.
pub(crate) fn value(out: &mut Vec<u8>, value: Value) {
    match value {
        Value::U64(value) => u64(out, value),
        Value::I64(value) => i64(out, value),
        Value::F64(value) => f64(out, value),
    }
}

/// `NaN`, `+Inf` or `-Inf`.
pub(crate) fn special(value: f64) -> &'static str {
    match (value.is_nan(), value > 0.0) {
        (true, _) => "NaN",
        (false, true) => "+Inf",
        (false, false) => "-Inf",
    }
}

/// A bucket bound as Go's `%g` spells it: `0.005`, `1`, `1e+06`, `1e-05`.
///
/// Bounds are label values, compared as text by a scraper: OpenMetrics names this spelling (with
/// `.0` added where there is neither a point nor an exponent) as the canonical one.
pub(crate) fn canonical(bound: f64) -> String {
    if bound == 0.0 {
        return "0".to_owned(); // of either sign: one bound, one text
    }
    if !bound.is_finite() {
        return special(bound).to_owned();
    }
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format_finite(bound.abs());
    let (mantissa, exponent) = shortest.split_once('e').unwrap_or((shortest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let digits = all.trim_start_matches('0');
    let leading_zeros = (all.len() - digits.len()) as i32;
    let digits = digits.trim_end_matches('0');
    // The value is 0.DIGITS times ten to the power of `point`.
    let point = exponent.parse().unwrap_or(0) + whole.len() as i32 - leading_zeros;
    let sign = if bound < 0.0 { "-" } else { "" };
    let magnitude = point - 1;
    if !(-4..6).contains(&magnitude) {
        let (first, rest) = digits.split_at_checked(1).unwrap_or((digits, ""));
        let dot = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if magnitude < 0 { '-' } else { '+' };
        return format!("{sign}{first}{dot}{rest}e{exponent_sign}{:02}", magnitude.abs());
    }
    let zeros = |count: i32| "0".repeat(usize::try_from(count).unwrap_or(0));
    match usize::try_from(point).ok().filter(|&at| at > 0) {
        None => format!("{sign}0.{}{digits}", zeros(-point)),
        Some(at) => match digits.split_at_checked(at) {
            Some((whole, "")) => format!("{sign}{whole}"),
            Some((whole, fraction)) => format!("{sign}{whole}.{fraction}"),
            None => format!("{sign}{digits}{}", zeros(point - digits.len() as i32)),
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(value: f64) -> String {
        let mut out = Vec::new();
        f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_short_and_keep_their_sign() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0.0"),
            (3.0, "3"),
            (-17.0, "-17"),
            (0.1, "0.1"),
            (9_007_199_254_740_991.0, "9007199254740991"),
            (1e16, "1e+16"),
            (1e300, "1e+300"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(text(value), expected);
        }
    }

    #[test]
    fn integers_are_exact() {
        let mut out = Vec::new();
        value(&mut out, Value::U64(u64::MAX));
        value(&mut out, Value::I64(i64::MIN));
        assert_eq!(out, b"18446744073709551615-9223372036854775808");
    }

    #[test]
    fn bounds_are_spelled_as_go_spells_them() {
        for (bound, expected) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.005, "0.005"),
            (0.1, "0.1"),
            (1.0, "1"),
            (2.5, "2.5"),
            (10.0, "10"),
            (128.0, "128"),
            (100_000.0, "100000"),
            (123_456.5, "123456.5"),
            (1e6, "1e+06"),
            (1_048_576.0, "1.048576e+06"),
            (1e10, "1e+10"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1e-10, "1e-10"),
            (1.5e-7, "1.5e-07"),
            (1e300, "1e+300"),
            (-2.5, "-2.5"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(canonical(bound), expected);
        }
    }

    proptest! {
        #[test]
        fn every_float_reads_back_as_itself(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(text(value).parse::<f64>().unwrap().to_bits(), bits);
            prop_assert_eq!(canonical(value).parse::<f64>().unwrap(), value);
        }
    }
}
