//! Reset times in their different notations.
//!
//! Zones come from the bundled database: the result depends on no file of the machine.

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::values::number_text;
use crate::json::{self, Raw};
use crate::model::Millis;

/// Numbers below this are seconds, others milliseconds: as seconds it is the year 5138, as milliseconds 1973.
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
    // Some writers use zero for none.
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

/// A time plus a number of seconds.
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

/// The value of a `retry-after` header of a response at this time: seconds, or an HTTP date. Zero means none.
pub fn retry_after(value: Raw<'_>, time: Option<Millis>) -> Option<Millis> {
    let text = number_text(value)?;
    if let Ok(seconds) = text.parse() {
        return after(time?, seconds);
    }
    let date = jiff::fmt::rfc2822::parse(&text).ok()?;
    in_range(date.timestamp().as_millisecond()).filter(|at| time.is_none_or(|time| *at > time))
}

fn in_range(millis: Millis) -> Option<Millis> {
    Timestamp::from_millisecond(millis).ok().map(|_| millis)
}

/// A time in a sentence: `3:20pm (UTC)`, `Oct 7, 3pm`, `Jan 2, 2027 at 9 a.m. (Europe/Berlin)`, `in 2h 5m`;
/// without a zone it is UTC. A time of day is the next one after `now`; a date without a year is in the year
/// nearest to `now`. Of an hour that occurs twice, the next one after `now`.
pub fn spoken(text: &str, now: Millis) -> Option<Millis> {
    let now = Timestamp::from_millisecond(now).ok()?;
    let found = match text.trim_start().strip_prefix("in ") {
        Some(length) => now.checked_add(spoken_length(length)?).ok(),
        None => PhraseTime::read(text)?.after(now),
    };
    found.map(Timestamp::as_millisecond).filter(|millis| *millis > 0)
}

/// The parts of a time in words.
#[derive(Debug)]
struct PhraseTime {
    year: Option<i16>,
    month: Option<i8>,
    day: Option<i8>,
    weekday: Option<Weekday>,
    days_ahead: Option<i64>,
    clock: Time,
    zone: TimeZone,
}

impl PhraseTime {
    fn read(text: &str) -> Option<Self> {
        let (mut year, mut month, mut day) = (None, None, None);
        let (mut weekday, mut days_ahead, mut clock) = (None, None, None);
        let mut zone = TimeZone::UTC;
        let mut rest = text;
        while let Some((word, after)) = first_word(rest) {
            if let Some(inside) = rest.trim_start().strip_prefix('(') {
                zone = zone_named(inside.split_once(')')?.0)?;
                break;
            }
            rest = after;
            let word = word.trim_end_matches([',', '.', ';', '!']);
            let is_date_open = clock.is_none() && day.is_none();
            if matches!(word, "at" | "on" | "by" | "of" | "the") {
                continue;
            }
            if clock.is_none() && month.is_none() && month_named(word).is_some() {
                month = month_named(word);
            } else if is_date_open && weekday.is_none() && weekday_named(word).is_some() {
                weekday = weekday_named(word);
            } else if is_date_open && days_ahead.is_none() && days_named(word).is_some() {
                days_ahead = days_named(word);
            } else if is_date_open && let Ok(date) = word.parse::<Date>() {
                (year, month, day) = (Some(date.year()), Some(date.month()), Some(date.day()));
            } else if is_date_open && (month.is_some() || is_month(rest)) {
                day = Some(ordinal(word)?);
            } else if clock.is_none() && month.is_some() && year.is_none() && is_year(word) {
                year = Some(word.parse().ok()?);
            } else if clock.is_none() {
                // The half of the day may be a separate word: 3:20 pm.
                let half = first_word(rest).and_then(|(next, after)| Some((half_named(next)?, after)));
                if let Some((_, after)) = half {
                    rest = after;
                }
                clock = Some(time_of_day(word, half.map(|(half, _)| half))?);
            } else if is_zone_abbreviation(word) {
                zone = zone_named(word)?;
                break;
            } else {
                break;
            }
        }
        Some(Self {
            year,
            month,
            day,
            weekday,
            days_ahead,
            clock: clock?,
            zone,
        })
    }

    fn after(&self, now: Timestamp) -> Option<Timestamp> {
        let today = now.to_zoned(self.zone.clone()).date();
        // Of the one or two instants with this local time on a day: the next one, else the last.
        let on = |date: Date| {
            let instants = self.instants(date)?;
            let next = instants.into_iter().find(|at| *at > now);
            Some(next.unwrap_or(instants[1]))
        };
        let next_of = |days: std::ops::RangeInclusive<i64>| {
            days.filter_map(|days| today.checked_add(days.days()).ok())
                .filter(|date| self.weekday.is_none_or(|weekday| date.weekday() == weekday))
                .filter_map(on)
                .find(|at| *at > now)
        };
        match (self.year, self.month, self.day) {
            (Some(year), Some(month), Some(day)) => on(Date::new(year, month, day).ok()?),
            (None, Some(month), Some(day)) => [-1, 0, 1]
                .into_iter()
                .filter_map(|years| on(Date::new(today.year() + years, month, day).ok()?))
                .min_by_key(|at| at.duration_since(now).abs()),
            (_, None, None) => match (self.days_ahead, self.weekday) {
                (Some(days), _) => on(today.checked_add(days.days()).ok()?),
                (None, Some(_)) => next_of(0..=7),
                (None, None) => next_of(0..=1),
            },
            _ => None,
        }
    }

