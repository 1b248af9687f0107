//! Lenient parsing of the small values of limits: numbers, shares, statuses, maps.

use std::borrow::Cow;

use crate::json::scanner::{NotJson, Scanner};
use crate::json::{self, Members, Raw};
use crate::model::LimitStatus;

/// Most members of a map that are read; a real one has some forty.
const ENTRIES_MAX: usize = 256;

/// The members of an object with unknown names.
#[derive(Debug, Default)]
pub struct Entries<'de>(pub Vec<(String, Raw<'de>)>);

impl<'de> Members<'de> for Entries<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        if self.0.len() == ENTRIES_MAX {
            return value.skip();
        }
        let name = String::from_utf8_lossy(key).into_owned();
        self.0.push((name, Raw(Some(value.raw()?))));
        Ok(())
    }
}

impl<'de> Entries<'de> {
    /// The members of a value; none if it is no object.
    pub fn of(value: Raw<'de>) -> Self {
        let mut entries = Self::default();
        let is_object = value
            .0
            .is_some_and(|raw| json::object(raw.as_bytes(), &mut entries).unwrap_or(false));
        if is_object { entries } else { Self::default() }
    }

    /// The value of the first of these names that is present and not `null`. Of members with the same name
    /// the last counts.
    pub fn get(&self, names: &[&str]) -> Raw<'de> {
        let value = |name: &&str| {
            let found = self.0.iter().rev().find(|(known, _)| known == name);
            found.and_then(|(_, value)| value.0.filter(|raw| *raw != "null"))
        };
        Raw(names.iter().find_map(value))
    }
}

/// The value of a header; some writers use a list of one.
pub fn single(value: Raw<'_>) -> Raw<'_> {
    let Some(raw) = value.0.filter(|raw| raw.starts_with('[')) else {
        return value;
    };
    let (mut first, mut count) = (None, 0);
    json::each(raw.as_bytes(), |item| {
        first = first.or(std::str::from_utf8(item).ok());
        count += 1;
        count > 1
    });
    Raw(first.filter(|_| count == 1))
}

/// A string value as text.
pub fn text(value: Raw<'_>) -> Option<String> {
    value
        .text()
        .map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// The text of a number, written as a number or as a string.
pub fn number_text(value: Raw<'_>) -> Option<Cow<'_, str>> {
    let raw = value.0?;
    if raw.starts_with('"') {
        text(value).map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(raw))
    }
}

/// A finite number: `inf` and `nan`, which Rust parses, are not accepted.
pub fn number(value: Raw<'_>) -> Option<f64> {
    number_text(value)?
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

/// A boolean, as a word or as text.
pub fn flag(value: Raw<'_>) -> Option<bool> {
    match text(value).as_deref().or(value.0)? {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A share as a fraction. It may exceed 1, but not be negative.
pub fn share(value: Raw<'_>) -> Option<f64> {
    number(value).filter(|share| *share >= 0.0).map(f64::abs)
}

/// A share given as a percentage.
pub fn percent(value: Raw<'_>) -> Option<f64> {
    share(value).map(|percent| percent / 100.0)
}

pub fn status(value: Raw<'_>) -> LimitStatus {
    match value.text().as_deref().map(<[u8]>::trim_ascii) {
        Some(b"allowed") => LimitStatus::Allowed,
        Some(b"allowed_warning") => LimitStatus::AllowedWarning,
        Some(b"rejected") => LimitStatus::Rejected,
        _ => LimitStatus::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares() {
        for (raw, want) in [
            ("0", Some(0.0)),
            ("-0.0", Some(0.0)),
            ("0.42", Some(0.42)),
            ("\"0.42\"", Some(0.42)),
            ("\" 1.02 \"", Some(1.02)),
            ("-0.1", None),
            ("1e999", None),
            ("\"inf\"", None),
            ("\"NaN\"", None),
            ("\"42%\"", None),
            ("\"\"", None),
            ("null", None),
            ("true", None),
            ("{}", None),
            ("\"\\ud83d\"", None),
        ] {
            assert_eq!(share(Raw(Some(raw))), want, "{raw}");
        }
        assert_eq!(share(Raw(None)), None);
    }

    #[test]
    fn header_values() {
        for (raw, want) in [
            ("\"a\"", Some("\"a\"")),
            ("7", Some("7")),
            ("[\"a\"]", Some("\"a\"")),
            ("[ 7 ]", Some("7")),
            ("[]", None),
            ("[1,2]", None),
        ] {
            assert_eq!(single(Raw(Some(raw))).0, want, "{raw}");
        }
    }

    #[test]
    fn a_map_has_a_bound_and_is_an_object() {
        let many: Vec<String> = (0..ENTRIES_MAX + 9).map(|n| format!("\"k{n}\":{n}")).collect();
        let many = format!("{{{}}}", many.join(","));
        assert_eq!(Entries::of(Raw(Some(&many))).0.len(), ENTRIES_MAX);
        for none in ["null", "[]", "7", "\"x\""] {
            assert!(Entries::of(Raw(Some(none))).0.is_empty(), "{none}");
        }
    }
}
