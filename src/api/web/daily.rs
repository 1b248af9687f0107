//! Daily usage for an existing web client: one row per day, newest first, including days without usage.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::summary;
use crate::api::http::problem::{JsonAnswer, blocking};
use crate::api::http::query::{self, Lenient};
use crate::api::openapi::{USAGE, Unavailable};
use crate::api::state::ApiState;
use crate::api::wire;
use crate::dedup::Totals;
use crate::model::{DAY_MS, DAY_QUARTERS, Millis, RunNumber};
use crate::store::schema::NO_RUN;
use crate::store::{Snapshot, StoreError};

/// Default number of days.
const DAYS_DEFAULT: i64 = 14;
/// Most days of an answer.
const DAYS_MAX: i64 = 90;
/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_daily))
}

/// The number of days.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct DailyQuery {
    /// 14 if left out or no whole number; less than 1 counts as 1, more than 90 as 90.
    #[param(value_type = Option<i64>)]
    days: Option<String>,
}

/// Usage of the last days
///
/// By the UTC day of the usage, newest first. Days without usage since the first that had some are zero.
#[utoipa::path(
    get,
    path = "/api/usage/daily",
    tag = USAGE,
    params(DailyQuery),
    responses((status = 200, body = Vec<wire::DailyUsage>), (status = 503, response = Unavailable))
)]
async fn get_daily(
    State(api): State<Arc<ApiState>>,
    Lenient(query): Lenient<DailyQuery>,
) -> JsonAnswer<Vec<wire::DailyUsage>> {
    let days = query.days.as_deref().and_then(query::number);
    let days = days.unwrap_or(DAYS_DEFAULT).clamp(1, DAYS_MAX);
    blocking(move || Ok(Json(daily(&api.store.snapshot()?, days, api.clock.now())?))).await
}

fn daily(snapshot: &Snapshot<'_>, days: i64, now: Millis) -> Result<Vec<wire::DailyUsage>, StoreError> {
    let Some((first, _)) = snapshot.days_recorded()? else {
        return Ok(Vec::new());
    };
    let day = |day: i64| u32::try_from(day.max(0)).unwrap_or(u32::MAX);
    let today = now.div_euclid(DAY_MS);
    let first = day(today.saturating_sub(days - 1)).max(first);
    let after = day(today.saturating_add(1));
    let mut sums: BTreeMap<u32, (Totals, BTreeSet<RunNumber>)> = BTreeMap::new();
    let quarter = |day: u32| day.saturating_mul(DAY_QUARTERS);
    let days: Vec<Range<u32>> = (first..after).map(|day| quarter(day)..quarter(day + 1)).collect();
    snapshot.for_each_usage(&days, None, |place, totals| {
        let day = sums.entry(first + u32::try_from(place.stretch).unwrap_or(u32::MAX));
        let (sum, runs) = day.or_default();
        *sum += totals;
        if place.series.run != NO_RUN {
            runs.insert(place.series.run);
        }
    })?;
    Ok((first..after)
        .rev()
        .map(|day| {
            let (sum, runs) = sums.remove(&day).unwrap_or_default();
            let totals = summary::totals(&sum);
            wire::DailyUsage {
                date: summary::date(day),
                tokens_total: totals.total_tokens,
                tokens_input: totals.input_tokens,
                tokens_output: totals.output_tokens,
                tokens_cache_read: totals.cache_read_input_tokens,
                tokens_cache_create: totals.cache_creation_input_tokens,
                run_count: runs.len() as u64,
            }
        })
        .collect())
}
