//! The documents others read: their field names and shapes are a contract that only grows.
//!
//! Times are RFC 3339 in UTC with milliseconds. Token sums beyond `u64` are shown as `u64::MAX`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The version of the summary document.
pub const SCHEMA: u32 = 1;

/// `replay --json`, `status --json`, `GET /v1/summary`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    pub schema: u32,
    /// The time every age and state in the document refers to.
    #[schema(format = DateTime)]
    pub now: String,
    /// Responses counted; calls inside responses and responses without figures are left out.
    pub messages: u64,
    /// Calls inside responses that their own figures leave out: an advisor's, compactions, attempts that were declined.
    pub advisor_calls: u64,
    pub totals: Totals,
    pub by_run: BTreeMap<String, RunTotals>,
    pub by_model: BTreeMap<String, Totals>,
    /// Keyed by the UTC day of the usage, `YYYY-MM-DD`.
    pub by_day: BTreeMap<String, Totals>,
    pub lines: Lines,
    pub files: u64,
    /// Bytes read, those of skipped lines included.
    pub bytes: u64,
    #[serde(default)]
    pub coverage: Coverage,
    pub quota: Quota,
}

/// What was counted beside what agents report of themselves, and what is known to be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    /// Sums that agents report of their sessions (`cost-state`, `result.modelUsage`). They are never added to `totals`.
    pub reported: Tokens,
    /// The part of `reported` that was counted.
    pub counted: Tokens,
    /// The part of `reported` that stands in no line: titles, recaps, compactions, ends that were never written.
    pub unlogged: Tokens,
    /// Sessions seen.
    pub sessions: u64,
    /// Of those, the ones whose agent reported anything.
    pub sessions_reported: u64,
    /// Messages of which no line says that they were over: their output may be that of their beginning.
    pub unfinished: u64,
    /// Responses of which no figures are known: neither messages nor calls until a better copy comes.
    pub without_figures: u64,
    /// Runs with something missing.
    pub by_run: BTreeMap<String, RunCoverage>,
}

/// What is known to be missing of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunCoverage {
    pub unlogged_tokens: u64,
    pub unfinished: u64,
    pub without_figures: u64,
}

/// Tokens by kind; `total_tokens` is their sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_creation_input_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub total_tokens: u64,
}

/// Token sums; `total_tokens` is input + output + cache creation + cache read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Totals {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_creation_input_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub cache_creation_5m: u64,
    pub cache_creation_1h: u64,
    pub web_search_requests: u64,
    pub total_tokens: u64,
}

/// One run's part of the summary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunTotals {
    pub messages: u64,
    #[serde(flatten)]
    pub totals: Totals,
    pub malformed_lines: u64,
}

/// Line counts; `read = usage + ignored + malformed + oversized`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lines {
    pub read: u64,
    /// Lines with usage that can count, copies included.
    pub usage: u64,
    /// Of those, the copies of a response that was known.
    pub duplicate: u64,
    pub ignored: u64,
    pub malformed: u64,
    pub oversized: u64,
    /// Of the usage lines, those without a usable time.
    pub clock_suspect: u64,
}

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
    pub bucket: String,
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
    pub bucket: Option<String>,
}

/// A rejection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LimitEvent {
    #[schema(format = DateTime)]
    pub at: String,
    pub provider: String,
    pub account: String,
    pub bucket: String,
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
    pub bucket: String,
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

/// `GET /v1/runs`: a row of the list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    pub id: String,
    /// `waiting` (started, and its directory is not there yet), `live`, `idle`, `stopped`, `gone` (its directory is no
    /// longer there) or `failing` (reading it keeps failing).
    pub state: String,
    /// By which account it is counted.
    pub provider: String,
    pub account: String,
    pub labels: BTreeMap<String, String>,
    /// The directory that holds its logs, if that is not below the runs directory.
    #[serde(default)]
    pub mount: Option<String>,
    #[schema(format = DateTime)]
    pub first_seen: String,
    /// When someone started it; `null` for one that was only found.
    #[schema(format = DateTime)]
    pub registered_at: Option<String>,
    /// The earliest line time read.
    #[schema(format = DateTime)]
    pub first_activity: Option<String>,
    /// The latest line time read.
    #[schema(format = DateTime)]
    pub last_activity: Option<String>,
    #[schema(format = DateTime)]
    pub stopped_at: Option<String>,
    /// `asked`, `idle` (no news for long) or `vanished` (its directory is gone).
    pub stop_reason: Option<String>,
    /// Bytes waiting to be read, as of the last look.
    pub lag_bytes: u64,
    #[serde(flatten)]
    pub totals: RunTotals,
    pub advisor_calls: u64,
    pub lines: Lines,
    pub files: u64,
    pub bytes: u64,
    /// How often this run's tailer was restarted since the collector started.
    pub restarts: u32,
    /// What is wrong, in a sentence; absent if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// `false` while something of it cannot be read, as `problem` says: what was counted is less than what was used; else
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    /// What lies in its directory and is not read, a sentence for each kind; absent if nothing does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// `PUT /v1/runs/{id}`: what is said of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartRun {
    /// At most 32: names of 1 to 64 of A-Z a-z 0-9 . _ - /, values of up to 256 bytes without control characters.
    /// `provider` and `account` decide by which account the run is counted.
    pub labels: BTreeMap<String, String>,
    /// The directory that holds its logs, an absolute path below one of `runs.mount_roots`; left out, they stay where
    /// they are, at first in `mount` of the run's directory. It cannot change once something was read.
    pub mount: Option<String>,
}

