//! When a window starts anew, from the ways in which it is written.
//!
//! Zones come from the database that is built in: the answer depends on no file of the machine.

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::values::number_text;
use crate::parse::json::{self, Raw};
use crate::record::Millis;

/// A number below this is seconds, else milliseconds: as seconds it is the year 5138, as milliseconds 1973.
const SECONDS_BELOW: f64 = 1e11;

/// A time as number or text: seconds, milliseconds, or RFC 3339 with its offset.
pub fn reset(value: Raw<'_>) -> Option<Millis> {
    reset_text(&number_text(value)?)
}

/// [`reset`] without quotes.
pub fn reset_text(text: &str) -> Option<Millis> {
    let Ok(number) = text.parse::<f64>() else {
        return json::time(text.as_bytes());
    };
    let millis = if number < SECONDS_BELOW {
        number * 1000.0
    } else {
        number
    };
    // Zero is how some write that there is none.
    if !(millis > 0.0 && millis < 1e15) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded above, and no millisecond is split"
    )]
    let millis = millis.round() as Millis;
    in_range(millis)
}

/// So many seconds after a time.
pub fn after(time: Millis, seconds: f64) -> Option<Millis> {
    if !(seconds > 0.0 && seconds < 1e9) {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded, and no millisecond is split"
    )]
    let millis = (seconds * 1000.0).round() as Millis;
    in_range(time.checked_add(millis)?)
}

fn in_range(millis: Millis) -> Option<Millis> {
    Timestamp::from_millisecond(millis).ok().map(|_| millis)
}

/// The time a sentence of the CLI names, `3:20pm (UTC)`, `Oct 7, 3pm`, `Oct 7 at 3pm (Europe/Berlin)`; without a zone
/// it is UTC. A time of day is the next one after `now`; a date is in the year that brings it nearest to `now`.
pub fn spoken(text: &str, now: Millis) -> Option<Millis> {
    let now = Timestamp::from_millisecond(now).ok()?;
    let mut month = None;
    let mut day = None;
    let mut clock = None;
    let mut zone = TimeZone::UTC;
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if let Some(name) = word.strip_prefix('(') {
            zone = zone_named(name.split_once(')')?.0)?;
            break;
        }
        let word = word.trim_end_matches([',', '.']);
        if word == "at" {
            continue;
        }
        if month.is_none() && clock.is_none() && month_named(word).is_some() {
            month = month_named(word);
        } else if month.is_some() && day.is_none() {
            day = Some(word.parse::<i8>().ok()?);
        } else if clock.is_none() {
            // The half of the day may stand apart: 3:20 pm.
            let half = words.next_if(|next| HALVES.iter().any(|(half, _)| is_half(next, half)));
            clock = Some(time_of_day(&format!(
                "{word}{}",
                half.unwrap_or_default().trim_end_matches([',', '.'])
            ))?);
        } else {
            break;
        }
    }
    let clock = clock?;
    let today = now.to_zoned(zone.clone()).date();
    let on = |date: Date| Some(date.to_datetime(clock).to_zoned(zone.clone()).ok()?.timestamp());
    let found = match (month, day) {
        (Some(month), Some(day)) => [-1, 0, 1]
            .into_iter()
            .filter_map(|years| on(Date::new(today.year() + years, month, day).ok()?))
            .min_by_key(|at| at.duration_since(now).abs()),
        _ => [Some(today), today.tomorrow().ok()]
            .into_iter()
            .filter_map(|date| on(date?))
            .find(|at| *at > now),
    };
    found.map(Timestamp::as_millisecond).filter(|millis| *millis > 0)
}

fn zone_named(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled()
        .get(name.trim())
        .ok()
        .filter(|zone| !zone.is_unknown())
}

fn month_named(word: &str) -> Option<i8> {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let number = MONTHS
        .iter()
        .position(|month| word == *month || word == &month[..3])?;
    i8::try_from(number + 1).ok()
}

/// `3pm`, `3:20pm`, `15:20`.
/// The halves of the day, and the hours before them.
const HALVES: [(&str, i8); 2] = [("am", 0), ("pm", 12)];

fn is_half(word: &str, half: &str) -> bool {
    word.trim_end_matches([',', '.']).eq_ignore_ascii_case(half)
}

