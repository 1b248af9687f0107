//! Routes of runs: list, files, start, stop, forget.

mod files;
mod list;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::cost::CostBook;
use crate::api::document::{self, summary};
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::http::query::{NoQuery, StrictQuery, flag};
use crate::api::http::run_path::{RunParam, RunPath, run_id};
use crate::api::leases::named_lease;
use crate::api::openapi::{Conflict, Gone, ItemErrors, RUNS};
use crate::api::state::{ApiState, Shared};
use crate::api::wire;
use crate::config::{ACCOUNT_LABEL, PROVIDER_LABEL};
use crate::model::{
    ACCOUNT_NAME_BYTES_MAX, AccountId, CLASS_LABEL, LABELS_MAX, Labels, RunId, check_label, is_account_name,
};
use crate::prices::PriceList;
use crate::quota::lease::LeaseNumber;
use crate::store::{NotBound, RunInfo, Snapshot, StoreError};
use crate::supervisor::handle::{ForgetAnswer, StartAnswer, StartRequest, StopAnswer, StopRequest};
use crate::tailer::status::{RunStatus, RunStatuses};

/// Longest wait for the last sweep of a stop; the sweep goes on afterwards.
const STOP_WAIT_MAX: Duration = Duration::from_mins(1);
/// `Retry-After` of a stop that failed because the run cannot be read at the moment, in seconds.
const RETRY_AFTER_S: u64 = 5;
/// The query parameter of a stop that accepts incomplete totals, and the field named when a stop without it
/// is refused.
pub const INCOMPLETE: &str = "incomplete";
/// Labels whose values name the provider or the account of a run.
const ACCOUNT_LABELS: [&str; 2] = [PROVIDER_LABEL, ACCOUNT_LABEL];

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default()
        .merge(list::routes())
        .merge(files::routes())
        .routes(routes!(get_run, put_run, delete_run))
        .routes(routes!(post_stop))
}

/// The state of a run as one word.
#[must_use]
pub fn state(info: &RunInfo, status: Option<&RunStatus>) -> &'static str {
    state_word(info.stopped.is_some(), status.map(RunStatus::word))
}

fn state_word(is_stopped: bool, status: Option<&'static str>) -> &'static str {
    if is_stopped {
        return "stopped";
    }
    status.unwrap_or("waiting")
}

/// The state of each run as one word.
///
/// # Errors
/// The store does not answer.
pub fn states(
    snapshot: &Snapshot<'_>,
    statuses: &RunStatuses,
) -> Result<BTreeMap<String, &'static str>, StoreError> {
    let words = statuses.words();
    let stopped = snapshot.runs_stopped()?.into_iter();
    Ok(stopped
        .map(|(run, is_stopped)| {
            let state = state_word(is_stopped, words.get(&run).copied());
            (run, state)
        })
        .collect())
}

/// One run
///
/// One run with its sums by model and UTC day.
#[utoipa::path(
    get,
    path = "/v1/runs/{id}",
    tag = RUNS,
    params(RunParam),
    responses((status = 200, body = wire::RunDetail), ItemErrors)
)]
async fn get_run(State(api): Shared, id: RunPath, _: StrictQuery<NoQuery>) -> JsonAnswer<wire::RunDetail> {
    let run = run_id(id)?;
    detail(api, run).await.map(Json)
}

