//! Reports of limits that no log contains.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::document::quota;
use crate::api::http::problem::{JsonAnswer, Problem, blocking};
use crate::api::openapi::{BodyErrors, Conflict, ItemErrors, QUOTA};
use crate::api::quota::account;
use crate::api::runs::no_such_run;
use crate::api::state::{ApiState, RequestSnapshot};
use crate::api::wire;
use crate::model::{AccountId, Millis, Observation, RunId};
use crate::parse::claude::limits::{ReportSource, reported};
use crate::quota::plausible::{AHEAD_MAX_MS, impossible};
use crate::store::AccountObservations;

/// Most sources in one request.
const SOURCES_MAX: usize = 100;
/// The routes of this file.
#[must_use]
pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::default().routes(routes!(post_observations))
}

/// One source of observations as received; [`wire::TellObservations`] documents the fields.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with a source of observations")]
struct Given {
    provider: Option<String>,
    account: Option<String>,
    run: Option<String>,
    observed_at: Option<String>,
    status: Option<u64>,
    statusline: Option<Box<RawValue>>,
    headers: Option<Box<RawValue>>,
    rate_limit_event: Option<Box<RawValue>>,
    usage: Option<Box<RawValue>>,
    #[serde(rename = "cachedUsageUtilization")]
    kept_usage: Option<Box<RawValue>>,
    rate_limits: Option<Box<RawValue>>,
}

/// Report observed limits
///
/// For data that no log contains: the input of a status line, the headers of a response, a
/// `rate_limit_event`, the body of a usage API, limits of Codex. One object, or an array of up to 100.
/// Reports are merged like observations in logs: a repeated report changes nothing, and one older than the
/// current state goes only into the history. 422 if a report contains no reading; then nothing changes.
#[utoipa::path(
    post,
    path = "/v1/observations",
    tag = QUOTA,
    request_body = wire::TellObservations,
    responses(
        (status = 200, body = wire::Observed, description = "The observations are committed; these are the current windows."),
        ItemErrors,
        (status = 409, response = Conflict),
        BodyErrors
    )
)]
async fn post_observations(
    State(api): State<Arc<ApiState>>,
    body: Result<Bytes, BytesRejection>,
) -> JsonAnswer<wire::Observed> {
    let body = body.map_err(|rejection| Problem::no_body(&rejection))?;
    let (given, is_list) = parse(&body)?;
    let now = api.clock.now();
    let asked = Arc::clone(&api);
    let by_account = blocking(move || by_account(&asked, &given, is_list, now)).await?;
    let observations = by_account
        .values()
        .map(|of_account| of_account.len() as u64)
        .sum();
    let accounts: Vec<AccountId> = by_account.keys().cloned().collect();
    let by_account = by_account.into_iter();
    let reports = by_account.map(|(account, observations)| AccountObservations {
        account,
        observations,
    });
    api.writes.observe(reports.collect()).await?;
    blocking(move || {
        let rules = Arc::clone(&api.settings.borrow());
        let known = api.store.snapshot()?.accounts(Millis::MAX)?;
        let mut windows = Vec::new();
        for account in accounts {
            for (name, state) in known.get(&account).iter().flat_map(|sums| &sums.windows) {
                let minimums = rules.accounts.minimums(&account);
                windows.push(quota::window(&account, (name, state), minimums, now));
            }
        }
        Ok(Json(wire::Observed {
            observations,
            windows,
        }))
    })
    .await
}

/// The observations of each account.
fn by_account(
    api: &ApiState,
    given: &[Given],
    is_list: bool,
    now: Millis,
) -> Result<BTreeMap<AccountId, Vec<Observation>>, Problem> {
    let mut snapshot = RequestSnapshot::of(api);
    let mut by_account: BTreeMap<AccountId, Vec<Observation>> = BTreeMap::new();
    for (number, one) in given.iter().enumerate() {
        let of = |problem: Problem| if is_list { problem.in_part(number) } else { problem };
        let observations = one.observations(now).map_err(of)?;
        let account = one.target_account(api, &mut snapshot).map_err(of)?;
        by_account.entry(account).or_default().extend(observations);
    }
    Ok(by_account)
}