fn time_of_day(word: &str) -> Option<Time> {
    let lower = word.to_ascii_lowercase();
    let half = HALVES
        .into_iter()
        .find_map(|(half, hours)| Some((lower.strip_suffix(half)?, hours)));
    let (hour, minute) = if let Some((digits, hours)) = half {
        let (hour, minute) = digits.split_once(':').unwrap_or((digits, "0"));
        let hour: i8 = hour.parse().ok().filter(|hour| (1..=12).contains(hour))?;
        (hour % 12 + hours, minute)
    } else {
        let (hour, minute) = lower.split_once(':')?;
        (hour.parse().ok()?, minute)
    };
    Time::new(hour, minute.parse().ok()?, 0, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-10-05T14:41:00Z, a Monday.
    const NOW: Millis = 1_791_211_260_000;

    fn at(rfc3339: &str) -> Option<Millis> {
        json::time(rfc3339.as_bytes())
    }

    #[test]
    fn numbers_and_texts() {
        for (raw, want) in [
            ("1791213600", Some(1_791_213_600_000)),
            ("\"1791213600\"", Some(1_791_213_600_000)),
            ("1791213600.25", Some(1_791_213_600_250)),
            ("1791213600000", Some(1_791_213_600_000)),
            ("\" 1791213600000 \"", Some(1_791_213_600_000)),
            ("99999999999", Some(99_999_999_999_000)),
            ("100000000000", Some(100_000_000_000)),
            ("\"2026-10-05T18:00:00Z\"", Some(1_791_223_200_000)),
            ("\"2026-10-05T20:00:00.123456+02:00\"", Some(1_791_223_200_123)),
            ("0", None),
            ("-1791213600", None),
            ("1e999", None),
            ("1e15", None),
            ("9e14", None),
            ("\"nan\"", None),
            ("\"soon\"", None),
            ("\"\"", None),
            ("null", None),
            ("[]", None),
        ] {
            assert_eq!(reset(Raw(Some(raw))), want, "{raw}");
        }
    }

    #[test]
    fn times_of_day_are_the_next_after_now() {
        for (text, want) in [
            ("3:20pm (UTC)", at("2026-10-05T15:20:00Z")),
            ("3:20pm", at("2026-10-05T15:20:00Z")),
            ("3:20 pm (UTC)", at("2026-10-05T15:20:00Z")),
            ("1 AM, (Asia/Tokyo)", at("2026-10-05T16:00:00Z")),
            ("3PM.", at("2026-10-05T15:00:00Z")),
            ("15:20 (UTC)", at("2026-10-05T15:20:00Z")),
            ("2:41pm (UTC)", at("2026-10-06T14:41:00Z")),
            ("12am (UTC)", at("2026-10-06T00:00:00Z")),
            ("12pm (UTC)", at("2026-10-06T12:00:00Z")),
            ("11am (America/Chicago)", at("2026-10-05T16:00:00Z")),
            ("1am (Asia/Tokyo)", at("2026-10-05T16:00:00Z")),
            ("1pm (Etc/GMT+5)", at("2026-10-05T18:00:00Z")),
            ("3pm · see (the manual)", at("2026-10-05T15:00:00Z")),
            ("3pm (Mars/Olympus)", None),
            ("3pm (Etc/Unknown)", None),
            ("3pm (UTC", None),
            ("0pm", None),
            ("13pm", None),
            ("3:60pm", None),
            ("25:00", None),
            ("3", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(spoken(text, NOW), want, "{text}");
        }
    }

    #[test]
    fn dates_are_in_the_nearest_year() {
        for (text, want) in [
            ("Oct 7 at 3pm (Europe/Berlin)", at("2026-10-07T13:00:00Z")),
            ("Oct 7, 3pm", at("2026-10-07T15:00:00Z")),
            ("October 7, 3:30pm (UTC)", at("2026-10-07T15:30:00Z")),
            ("Jan 2, 3pm", at("2027-01-02T15:00:00Z")),
            ("Oct 5, 2pm", at("2026-10-05T14:00:00Z")),
            ("Oct 32, 3pm", None),
            ("Feb 30, 3pm", None),
            ("Oct 7", None),
            ("Oct", None),
        ] {
            assert_eq!(spoken(text, NOW), want, "{text}");
        }
    }

    #[test]
    fn a_clock_that_is_put_forward_or_back_is_honoured() {
        let eve = at("2026-10-24T22:00:00Z").unwrap();
        assert_eq!(spoken("3:30am (Europe/Berlin)", eve), at("2026-10-25T02:30:00Z"));
        let spring = at("2026-03-28T23:30:00Z").unwrap();
        assert_eq!(
            spoken("2:30am (Europe/Berlin)", spring),
            at("2026-03-29T01:30:00Z")
        );
        assert_eq!(spoken("3pm", Millis::MAX), None);
    }
}
