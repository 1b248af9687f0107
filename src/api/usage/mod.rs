//! Usage over a time range by key, as JSON or CSV.
//!
//! Answered from the sums of quarters of an hour and of UTC days. A range that does not begin and end on a full quarter
//! of an hour is refused, never approximated.

mod group;
mod question;
mod times;

use std::collections::{BTreeMap, HashMap};
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
use crate::api::openapi::{ReadErrors, Refused, USAGE};
use crate::api::state::ApiState;
use crate::api::wire;
use crate::dedup::Totals;
use crate::model::{DAY_QUARTERS, SeriesNumber};
use crate::store::schema::SeriesRow;
use crate::store::{RunNames, Snapshot};
use group::RowOrigin;
use question::Question;
use times::slots;

/// Most rows of an answer.
const ROWS_MAX: usize = 100_000;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_usage))
}

/// The range, the groupings and the filters; a parameter left out filters nothing.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct UsageQuery {
    /// From this time on: an RFC 3339 time on a full quarter of an hour, or a date, which is a day of the zone.
    from: Option<String>,
    /// Before this time, likewise.
    to: Option<String>,
    /// Instead of from and to: today, yesterday, week (since Monday), month, or the last days with today, as 7d.
    period: Option<String>,
    /// The time zone of days, weeks, months and hours, by its IANA name. Default: UTC.
    zone: Option<String>,
    /// One row for each day, week (ISO), month, hour, run, session, project, model, dialect, provider, account,
    /// price_class, profile, route, instance, or value of a label, as in label:project; several with commas, as in model,day. Default: day.
    group_by: Option<String>,
    /// Only this run; `(none)` for posted records of no run.
    run: Option<String>,
    /// Only this session.
    session: Option<String>,
    /// Only this project.
    project: Option<String>,
    /// Only this model.
    model: Option<String>,
    /// Only transcripts of this agent: claude, codex, pi, gemini or qwen.
    dialect: Option<String>,
    /// Only accounts of this provider.
    provider: Option<String>,
    /// Only this account, as PROVIDER/NAME.
    account: Option<String>,
    /// Only runs with this label, as KEY=VALUE or KEY:VALUE.
    label: Option<String>,
    /// Only posted records with this profile.
    profile: Option<String>,
    /// Only posted records with this route.
    route: Option<String>,
    /// Only posted records with this instance of a router.
    instance: Option<String>,
}

