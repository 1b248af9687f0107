//! Lenient JSON as it occurs in real files.
//!
//! Of duplicate keys the last is kept; keys and strings are bytes, so lone surrogates are accepted; numbers
//! are kept as raw text and converted here. Everything else (bad UTF-8 in a needed value, NUL bytes, raw
//! control characters, a BOM) is repaired in a copy by [`repaired`] for a second attempt.

pub mod scanner;

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::Deserializer as _;
use serde::de::{IgnoredAny, Visitor};

use self::scanner::{NotJson, Scanner};
use crate::model::Millis;

/// Receives the members of an object in their order. Of members with the same name the last one counts.
pub trait Members<'de> {
    /// Reads or skips one member; must consume exactly one value.
    ///
    /// # Errors
    /// The value is not JSON.
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson>;
}

/// A field that the value of a member is taken into.
pub trait MemberValue<'de> {
    /// Takes exactly one value.
    ///
    /// # Errors
    /// The value is not JSON.
    fn take(&mut self, value: &mut Scanner<'de>) -> Result<(), NotJson>;
}

/// Declares a struct with the lifetime of the text, whose fields take the members of an object.
///
/// A field has the names of its member, or in braces those of its own fields; a field without names takes none. Without
/// a type it is of [`RawBytes`]. The last one, after `..`, takes all other members; without it they are passed over. A
/// nested object is read again each time it comes.
///
/// ```text
/// members! {
///     struct Iteration<'de> {
///         kind = b"type",
///         model = b"model" | b"modelName",
///         message: MessageMembers<'de> = b"message",
///         ..usage: UsageFields<'de>,
///     }
/// }
/// ```
macro_rules! members {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident<'de> {
            $(
                $(#[$field_attribute:meta])*
                $field_vis:vis $field:ident $(: $value:ty)?
                $(= $($key:literal)|+)?
                $({ $($inner:ident = $inner_key:literal,)+ })?,
            )*
            $(
                ..$others_vis:vis $others:ident: $others_value:ty,
            )?
        }
    ) => {
        #[derive(Debug, Default)]
        $(#[$attribute])*
        $vis struct $name<'de> {
            $($(#[$field_attribute])* $field_vis $field: $crate::json::members!(@value $($value)?),)*
            $($others_vis $others: $others_value,)?
        }

        impl<'de> $crate::json::Members<'de> for $name<'de> {
            fn member(
                &mut self,
                key: &[u8],
                value: &mut $crate::json::scanner::Scanner<'de>,
            ) -> Result<(), $crate::json::scanner::NotJson> {
                match key {
                    $(
                        $($($key)|+ => $crate::json::MemberValue::take(&mut self.$field, value),)?
                        $($($inner_key => $crate::json::MemberValue::take(&mut self.$field.$inner, value),)+)?
                    )*
                    _ => $crate::json::members!(@others self key value $($others)?),
                }
            }
        }

        impl<'de> $crate::json::MemberValue<'de> for $name<'de> {
            #[inline]
            fn take(
                &mut self,
                value: &mut $crate::json::scanner::Scanner<'de>,
            ) -> Result<(), $crate::json::scanner::NotJson> {
                *self = Self::default();
                value.object(self).map(drop)
            }
        }
    };
    (@value) => { $crate::json::RawBytes<'de> };
    (@value $value:ty) => { $value };
    (@others $this:ident $key:ident $value:ident) => {
        $value.skip()
    };
    (@others $this:ident $key:ident $value:ident $others:ident) => {
        $crate::json::Members::member(&mut $this.$others, $key, $value)
    };
}
pub(crate) use members;

/// This many digits always fit.
const USUAL_DIGITS_MAX: usize = 18;

/// A string as bytes: lone surrogates and bad UTF-8 are accepted.
struct ByteString;

impl<'de> Visitor<'de> for ByteString {
    type Value = Cow<'de, [u8]>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(bytes))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(bytes.to_vec()))
    }
}

/// An object; `None` for any other value.
impl<'de, T: Members<'de> + Default> MemberValue<'de> for Option<T> {
    fn take(&mut self, value: &mut Scanner<'de>) -> Result<(), NotJson> {
        let mut members = T::default();
        *self = value.object(&mut members)?.then_some(members);
        Ok(())
    }
}

/// A raw JSON value; absent and `null` are both `None`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw<'de>(pub Option<&'de str>);

impl<'de> MemberValue<'de> for Raw<'de> {
    #[inline]
    fn take(&mut self, value: &mut Scanner<'de>) -> Result<(), NotJson> {
        self.0 = Some(value.raw()?);
        Ok(())
    }
}

impl<'de> Raw<'de> {
    pub fn text(self) -> Option<Cow<'de, [u8]>> {
        RawBytes(self.0.map(str::as_bytes)).text()
    }

    pub fn count(self) -> Option<u64> {
        count(self.0?.as_bytes())
    }

    pub fn is(self, literal: &str) -> bool {
        self.0 == Some(literal)
    }
}

/// A raw JSON value as bytes, which need not be UTF-8: it is only compared or hashed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RawBytes<'de>(pub Option<&'de [u8]>);

