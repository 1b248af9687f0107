//! Requests for leases.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use xxhash_rust::xxh3::xxh3_64;

use super::view::{with_accounts, without_lease};
use crate::api::document::{leases, quota};
use crate::api::health::{eval_context, hanging_store, snapshot_and_unseen};
use crate::api::http::problem::{Problem, blocking};
use crate::api::openapi::{BodyErrors, Conflict, ItemErrors, QUOTA};
use crate::api::quota::account::unknown_account;
use crate::api::state::{ApiState, Shared};
use crate::api::wire;
use crate::config::{Period, check_account_name};
use crate::model::{AccountId, Millis, RunId, window_name};
use crate::quota::admission::{Admission, Unseen, Verdict};
use crate::quota::lease::capacity::CapacityLimit;
use crate::quota::lease::grant::{GRANT_MAX, Grant, LeaseRequest, grant};
use crate::quota::lease::{KEPT_MS, KeyedAnswer, LeaseBook, LeaseChange};
use crate::store::{LeaseDesk, StoreError};
use crate::verdict::AdmissionQuestion;
use crate::verdict::places::{AskedAccounts, swept};

/// Longest key, name of a holder, and name of a model, in bytes.
const KEY_BYTES_MAX: usize = 128;
/// The time in which a run has to write something.
const TTL_DEFAULT: Duration = Duration::from_mins(2);
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_mins(10);
/// Most windows with a given cost.
const COSTS_MAX: usize = 32;
/// Longest wait for the commit of a grant.
const COMMITTED_WITHIN: Duration = Duration::from_secs(10);

/// Reserve places for runs
///
/// Grants up to `n` leases, each of which holds a place for `ttl`; a lease whose run has written something lasts as
/// long as the run. The grant is committed before the answer. The same key gets the same answer for 24
/// hours, so a request may be repeated after a lost connection; a refusal is not kept, and a later request with its key
/// is decided anew. 409 if the key was used for another request, or a run has a lease already.
#[utoipa::path(
    post,
    path = "/v1/leases",
    tag = QUOTA,
    request_body = wire::AcquireLeases,
    responses(
        (status = 201, body = wire::LeaseAnswer, description = "The leases are granted."),
        (status = 200, body = wire::LeaseAnswer, description = "None is granted; the answer has the reason, and the time of the next attempt."),
        ItemErrors,
        (status = 409, response = Conflict),
        BodyErrors
    )
)]
pub async fn post_leases(
    State(api): Shared,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| Problem::no_body(&rejection))?;
    let wanted: wire::AcquireLeases =
        serde_json::from_slice(&body).map_err(|error| Problem::bad("body", error))?;
    let request = request(&wanted)?;
    let question = AdmissionQuestion {
        provider: wanted.provider,
        account: wanted.account,
        model: wanted.model,
    };
    if let Some(unseen) = hanging_store(&api) {
        return Err(Problem::store(unseen.why));
    }
    let asked = Arc::clone(&api);
    let (live, unseen) = blocking(move || {
        let live = asked.statuses.live();
        let (snapshot, unseen) = snapshot_and_unseen(&asked)?;
        Ok((with_accounts(&snapshot, &live)?, unseen))
    })
    .await?;
    let asked = Arc::clone(&api);
    let deciding = api.writes.lease(move |desk, book| {
        decide(
            &asked,
            (desk, book),
            (&request, &question),
            &live,
            unseen.as_ref(),
        )
    });
    let decided = tokio::time::timeout(COMMITTED_WITHIN, deciding).await.map_err(|_| {
        let seconds = COMMITTED_WITHIN.as_secs();
        Problem::store(format!(
            "the grant was not committed within {seconds} s and may be later; repeat the request with its key"
        ))
    })?;
    let (status, text) = decided??;
    let kind = [(header::CONTENT_TYPE, "application/json")];
    Ok((status, kind, text.into_vec()).into_response())
}

/// What was decided: the status and the document, or the problem.
type Decided = Result<(StatusCode, Box<[u8]>), Problem>;

