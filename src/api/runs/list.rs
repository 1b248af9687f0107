//! The list of runs: filter, order, page.

use std::cmp::Reverse;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use serde::Deserialize;
use strum::{EnumString, VariantNames};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{described, state};
use crate::api::document::cost::CostBook;
use crate::api::document::summary;
use crate::api::http::problem::{Problem, blocking};
use crate::api::http::query::StrictQuery;
use crate::api::openapi::{RUNS, ReadErrors};
use crate::api::state::{ApiState, Shared};
use crate::api::wire;
use crate::model::{RunId, split_label};
use crate::store::{RunInfo, RunSums};
use crate::tailer::status::RunStatus;

/// Header with the number of runs that the filter lets through.
const TOTAL_COUNT: HeaderName = HeaderName::from_static("x-total-count");
const STATES: [&str; 6] = ["waiting", "live", "idle", "stopped", "gone", "failing"];

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(get_runs))
}

/// The filter, the order and the page of a list of runs; a parameter left out filters nothing.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RunsQuery {
    /// Only runs in this state: waiting, live, idle, stopped, gone or failing.
    state: Option<String>,
    /// Only runs with this label, as KEY=VALUE or KEY:VALUE.
    label: Option<String>,
    /// The order, equal ones by id: `id` (the default), `state`, `account`, `started` (the last started or first seen
    /// one first), `active` (the one with the newest line first), `tokens` (most first) or `lag` (most bytes waiting
    /// first).
    sort: Option<String>,
    /// Largest number of runs returned.
    #[param(minimum = 0)]
    limit: Option<usize>,
    /// Number of runs skipped at the start.
    #[param(minimum = 0)]
    offset: Option<usize>,
}

/// The order of a list of runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "snake_case")]
enum RunSort {
    #[default]
    Id,
    State,
    Account,
    Started,
    Active,
    Tokens,
    Lag,
}

/// A run of the list, before its document is made.
struct ListedRun<'a> {
    id: &'a RunId,
    info: &'a RunInfo,
    sums: &'a RunSums,
    status: Option<&'a RunStatus>,
}

impl ListedRun<'_> {
    fn state(&self) -> &'static str {
        state(self.info, self.status)
    }
}

impl RunSort {
    fn of(name: Option<&str>) -> Result<Self, Problem> {
        name.map_or(Ok(Self::default()), |name| {
            name.parse().map_err(|_| {
                let known = Self::VARIANTS.join(", ");
                Problem::bad("sort", format!("{name:?} is none of {known}"))
            })
        })
    }

