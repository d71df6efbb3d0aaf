//! RFC 3339 text of a time in nanoseconds since the Unix epoch.
//!
//! An own 20 lines instead of a crate: a `u64` of nanoseconds ends in the year 2554, so there is
//! no calendar question left but the civil date of a day, for which Howard Hinnant's
//! `civil_from_days` is the published integer formula.

use std::time::{SystemTime, UNIX_EPOCH};

const NS_PER_MS: u64 = 1_000_000;
const MS_PER_DAY: u64 = 86_400_000;

/// `2026-01-31T23:59:59.123Z`: UTC with milliseconds, cut, not rounded.
pub(crate) fn rfc3339_ms(unix_ns: u64) -> String {
    let unix_ms = unix_ns / NS_PER_MS;
    let (year, month, day) = civil_from_days(unix_ms / MS_PER_DAY);
    let ms = unix_ms % MS_PER_DAY;
    let (hour, minute, second, ms) =
        (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

/// Now, as [`rfc3339_ms`]; a clock before 1970 reads as 1970.
pub(crate) fn now_rfc3339_ms() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    rfc3339_ms(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// Year, month and day of a day since the Unix epoch, in the proleptic Gregorian calendar.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    // Eras of 400 years that begin on the 1st of March of year 0: leap days come last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times_are_spelled_right() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_107_542_399_000, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX / NS_PER_MS, "2554-07-21T23:34:33.709Z"),
        ] {
            assert_eq!(rfc3339_ms(unix_ms * NS_PER_MS), text);
        }
    }

    #[test]
    fn days_follow_each_other_through_every_month() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..250_000 {
            assert_eq!(civil_from_days(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }
}