/// Start a run
///
/// Idempotent. The given labels replace the existing ones. The labels `provider` and `account` select the
/// account that the run is counted under, as long as none of its lines was read; 404 if the configuration has
/// no such account and `accounts.open` is not set. `lease` binds the run to a lease, whose account it gets. The logs are read below the runs directory or in `mount`,
/// which may appear later. A stopped run continues.
#[utoipa::path(
    put,
    path = "/v1/runs/{id}",
    tag = RUNS,
    params(RunParam),
    request_body(content = Option<wire::StartRun>, description = "May be left out."),
    responses(
        (status = 200, body = wire::RunDetail, description = "It was known."),
        (status = 201, body = wire::RunDetail, description = "It is new."),
        ItemErrors,
        (status = 409, response = Conflict),
        (status = 410, response = Gone)
    )
)]
async fn put_run(
    State(api): Shared,
    id: RunPath,
    body: Bytes,
) -> Result<(StatusCode, Json<wire::RunDetail>), Problem> {
    let run = run_id(id)?;
    let wanted: wire::StartRun = if body.trim_ascii().is_empty() {
        wire::StartRun::default()
    } else {
        // A struct could also be deserialized from an array.
        serde_json::from_slice::<Option<serde_json::Map<String, serde_json::Value>>>(&body)
            .and_then(|object| serde_json::from_value(object.unwrap_or_default().into()))
            .map_err(|error| Problem::bad("body", error))?
    };
    let mut labels = labels(wanted.labels)?;
    let lease = match wanted.lease {
        Some(id) => Some(leased(&api, &mut labels, id).await?),
        None => None,
    };
    let start = StartRequest {
        run: run.clone(),
        labels,
        mount: wanted.mount.map(Into::into),
        lease,
    };
    let status = match api.supervisor.start(start).await? {
        StartAnswer::New => StatusCode::CREATED,
        StartAnswer::Known => StatusCode::OK,
        StartAnswer::NoSuchAccount(unknown) => return Err(Problem::unknown("labels", unknown)),
        StartAnswer::Elsewhere(account) => {
            return Err(Problem::conflict(format!(
                "labels: run {run} is counted by {account} already and cannot move; leave the labels provider and \
                 account out, or take another id"
            ))
            .field("labels"));
        }
        StartAnswer::MountedElsewhere(mount) => {
            let place = match mount {
                Some(mount) => format!("{}", mount.display()),
                None => "the runs directory".to_owned(),
            };
            return Err(Problem::conflict(format!(
                "mount: something was read of run {run} in {place} already, and it cannot move; leave mount out, or \
                 take another id"
            ))
            .field("mount"));
        }
        StartAnswer::MountTaken(other) => {
            return Err(Problem::conflict(format!(
                "mount: run {other} has its logs there; each run has a directory of its own"
            ))
            .field("mount"));
        }
        StartAnswer::MountStalled(mount) => {
            let detail = format!("the filesystem of {} does not answer; try again", mount.display());
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail);
            return Err(problem.field("mount").retry_after(RETRY_AFTER_S));
        }
        StartAnswer::NotBound(refused) => return Err(not_bound(&run, refused)),
        StartAnswer::Mount(error) => return Err(Problem::bad("mount", error)),
    };
    Ok((status, Json(detail(api, run).await?)))
}

/// The lease that a start names. The run is counted by its account: labels that name another one contradict it.
async fn leased(api: &Arc<ApiState>, labels: &mut Labels, id: String) -> Result<LeaseNumber, Problem> {
    let lease = named_lease(api, id).await?;
    let AccountId { provider, name } = lease.account;
    for (label, value) in [(PROVIDER_LABEL, provider), (ACCOUNT_LABEL, name)] {
        match labels.get(label) {
            Some(given) if *given != value => {
                return Err(Problem::conflict(format!(
                    "labels: {label} is {given}, and the lease is for {value}; leave the label out"
                ))
                .field("labels"));
            }
            _ => drop(labels.insert(label.into(), value)),
        }
    }
    if let Some(class) = lease.class {
        labels.entry(CLASS_LABEL.into()).or_insert(class);
    }
    Ok(lease.number)
}

fn not_bound(run: &RunId, refused: NotBound) -> Problem {
    match refused {
        NotBound::Unknown => Problem::unknown("lease", "there is no such lease"),
        NotBound::Ended(end) => Problem::gone(format!("lease: it has ended ({})", end.into_str())),
        NotBound::OtherAccount => {
            Problem::conflict(format!("lease: it is for another account than that of run {run}"))
        }
        NotBound::OfAnother => Problem::conflict("lease: it is of another run"),
        NotBound::HasAnother => Problem::conflict(format!("lease: run {run} has another lease")),
    }
    .field("lease")
}

