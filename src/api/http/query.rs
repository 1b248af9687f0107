//! Query parsing: a query is valid as a whole, or refused with the name of the invalid parameter.
//!
//! The web client's contract requires the opposite for its routes: no query is refused for its form.

use std::convert::Infallible;

use std::num::{IntErrorKind, ParseIntError};

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::api::http::problem::Problem;

/// A route's query.
#[derive(Debug)]
pub struct StrictQuery<T>(pub T);

/// The empty query.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoQuery {}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for StrictQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| Self(query))
            .map_err(|rejection| refused(&rejection))
    }
}

/// The query of a web client route. Unknown parameters are ignored, since clients append their own (`_=1`);
/// of a repeated parameter the first counts.
#[derive(Debug)]
pub struct Lenient<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Default> FromRequestParts<S> for Lenient<T> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(lenient(&parts.uri)))
    }
}

/// Every field of `T` is an `Option<String>`, so no value is invalid.
fn lenient<T: DeserializeOwned + Default>(uri: &Uri) -> T {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri);
    let mut object = Map::new();
    for (name, value) in pairs.map(|Query(pairs)| pairs).unwrap_or_default() {
        object.entry(name).or_insert(Value::String(value));
    }
    T::deserialize(Value::Object(object)).unwrap_or_default()
}

/// A whole number in a [`Lenient`] query, clamped to the range of `i64`; `None` for other text.
pub fn number(text: &str) -> Option<i64> {
    text.trim()
        .parse()
        .or_else(|error: ParseIntError| match error.kind() {
            IntErrorKind::PosOverflow => Ok(i64::MAX),
            IntErrorKind::NegOverflow => Ok(i64::MIN),
            _ => Err(error),
        })
        .ok()
}

/// A boolean in a [`StrictQuery`]: `true` or `1`, `false` or `0`.
///
/// # Errors
/// The allowed values.
pub fn flag<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        text => Err(D::Error::custom(format!("{text:?} is none of true, false, 1, 0"))),
    }
}

fn refused(rejection: &QueryRejection) -> Problem {
    let text = rejection.body_text();
    let text = text
        .strip_prefix("Failed to deserialize query string: ")
        .unwrap_or(&text);
    Problem::not_a_query(parameter(text).unwrap_or("query"), text)
}

/// The name of the invalid parameter: `limit: invalid digit`, ``missing field `window` ``.
fn parameter(text: &str) -> Option<&str> {
    let before = text.split_once(": ").map(|(name, _)| name);
    let quoted = || text.split('`').nth(1);
    before
        .filter(|name| !name.contains(' '))
        .or_else(quoted)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Wish {
        limit: usize,
        #[serde(default, deserialize_with = "flag")]
        wait: bool,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Loose {
        limit: Option<String>,
        account: Option<String>,
    }

    #[test]
    fn a_lenient_query_is_never_wrong() {
        let read = |query: &str| lenient::<Loose>(&format!("/x?{query}").parse().unwrap());
        let text = |text: &str| Some(text.to_owned());
        for (query, limit, account) in [
            ("", None, None),
            ("_=1&limit=7&state=live", text("7"), None),
            ("limit=7&limit=8", text("7"), None),
            ("limit=&account=a%20b", text(""), text("a b")),
            ("limit", text(""), None),
            ("%ff=%ff&&=&limit=%ff", text("\u{fffd}"), None),
        ] {
            assert_eq!(read(query), Loose { limit, account }, "{query}");
        }
        for (text, whole) in [
            ("7", Some(7)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            (" 7 ", Some(7)),
            ("99999999999999999999", Some(i64::MAX)),
            ("-99999999999999999999", Some(i64::MIN)),
            ("", None),
            ("abc", None),
            ("1.5", None),
            ("7d", None),
        ] {
            assert_eq!(number(text), whole, "{text}");
        }
    }

    fn field(query: &str) -> Option<String> {
        let uri = format!("/x?{query}").parse().unwrap();
        match Query::<Wish>::try_from_uri(&uri) {
            Ok(Query(wish)) => {
                assert_eq!((wish.limit, wish.wait), (1, true));
                None
            }
            Err(rejection) => refused(&rejection).field_name().map(str::to_owned),
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(field("limit=1&wait=true"), None);
        assert_eq!(field("limit=1&wait=1"), None);
        for (query, named) in [
            ("limit=abc", "limit"),
            ("limit=1&wait=maybe", "wait"),
            ("limit=1&wait=", "wait"),
            ("limit=1&wait=10", "wait"),
            ("limit=1&colour=red", "colour"),
            ("limit=1&limit=2", "limit"),
            ("wait=true", "limit"),
            ("", "limit"),
        ] {
            assert_eq!(field(query).as_deref(), Some(named), "{query}");
        }
    }
}
