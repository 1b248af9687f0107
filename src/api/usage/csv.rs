//! Usage as CSV.

use std::borrow::Cow;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use crate::api::http::problem::Problem;
use crate::api::wire;

/// The columns of values.
pub const CSV_COLUMNS: [&str; 16] = [
    "messages",
    "advisor_calls",
    "input_tokens",
    "output_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "cache_creation_5m",
    "cache_creation_1h",
    "web_search_requests",
    "thinking_tokens",
    "total_tokens",
    "fallbacks",
    "failed_attempts",
    "estimated_tokens",
    "estimated_cost_usd",
    "unpriced_tokens",
];
/// The columns of costs, the last ones.
pub const CSV_COST_COLUMNS: [&str; 2] = ["estimated_cost_usd", "unpriced_tokens"];

/// The values of these columns. An unknown cost is empty, and not 0.
#[must_use]
pub fn csv_values(sums: &wire::UsageSums) -> [String; CSV_COLUMNS.len()] {
    let wire::UsageSums {
        messages,
        advisor_calls,
        totals,
        fallbacks,
        failed_attempts,
        estimated_tokens,
        cost,
    } = sums;
    [
        messages.to_string(),
        advisor_calls.to_string(),
        totals.input_tokens.to_string(),
        totals.output_tokens.to_string(),
        totals.cache_creation_input_tokens.to_string(),
        totals.cache_read_input_tokens.to_string(),
        totals.cache_creation_5m.to_string(),
        totals.cache_creation_1h.to_string(),
        totals.web_search_requests.to_string(),
        totals.thinking_tokens.to_string(),
        totals.total_tokens.to_string(),
        fallbacks.to_string(),
        failed_attempts.to_string(),
        estimated_tokens.to_string(),
        cost.estimated_cost_usd
            .map_or_else(String::new, |usd| usd.to_string()),
        cost.unpriced
            .as_ref()
            .map_or(0, |unpriced| unpriced.tokens)
            .to_string(),
    ]
}

/// A name in a cell: spreadsheets take one that begins like a formula for a formula.
#[must_use]
pub fn csv_cell(name: &str) -> Cow<'_, str> {
    if name.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        Cow::Owned(format!("'{name}"))
    } else {
        Cow::Borrowed(name)
    }
}

/// A header line and one line for each row, without a line of totals.
pub fn response(usage: &wire::Usage) -> Result<Response, Problem> {
    let written = write(usage).map_err(|error| {
        tracing::error!(%error, "the CSV was not written");
        Problem::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            "internal error",
            "see the collector's log",
        )
    })?;
    let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    Ok(([(header::CONTENT_TYPE, kind)], written).into_response())
}

fn write(usage: &wire::Usage) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let groups: Vec<&str> = usage.group_by.split(',').collect();
    writer.write_record(groups.iter().copied().chain(CSV_COLUMNS))?;
    for wire::UsageRow { key, keys, sums } in &usage.rows {
        for group in &groups {
            let of_several = keys.as_ref().and_then(|keys| keys.get(*group));
            let part = of_several.or(key.as_ref()).and_then(Option::as_deref);
            writer.write_field(csv_cell(part.unwrap_or("")).as_ref())?;
        }
        writer.write_record(csv_values(sums))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_needs_quotes_has_them() {
        let row = |key: Option<&str>, messages| wire::UsageRow {
            key: Some(key.map(str::to_owned)),
            keys: None,
            sums: wire::UsageSums {
                messages,
                ..wire::UsageSums::default()
            },
        };
        let usage = wire::Usage {
            group_by: "label:project".to_owned(),
            rows: vec![row(None, 1), row(Some("a, \"b\""), 2), row(Some("=1+1"), 3)],
            ..wire::Usage::default()
        };
        let text = String::from_utf8(write(&usage).unwrap()).unwrap();
        assert_eq!(
            text,
            "label:project,messages,advisor_calls,input_tokens,output_tokens,cache_creation_input_tokens,\
             cache_read_input_tokens,cache_creation_5m,cache_creation_1h,web_search_requests,\
             thinking_tokens,total_tokens,fallbacks,failed_attempts,estimated_tokens,estimated_cost_usd,unpriced_tokens\n\
             ,1,0,0,0,0,0,0,0,0,0,0,0,0,0,,0\n\"a, \"\"b\"\"\",2,0,0,0,0,0,0,0,0,0,0,0,0,0,,0\n\
             '=1+1,3,0,0,0,0,0,0,0,0,0,0,0,0,0,,0\n"
        );
    }

    #[test]
    fn several_groupings_have_a_column_each() {
        let part = |name: &str, part: Option<&str>| (name.to_owned(), part.map(str::to_owned));
        let row = wire::UsageRow {
            keys: Some([part("model", Some("m")), part("project", None)].into()),
            ..wire::UsageRow::default()
        };
        let usage = wire::Usage {
            group_by: "project,model".to_owned(),
            rows: vec![row],
            ..wire::Usage::default()
        };
        let text = String::from_utf8(write(&usage).unwrap()).unwrap();
        assert!(text.starts_with("project,model,messages,"), "{text}");
        assert!(text.ends_with("\n,m,0,0,0,0,0,0,0,0,0,0,0,0,0,0,,0\n"), "{text}");
    }
}
