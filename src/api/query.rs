//! What is asked behind the `?` of a request: taken whole, or refused by the name of what is wrong.

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// A route's query.
#[derive(Debug)]
pub struct Asked<T>(pub T);

/// The query of a route that has none.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = Query::from_request_parts(parts, state).await;
        query
            .map(|Query(query)| Self(query))
            .map_err(|rejection| refused(&rejection))
    }
}

fn refused(rejection: &QueryRejection) -> Problem {
    let text = rejection.body_text();
    let text = text
        .strip_prefix("Failed to deserialize query string: ")
        .unwrap_or(&text);
    Problem::not_a_query(parameter(text).unwrap_or("query"), text)
}

/// The parameter that is meant: `limit: invalid digit`, ``missing field `bucket` ``.
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
        #[serde(default)]
        wait: bool,
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
        for (query, named) in [
            ("limit=abc", "limit"),
            ("limit=1&wait=maybe", "wait"),
            ("limit=1&colour=red", "colour"),
            ("limit=1&limit=2", "limit"),
            ("wait=true", "limit"),
            ("", "limit"),
        ] {
            assert_eq!(field(query).as_deref(), Some(named), "{query}");
        }
    }
}
