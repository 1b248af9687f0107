//! Windows, accounts, the verdict on them, and what is reported of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Rate-limit windows and verdicts: a part of the summary, and `GET /v1/quota`. `null` is unknown, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Quota {
    /// By provider, account and window.
    pub windows: Vec<Window>,
    /// Those of the configuration in its order, then others that were seen.
    pub accounts: Vec<Account>,
    /// Rejections, oldest first; the last 1000.
    pub limit_events: Vec<LimitEvent>,
    /// Thresholds that fired, oldest first; the last 1000.
    pub thresholds_fired: Vec<ThresholdFired>,
    /// The answer to "may I start another run?", without a wish for an account or a model.
    pub may_start: MayStart,
}

/// One window of one account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Window {
    pub provider: String,
    pub account: String,
    /// `five_hour`, `seven_day` and so on; a name nobody knows is kept as it came.
    pub window: String,
    /// The share used, 0.42 for 42 %; more than 1 occurs.
    pub utilization: Option<f64>,
    /// When the share was last told: a line may tell a status and no share.
    #[schema(format = DateTime)]
    pub utilization_at: Option<String>,
    pub remaining: Option<u64>,
    pub limit: Option<u64>,
    /// What the provider said last: `allowed`, `allowed_warning`, `rejected` or `unknown`.
    pub status: String,
    /// `fresh`, `stale`, `expired` (its reset has passed, nothing newer is known) or `unknown`.
    pub state: String,
    #[schema(format = DateTime)]
    pub reset_at: Option<String>,
    #[schema(format = DateTime)]
    pub window_started_at: Option<String>,
    #[schema(format = DateTime)]
    pub observed_at: String,
    /// The kind of line that was observed last.
    pub source: String,
    /// Until when requests are refused, if they are.
    #[schema(format = DateTime)]
    pub exhausted_until: Option<String>,
    /// Whether it is the provider that refuses: then `utilization` may be far below 1.
    #[serde(default)]
    pub refused: bool,
    pub pace: Pace,
    /// When it runs out at its pace, if before its reset.
    #[schema(format = DateTime)]
    pub projected_exhaustion_at: Option<String>,
    /// Thresholds reached in this window, in percent.
    pub thresholds_crossed: Vec<u8>,
}

/// How fast a window is used.
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
    /// When an exhaustion ends; `null` for one without an end, and if there is none.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    pub causes: Vec<Cause>,
    /// Responses counted in the last five hours.
    pub calls_5h: u64,
    /// The calls wanted at most in five hours; `null` without a quota.
    pub calls_quota: Option<u64>,
    /// Seconds until the oldest of those calls is five hours old; 0 without calls.
    pub oldest_call_leaves_in_s: u64,
    /// Tokens that count for the budget today.
    pub budget_used: u64,
    /// Tokens wanted at most today; `null` without a budget.
    pub budget: Option<u64>,
    /// When the budget runs out at today's pace, if before midnight.
    #[schema(format = DateTime)]
    pub budget_projected_exhaustion_at: Option<String>,
    /// The stable code of the verdict.
    pub reason: String,
    /// The verdict in words.
    pub sentence: String,
}

/// Why an account is exhausted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cause {
    /// `observed` (the provider said so), `predicted` (the budget), `manual` (an operator) or `throttled` (the provider
    /// refused without naming a window).
    pub kind: String,
    /// `null` until it is taken back.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// As a stable code.
    pub code: String,
    pub reason: String,
    /// Where it is known from.
    pub source: String,
    /// The window, where it is one.
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
    /// Grows by one with each: who was away asks for those after the last one known.
    pub number: u64,
    /// The time of the line that reached it.
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
    /// `allow`, `wait`, `deny` or `unknown`.
    pub decision: String,
    /// When to ask again: the earliest time at which an exhausted candidate recovers, if the decision is `wait` or
    /// `unknown`.
    #[schema(format = DateTime)]
    pub retry_at: Option<String>,
    /// The same in seconds from the time of the answer, rounded up: for those whose clock is another.
    pub retry_in_s: Option<u64>,
    /// Where to start, if the decision is `allow`.
    pub chosen: Option<Choice>,
    /// A stable code.
    pub reason: String,
    /// Why the collector does not allow what it otherwise would: it is starting, or cannot read what it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
    /// For people.
    pub sentence: String,
    /// All that were considered, in their order.
    pub candidates: Vec<Candidate>,
}