fn decide(
    api: &ApiState,
    (desk, book): (&LeaseDesk<'_>, &LeaseBook),
    (request, question): (&LeaseRequest, &AdmissionQuestion),
    live: &BTreeMap<RunId, AccountId>,
    unseen: Option<&Unseen>,
) -> Result<(LeaseChange, Decided), StoreError> {
    let refused = |problem: Problem| Ok((LeaseChange::default(), Err(problem)));
    let settings = Arc::clone(&api.settings.borrow());
    let context = eval_context(&settings, unseen, api.clock.now());
    let stored = match book.answers.get(&request.key) {
        Some(stored) => Some(stored.clone()),
        None => desk.snapshot.lease_answer(&request.key)?,
    };
    if let Some(stored) = stored.filter(|stored| context.now.saturating_sub(stored.at) < KEPT_MS) {
        if stored.hash != request.hash {
            let detail =
                "key: another request had this key in the last 24 hours; take a new one for each request";
            return refused(Problem::conflict(detail).field("key"));
        }
        return Ok((LeaseChange::default(), Ok((StatusCode::CREATED, stored.text))));
    }
    let known = desk.known(context.since())?;
    let asked = AskedAccounts::new(&known, &context, question);
    if asked.admission.candidates.is_empty() {
        return refused(unknown_account(question, asked.admission.sentence));
    }
    let named = asked.check_class(request.class.as_deref());
    let costs = request.cost.keys().map(|window| &**window);
    let named = named.map_err(|why| Problem::bad("class", why)).and_then(|()| {
        let checked = asked.check_windows(&known, costs);
        checked.map_err(|why| Problem::bad("cost", why))
    });
    if let Err(problem) = named {
        return refused(problem);
    }
    let mut change = swept(book, &known, &context);
    let mut book = book.clone();
    book.apply(&change);
    for run in &request.runs {
        if let Some(lease) = book.of_run(run) {
            let detail = format!("runs: run {run} has the lease {} already", leases::id(lease));
            return refused(Problem::conflict(detail).field("runs"));
        }
        if live.contains_key(run) {
            let detail = format!("runs: run {run} is live already, and counts without a lease");
            return refused(Problem::conflict(detail).field("runs"));
        }
    }
    let live = without_lease(&book, live);
    // With something unseen no account is free, whatever its windows are.
    let places = match unseen {
        Some(_) => Vec::new(),
        None => asked.places(&known, &context, &live),
    };
    let mut granted = grant(request, &places, &book, context.now);
    drop(places);
    book.apply(&granted.change);
    let document = answer(asked.admission, &granted, &book, context.now);
    let text: Box<[u8]> = serde_json::to_vec(&document).unwrap_or_default().into();
    if granted.leases.is_empty() {
        return Ok((change, Ok((StatusCode::OK, text))));
    }
    change.written.append(&mut granted.change.written);
    change.probes.append(&mut granted.change.probes);
    change.answer = Some(KeyedAnswer {
        key: request.key.clone(),
        hash: request.hash,
        at: context.now,
        text: text.clone(),
    });
    Ok((change, Ok((StatusCode::CREATED, text))))
}

/// The answer: the admission as the grant changes it, and the leases.
fn answer(mut admission: Admission, granted: &Grant, book: &LeaseBook, now: Millis) -> wire::LeaseAnswer {
    if let Some(first) = granted.leases.first() {
        let place = admission
            .candidates
            .iter()
            .position(|one| one.account == first.account);
        if admission.decision != Verdict::Allow
            && let Some(reason) = granted.by.and_then(CapacityLimit::reason)
        {
            admission.reason = reason;
        }
        (admission.decision, admission.chosen, admission.retry_at) = (Verdict::Allow, place, None);
        let count = granted.leases.len();
        let places = if count == 1 { "place is" } else { "places are" };
        admission.sentence = format!("{count} {places} reserved; {}", admission.sentence);
    } else {
        // A recovery is known, whatever is known of the windows.
        let is_known = admission.decision == Verdict::Unknown
            && admission.unseen.is_none()
            && granted.by.is_some_and(|by| by != CapacityLimit::Verdict);
        if is_known || matches!(admission.decision, Verdict::Allow | Verdict::Wait) {
            admission.decision = Verdict::Wait;
            admission.chosen = None;
            if let Some(by) = granted.by {
                admission.reason = by.reason().unwrap_or(admission.reason);
            }
            let first = granted.capacities.first().map(|(account, _)| account.to_string());
            let words = granted.by.map_or("the collector is not ready", |by| by.words());
            let first = first.unwrap_or_else(|| "any account".to_owned());
            admission.sentence = match granted.too_few {
                0 => format!("no place is free in {first}: {words}"),
                free => format!("only {free} places are free, fewer than `min`: {first}: {words}"),
            };
        }
        if admission.decision != Verdict::Deny {
            admission.retry_at = granted.retry_at.or(admission.retry_at);
        }
    }
    wire::LeaseAnswer {
        may_start: wire::MayStart {
            advice: false,
            ..quota::may_start(&admission, book, now)
        },
        leases: granted.leases.iter().map(leases::lease).collect(),
        by: granted.by.map(|by| by.into_str().to_owned()),
    }
}

/// Checks a request.
fn request(wanted: &wire::AcquireLeases) -> Result<LeaseRequest, Problem> {
    let count = wanted.n.unwrap_or(1);
    if !(1..=GRANT_MAX).contains(&count) {
        return Err(Problem::bad("n", format!("{count} is not from 1 to {GRANT_MAX}")));
    }
    let min = wanted.min.unwrap_or(1);
    if !(1..=count).contains(&min) {
        return Err(Problem::bad(
            "min",
            format!("{min} is not from 1 to n, which is {count}"),
        ));
    }
    if wanted.runs.len() > count as usize {
        let detail = format!("{} runs for n = {count} leases", wanted.runs.len());
        return Err(Problem::bad("runs", detail));
    }
    let runs = wanted.runs.iter().map(|run| RunId::new(run));
    let runs: Vec<RunId> = runs
        .collect::<Result<_, _>>()
        .map_err(|error| Problem::bad("runs", error))?;
    if let Some(twice) = (1..runs.len()).find(|place| runs[..*place].contains(&runs[*place])) {
        return Err(Problem::bad("runs", format!("{} is there twice", runs[twice])));
    }
    if let Some(class) = &wanted.class {
        check_account_name(class).map_err(|why| Problem::bad("class", why))?;
    }
    if let Some(model) = &wanted.model {
        line("model", model)?;
    }
    Ok(LeaseRequest {
        key: line("key", &wanted.key)?,
        hash: xxh3_64(&serde_json::to_vec(wanted).unwrap_or_default()),
        count,
        min,
        class: wanted.class.as_deref().map(Box::from),
        runs,
        cost: cost(&wanted.cost)?,
        ttl: ttl(wanted.ttl.as_deref())?
            .unwrap_or(TTL_DEFAULT)
            .as_millis()
            .try_into()
            .unwrap_or(Millis::MAX),
        holder: wanted
            .holder
            .as_deref()
            .map(|holder| line("holder", holder))
            .transpose()?,
    })
}

/// A short text on one line.
fn line(field: &str, text: &str) -> Result<Box<str>, Problem> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if (1..=KEY_BYTES_MAX).contains(&text.len()) && is_plain {
        return Ok(text.into());
    }
    let detail = format!("1 to {KEY_BYTES_MAX} printable ASCII characters are allowed");
    Err(Problem::bad(field, detail))
}

