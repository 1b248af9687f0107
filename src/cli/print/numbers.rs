//! Formats of numbers, sizes, times and lengths of time for people.

use jiff::Timestamp;

use super::text;
pub use crate::model::format::{age, grouped, length, percent};

/// The name of a unit and its size.
type Scale = (&'static str, u64);

const BYTE_SCALES: [Scale; 6] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("EiB", 1 << 60),
];

/// Units of counts in reports, which show every digit below a million.
const REPORT_SCALES: [Scale; 4] = [
    ("M", 1_000_000),
    ("B", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("Q", 1_000_000_000_000_000),
];
/// Units of counts in narrow cells.
const COMPACT_SCALES: [Scale; 5] = [
    ("k", 1_000),
    REPORT_SCALES[0],
    REPORT_SCALES[1],
    REPORT_SCALES[2],
    REPORT_SCALES[3],
];

/// The style of reports: every digit below a million, then one decimal: `999,999`, `1.2M`, `1.0B`.
#[must_use]
pub fn report_style(number: u64) -> String {
    if number < REPORT_SCALES[0].1 {
        return grouped(number);
    }
    scaled(number, 1_000, &REPORT_SCALES).map_or_else(|| grouped(number), |(value, unit)| value + unit)
}

/// The style of narrow cells: one decimal from a thousand on: `999`, `1.5k`, `999.5k`, `1.0M`.
#[must_use]
pub fn compact_style(number: u64) -> String {
    scaled(number, 1_000, &COMPACT_SCALES).map_or_else(|| number.to_string(), |(value, unit)| value + unit)
}

/// A length of time in few columns, minutes rounded up as in [`length`]: `2d4h`, `1h05m`, `12m`, `0m`.
#[must_use]
pub fn short_length(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    let (days, hours, minutes) = (minutes / 1_440, minutes / 60 % 24, minutes % 60);
    match (days, hours) {
        (0, 0) => format!("{minutes}m"),
        (0, _) => format!("{hours}h{minutes:02}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// Binary units: `512 B`, `1.5 KiB`, `3.0 GiB`; rounds half up, never to `1024.0 KiB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    scaled(number, 1_024, &BYTE_SCALES).map_or_else(
        || format!("{number} B"),
        |(value, scale)| format!("{value} {scale}"),
    )
}

/// A number with its noun: `1 file`, `1,200 files`.
#[must_use]
pub fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// An RFC 3339 time in UTC, with its zone: `2026-10-05 11:00:04 UTC`. No time is `unknown`; an unreadable one
/// is unchanged.
#[must_use]
pub fn time(rfc3339: &str) -> String {
    formatted(rfc3339, "%Y-%m-%d %H:%M:%S UTC")
}

/// As [`time`], without the zone.
#[must_use]
pub fn time_without_zone(rfc3339: &str) -> String {
    formatted(rfc3339, "%Y-%m-%d %H:%M:%S")
}

/// As [`time`], without the day.
#[must_use]
pub fn time_of_day(rfc3339: &str) -> String {
    formatted(rfc3339, "%H:%M:%S UTC")
}

fn formatted(rfc3339: &str, format: &str) -> String {
    match rfc3339.parse::<Timestamp>() {
        Ok(time) => time.strftime(format).to_string(),
        Err(_) if rfc3339.is_empty() => "unknown".to_owned(),
        Err(_) => text::name(rfc3339),
    }
}

/// The number in the first unit that shows it below `step`, with one decimal; `None` if it needs no unit.
fn scaled(number: u64, step: u64, scales: &[Scale]) -> Option<(String, &'static str)> {
    if number < step {
        return None;
    }
    let last = scales.last()?.0;
    scales.iter().find_map(|&(scale, one)| {
        let one = u128::from(one);
        let tenths = (u128::from(number) * 10 + one / 2) / one;
        let fits = tenths < u128::from(step) * 10 || scale == last;
        fits.then(|| (format!("{}.{}", tenths / 10, tenths % 10), scale))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: impl Fn(u64) -> String, cases: &[(u64, &str)]) {
        for &(number, expected) in cases {
            assert_eq!(format(number), expected, "{number}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        check(
            bytes,
            &[
                (0, "0 B"),
                (1_023, "1023 B"),
                (1_024, "1.0 KiB"),
                (1_536, "1.5 KiB"),
                ((1 << 20) - 1, "1.0 MiB"),
                (1 << 30, "1.0 GiB"),
                (u64::MAX, "16.0 EiB"),
            ],
        );
    }

    #[test]
    fn a_report_shows_every_digit_below_a_million_and_a_narrow_cell_three() {
        for (number, report, compact) in [
            (0, "0", "0"),
            (999, "999", "999"),
            (1_500, "1,500", "1.5k"),
            (2_500, "2,500", "2.5k"),
            (999_500, "999,500", "999.5k"),
            (999_949, "999,949", "999.9k"),
            (999_950, "999,950", "1.0M"),
            (999_999, "999,999", "1.0M"),
            (1_000_000, "1.0M", "1.0M"),
            (1_200_000, "1.2M", "1.2M"),
            (45_600_000, "45.6M", "45.6M"),
            (999_949_999, "999.9M", "999.9M"),
            (999_950_000, "1.0B", "1.0B"),
            (999_999_999, "1.0B", "1.0B"),
            (1_500_000_000_000, "1.5T", "1.5T"),
            (u64::MAX, "18446.7Q", "18446.7Q"),
        ] {
            assert_eq!(report_style(number), report, "{number}");
            assert_eq!(compact_style(number), compact, "{number}");
        }
    }

    #[test]
    fn lengths_are_short() {
        check(
            short_length,
            &[
                (0, "0m"),
                (1, "1m"),
                (60, "1m"),
                (118, "2m"),
                (3_540, "59m"),
                (3_599, "1h00m"),
                (3_900, "1h05m"),
                (86_340, "23h59m"),
                (86_399, "1d0h"),
                (187_200, "2d4h"),
            ],
        );
    }

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(0, "file"), "0 files");
        assert_eq!(counted(1_200, "file"), "1,200 files");
    }

    #[test]
    fn times_are_in_utc_and_say_so() {
        for (text, expected) in [
            ("2026-10-05T09:00:04.123Z", "2026-10-05 09:00:04 UTC"),
            ("2026-12-31T23:30:00-01:00", "2027-01-01 00:30:00 UTC"),
            ("", "unknown"),
            ("soon", "soon"),
            ("\u{1b}[2J", "\u{fffd}[2J"),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
        assert_eq!(time_of_day("2026-10-05T09:00:04Z"), "09:00:04 UTC");
        assert_eq!(time_without_zone("2026-10-05T09:00:04Z"), "2026-10-05 09:00:04");
    }
}
