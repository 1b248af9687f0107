//! Documents of windows, accounts, verdicts and reports.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Rate-limit windows and verdicts: a part of the summary, and `GET /v1/quota`. `null` is unknown, never
/// zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Quota {
    /// The time that all ages and states in the document refer to.
    #[serde(default)]
    #[schema(required, format = DateTime)]
    pub now: String,
    /// Ordered by provider, account and window.
    pub windows: Vec<Window>,
    /// The configured accounts in their order, then others that were observed.
    pub accounts: Vec<Account>,
    /// Rejections, oldest first; the last 1000.
    pub limit_events: Vec<LimitEvent>,
    /// Thresholds that fired, oldest first; the last 1000.
    pub thresholds_fired: Vec<ThresholdFired>,
    /// The may-start answer without a filter.
    pub may_start: MayStart,
}

/// One window of one account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Window {
    pub provider: String,
    pub account: String,
    /// `five_hour`, `seven_day` and so on; an unknown name is kept unchanged.
    pub window: String,
    /// The share used, 0.42 for 42 %; it may exceed 1.
    pub utilization: Option<f64>,
    /// The time of the last known share: a line may contain a status without a share.
    #[schema(format = DateTime)]
    pub utilization_at: Option<String>,
    pub remaining: Option<u64>,
    pub limit: Option<u64>,
    /// The last status of the provider: `allowed`, `allowed_warning`, `rejected` or `unknown`.
    pub status: String,
    /// `fresh`, `stale`, `expired` (its reset has passed, without newer observations) or `unknown`.
    pub state: String,
    #[schema(format = DateTime)]
    pub reset_at: Option<String>,
    #[schema(format = DateTime)]
    pub window_started_at: Option<String>,
    #[schema(format = DateTime)]
    pub observed_at: String,
    /// The kind of the last observed line.
    pub source: String,
    /// The end of a refusal, while there is one.
    #[schema(format = DateTime)]
    pub exhausted_until: Option<String>,
    /// True if the provider refuses requests: then `utilization` may be far below 1.
    #[serde(default)]
    pub refused: bool,
    pub pace: Pace,
    /// The time at which the window is used up at its pace, if before its reset.
    #[schema(format = DateTime)]
    pub projected_exhaustion_at: Option<String>,
    /// The time at which less than `minimum_left` is left of the window at its pace, if before its reset: from then on
    /// its account is blocked. Without a minimum it is `projected_exhaustion_at`.
    #[serde(default)]
    #[schema(format = DateTime)]
    pub projected_block_at: Option<String>,
    /// Thresholds reached in this window, in percent.
    pub thresholds_crossed: Vec<u8>,
}

impl Quota {
    /// The time and the source of what is shown of a window: of its refusal, else of its share, else of the last line.
    #[must_use]
    pub fn seen<'q>(&'q self, window: &'q Window) -> (&'q str, &'q str) {
        let is_its = |event: &&LimitEvent| {
            (&event.provider, &event.account, &event.window)
                == (&window.provider, &window.account, &window.window)
                && window.window_started_at.as_ref() <= Some(&event.at)
        };
        let refusals = self.limit_events.iter().filter(|_| window.refused);
        if let Some(event) = refusals.filter(is_its).max_by_key(|event| &event.at) {
            return (&event.at, &event.source);
        }
        let share_at = window.utilization.and(window.utilization_at.as_deref());
        let at = share_at.filter(|_| !window.refused);
        (at.unwrap_or(&window.observed_at), &window.source)
    }
}

/// The rate at which a window is used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pace {
    /// The share used minus the share of the window's time that has passed.
    pub delta: Option<f64>,
    /// `hot`, `on_track`, `chill` or `none`.
    pub zone: String,
}

