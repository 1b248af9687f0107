//! The routes and what they answer. Every answer is a document or a [`Problem`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::problem::{Problem, blocking};
use super::quota::{self, Question, Terms};
use super::server::{Subscribers, Traffic};
use super::{summary, wire};
use crate::committer::{CommitterHealth, Marks};
use crate::config::Settings;
use crate::quota::bucket;
use crate::record::{AccountId, Millis, RunId};
use crate::store::Store;
use crate::tailer::board::{Board, RunStatus};
use crate::watch::{Mode, Watch};

/// What the routes read from.
#[derive(Debug)]
pub struct Sources {
    pub store: Arc<Store>,
    pub settings: watch::Receiver<Arc<Settings>>,
    /// Goes away when the collector shuts down, so that the committer can end.
    pub marks: Marks,
    pub board: Arc<Board>,
    pub watch: Arc<Watch>,
    pub committer: Arc<Mutex<CommitterHealth>>,
    pub ready: CancellationToken,
    pub backlog_done: CancellationToken,
    pub since: Millis,
    /// What went through the doors.
    pub traffic: Arc<Traffic>,
    /// Places of those who listen to streams.
    pub subscribers: Subscribers,
}

type Shared = State<Arc<Sources>>;

/// All routes.
pub fn router(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/v1/summary", get(get_summary))
        .route("/v1/quota", get(get_quota))
        .route("/v1/quota/history", get(get_history))
        .route("/v1/may-start", get(get_may_start))
        .route(
            "/v1/accounts/{provider}/{account}/mark",
            post(post_mark).fallback(post_only),
        )
        .route("/v1/runs", get(get_runs))
        .route("/v1/runs/{id}", get(get_run))
        .route("/healthz", get(get_health))
        .route("/readyz", get(get_ready))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(sources)
}

async fn get_summary(State(sources): Shared) -> Result<Json<wire::Summary>, Problem> {
    blocking(move || {
        let settings = Arc::clone(&sources.settings.borrow());
        Ok(Json(summary::collect(&sources.store, &terms(&settings))?))
    })
    .await
}

async fn get_quota(State(sources): Shared) -> Result<Json<wire::Quota>, Problem> {
    blocking(move || {
        let settings = Arc::clone(&sources.settings.borrow());
        let terms = terms(&settings);
        Ok(Json(quota::quota(&sources.store.quota(terms.since())?, &terms)))
    })
    .await
}

/// Which window's history is asked for.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct HistoryQuery {
    provider: Option<String>,
    account: Option<String>,
    bucket: String,
}

async fn get_history(
    State(sources): Shared,
    query: Result<Query<HistoryQuery>, QueryRejection>,
) -> Result<Json<Vec<wire::HistoryPoint>>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::query(&rejection))?;
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
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct MayStartQuery {
    provider: Option<String>,
    account: Option<String>,
    model: Option<String>,
}

/// 200 whatever the decision is: it is in the document.
async fn get_may_start(
    State(sources): Shared,
    query: Result<Query<MayStartQuery>, QueryRejection>,
) -> Result<Json<wire::MayStart>, Problem> {
    let Query(query) = query.map_err(|rejection| Problem::query(&rejection))?;
    let question = Question {
        provider: query.provider,
        account: query.account,
        model: query.model,
    };
    blocking(move || {
        let settings = Arc::clone(&sources.settings.borrow());
        let terms = terms(&settings);
        let view = sources.store.quota(terms.since())?;
        let answer = quota::may_start(&view, &terms, &question);
        // A name that is none is a mistake, and must not look like a no.
        if answer.candidates.is_empty() {
            return Err(Problem::unknown("account", answer.sentence));
        }
        Ok(Json(answer))
    })
    .await
}

/// `POST /v1/accounts/{provider}/{account}/mark`: what an operator says about an account.
async fn post_mark(
    State(sources): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    mark: Result<Json<wire::Mark>, JsonRejection>,
) -> Result<Json<wire::Quota>, Problem> {
    let Path((provider, name)) = path.map_err(|rejection| Problem::bad("path", rejection.body_text()))?;
    let Json(mark) = mark.map_err(|rejection| Problem::body(&rejection))?;
    let account = AccountId {
        provider: provider.into(),
        name: name.into(),
    };
    let cause = quota::cause_of(&mark, now()).map_err(|why| Problem::bad("body", why))?;
    let settings = Arc::clone(&sources.settings.borrow());
    let known = {
        let (sources, account, settings) = (Arc::clone(&sources), account.clone(), Arc::clone(&settings));
        blocking(move || {
            Ok(settings.accounts.get(&account).is_some()
                || sources.store.quota(Millis::MAX)?.accounts.contains_key(&account))
        })
        .await?
    };
    if !known {
        let known = settings.accounts.rules().iter().map(|rules| rules.id.to_string());
        let known = known.collect::<Vec<_>>().join(", ");
        return Err(Problem::unknown(
            "account",
            format!("{account} is neither configured nor was it ever seen; configured: {known}"),
        ));
    }
    sources.marks.mark(account, cause).await?;
    get_quota(State(sources)).await
}