/// The sources, and whether they came as a list.
fn parse(body: &[u8]) -> Result<(Vec<Given>, bool), Problem> {
    let bad = |error: serde_json::Error| Problem::bad("body", error);
    let is_list = body.trim_ascii_start().starts_with(b"[");
    let given: Vec<Given> = if is_list {
        serde_json::from_slice(body).map_err(bad)?
    } else {
        vec![serde_json::from_slice(body).map_err(bad)?]
    };
    match given.len() {
        0 => Err(Problem::bad("body", "the array is empty")),
        1..=SOURCES_MAX => Ok((given, is_list)),
        count => Err(Problem::bad(
            "body",
            format!("{count} sources, at most {SOURCES_MAX} are accepted"),
        )),
    }
}

impl Given {
    fn observations(&self, now: Millis) -> Result<Vec<Observation>, Problem> {
        let at = match &self.observed_at {
            None => now,
            Some(text) => text
                .parse::<Timestamp>()
                .map_err(|error| {
                    Problem::bad("observed_at", format!("no RFC 3339 time with an offset: {error}"))
                })?
                .as_millisecond(),
        };
        let check_time = |field: &'static str, at: Millis| {
            if at <= now.saturating_add(AHEAD_MAX_MS) {
                return Ok(());
            }
            let seconds = AHEAD_MAX_MS / 1000;
            let detail = format!("that is more than {seconds} s ahead of this host's clock");
            Err(Problem::bad(field, detail))
        };
        check_time("observed_at", at)?;
        let (map, status) = (self.headers.as_deref().map(RawValue::get), self.status);
        let sources = [
            (
                "statusline",
                self.statusline
                    .as_deref()
                    .map(RawValue::get)
                    .map(ReportSource::Statusline),
            ),
            ("headers", map.map(|map| ReportSource::Headers { map, status })),
            (
                "rate_limit_event",
                self.rate_limit_event
                    .as_deref()
                    .map(RawValue::get)
                    .map(ReportSource::Event),
            ),
            (
                "usage",
                self.usage.as_deref().map(RawValue::get).map(ReportSource::Usage),
            ),
            (
                "cachedUsageUtilization",
                self.kept_usage
                    .as_deref()
                    .map(RawValue::get)
                    .map(ReportSource::Kept),
            ),
            (
                "rate_limits",
                self.rate_limits
                    .as_deref()
                    .map(RawValue::get)
                    .map(ReportSource::Codex),
            ),
        ];
        let mut given = (sources.into_iter()).filter_map(|(field, source)| Some((field, source?)));
        let (Some((field, source)), None) = (given.next(), given.next()) else {
            let names = sources.map(|(field, _)| field).join(", ");
            return Err(Problem::bad("body", format!("give exactly one of {names}")));
        };
        if self.status.is_some() && field != "headers" {
            return Err(Problem::bad(
                "status",
                "it is the HTTP status of an answer with these headers",
            ));
        }
        let observations = reported(source, at);
        if observations.is_empty() {
            let detail = format!("{field}: there is no reading of a limit in it");
            return Err(
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "nothing observed", detail).field(field),
            );
        }
        for seen in &observations {
            let (name, at) = (&seen.window, seen.observed_at.unwrap_or(at));
            // A kept copy carries its own time of fetching.
            check_time("fetchedAtMs", at)?;
            if let Some(why) = impossible(seen, at) {
                return Err(Problem::bad(field, format!("{name}: {why}")));
            }
        }
        Ok(observations)
    }

    /// The account that the observations belong to.
    fn target_account(
        &self,
        api: &ApiState,
        snapshot: &mut RequestSnapshot<'_>,
    ) -> Result<AccountId, Problem> {
        let Some(run) = &self.run else {
            return account::usable(api, snapshot, self.provider.as_deref(), self.account.as_deref());
        };
        if self.provider.is_some() || self.account.is_some() {
            return Err(Problem::bad("run", "give either a run or an account"));
        }
        let run = RunId::new(run).map_err(|error| Problem::bad("run", error))?;
        let snapshot = snapshot.get()?;
        match snapshot.account_of(&run)? {
            Some(account) => Ok(account),
            None => Err(Problem::unknown("run", no_such_run(snapshot, &run)?)),
        }
    }
}