/// Usage by time range
///
/// Sums by the time of the usage, exact for the requested quarters of an hour. With one grouping a row has `key`, with
/// several it has `keys`, by the names of the groupings. With `Accept: text/csv` as CSV, one line for each row and one
/// column for each grouping. A `null` key stands for forgotten runs, for sessions without a project, for runs without
/// the label, for records without a session and a dialect, or for calls without that name of a route; in CSV it is
/// empty. The run `(none)` has the posted records of no run.
#[utoipa::path(
    get,
    path = "/v1/usage",
    tag = USAGE,
    params(UsageQuery),
    responses(
        (status = 200, description = "The sums.", content((wire::Usage = "application/json"), (String = "text/csv"))),
        ReadErrors,
        (status = 406, response = Refused)
    )
)]
async fn get_usage(
    State(api): State<Arc<ApiState>>,
    headers: HeaderMap,
    StrictQuery(query): StrictQuery<UsageQuery>,
) -> Result<Response, Problem> {
    let shape = AnswerFormat::of(&headers)?;
    let question = Question::of(query, api.clock.now())?;
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

/// A series in the answer.
#[derive(Clone, Copy, Default)]
enum SeenSeries {
    #[default]
    NotYet,
    /// It does not pass the filter.
    LeftOut,
    /// Of this part.
    Of(usize),
}

/// The sums of one answer, by slot and by the distinguished parts of series.
#[derive(Default)]
struct Cells {
    parts: Vec<SeriesRow>,
    part_numbers: HashMap<SeriesRow, usize>,
    /// By the number of the series.
    of_series: Vec<SeenSeries>,
    sums: HashMap<(usize, usize), Totals>,
}

impl Cells {
    /// The part that a series belongs to.
    fn part(&mut self, number: SeriesNumber, part: impl FnOnce() -> Option<SeriesRow>) -> Option<usize> {
        let at = number as usize;
        match self.of_series.get(at) {
            Some(SeenSeries::Of(part)) => return Some(*part),
            Some(SeenSeries::LeftOut) => return None,
            Some(SeenSeries::NotYet) | None => {}
        }
        let part = part().map(|part| {
            *self.part_numbers.entry(part).or_insert_with(|| {
                self.parts.push(part);
                self.parts.len() - 1
            })
        });
        if self.of_series.len() <= at {
            self.of_series.resize(at + 1, SeenSeries::NotYet);
        }
        self.of_series[at] = part.map_or(SeenSeries::LeftOut, SeenSeries::Of);
        part
    }
}

/// The rows of an answer, by the parts of their keys.
type UsageRows = BTreeMap<Vec<Option<String>>, Totals>;

fn rows(snapshot: &Snapshot<'_>, question: &Question) -> Result<UsageRows, Problem> {
    let names = snapshot.series_names()?;
    let recorded = snapshot.days_recorded()?;
    let (Some((first, last)), Some(filter)) = (recorded, question.filter(snapshot, &names)?) else {
        return Ok(UsageRows::new());
    };
    let start = first.saturating_mul(DAY_QUARTERS).max(question.quarters.start);
    let end = (last.saturating_add(1)).saturating_mul(DAY_QUARTERS);
    let slots = slots(
        start..end.min(question.quarters.end),
        &question.zone,
        question.unit(),
    )?;
    let stretches: Vec<_> = slots.iter().map(|slot| slot.quarters.clone()).collect();
    let apart = question.parts();
    let mut cells = Cells::default();
    snapshot.for_each_usage(&stretches, filter.run, |slot, number, series, totals| {
        let part = cells.part(number, || filter.wants(series).then(|| apart.part(series)));
        if let Some(part) = part {
            *cells.sums.entry((slot, part)).or_default() += totals;
        }
    })?;
    let runs = if apart.runs {
        snapshot.run_names()?
    } else {
        RunNames::default()
    };
    let places = if apart.places {
        snapshot.places(cells.parts.iter().map(|part| part.place))?
    } else {
        Vec::new()
    };
    let mut rows = UsageRows::new();
    for ((slot, part), totals) in cells.sums {
        let (series, place) = (&cells.parts[part], places.get(part));
        if totals.is_zero() || !question.wants_place(place) || !question.wants_run(series.run, &runs) {
            continue;
        }
        let of = RowOrigin {
            slot: &slots[slot],
            series,
            place,
            route: names.route(series.route),
            model: names.models.get(series.model as usize).map(|name| &**name),
            account: names.accounts.get(series.account as usize),
            runs: &runs,
        };
        let key = question.groups.iter().map(|group| group.key(&of)).collect();
        *rows.entry(key).or_default() += totals;
        if rows.len() > ROWS_MAX {
            let detail = format!("more than {ROWS_MAX} rows; request a shorter range or fewer groupings");
            return Err(Problem::bad("from", detail));
        }
    }
    rows.retain(|_, totals| !totals.is_zero());
    Ok(rows)
}

fn answer(snapshot: &Snapshot<'_>, question: &Question) -> Result<wire::Usage, Problem> {
    let mut all = Totals::default();
    let rows = rows(snapshot, question)?.into_iter().map(|(mut parts, totals)| {
        all += totals;
        let mut row = wire::UsageRow {
            sums: sums(&totals),
            ..wire::UsageRow::default()
        };
        if parts.len() == 1 {
            row.key = parts.pop();
        } else {
            let names = question.groups.iter().map(ToString::to_string);
            row.keys = Some(names.zip(parts).collect());
        }
        row
    });
    let rows = rows.collect();
    let groups: Vec<String> = question.groups.iter().map(ToString::to_string).collect();
    Ok(wire::Usage {
        from: question.from.map(document::time),
        to: question.to.map(document::time),
        zone: (question.zone.iana_name())
            .filter(|_| question.is_zone_named)
            .map(str::to_owned),
        group_by: groups.join(","),
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
        fallbacks: count(totals.fallbacks),
        failed_attempts: count(totals.failed_attempts),
        estimated_tokens: summary::tokens(totals.estimated),
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
    let groups: Vec<&str> = usage.group_by.split(',').collect();
    let columns = [
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
    ];
    writer.write_record(groups.iter().copied().chain(columns))?;
    for wire::UsageRow { key, keys, sums } in &usage.rows {
        let wire::UsageSums {
            messages,
            advisor_calls,
            totals,
            fallbacks,
            failed_attempts,
            estimated_tokens,
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
            *fallbacks,
            *failed_attempts,
            *estimated_tokens,
        ];
        for group in &groups {
            let of_several = keys.as_ref().and_then(|keys| keys.get(*group));
            let part = of_several.or(key.as_ref()).and_then(Option::as_deref);
            writer.write_field(part.unwrap_or(""))?;
        }
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
            key: Some(key.map(str::to_owned)),
            keys: None,
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
             thinking_tokens,total_tokens,fallbacks,failed_attempts,estimated_tokens\n\
             ,1,0,0,0,0,0,0,0,0,0,0,0,0,0\n\"a, \"\"b\"\"\",2,0,0,0,0,0,0,0,0,0,0,0,0,0\n"
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
        let text = String::from_utf8(write_csv(&usage).unwrap()).unwrap();
        assert!(text.starts_with("project,model,messages,"), "{text}");
        assert!(text.ends_with("\n,m,0,0,0,0,0,0,0,0,0,0,0,0,0,0\n"), "{text}");
    }
}
