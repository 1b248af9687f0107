//! The health document, and its effect on admission answers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::openapi::COLLECTOR;
use crate::api::state::Shared;
use crate::sync::lock;
use std::sync::Arc;

use crate::api::document;
use crate::api::state::ApiState;
use crate::api::wire;
use crate::committer::CommitterHealth;
use crate::config::Settings;
use crate::logfile::Opening;
use crate::logfile::pool::STALLED_AFTER;
use crate::model::format::length;
use crate::model::{Millis, RunId, is_clock_wrong};
use crate::quota::admission::{Reason, Unseen};
use crate::stderr;
use crate::store::{Snapshot, StoreError};
use crate::tailer::status::{Digest, LATE_AFTER, Late};
use crate::verdict::EvalContext;
use crate::watch::Mode;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default()
        .routes(routes!(get_health))
        .routes(routes!(get_ready))
}

/// Health of the collector
///
/// Always 200 while the collector runs; the document holds the status.
#[utoipa::path(get, path = "/healthz", tag = COLLECTOR, responses((status = 200, body = wire::Health)))]
async fn get_health(State(api): Shared) -> Json<wire::Health> {
    Json(health(&api))
}

/// Readiness of the collector
///
/// 200 when the collector watches and counts everything there is, else 503 with the reasons in the document.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = COLLECTOR,
    responses(
        (status = 200, body = wire::Health),
        (status = 503, description = "Not ready, or not counting everything.", body = wire::Health)
    )
)]
async fn get_ready(State(api): Shared) -> Response {
    let health = health(&api);
    let status = if health.ready && health.status != "unhealthy" {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(health)).into_response()
}

/// The settings and the time that an answer depends on.
pub(super) fn eval_context<'a>(
    settings: &'a Settings,
    unseen: Option<&'a Unseen>,
    now: Millis,
) -> EvalContext<'a> {
    EvalContext {
        accounts: &settings.accounts,
        zone: &settings.quota_zone,
        prices: &settings.prices,
        unseen,
        now,
    }
}

/// A snapshot, and the reason why not everything may be in it: the collector is starting, or it cannot read
/// what it should. One unreadable run among readable ones makes the collector unhealthy, not blind, so that a
/// broken mount does not stop every account.
///
/// # Errors
/// The store does not answer.
pub(super) fn snapshot_and_unseen(api: &ApiState) -> Result<(Snapshot<'_>, Option<Unseen>), StoreError> {
    // Before the snapshot is taken: what is done by now is in it.
    let (committer, blindness) = (committer(api), api.statuses.blindness());
    let is_starting = !api.backlog_done.is_cancelled();
    let snapshot = api.store.snapshot()?;
    let stuck = committer.problem(api.store.path());
    let unseen = match stuck.or(committer.unreadable).or(blindness) {
        Some(why) => Some(blind(&why)),
        None => is_starting.then(|| Unseen {
            reason: Reason::CollectorStarting,
            why: "the collector is starting and has not read everything that is there".to_owned(),
        }),
    };
    Ok((snapshot, unseen))
}

/// The reason for an answer without the store, while a call of it hangs: that of the answer would hang too.
pub(super) fn hanging_store(api: &ApiState) -> Option<Unseen> {
    let committer = committer(api);
    let why = committer.problem(api.store.path());
    why.filter(|_| committer.hangs()).map(|why| blind(&why))
}

fn blind(why: &str) -> Unseen {
    Unseen {
        reason: Reason::CollectorBlind,
        why: format!("the collector cannot read what it should ({why})"),
    }
}

fn committer(api: &ApiState) -> CommitterHealth {
    let committer = lock(&api.committer);
    committer.clone()
}

/// The sentences of the health document, and its status.
#[derive(Default)]
struct HealthReasons {
    sentences: Vec<String>,
    /// Something that should be counted is not counted.
    unhealthy: bool,
}

impl HealthReasons {
    fn add(&mut self, reason: String) {
        self.sentences.push(reason);
    }

    /// Adds a reason why something is not counted.
    fn add_unhealthy(&mut self, reason: String) {
        self.unhealthy = true;
        self.add(reason);
    }

    fn status(&self) -> &'static str {
        match (self.unhealthy, self.sentences.is_empty()) {
            (true, _) => "unhealthy",
            (false, true) => "ok",
            (false, false) => "degraded",
        }
    }
}