fn terms(settings: &Settings) -> Terms<'_> {
    Terms {
        accounts: &settings.accounts,
        zone: &settings.quota_zone,
        now: now(),
    }
}

async fn get_runs(State(sources): Shared) -> Result<Json<Vec<wire::Run>>, Problem> {
    blocking(move || {
        let snapshot = sources.store.snapshot()?;
        let statuses = statuses(&sources);
        let runs = snapshot
            .runs
            .iter()
            .map(|(id, sums)| with_status(summary::run(id, sums), statuses.get(id)));
        Ok(Json(runs.collect()))
    })
    .await
}

async fn get_run(
    State(sources): Shared,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<wire::RunDetail>, Problem> {
    let Path(id) = id.map_err(|rejection| Problem::bad("id", rejection.body_text()))?;
    let run = RunId::new(&id).map_err(|error| Problem::bad("id", error))?;
    blocking(move || {
        let Some(view) = sources.store.run(&run)? else {
            return Err(Problem::unknown("id", format!("no run {run} was ever seen")));
        };
        let mut detail = summary::run_detail(run.as_str(), &view);
        detail.run = with_status(detail.run, statuses(&sources).get(run.as_str()));
        Ok(Json(detail))
    })
    .await
}

/// 200 as long as the collector lives; the document says how it is.
async fn get_health(State(sources): Shared) -> Result<Json<wire::Health>, Problem> {
    blocking(move || Ok(Json(health(&sources)))).await
}

/// 200 when it is ready and advancing, else 503; the document says why.
async fn get_ready(State(sources): Shared) -> Result<Response, Problem> {
    let health = blocking(move || Ok(health(&sources))).await?;
    let status = if health.ready && health.status != "unhealthy" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    Ok((status, Json(health)).into_response())
}

fn statuses(sources: &Sources) -> BTreeMap<String, RunStatus> {
    sources
        .board
        .runs()
        .into_iter()
        .map(|(run, status)| (run.to_string(), status))
        .collect()
}

fn with_status(mut run: wire::Run, status: Option<&RunStatus>) -> wire::Run {
    // A run that is in the store and has no tailer has no directory any more.
    status.map_or("gone", RunStatus::word).clone_into(&mut run.state);
    if let Some(status) = status {
        run.restarts = status.restarts;
        run.problem.clone_from(&status.problem);
    }
    run
}

fn health(sources: &Sources) -> wire::Health {
    let committer = sources
        .committer
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let watch = sources.watch.health();
    let mut reasons = Vec::new();
    let mut unhealthy = false;
    if let Some(stuck) = committer.stuck {
        unhealthy = true;
        reasons.push(stuck);
    }
    let watching = match watch.mode {
        Mode::Events => "events",
        Mode::Polling { reason } => {
            reasons.push(reason);
            "polling"
        }
    };
    reasons.extend(sources.board.runs_directory_problem());
    match sources.store.rebuilt() {
        Ok(rebuilt) => reasons.extend(rebuilt),
        Err(error) => {
            unhealthy = true;
            let error = error.to_string();
            if !reasons.contains(&error) {
                reasons.push(error);
            }
        }
    }
    for (run, status) in sources.board.runs() {
        if let Some(problem) = status.problem {
            reasons.push(format!("run {run}: {problem}"));
        }
    }
    let status = match (unhealthy, reasons.is_empty()) {
        (true, _) => "unhealthy",
        (false, true) => "ok",
        (false, false) => "degraded",
    };
    wire::Health {
        status: status.to_owned(),
        ready: sources.ready.is_cancelled(),
        reasons,
        watching: watching.to_owned(),
        watches: watch.watches as u64,
        unwatched: watch.unwatched as u64,
        overflows: watch.overflows,
        backlog_done: sources.backlog_done.is_cancelled(),
        lag_bytes: sources.board.lag(),
        commits: committer.commits,
        reopened: committer.reopened,
        since: summary::time(sources.since),
    }
}

fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}

async fn not_found(uri: Uri) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "no such route",
        format!("nothing answers at {}", uri.path()),
    )
}

async fn method_not_allowed() -> Problem {
    Problem::only("GET")
}

async fn post_only() -> Problem {
    Problem::only("POST")
}
