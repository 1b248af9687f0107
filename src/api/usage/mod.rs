//! Usage over a time range by key, as JSON or CSV.
//!
//! Answered from hourly sums. A range that does not begin and end on a full hour is refused, never
//! approximated.

mod question;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::{self, summary};
use crate::api::http::accept::AnswerFormat;
use crate::api::http::problem::{Problem, blocking};
use crate::api::http::query::StrictQuery;
use crate::api::openapi::{BadRequest, Refused, USAGE, Unavailable};
use crate::api::state::ApiState;
use crate::api::wire;
use crate::dedup::Totals;
use crate::model::RunNumber;
use crate::store::{Granularity, RunNames, Snapshot};
use question::{Group, Question};

/// Most rows of an answer.
const ROWS_MAX: usize = 100_000;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_usage))
}

/// The range, the grouping and the filter; a parameter left out filters nothing.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    /// From this hour on: an RFC 3339 time on a full hour, or a date, which is a UTC day.
    from: Option<String>,
    /// Before this hour, likewise.
    to: Option<String>,
    /// One row for each day, hour, run, model, account, or value of a label, as in label:project. Default:
    /// day.
    group_by: Option<String>,
    /// Only this run.
    run: Option<String>,
    /// Only this model.
    model: Option<String>,
    /// Only this account, as PROVIDER/NAME.
    account: Option<String>,
    /// Only runs with this label, as KEY=VALUE or KEY:VALUE.
    label: Option<String>,
}

/// Usage by time range
///
/// Sums by the time of the usage, exact for the requested hours. With `Accept: text/csv` as CSV, one line for
/// each row. A `null` key stands for forgotten runs, or for runs without the label; in CSV it is empty.
#[utoipa::path(
    get,
    path = "/v1/usage",
    tag = USAGE,
    params(UsageQuery),
    responses(
        (status = 200, description = "The sums.", content((wire::Usage = "application/json"), (String = "text/csv"))),
        (status = 400, response = BadRequest),
        (status = 406, response = Refused),
        (status = 503, response = Unavailable)
    )
)]
async fn get_usage(
    State(api): State<Arc<ApiState>>,
    headers: HeaderMap,
    StrictQuery(query): StrictQuery<UsageQuery>,
) -> Result<Response, Problem> {
    let shape = AnswerFormat::of(&headers)?;
    let question = Question::of(query)?;
    blocking(move || {
        let usage = answer(&api.store.snapshot()?, &question)?;
        let mut response = match shape {
            AnswerFormat::Json => Json(usage).into_response(),
            AnswerFormat::Csv => csv(&usage)?,
        };
        let vary = HeaderValue::from_static("accept");
        response.headers_mut().insert(header::VARY, vary);
        Ok(response)
    })
    .await
}

/// The parts of a sum's key that the question groups by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GroupPart {
    hour: Option<u32>,
    run: Option<RunNumber>,
    model: Option<Arc<str>>,
}

fn answer(snapshot: &Snapshot<'_>, question: &Question) -> Result<wire::Usage, Problem> {
    let granularity = Granularity {
        hours: question.group == Group::Hour,
        runs: question.needs_runs(),
    };
    let mut parts: BTreeMap<GroupPart, Totals> = BTreeMap::new();
    snapshot.for_each_usage(question.hours.clone(), granularity, |cell, totals| {
        if question
            .model
            .as_ref()
            .is_some_and(|wanted| **wanted != *cell.model)
        {
            return;
        }
        let part = GroupPart {
            hour: question.group.time_of(cell.hour),
            run: cell.run.filter(|_| granularity.runs),
            model: (question.group == Group::Model).then_some(cell.model),
        };
        *parts.entry(part).or_default() += totals;
    })?;
    let names = if granularity.runs {
        snapshot.run_names()?
    } else {
        RunNames::default()
    };
    let mut rows: BTreeMap<Option<String>, Totals> = BTreeMap::new();
    for (part, totals) in parts {
        if question.wants(part.run, &names) && totals != Totals::default() {
            *rows.entry(question.group.key(&part, &names)).or_default() += totals;
        }
    }
    if rows.len() > ROWS_MAX {
        let detail = format!(
            "{} rows, at most {ROWS_MAX} are returned; request a shorter range",
            rows.len()
        );
        return Err(Problem::bad("from", detail));
    }
    let mut all = Totals::default();
    let rows: Vec<wire::UsageRow> = rows
        .into_iter()
        .map(|(key, totals)| {
            all += totals;
            wire::UsageRow {
                key,
                sums: sums(&totals),
            }
        })
        .collect();
    Ok(wire::Usage {
        from: question.from.map(document::time),
        to: question.to.map(document::time),
        group_by: question.group.to_string(),
        rows,
        totals: sums(&all),
    })
}

fn sums(totals: &Totals) -> wire::UsageSums {
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    wire::UsageSums {
        messages: count(totals.messages),
        advisor_calls: count(totals.advisor_calls),
        totals: summary::totals(totals),
    }
}

/// A header line and one line for each row, without a line of totals.
fn csv(usage: &wire::Usage) -> Result<Response, Problem> {
    let written = write_csv(usage).map_err(|error| {
        tracing::error!(%error, "the CSV was not written");
        Problem::new(
            axum::http::StatusCode::INTERNAL_SERVER_ERROR,
            "internal error",
            "see the collector's log",
        )
    })?;
    let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    Ok(([(header::CONTENT_TYPE, kind)], written).into_response())
}

fn write_csv(usage: &wire::Usage) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record([
        usage.group_by.as_str(),
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
    ])?;
    for wire::UsageRow { key, sums } in &usage.rows {
        let wire::UsageSums {
            messages,
            advisor_calls,
            totals,
        } = sums;
        let numbers = [
            *messages,
            *advisor_calls,
            totals.input_tokens,
            totals.output_tokens,
            totals.cache_creation_input_tokens,
            totals.cache_read_input_tokens,
            totals.cache_creation_5m,
            totals.cache_creation_1h,
            totals.web_search_requests,
            totals.thinking_tokens,
            totals.total_tokens,
        ];
        writer.write_field(key.as_deref().unwrap_or(""))?;
        writer.write_record(numbers.map(|number| number.to_string()))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_needs_quotes_has_them() {
        let row = |key: Option<&str>, messages| wire::UsageRow {
            key: key.map(str::to_owned),
            sums: wire::UsageSums {
                messages,
                ..wire::UsageSums::default()
            },
        };
        let usage = wire::Usage {
            group_by: "label:project".to_owned(),
            rows: vec![row(None, 1), row(Some("a, \"b\""), 2)],
            ..wire::Usage::default()
        };
        let text = String::from_utf8(write_csv(&usage).unwrap()).unwrap();
        assert_eq!(
            text,
            "label:project,messages,advisor_calls,input_tokens,output_tokens,cache_creation_input_tokens,\
             cache_read_input_tokens,cache_creation_5m,cache_creation_1h,web_search_requests,\
             thinking_tokens,total_tokens\n\
             ,1,0,0,0,0,0,0,0,0,0,0\n\"a, \"\"b\"\"\",2,0,0,0,0,0,0,0,0,0,0\n"
        );
    }
}
