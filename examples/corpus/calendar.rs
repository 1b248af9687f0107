//! Milliseconds since 1970 as the strings in transcripts. UTC only.

pub const SECOND_MS: u64 = 1_000;
pub const HOUR_MS: u64 = 3_600 * SECOND_MS;
pub const DAY_MS: u64 = 24 * HOUR_MS;
/// 2026-10-01T00:00:00Z
pub const FIRST_DAY_MS: u64 = 1_790_812_800_000;

/// `2026-10-05T09:00:00.000Z`
pub fn time(ms: u64) -> String {
    let (hour, minute) = (ms / HOUR_MS % 24, ms / 60_000 % 60);
    let (second, milli) = (ms / SECOND_MS % 60, ms % SECOND_MS);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", day(ms))
}

/// `2026-10-05`
pub fn day(ms: u64) -> String {
    // Days counted from 0000-03-01, so that a leap day ends its year.
    let days = ms / DAY_MS + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}