    /// The instants at which the zone's clock shows this time on a day. An hour that occurs twice has two; a
    /// skipped one counts as the one after it.
    fn instants(&self, date: Date) -> Option<[Timestamp; 2]> {
        let local = self.zone.to_ambiguous_timestamp(date.to_datetime(self.clock));
        if matches!(local.offset(), AmbiguousOffset::Fold { .. }) {
            Some([local.earlier().ok()?, local.later().ok()?])
        } else {
            let at = local.compatible().ok()?;
            Some([at, at])
        }
    }
}

/// The first word of a text, and what follows it.
fn first_word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// `2h 5m`, `3 hours and 20 minutes`.
fn spoken_length(text: &str) -> Option<SignedDuration> {
    let mut seconds: i64 = 0;
    let mut rest = text.trim_start();
    let mut found = None;
    loop {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let Ok(count) = rest[..digits].parse::<i32>() else {
            return found;
        };
        rest = rest[digits..].trim_start();
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let unit = match rest[..letters].to_ascii_lowercase().as_str() {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hr" | "hrs" | "hour" | "hours" => 60 * 60,
            "d" | "day" | "days" => 24 * 60 * 60,
            _ => return found,
        };
        seconds = seconds.checked_add(i64::from(count) * unit)?;
        found = Some(SignedDuration::from_secs(seconds));
        rest = rest[letters..].trim_start_matches([',', ' ', '\u{a0}']);
        rest = rest.strip_prefix("and ").unwrap_or(rest).trim_start();
    }
}

/// A zone by its name in the database, or as `UTC+2`, `GMT-3:30`, `+05:30`.
fn zone_named(name: &str) -> Option<TimeZone> {
    let name = name.trim();
    let offset = name.strip_prefix("UTC").or_else(|| name.strip_prefix("GMT"));
    let offset = offset.unwrap_or(name);
    if let Some(sign) = offset
        .strip_prefix('+')
        .map(|_| 1)
        .or_else(|| offset.strip_prefix(['-', '\u{2212}']).map(|_| -1))
    {
        let digits = offset.trim_start_matches(['+', '-', '\u{2212}']);
        let (hours, minutes) = digits.split_once(':').unwrap_or((digits, "0"));
        let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
        let is_offset = (0..=14).contains(&hours) && (0..60).contains(&minutes);
        let seconds = sign * (hours * 60 + minutes) * 60;
        return Offset::from_seconds(seconds)
            .ok()
            .filter(|_| is_offset)
            .map(TimeZone::fixed);
    }
    TimeZoneDatabase::bundled()
        .get(name)
        .ok()
        .filter(|zone| !zone.is_unknown())
}

/// `UTC`, `PST`: an abbreviation directly after the time of day. Few of them identify one zone.
fn is_zone_abbreviation(word: &str) -> bool {
    (2..=5).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_uppercase())
}

/// The index of a name, of which the first three letters are enough.
fn index_of(word: &str, names: &[&str]) -> Option<i8> {
    let is_it = |name: &&str| word.eq_ignore_ascii_case(name) || word.eq_ignore_ascii_case(&name[..3]);
    names
        .iter()
        .position(is_it)
        .and_then(|index| i8::try_from(index).ok())
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
    let word = if word.eq_ignore_ascii_case("sept") {
        "Sep"
    } else {
        word
    };
    Some(index_of(word, &MONTHS)? + 1)
}

fn is_month(text: &str) -> bool {
    first_word(text).is_some_and(|(word, _)| month_named(word.trim_end_matches([',', '.'])).is_some())
}

fn weekday_named(word: &str) -> Option<Weekday> {
    const WEEKDAYS: [&str; 7] = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    Weekday::from_monday_zero_offset(index_of(word, &WEEKDAYS)?).ok()
}

fn days_named(word: &str) -> Option<i64> {
    match word {
        "today" => Some(0),
        "tomorrow" => Some(1),
        _ => None,
    }
}

/// `7`, `7th`.
fn ordinal(word: &str) -> Option<i8> {
    let digits = ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|end| word.strip_suffix(end));
    digits.unwrap_or(word).parse().ok()
}

