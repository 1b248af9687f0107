//! Periods of time by name, as in `this-week` or `2026-10`: one parser for the routes and the commands.
//!
//! A period is a half-open range of time on the clocks of one zone: a day begins at its first moment and ends where
//! the next one begins, so a day on which the clock changes has 23 or 25 hours.

use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use strum::{EnumIter, IntoEnumIterator, IntoStaticStr};

use crate::model::{HOUR_MS, Millis, QUARTER_MS};

/// Longest period of a number of days.
const DAYS_MAX: i64 = 3660;
/// Longest period of a number of hours: as many days.
const HOURS_MAX: i64 = DAYS_MAX * 24;
/// Days in a week.
const WEEK_DAYS: i64 = 7;
/// Months in a quarter of a year.
const QUARTER_MONTHS: i8 = 3;
/// Letters of a date without dashes.
const COMPACT_LETTERS: usize = "20261005".len();

/// The forms of a period, for messages and help.
pub const FORMS: &str = "all-time, today, yesterday, this-week, last-week, this-month, last-month, this-quarter, \
                         last-quarter, this-year, last-year, last-7d, last-24h, 2026-10-05, 2026-10, \
                         20261001-20261015 or 2026-10-01..2026-10-15";

/// The first day of a week.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum WeekStart {
    #[default]
    Monday,
    Sunday,
}

impl WeekStart {
    /// The day by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::iter().find(|start| <&str>::from(*start) == name)
    }

    /// Days since the first day of the week.
    #[must_use]
    pub fn days_into(self, day: Weekday) -> i64 {
        i64::from(match self {
            Self::Monday => day.to_monday_zero_offset(),
            Self::Sunday => day.to_sunday_zero_offset(),
        })
    }
}

/// A half-open range of time; `None` for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeSpan {
    pub from: Option<Millis>,
    pub to: Option<Millis>,
}

/// The text is no period.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    #[error("{0:?} is none of {FORMS}")]
    Unknown(String),
    #[error("{text:?}: there is no day {day}; a period is one of {FORMS}")]
    NoSuchDay { text: String, day: String },
    #[error("{0:?} ends before it begins; a period is one of {FORMS}")]
    Reversed(String),
    #[error("{0:?} is not 1 to {DAYS_MAX} days or 1 to {HOURS_MAX} hours; a period is one of {FORMS}")]
    Length(String),
    #[error("{0:?} is outside of the years 1 to 9999; a period is one of {FORMS}")]
    Beyond(String),
}

/// The words that are periods by themselves, for suggestions.
pub const WORDS: [&str; 11] = [
    "all-time",
    "today",
    "yesterday",
    "this-week",
    "last-week",
    "this-month",
    "last-month",
    "this-quarter",
    "last-quarter",
    "this-year",
    "last-year",
];

/// A zone of the bundled database, so that days are the same on every machine; `None` if it has no such zone.
#[must_use]
pub fn zone_named(name: &str) -> Option<TimeZone> {
    let found = TimeZoneDatabase::bundled().get(name).ok();
    found.filter(|zone| zone.iana_name().is_some())
}

/// The names of all zones.
#[must_use]
pub fn zone_names() -> Vec<String> {
    let zones = TimeZoneDatabase::bundled();
    zones.available().map(|name| name.as_str().to_owned()).collect()
}

/// A period as a range of time, at `now` on the clocks of `zone`.
///
/// # Errors
/// The text is no period; the error quotes it and lists the forms.
pub fn parse(text: &str, now: Millis, zone: &TimeZone, week: WeekStart) -> Result<TimeSpan, PeriodError> {
    if text == "all-time" {
        return Ok(TimeSpan::default());
    }
    let today = (Timestamp::from_millisecond(now).unwrap_or(Timestamp::MAX))
        .to_zoned(zone.clone())
        .date();
    if let Some(number) = length(text, 'h') {
        let hours = number_within(text, number, HOURS_MAX)?;
        // Sums are kept by quarters of an hour: the range ends with the present one.
        let to = now
            .div_euclid(QUARTER_MS)
            .saturating_add(1)
            .saturating_mul(QUARTER_MS);
        let to = if now.rem_euclid(QUARTER_MS) == 0 { now } else { to };
        return Ok(TimeSpan {
            from: Some(to - hours * HOUR_MS),
            to: Some(to),
        });
    }
    let days = match length(text, 'd') {
        Some(number) => {
            let days = number_within(text, number, DAYS_MAX)?;
            (plus_days(today, 1 - days), plus_days(today, 1))
        }
        None => match of_word(text, today, week) {
            Some(days) => days,
            None => of_dates(text)?,
        },
    };
    let at = |date: Option<Date>| start_of(date?, zone).map(Timestamp::as_millisecond);
    let (from, to) = (at(days.0), at(days.1));
    if from.is_none() || to.is_none() {
        return Err(PeriodError::Beyond(text.to_owned()));
    }
    Ok(TimeSpan { from, to })
}

