//! Marks of accounts.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::account::usable;
use crate::api::document::quota;
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::openapi::{BodyErrors, Conflict, ItemErrors, QUOTA};
use crate::api::quota::quota_at;
use crate::api::state::{ApiState, RequestSnapshot, Shared};
use crate::api::wire;
use crate::model::AccountId;
use crate::quota::lease::LeaseChange;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default()
        .routes(routes!(post_mark))
        .routes(routes!(post_mark_by_name))
}

/// Mark an account
///
/// Marks the account as exhausted, or removes the mark; answers as `GET /v1/quota`. A mark survives
/// restarts. `available` also ends the steps of a recovery; a refusal of the provider stays.
#[utoipa::path(
    post,
    path = "/v1/accounts/{provider}/{account}/mark",
    tag = QUOTA,
    params(
        ("provider" = String, Path, description = "The provider, as in the configuration."),
        ("account" = String, Path, description = "The account's name, as in the configuration.")
    ),
    request_body = wire::Mark,
    responses((status = 200, body = wire::Quota), ItemErrors, BodyErrors)
)]
async fn post_mark(
    State(api): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    mark: Result<Json<wire::Mark>, JsonRejection>,
) -> JsonAnswer<wire::Quota> {
    let Path((provider, name)) = path.map_err(|rejection| Problem::bad("path", rejection.body_text()))?;
    let Json(mark) = mark.map_err(|rejection| Problem::body(&rejection))?;
    let account = account_named(&api, Some(provider), name).await?;
    set(api, account, &mark).await
}

/// Mark an account, by its name
///
/// The same for a name that only one provider has, or for PROVIDER:NAME.
#[utoipa::path(
    post,
    path = "/v1/quota/{account}/mark",
    tag = QUOTA,
    params(("account" = String, Path, description = "The account's name, or PROVIDER:NAME.")),
    request_body = wire::Mark,
    responses(
        (status = 200, body = wire::Quota),
        ItemErrors,
        (status = 409, response = Conflict),
        BodyErrors
    )
)]
async fn post_mark_by_name(
    State(api): Shared,
    path: Result<Path<String>, PathRejection>,
    mark: Result<Json<wire::Mark>, JsonRejection>,
) -> JsonAnswer<wire::Quota> {
    let Path(name) = path.map_err(|rejection| Problem::bad("path", rejection.body_text()))?;
    let Json(mark) = mark.map_err(|rejection| Problem::body(&rejection))?;
    let (provider, name) = match name.split_once(':') {
        Some((provider, name)) => (Some(provider.to_owned()), name.to_owned()),
        None => (None, name),
    };
    let account = account_named(&api, provider, name).await?;
    set(api, account, &mark).await
}

async fn account_named(
    api: &Arc<ApiState>,
    provider: Option<String>,
    name: String,
) -> Result<AccountId, Problem> {
    let api = Arc::clone(api);
    blocking(move || {
        let mut snapshot = RequestSnapshot::of(&api);
        usable(&api, &mut snapshot, provider.as_deref(), Some(&name))
    })
    .await
}

async fn set(api: Arc<ApiState>, account: AccountId, mark: &wire::Mark) -> JsonAnswer<wire::Quota> {
    let now = api.clock.now();
    let cause = quota::cause_of(mark, now).map_err(|why| Problem::bad("body", why))?;
    let is_available = cause.is_none();
    api.writes.mark(account.clone(), cause).await?;
    if is_available {
        end_recovery(&api, account).await?;
    }
    quota_at(api, now).await
}

/// Ends what is noted of an account's recovery: pauses after tries, the try under way, the ramp. What its windows say
/// stays: a refusal is not the operator's to end.
async fn end_recovery(api: &ApiState, account: AccountId) -> Result<(), Problem> {
    let ended = api.writes.lease(move |_, book| {
        let keys = book.probes.keys().filter(|key| key.account == account);
        let change = LeaseChange {
            probes: keys.map(|key| (key.clone(), None)).collect(),
            ..LeaseChange::default()
        };
        Ok((change, ()))
    });
    Ok(ended.await?)
}
