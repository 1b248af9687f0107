//! Reading JSON as it occurs in real files: what serde_json's modes refuse one by one, accepted together.
//!
//! Objects are read by visitors that keep the last of duplicate keys; keys and strings are taken as bytes, so
//! lone surrogates pass; every number is taken as raw text and judged here. What is left (bad UTF-8 in a value
//! that matters, NUL bytes, raw control characters, a BOM) is mended in a copy by [`mended`], for a second try.

use std::borrow::Cow;

use serde::Deserializer as _;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::record::Millis;

/// A place that takes the members of an object as they come.
pub trait Members<'de>: Sized {
    /// Takes the value of one member from `map`, or ignores it; must take exactly one value.
    ///
    /// # Errors
    /// When the value is not JSON.
    fn member<A: MapAccess<'de>>(&mut self, key: &[u8], map: &mut A) -> Result<(), A::Error>;
}

/// A value that may be an object: `None` for any other value.
struct Object<'m, M>(&'m mut M);

impl<'de, M: Members<'de>> DeserializeSeed<'de> for Object<'_, M> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, M: Members<'de>> Visitor<'de> for Object<'_, M> {
    /// Whether the value was an object.
    type Value = bool;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        while let Some(Key(key)) = map.next_key()? {
            self.0.member(&key, &mut map)?;
        }
        Ok(true)
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// A member name, as bytes.
struct Key<'de>(Cow<'de, [u8]>);

impl<'de> de::Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(Bytes).map(Key)
    }
}

/// A string, as bytes: lone surrogates and bad UTF-8 pass.
struct Bytes;

impl<'de> Visitor<'de> for Bytes {
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

    // Member names reach a visitor as text.
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text.as_bytes()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.as_bytes().to_vec()))
    }
}

/// A raw JSON value; absent and `null` alike are `None` where text is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Raw<'de>(pub Option<&'de str>);

impl<'de> Raw<'de> {
    pub fn text(self) -> Option<Cow<'de, [u8]>> {
        string(self.0?).filter(|text| !text.is_empty())
    }

    pub fn count(self) -> Option<u64> {
        count(self.0?)
    }

    pub fn is(self, literal: &str) -> bool {
        self.0 == Some(literal)
    }
}

/// Reads a whole text as one object into `members`. `Ok(false)`: valid JSON, but not an object.
///
/// # Errors
/// When the text is not JSON.
pub fn object<'de, M: Members<'de>>(text: &'de [u8], members: &mut M) -> Result<bool, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let is_object = Object(members).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(is_object)
}

/// Reads a member that may be an object into `members`; says whether it was one. It is taken as raw text first, so
/// that a number or a string that no type can hold is no object instead of an error.
///
/// # Errors
/// When the value is not JSON, or has bytes that are not UTF-8.
pub fn member_object<'de, M: Members<'de>, A: MapAccess<'de>>(
    map: &mut A,
    members: &mut M,
) -> Result<bool, A::Error> {
    let value = map.next_value::<&'de RawValue>()?.get();
    if !value.starts_with('{') {
        return Ok(false);
    }
    object(value.as_bytes(), members).map_err(de::Error::custom)
}

/// [`member_object`] for a member that is large: read once, on the way.
///
/// # Errors
/// When the value is not JSON, or is a number or a string that no type can hold.
pub fn large_member_object<'de, M: Members<'de>, A: MapAccess<'de>>(
    map: &mut A,
    members: &mut M,
) -> Result<bool, A::Error> {
    map.next_value_seed(Object(members))
}

/// Passes over a member's value.
///
/// # Errors
/// When the value is not JSON.
pub fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

/// Takes a member's value as raw text.
///
/// # Errors
/// When the value is not JSON, or has bytes that are not UTF-8.
pub fn raw<'de, A: MapAccess<'de>>(map: &mut A) -> Result<Option<&'de str>, A::Error> {
    map.next_value::<&'de RawValue>().map(|value| Some(value.get()))
}

/// Whether a text is one valid JSON object, whatever is inside.
#[must_use]
pub fn is_object(text: &[u8]) -> bool {
    text.trim_ascii_start().first() == Some(&b'{') && serde_json::from_slice::<IgnoredAny>(text).is_ok()
}

/// The bytes of a raw string value; `None` for any other value.
#[must_use]
pub fn string(raw: &str) -> Option<Cow<'_, [u8]>> {
    if !raw.starts_with('"') {
        return None;
    }
    serde_json::Deserializer::from_str(raw)
        .deserialize_bytes(Bytes)
        .ok()
}

/// A count: integers, integral floats and numeric strings up to `i64::MAX`; `None` for anything else.
#[must_use]
pub fn count(raw: &str) -> Option<u64> {
    let decoded;
    let text = if raw.starts_with('"') {
        decoded = string(raw)?;
        std::str::from_utf8(&decoded).ok()?.trim()
    } else {
        raw
    };
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    match text.parse::<u64>() {
        Ok(value) => i64::try_from(value).is_ok().then_some(value),
        Err(_) => integral(text.parse().ok()?),
    }
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

/// A line's time: RFC 3339 with its offset honoured. Before 1970 counts as unreadable.
#[must_use]
pub fn time(text: &[u8]) -> Option<Millis> {
    let timestamp: jiff::Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
    let millis = timestamp.as_millisecond();
    (millis >= 0).then_some(millis)
}

/// A copy of a line with what no JSON reader accepts mended: the BOM and NUL bytes removed, other control
/// characters made spaces, bytes that are not UTF-8 replaced. `None` if there is nothing to mend.
#[must_use]
pub fn mended(line: &[u8]) -> Option<Vec<u8>> {
    let line_without_bom = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
    let bare = line_without_bom.len() == line.len();
    if bare && std::str::from_utf8(line).is_ok() && !line.iter().any(|byte| *byte < b' ' && *byte != b'\t') {
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
            assert_eq!(count(raw), want, "{raw}");
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
            ("", None),
        ] {
            assert_eq!(time(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn mending() {
        assert_eq!(mended(b"{\"a\":\t1}"), None);
        assert_eq!(mended(b"\xEF\xBB\xBF{}").unwrap(), b"{}");
        assert_eq!(mended(b"\0\0{\"a\":\0\"x\x01y\"}\0").unwrap(), b"{\"a\":\"x y\"}");
        assert_eq!(mended(b"\"\xFF\"").unwrap(), "\"\u{FFFD}\"".as_bytes());
    }
}
