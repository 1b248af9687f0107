//! Format of numbers and lengths of time in sentences and tables.

const HOUR_MIN: u64 = 60;
const DAY_MIN: u64 = 24 * HOUR_MIN;

/// A number with separated thousands: `1,234,567`.
#[must_use]
pub fn grouped(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Shares are rounded down with this tolerance, so that 0.29 is 29 %.
const SHARE_EPSILON: f64 = 1e-9;

/// A share in percent with so many decimals, rounded down: only a full one is 100, and none looks like a threshold that
/// it has not reached.
#[must_use]
pub fn percent(share: f64, decimals: u8) -> String {
    let steps = 10_f64.powi(decimals.into());
    let rounded = (share * 100.0 * steps + SHARE_EPSILON * steps).floor() / steps;
    format!("{rounded:.*}", usize::from(decimals))
}

/// A length of time in its two largest units, minutes rounded up: `12 s`, `56 min`, `1 h 56 min`, `2 h`, `3 d
/// 4 h`.
#[must_use]
pub fn length(seconds: u64) -> String {
    let minutes = seconds.div_ceil(60);
    let (large, large_unit, small, small_unit) = match minutes {
        _ if seconds < 60 => return format!("{seconds} s"),
        ..HOUR_MIN => return format!("{minutes} min"),
        HOUR_MIN..DAY_MIN => (minutes / HOUR_MIN, "h", minutes % HOUR_MIN, "min"),
        _ => (minutes / DAY_MIN, "d", minutes % DAY_MIN / HOUR_MIN, "h"),
    };
    if small == 0 {
        format!("{large} {large_unit}")
    } else {
        format!("{large} {large_unit} {small} {small_unit}")
    }
}

/// The time since something, in its two largest units, minutes rounded down: what was seen 119 s ago was not seen two
/// minutes ago.
#[must_use]
pub fn age(seconds: u64) -> String {
    length(if seconds < 60 {
        seconds
    } else {
        seconds - seconds % 60
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (number, expected) in [
            (0_u64, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345, "12,345"),
            (1_234_567, "1,234,567"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn a_share_below_one_is_never_a_hundred() {
        for (share, whole, tenths) in [
            (0.0, "0", "0.0"),
            (0.29, "29", "29.0"),
            (0.771, "77", "77.1"),
            (0.899_999, "89", "89.9"),
            (0.999, "99", "99.9"),
            (0.999_999, "99", "99.9"),
            (1.0, "100", "100.0"),
            (1.026, "102", "102.6"),
        ] {
            assert_eq!(
                (&*percent(share, 0), &*percent(share, 1)),
                (whole, tenths),
                "{share}"
            );
        }
    }

    #[test]
    fn an_age_is_rounded_down() {
        for (seconds, expected) in [
            (59, "59 s"),
            (60, "1 min"),
            (119, "1 min"),
            (7_199, "1 h 59 min"),
            (7_200, "2 h"),
        ] {
            assert_eq!(age(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn lengths_have_at_most_two_units() {
        for (seconds, expected) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (61, "2 min"),
            (3_540, "59 min"),
            (3_541, "1 h"),
            (3_600, "1 h"),
            (6_960, "1 h 56 min"),
            (7_200, "2 h"),
            (86_341, "1 d"),
            (86_400, "1 d"),
            (86_401, "1 d"),
            (90_000, "1 d 1 h"),
            (259_200, "3 d"),
            (273_600, "3 d 4 h"),
        ] {
            assert_eq!(length(seconds), expected, "{seconds}");
        }
        assert!(length(u64::MAX).ends_with(" h"));
    }
}
