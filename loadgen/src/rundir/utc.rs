//! Dates for file names and records. UTC only, so no time zone data is needed.

/// Nanoseconds since the Unix epoch as `20231114T221320Z`.
#[must_use]
pub fn utc_compact(wall_ns: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(wall_ns / 1_000_000_000);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Nanoseconds since the Unix epoch as `2023-11-14T22:13:20Z` (RFC 3339).
#[must_use]
pub fn utc_rfc3339(wall_ns: u64) -> String {
    let [year, month, day, hour, minute, second] = civil(wall_ns / 1_000_000_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year to second (Hinnant, "chrono-compatible low-level date algorithms": civil_from_days).
fn civil(seconds: u64) -> [u64; 6] {
    let (days, second_of_day) = (seconds / 86_400, seconds % 86_400);
    // Years are counted from 1 March of year 0, in eras of 400 years: leap days come last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    [year, month, day, second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
        ] {
            assert_eq!(utc_rfc3339(seconds * 1_000_000_000), expected);
        }
        assert_eq!(utc_compact(0), "19700101T000000Z");
    }
}
