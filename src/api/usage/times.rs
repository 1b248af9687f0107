//! Hours, days, weeks, months, quarters and years of a time zone, in quarters of an hour since 1970.
//!
//! Sums are kept by quarters in UTC. Every zone of today is off UTC by whole quarters of an hour, so each of its hours
//! and days is a row of whole quarters: nothing is approximated. Between two changes of its offset a zone is UTC,
//! moved; all that is computed is computed there.

use std::ops::Range;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::api::http::problem::Problem;
use crate::model::{DAY_QUARTERS, Millis, QUARTER_MS};
use crate::periods::{self, WeekStart, start_of};

/// Quarters of an hour in an hour.
const HOUR_QUARTERS: i64 = 4;
/// Seconds in a quarter of an hour.
const QUARTER_SECONDS: i64 = 900;
/// Days in a week.
const WEEK_DAYS: i64 = 7;
/// Months in a quarter of a year.
const QUARTER_MONTHS: i8 = 3;
/// Months in a year.
const YEAR_MONTHS: i8 = 12;

/// The lengths of time that rows can be of, the shortest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimeUnit {
    Hour,
    Day,
    Week(WeekStart),
    Month,
    /// Of a year.
    Quarter,
    Year,
}

/// A stretch of time within one unit, and where that begins on the clocks of the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeSlot {
    /// Since 1970 in UTC.
    pub quarters: Range<u32>,
    /// Since 1970 on the clocks of the zone.
    local: i64,
    /// Offset of these before UTC, in seconds.
    offset: i32,
}

/// A zone of the bundled database, so that days are the same on every machine.
///
/// # Errors
/// It has no zone of this name.
pub fn zone_named(name: &str) -> Result<TimeZone, Problem> {
    periods::zone_named(name).ok_or_else(|| {
        let detail = format!("{name:?} is no time zone of the IANA database, as UTC or Asia/Kathmandu are");
        Problem::bad("zone", detail)
    })
}

impl TimeUnit {
    /// The first quarter of the next unit, both on the clocks of a zone.
    fn next(self, local: i64) -> i64 {
        let day_quarters = i64::from(DAY_QUARTERS);
        match self {
            Self::Hour => (local.div_euclid(HOUR_QUARTERS) + 1) * HOUR_QUARTERS,
            Self::Day => (local.div_euclid(day_quarters) + 1) * day_quarters,
            Self::Week(start) => {
                let left = WEEK_DAYS - start.days_into(date(local).weekday());
                (local.div_euclid(day_quarters) + left) * day_quarters
            }
            Self::Month => next_months(local, 1),
            Self::Quarter => next_months(local, QUARTER_MONTHS),
            Self::Year => next_months(local, YEAR_MONTHS),
        }
    }
}

impl TimeSlot {
    /// The name of the unit that the stretch is in.
    pub fn name(&self, unit: TimeUnit) -> String {
        let date = date(self.local);
        match unit {
            TimeUnit::Hour => {
                let hour = self.local.rem_euclid(i64::from(DAY_QUARTERS)) / HOUR_QUARTERS;
                let (sign, offset) = (if self.offset < 0 { '-' } else { '+' }, self.offset.abs() / 60);
                match offset {
                    0 => format!("{date}T{hour:02}:00:00.000Z"),
                    _ => format!(
                        "{date}T{hour:02}:00:00.000{sign}{:02}:{:02}",
                        offset / 60,
                        offset % 60
                    ),
                }
            }
            TimeUnit::Day => date.to_string(),
            TimeUnit::Week(WeekStart::Monday) => {
                let week = date.iso_week_date();
                format!("{:04}-W{:02}", week.year(), week.week())
            }
            // Weeks that begin on another day have no numbers that everybody agrees on.
            TimeUnit::Week(start @ WeekStart::Sunday) => {
                let first = date.checked_sub(Span::new().days(start.days_into(date.weekday())));
                first.unwrap_or(date).to_string()
            }
            TimeUnit::Month => format!("{:04}-{:02}", date.year(), date.month()),
            TimeUnit::Quarter => format!("{:04}-Q{}", date.year(), (date.month() - 1) / QUARTER_MONTHS + 1),
            TimeUnit::Year => format!("{:04}", date.year()),
        }
    }
}

/// The first quarter of an hour of the next unit of so many months, both on the clocks of a zone.
fn next_months(local: i64, months: i8) -> i64 {
    let date = date(local);
    let first = Date::new(date.year(), (date.month() - 1) / months * months + 1, 1).unwrap_or(date);
    let next = first.checked_add(Span::new().months(i64::from(months)));
    let days = next
        .ok()
        .and_then(|next| date.until(next).ok())
        .map_or(1, |span| span.get_days());
    let day_quarters = i64::from(DAY_QUARTERS);
    (local.div_euclid(day_quarters) + i64::from(days)) * day_quarters
}

/// The day of a quarter on the clocks of a zone.
fn date(local: i64) -> Date {
    let seconds = local.saturating_mul(QUARTER_SECONDS);
    let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
    at.to_zoned(TimeZone::UTC).date()
}

