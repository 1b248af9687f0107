//! Accept: JSON or CSV, as the request would rather have it.

use axum::http::{HeaderMap, StatusCode, header};

use crate::api::http::problem::Problem;

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFormat {
    Json,
    Csv,
}

impl AnswerFormat {
    /// The one the request would rather have; JSON if it does not say.
    ///
    /// # Errors
    /// It takes neither.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let given: Vec<&str> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter(|range| !range.trim().is_empty())
            .collect();
        if given.is_empty() {
            return Ok(Self::Json);
        }
        let json = quality(&given, "application", "json");
        let csv = quality(&given, "text", "csv");
        match (json, csv) {
            (0, 0) => Err(Problem::new(
                StatusCode::NOT_ACCEPTABLE,
                "not acceptable",
                "accept: this route answers with application/json or text/csv",
            )
            .field("accept")),
            (json, csv) if csv > json => Ok(Self::Csv),
            _ => Ok(Self::Json),
        }
    }
}

/// How much a type is wished for, in thousandths; the range that fits it best decides.
fn quality(ranges: &[&str], main: &str, sub: &str) -> u16 {
    let fits = ranges.iter().filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let (wanted_main, wanted_sub) = parts.next()?.split_once('/')?;
        let is = |wanted: &str, name: &str| wanted.eq_ignore_ascii_case(name);
        let precision = match (wanted_main, wanted_sub) {
            ("*", "*") => 0,
            (wanted, "*") if is(wanted, main) => 1,
            (wanted, wanted_sub) if is(wanted, main) && is(wanted_sub, sub) => 2,
            _ => return None,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        // What is no number is no wish against it.
        let weight = weight
            .map_or(Some(1.0), |weight| weight.parse::<f32>().ok())
            .unwrap_or(1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1000"
        )]
        let thousandths = (weight.clamp(0.0, 1.0) * 1000.0) as u16;
        Some((precision, thousandths))
    });
    fits.max_by_key(|(precision, _)| *precision)
        .map_or(0, |(_, thousandths)| thousandths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_is_what_is_wished_for_most() {
        for (accept, expect) in [
            ("", Some(AnswerFormat::Json)),
            ("*/*", Some(AnswerFormat::Json)),
            ("application/json", Some(AnswerFormat::Json)),
            ("text/csv", Some(AnswerFormat::Csv)),
            ("TEXT/CSV; charset=utf-8", Some(AnswerFormat::Csv)),
            ("text/*", Some(AnswerFormat::Csv)),
            ("text/csv, application/json", Some(AnswerFormat::Json)),
            ("text/csv;q=0.9, application/json;q=0.5", Some(AnswerFormat::Csv)),
            ("text/html, text/csv, */*;q=0.1", Some(AnswerFormat::Csv)),
            ("text/csv;q=0, */*", Some(AnswerFormat::Json)),
            ("text/csv;q=x", Some(AnswerFormat::Csv)),
            ("text/html", None),
            ("application/json;q=0", None),
            ("nonsense", None),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT, accept.parse().unwrap());
            }
            assert_eq!(AnswerFormat::of(&headers).ok(), expect, "{accept}");
        }
    }
}
