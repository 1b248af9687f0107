//! Records of calls that a client makes itself, as a router does: no transcript contains them.

mod item;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document;
use crate::api::http::problem::{Problem, blocking};
use crate::api::openapi::{BadRequest, USAGE, Unavailable};
use crate::api::quota::account;
use crate::api::runs::no_such_run;
use crate::api::state::{ApiState, RequestSnapshot};
use crate::api::wire;
use crate::committer::handle::{CommitterGone, PostRefused, RECORDS_WAITING_MAX};
use crate::model::{AccountId, Millis, PostedRecord};
use crate::store::PostOutcome;
use crate::sync::lock;
use item::{AccountsOfRuns, CheckedRecord, check, run_of};

/// The path of the route: its requests may be larger than others.
pub const RECORDS_PATH: &str = "/v1/records";
/// Most records of one request.
const RECORDS_MAX: usize = 1000;
/// Largest record, in bytes.
const RECORD_BYTES_MAX: usize = 64 << 10;
/// Longest wait for the commit of a request.
const COMMITTED_WITHIN: Duration = Duration::from_secs(10);
/// `Retry-After` of a post that was not taken, in seconds.
const POST_AGAIN_AFTER_S: u64 = 1;

/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(post_records))
}

/// Post records of calls
///
/// For calls that no transcript contains, as those of a router: one record, an array, or one on each line
/// (`application/x-ndjson`); up to 1,000 records of up to 64 KiB, and 1 MiB together. The answer comes after all valid
/// records are committed in one transaction. A request may be sent again as a whole after a timeout, a 5xx or a lost
/// connection: a record with a known id and the same content is a `duplicate`, with another content a `conflict`, and
/// neither counts. 400 if the body itself cannot be read, 413 if it is too large; then nothing is counted.
#[utoipa::path(
    post,
    path = "/v1/records",
    tag = USAGE,
    request_body(content((wire::PostRecord = "application/json"), (String = "application/x-ndjson"))),
    responses(
        (status = 200, body = wire::Posted, description = "The valid records are committed."),
        (status = 400, response = BadRequest),
        (status = 413, response = BadRequest),
        (status = 503, response = Unavailable)
    )
)]
async fn post_records(
    State(api): State<Arc<ApiState>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<wire::Posted>, Problem> {
    let body = body.map_err(|rejection| Problem::no_body(&rejection))?;
    let given = items(&body, is_ndjson(&headers))?;
    if let Some(why) = lock(&api.committer).problem(api.store.path()) {
        return Err(Problem::store(why));
    }
    let now = api.clock.now();
    let asked = Arc::clone(&api);
    let checked = blocking(move || check_all(&asked, given, now)).await?;
    let records = checked.iter().filter_map(|item| item.result.as_ref().ok());
    let records: Vec<PostedRecord> = records.map(|checked| checked.record.clone()).collect();
    let outcomes = if records.is_empty() {
        Vec::new()
    } else {
        post(&api, records).await?
    };
    Ok(Json(answer(checked, outcomes)))
}

async fn post(api: &ApiState, records: Vec<PostedRecord>) -> Result<Vec<PostOutcome>, Problem> {
    let posted = tokio::time::timeout(COMMITTED_WITHIN, api.writes.post(records)).await;
    match posted {
        Ok(Ok(outcomes)) => Ok(outcomes),
        Ok(Err(PostRefused::Gone)) => Err(CommitterGone.into()),
        Ok(Err(PostRefused::Full)) => {
            let why = format!("{RECORDS_WAITING_MAX} records wait for their commit; none of these was taken");
            Err(
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the queue is full", why)
                    .retry_after(POST_AGAIN_AFTER_S),
            )
        }
        Err(_) => {
            let seconds = COMMITTED_WITHIN.as_secs();
            Err(Problem::store(format!(
                "the records were not committed within {seconds} s and may be later; send them again"
            )))
        }
    }
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    matches!(
        kind.trim().to_ascii_lowercase().as_str(),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines"
    )
}

/// One record of a request: its id, and the record or what is wrong with it.
struct Item {
    id: Option<String>,
    result: Result<CheckedRecord, String>,
}

/// The records of a body; a line that is not JSON is an error of its own.
fn items(body: &[u8], is_ndjson: bool) -> Result<Vec<Result<Value, String>>, Problem> {
    let bad = |error: serde_json::Error| Problem::bad("body", error);
    let too_large = |detail: String| {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body is too large",
            format!("body: {detail}"),
        )
        .field("body")
    };
    let texts: Vec<&[u8]> = if is_ndjson {
        let lines = body.split(|byte| *byte == b'\n');
        lines.filter(|line| !line.trim_ascii().is_empty()).collect()
    } else if body.trim_ascii_start().starts_with(b"[") {
        let list: Vec<&RawValue> = serde_json::from_slice(body).map_err(bad)?;
        list.into_iter().map(|raw| raw.get().as_bytes()).collect()
    } else {
        let one: &RawValue = serde_json::from_slice(body).map_err(|error| {
            let is_several =
                error.is_syntax() && body.trim_ascii_start().starts_with(b"{") && body.contains(&b'\n');
            let hint = if is_several {
                "; several records are an array, or lines with Content-Type: application/x-ndjson"
            } else {
                ""
            };
            Problem::bad("body", format!("{error}{hint}"))
        })?;
        vec![one.get().as_bytes()]
    };
    if texts.is_empty() {
        return Err(Problem::bad("body", "there is no record in it"));
    }
    if texts.len() > RECORDS_MAX {
        return Err(too_large(format!(
            "{} records, at most {RECORDS_MAX} are accepted",
            texts.len()
        )));
    }
    if let Some(at) = texts.iter().position(|text| text.len() > RECORD_BYTES_MAX) {
        let detail = format!(
            "record {at} has {} bytes, at most {RECORD_BYTES_MAX} are accepted",
            texts[at].len()
        );
        return Err(too_large(detail));
    }
    let parsed = texts.into_iter().map(|text| {
        let value = serde_json::from_slice(text);
        value.map_err(|error| format!("not JSON: {error}"))
    });
    Ok(parsed.collect())
}

