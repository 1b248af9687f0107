//! Usage over a time range by key, as JSON or CSV.
//!
//! Answered from hourly sums. A range that does not begin and end on a full hour is refused, never
//! approximated.

mod question;

use std::collections::BTreeMap;
use std::ops::Range;
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
use crate::model::{DAY_QUARTERS, RunNumber};
use crate::store::{RunNames, Snapshot};
use question::{Group, Question};

/// Quarters of an hour in an hour.
const HOUR_QUARTERS: u32 = 4;
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
    /// The first quarter.
    time: Option<u32>,
    run: Option<RunNumber>,
    account: Option<u32>,
    model: Option<Arc<str>>,
}

fn answer(snapshot: &Snapshot<'_>, question: &Question) -> Result<wire::Usage, Problem> {
    let series_names = snapshot.series_names()?;
    let step = match question.group {
        Group::Hour => HOUR_QUARTERS,
        Group::Day => DAY_QUARTERS,
        _ => u32::MAX,
    };
    let stretches = stretches(snapshot, question, step)?;
    let mut parts: BTreeMap<GroupPart, Totals> = BTreeMap::new();
    snapshot.for_each_usage(&stretches, None, |at, _, series, totals| {
        let name = series_names.models.get(series.model as usize);
        if (question.model.as_ref()).is_some_and(|wanted| name.is_none_or(|name| **wanted != **name)) {
            return;
        }
        let needs_runs = question.needs_runs();
        let part = GroupPart {
            time: (step != u32::MAX).then(|| stretches[at].start / step * step),
            run: needs_runs.then_some(series.run),
            account: needs_runs.then_some(series.account),
            model: name.filter(|_| question.group == Group::Model).cloned(),
        };
        *parts.entry(part).or_default() += totals;
    })?;
    let names = if question.needs_runs() {
        snapshot.run_names()?
    } else {
        RunNames::default()
    };
    let mut rows: BTreeMap<Option<String>, Totals> = BTreeMap::new();
    for (part, totals) in parts {
        let account = part
            .account
            .and_then(|account| series_names.accounts.get(account as usize));
        if question.wants(part.run, account, &names) && totals != Totals::default() {
            *rows
                .entry(question.group.key(&part, account, &names))
                .or_default() += totals;
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

/// The stretches whose sums are shown apart, within what was recorded.
fn stretches(snapshot: &Snapshot<'_>, question: &Question, step: u32) -> Result<Vec<Range<u32>>, Problem> {
    let Some((first, last)) = snapshot.days_recorded()? else {
        return Ok(Vec::new());
    };
    let quarters = |hour: u32| hour.saturating_mul(HOUR_QUARTERS);
    let recorded = first.saturating_mul(DAY_QUARTERS)..last.saturating_add(1).saturating_mul(DAY_QUARTERS);
    let mut start = quarters(question.hours.start).max(recorded.start);
    let end = quarters(question.hours.end).min(recorded.end);
    let mut stretches = Vec::new();
    while start < end {
        let next = (start / step * step).saturating_add(step).min(end);
        stretches.push(start..next);
        start = next;
    }
    Ok(stretches)
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