/// Where a run may start.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Choice {
    pub provider: String,
    pub account: String,
    /// The model to use there; `null` if none was asked for.
    pub model: Option<String>,
}

/// One account that was considered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    pub provider: String,
    pub account: String,
    pub model: Option<String>,
    pub verdict: String,
    pub state: String,
    /// The share left of the tightest window.
    pub headroom: Option<f64>,
    /// That window.
    pub binding_window: Option<String>,
    /// How old what is known of it is: `fresh`, `stale`, `expired` or `unknown`.
    pub freshness: String,
    pub source: Option<String>,
    #[schema(format = DateTime)]
    pub until: Option<String>,
    pub causes: Vec<Cause>,
    pub reason: String,
    pub sentence: String,
}

/// `POST /v1/accounts/{provider}/{account}/mark`: marks an account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// `exhausted`, or `available` to take that back.
    pub state: String,
    /// RFC 3339; without it, until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Shown to whoever asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `GET /v1/quota/history`: one point for each minute in which something was observed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryPoint {
    #[schema(format = DateTime)]
    pub at: String,
    pub utilization: Option<f64>,
    #[schema(format = DateTime)]
    pub reset_at: Option<String>,
    pub status: String,
    pub source: String,
}

/// `POST /v1/observations`: a source of observations, exactly one of `statusline`, `headers`, `rate_limit_event`,
/// `usage`, `cachedUsageUtilization` and `rate_limits`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TellObservations {
    /// Whose limits: an account that is configured, or any with `accounts.open`. Left out, the provider's `default`
    /// account if that is configured, else the only one; `claude` if the provider is left out too.
    pub provider: Option<String>,
    pub account: Option<String>,
    /// Instead: the account of this run.
    pub run: Option<String>,
    /// When it was observed; now, if it is left out. At most a minute ahead.
    #[schema(format = DateTime)]
    pub observed_at: Option<String>,
    /// What a status line is given on its standard input: `rate_limits` is read, with shares from 0 to 100. A window
    /// without `used_percentage` is left out.
    pub statusline: Option<serde_json::Value>,
    /// Headers of an answer of the provider: a map of names to values or to lists of one value.
    pub headers: Option<serde_json::Value>,
    /// The HTTP status of that answer. A 429 in which no window is refused pauses the account, until its `retry-after`
    /// if it has one.
    pub status: Option<u64>,
    /// A line of type `rate_limit_event`, or its `rate_limit_info`.
    pub rate_limit_event: Option<serde_json::Value>,
    /// The body of a usage API, Claude's `/api/oauth/usage` or Codex's `wham/usage`: shares are 0 to 100 in both. Or the
    /// copy of Claude's that the agent keeps, as in `cachedUsageUtilization`.
    pub usage: Option<serde_json::Value>,
    /// The member of this name in the file `.claude.json`: `fetchedAtMs`, which is when it was observed, and
    /// `utilization`, the body.
    #[serde(rename = "cachedUsageUtilization")]
    pub cached_usage_utilization: Option<serde_json::Value>,
    /// Limits of Codex: `rate_limits` of a rollout's line, or the answer of its app server to `account/rateLimits/read`.
    pub rate_limits: Option<serde_json::Value>,
}

/// What became of told observations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Observed {
    /// How many were in it.
    pub observations: u64,
    /// The windows of the accounts they are of, as they are now.
    pub windows: Vec<Window>,
}
