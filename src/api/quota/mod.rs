//! The routes of windows, accounts and admission.

pub mod account;
mod history;
pub mod mark;
pub mod report;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::quota;
use crate::api::health::{eval_context, hanging_store, snapshot_and_unseen};
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::http::query::{NoQuery, StrictQuery};
use crate::api::openapi::{ItemErrors, QUOTA, ReadErrors};
use crate::api::state::{ApiState, Shared};
use crate::api::wire;
use crate::model::Millis;
use crate::quota::admission::Unseen;
use crate::quota::lease::LeaseBook;
use crate::store::{KnownAccounts, StoreError};
use crate::verdict::{self, AdmissionQuestion};
use account::unknown_account;

/// The routes of this folder.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default()
        .routes(routes!(get_quota))
        .routes(routes!(get_may_start))
        .merge(history::routes())
        .merge(mark::routes())
        .merge(report::routes())
}

/// Windows, accounts and verdicts
///
/// The use of each rate-limit window, the verdict on each account, and the may-start answer.
#[utoipa::path(
    get,
    path = "/v1/quota",
    tag = QUOTA,
    responses((status = 200, body = wire::Quota), ReadErrors)
)]
async fn get_quota(State(api): Shared, _: StrictQuery<NoQuery>) -> JsonAnswer<wire::Quota> {
    let now = api.clock.now();
    quota_at(api, now).await
}

/// The quota document as of a time.
async fn quota_at(api: Arc<ApiState>, now: Millis) -> JsonAnswer<wire::Quota> {
    blocking(move || {
        let settings = Arc::clone(&api.settings.borrow());
        // Before the snapshot: the readings of a poll that is shown are in it.
        let polls = api.polls.statuses();
        let (snapshot, unseen) = snapshot_and_unseen(&api)?;
        let context = eval_context(&settings, unseen.as_ref(), now);
        let mut document = quota::quota(&snapshot.quota(context.since())?, &context);
        quota::add_polls(&mut document, polls);
        Ok(Json(document))
    })
    .await
}

/// The filter of the question; a parameter left out matches any.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MayStartQuery {
    /// Only accounts of this provider.
    provider: Option<String>,
    /// Only the account of this name.
    account: Option<String>,
    /// The model the run will use; each account may serve another model in its place.
    model: Option<String>,
}

/// Admission of another run
///
/// The decision, the place to start, or the time of the next attempt. The status is 200 for every decision.
#[utoipa::path(
    get,
    path = "/v1/may-start",
    tag = QUOTA,
    params(MayStartQuery),
    responses((status = 200, body = wire::MayStart), ItemErrors)
)]
async fn get_may_start(
    State(api): Shared,
    StrictQuery(query): StrictQuery<MayStartQuery>,
) -> JsonAnswer<wire::MayStart> {
    let question = AdmissionQuestion {
        provider: query.provider,
        account: query.account,
        model: query.model,
    };
    if let Some(unseen) = hanging_store(&api) {
        let nothing = |_| Ok((KnownAccounts::new(), LeaseBook::default()));
        let answer = may_start(&api, Some(&unseen), &question, nothing);
        // The account may be one that only the store has.
        return answer.map_err(|_| Problem::store(unseen.why));
    }
    blocking(move || {
        let (snapshot, unseen) = snapshot_and_unseen(&api)?;
        may_start(&api, unseen.as_ref(), &question, |since| {
            Ok((snapshot.accounts(since)?, snapshot.lease_book()?))
        })
    })
    .await
}

/// The answer from what is `known` of the accounts since a time.
fn may_start(
    api: &ApiState,
    unseen: Option<&Unseen>,
    question: &AdmissionQuestion,
    known: impl FnOnce(Millis) -> Result<(KnownAccounts, LeaseBook), StoreError>,
) -> JsonAnswer<wire::MayStart> {
    let settings = Arc::clone(&api.settings.borrow());
    let context = eval_context(&settings, unseen, api.clock.now());
    let (known, book) = known(context.since())?;
    let admission = verdict::may_start(&known, &context, question);
    // An unknown name is a mistake of the client, not a denial.
    if admission.candidates.is_empty() {
        return Err(unknown_account(question, admission.sentence));
    }
    Ok(Json(quota::may_start(&admission, &book, context.now)))
}