/// A day, as `2026-10-05` or `20261005`.
///
/// # Errors
/// As [`parse`].
pub fn day(text: &str) -> Result<Date, PeriodError> {
    date(text).unwrap_or_else(|| Err(PeriodError::Unknown(text.to_owned())))
}

/// The first moment of a day in a zone.
#[must_use]
pub fn start_of(date: Date, zone: &TimeZone) -> Option<Timestamp> {
    let noon = date.at(12, 0, 0, 0).to_zoned(zone.clone()).ok()?;
    Some(noon.start_of_day().ok()?.timestamp())
}

fn number_within(text: &str, number: i64, max: i64) -> Result<i64, PeriodError> {
    if (1..=max).contains(&number) {
        Ok(number)
    } else {
        Err(PeriodError::Length(text.to_owned()))
    }
}

/// The number in `last-7d` and `7d`.
fn length(text: &str, unit: char) -> Option<i64> {
    let digits = text.strip_prefix("last-").unwrap_or(text).strip_suffix(unit)?;
    let is_number = !digits.is_empty() && digits.bytes().all(|letter| letter.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(i64::MAX))
}

/// The first day of a period with a name, and the day after it; `None` for a day that no calendar has.
fn of_word(text: &str, today: Date, week: WeekStart) -> Option<(Option<Date>, Option<Date>)> {
    let monday = plus_days(today, -week.days_into(today.weekday()));
    let month = Some(today.first_of_month());
    let quarter = Date::new(
        today.year(),
        (today.month() - 1) / QUARTER_MONTHS * QUARTER_MONTHS + 1,
        1,
    )
    .ok();
    let year = Some(today.first_of_year());
    let week_after = |weeks: i64| monday.and_then(|day| plus_days(day, weeks * WEEK_DAYS));
    let after = |first: Option<Date>, months: i64| {
        first.and_then(|first| first.checked_add(Span::new().months(months)).ok())
    };
    Some(match text {
        "today" => (Some(today), plus_days(today, 1)),
        "yesterday" => (plus_days(today, -1), Some(today)),
        "this-week" | "week" => (week_after(0), week_after(1)),
        "last-week" => (week_after(-1), week_after(0)),
        "this-month" | "month" => (month, after(month, 1)),
        "last-month" => (after(month, -1), month),
        "this-quarter" => (quarter, after(quarter, 3)),
        "last-quarter" => (after(quarter, -3), quarter),
        "this-year" => (year, after(year, 12)),
        "last-year" => (after(year, -12), year),
        _ => return None,
    })
}

/// A day, a month, or the days from one to another, both included.
fn of_dates(text: &str) -> Result<(Option<Date>, Option<Date>), PeriodError> {
    let unknown = || PeriodError::Unknown(text.to_owned());
    let of = |part: &str| {
        let day = date(part).ok_or_else(unknown)?;
        day.map_err(|_| PeriodError::NoSuchDay {
            text: text.to_owned(),
            day: part.to_owned(),
        })
    };
    let both = match text.split_once("..") {
        Some(both) => Some(both),
        None => (text.split_once('-'))
            .filter(|(from, to)| [from, to].map(|part| part.len()) == [COMPACT_LETTERS; 2]),
    };
    if let Some((from, to)) = both {
        let (first, last) = (of(from)?, of(to)?);
        if last < first {
            return Err(PeriodError::Reversed(text.to_owned()));
        }
        return Ok((Some(first), plus_days(last, 1)));
    }
    if let Some(first) = month(text) {
        let first = first?;
        return Ok((Some(first), first.checked_add(Span::new().months(1)).ok()));
    }
    let day = of(text)?;
    Ok((Some(day), plus_days(day, 1)))
}