impl<'de> MemberValue<'de> for RawBytes<'de> {
    #[inline]
    fn take(&mut self, value: &mut Scanner<'de>) -> Result<(), NotJson> {
        self.0 = Some(value.raw_bytes()?);
        Ok(())
    }
}

impl<'de> RawBytes<'de> {
    pub fn count(self) -> Option<u64> {
        count(self.0?)
    }

    /// This value, or the other if it is absent.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }

    /// A string. Bytes that are not UTF-8 are replaced as in a [`repaired`] line, so that both give the same
    /// identity.
    pub fn text(self) -> Option<Cow<'de, [u8]>> {
        let raw = self.0?;
        let text = if raw.is_ascii() || std::str::from_utf8(raw).is_ok() {
            string(raw)
        } else {
            let marked = String::from_utf8_lossy(raw);
            string(marked.as_bytes()).map(|text| Cow::Owned(text.into_owned()))
        };
        text.filter(|text| !text.is_empty())
    }
}

/// Reads a whole text as one object into `members`. `Ok(false)`: valid JSON, but not an object.
///
/// # Errors
/// The text is not JSON.
pub fn object<'de, M: Members<'de>>(text: &'de [u8], members: &mut M) -> Result<bool, NotJson> {
    let mut scanner = Scanner::new(text);
    let is_object = scanner.object(members)?;
    if scanner.is_at_end() {
        Ok(is_object)
    } else {
        Err(NotJson)
    }
}

/// Passes the elements of a raw list to `is_enough` until it returns true; any other value has none.
pub fn each<'de>(raw: &'de [u8], is_enough: impl FnMut(&'de [u8]) -> bool) {
    // The list was taken from a valid line.
    let _ = Scanner::new(raw).each(is_enough);
}

/// True if a text is one valid JSON object.
#[must_use]
pub fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// The bytes of a raw string value; `None` for any other value.
#[must_use]
pub fn string(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = raw.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if !inner.contains(&b'\\') {
        return Some(Cow::Borrowed(inner));
    }
    serde_json::Deserializer::from_slice(raw)
        .deserialize_bytes(ByteString)
        .ok()
}

/// A count: integers, integral floats and numeric strings up to `i64::MAX`; `None` for anything else.
#[must_use]
pub fn count(raw: &[u8]) -> Option<u64> {
    if let Some(count) = usual_count(raw) {
        return Some(count);
    }
    let decoded;
    let text = if raw.starts_with(b"\"") {
        decoded = string(raw)?;
        std::str::from_utf8(&decoded).ok()?.trim()
    } else {
        std::str::from_utf8(raw).ok()?
    };
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    match text.parse::<u64>() {
        Ok(value) => i64::try_from(value).is_ok().then_some(value),
        Err(_) => integral(text.parse().ok()?),
    }
}

/// Fast path for a few digits, the form of nearly every count.
fn usual_count(raw: &[u8]) -> Option<u64> {
    let digit = |count: u64, byte: &u8| byte.is_ascii_digit().then(|| count * 10 + u64::from(byte - b'0'));
    (1..=USUAL_DIGITS_MAX)
        .contains(&raw.len())
        .then(|| raw.iter().try_fold(0, digit))
        .flatten()
}

/// An integral float as a count.
fn integral(value: f64) -> Option<u64> {
    // 2^63: the first float above i64::MAX. Below it the conversion is exact for integral values.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded and integral, checked here"
    )]
    ((0.0..9_223_372_036_854_775_808.0).contains(&value) && value.fract() == 0.0).then_some(value as u64)
}

/// Numbers from here on are milliseconds, smaller ones seconds.
const MILLISECONDS_FROM: f64 = 1e11;
/// The last time with a four-digit year, in milliseconds.
const TIME_MS_MAX: f64 = 253_402_300_799_999.0;

/// The time of a raw value: a string, or a number of seconds or milliseconds since 1970.
#[must_use]
pub fn time_of(raw: &[u8]) -> Option<Millis> {
    if raw.first() == Some(&b'"') {
        return time(&string(raw)?);
    }
    let number: f64 = std::str::from_utf8(raw).ok()?.trim().parse().ok()?;
    let millis = if number < MILLISECONDS_FROM {
        number * 1000.0
    } else {
        number
    };
    #[expect(clippy::cast_possible_truncation, reason = "bounded, checked here")]
    (0.0..=TIME_MS_MAX).contains(&millis).then_some(millis as Millis)
}

/// A line's time: RFC 3339 with its offset. Before 1970 counts as unreadable.
#[must_use]
pub fn time(text: &[u8]) -> Option<Millis> {
    let timestamp = match usual_time(text) {
        Some(timestamp) => timestamp,
        None => std::str::from_utf8(text).ok()?.parse().ok()?,
    };
    let millis = timestamp.as_millisecond();
    (millis >= 0).then_some(millis)
}

