//! The routes and what they answer. Every answer is a document or a [`Problem`](wire::Problem).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use tokio_util::sync::CancellationToken;

use super::{summary, wire};
use crate::committer::CommitterHealth;
use crate::record::{Millis, RunId};
use crate::store::{Store, StoreError};
use crate::tailer::board::{Board, RunStatus};
use crate::watch::{Mode, Watch};

/// What the routes read from.
#[derive(Debug)]
pub struct Sources {
    pub store: Arc<Store>,
    pub board: Arc<Board>,
    pub watch: Arc<Watch>,
    pub committer: Arc<Mutex<CommitterHealth>>,
    pub ready: CancellationToken,
    pub backlog_done: CancellationToken,
    pub since: Millis,
}

type Shared = State<Arc<Sources>>;

/// All routes.
pub fn router(sources: Arc<Sources>) -> Router {
    Router::new()
        .route("/v1/summary", get(get_summary))
        .route("/v1/runs", get(get_runs))
        .route("/v1/runs/{id}", get(get_run))
        .route("/healthz", get(get_health))
        .route("/readyz", get(get_ready))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(sources)
}

async fn get_summary(State(sources): Shared) -> Result<Json<wire::Summary>, Problem> {
    blocking(move || Ok(Json(summary::summary(&sources.store.snapshot()?, now())))).await
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
    let no_id = |why: String| {
        Problem(
            StatusCode::BAD_REQUEST,
            "not a run id".to_owned(),
            format!("id: {why}"),
        )
    };
    let Path(id) = id.map_err(|rejection| no_id(rejection.body_text()))?;
    let run = RunId::new(&id).map_err(|error| no_id(error.to_string()))?;
    blocking(move || {
        let Some(view) = sources.store.run(&run)? else {
            let detail = format!("id: no run {run} was ever seen");
            return Err(Problem(StatusCode::NOT_FOUND, "no such run".to_owned(), detail));
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

async fn blocking<T: Send + 'static>(
    answer: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(answer).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an answer was not made");
        Err(Problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal error".to_owned(),
            "see the collector's log".to_owned(),
        ))
    })
}

async fn not_found(uri: Uri) -> Problem {
    Problem(
        StatusCode::NOT_FOUND,
        "no such route".to_owned(),
        format!("nothing answers at {}", uri.path()),
    )
}

async fn method_not_allowed() -> Response {
    let problem = Problem(
        StatusCode::METHOD_NOT_ALLOWED,
        "method not allowed".to_owned(),
        "this route takes GET".to_owned(),
    );
    let mut response = problem.into_response();
    response
        .headers_mut()
        .insert(header::ALLOW, header::HeaderValue::from_static("GET"));
    response
}

/// An answer that is no success: status, title, detail.
struct Problem(StatusCode, String, String);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self(status, title, detail) = self;
        (
            status,
            Json(wire::Problem {
                status: status.as_u16(),
                title,
                detail,
            }),
        )
            .into_response()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "the store did not answer");
        Self(
            StatusCode::SERVICE_UNAVAILABLE,
            "the store does not answer".to_owned(),
            error.to_string(),
        )
    }
}