/// A provider account and its verdict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    pub provider: String,
    pub account: String,
    /// `available`, `near_limit`, `exhausted` or `unknown`.
    pub state: String,
    /// The end of an exhaustion; `null` if it has no end or there is none.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    pub causes: Vec<Cause>,
    /// Responses counted in the last five hours.
    pub calls_5h: u64,
    /// The configured quota of calls in five hours; `null` without a quota.
    pub calls_quota: Option<u64>,
    /// Seconds until the oldest of those calls is five hours old; 0 without calls.
    pub oldest_call_leaves_in_s: u64,
    /// Tokens that count for the budget today.
    pub budget_used: u64,
    /// The configured tokens per day; `null` without a budget.
    pub budget: Option<u64>,
    /// The time at which the budget is used up at today's pace, if before midnight.
    #[schema(format = DateTime)]
    pub budget_projected_exhaustion_at: Option<String>,
    /// The stable code of the verdict.
    pub reason: String,
    /// The verdict in words.
    pub sentence: String,
    /// Leases that have not ended.
    #[serde(default)]
    #[schema(required)]
    pub leases: u64,
    /// Recoveries from a block that are not over: leases are granted as they allow.
    #[serde(default)]
    #[schema(required)]
    pub recoveries: Vec<Recovery>,
    /// The poll of the account's own numbers; `null` where the configuration has none.
    #[serde(default)]
    pub poll: Option<AccountPoll>,
    /// The configured thresholds of its windows, in percent.
    #[serde(default)]
    #[schema(required)]
    pub thresholds: Vec<u8>,
    /// The percent that must be left of a window for a new run to start, by window.
    #[serde(default)]
    #[schema(required)]
    pub minimum_left: BTreeMap<String, u8>,
}

/// The poll of an account's own numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccountPoll {
    /// `claude-cli`, `cache-file`, `usage-api` or `wham`.
    pub via: String,
    /// `idle`, `in_flight`, `backoff`, or what keeps it from asking until the file has another credential: `expired`,
    /// `forbidden`, `missing`.
    pub state: String,
    /// The time of the last reading, since the start of the collector.
    #[schema(format = DateTime)]
    pub last_ok: Option<String>,
    /// The error since then.
    pub last_error: Option<PollError>,
    /// The time of the next poll; `null` while another credential is awaited.
    #[schema(format = DateTime)]
    pub next: Option<String>,
    /// The end of the wait after failures.
    #[schema(format = DateTime)]
    pub retry_at: Option<String>,
}

/// An error of a poll. The account's figures stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PollError {
    /// `expired`, `forbidden`, `missing_credentials`, `rate_limited`, `network`, `server`, `bad_answer`,
    /// `other_account`, `command` or `cache`.
    pub code: String,
    #[schema(format = DateTime)]
    pub at: String,
    /// The cause in words.
    pub detail: String,
    /// The remedy in words.
    pub advice: String,
}

/// The recovery of an account from a block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recovery {
    /// The family of models, as in the name of its window; empty for the whole account.
    pub scope: String,
    /// `open` (blocked), `due` (the next lease tries it), `half_open` (a lease is trying it) or `ramp` (let in step by
    /// step).
    pub state: String,
    /// The reason for `open`, as in the answer to `POST /v1/leases`: `refused`, `cool_down`, `headroom`, or `no_evidence`, as
    /// the runs that tried it showed nothing.
    pub by: Option<String>,
    /// The end of `open`, the last time for an answer of `half_open`, or the next step of `ramp`.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Leases that the present step of `ramp` allows.
    pub cap: Option<u32>,
    /// Failed tries in a row.
    pub failures: u8,
    /// The lease that is trying it.
    pub lease: Option<String>,
}

/// A cause of an exhaustion.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cause {
    /// `observed` (from the provider), `predicted` (from the budget), `manual` (by an operator) or
    /// `throttled` (the provider refused without naming a window).
    pub kind: String,
    /// `null` until it is removed.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// A stable code.
    pub code: String,
    pub reason: String,
    /// The origin of the information.
    pub source: String,
    /// The window, if the cause is one.
    pub window: Option<String>,
}

/// A rejection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LimitEvent {
    #[schema(format = DateTime)]
    pub at: String,
    pub provider: String,
    pub account: String,
    pub window: String,
    #[schema(format = DateTime)]
    pub resets_at: Option<String>,
    pub source: String,
}

/// A threshold that fired: once for each account, window and threshold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ThresholdFired {
    /// Grows by one with each threshold; a client that resumes requests those after the last number it has.
    pub number: u64,
    /// The time of the line that reached the threshold.
    #[schema(format = DateTime)]
    pub at: String,
    pub provider: String,
    pub account: String,
    pub window: String,
    /// In percent.
    pub threshold: u8,
    pub utilization: f64,
    #[schema(format = DateTime)]
    pub reset_at: Option<String>,
}