/// The reasons in the order of the document.
fn reasons(
    api: &ApiState,
    committer: &CommitterHealth,
    polling: Option<String>,
    runs: &Digest,
) -> HealthReasons {
    let mut reasons = HealthReasons::default();
    let problem = committer.problem(api.store.path());
    let is_committing = problem.is_none();
    if let Some(stuck) = problem {
        reasons.add_unhealthy(stuck);
    }
    if let Some(polling) = polling {
        reasons.add(polling);
    }
    if let Some(problem) = api.statuses.runs_directory_problem() {
        reasons.add_unhealthy(problem);
    }
    reasons.sentences.extend(committer.rebuilt.clone());
    if let Some(error) = &committer.unreadable {
        reasons.unhealthy = true;
        if !reasons.sentences.contains(error) {
            reasons.add(error.clone());
        }
    }
    reasons.sentences.extend(api.refused.borrow().clone());
    let now = api.clock.now();
    if is_clock_wrong(now) {
        reasons.add(format!(
            "the clock of this machine shows {}, which is long past: lines are dated as they say, however late, and what \
             has no time of its own may get a wrong one; set the clock",
            document::time(now)
        ));
    }
    reasons.sentences.extend(api.missing.borrow().iter().cloned());
    if let Some(jobs) = api.pool_queue.stuck() {
        reasons.add_unhealthy(format!(
            "no thread is free for {jobs} accesses to files for more than {}: see whether the system refuses threads \
             (TasksMax= of the service, ulimit -u)",
            length(STALLED_AFTER.as_secs())
        ));
    }
    for (run, problem) in &runs.troubled {
        reasons.add_unhealthy(format!("run {run}: {problem}"));
    }
    if is_committing {
        let late = runs.late.iter();
        // A backlog takes its time.
        let late = late.filter(|(late, _)| late.is_slow || api.backlog_done.is_cancelled());
        reasons
            .sentences
            .extend(late.map(|(late, (run, count))| late_reason(*late, run, *count)));
    }
    reasons
}

/// The notice on a file that is mostly empty.
fn compaction(free: u64) -> String {
    format!(
        "more than half of the database file holds nothing: with the collector stopped, `tokentail compact` would free {} MiB",
        free >> 20
    )
}

/// The reason for runs that are late in the same way.
fn late_reason(late: Late, first: &RunId, count: usize) -> String {
    let runs = match count {
        1 => format!("run {first}"),
        _ => format!("run {first} and {} more", count - 1),
    };
    let what = if late.has_lines {
        "lines wait to be read"
    } else {
        "it waits for the next look"
    };
    let why = if late.is_slow {
        "calls into its filesystem are slow"
    } else {
        "other runs are read before"
    };
    format!(
        "{runs}: {what} for more than {}: {why}",
        length(LATE_AFTER.as_secs())
    )
}

/// The health document: `unhealthy` as soon as something that should be counted is not counted, `degraded`
/// while everything is counted but something needs attention.
///
/// **Invariant**: it reads what other parts published and touches neither the disk nor a lock that is held
/// over a call into a filesystem, so that it is also answered while the database or a mount hangs.
pub(super) fn health(api: &ApiState) -> wire::Health {
    let committer = committer(api);
    let watch = api.watch.health();
    let (watching, polling) = match watch.mode {
        Mode::Events => ("events", None),
        Mode::Polling { reason } => ("polling", Some(reason)),
    };
    let runs = api.statuses.digest();
    let reasons = reasons(api, &committer, polling, &runs);
    wire::Health {
        now: document::time(api.clock.now()),
        status: reasons.status().to_owned(),
        ready: api.ready.is_cancelled(),
        reasons: reasons.sentences,
        notices: api
            .statuses
            .notices()
            .into_iter()
            .chain(stderr::trouble())
            .chain(api.notices.notices())
            .chain(api.retention.worth_compacting().map(compaction))
            .collect(),
        watching: watching.to_owned(),
        reading: Opening::available().into_str().to_owned(),
        watches: watch.watches as u64,
        unwatched: watch.unwatched as u64,
        overflows: watch.overflows,
        fallbacks: watch.fallbacks,
        replaced: watch.replaced,
        problems: api.statuses.problems(),
        backlog_done: api.backlog_done.is_cancelled(),
        lag_bytes: runs.lag,
        commits: committer.commits,
        reopened: committer.reopened,
        since: document::time(api.since),
    }
}
