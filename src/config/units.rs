//! Amounts in a file, a variable or a flag.
//!
//! An amount is parsed from a number or from text, so that `5`, `"5"` and `TOKENTAIL__...=5` mean the same.

use std::fmt;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

/// A plain number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

/// A number of bytes: `4096`, `"16MiB"`, `"1 GB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A length of time: `"2s"`, `"1m 30s"`, `"PT2S"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// A part of a whole: `0.1` for 10 %.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Share(pub f64);

/// A boolean: `true`, `"true"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag(pub bool);

/// One pattern, or several in an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List(pub Vec<String>);

/// Text that is not a valid amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not a {expected}{}", meant.as_ref().map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default())]
pub struct UnitError {
    given: String,
    expected: &'static str,
    /// A suggestion.
    meant: Option<String>,
}

/// Checks that a value is in range; the error contains the range.
pub(super) fn within<T: PartialOrd + fmt::Display>(
    value: &T,
    range: &RangeInclusive<T>,
) -> Result<(), String> {
    if range.contains(value) {
        return Ok(());
    }
    Err(format!(
        "{value} is out of bounds: {} to {} is allowed",
        range.start(),
        range.end()
    ))
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Unit names in lower case; binary units first, largest first, in the order of printing.
const BYTE_UNITS: &[(&str, u64)] = &[
    ("gib", GIB),
    ("mib", MIB),
    ("kib", KIB),
    ("gb", 1_000_000_000),
    ("mb", 1_000_000),
    ("kb", 1_000),
    ("b", 1),
    ("", 1),
];

/// Parsing of an amount from numbers and text.
pub(super) trait Amount: FromStr<Err = UnitError> {
    const EXPECTED: &'static str;
    /// `None` if a number without a unit is ambiguous.
    fn from_number(number: u64) -> Option<Self>;
    /// `None` if only whole numbers are allowed.
    fn from_fraction(_number: f64) -> Option<Self> {
        None
    }
    /// A suggestion for invalid text.
    fn meant(_given: &str) -> Option<String> {
        None
    }
}

impl Amount for Count {
    const EXPECTED: &'static str = "whole number, as in 100000";

    fn from_number(number: u64) -> Option<Self> {
        Some(Self(number))
    }
}

impl Amount for ByteSize {
    const EXPECTED: &'static str = "number of bytes, as in 4096 or \"16MiB\"";

    fn from_number(number: u64) -> Option<Self> {
        Some(Self(number))
    }

    fn meant(given: &str) -> Option<String> {
        let given = given.trim();
        let unit = given.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_');
        let number = digits(given.strip_suffix(unit)?)?;
        let letter = unit.trim_start().chars().next()?.to_ascii_uppercase();
        "KMG".contains(letter).then(|| format!("{number}{letter}iB"))
    }
}

impl Amount for Period {
    const EXPECTED: &'static str = "length of time with its unit, as in \"2s\" or \"1m 30s\"";

    fn from_number(_: u64) -> Option<Self> {
        None
    }

    fn meant(given: &str) -> Option<String> {
        digits(given.trim()).map(|number| format!("{number}s"))
    }
}

impl Amount for Share {
    const EXPECTED: &'static str = "share, as in 0.1";

    fn from_number(number: u64) -> Option<Self> {
        u32::try_from(number).ok().map(|number| Self(number.into()))
    }

    fn from_fraction(number: f64) -> Option<Self> {
        number.is_finite().then_some(Self(number))
    }

    fn meant(given: &str) -> Option<String> {
        let percent: u8 = given.trim().strip_suffix('%')?.trim_end().parse().ok()?;
        (percent <= 100).then(|| Self(f64::from(percent) / 100.0).to_string())
    }
}

pub(super) fn refused<T: Amount>(given: &str) -> UnitError {
    UnitError {
        given: given.to_owned(),
        expected: T::EXPECTED,
        meant: T::meant(given),
    }
}

pub(super) fn digits(text: &str) -> Option<u64> {
    if !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text.replace('_', "").parse().ok()
}

impl FromStr for Count {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        digits(text.trim()).map(Self).ok_or_else(|| refused::<Self>(text))
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let trimmed = text.trim();
        let end = trimmed
            .find(|c: char| !c.is_ascii_digit() && c != '_')
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(end);
        let unit = unit.trim_start().to_ascii_lowercase();
        let factor = BYTE_UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| *factor);
        digits(number)
            .zip(factor)
            .and_then(|(number, factor)| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| refused::<Self>(text))
    }
}

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        text.trim()
            .parse::<SignedDuration>()
            .ok()
            .and_then(|length| Duration::try_from(length).ok())
            .map(Self)
            .ok_or_else(|| refused::<Self>(text))
    }
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let number = text.trim().parse::<f64>().ok();
        number
            .and_then(Self::from_fraction)
            .ok_or_else(|| refused::<Self>(text))
    }
}