/// Cuts a stretch of time where a unit of the zone begins or its offset changes; without a unit it stays whole.
///
/// # Errors
/// When the zone was off UTC by something else than whole quarters of an hour then.
pub fn slots(range: Range<u32>, zone: &TimeZone, unit: Option<TimeUnit>) -> Result<Vec<TimeSlot>, Problem> {
    let Some(unit) = unit else {
        let whole = TimeSlot {
            quarters: range,
            local: 0,
            offset: 0,
        };
        return Ok(vec![whole]);
    };
    let second = |quarter: i64| quarter * QUARTER_SECONDS;
    let instant = |quarter: i64| Timestamp::from_second(second(quarter)).unwrap_or(Timestamp::MAX);
    let (mut at, end) = (i64::from(range.start), i64::from(range.end));
    let mut slots = Vec::new();
    while at < end {
        let offset = zone.to_offset(instant(at)).seconds();
        let change = zone
            .following(instant(at))
            .next()
            .map(|change| change.timestamp());
        let change = change
            .map(Timestamp::as_second)
            .filter(|change| *change < second(end));
        if i64::from(offset) % QUARTER_SECONDS != 0 || change.is_some_and(|it| it % QUARTER_SECONDS != 0) {
            let detail = format!(
                "it was not off UTC by whole quarters of an hour after {}, and sums are kept by these",
                instant(at)
            );
            return Err(Problem::bad("zone", detail));
        }
        let until = change.map_or(end, |change| change / QUARTER_SECONDS);
        let moved = i64::from(offset) / QUARTER_SECONDS;
        while at < until {
            let local = at + moved;
            let next = (unit.next(local) - moved).min(until);
            let quarter = |at: i64| u32::try_from(at).unwrap_or(u32::MAX);
            slots.push(TimeSlot {
                quarters: quarter(at)..quarter(next),
                local,
                offset,
            });
            at = next;
        }
    }
    Ok(slots)
}

/// A time of a full quarter of an hour, or a date, which is the start of that day in the zone.
pub fn time(field: &str, text: &str, zone: &TimeZone) -> Result<Millis, Problem> {
    let at = timestamp(field, text, zone)?;
    if at.as_nanosecond().rem_euclid(i128::from(QUARTER_MS) * 1_000_000) != 0 {
        let detail = format!("{text:?} is not a full quarter of an hour in UTC; sums are kept by these");
        return Err(Problem::bad(field, detail));
    }
    Ok(at.as_millisecond())
}

/// Any time, or a date, which is the start of that day in the zone.
///
/// # Errors
/// The text is neither.
pub fn instant(field: &str, text: &str, zone: &TimeZone) -> Result<Millis, Problem> {
    timestamp(field, text, zone).map(Timestamp::as_millisecond)
}

