//! The routes and what they answer. Every answer is a document or a [`Problem`].

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::health::{health, terms, unseen};
use super::openapi::{self, BadRequest, COLLECTOR, NotFound, QUOTA, USAGE, Unavailable, method_not_allowed};
use super::problem::{Problem, blocking};
use super::query::{Asked, Nothing};
use super::quota::{self, Question};
use super::server::{Subscribers, Traffic};
use super::stream::Hub;
use super::{backup, daily, marks, metrics, observations, runs, stream, summary, usage, version, web, wire};
use crate::committer::{CommitterHealth, WeakCommitter};
use crate::config::Settings;
use crate::control::Control;
use crate::live::Live;
use crate::quota::bucket;
use crate::record::{AccountId, Millis};
use crate::store::Store;
use crate::tailer::board::Board;
use crate::watch::Watch;

/// What the routes read from.
#[derive(Debug)]
pub struct Sources {
    pub store: Arc<Store>,
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Goes away when the collector shuts down, so that the committer can end.
    pub writes: WeakCommitter,
    /// What is committed, as it is.
    pub live: Arc<Live>,
    /// Tells subscribers.
    pub hub: Arc<Hub>,
    /// Asks the supervisor.
    pub control: Control,
    pub board: Arc<Board>,
    pub watch: Arc<Watch>,
    pub committer: Arc<Mutex<CommitterHealth>>,
    /// What the last reload did not take over.
    pub refused: watch::Receiver<Option<String>>,
    /// What of the collector's own files is not where it was.
    pub missing: watch::Receiver<Vec<String>>,
    pub ready: CancellationToken,
    pub backlog_done: CancellationToken,
    pub since: Millis,
    /// What went through the doors.
    pub traffic: Arc<Traffic>,
    /// What scrapes were told.
    pub counters: metrics::Counters,
    /// Places of those who listen to streams.
    pub subscribers: Subscribers,
}

type Shared = State<Arc<Sources>>;

/// All routes.
pub fn router(sources: Arc<Sources>) -> Router {
    Router::from(declared())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(sources)
}

/// All routes and, from the same declarations, what is written down of them.
#[must_use]
pub fn declared() -> OpenApiRouter<Arc<Sources>> {
    openapi::head()
        .routes(routes!(get_summary))
        .routes(routes!(get_quota))
        .routes(routes!(get_history))
        .routes(routes!(get_may_start))
        .routes(routes!(get_health))
        .routes(routes!(get_ready))
        .merge(runs::routes())
        .merge(marks::routes())
        .merge(observations::routes())
        .merge(backup::routes())
        .merge(web::routes())
        .merge(usage::routes())
        .merge(daily::routes())
        .merge(stream::routes())
        .merge(metrics::routes())
        .merge(openapi::routes())
        .merge(version::routes())
}

/// Everything that was counted
///
/// The sums of all runs, by run, model and UTC day, with lines, files and the limits.
#[utoipa::path(
    get,
    path = "/v1/summary",
    tag = USAGE,
    responses(
        (status = 200, body = wire::Summary),
        (status = 400, response = BadRequest),
        (status = 503, response = Unavailable)
    )
)]
async fn get_summary(
    State(sources): Shared,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<wire::Summary>, Problem> {
    blocking(move || {
        let settings = Arc::clone(&sources.settings.borrow());
        let unseen = unseen(&sources);
        let terms = terms(&settings, unseen.as_ref());
        Ok(Json(summary::collect(&sources.store, &terms)?))
    })
    .await
}

/// Windows, accounts and verdicts
///
/// How full each rate-limit window is, the verdict on each account, and whether another run may start.
#[utoipa::path(
    get,
    path = "/v1/quota",
    tag = QUOTA,
    responses(
        (status = 200, body = wire::Quota),
        (status = 400, response = BadRequest),
        (status = 503, response = Unavailable)
    )
)]
pub(super) async fn get_quota(
    State(sources): Shared,
    Asked(Nothing {}): Asked<Nothing>,
) -> Result<Json<wire::Quota>, Problem> {
    blocking(move || {
        let settings = Arc::clone(&sources.settings.borrow());
        let unseen = unseen(&sources);
        let terms = terms(&settings, unseen.as_ref());
        Ok(Json(quota::quota(&sources.store.quota(terms.since())?, &terms)))
    })
    .await
}

