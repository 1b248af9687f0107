//! Marking an account, and which account is meant by a name.

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
use crate::config::{WhichAccount, check_account_name};
use crate::record::{ACCOUNT_DEFAULT, AccountId, Millis, PROVIDER_DEFAULT};

type Shared = State<Arc<Sources>>;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<Sources>> {
    OpenApiRouter::default()
        .routes(routes!(post_mark))
        .routes(routes!(post_mark_by_name))
}

/// Mark an account
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
    let account = usable(Arc::clone(&sources), Some(provider), Some(name)).await?;
    set(sources, account, &mark).await
}

/// Mark an account, by its name
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
    let account = usable(Arc::clone(&sources), provider, Some(name)).await?;
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

/// The account of this name that something is to be said of: a configured one, or any where all are taken.
///
/// # Errors
/// There is none, or without a provider there are several.
pub async fn usable(
    sources: Arc<Sources>,
    provider: Option<String>,
    name: Option<String>,
) -> Result<AccountId, Problem> {
    let settings = Arc::clone(&sources.settings.borrow());
    let accounts = &settings.accounts;
    match accounts.named(provider.as_deref(), name.as_deref()) {
        Ok(account) => return Ok(account.clone()),
        // Where all are taken, one that nobody names is the default account, configured or not.
        Err(_) if accounts.is_open() && name.is_none() => {}
        Err(WhichAccount::Several(several)) => return Err(ambiguous(&several)),
        Err(WhichAccount::Unknown(_)) if accounts.is_open() => {}
        Err(WhichAccount::Unknown(unknown)) => return Err(Problem::unknown("account", unknown)),
    }
    let name = name.unwrap_or_else(|| ACCOUNT_DEFAULT.to_owned());
    match seen(sources, provider.as_deref(), &name).await?.as_slice() {
        [account] => Ok(account.clone()),
        [] => {
            let provider = provider.unwrap_or_else(|| PROVIDER_DEFAULT.to_owned());
            for name in [&provider, &name] {
                check_account_name(name).map_err(|why| Problem::bad("account", why))?;
            }
            Ok(AccountId {
                provider: provider.into(),
                name: name.into(),
            })
        }
        several => Err(ambiguous(several)),
    }
}

/// The account of this name that something is known of: configured or seen.
///
/// # Errors
/// There is none, or without a provider there are several.
pub async fn known(
    sources: Arc<Sources>,
    provider: Option<String>,
    name: String,
) -> Result<AccountId, Problem> {
    let settings = Arc::clone(&sources.settings.borrow());
    let unknown = match settings.accounts.named(provider.as_deref(), Some(&name)) {
        Ok(account) => return Ok(account.clone()),
        Err(WhichAccount::Several(several)) => return Err(ambiguous(&several)),
        Err(WhichAccount::Unknown(unknown)) => unknown,
    };
    match seen(sources, provider.as_deref(), &name).await?.as_slice() {
        [account] => Ok(account.clone()),
        [] => Err(Problem::unknown("account", unknown)),
        several => Err(ambiguous(several)),
    }
}

/// Accounts of this name that the store has.
async fn seen(sources: Arc<Sources>, provider: Option<&str>, name: &str) -> Result<Vec<AccountId>, Problem> {
    let mut seen = blocking(move || Ok(sources.store.quota(Millis::MAX)?))
        .await?
        .accounts;
    seen.retain(|id, _| *id.name == *name && provider.is_none_or(|provider| *id.provider == *provider));
    Ok(seen.into_keys().collect())
}

fn ambiguous(several: &[AccountId]) -> Problem {
    let several = several.iter().map(ToString::to_string).collect::<Vec<_>>();
    Problem::conflict(format!(
        "account: it may be any of {}; give provider and account",
        several.join(", ")
    ))
    .field("account")
}
