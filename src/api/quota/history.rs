//! The history of a window, by stored minute or by step.

use axum::Json;
use axum::extract::State;
use jiff::tz::TimeZone;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::{self, quota};
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::http::query::StrictQuery;
use crate::api::openapi::{QUOTA, ReadErrors};
use crate::api::state::{ApiState, Shared};
use crate::api::usage::instant;
use crate::api::wire;
use crate::config::Period;
use crate::model::{AccountId, MINUTE_MS, Millis};
use crate::quota::window_name;
use crate::store::HISTORY_AGE_MAX_MS;
use crate::store::schema::HistoryRow;

/// Most steps between the two ends of an answer.
const STEPS_MAX: u64 = 2_000;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_history))
}

/// The window whose history is requested, and the part of it.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    /// The provider; default `claude`.
    provider: Option<String>,
    /// The account's name; default `default`.
    account: Option<String>,
    /// The window: `five_hour`, `seven_day` and so on, or an alias of it.
    window: String,
    /// Only points at or after this time: RFC 3339 with an offset, or a UTC date.
    from: Option<String>,
    /// Only points before this time.
    to: Option<String>,
    /// One point for each step of this length that has an observation, in whole minutes, as in `5m` or `1h`. Steps are
    /// multiples of it since 1970 in UTC. There may be 2,000 steps between `from`, by default 15 days ago, and `to`.
    step: Option<String>,
}

/// The requested part of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HistoryPart {
    from: Millis,
    to: Millis,
    /// In milliseconds, whole minutes; `None` for the points as they are stored.
    step: Option<Millis>,
}

impl HistoryPart {
    fn of(query: &HistoryQuery, now: Millis) -> Result<Self, Problem> {
        let at = |field, text: &Option<String>| {
            let text = text.as_deref();
            text.map(|text| instant(field, text, &TimeZone::UTC)).transpose()
        };
        let (from, to) = (at("from", &query.from)?, at("to", &query.to)?);
        let part = Self {
            from: from.unwrap_or(now.saturating_sub(HISTORY_AGE_MAX_MS)),
            to: to.unwrap_or(Millis::MAX),
            step: query.step.as_deref().map(step).transpose()?,
        };
        if part.from >= part.to {
            return Err(Problem::bad("to", "it is not after from"));
        }
        if let Some(step) = part.step {
            let length = to.unwrap_or(now.max(part.from)).abs_diff(part.from);
            let steps = length.div_ceil(step.unsigned_abs());
            if steps > STEPS_MAX {
                let shortest = length.div_ceil(STEPS_MAX).div_ceil(MINUTE_MS.unsigned_abs());
                let detail = format!(
                    "{steps} steps from {} on, at most {STEPS_MAX} are answered; take a step of {shortest}m or more, or a \
                     later from",
                    document::time(part.from)
                );
                return Err(Problem::bad("step", detail));
            }
        }
        Ok(part)
    }

    /// The points of this part, oldest first.
    fn points(self, rows: &[HistoryRow]) -> Vec<wire::HistoryPoint> {
        let is_before = |at: Millis| move |row: &HistoryRow| row.observed_at < at;
        let rows = &rows[rows.partition_point(is_before(self.from))..];
        let rows = &rows[..rows.partition_point(is_before(self.to))];
        let Some(step) = self.step else {
            return rows.iter().map(quota::history_point).collect();
        };
        let is_one_step = |one: &HistoryRow, next: &HistoryRow| {
            one.observed_at.div_euclid(step) == next.observed_at.div_euclid(step)
        };
        rows.chunk_by(is_one_step).filter_map(point).collect()
    }
}

/// The last point of a step, with the largest share in it.
fn point(step: &[HistoryRow]) -> Option<wire::HistoryPoint> {
    let mut points = step.iter().map(quota::history_point);
    let mut last = points.next()?;
    for next in points {
        last = wire::HistoryPoint {
            max: next.max.into_iter().chain(last.max).reduce(f64::max),
            refused: next.refused || last.refused,
            ..next
        };
    }
    Some(last)
}

/// A length of whole minutes, in milliseconds.
fn step(text: &str) -> Result<Millis, Problem> {
    let period = text.parse::<Period>().ok();
    period
        .and_then(|period| Millis::try_from(period.0.as_millis()).ok())
        .filter(|step| *step > 0 && step % MINUTE_MS == 0)
        .ok_or_else(|| {
            let detail = format!("{text:?} is no length of whole minutes, as in 5m or 1h");
            Problem::bad("step", detail)
        })
}