/// Which window's history is asked for.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    /// The provider; without it, the one of runs whose account nobody named.
    provider: Option<String>,
    /// The account's name; without it, the one of runs whose account nobody named.
    account: Option<String>,
    /// The window: `five_hour`, `seven_day` and so on, or an alias of it.
    bucket: String,
}

/// A window's past
///
/// One point for each minute in which something was observed, oldest first. Empty for a window nobody knows.
#[utoipa::path(
    get,
    path = "/v1/quota/history",
    tag = QUOTA,
    params(HistoryQuery),
    responses(
        (status = 200, body = Vec<wire::HistoryPoint>),
        (status = 400, response = BadRequest),
        (status = 503, response = Unavailable)
    )
)]
async fn get_history(
    State(sources): Shared,
    Asked(query): Asked<HistoryQuery>,
) -> Result<Json<Vec<wire::HistoryPoint>>, Problem> {
    if query.bucket.is_empty() {
        return Err(Problem::bad("bucket", "it is empty"));
    }
    let mut account = AccountId::default();
    if let Some(provider) = query.provider {
        account.provider = provider.into();
    }
    if let Some(name) = query.account {
        account.name = name.into();
    }
    blocking(move || {
        let points = sources
            .store
            .history(&account, bucket::canonical(&query.bucket))?;
        Ok(Json(points.iter().map(quota::history_point).collect()))
    })
    .await
}

/// For whom, and for what: what is left out is no wish.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct MayStartQuery {
    /// Only accounts of this provider.
    provider: Option<String>,
    /// Only the account of this name.
    account: Option<String>,
    /// The model the run will use; each account may serve another in its place.
    model: Option<String>,
}

/// Whether another run may start
///
/// Where, and if not, when to ask again. 200 whatever the decision is: it is in the document.
#[utoipa::path(
    get,
    path = "/v1/may-start",
    tag = QUOTA,
    params(MayStartQuery),
    responses(
        (status = 200, body = wire::MayStart),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound),
        (status = 503, response = Unavailable)
    )
)]
async fn get_may_start(
    State(sources): Shared,
    Asked(query): Asked<MayStartQuery>,
) -> Result<Json<wire::MayStart>, Problem> {
    let question = Question {
        provider: query.provider,
        account: query.account,
        model: query.model,
    };
    blocking(move || {
        let settings = Arc::clone(&sources.settings.borrow());
        let unseen = unseen(&sources);
        let terms = terms(&settings, unseen.as_ref());
        let view = sources.store.quota(terms.since())?;
        let answer = quota::may_start(&view, &terms, &question);
        // A name that is none is a mistake, and must not look like a no.
        if answer.candidates.is_empty() {
            let field = if question.account.is_none() && question.provider.is_some() {
                "provider"
            } else {
                "account"
            };
            return Err(Problem::unknown(field, answer.sentence));
        }
        Ok(Json(answer))
    })
    .await
}

/// How the collector is
///
/// 200 as long as it lives; the document says how it is.
#[utoipa::path(get, path = "/healthz", tag = COLLECTOR, responses((status = 200, body = wire::Health)))]
async fn get_health(State(sources): Shared) -> Result<Json<wire::Health>, Problem> {
    blocking(move || Ok(Json(health(&sources)))).await
}

/// Whether the collector is ready
///
/// 200 when it watches and counts everything there is, else 503; the document says why.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = COLLECTOR,
    responses(
        (status = 200, body = wire::Health),
        (status = 503, description = "Not ready, or not counting everything.", body = wire::Health)
    )
)]
async fn get_ready(State(sources): Shared) -> Result<Response, Problem> {
    let health = blocking(move || Ok(health(&sources))).await?;
    let status = if health.ready && health.status != "unhealthy" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(health)).into_response())
}

pub(super) fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no such route",
        format!("nothing answers at {}", uri.path()),
    )
}