/// Fast path for `2026-10-05T09:00:00.000Z`, the form of nearly every time: a fifth of the general cost.
fn usual_time(text: &[u8]) -> Option<Timestamp> {
    let digits = |at: usize, count: usize| {
        text[at..at + count].iter().try_fold(0i16, |number, byte| {
            byte.is_ascii_digit()
                .then(|| number * 10 + i16::from(byte - b'0'))
        })
    };
    let two = |at| i8::try_from(digits(at, 2)?).ok();
    let [
        _,
        _,
        _,
        _,
        b'-',
        _,
        _,
        b'-',
        _,
        _,
        b'T',
        _,
        _,
        b':',
        _,
        _,
        b':',
        _,
        _,
        b'.',
        _,
        _,
        _,
        b'Z',
    ] = text
    else {
        return None;
    };
    let nanoseconds = i32::from(digits(20, 3)?) * 1_000_000;
    let time = DateTime::new(
        digits(0, 4)?,
        two(5)?,
        two(8)?,
        two(11)?,
        two(14)?,
        two(17)?,
        nanoseconds,
    );
    Offset::UTC.to_timestamp(time.ok()?).ok()
}

/// A repaired copy of a line: the BOM and NUL bytes removed, other control characters replaced by spaces,
/// bytes that are not UTF-8 replaced. `None` if there is nothing to repair.
#[must_use]
pub fn repaired(line: &[u8]) -> Option<Vec<u8>> {
    let line_without_bom = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
    let bare = line_without_bom.len() == line.len();
    if bare && std::str::from_utf8(line).is_ok() && !line.iter().any(|byte| *byte < b' ') {
        return None;
    }
    let mut copy = Vec::with_capacity(line.len());
    for chunk in line_without_bom.utf8_chunks() {
        copy.extend(
            chunk
                .valid()
                .bytes()
                .filter(|byte| *byte != 0)
                .map(|byte| byte.max(b' ')),
        );
        if !chunk.invalid().is_empty() {
            copy.extend_from_slice("\u{FFFD}".as_bytes());
        }
    }
    Some(copy)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counts() {
        for (raw, want) in [
            ("0", Some(0)),
            ("7", Some(7)),
            ("7.0", Some(7)),
            ("7.5", None),
            ("1e3", Some(1000)),
            ("1e400", None),
            ("-5", None),
            ("null", None),
            ("true", None),
            ("\"12\"", Some(12)),
            ("\" 12 \"", Some(12)),
            ("\"12.0\"", Some(12)),
            ("\"\"", None),
            ("\"x\"", None),
            ("[1]", None),
            ("9223372036854775807", Some(9_223_372_036_854_775_807)),
            ("9223372036854775808", None),
            ("184467440737095516160", None),
        ] {
            assert_eq!(count(raw.as_bytes()), want, "{raw}");
        }
    }

    #[test]
    fn times() {
        for (text, want) in [
            ("2026-10-05T09:00:00.000Z", Some(1_791_190_800_000)),
            ("2026-10-05T11:00:00+02:00", Some(1_791_190_800_000)),
            ("1969-12-31T23:59:59Z", None),
            ("epoch:1791190801", None),
            ("2026-13-05T09:00:00Z", None),
            ("2026-13-05T09:00:00.000Z", None),
            ("2026-02-29T09:00:00.000Z", None),
            ("2026-10-05T24:00:00.000Z", None),
            ("2026-10-05T09:00:0x.000Z", None),
            ("2026-10-05T08:59:60.000Z", Some(1_791_190_799_000)),
            ("", None),
        ] {
            assert_eq!(time(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn times_as_numbers() {
        for (raw, want) in [
            ("\"2026-10-05T09:00:00.000Z\"", Some(1_791_190_800_000)),
            ("1791190800", Some(1_791_190_800_000)),
            ("1791190800.5", Some(1_791_190_800_500)),
            ("1791190800000", Some(1_791_190_800_000)),
            ("99999999999", Some(99_999_999_999_000)),
            ("100000000000", Some(100_000_000_000)),
            ("0", Some(0)),
            ("-1", None),
            ("1e300", None),
            ("null", None),
            ("true", None),
            ("{}", None),
            ("\"1791190800\"", None),
        ] {
            assert_eq!(time_of(raw.as_bytes()), want, "{raw}");
        }
    }

    proptest! {
        /// The fast path agrees with the general one.
        #[test]
        fn usual_times(millis in 0..253_402_207_200_000i64) {
            let text = format!("{:.3}", Timestamp::from_millisecond(millis).unwrap());
            prop_assert!(usual_time(text.as_bytes()).is_some(), "{}", text);
            prop_assert_eq!(time(text.as_bytes()), Some(millis));
        }
    }

    #[test]
    fn mending() {
        assert_eq!(repaired(b"{\"a\": 1}"), None);
        assert_eq!(repaired(b"{\"a\tb\": 1}").unwrap(), b"{\"a b\": 1}");
        assert_eq!(repaired(b"\xEF\xBB\xBF{}").unwrap(), b"{}");
        assert_eq!(
            repaired(b"\0\0{\"a\":\0\"x\x01y\"}\0").unwrap(),
            b"{\"a\":\"x y\"}"
        );
        assert_eq!(repaired(b"\"\xFF\"").unwrap(), "\"\u{FFFD}\"".as_bytes());
    }
}
