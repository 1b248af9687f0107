//! Ages: of what may be removed.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer};

use super::units::{Amount, UnitError, amount, digits, refused};
use crate::model::Millis;

/// Longest age, in days: ten years.
const DAYS_MAX: u64 = 3660;

/// Units of ages, the longest first, with their lengths in seconds.
const AGE_UNITS: [(char, u64); 3] = [('d', 86_400), ('h', 3600), ('m', 60)];

/// A whole number of days, hours or minutes above zero: `30d`, `12h`, `90m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    length: Duration,
    /// As it was written.
    unit: char,
}

/// The time for which something is kept: an age, or `forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keep {
    For(Age),
    Forever,
}

impl Age {
    /// An age of whole days.
    #[must_use]
    pub const fn days(days: u64) -> Self {
        Self {
            length: Duration::from_secs(days * AGE_UNITS[0].1),
            unit: AGE_UNITS[0].0,
        }
    }

    #[must_use]
    pub fn millis(self) -> Millis {
        Millis::try_from(self.length.as_millis()).unwrap_or(Millis::MAX)
    }
}

impl Keep {
    /// The age; `None` for ever.
    #[must_use]
    pub fn age(self) -> Option<Age> {
        match self {
            Self::For(age) => Some(age),
            Self::Forever => None,
        }
    }
}

impl Amount for Age {
    const EXPECTED: &'static str =
        "length of time above 0 and up to 3660d in days, hours or minutes, as in \"30d\", \"12h\" or \"90m\"";

    fn from_number(_: u64) -> Option<Self> {
        None
    }

    fn meant(given: &str) -> Option<String> {
        meant_days(given)
    }
}

impl Amount for Keep {
    const EXPECTED: &'static str = "length of time above 0 and up to 3660d in days, hours or minutes, as in \"90d\" or \"12h\", or \"forever\"";

    fn from_number(_: u64) -> Option<Self> {
        None
    }

    fn meant(given: &str) -> Option<String> {
        meant_days(given)
    }
}

/// A number without a unit, or of weeks, is meant in days.
fn meant_days(given: &str) -> Option<String> {
    let given = given.trim();
    let (number, days) = match given.strip_suffix('w') {
        Some(weeks) => (weeks, 7),
        None => (given, 1),
    };
    let days = digits(number)?.checked_mul(days)?;
    (1..=DAYS_MAX).contains(&days).then(|| format!("{days}d"))
}

impl FromStr for Age {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let age = || {
            let unit = text.chars().next_back()?;
            let (_, seconds) = AGE_UNITS.iter().find(|(name, _)| *name == unit)?;
            let number = text.strip_suffix(unit)?;
            if !number.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            let length = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(*seconds)?);
            let is_allowed = !length.is_zero() && length <= Self::days(DAYS_MAX).length;
            is_allowed.then_some(Self { length, unit })
        };
        age().ok_or_else(|| refused::<Self>(text))
    }
}

impl FromStr for Keep {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        if text == "forever" {
            return Ok(Self::Forever);
        }
        text.parse().map(Self::For).map_err(|_| refused::<Self>(text))
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = AGE_UNITS.iter().find(|(name, _)| *name == self.unit);
        let seconds = unit.map_or(1, |(_, seconds)| *seconds);
        write!(f, "{}{}", self.length.as_secs() / seconds, self.unit)
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(age) => age.fmt(f),
            Self::Forever => f.write_str("forever"),
        }
    }
}

impl<'de> Deserialize<'de> for Keep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        amount(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_written() {
        for (text, hours) in [("30d", 720), ("12h", 12), ("120m", 2), ("3660d", 87_840)] {
            let age: Age = text.parse().unwrap();
            assert_eq!(age.millis(), hours * 3_600_000, "{text}");
            assert_eq!(age.to_string(), text);
            assert_eq!(text.parse::<Keep>().unwrap(), Keep::For(age));
        }
        assert!("90m".parse::<Age>().unwrap() < "2h".parse().unwrap());
        assert!(Keep::For(Age::days(3660)) < "forever".parse().unwrap());
    }

    #[test]
    fn other_texts_are_refused_with_the_forms() {
        for text in [
            "30s",
            "0d",
            "0m",
            "1w",
            "-1d",
            "+1d",
            "1.5d",
            "30",
            "",
            "d",
            "1 d",
            " 1d",
            "1D",
            "1_0d",
            "3661d",
            "99999999999999999999d",
            "forever",
            "1d2h",
            "¹d",
        ] {
            let error = text.parse::<Age>().unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?}")), "{error}");
            assert!(error.contains("\"30d\", \"12h\" or \"90m\""), "{error}");
        }
        for (text, hint) in [("1w", "7d"), ("30", "30d"), ("2w", "14d")] {
            let error = text.parse::<Age>().unwrap_err().to_string();
            assert!(error.ends_with(&format!("did you mean {hint:?}?")), "{error}");
        }
    }
}
