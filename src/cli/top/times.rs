//! Times and lengths of time in few columns, on the clock of the terminal's zone.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::model::millis;
use crate::model::{DAY_MS, Millis};

const MINUTE_S: i64 = 60;
const HOUR_S: i64 = 60 * MINUTE_S;
const DAY_S: i64 = 24 * HOUR_S;
/// From this distance on the name of a weekday could mean the one before.
const WEEKDAYS_MS: Millis = 6 * DAY_MS;

/// `10:42:07`.
#[must_use]
pub fn clock(at: Millis, zone: &TimeZone) -> String {
    shown(at, zone, "%H:%M:%S")
}

/// `10:42:07 CET`.
#[must_use]
pub fn clock_with_zone(at: Millis, zone: &TimeZone) -> String {
    shown(at, zone, "%H:%M:%S %Z")
}

/// The time of today, with its weekday within six days, else the date: `17:00`, `Mon 17:00`, `12-24`.
#[must_use]
pub fn short(at: Millis, now: Millis, zone: &TimeZone) -> String {
    let format = if is_same_day(at, now, zone) {
        "%H:%M"
    } else if (at - now).abs() < WEEKDAYS_MS {
        "%a %H:%M"
    } else {
        "%m-%d"
    };
    shown(at, zone, format)
}

/// True if both times are of one day of the zone.
#[must_use]
pub fn is_same_day(one: Millis, other: Millis, zone: &TimeZone) -> bool {
    shown(one, zone, "%F") == shown(other, zone, "%F")
}

/// `Mon 17:00`, or `12-24 17:00`.
#[must_use]
pub fn day_and_time(at: Millis, now: Millis, zone: &TimeZone) -> String {
    let format = match (at - now).abs() {
        ..WEEKDAYS_MS => "%a %H:%M",
        _ => "%m-%d %H:%M",
    };
    shown(at, zone, format)
}

fn shown(at: Millis, zone: &TimeZone, format: &str) -> String {
    let Ok(time) = Timestamp::from_millisecond(at) else {
        return "?".to_owned();
    };
    time.to_zoned(zone.clone()).strftime(format).to_string()
}

/// A length of time in two units at most: `59s`, `12m`, `2h59m`, `3d02h`.
#[must_use]
pub fn span(length: Millis) -> String {
    let seconds = length.max(0) / 1_000;
    match seconds {
        ..MINUTE_S => format!("{seconds}s"),
        MINUTE_S..HOUR_S => format!("{}m", seconds / MINUTE_S),
        HOUR_S..DAY_S => format!("{}h{:02}m", seconds / HOUR_S, seconds % HOUR_S / MINUTE_S),
        _ => format!("{}d{:02}h", seconds / DAY_S, seconds % DAY_S / HOUR_S),
    }
}

/// A length of time in one unit: `58s`, `4m`, `3h`, `12d`.
#[must_use]
pub fn age(length: Millis) -> String {
    let seconds = length.max(0) / 1_000;
    match seconds {
        ..MINUTE_S => format!("{seconds}s"),
        MINUTE_S..HOUR_S => format!("{}m", seconds / MINUTE_S),
        HOUR_S..DAY_S => format!("{}h", seconds / HOUR_S),
        _ => format!("{}d", seconds / DAY_S),
    }
}

/// The age of a time of a document; `?` without one.
#[must_use]
pub fn age_of(rfc3339: Option<&str>, now: Millis) -> String {
    rfc3339
        .and_then(millis)
        .map_or_else(|| "?".to_owned(), |at| age(now - at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_as_short_as_it_can_be() {
        let zone = TimeZone::UTC;
        let at = |text: &str| millis(text).unwrap();
        // A Monday.
        let now = at("2026-10-05T20:00:00Z");
        for (time, short_form, long_form) in [
            ("2026-10-05T21:30:00Z", "21:30", "Mon 21:30"),
            ("2026-10-06T03:00:00Z", "Tue 03:00", "Tue 03:00"),
            ("2026-10-06T21:00:00Z", "Tue 21:00", "Tue 21:00"),
            ("2026-10-12T21:00:00Z", "10-12", "10-12 21:00"),
        ] {
            assert_eq!(short(at(time), now, &zone), short_form);
            assert_eq!(day_and_time(at(time), now, &zone), long_form);
        }
        assert_eq!(clock(now, &zone), "20:00:00");
        assert_eq!(clock_with_zone(now, &zone), "20:00:00 UTC");
        assert_eq!(clock(Millis::MAX, &zone), "?");
    }

    #[test]
    fn lengths_have_few_letters() {
        for (seconds, two_units, one_unit) in [
            (-5, "0s", "0s"),
            (59, "59s", "59s"),
            (60, "1m", "1m"),
            (10_740, "2h59m", "2h"),
            (86_399, "23h59m", "23h"),
            (266_400, "3d02h", "3d"),
        ] {
            assert_eq!(span(seconds * 1_000), two_units);
            assert_eq!(age(seconds * 1_000), one_unit);
        }
        assert_eq!(age_of(None, 0), "?");
    }
}
