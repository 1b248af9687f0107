//! Targets of notifications: their state, and tests of them. No route creates one.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use strum::VariantArray as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::time;
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::http::query::{NoQuery, StrictQuery};
use crate::api::openapi::{BodyErrors, COLLECTOR, ItemErrors, ReadErrors};
use crate::api::state::{ApiState, Shared};
use crate::api::wire;
use crate::config::{did_you_mean, near};
use crate::quota::notice::NoticeKind;
use crate::quota::notice::reach::{TargetReach, reach_of};
use crate::quota::notice::target::{NoticeRoute, NoticeTarget};
use crate::sender::board::{SendOutcome, TargetStatus};
use crate::sender::delivery::DeliveryContext;
use crate::sender::schedule::TryResult;
use crate::sender::trial::{Trial, first_kind, try_now};
use crate::store::OutboxChange;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default()
        .routes(routes!(get_notify))
        .routes(routes!(post_notify_test))
}

/// Targets of notifications
///
/// The configured targets, what waits for each, and the last error. Addresses end with their host.
#[utoipa::path(
    get,
    path = "/v1/notify",
    tag = COLLECTOR,
    responses((status = 200, body = Vec<wire::NotifyTarget>), ReadErrors)
)]
async fn get_notify(State(api): Shared, _: StrictQuery<NoQuery>) -> JsonAnswer<Vec<wire::NotifyTarget>> {
    blocking(move || {
        let settings = Arc::clone(&api.settings.borrow());
        let snapshot = api.store.snapshot()?;
        let (waiting, latches) = (snapshot.waiting_notices()?, snapshot.latches()?);
        let counts = api.notices.counts();
        let document = settings.notify.targets.iter().map(|target| {
            let count = |outcome| {
                let key = (target.name.clone(), outcome);
                counts.get(&key).copied().unwrap_or(0)
            };
            let counts = wire::NotifyCounts {
                sent: count(SendOutcome::Sent),
                retried: count(SendOutcome::Retried),
                dropped: count(SendOutcome::Dropped),
                failed: count(SendOutcome::Failed),
            };
            let waiting = waiting.get(&target.name).copied().unwrap_or(0);
            let reach = reach_of(&latches, &target.name);
            described(target, (&api.notices.of(&target.name), reach), waiting, counts)
        });
        Ok(Json(document.collect()))
    })
    .await
}

fn described(
    target: &NoticeTarget,
    (status, stored): (&TargetStatus, TargetReach),
    waiting: u64,
    counts: wire::NotifyCounts,
) -> wire::NotifyTarget {
    // Reached since the start: the database may not have it yet.
    let of_before = stored
        .failing_since
        .filter(|_| status.last_sent_at.is_none() || status.is_failing);
    let failing_since = of_before.or(status.troubled_since.filter(|_| status.is_failing));
    let is_failing = failing_since.is_some();
    let is_paused = status.error.is_some() || status.next_at.is_some();
    let state = match (is_failing, is_paused, waiting) {
        (true, ..) => "failing",
        (false, true, _) => "retrying",
        (false, false, 0) => "idle",
        (false, false, _) => "sending",
    };
    wire::NotifyTarget {
        name: target.name.to_string(),
        state: state.to_owned(),
        to: target.route.shown(),
        format: match target.route {
            NoticeRoute::Url(_) => target.format.into_str(),
            NoticeRoute::Exec(_) => "exec",
        }
        .to_owned(),
        events: target.events.iter().map(ToString::to_string).collect(),
        waiting,
        next_try_at: status.next_at.map(time),
        last_sent_at: status.last_sent_at.or(stored.last_sent_at).map(time),
        failing_since: failing_since.map(time),
        error: status.error.as_ref().map(|(_, why)| why.clone()),
        error_at: status.error.as_ref().map(|(at, _)| time(*at)),
        since_start: counts,
    }
}

/// Test a target
///
/// Sends an event of this type that is marked as a test, once and at once, and answers with the result. Without a type
/// it is the first that the target asks for. If the target takes it, the events that wait for it are tried at once. Only
/// over the socket.
#[utoipa::path(
    post,
    path = "/v1/notify/{target}/test",
    tag = COLLECTOR,
    params(("target" = String, Path, description = "The target's name, as in the configuration.")),
    request_body = wire::NotifyTest,
    responses((status = 200, body = wire::NotifyTested), ItemErrors, BodyErrors)
)]
async fn post_notify_test(
    State(api): Shared,
    path: Result<Path<String>, PathRejection>,
    test: Result<Json<wire::NotifyTest>, JsonRejection>,
) -> JsonAnswer<wire::NotifyTested> {
    let Path(name) = path.map_err(|rejection| Problem::bad("path", rejection.body_text()))?;
    let Json(test) = test.map_err(|rejection| Problem::body(&rejection))?;
    let settings = Arc::clone(&api.settings.borrow());
    let targets = &settings.notify.targets;
    let names = || targets.iter().map(|target| &*target.name);
    let Some(target) = targets.iter().find(|target| *target.name == *name) else {
        return Err(Problem::unknown(
            "target",
            unknown(&name, &names().collect::<Vec<_>>()),
        ));
    };
    let event = test.event.as_deref();
    let event = event.unwrap_or_else(|| first_kind(target).into_str());
    let kinds = || NoticeKind::VARIANTS.iter().map(NoticeKind::into_str);
    let Some(kind) = NoticeKind::named(event) else {
        let all: Vec<_> = kinds().collect();
        let hint = near(event, kinds()).map_or_else(String::new, |word| format!("; {}", did_you_mean(word)));
        let detail = format!("{event:?} is no event: {}{hint}", all.join(", "));
        return Err(Problem::bad("event", detail));
    };
    let context = DeliveryContext::new(
        api.clock,
        settings.notify.variables.clone(),
        Arc::clone(&api.hooks),
    );
    let accounts = settings
        .accounts
        .rules()
        .iter()
        .map(|rules| rules.id.clone())
        .collect();
    let tested = try_now(target.clone(), kind, accounts, context).await;
    let Some(Trial { id, result, took }) = tested else {
        let why = "the system refuses a thread for the test";
        return Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal error",
            why,
        ));
    };
    let (is_sent, error) = match result {
        TryResult::Sent => {
            // It is reached again, and what waits for it is sent now, too; without a committer nothing is kept.
            api.notices.reached(&name, api.clock.now());
            api.notices.reaches(&name);
            let target = name.as_str().into();
            let _ = api.writes.change_outbox(OutboxChange::Reached { target }).await;
            (true, None)
        }
        TryResult::Retry { why, .. } | TryResult::Failed { why } => (false, Some(why)),
    };
    Ok(Json(wire::NotifyTested {
        target: name,
        event: kind.into_str().to_owned(),
        id: id.to_string(),
        sent: is_sent,
        error,
        took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
    }))
}

fn unknown(name: &str, known: &[&str]) -> String {
    let hint = near(name, known.iter().copied())
        .map_or_else(String::new, |word| format!("; {}", did_you_mean(word)));
    match known {
        [] => format!("{name:?} is no target: the configuration has no [[notify]] table"),
        known => format!("{name:?} is no target; there are {}{hint}", known.join(", ")),
    }
}
