//! `Accept` and `Accept-Encoding`: their ranges, the choice between JSON and CSV, and that of gzip.

use axum::http::{HeaderMap, HeaderName, StatusCode, header};

use crate::api::http::problem::Problem;

/// One range of `Accept`, such as `text/csv;q=0.5`.
pub struct MediaRange<'h> {
    /// As it was written, `text/csv`, `text/*`, `gzip` or anything.
    pub kind: &'h str,
    /// The weight; `None` if it is no number.
    pub quality: Option<f32>,
    /// The parameter `version`, or nothing.
    pub version: &'h str,
}

/// The ranges of all `Accept` headers in their order; what is no text is left out.
pub fn media_ranges(headers: &HeaderMap) -> impl Iterator<Item = MediaRange<'_>> {
    ranges(headers, &header::ACCEPT)
}

fn ranges<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = MediaRange<'h>> + use<'h> {
    let values = headers.get_all(name).iter();
    let ranges = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    ranges.filter(|range| !range.trim().is_empty()).map(|range| {
        let (kind, parameters) = range.split_once(';').unwrap_or((range, ""));
        let parameter = |wanted: &str| {
            let mut pairs = parameters.split(';').filter_map(|part| part.split_once('='));
            pairs.find_map(|(name, value)| name.trim().eq_ignore_ascii_case(wanted).then_some(value.trim()))
        };
        MediaRange {
            kind: kind.trim(),
            quality: parameter("q").map_or(Some(1.0), |quality| quality.parse().ok()),
            version: parameter("version").unwrap_or_default().trim_matches('"'),
        }
    })
}

/// True if the client takes gzip, and likes nothing better. Without a preference the answer stays as it is.
#[must_use]
pub fn prefers_gzip(headers: &HeaderMap) -> bool {
    let given: Vec<MediaRange<'_>> = ranges(headers, &header::ACCEPT_ENCODING).collect();
    let quality = |coding: &str| {
        let named = given.iter().find(|range| range.kind.eq_ignore_ascii_case(coding));
        // A weight that is no number allows nothing: the plain form is right for everybody.
        named.map(|range| range.quality.unwrap_or(0.0))
    };
    let gzip = quality("gzip")
        .or(quality("x-gzip"))
        .or(quality("*"))
        .unwrap_or(0.0);
    gzip > 0.0 && gzip >= quality("identity").unwrap_or(0.0)
}

/// Format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFormat {
    Json,
    Csv,
}

impl AnswerFormat {
    /// The preferred format of the request; JSON if it has no preference.
    ///
    /// # Errors
    /// The request accepts neither.
    pub fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let given: Vec<MediaRange<'_>> = media_ranges(headers).collect();
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

/// The quality of a type in thousandths, from the most specific matching range.
fn quality(ranges: &[MediaRange<'_>], main: &str, sub: &str) -> u16 {
    let fits = ranges.iter().filter_map(|range| {
        let (wanted_main, wanted_sub) = range.kind.split_once('/')?;
        let is = |wanted: &str, name: &str| wanted.eq_ignore_ascii_case(name);
        let precision = match (wanted_main, wanted_sub) {
            ("*", "*") => 0,
            (wanted, "*") if is(wanted, main) => 1,
            (wanted, wanted_sub) if is(wanted, main) && is(wanted_sub, sub) => 2,
            _ => return None,
        };
        // A weight that is no number does not exclude the range.
        let weight = range.quality.unwrap_or(1.0);
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

    #[test]
    fn gzip_is_taken_where_it_is_allowed_and_nothing_is_liked_better() {
        for (accept, expect) in [
            ("", false),
            ("gzip", true),
            ("GZIP", true),
            ("x-gzip", true),
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, gzip;q=0.1", true),
            ("gzip;q=0", false),
            ("gzip;q=0.000, *", false),
            ("gzip;q=x", false),
            ("*", true),
            ("*;q=0", false),
            ("identity", false),
            ("identity, gzip;q=0.5", false),
            ("identity;q=0.5, gzip", true),
            ("identity;q=0, *", true),
            ("gzipped", false),
            (",, gzip ; q=0.5", true),
        ] {
            let mut headers = HeaderMap::new();
            if !accept.is_empty() {
                headers.insert(header::ACCEPT_ENCODING, accept.parse().unwrap());
            }
            assert_eq!(prefers_gzip(&headers), expect, "{accept}");
        }
    }
}
