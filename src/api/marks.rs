//! An operator's word on an account, and which accounts are known by name.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::{BadRequest, Conflict, NotFound, QUOTA, Unavailable};
use super::problem::{Problem, blocking};
use super::query::{Asked, Nothing};
use super::routes::{Sources, get_quota, now};
use super::{quota, wire};
use crate::record::{AccountId, Millis};

type Shared = State<Arc<Sources>>;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<Sources>> {
    OpenApiRouter::default()
        .routes(routes!(post_mark))
        .routes(routes!(post_mark_by_name))
}

/// An operator's word on an account
///
/// Marks it as exhausted, or takes that back; answers with what is known then. A mark survives restarts.
#[utoipa::path(
    post,
    path = "/v1/accounts/{provider}/{account}/mark",
    tag = QUOTA,
    params(
        ("provider" = String, Path, description = "The provider, as in the configuration."),
        ("account" = String, Path, description = "The account's name, as in the configuration.")
    ),
    request_body = wire::Mark,
    responses(
        (status = 200, body = wire::Quota),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound),
        (status = 413, response = BadRequest),
        (status = 415, response = BadRequest),
        (status = 422, response = BadRequest),
        (status = 503, response = Unavailable)
    )
)]
async fn post_mark(
    State(sources): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    mark: Result<Json<wire::Mark>, JsonRejection>,
) -> Result<Json<wire::Quota>, Problem> {
    let Path((provider, name)) = path.map_err(|rejection| Problem::bad("path", rejection.body_text()))?;
    let Json(mark) = mark.map_err(|rejection| Problem::body(&rejection))?;
    let account = known(Arc::clone(&sources), Some(provider), name).await?;
    set(sources, account, &mark).await
}

/// An operator's word on an account, by its name
///
/// As the other, for a name that only one provider has, or as PROVIDER:NAME.
#[utoipa::path(
    post,
    path = "/v1/quota/{account}/mark",
    tag = QUOTA,
    params(("account" = String, Path, description = "The account's name, or PROVIDER:NAME.")),
    request_body = wire::Mark,
    responses(
        (status = 200, body = wire::Quota),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
        (status = 413, response = BadRequest),
        (status = 415, response = BadRequest),
        (status = 422, response = BadRequest),
        (status = 503, response = Unavailable)
    )
)]
async fn post_mark_by_name(
    State(sources): Shared,
    path: Result<Path<String>, PathRejection>,
    mark: Result<Json<wire::Mark>, JsonRejection>,
) -> Result<Json<wire::Quota>, Problem> {
    let Path(name) = path.map_err(|rejection| Problem::bad("path", rejection.body_text()))?;
    let Json(mark) = mark.map_err(|rejection| Problem::body(&rejection))?;
    let (provider, name) = match name.split_once(':') {
        Some((provider, name)) => (Some(provider.to_owned()), name.to_owned()),
        None => (None, name),
    };
    let account = known(Arc::clone(&sources), provider, name).await?;
    set(sources, account, &mark).await
}

async fn set(
    sources: Arc<Sources>,
    account: AccountId,
    mark: &wire::Mark,
) -> Result<Json<wire::Quota>, Problem> {
    let cause = quota::cause_of(mark, now()).map_err(|why| Problem::bad("body", why))?;
    sources.writes.mark(account, cause).await?;
    get_quota(State(sources), Asked(Nothing {})).await
}

/// The account of this name, configured or seen.
///
/// # Errors
/// There is none, or without a provider there are several.
pub async fn known(
    sources: Arc<Sources>,
    provider: Option<String>,
    name: String,
) -> Result<AccountId, Problem> {
    let settings = Arc::clone(&sources.settings.borrow());
    let configured: Vec<AccountId> = settings
        .accounts
        .rules()
        .iter()
        .map(|rules| rules.id.clone())
        .collect();
    let mut all = configured.clone();
    let seen = blocking(move || Ok(sources.store.quota(Millis::MAX)?)).await?;
    all.extend(seen.accounts.into_keys());
    all.sort_unstable();
    all.dedup();
    all.retain(|id| {
        *id.name == *name
            && provider
                .as_ref()
                .is_none_or(|provider| *id.provider == **provider)
    });
    match all.as_slice() {
        [account] => Ok(account.clone()),
        [] => {
            let asked = provider.map_or_else(|| name.clone(), |provider| format!("{provider}/{name}"));
            let configured = configured.iter().map(ToString::to_string);
            let configured = configured.collect::<Vec<_>>().join(", ");
            Err(Problem::unknown(
                "account",
                format!("{asked} is neither configured nor was it ever seen; configured: {configured}"),
            ))
        }
        several => {
            let several = several.iter().map(|id| format!("{}:{}", id.provider, id.name));
            let several = several.collect::<Vec<_>>().join(", ");
            Err(
                Problem::conflict(format!("account: {name} is several: {several}; name one of them"))
                    .field("account"),
            )
        }
    }
}