    /// Sorts runs that are in the order of their ids.
    fn sort(self, runs: &mut [ListedRun<'_>]) {
        match self {
            Self::Id => {}
            Self::State => runs.sort_by_key(ListedRun::state),
            Self::Account => runs.sort_by(|one, other| one.info.account.cmp(&other.info.account)),
            Self::Started => {
                runs.sort_by_key(|run| Reverse(run.info.registered_at.unwrap_or(run.info.first_seen)));
            }
            Self::Active => runs.sort_by_key(|run| Reverse(run.sums.latest)),
            Self::Tokens => {
                runs.sort_by_cached_key(|run| Reverse(summary::totals(&run.sums.totals).total_tokens));
            }
            Self::Lag => runs.sort_by_key(|run| Reverse(run.status.map_or(0, |status| status.lag))),
        }
    }
}

/// All runs
///
/// All runs with their state, labels and sums, by default ordered by id. `X-Total-Count` is their number before `limit` and
/// `offset`.
#[utoipa::path(
    get,
    path = "/v1/runs",
    tag = RUNS,
    params(RunsQuery),
    responses(
        (
            status = 200,
            description = "The runs.",
            body = Vec<wire::Run>,
            headers(("X-Total-Count" = u64, description = "Number of runs that the filter lets through."))
        ),
        ReadErrors
    )
)]
async fn get_runs(
    State(api): Shared,
    StrictQuery(query): StrictQuery<RunsQuery>,
) -> Result<([(HeaderName, String); 1], Json<Vec<wire::Run>>), Problem> {
    if let Some(state) = query
        .state
        .as_ref()
        .filter(|state| !STATES.contains(&state.as_str()))
    {
        let detail = format!("{state:?} is none of {}", STATES.join(", "));
        return Err(Problem::bad("state", detail));
    }
    let label = match &query.label {
        None => None,
        Some(label) => Some(split_label(label).ok_or_else(|| {
            Problem::bad(
                "label",
                format!("{label:?} is not KEY=VALUE, as in project=alpha"),
            )
        })?),
    };
    let label = label.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sort = RunSort::of(query.sort.as_deref())?;
    blocking(move || {
        let snapshot = api.store.snapshot()?;
        let prices = Arc::clone(&api.settings.borrow().prices);
        let sums = snapshot.sums_by_run()?;
        let infos = snapshot.run_infos()?;
        let statuses = api.statuses.runs();
        let has_label = |info: &RunInfo| {
            label.as_ref().is_none_or(|(name, value)| {
                info.labels
                    .get(name.as_str())
                    .is_some_and(|have| **have == **value)
            })
        };
        let runs = infos.iter().filter_map(|(id, info)| {
            let run = ListedRun {
                id,
                info,
                sums: sums.get(id.as_str())?,
                status: statuses.get(id),
            };
            let is_wanted = query.state.as_ref().is_none_or(|state| *state == run.state());
            (is_wanted && has_label(info)).then_some(run)
        });
        let mut runs: Vec<ListedRun<'_>> = runs.collect();
        sort.sort(&mut runs);
        let total = runs.len().to_string();
        let page = runs
            .iter()
            .skip(query.offset.unwrap_or(0))
            .take(query.limit.unwrap_or(usize::MAX));
        let costs = CostBook::runs(&snapshot, &prices, page.clone().map(|run| run.sums.number))?;
        let page = page.map(|run| {
            let row = summary::run(run.id.as_str(), run.sums, &costs);
            described(row, run.info, run.status)
        });
        Ok(([(TOTAL_COUNT, total)], Json(page.collect())))
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dedup::Totals;
    use crate::model::AccountId;

    /// A run: id, account, started at, active at, tokens, lag, and whether it is stopped.
    type Listed = (&'static str, &'static str, i64, Option<i64>, i128, u64, bool);

    #[test]
    fn each_order_begins_with_what_matters_and_equal_ones_are_by_id() {
        let given: [Listed; 4] = [
            ("a", "two", 1, Some(5), 10, 0, true),
            ("b", "one", 3, None, 30, 9, false),
            ("c", "one", 2, Some(7), 30, 0, true),
            ("d", "two", 3, Some(5), 0, 20, false),
        ];
        let made = given.map(|(id, account, started, latest, input, lag, is_stopped)| {
            let info = RunInfo {
                account: AccountId {
                    name: account.into(),
                    ..AccountId::default()
                },
                first_seen: 0,
                registered_at: Some(started),
                stopped: is_stopped.then_some((9, crate::model::StopReason::Asked)),
                ..RunInfo::default()
            };
            let sums = RunSums {
                totals: Totals {
                    input,
                    ..Totals::default()
                },
                latest,
                ..RunSums::default()
            };
            let mut status = RunStatus::default();
            status.lag = lag;
            (RunId::new(id).unwrap(), info, sums, status)
        });
        let sorted = |name: &str| {
            let mut runs: Vec<_> = made
                .iter()
                .map(|(id, info, sums, status)| ListedRun {
                    id,
                    info,
                    sums,
                    status: Some(status),
                })
                .collect();
            RunSort::of(Some(name)).unwrap().sort(&mut runs);
            runs.iter().map(|run| run.id.as_str()).collect::<String>()
        };
        for (name, order) in [
            ("id", "abcd"),
            ("state", "bdac"),
            ("account", "bcad"),
            ("started", "bdca"),
            ("active", "cadb"),
            ("tokens", "bcad"),
            ("lag", "dbac"),
        ] {
            assert_eq!(sorted(name), order, "{name}");
        }
        let problem = RunSort::of(Some("size")).unwrap_err();
        assert_eq!(problem.field_name(), Some("sort"));
        assert_eq!(
            problem.reason("sort"),
            "\"size\" is none of id, state, account, started, active, tokens, lag"
        );
        assert_eq!(RunSort::of(None).unwrap(), RunSort::Id);
    }
}