/// The parameters of a stop.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct StopQuery {
    /// Answer only after everything that is there now is counted, with the exact totals.
    #[serde(default, deserialize_with = "flag")]
    wait: bool,
    /// Stop even if not everything can be read: `complete` is then `false`, and `problem` describes what is
    /// missing.
    #[serde(default, deserialize_with = "flag")]
    incomplete: bool,
}

/// Stop a run
///
/// Everything present is read once more, including an unfinished last line; then the run is no longer watched
/// and no file of it stays open. If something cannot be read, the run is not stopped, unless `incomplete` is
/// set: 503 with the cause. Lines written later are found and resume the run. Also works for a run whose
/// directory is gone and for a stopped run.
#[utoipa::path(
    post,
    path = "/v1/runs/{id}/stop",
    tag = RUNS,
    params(RunParam, StopQuery),
    responses(
        (status = 200, body = wire::RunDetail, description = "It is stopped; these are its totals."),
        (status = 202, body = wire::RunDetail, description = "It is being stopped; these are the totals so far."),
        ItemErrors
    )
)]
async fn post_stop(
    State(api): Shared,
    id: RunPath,
    StrictQuery(StopQuery { wait, incomplete }): StrictQuery<StopQuery>,
) -> Result<(StatusCode, Json<wire::RunDetail>), Problem> {
    let run = run_id(id)?;
    // Looked up first, so that an unknown name is refused even without waiting.
    let before = detail(Arc::clone(&api), run.clone()).await?;
    let stop = StopRequest {
        run: run.clone(),
        incomplete,
    };
    let stopping = api.supervisor.begin_stop(stop).await?;
    if !wait {
        return Ok((StatusCode::ACCEPTED, Json(before)));
    }
    match tokio::time::timeout(STOP_WAIT_MAX, stopping).await {
        Err(_) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "still being stopped",
            format!("run {run} is not read to its end yet; ask again"),
        )
        .retry_after(STOP_WAIT_MAX.as_secs())),
        Ok(Ok(StopAnswer::Stopped)) => Ok((StatusCode::OK, Json(detail(api, run).await?))),
        Ok(Ok(StopAnswer::Unknown)) => Err(unknown(api, run).await),
        Ok(Ok(StopAnswer::Unread(why))) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not read to its end",
            format!(
                "run {run} is not stopped, as it cannot be read to its end: {why}; put that right and stop it again, or \
                 stop it with what could be read: incomplete=true, or tokentail stop --incomplete {run}"
            ),
        )
        .field(INCOMPLETE)
        .retry_after(RETRY_AFTER_S)),
        Ok(Err(refused)) => Err(refused.into()),
    }
}

/// Forget a stopped run
///
/// The name becomes free again; what was counted stays in every sum that is not by run. A directory that is
/// still there is not taken for a new run until it has been removed or the run is started again.
#[utoipa::path(
    delete,
    path = "/v1/runs/{id}",
    tag = RUNS,
    params(RunParam),
    responses(
        (status = 204, description = "It is forgotten."),
        ItemErrors,
        (status = 409, response = Conflict)
    )
)]
async fn delete_run(State(api): Shared, id: RunPath) -> Result<StatusCode, Problem> {
    let run = run_id(id)?;
    match api.supervisor.forget(run.clone()).await? {
        ForgetAnswer::Forgotten => Ok(StatusCode::NO_CONTENT),
        ForgetAnswer::Unknown => Err(unknown(api, run).await),
        ForgetAnswer::Running => Err(Problem::conflict(format!(
            "id: run {run} is not stopped; stop it first: POST /v1/runs/{run}/stop?wait=true, or tokentail stop {run}"
        ))
        .field("id")),
    }
}