fn timestamp(field: &str, text: &str, zone: &TimeZone) -> Result<Timestamp, Problem> {
    // A date alone is tried first: a time also parses as its date.
    let date = if text.len() <= "+002026-10-05".len() {
        text.parse::<Date>().ok()
    } else {
        None
    };
    let at = match date {
        Some(date) => start_of(date, zone),
        None => text.parse::<Timestamp>().ok(),
    };
    at.ok_or_else(|| {
        let detail = "neither a date nor an RFC 3339 time with an offset, as in 2026-10-05 or 2026-10-05T09:00:00Z \
                      (in a URL, + is %2B), up to the year 9999";
        Problem::bad(field, format!("{text:?} is {detail}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn quarter(text: &str) -> u32 {
        u32::try_from(at(text) / QUARTER_MS).unwrap()
    }

    fn names(zone: &str, from: &str, to: &str, unit: TimeUnit) -> Vec<(String, u32)> {
        let slots = slots(quarter(from)..quarter(to), &zone_named(zone).unwrap(), Some(unit)).unwrap();
        let mut named: Vec<(String, u32)> = Vec::new();
        let mut end = quarter(from);
        for slot in &slots {
            assert_eq!(slot.quarters.start, end, "no gap");
            end = slot.quarters.end;
            let (name, length) = (slot.name(unit), slot.quarters.end - slot.quarters.start);
            match named.last_mut() {
                Some((last, sum)) if *last == name => *sum += length,
                _ => named.push((name, length)),
            }
        }
        assert_eq!(end, quarter(to));
        named
    }

    fn expect(found: &[(String, u32)], wanted: &[(&str, u32)]) {
        let found: Vec<_> = found
            .iter()
            .map(|(name, length)| (name.as_str(), *length))
            .collect();
        assert_eq!(found, wanted);
    }

    #[test]
    fn days_of_zones_off_by_parts_of_an_hour_are_whole_quarters() {
        let (from, to) = ("2026-10-05T00:00:00Z", "2026-10-06T00:00:00Z");
        for (zone, first) in [
            ("Asia/Kathmandu", 96 - 23),
            ("Asia/Kolkata", 96 - 22),
            ("America/St_Johns", 10),
            ("Pacific/Chatham", 41),
        ] {
            let days = names(zone, from, to, TimeUnit::Day);
            let lengths: Vec<u32> = days.iter().map(|(_, length)| *length).collect();
            assert_eq!(lengths, [first, 96 - first], "{zone}: {days:?}");
        }
        expect(&names("UTC", from, to, TimeUnit::Day), &[("2026-10-05", 96)]);
    }

    #[test]
    fn a_day_with_a_change_of_the_clock_is_longer_or_shorter() {
        let days = names(
            "Europe/Berlin",
            "2026-10-23T22:00:00Z",
            "2026-10-26T23:00:00Z",
            TimeUnit::Day,
        );
        expect(
            &days,
            &[("2026-10-24", 96), ("2026-10-25", 100), ("2026-10-26", 96)],
        );
        let hours = names(
            "Europe/Berlin",
            "2026-10-25T00:00:00Z",
            "2026-10-25T02:00:00Z",
            TimeUnit::Hour,
        );
        expect(
            &hours,
            &[
                ("2026-10-25T02:00:00.000+02:00", 4),
                ("2026-10-25T02:00:00.000+01:00", 4),
            ],
        );
        // Half an hour back.
        let days = names(
            "Australia/Lord_Howe",
            "2026-04-03T13:00:00Z",
            "2026-04-05T13:30:00Z",
            TimeUnit::Day,
        );
        expect(&days, &[("2026-04-04", 96), ("2026-04-05", 98)]);
        let hours = names(
            "Australia/Lord_Howe",
            "2026-04-04T14:00:00Z",
            "2026-04-04T16:30:00Z",
            TimeUnit::Hour,
        );
        expect(
            &hours,
            &[
                ("2026-04-05T01:00:00.000+11:00", 4),
                ("2026-04-05T01:00:00.000+10:30", 2),
                ("2026-04-05T02:00:00.000+10:30", 4),
            ],
        );
        // A day that began at one o'clock.
        let days = names(
            "Africa/Cairo",
            "2026-04-22T22:00:00Z",
            "2026-04-24T21:00:00Z",
            TimeUnit::Day,
        );
        expect(&days, &[("2026-04-23", 96), ("2026-04-24", 92)]);
        // A day that never was.
        let days = names(
            "Pacific/Apia",
            "2011-12-29T10:00:00Z",
            "2011-12-31T10:00:00Z",
            TimeUnit::Day,
        );
        expect(&days, &[("2011-12-29", 96), ("2011-12-31", 96)]);
    }

    #[test]
    fn weeks_begin_on_monday_and_have_the_year_of_their_thursday() {
        let weeks = names(
            "UTC",
            "2026-12-27T00:00:00Z",
            "2027-01-05T00:00:00Z",
            TimeUnit::Week(WeekStart::Monday),
        );
        expect(
            &weeks,
            &[("2026-W52", 96), ("2026-W53", 96 * 7), ("2027-W01", 96)],
        );
        let months = names(
            "Asia/Kolkata",
            "2028-01-31T18:30:00Z",
            "2028-03-01T18:30:00Z",
            TimeUnit::Month,
        );
        expect(&months, &[("2028-02", 96 * 29), ("2028-03", 96)]);
        expect(
            &names(
                "UTC",
                "1970-01-01T00:00:00Z",
                "1970-01-06T00:00:00Z",
                TimeUnit::Week(WeekStart::Monday),
            ),
            &[("1970-W01", 96 * 4), ("1970-W02", 96)],
        );
    }

    #[test]
    fn weeks_may_begin_on_sunday_and_quarters_and_years_have_names() {
        let (from, to) = ("2026-12-26T00:00:00Z", "2027-01-04T00:00:00Z");
        expect(
            &names("UTC", from, to, TimeUnit::Week(WeekStart::Sunday)),
            &[("2026-12-20", 96), ("2026-12-27", 96 * 7), ("2027-01-03", 96)],
        );
        let (from, to) = ("2025-12-31T23:00:00Z", "2028-03-31T22:00:00Z");
        let (winter, year) = (96 * 90, 96 * 365);
        // The clock goes forward in March and back in October.
        let quarters = names("Europe/Berlin", from, to, TimeUnit::Quarter);
        assert_eq!(quarters[0], ("2026-Q1".to_owned(), winter - 4));
        assert_eq!(quarters[3], ("2026-Q4".to_owned(), 96 * 92 + 4));
        assert_eq!(quarters.last(), Some(&("2028-Q1".to_owned(), 96 * 91 - 4)));
        expect(
            &names("Europe/Berlin", from, to, TimeUnit::Year),
            &[("2026", year), ("2027", year), ("2028", 96 * 91 - 4)],
        );
    }

    #[test]
    fn a_zone_that_was_not_off_by_whole_quarters_is_refused_for_that_time() {
        let zone = zone_named("Africa/Monrovia").unwrap();
        assert!(slots(0..96, &zone, Some(TimeUnit::Day)).is_err());
        assert!(slots(0..96, &zone, None).is_ok());
        let now = quarter("2026-10-05T00:00:00Z");
        assert!(slots(now..now + 96, &zone, Some(TimeUnit::Day)).is_ok());
        for name in ["", "Nowhere/City", "../UTC", "EST5EDT4", "+01:00"] {
            assert!(zone_named(name).is_err(), "{name}");
        }
    }
}
