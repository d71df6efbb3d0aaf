//! Times of day in an output: an export may say when it was made, which is no part of what it says
//! of the snapshot.
//!
//! Snapshots of the kit were taken long ago, so whatever reads as the present is such a time:
//! `2026-11-21T10:37:00.251Z` and the like, or seconds, milli-, micro- or nanoseconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

/// How far from now a time is still the present, in seconds.
const NEAR: u64 = 900;

/// The output with present times replaced by `#`.
pub(crate) fn without_now(bytes: &[u8]) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    masked(bytes, now)
}

fn masked(bytes: &[u8], now: u64) -> Vec<u8> {
    let days = [date(now.saturating_sub(NEAR)), date(now + NEAR)];
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = if days.iter().any(|day| rest.starts_with(day.as_bytes())) {
            let of_time = |b: &u8| b.is_ascii_digit() || b"-:.+TZ ".contains(b);
            // A date and what follows it, at most as long as a time with nanoseconds and a zone.
            rest.iter().take(35).take_while(|b| of_time(b)).count()
        } else {
            rest.iter().take_while(|b| b.is_ascii_digit()).count()
        };
        let (run, after) = rest.split_at(len.max(1));
        let is_date = len > 0 && run.contains(&b'-');
        if is_date || is_present(run, now) {
            out.push(b'#');
        } else {
            out.extend_from_slice(run);
        }
        rest = after;
    }
    out
}

/// Whether digits are a time near now in one of the usual units.
fn is_present(run: &[u8], now: u64) -> bool {
    let number = std::str::from_utf8(run).ok().and_then(|text| text.parse::<u128>().ok());
    let Some(number) = number.filter(|_| run.len() >= 10) else { return false };
    let near = |unit: u128| (number / unit).abs_diff(u128::from(now)) <= u128::from(NEAR);
    [1, 1_000, 1_000_000, 1_000_000_000].into_iter().any(near)
}

/// `YYYY-MM-DD` of a time in seconds since 1970 (Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", civil_from_days).
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) =
        (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_257_420;

    fn text(text: &str) -> String {
        String::from_utf8(masked(text.as_bytes(), NOW)).unwrap()
    }

    #[test]
    fn present_times_are_masked_and_others_are_not() {
        assert_eq!(date(NOW), "2026-11-21");
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(text("{\"at\":\"2026-11-21T10:37:00.251Z\"}"), "{\"at\":\"#\"}");
        assert_eq!(text("t 1795257421123 x"), "t # x");
        assert_eq!(text("1795257421 1795257421123456789"), "# #");
        for kept in ["2023-11-14T22:13:20.123Z", "1700000000123456789", "9007199254740993", "12-3"]
        {
            assert_eq!(text(kept), kept);
        }
    }
}