/// `GET /v1/runs/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunDetail {
    #[serde(flatten)]
    pub run: Run,
    pub by_model: BTreeMap<String, Totals>,
    pub by_day: BTreeMap<String, Totals>,
}

/// `GET /v1/usage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    #[schema(format = DateTime)]
    pub from: Option<String>,
    #[schema(format = DateTime)]
    pub to: Option<String>,
    /// `day`, `hour`, `run`, `model`, `account` or `label:KEY`.
    pub group_by: String,
    /// Those with usage, by key.
    pub rows: Vec<UsageRow>,
    /// The sums of the rows.
    pub totals: UsageSums,
}

/// A row of [`Usage`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// A UTC day, the start of an hour, a run's id, a model, PROVIDER/NAME or a label's value; `null` for forgotten runs
    /// and for runs without the label.
    pub key: Option<String>,
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageSums {
    pub messages: u64,
    pub advisor_calls: u64,
    #[serde(flatten)]
    pub totals: Totals,
}

/// `GET /api/usage/daily`: a day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DailyUsage {
    #[schema(format = Date)]
    pub date: String,
    pub tokens_total: u64,
    pub tokens_input: u64,
    pub tokens_output: u64,
    pub tokens_cache_read: u64,
    pub tokens_cache_create: u64,
    /// Runs that used something on it.
    pub run_count: u64,
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

/// `GET /api/usage`. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebUsage {
    /// Never known here.
    #[schema(value_type = Option<String>)]
    pub plan: Option<String>,
    /// When a window was last observed.
    pub observed_at: Option<i64>,
    /// Nothing is asked of the provider here, so nothing fails.
    pub last_error: Option<String>,
    pub last_error_at: Option<i64>,
    /// By id.
    pub buckets: Vec<WebBucket>,
    pub pacing: BTreeMap<String, WebPace>,
}

/// A window of [`WebUsage`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebBucket {
    /// `five_hour`, `weekly`, `sonnet_weekly`, or as the provider calls it.
    pub id: String,
    /// 0.42 is 42 %. At least 1 while the window is refused, or the account is marked as exhausted.
    pub utilization: f64,
    pub reset_at: Option<i64>,
    pub window_started_at: Option<i64>,
}

/// How a window's use compares with the time that has passed of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebPace {
    pub delta: f64,
    /// `chill`, `on_track`, `hot` or `none`.
    pub zone: String,
}

/// `GET /api/usage/runs/{id}`: a model's row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebModel {
    pub model: String,
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_create: u64,
}

/// `GET /api/runs`.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum WebRunsAnswer {
    /// With `limit`.
    Page(WebRuns),
    /// Without it.
    All(Vec<WebRun>),
}

/// `GET /api/runs?limit=N`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebRuns {
    pub items: Vec<WebRun>,
    /// Runs on all pages.
    pub total: u64,
}

/// A run of [`WebRuns`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebRun {
    /// A number where it is one.
    pub id: serde_json::Value,
    /// The label `project`, a number where it is one.
    pub project_id: serde_json::Value,
    /// As in `GET /v1/runs`.
    pub state: String,
    pub started_at: i64,
    pub finished_at: Option<i64>,
    pub tokens_input: u64,
    pub tokens_output: u64,
    pub tokens_cache_read: u64,
    pub tokens_cache_create: u64,
    pub tokens_total: u64,
    /// Malformed lines.
    pub usage_parse_errors: u64,
}

/// Frame of `/api/ws/usage`: the state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebSnapshot {
    /// `snapshot`
    #[serde(rename = "type")]
    pub kind: String,
    pub state: WebUsage,
}

/// Frame of `/api/ws/usage`: a threshold was reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebThreshold {
    /// `threshold_crossed`
    #[serde(rename = "type")]
    pub kind: String,
    pub bucket_id: String,
    pub threshold: u8,
    pub reset_at: Option<i64>,
}

/// Frame of `/api/ws/runs/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebRunUsage {
    /// `usage`
    #[serde(rename = "type")]
    pub kind: String,
    pub snapshot: WebDelta,
}

/// What a run used more than before, or less.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebDelta {
    pub model: String,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cache_read_tokens: i64,
    pub cache_create_tokens: i64,
}

/// What a commit adds to sums; negative where a better copy took something away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delta {
    pub messages: i64,
    pub advisor_calls: i64,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cache_creation_input_tokens: i64,
    pub cache_read_input_tokens: i64,
    pub total_tokens: i64,
}