/// Checks each record.
fn check_all(api: &ApiState, given: Vec<Result<Value, String>>, now: Millis) -> Result<Vec<Item>, Problem> {
    let mut snapshot = RequestSnapshot::of(api);
    let runs = accounts_of_runs(api, &mut snapshot, &given)?;
    let mut known: HashMap<(String, String), Result<AccountId, String>> = HashMap::new();
    let mut failed = None;
    let mut named = |provider: &str, name: &str| {
        let key = (provider.to_owned(), name.to_owned());
        let account = known.entry(key).or_insert_with(|| {
            let account = account::usable(api, &mut snapshot, Some(provider), Some(name));
            account.map_err(|problem| {
                let why = problem.reason("account").to_owned();
                if problem.is_of_server() {
                    failed = Some(problem);
                }
                why
            })
        });
        account.clone()
    };
    let items = given.into_iter().map(|value| match value {
        Err(why) => Item {
            id: None,
            result: Err(why),
        },
        Ok(value) => Item {
            id: value.get("id").and_then(Value::as_str).map(str::to_owned),
            result: check(&value, &runs, &mut named, now),
        },
    });
    let items = items.collect();
    match failed {
        Some(problem) => Err(problem),
        None => Ok(items),
    }
}

/// The accounts of each run that a record names.
fn accounts_of_runs(
    api: &ApiState,
    snapshot: &mut RequestSnapshot<'_>,
    given: &[Result<Value, String>],
) -> Result<AccountsOfRuns, Problem> {
    let settings = Arc::clone(&api.settings.borrow());
    let mut runs = AccountsOfRuns::new();
    for id in given.iter().flatten().filter_map(run_of) {
        if runs.contains_key(&id) {
            continue;
        }
        let snapshot = snapshot.get()?;
        let accounts = match snapshot.run_info(&id)? {
            Some(info) => Ok(settings.accounts.of_providers(&id, &info.labels, info.account)),
            // Its directory may not be listed yet.
            None if !api.ready.is_cancelled() => {
                let why = format!("run: {id} is not known yet, and the collector is starting");
                return Err(Problem::store(why));
            }
            None => Err(no_such_run(snapshot, &id)?),
        };
        runs.insert(id, accounts);
    }
    Ok(runs)
}

/// The answer; `outcomes` has those of the valid records, in order.
fn answer(items: Vec<Item>, outcomes: Vec<PostOutcome>) -> wire::Posted {
    let mut answer = wire::Posted::default();
    let mut outcomes = outcomes.into_iter();
    for (index, item) in (0u64..).zip(items) {
        let (status, detail) = match item.result {
            Err(why) => ("invalid", Some(why)),
            Ok(checked) => match outcomes.next() {
                Some(PostOutcome::Counted) | None => {
                    answer.counted += 1;
                    answer.clock_suspect += u64::from(checked.is_clock_suspect);
                    continue;
                }
                Some(other) => refusal(other, &checked.record),
            },
        };
        if status == "duplicate" {
            answer.duplicate += 1;
        } else {
            answer.rejected += 1;
        }
        answer.items.push(wire::PostedItem {
            index,
            id: item.id,
            status: status.to_owned(),
            detail,
        });
    }
    answer
}

fn refusal(outcome: PostOutcome, record: &PostedRecord) -> (&'static str, Option<String>) {
    match outcome {
        PostOutcome::Counted | PostOutcome::Duplicate => ("duplicate", None),
        PostOutcome::Conflict => {
            let detail = "id: another content was posted under it, and stays";
            ("conflict", Some(detail.to_owned()))
        }
        PostOutcome::NoRun => {
            let run = record.run.as_ref().map(ToString::to_string).unwrap_or_default();
            ("invalid", Some(format!("run: there is no run {run}")))
        }
        PostOutcome::NoAccount => {
            let detail = "account: there is no room for another account";
            ("invalid", Some(detail.to_owned()))
        }
        PostOutcome::TooOld(horizon) => {
            let horizon = document::time(horizon);
            (
                "invalid",
                Some(format!(
                    "time: too old; keys of records before {horizon} were removed"
                )),
            )
        }
    }
}