impl FromStr for List {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(vec![text.to_owned()]))
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in [("GiB", GIB), ("MiB", MIB), ("KiB", KIB)] {
            if self.0 > 0 && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        self.0.fmt(f)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SignedDuration::try_from(self.0) {
            Ok(length) => write!(f, "{length:#}"),
            Err(_) => write!(f, "{}s", self.0.as_secs()),
        }
    }
}

struct AmountVisitor<T>(PhantomData<T>);

impl<T: Amount> Visitor<'_> for AmountVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}", T::EXPECTED)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        T::from_number(number).ok_or_else(|| E::custom(refused::<T>(&number.to_string())))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        let wrong = || E::invalid_type(de::Unexpected::Float(number), &self);
        T::from_fraction(number).ok_or_else(wrong)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::custom(refused::<T>(&number.to_string()))),
        }
    }
}

/// Reads an amount from a number or from text.
pub(super) fn amount<'de, T: Amount, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
    deserializer.deserialize_any(AmountVisitor(PhantomData))
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        amount(deserializer)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        amount(deserializer)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        amount(deserializer)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        amount(deserializer)
    }
}

struct FlagVisitor;

impl Visitor<'_> for FlagVisitor {
    type Value = Flag;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Flag, E> {
        Ok(Flag(value))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Flag, E> {
        text.trim()
            .parse()
            .map(Flag)
            .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FlagVisitor)
    }
}

struct ListVisitor;

impl<'de> Visitor<'de> for ListVisitor {
    type Value = List;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pattern or an array of patterns")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<List, E> {
        Ok(List(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<List, A::Error> {
        let mut patterns = Vec::new();
        while let Some(pattern) = array.next_element()? {
            patterns.push(pattern);
        }
        Ok(List(patterns))
    }
}

impl<'de> Deserialize<'de> for List {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_and_written() {
        for (text, expect) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("64_000", Some(64_000)),
            ("16MiB", Some(16 << 20)),
            (" 16 mib ", Some(16 << 20)),
            ("1GB", Some(1_000_000_000)),
            ("3kB", Some(3000)),
            ("7B", Some(7)),
            ("16M", None),
            ("-1", None),
            ("1.5MiB", None),
            ("MiB", None),
            ("", None),
            ("_1", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(
                text.parse::<ByteSize>().ok().map(|bytes| bytes.0),
                expect,
                "{text:?}"
            );
        }
        for (bytes, expect) in [
            (0, "0"),
            (16 << 20, "16MiB"),
            (1 << 30, "1GiB"),
            (65_536, "64KiB"),
            (1000, "1000"),
        ] {
            assert_eq!(ByteSize(bytes).to_string(), expect);
            assert_eq!(expect.parse(), Ok(ByteSize(bytes)));
        }
    }

    #[test]
    fn periods_are_read_and_written() {
        for (text, expect_ms) in [
            ("2s", Some(2_000)),
            ("100ms", Some(100)),
            ("1m 30s", Some(90_000)),
            ("1 hour", Some(3_600_000)),
            ("PT0.5S", Some(500)),
            ("2", None),
            ("-2s", None),
            ("soon", None),
            ("", None),
        ] {
            let read = text.parse::<Period>().ok().map(|period| period.0.as_millis());
            assert_eq!(read, expect_ms, "{text:?}");
        }
        for text in ["2s", "100ms", "1m 30s", "1h"] {
            assert_eq!(text.parse::<Period>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn errors_say_what_is_expected() {
        let text = "5".parse::<Period>().unwrap_err().to_string();
        assert_eq!(
            text,
            "\"5\" is not a length of time with its unit, as in \"2s\" or \"1m 30s\"; did you mean \"5s\"?"
        );
        for (given, meant) in [("16M", Some("16MiB")), ("3 g", Some("3GiB")), ("7 parsecs", None)] {
            let text = given.parse::<ByteSize>().unwrap_err().to_string();
            let hint = meant.map(|meant| format!("; did you mean {meant:?}?"));
            assert_eq!(text.contains("did you mean"), hint.is_some(), "{text}");
            assert!(hint.is_none_or(|hint| text.ends_with(&hint)), "{text}");
        }
        assert!(
            "x".parse::<Count>()
                .unwrap_err()
                .to_string()
                .contains("whole number")
        );
    }
}