/// `GET /v1/may-start`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MayStart {
    /// The time of the answer.
    #[serde(default)]
    #[schema(required, format = DateTime)]
    pub now: String,
    /// `allow`, `wait`, `deny` or `unknown`.
    pub decision: String,
    /// The time for a retry: the earliest time at which an exhausted candidate recovers, if the decision is
    /// `wait` or `unknown`.
    #[schema(format = DateTime)]
    pub retry_at: Option<String>,
    /// The same in seconds from the time of the answer, rounded up, for clients with another clock.
    pub retry_in_s: Option<u64>,
    /// The place to start, if the decision is `allow`.
    pub chosen: Option<Choice>,
    /// A stable code.
    pub reason: String,
    /// The reason why the collector does not allow what it otherwise would: it is starting, or cannot read
    /// something it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    /// A sentence for people.
    pub sentence: String,
    /// All candidates, in their order.
    pub candidates: Vec<Candidate>,
    /// True if the answer reserves nothing: others may get the same one. `POST /v1/leases` reserves.
    #[serde(default)]
    #[schema(required)]
    pub advice: bool,
}

/// A place to start a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    pub provider: String,
    pub account: String,
    /// The model to use there; `null` if the question had none.
    pub model: Option<String>,
}

/// A candidate account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    pub provider: String,
    pub account: String,
    pub model: Option<String>,
    pub verdict: String,
    pub state: String,
    /// The share left of the tightest window.
    pub headroom: Option<f64>,
    /// The name of that window.
    pub binding_window: Option<String>,
    /// The age of the information on it: `fresh`, `stale`, `expired` or `unknown`.
    pub freshness: String,
    pub source: Option<String>,
    #[schema(format = DateTime)]
    pub until: Option<String>,
    pub causes: Vec<Cause>,
    pub reason: String,
    pub sentence: String,
    /// Leases of the account that have not ended.
    #[serde(default)]
    #[schema(required)]
    pub leases: u64,
}

/// `POST /v1/accounts/{provider}/{account}/mark`: marks an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// `exhausted`, or `available` to remove the mark.
    pub state: String,
    /// RFC 3339; without it, until the mark is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Shown with the verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `GET /v1/quota/history`: the last observation of a stretch of time, by default of a stored minute.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPoint {
    #[schema(format = DateTime)]
    pub at: String,
    pub utilization: Option<f64>,
    #[schema(format = DateTime)]
    pub reset_at: Option<String>,
    pub status: String,
    pub source: String,
    /// The largest share in that time.
    #[serde(default)]
    pub max: Option<f64>,
    /// True if the provider refused a request in that time.
    #[serde(default)]
    #[schema(required)]
    pub refused: bool,
}

/// `POST /v1/observations`: a source of observations, exactly one of `statusline`, `headers`,
/// `rate_limit_event`, `usage`, `cachedUsageUtilization` and `rate_limits`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TellObservations {
    /// The account of the limits: a configured one, or any with `accounts.open`. Default: the provider's
    /// `default` account if it is configured, else the only one; the provider defaults to `claude`.
    pub provider: Option<String>,
    pub account: Option<String>,
    /// Instead of provider and account: the account of this run.
    pub run: Option<String>,
    /// The time of the observation; default now. At most a minute ahead.
    #[schema(format = DateTime)]
    pub observed_at: Option<String>,
    /// The standard input of a status line: its `rate_limits` are read, with shares from 0 to 100. A window
    /// without `used_percentage` is left out.
    pub statusline: Option<serde_json::Value>,
    /// Headers of a response of the provider: a map of names to values or to lists of one value.
    pub headers: Option<serde_json::Value>,
    /// The HTTP status of that response. A 429 without a refused window pauses the account, until its
    /// `retry-after` if it has one.
    pub status: Option<u64>,
    /// A line of type `rate_limit_event`, or its `rate_limit_info`.
    pub rate_limit_event: Option<serde_json::Value>,
    /// The body of a usage API, Claude's `/api/oauth/usage` or Codex's `wham/usage`; shares are 0 to 100 in
    /// both. Or the copy that Claude Code keeps, as in `cachedUsageUtilization`.
    pub usage: Option<serde_json::Value>,
    /// The member of this name in the file `.claude.json`: `fetchedAtMs`, the time of the observation, and
    /// `utilization`, the body.
    #[serde(rename = "cachedUsageUtilization")]
    pub cached_usage_utilization: Option<serde_json::Value>,
    /// Limits of Codex: `rate_limits` of a rollout's line, or the answer of its app server to
    /// `account/rateLimits/read`.
    pub rate_limits: Option<serde_json::Value>,
}

/// The result of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Observed {
    /// Number of observations in the report.
    pub observations: u64,
    /// The current windows of the reported accounts.
    pub windows: Vec<Window>,
}
