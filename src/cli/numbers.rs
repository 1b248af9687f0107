//! One way to write numbers, sizes and times for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// What a scale is called and how much one of it is.
type Scale = (&'static str, u64);

const COUNT_SCALES: [Scale; 4] = [
    ("k", 1_000),
    ("M", 1_000_000),
    ("B", 1_000_000_000),
    ("T", 1_000_000_000_000),
];

const BYTE_SCALES: [Scale; 6] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("PiB", 1 << 50),
    ("EiB", 1 << 60),
];

/// Thousands apart: `1,234,567`.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// One decimal and a scale: `999`, `1.5k`, `1.2M`; rounds half up, never to `1000.0k`.
#[must_use]
pub fn compact(number: u64) -> String {
    scaled(number, 1_000, &COUNT_SCALES)
        .map_or_else(|| number.to_string(), |(value, scale)| format!("{value}{scale}"))
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

/// An RFC 3339 time in a zone: `2026-10-05 11:00:04`. No time is `unknown`, an unreadable one stays as it is.
#[must_use]
pub fn local_time(rfc3339: &str, zone: &TimeZone) -> String {
    if rfc3339.is_empty() {
        return "unknown".to_owned();
    }
    rfc3339.parse::<Timestamp>().map_or_else(
        |_| rfc3339.to_owned(),
        |time| {
            time.to_zoned(zone.clone())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        },
    )
}

/// The number in the first scale that shows it below `step`, with one decimal; `None` if it needs no scale.
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
    use jiff::tz;

    fn check(format: impl Fn(u64) -> String, cases: &[(u64, &str)]) {
        for &(number, expected) in cases {
            assert_eq!(format(number), expected, "{number}");
        }
    }

    #[test]
    fn thousands_stand_apart() {
        check(
            grouped,
            &[
                (0, "0"),
                (999, "999"),
                (1_000, "1,000"),
                (12_345, "12,345"),
                (1_234_567, "1,234,567"),
                (u64::MAX, "18,446,744,073,709,551,615"),
            ],
        );
    }

    #[test]
    fn compact_numbers_never_overflow_their_scale() {
        check(
            compact,
            &[
                (0, "0"),
                (999, "999"),
                (1_000, "1.0k"),
                (1_049, "1.0k"),
                (1_050, "1.1k"),
                (1_500, "1.5k"),
                (2_500, "2.5k"),
                (999_949, "999.9k"),
                (999_950, "1.0M"),
                (999_999, "1.0M"),
                (1_200_000, "1.2M"),
                (999_949_999, "999.9M"),
                (999_999_999, "1.0B"),
                (1_000_000_000_000, "1.0T"),
                (u64::MAX, "18446744.1T"),
            ],
        );
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
    fn one_is_singular() {
        assert_eq!(counted(1, "file"), "1 file");
        assert_eq!(counted(0, "file"), "0 files");
        assert_eq!(counted(1_200, "file"), "1,200 files");
    }

    #[test]
    fn times_are_local() {
        let east = TimeZone::fixed(tz::offset(2));
        for (text, expected) in [
            ("2026-10-05T09:00:04.123Z", "2026-10-05 11:00:04"),
            ("2026-12-31T23:30:00Z", "2027-01-01 01:30:00"),
            ("2026-10-05T09:00:04-01:00", "2026-10-05 12:00:04"),
            ("", "unknown"),
            ("soon", "soon"),
        ] {
            assert_eq!(local_time(text, &east), expected, "{text}");
        }
    }
}
