//! Usage over a time range by key, as JSON or CSV.
//!
//! Answered from the sums of quarters of an hour and of UTC days. A range that does not begin and end on a full quarter
//! of an hour is refused, never approximated.

mod cells;
mod csv;
mod group;
mod question;
mod times;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::{self, cost};
use crate::api::http::accept::AnswerFormat;
use crate::api::http::problem::{Problem, blocking};
use crate::api::http::query::StrictQuery;
use crate::api::openapi::{ReadErrors, Refused, USAGE};
use crate::api::state::ApiState;
use crate::api::wire;
use crate::model::Millis;
use crate::prices::{PriceList, Pricer};
use crate::store::Snapshot;
pub use cells::CellSum;
pub use csv::{CSV_COLUMNS, CSV_COST_COLUMNS, csv_cell, csv_values};
pub use group::NO_RUN_KEY;
pub use question::Question as UsageQuestion;
use question::Question;
pub use times::{instant, zone_named};

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_usage))
}

/// The range, the groupings and the filters; a parameter left out filters nothing.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// From this time on: an RFC 3339 time on a full quarter of an hour, or a date, which is a day of the zone.
    pub from: Option<String>,
    /// Before this time, likewise.
    pub to: Option<String>,
    /// Instead of from and to: all-time, today, yesterday, this-week, last-week, the same with month, quarter and year,
    /// the last days with today as in last-7d, the last hours as in last-24h, a day, a month as in 2026-10, or days
    /// from one to another, both included, as in 20261001-20261015 and 2026-10-01..2026-10-15.
    pub period: Option<String>,
    /// The first day of a week: monday (default) or sunday, whose weeks are named by their first day.
    pub week_start: Option<String>,
    /// The time zone of days, weeks, months and hours, by its IANA name. Default: UTC.
    pub zone: Option<String>,
    /// One row for each day, week (ISO), month, quarter, year, hour, run, session, project, model, dialect, provider,
    /// account, price_class, profile, route, instance, or value of a label, as in label:project; several with commas, as
    /// in model,day. Default: day.
    pub group_by: Option<String>,
    /// Only this run; `(none)` for posted records of no run.
    pub run: Option<String>,
    /// Only this session.
    pub session: Option<String>,
    /// Only this project.
    pub project: Option<String>,
    /// Only this model, or the models of a pattern with * and ?.
    pub model: Option<String>,
    /// Only transcripts of this agent: claude, codex, pi, gemini or qwen.
    pub dialect: Option<String>,
    /// Only accounts of this provider.
    pub provider: Option<String>,
    /// Only this account, as PROVIDER/NAME.
    pub account: Option<String>,
    /// Only runs with this label, as KEY=VALUE or KEY:VALUE.
    pub label: Option<String>,
    /// Only posted records with this profile.
    pub profile: Option<String>,
    /// Only posted records with this route.
    pub route: Option<String>,
    /// Only posted records with this instance of a router.
    pub instance: Option<String>,
}

impl UsageQuery {
    /// The names and values of its parameters.
    #[must_use]
    pub fn parameters(&self) -> [(&'static str, Option<&str>); 17] {
        let Self {
            from,
            to,
            period,
            week_start,
            zone,
            group_by,
            run,
            session,
            project,
            model,
            dialect,
            provider,
            account,
            label,
            profile,
            route,
            instance,
        } = self;
        [
            ("from", from),
            ("to", to),
            ("period", period),
            ("week_start", week_start),
            ("zone", zone),
            ("group_by", group_by),
            ("run", run),
            ("session", session),
            ("project", project),
            ("model", model),
            ("dialect", dialect),
            ("provider", provider),
            ("account", account),
            ("label", label),
            ("profile", profile),
            ("route", route),
            ("instance", instance),
        ]
        .map(|(name, value)| (name, value.as_deref()))
    }
}

/// The answer to a query at `now`, as the route gives it.
///
/// # Errors
/// As those of the route.
pub fn usage_in(
    snapshot: &Snapshot<'_>,
    query: UsageQuery,
    prices: &PriceList,
    now: Millis,
) -> Result<wire::Usage, Problem> {
    answer(snapshot, &Question::of(query, now)?, prices)
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
        let prices = Arc::clone(&api.settings.borrow().prices);
        let usage = answer(&api.store.snapshot()?, &question, &prices)?;
        let mut response = match shape {
            AnswerFormat::Json => Json(usage).into_response(),
            AnswerFormat::Csv => csv::response(&usage)?,
        };
        let vary = HeaderValue::from_static("accept");
        response.headers_mut().insert(header::VARY, vary);
        Ok(response)
    })
    .await
}

/// Everything of the present day in a zone, by default UTC.
///
/// # Errors
/// The zone is unknown, or the store does not answer.
pub fn today(
    snapshot: &Snapshot<'_>,
    zone: Option<String>,
    now: Millis,
    prices: &PriceList,
) -> Result<wire::UsageSums, Problem> {
    let query = UsageQuery {
        period: Some("today".to_owned()),
        zone,
        group_by: Some("provider".to_owned()),
        ..UsageQuery::default()
    };
    Ok(answer(snapshot, &Question::of(query, now)?, prices)?.totals)
}

fn answer(snapshot: &Snapshot<'_>, question: &Question, prices: &PriceList) -> Result<wire::Usage, Problem> {
    let mut all = CellSum::default();
    let mut pricer = Pricer::new(prices);
    let rows = cells::rows(snapshot, question, &mut pricer)?;
    let rows = rows.into_iter().map(|(mut parts, sum)| {
        all.add(&sum);
        let mut row = wire::UsageRow {
            sums: sum.document(&pricer),
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
        totals: all.document(&pricer),
        pricing: cost::pricing(&pricer),
    })
}
