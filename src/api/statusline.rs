//! Status lines: the limits in their input become observations, and their figures are the answer.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::{quota, summary};
use crate::api::health;
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::http::query::StrictQuery;
use crate::api::openapi::{BadRequest, QUOTA, ReadErrors};
use crate::api::quota::account;
use crate::api::state::{ApiState, RequestSnapshot, Shared};
use crate::api::{usage, wire};
use crate::model::{AccountId, Millis, PROVIDER_DEFAULT};
use crate::parse::claude::limits::{ReportSource, reported};
use crate::parse::dialect::session_hash;
use crate::quota::account::scope;
use crate::quota::plausible::impossible;
use crate::store::{AccountObservations, SessionView, Snapshot, StoreError};

/// Longest wait for the commit of the observations before the answer, which is then without them. They are
/// committed all the same.
const COMMITTED_WITHIN: Duration = Duration::from_millis(30);

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(post_statusline))
}

/// The day that counts as today.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct StatuslineQuery {
    /// The time zone of today, by its IANA name. Default: UTC.
    zone: Option<String>,
}

/// The part of the input that is read here; an agent adds members with each version.
#[derive(Debug, Deserialize)]
struct StatuslineInput {
    session_id: Option<String>,
}

/// Figures of a status line
///
/// The body is the standard input of a status line of Claude Code. Its `rate_limits` become observations of the account
/// of the session's run, as with `/v1/observations`; the answer has the tokens of the session, of its run and of today.
#[utoipa::path(
    post,
    path = "/v1/statusline",
    tag = QUOTA,
    params(StatuslineQuery),
    request_body(content = Object, description = "The input, unchanged."),
    responses(
        (status = 200, body = wire::Statusline),
        ReadErrors,
        (status = 413, response = BadRequest)
    )
)]
async fn post_statusline(
    State(api): Shared,
    StrictQuery(query): StrictQuery<StatuslineQuery>,
    body: Result<Bytes, BytesRejection>,
) -> JsonAnswer<wire::Statusline> {
    let body = body.map_err(|rejection| Problem::no_body(&rejection))?;
    let input: StatuslineInput =
        serde_json::from_slice(&body).map_err(|error| Problem::bad("body", error))?;
    let text = std::str::from_utf8(&body).map_err(|error| Problem::bad("body", error))?;
    let now = api.clock.now();
    let mut observations = reported(ReportSource::Statusline(text), now);
    // The line is shown all the same.
    observations.retain(|seen| impossible(seen, now).is_none());
    let session = input.session_id;
    let asked = Arc::clone(&api);
    let id = session.clone();
    let account = blocking(move || target_account(&asked, id.as_deref())).await?;
    if let Some(account) = account.clone().filter(|_| !observations.is_empty()) {
        let report = vec![AccountObservations {
            account,
            observations,
        }];
        if let Ok(committed) = tokio::time::timeout(COMMITTED_WITHIN, api.writes.observe(report)).await {
            committed?;
        }
    }
    blocking(move || {
        let snapshot = api.store.snapshot()?;
        let view = session_view(&snapshot, session.as_deref())?;
        document(&api, &snapshot, (account, view), (query.zone, now)).map(Json)
    })
    .await
}

/// The account that the limits of the input belong to; `None` if it could be several.
fn target_account(api: &ApiState, session: Option<&str>) -> Result<Option<AccountId>, Problem> {
    let mut snapshot = RequestSnapshot::of(api);
    if let Some(view) = session_view(snapshot.get()?, session)? {
        return Ok(Some(view.account));
    }
    Ok(account::usable(api, &mut snapshot, Some(PROVIDER_DEFAULT), None).ok())
}

/// The session of this id: its hash depends on the account of its run.
fn session_view(snapshot: &Snapshot<'_>, session: Option<&str>) -> Result<Option<SessionView>, StoreError> {
    let Some(session) = session else {
        return Ok(None);
    };
    for account in snapshot.series_names()?.accounts {
        if let Some(hash) = session_hash(session.as_bytes(), scope(&account))
            && let Some(view) = snapshot.session(hash.get(), PROVIDER_DEFAULT)?
        {
            return Ok(Some(view));
        }
    }
    Ok(None)
}

fn document(
    api: &ApiState,
    snapshot: &Snapshot<'_>,
    (account, view): (Option<AccountId>, Option<SessionView>),
    (zone, now): (Option<String>, Millis),
) -> Result<wire::Statusline, Problem> {
    let today = usage::today(snapshot, zone, now, &Arc::clone(&api.settings.borrow().prices))?;
    let mut windows = Vec::new();
    if let Some(account) = &account {
        let rules = Arc::clone(&api.settings.borrow());
        let known = snapshot.accounts(Millis::MAX)?;
        for (name, state) in known.get(account).iter().flat_map(|sums| &sums.windows) {
            windows.push(quota::window(
                account,
                (name, state),
                rules.accounts.minimums(account),
                now,
            ));
        }
    }
    let view = view.as_ref();
    Ok(wire::Statusline {
        provider: account.as_ref().map(|account| account.provider.to_string()),
        account: account.map(|account| account.name.to_string()),
        session_tokens: view.map(|view| summary::totals(&view.session).total_tokens),
        run_tokens: view.map(|view| summary::totals(&view.run).total_tokens),
        today_tokens: today.totals.total_tokens,
        today_cost: today.cost,
        windows,
        health: health::health(api).status,
    })
}