/// History of a window
///
/// Oldest first, of the last 15 days: one point for each minute of the last day with an observation, before that one for
/// each quarter of an hour, a refusal rather than another; with `step`, one for each step that has any. Empty for an unknown
/// window.
#[utoipa::path(
    get,
    path = "/v1/quota/history",
    tag = QUOTA,
    params(HistoryQuery),
    responses((status = 200, body = Vec<wire::HistoryPoint>), ReadErrors)
)]
async fn get_history(
    State(api): Shared,
    StrictQuery(query): StrictQuery<HistoryQuery>,
) -> JsonAnswer<Vec<wire::HistoryPoint>> {
    if query.window.is_empty() {
        return Err(Problem::bad("window", "it is empty"));
    }
    let part = HistoryPart::of(&query, api.clock.now())?;
    let mut account = AccountId::default();
    if let Some(provider) = query.provider {
        account.provider = provider.into();
    }
    if let Some(name) = query.account {
        account.name = name.into();
    }
    blocking(move || {
        let snapshot = api.store.snapshot()?;
        let rows = snapshot.history(&account, window_name::canonical(&query.window))?;
        Ok(Json(part.points(&rows)))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DAY_MS, HOUR_MS, LimitSource, LimitStatus};

    const NOW: Millis = 100 * DAY_MS;

    fn part(from: &str, to: &str, step: &str) -> Result<HistoryPart, Problem> {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let query = HistoryQuery {
            from: given(from),
            to: given(to),
            step: given(step),
            ..HistoryQuery::default()
        };
        HistoryPart::of(&query, NOW)
    }

    #[test]
    fn a_part_is_refused_with_the_step_that_would_do() {
        let all = HistoryPart {
            from: NOW - HISTORY_AGE_MAX_MS,
            to: Millis::MAX,
            step: None,
        };
        assert_eq!(part("", "", "").unwrap(), all);
        let quarter = Some(15 * MINUTE_MS);
        assert_eq!(part("", "", "15m").unwrap(), HistoryPart { step: quarter, ..all });
        let days = HistoryPart {
            from: DAY_MS,
            to: 2 * DAY_MS + 60_500,
            step: Some(HOUR_MS),
        };
        assert_eq!(
            part("1970-01-02", "1970-01-03T02:01:00.500+02:00", "1h").unwrap(),
            days
        );
        for (from, to, step, field, said) in [
            (
                "",
                "",
                "1m",
                "step",
                "21600 steps from 1970-03-27T00:00:00.000Z on, at most 2000",
            ),
            ("", "", "1m", "step", "take a step of 11m or more"),
            ("1970-01-01", "", "15m", "step", "take a step of 72m or more"),
            ("", "", "30s", "step", "whole minutes, as in 5m or 1h"),
            ("", "", "90s", "step", "whole minutes"),
            ("", "", "0m", "step", "whole minutes"),
            ("", "", "-5m", "step", "whole minutes"),
            ("", "", "5", "step", "whole minutes"),
            ("", "", "soon", "step", "whole minutes"),
            ("1970-01-02", "1970-01-02", "", "to", "not after from"),
            ("yesterday", "", "", "from", "neither a date nor"),
            ("", "1970-01-02T00:00:00", "", "to", "neither a date nor"),
        ] {
            let problem = part(from, to, step).unwrap_err();
            assert_eq!(problem.field_name(), Some(field), "{from} {to} {step}");
            assert!(problem.reason(field).contains(said), "{}", problem.reason(field));
        }
        // At the bound.
        assert!(part("", "", "11m").is_ok());
        assert!(part("", "", "10m").is_err());
    }

    #[test]
    fn a_step_has_its_last_point_its_peak_and_its_refusals() {
        let row = |minute: i64, utilization: Option<f64>, is_refusal: bool| HistoryRow {
            observed_at: minute * MINUTE_MS + 7,
            utilization,
            reset_at: None,
            status: if is_refusal {
                LimitStatus::Rejected
            } else {
                LimitStatus::Allowed
            },
            source: LimitSource::Statusline,
        };
        let rows = [
            row(0, Some(0.9), false),
            row(1, None, true),
            row(4, Some(0.1), false),
            row(5, Some(0.2), false),
            row(20, None, true),
        ];
        let part = |from: i64, to: i64, step: i64| HistoryPart {
            from: from * MINUTE_MS,
            to: to * MINUTE_MS,
            step: (step > 0).then_some(step * MINUTE_MS),
        };
        let shown = |part: HistoryPart| {
            let points = part.points(&rows).into_iter();
            let shown = points.map(|point| {
                (
                    point.at[14..16].to_owned(),
                    point.utilization,
                    point.max,
                    point.refused,
                )
            });
            shown.collect::<Vec<_>>()
        };
        let at = |minute: &str, last, max, is_refused| (minute.to_owned(), last, max, is_refused);
        assert_eq!(
            shown(part(0, 60, 5)),
            [
                at("04", Some(0.1), Some(0.9), true),
                at("05", Some(0.2), Some(0.2), false),
                at("20", None, None, true),
            ]
        );
        assert_eq!(shown(part(0, 60, 60)), [at("20", None, Some(0.9), true)]);
        assert_eq!(shown(part(0, 60, 0)).len(), rows.len());
        assert_eq!(
            shown(part(1, 5, 0)),
            [at("01", None, None, true), at("04", Some(0.1), Some(0.1), false)]
        );
        assert_eq!(shown(part(1, 5, 5)), [at("04", Some(0.1), Some(0.1), true)]);
        assert_eq!(shown(part(6, 20, 5)), []);
    }
}
