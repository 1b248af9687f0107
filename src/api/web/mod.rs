//! The contract of an existing web client: routes, documents and sockets.
//!
//! Times are milliseconds since 1970, shares are 0 to 1, and windows and fields have the client's own names.
//! All answers come from the same state as the routes below `/v1`.

pub mod daily;
mod documents;
mod run_socket;
mod socket;
mod usage_socket;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::http::query::{self, Lenient};
use crate::api::http::run_path::{RunPath, run_id};
use crate::api::openapi::{ItemErrors, ReadErrors, WEB};
use crate::api::quota::account;
use crate::api::state::{ApiState, RequestSnapshot, Shared};
use crate::api::wire;
use crate::model::AccountId;

/// Rows of a page whose `limit` is no number.
const LIMIT_DEFAULT: usize = 50;
/// Thresholds of the contract, in percent; other configured thresholds are not sent to this client.
const THRESHOLDS: [u8; 2] = [75, 90];
/// Most rows of a page.
const LIMIT_MAX: usize = 1000;

/// The routes of this folder.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default()
        .routes(routes!(get_usage))
        .routes(routes!(get_usage_of_run))
        .routes(routes!(get_runs))
        .merge(usage_socket::routes())
        .merge(run_socket::routes())
}

/// The account; default: the first account of the configuration.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct AccountQuery {
    /// The provider of the account.
    provider: Option<String>,
    /// The account's name.
    account: Option<String>,
}

impl AccountQuery {
    fn account(self, api: &ApiState, snapshot: &mut RequestSnapshot<'_>) -> Result<AccountId, Problem> {
        let first = api
            .settings
            .borrow()
            .accounts
            .rules()
            .first()
            .map(|rules| rules.id.clone());
        let first = first.unwrap_or_default();
        if self.provider.is_none() && self.account.is_none() {
            return Ok(first);
        }
        let name = self.account.unwrap_or_else(|| first.name.to_string());
        account::find_account(api, snapshot, self.provider.as_deref(), &name)
    }
}

/// Windows of an account
///
/// Windows that have ended or have no known share are left out.
#[utoipa::path(
    get,
    path = "/api/usage",
    operation_id = "web_usage",
    tag = WEB,
    params(AccountQuery),
    responses((status = 200, body = wire::WebUsage), ItemErrors)
)]
async fn get_usage(State(api): Shared, Lenient(query): Lenient<AccountQuery>) -> JsonAnswer<wire::WebUsage> {
    blocking(move || {
        let mut snapshot = RequestSnapshot::of(&api);
        let account = query.account(&api, &mut snapshot)?;
        Ok(Json(documents::usage(
            snapshot.get()?,
            &account,
            &api.polls,
            api.clock.now(),
        )?))
    })
    .await
}

/// Usage of a run by model
///
/// Empty for an unknown run.
#[utoipa::path(
    get,
    path = "/api/usage/runs/{id}",
    operation_id = "web_usage_of_run",
    tag = WEB,
    params(("id" = String, Path, description = "The run.")),
    responses((status = 200, body = Vec<wire::WebModel>), ReadErrors)
)]
async fn get_usage_of_run(State(api): Shared, id: RunPath) -> JsonAnswer<Vec<wire::WebModel>> {
    let run = run_id(id)?;
    blocking(move || {
        let view = api.store.snapshot()?.run(&run)?.unwrap_or_default();
        Ok(Json(documents::models(&view)))
    })
    .await
}

/// The page of the list.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// Largest number of rows, up to 1000; 50 if it is not a whole number. Left out, all runs are returned as
    /// an array.
    #[param(value_type = Option<u64>, minimum = 1, maximum = 1000)]
    limit: Option<String>,
    /// Number of rows skipped at the start; 0 if it is not a whole number.
    #[param(value_type = Option<u64>, minimum = 0)]
    offset: Option<String>,
}

impl PageQuery {
    /// `limit`, if given, and `offset`.
    fn page(&self) -> Result<(Option<usize>, usize), Problem> {
        let number = |text: &Option<String>| text.as_deref().and_then(query::number);
        let limit = if self.limit.is_some() {
            let limit = number(&self.limit).map_or(Ok(LIMIT_DEFAULT), usize::try_from);
            let limit = limit.ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
            Some(limit.ok_or_else(|| Problem::bad("limit", format!("it is none of 1 to {LIMIT_MAX}")))?)
        } else {
            None
        };
        let offset = usize::try_from(number(&self.offset).unwrap_or(0));
        let offset = offset.map_err(|_| Problem::bad("offset", "it is less than 0"))?;
        Ok((limit, offset))
    }
}

/// Runs, newest first
///
/// A page with `limit`, else an array of all runs. A run's id is a number if it looks like one; its project
/// is its label `project`. Runs first seen at the same moment are ordered by first activity, then by id in
/// natural order.
#[utoipa::path(
    get,
    path = "/api/runs",
    operation_id = "web_runs",
    tag = WEB,
    params(PageQuery),
    responses((status = 200, body = wire::WebRunsAnswer), ReadErrors)
)]
async fn get_runs(State(api): Shared, Lenient(query): Lenient<PageQuery>) -> JsonAnswer<wire::WebRunsAnswer> {
    let (limit, offset) = query.page()?;
    blocking(move || {
        let statuses = api.statuses.runs();
        let snapshot = api.store.snapshot()?;
        let page = documents::runs(&snapshot, &statuses, limit.unwrap_or(usize::MAX), offset)?;
        Ok(Json(match limit {
            Some(_) => wire::WebRunsAnswer::Page(page),
            None => wire::WebRunsAnswer::All(page.items),
        }))
    })
    .await
}
