//! Documents of the event stream.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::quota::{ThresholdFired, Window};
use super::summary::{BriefSummary, RunTotals, Summary};

/// Differences of sums in a commit; negative where a better copy has less.
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

/// The present figures, as the stream was asked for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum StreamSnapshot {
    /// With `by_run` of the runs that the filter names, and their states. Where `kinds` has neither `usage` nor
    /// `run`, `by_day` and `by_model` are empty, and so is `by_run` unless the filter names runs.
    Full(Box<Summary>),
    Brief(Box<BriefSummary>),
}

impl Default for StreamSnapshot {
    fn default() -> Self {
        Self::Full(Box::default())
    }
}

/// Event `snapshot`: everything, as of a commit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotEvent {
    pub sequence: u64,
    pub snapshot: StreamSnapshot,
}

/// Event `gap`: events were missed. The snapshot contains their sums and the states of runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct GapEvent {
    pub sequence: u64,
    /// `too_old` (no longer kept), `too_slow`, `restarted` (the collector), or `unknown` (no such id).
    pub reason: String,
    /// The last commit that the client received.
    pub missed_from: u64,
    pub snapshot: StreamSnapshot,
}

/// Event `usage`: data of one run in one commit, or of the posted records of no run, by account. If only lines without usage were read, `models` is empty and
/// `delta` is zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageEvent {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    /// `null` for posted records of no run, of which `totals` are the totals of all accounts.
    pub run: Option<String>,
    pub provider: String,
    pub account: String,
    /// The differences by model.
    pub models: BTreeMap<String, Delta>,
    /// The sum of the differences.
    pub delta: Delta,
    pub lines_read: u64,
    pub malformed_lines_read: u64,
    /// The run's totals after the commit.
    pub totals: RunTotals,
}

/// Event `window`: the state of a window changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WindowEvent {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    /// True if a new window began.
    pub rolled_over: bool,
    pub window: Window,
}

/// Event `threshold`: a threshold was reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ThresholdEvent {
    pub sequence: u64,
    #[serde(flatten)]
    pub threshold: ThresholdFired,
}

/// Event `account`: the verdict on an account changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AccountEvent {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    pub provider: String,
    pub account: String,
    /// The previous state; `null` for a new account.
    pub from: Option<String>,
    /// `available`, `near_limit`, `exhausted` or `unknown`.
    pub state: String,
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// The stable code of the verdict.
    pub reason: String,
    pub sentence: String,
}

/// Event `health`: the state of the collector, sent at first and on each change. It has no id; a resumed
/// stream begins with the current state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HealthEvent {
    #[schema(format = DateTime)]
    pub at: String,
    /// As in `GET /healthz`.
    pub status: String,
    pub ready: bool,
    pub reasons: Vec<String>,
}

/// Event `run`: a run began or ended.
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
    /// The reason of a stop: `asked`, `idle` or `vanished`.
    pub reason: Option<String>,
    pub totals: RunTotals,
}