async fn unknown(api: Arc<ApiState>, run: RunId) -> Problem {
    let answer = blocking(move || Ok(no_such_run(&api.store.snapshot()?, &run)?)).await;
    answer.map_or_else(|problem| problem, |why| Problem::unknown("id", why))
}

/// The error text for an unknown run. The name of a forgotten run is kept as long as its directory is there.
///
/// # Errors
/// The store does not answer.
pub fn no_such_run(snapshot: &Snapshot<'_>, run: &RunId) -> Result<String, StoreError> {
    Ok(if snapshot.is_forgotten(run)? {
        format!("run {run} was forgotten; start it to create it again")
    } else {
        format!("there is no run {run}; `tokentail runs` or GET /v1/runs lists all runs")
    })
}

async fn detail(api: Arc<ApiState>, run: RunId) -> Result<wire::RunDetail, Problem> {
    blocking(move || {
        let snapshot = api.store.snapshot()?;
        let prices = Arc::clone(&api.settings.borrow().prices);
        match document(&snapshot, &prices, &api.statuses, &run)? {
            Some(document) => Ok(document),
            None => Err(Problem::unknown("id", no_such_run(&snapshot, &run)?)),
        }
    })
    .await
}

/// The document of a run; `None` if the run is unknown.
///
/// # Errors
/// The store does not answer.
pub fn document(
    snapshot: &Snapshot<'_>,
    prices: &PriceList,
    statuses: &RunStatuses,
    run: &RunId,
) -> Result<Option<wire::RunDetail>, StoreError> {
    let (priced, info) = (CostBook::run(snapshot, prices, run)?, snapshot.run_info(run)?);
    let (Some((view, costs)), Some(info)) = (priced, info) else {
        return Ok(None);
    };
    let mut detail = summary::run_detail(run.as_str(), &view, &costs);
    detail.run = described(detail.run, &info, statuses.get(run).as_ref());
    Ok(Some(detail))
}

/// A run's row, completed with its labels, state and problem.
fn described(mut run: wire::Run, info: &RunInfo, status: Option<&RunStatus>) -> wire::Run {
    state(info, status).clone_into(&mut run.state);
    run.provider = info.account.provider.to_string();
    run.account = info.account.name.to_string();
    run.labels = summary::labels(&info.labels);
    run.mount = info.mount.as_ref().map(|mount| mount.display().to_string());
    run.first_seen = document::time(info.first_seen);
    run.registered_at = info.registered_at.map(document::time);
    run.first_activity = info.earliest.map(document::time);
    run.stopped_at = info.stopped.map(|(at, _)| document::time(at));
    run.stop_reason = info.stopped.map(|(_, reason)| reason.into_str().to_owned());
    if let Some(status) = status {
        run.last_change = status.last_change.map(document::time);
        run.lag_bytes = status.lag;
        run.restarts = status.restarts;
        run.problem.clone_from(&status.problem);
        run.complete = status.incomplete.then_some(false);
        run.notices = status.notices.to_vec();
    }
    run
}

/// Checks labels.
fn labels(given: BTreeMap<String, String>) -> Result<Labels, Problem> {
    let bad = |detail: String| Err(Problem::bad("labels", detail));
    if given.len() > LABELS_MAX {
        return bad(format!(
            "{} labels, at most {LABELS_MAX} are accepted",
            given.len()
        ));
    }
    for (name, value) in &given {
        if let Err(problem) = check_label(name, value) {
            return bad(problem);
        }
        if ACCOUNT_LABELS.contains(&name.as_str()) && !is_account_name(value) {
            return bad(format!(
                "{value:?} is no {name}: 1 to {ACCOUNT_NAME_BYTES_MAX} of A-Z a-z 0-9 . _ -"
            ));
        }
    }
    Ok(given
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect())
}
