//! What a stream of events carries.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::quota::{ThresholdFired, Window};
use super::summary::{RunTotals, Summary};

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