/// A text in the form of a day; an error if no calendar has that day.
fn date(text: &str) -> Option<Result<Date, PeriodError>> {
    let parts = match text.as_bytes() {
        compact if compact.len() == COMPACT_LETTERS => [text.get(..4)?, text.get(4..6)?, text.get(6..)?],
        [_, _, _, _, b'-', _, _, b'-', _, _] => [text.get(..4)?, text.get(5..7)?, text.get(8..)?],
        _ => return None,
    };
    let [year, month, day] = numbers(parts)?;
    let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    Some(date.map_err(|_| PeriodError::NoSuchDay {
        text: text.to_owned(),
        day: text.to_owned(),
    }))
}

/// The first day of a text in the form of a month; an error if no calendar has it.
fn month(text: &str) -> Option<Result<Date, PeriodError>> {
    let (year, month) = text.split_once('-')?;
    if [year.len(), month.len()] != [4, 2] {
        return None;
    }
    let [year, month] = numbers([year, month])?;
    let first = Date::new(year, i8::try_from(month).ok()?, 1);
    Some(first.map_err(|_| PeriodError::NoSuchDay {
        text: text.to_owned(),
        day: format!("{text}-01"),
    }))
}

fn numbers<const N: usize>(parts: [&str; N]) -> Option<[i16; N]> {
    let mut numbers = [0; N];
    for (number, part) in numbers.iter_mut().zip(parts) {
        if !part.bytes().all(|letter| letter.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    Some(numbers)
}

fn plus_days(date: Date, days: i64) -> Option<Date> {
    date.checked_add(Span::new().days(days)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        let full = if text.len() == 10 {
            format!("{text}T00:00:00Z")
        } else {
            text.to_owned()
        };
        full.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn of(text: &str, now: &str, zone: &str, week: WeekStart) -> Result<TimeSpan, PeriodError> {
        parse(text, at(now), &zone_named(zone).unwrap(), week)
    }

    /// A Sunday.
    const NOW: &str = "2025-02-23T14:30:00Z";

    #[test]
    fn every_form_is_a_half_open_range() {
        for (text, from, to) in [
            ("today", "2025-02-23", "2025-02-24"),
            ("yesterday", "2025-02-22", "2025-02-23"),
            ("this-week", "2025-02-17", "2025-02-24"),
            ("week", "2025-02-17", "2025-02-24"),
            ("last-week", "2025-02-10", "2025-02-17"),
            ("this-month", "2025-02-01", "2025-03-01"),
            ("month", "2025-02-01", "2025-03-01"),
            ("last-month", "2025-01-01", "2025-02-01"),
            ("this-quarter", "2025-01-01", "2025-04-01"),
            ("last-quarter", "2024-10-01", "2025-01-01"),
            ("this-year", "2025-01-01", "2026-01-01"),
            ("last-year", "2024-01-01", "2025-01-01"),
            ("last-1d", "2025-02-23", "2025-02-24"),
            ("last-7d", "2025-02-17", "2025-02-24"),
            ("7d", "2025-02-17", "2025-02-24"),
            ("last-24h", "2025-02-22T14:30:00Z", "2025-02-23T14:30:00Z"),
            ("20250201-20250215", "2025-02-01", "2025-02-16"),
            ("2025-02-01..2025-02-15", "2025-02-01", "2025-02-16"),
            ("20250201..2025-02-15", "2025-02-01", "2025-02-16"),
            ("2025-02-01..2025-02-01", "2025-02-01", "2025-02-02"),
            ("2025-02-28", "2025-02-28", "2025-03-01"),
            ("20250228", "2025-02-28", "2025-03-01"),
            ("2024-02", "2024-02-01", "2024-03-01"),
            ("2024-12", "2024-12-01", "2025-01-01"),
        ] {
            let span = of(text, NOW, "UTC", WeekStart::Monday).unwrap();
            assert_eq!((span.from, span.to), (Some(at(from)), Some(at(to))), "{text}");
        }
        let all = of("all-time", NOW, "UTC", WeekStart::Monday).unwrap();
        assert_eq!(all, TimeSpan::default());
    }

    #[test]
    fn the_last_half_second_belongs_to_its_day() {
        let span = of("today", "2025-02-23T23:59:59.5Z", "UTC", WeekStart::Monday).unwrap();
        let late = at("2025-02-23T23:59:59.5Z");
        assert!(span.from.unwrap() <= late && late < span.to.unwrap());
    }

    #[test]
    fn hours_end_with_the_present_quarter_of_an_hour() {
        let span = of("last-1h", "2025-02-23T14:30:00.001Z", "UTC", WeekStart::Monday).unwrap();
        assert_eq!(
            (span.from, span.to),
            (Some(at("2025-02-23T13:45:00Z")), Some(at("2025-02-23T14:45:00Z")))
        );
    }

    #[test]
    fn a_week_begins_where_it_is_said_to() {
        for (text, from, to) in [
            ("this-week", "2025-02-23", "2025-03-02"),
            ("last-week", "2025-02-16", "2025-02-23"),
        ] {
            let span = of(text, NOW, "UTC", WeekStart::Sunday).unwrap();
            assert_eq!((span.from, span.to), (Some(at(from)), Some(at(to))), "{text}");
        }
        assert_eq!(WeekStart::named("sunday"), Some(WeekStart::Sunday));
        assert_eq!(WeekStart::named("Sunday"), None);
    }

    #[test]
    fn days_are_those_of_the_zone_and_have_23_to_25_hours() {
        for (zone, text, now, from, to) in [
            (
                "Asia/Kathmandu",
                "today",
                "2026-10-05T20:00:00Z",
                "2026-10-05T18:15:00Z",
                "2026-10-06T18:15:00Z",
            ),
            (
                "Europe/Berlin",
                "this-month",
                "2026-10-05T20:00:00Z",
                "2026-09-30T22:00:00Z",
                "2026-10-31T23:00:00Z",
            ),
            (
                "Europe/Berlin",
                "2026-10-25",
                NOW,
                "2026-10-24T22:00:00Z",
                "2026-10-25T23:00:00Z",
            ),
            (
                "Europe/Berlin",
                "2026-03-29",
                NOW,
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (
                "America/New_York",
                "2026-11-01",
                NOW,
                "2026-11-01T04:00:00Z",
                "2026-11-02T05:00:00Z",
            ),
            // The day began at one o'clock.
            (
                "Africa/Cairo",
                "2026-04-24",
                NOW,
                "2026-04-23T22:00:00Z",
                "2026-04-24T21:00:00Z",
            ),
        ] {
            let span = of(text, now, zone, WeekStart::Monday).unwrap();
            assert_eq!(
                (span.from, span.to),
                (Some(at(from)), Some(at(to))),
                "{zone} {text}"
            );
        }
    }

    #[test]
    fn errors_quote_the_text_and_list_the_forms() {
        for (text, said) in [
            ("20250231", "there is no day 20250231"),
            ("2025-02-31", "there is no day 2025-02-31"),
            ("2025-13", "there is no day 2025-13-01"),
            ("20250101-20250231", "there is no day 20250231"),
            ("20250215-20250201", "ends before it begins"),
            ("2025-02-15..2025-02-14", "ends before it begins"),
            ("30s", "is none of"),
            ("", "is none of"),
            ("usage", "is none of"),
            ("2025-0201", "is none of"),
            ("2025", "is none of"),
            ("Today", "is none of"),
            ("last-", "is none of"),
            ("last--7d", "is none of"),
            ("+7d", "is none of"),
            ("-1d", "is none of"),
            ("d", "is none of"),
            ("2025-02-01..", "is none of"),
            ("2025-02-1\u{e9}", "is none of"),
            ("2\u{e9}2502311", "is none of"),
            ("0d", "is not 1 to 3660 days"),
            ("last-3661d", "is not 1 to 3660 days"),
            ("last-0h", "is not 1 to 3660 days or 1 to 87840 hours"),
            ("99999999999999999999d", "is not 1 to 3660 days"),
        ] {
            let error = of(text, NOW, "UTC", WeekStart::Monday).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{text}: {error}");
            assert!(error.contains(said) && error.contains(FORMS), "{text}: {error}");
        }
        assert!(of("9999-12-31", NOW, "UTC", WeekStart::Monday).is_err());
    }

    #[test]
    fn every_word_is_a_period() {
        for word in WORDS {
            assert!(of(word, NOW, "Asia/Kolkata", WeekStart::Sunday).is_ok(), "{word}");
        }
        for name in ["", "Nowhere/City", "../UTC", "EST5EDT4", "+01:00"] {
            assert!(zone_named(name).is_none(), "{name}");
        }
    }
}