fn cost(given: &BTreeMap<String, f64>) -> Result<BTreeMap<Box<str>, f64>, Problem> {
    if given.len() > COSTS_MAX {
        return Err(Problem::bad(
            "cost",
            format!("at most {COSTS_MAX} windows are allowed"),
        ));
    }
    let mut cost = BTreeMap::new();
    for (window, share) in given {
        // What is no name of a window is refused where the observed ones are known.
        let window: Box<str> = window_name::canonical(&line("cost", window)?).into();
        if !(*share > 0.0 && *share <= 1.0) {
            let detail = format!("{window}: {share} is not a share above 0 and up to 1, as 0.02 for 2 %");
            return Err(Problem::bad("cost", detail));
        }
        if cost.insert(window.clone(), *share).is_some() {
            return Err(Problem::bad(
                "cost",
                format!("{window} is there twice, by two of its names"),
            ));
        }
    }
    Ok(cost)
}

/// A given time to live.
pub fn ttl(given: Option<&str>) -> Result<Option<Duration>, Problem> {
    let Some(text) = given else {
        return Ok(None);
    };
    let Period(ttl) = text.parse().map_err(|error| Problem::bad("ttl", error))?;
    if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
        return Err(Problem::bad("ttl", format!("{text:?} is not from 1s to 10m")));
    }
    Ok(Some(ttl))
}
