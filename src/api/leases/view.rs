//! The state of leases as of a snapshot, and the number of further runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use crate::api::document::leases;
use crate::api::health::{eval_context, snapshot_and_unseen};
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::http::query::StrictQuery;
use crate::api::openapi::{ItemErrors, QUOTA};
use crate::api::quota::account::unknown_account;
use crate::api::state::{ApiState, Shared};
use crate::api::wire;
use crate::model::{AccountId, Millis, RunId};
use crate::quota::lease::LeaseBook;
use crate::quota::lease::capacity::{capacity, cost_of};
use crate::store::{KnownAccounts, Snapshot, StoreError};
use crate::verdict::places::{AskedAccounts, swept};
use crate::verdict::{AdmissionQuestion, EvalContext};

/// Leases, and the live runs without one.
pub struct LeaseView {
    pub book: LeaseBook,
    /// By account.
    pub live: BTreeMap<AccountId, u32>,
}

impl LeaseView {
    /// The state as of a snapshot, swept; `live` are the runs with news a moment ago.
    ///
    /// # Errors
    /// The store does not answer.
    pub fn new(
        snapshot: &Snapshot<'_>,
        known: &KnownAccounts,
        context: &EvalContext<'_>,
        live: &[RunId],
    ) -> Result<Self, StoreError> {
        let mut book = snapshot.lease_book()?;
        let swept = swept(&book, known, context);
        book.apply(&swept);
        let live = without_lease(&book, &with_accounts(snapshot, live)?);
        Ok(Self { book, live })
    }
}

/// Those of the runs that are not stopped, with their accounts.
pub fn with_accounts(
    snapshot: &Snapshot<'_>,
    runs: &[RunId],
) -> Result<BTreeMap<RunId, AccountId>, StoreError> {
    let mut accounts = BTreeMap::new();
    for run in runs {
        // One that was stopped a moment ago is live by its last news.
        if let Some(info) = snapshot.run_info(run)?.filter(|info| info.stopped.is_none()) {
            accounts.insert(run.clone(), info.account);
        }
    }
    Ok(accounts)
}

/// The live runs of each account that have no lease.
pub fn without_lease(book: &LeaseBook, live: &BTreeMap<RunId, AccountId>) -> BTreeMap<AccountId, u32> {
    // A place of another account is not that of the run.
    let leased: BTreeSet<(&RunId, &AccountId)> = (book.leases.values())
        .filter(|lease| lease.bound_at.is_some())
        .filter_map(|lease| Some((lease.run.as_ref()?, &lease.account)))
        .collect();
    let mut counts = BTreeMap::new();
    for (_, account) in live.iter().filter(|run| !leased.contains(run)) {
        *counts.entry(account.clone()).or_insert(0u32) += 1;
    }
    counts
}

/// Writes the changes by the clock and by what was observed, if there are any; returns the next time at which there
/// will be some by the clock.
///
/// # Errors
/// The store does not answer, or the committer has stopped.
pub async fn sweep(api: &Arc<ApiState>) -> JsonAnswer<Option<Millis>> {
    let asked = Arc::clone(api);
    let (is_needed, next) = blocking(move || {
        let settings = Arc::clone(&asked.settings.borrow());
        let (snapshot, unseen) = snapshot_and_unseen(&asked)?;
        let context = eval_context(&settings, unseen.as_ref(), asked.clock.now());
        let book = snapshot.lease_book()?;
        // What is not read yet may be what a probe waits for.
        if unseen.is_some() || book.leases.is_empty() && book.probes.is_empty() {
            return Ok((false, None));
        }
        let known = snapshot.accounts(context.now)?;
        Ok((
            !swept(&book, &known, &context).is_empty(),
            book.next_change(context.now),
        ))
    })
    .await?;
    if is_needed {
        let asked = Arc::clone(api);
        let next = api.writes.lease(move |desk, book| {
            let settings = Arc::clone(&asked.settings.borrow());
            let context = eval_context(&settings, None, asked.clock.now());
            let known = desk.known(context.now)?;
            let change = swept(book, &known, &context);
            let mut after = book.clone();
            after.apply(&change);
            Ok((change, after.next_change(context.now)))
        });
        return Ok(Json(next.await?));
    }
    Ok(Json(next))
}

/// The accounts whose capacity is requested; a parameter left out matches any.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct CapacityQuery {
    /// Only accounts of this provider.
    provider: Option<String>,
    /// Only the account of this name.
    account: Option<String>,
    /// The model that the runs will use.
    model: Option<String>,
    /// The class of the runs.
    class: Option<String>,
}

/// Capacity of accounts
///
/// The number of further runs that each account may start, and what bounds it, in the order in which leases are
/// granted. It reserves nothing.
#[utoipa::path(
    get,
    path = "/v1/capacity",
    tag = QUOTA,
    params(CapacityQuery),
    responses((status = 200, body = Vec<wire::Capacity>), ItemErrors)
)]
pub async fn get_capacity(
    State(api): Shared,
    StrictQuery(query): StrictQuery<CapacityQuery>,
) -> JsonAnswer<Vec<wire::Capacity>> {
    let question = AdmissionQuestion {
        provider: query.provider,
        account: query.account,
        model: query.model,
    };
    blocking(move || {
        let settings = Arc::clone(&api.settings.borrow());
        let live = api.statuses.live();
        let (snapshot, unseen) = snapshot_and_unseen(&api)?;
        let context = eval_context(&settings, unseen.as_ref(), api.clock.now());
        let known = snapshot.accounts(context.since())?;
        let view = LeaseView::new(&snapshot, &known, &context, &live)?;
        let asked = AskedAccounts::new(&known, &context, &question);
        if asked.admission.candidates.is_empty() {
            return Err(unknown_account(&question, asked.admission.sentence));
        }
        let class = query.class.as_deref();
        asked
            .check_class(class)
            .map_err(|why| Problem::bad("class", why))?;
        let places = asked.places(&known, &context, &view.live);
        let document = places.iter().map(|place| {
            let cost = cost_of(place.account, &view.book, class, &BTreeMap::new());
            let capacity = capacity(place, &view.book, class, &cost, context.now);
            leases::capacity(&place.account.id, &place.account.start, &capacity)
        });
        Ok(Json(document.collect()))
    })
    .await
}
