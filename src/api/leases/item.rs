//! Routes of single leases: list, renew, release, revoke.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::acquire::ttl;
use crate::api::document::leases::{self, parse_id};
use crate::api::document::time;
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::http::query::{NoQuery, StrictQuery, flag};
use crate::api::openapi::{Gone, ItemErrors, QUOTA, ReadErrors};
use crate::api::state::{ApiState, Shared};
use crate::api::wire;
use crate::model::Millis;
use crate::quota::lease::{Lease, LeaseBook, LeaseChange, LeaseEnd, LeaseNumber};
use crate::store::{Snapshot, StoreError};

/// All leases
///
/// Those that have not ended, in the order of their grants.
#[utoipa::path(
    get,
    path = "/v1/leases",
    tag = QUOTA,
    responses((status = 200, body = Vec<wire::Lease>), ReadErrors)
)]
pub async fn get_leases(State(api): Shared, _: StrictQuery<NoQuery>) -> JsonAnswer<Vec<wire::Lease>> {
    blocking(move || {
        let now = api.clock.now();
        let book = api.store.snapshot()?.lease_book()?;
        let there = book.leases.values().filter(|lease| !lease.is_expired(now));
        Ok(Json(there.map(leases::lease).collect()))
    })
    .await
}

/// One lease
///
/// 410 if it has ended, with the reason, for a day.
#[utoipa::path(
    get,
    path = "/v1/leases/{id}",
    tag = QUOTA,
    params(("id" = String, Path, description = "The id of the lease.")),
    responses((status = 200, body = wire::Lease), ItemErrors, (status = 410, response = Gone))
)]
pub async fn get_lease(
    State(api): Shared,
    path: Result<Path<String>, PathRejection>,
    _: StrictQuery<NoQuery>,
) -> JsonAnswer<wire::Lease> {
    let id = id_in(path)?;
    blocking(move || {
        let snapshot = api.store.snapshot()?;
        let book = snapshot.lease_book()?;
        let lease = find(&snapshot, &book, &id, api.clock.now())?;
        Ok(Json(leases::lease(&lease?)))
    })
    .await
}

/// Renew a lease
///
/// It lasts `ttl` from now on, unless it lasts longer already. A lease whose run has written something needs no renewal. 410 if it
/// has ended, with the reason.
#[utoipa::path(
    put,
    path = "/v1/leases/{id}",
    tag = QUOTA,
    params(("id" = String, Path, description = "The id of the lease.")),
    request_body(content = Option<wire::RenewLease>, description = "May be left out."),
    responses((status = 200, body = wire::Lease), ItemErrors, (status = 410, response = Gone))
)]
pub async fn put_lease(
    State(api): Shared,
    path: Result<Path<String>, PathRejection>,
    body: Result<Bytes, BytesRejection>,
) -> JsonAnswer<wire::Lease> {
    let id = id_in(path)?;
    let body = body.map_err(|rejection| Problem::no_body(&rejection))?;
    let wanted = if body.trim_ascii().is_empty() {
        wire::RenewLease::default()
    } else {
        serde_json::from_slice(&body).map_err(|error| Problem::bad("body", error))?
    };
    let ttl = ttl(wanted.ttl.as_deref())?;
    let ttl = ttl.map(|ttl| Millis::try_from(ttl.as_millis()).unwrap_or(Millis::MAX));
    let clock = api.clock;
    let renewed = api.writes.lease(move |desk, book| {
        let now = clock.now();
        let mut lease = match find(&desk.snapshot, book, &id, now)? {
            Ok(lease) => lease,
            Err(problem) => return Ok((LeaseChange::default(), Err(problem))),
        };
        let mut change = LeaseChange::default();
        if !lease.is_kept() {
            lease.renew(ttl, now);
            change.written.push(lease.clone());
        }
        Ok((change, Ok(Json(leases::lease(&lease)))))
    });
    renewed.await?
}

/// The parameters of a release.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReleaseQuery {
    /// True for a release by an operator, which the holder reads as `revoked`.
    #[serde(default, deserialize_with = "flag")]
    revoke: bool,
}

/// Release a lease
///
/// Gives the place back; also for a lease that has ended already. A run that has started goes on, and counts without a
/// lease.
#[utoipa::path(
    delete,
    path = "/v1/leases/{id}",
    tag = QUOTA,
    params(("id" = String, Path, description = "The id of the lease."), ReleaseQuery),
    responses((status = 204, description = "It has ended."), ItemErrors)
)]
pub async fn delete_lease(
    State(api): Shared,
    path: Result<Path<String>, PathRejection>,
    StrictQuery(ReleaseQuery { revoke }): StrictQuery<ReleaseQuery>,
) -> Result<StatusCode, Problem> {
    let id = id_in(path)?;
    let end = if revoke {
        LeaseEnd::Revoked
    } else {
        LeaseEnd::Released
    };
    let clock = api.clock;
    let released = api.writes.lease(move |desk, book| {
        let mut change = LeaseChange::default();
        let answer = match find(&desk.snapshot, book, &id, clock.now())? {
            Ok(lease) => {
                change.ended.push((lease, end));
                Ok(())
            }
            Err(problem) if problem.is_gone() => Ok(()),
            Err(problem) => Err(problem),
        };
        Ok((change, answer))
    });
    released.await??;
    Ok(StatusCode::NO_CONTENT)
}

/// The lease that a start of a run names.
///
/// # Errors
/// There is none, or it has ended.
pub async fn named_lease(api: &Arc<ApiState>, id: String) -> Result<Lease, Problem> {
    let api = Arc::clone(api);
    blocking(move || {
        let snapshot = api.store.snapshot()?;
        let book = snapshot.lease_book()?;
        let lease = find(&snapshot, &book, &id, api.clock.now())?;
        lease.map_err(|problem| problem.field("lease"))
    })
    .await
}

fn id_in(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    let Path(id) = path.map_err(|rejection| Problem::bad("id", rejection.body_text()))?;
    Ok(id)
}

/// The lease of an id that has not ended, or the problem.
fn find(
    snapshot: &Snapshot<'_>,
    book: &LeaseBook,
    id: &str,
    now: Millis,
) -> Result<Result<Lease, Problem>, StoreError> {
    let unknown = || Problem::unknown("id", format!("there is no lease {id:?}"));
    let Some((number, token)) = parse_id(id) else {
        return Ok(Err(unknown()));
    };
    match book.leases.get(&number) {
        Some(lease) if lease.token != token => Ok(Err(unknown())),
        Some(lease) if lease.is_expired(now) => Ok(Err(gone(id, LeaseEnd::Expired, lease.expires_at))),
        Some(lease) => Ok(Ok(lease.clone())),
        None => Ok(Err(ended(snapshot, id, (number, token))?.unwrap_or_else(unknown))),
    }
}

fn ended(
    snapshot: &Snapshot<'_>,
    id: &str,
    (number, token): (LeaseNumber, u64),
) -> Result<Option<Problem>, StoreError> {
    let end = snapshot.lease_end(number)?.filter(|end| end.token == token);
    Ok(end.map(|end| gone(id, end.end, end.at)))
}

fn gone(id: &str, end: LeaseEnd, at: Millis) -> Problem {
    let why = match end {
        LeaseEnd::Released => "it was released",
        LeaseEnd::Expired => "it expired: its run wrote nothing in time, and nobody renewed it",
        LeaseEnd::Revoked => "an operator revoked it",
        LeaseEnd::RunEnded => "its run ended",
    };
    Problem::gone(format!("lease {id} ended at {}: {why}", time(at)))
}