/// Event `snapshot`: everything, as of a commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotEvent {
    pub sequence: u64,
    pub snapshot: Summary,
}

/// Event `gap`: something was missed. The sums of the snapshot have it; states of runs are in `/v1/runs` alone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GapEvent {
    pub sequence: u64,
    /// `too_old` (not kept any more), `too_slow`, `restarted` (the collector), or `unknown` (no such id).
    pub reason: String,
    /// The last commit that was heard of.
    pub missed_from: u64,
    pub snapshot: Summary,
}

/// Event `usage`: what a commit read of a run. If it read lines without usage only, `models` is empty and `delta` is zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageEvent {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    pub run: String,
    pub provider: String,
    pub account: String,
    /// What is added, by model.
    pub models: BTreeMap<String, Delta>,
    /// What is added in all.
    pub delta: Delta,
    pub lines_read: u64,
    pub malformed_lines_read: u64,
    /// The run's totals after it.
    pub totals: RunTotals,
}

/// Event `window`: a window is in another state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WindowEvent {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    /// Whether a new window began.
    pub rolled_over: bool,
    pub window: Window,
}

/// Event `threshold`: one was reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ThresholdEvent {
    pub sequence: u64,
    #[serde(flatten)]
    pub threshold: ThresholdFired,
}

/// Event `account`: the verdict on one is another now.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccountEvent {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    pub provider: String,
    pub account: String,
    /// The state it had; `null` for an account that is new.
    pub from: Option<String>,
    /// `available`, `near_limit`, `exhausted` or `unknown`.
    pub state: String,
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// The stable code of the verdict.
    pub reason: String,
    pub sentence: String,
}

/// Event `health`: how the collector is, told at first, as of then, and at each change. It has no id and is not told again
/// to those who resume, who are told how it is then.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthEvent {
    #[schema(format = DateTime)]
    pub at: String,
    /// As in `GET /healthz`.
    pub status: String,
    pub ready: bool,
    pub reasons: Vec<String>,
}

/// Event `run`: one began or ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunEvent {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    pub run: String,
    pub provider: String,
    pub account: String,
    pub labels: BTreeMap<String, String>,
    /// `started`, `resumed`, `stopped` or `forgotten`.
    pub phase: String,
    /// Why it was stopped: `asked`, `idle` or `vanished`.
    pub reason: Option<String>,
    pub totals: RunTotals,
}

/// `GET /healthz`, `GET /readyz`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, `degraded` (everything is counted, but slower, or something is to be looked at) or `unhealthy` (something
    /// that should be counted is not).
    pub status: String,
    pub ready: bool,
    /// One sentence for each thing that is not as it should be.
    pub reasons: Vec<String>,
    /// One sentence for each kind of what lies where transcripts are expected and is not read: links, archives, other
    /// agents' files. The first 20, and how many more. And that the log is not written, while it is not. That is the
    /// operator's to judge and leaves the status as it is.
    #[serde(default)]
    pub notices: Vec<String>,
    /// How changes are noticed: `events` or `polling`.
    pub watching: String,
    /// The system call by which files are opened: `openat2`, or `openat` where a sandbox does not let it.
    #[serde(default)]
    pub reading: String,
    /// Directories watched, and those that should be and are not.
    pub watches: u64,
    pub unwatched: u64,
    /// How often more changed at once than could be told; each was answered by a full scan.
    pub overflows: u64,
    /// How often scanning had to take the place of events, for want of watches.
    #[serde(default)]
    pub fallbacks: u64,
    /// How often another directory stood in the place of a watched one: a mount, an unmount, a new one.
    #[serde(default)]
    pub replaced: u64,
    /// How often something was wrong with a run, or with the runs directory, that was well before.
    #[serde(default)]
    pub problems: u64,
    /// Whether everything that was there at the start has been read.
    pub backlog_done: bool,
    /// Bytes waiting to be read.
    pub lag_bytes: u64,
    pub commits: u64,
    /// How often the database had to be opened again after an error.
    pub reopened: u64,
    /// When the collector started.
    #[schema(format = DateTime)]
    pub since: String,
}

/// Every answer that is not a success.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    pub status: u16,
    pub title: String,
    pub detail: String,
    /// Which part of the request is meant, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// `GET /version`: which program answers, and which documents it speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    pub name: String,
    pub version: String,
    /// The first part of the paths of this contract.
    pub api: String,
    /// The version of the summary document.
    pub summary_schema: u32,
    /// The version of the database.
    pub store_schema: u64,
    /// What it was built from; `null` if the build did not say.
    pub commit: Option<String>,
}

/// `GET /v1/settings`: the settings the collector runs with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SettingsInEffect {
    /// The configuration file that was read; `null` if there was none.
    pub config_file: Option<String>,
    /// Every key, as `config show --json` prints it and docs/tokentail.schema.json describes it.
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
}