fn is_year(word: &str) -> bool {
    word.len() == 4 && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Hours before a half of the day: `am`, `PM`, `p.m.`.
fn half_named(word: &str) -> Option<i8> {
    let letters: String = word
        .chars()
        .filter(|letter| !matches!(letter, '.' | ','))
        .collect();
    match letters.to_ascii_lowercase().as_str() {
        "am" => Some(0),
        "pm" => Some(12),
        _ => None,
    }
}

/// `3pm`, `3:20p.m`, `15:20`; `half` is the hours before the half of the day if that was a separate word.
fn time_of_day(word: &str, half: Option<i8>) -> Option<Time> {
    let letters = word.find(|letter: char| letter.is_ascii_alphabetic());
    let (digits, half) = match (letters, half) {
        (None, half) => (word, half),
        (Some(at), None) => (&word[..at], Some(half_named(&word[at..])?)),
        (Some(_), Some(_)) => return None,
    };
    let mut parts = digits.split(':');
    let hour: i8 = parts.next()?.parse().ok()?;
    let minute = parts.next();
    let second = parts.next();
    if parts.next().is_some() || half.is_none() && minute.is_none() {
        return None;
    }
    let hour = match half {
        Some(before) => Some(hour).filter(|hour| (1..=12).contains(hour))? % 12 + before,
        None => hour,
    };
    let two = |digits: Option<&str>| digits.map_or(Some(0), |digits| digits.parse::<i8>().ok());
    Time::new(hour, two(minute)?, two(second)?, 0).ok()
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
            ("3:20 p.m. (UTC)", at("2026-10-05T15:20:00Z")),
            ("3:20p.m. (UTC)", at("2026-10-05T15:20:00Z")),
            ("3 P.M., (UTC)", at("2026-10-05T15:00:00Z")),
            ("11:05 a.m.", at("2026-10-06T11:05:00Z")),
            ("3:20:30\u{202f}PM", at("2026-10-05T15:20:30Z")),
            ("23:59", at("2026-10-05T23:59:00Z")),
            ("5pm UTC", at("2026-10-05T17:00:00Z")),
            ("5pm (UTC+2)", at("2026-10-05T15:00:00Z")),
            ("5pm (GMT-3:30)", at("2026-10-05T20:30:00Z")),
            ("9pm (America/Cordoba)", at("2026-10-06T00:00:00Z")),
            ("today at 5pm", at("2026-10-05T17:00:00Z")),
            ("tomorrow at 2pm", at("2026-10-06T14:00:00Z")),
            ("Thu 9am", at("2026-10-08T09:00:00Z")),
            ("Monday at 2pm", at("2026-10-12T14:00:00Z")),
            ("in 2h 5m", Some(NOW + 125 * 60_000)),
            ("in 1 day, 3 hours and 20 minutes.", Some(NOW + 1640 * 60_000)),
            ("in 30s", Some(NOW + 30_000)),
            ("in a while", None),
            ("in 99999999999999999999h", None),
            ("5pm PST", None),
            ("3pm pm", None),
            ("3:20:30:40", None),
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
            ("Jan 2, 2027, 9am (Europe/Berlin)", at("2027-01-02T08:00:00Z")),
            ("Jan 2, 2027 at 9 a.m.", at("2027-01-02T09:00:00Z")),
            ("Jun 18th, 2025 8:41 AM", at("2025-06-18T08:41:00Z")),
            ("2 January 2027, 09:30", at("2027-01-02T09:30:00Z")),
            ("2027-01-02 09:30 (UTC)", at("2027-01-02T09:30:00Z")),
            ("Mon, Oct 12, 3pm", at("2026-10-12T15:00:00Z")),
            ("Sept 30, 3pm", at("2026-09-30T15:00:00Z")),
            ("Oct 2027, 3pm", None),
            ("Jan 2, 20277, 9am", None),
            ("Jan 2, 2027", None),
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
        // Skipped: the clock goes from 2:00 to 3:00. Repeated: the first or the second 2:30, whichever is
        // next.
        for (now, want) in [
            ("2026-10-25T00:10:00Z", "2026-10-25T00:30:00Z"),
            ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"),
            ("2026-10-25T00:40:00Z", "2026-10-25T01:30:00Z"),
            ("2026-10-25T01:40:00Z", "2026-10-26T01:30:00Z"),
        ] {
            let now = at(now).unwrap();
            assert_eq!(spoken("2:30am (Europe/Berlin)", now), at(want));
        }
        let dated = "Oct 25, 2026 at 2:30am (Europe/Berlin)";
        assert_eq!(
            spoken(dated, at("2026-10-24T09:00:00Z").unwrap()),
            at("2026-10-25T00:30:00Z")
        );
        assert_eq!(
            spoken(dated, at("2026-10-25T00:40:00Z").unwrap()),
            at("2026-10-25T01:30:00Z")
        );
        assert_eq!(spoken("3pm", Millis::MAX), None);
    }
}
