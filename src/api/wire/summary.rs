//! The summary document, and the figures shared with other documents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::cost::{Cost, Pricing};
use super::quota::Quota;

/// The version of the summary document.
pub const SCHEMA: u32 = 1;

/// `replay --json`, `status --json`, `GET /v1/summary`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Summary {
    pub schema: u32,
    /// The time that all ages and states in the document refer to.
    #[schema(format = DateTime)]
    pub now: String,
    /// Responses counted, without calls inside responses and responses without figures.
    pub messages: u64,
    /// Calls inside responses that the responses' own figures leave out: advisor calls, compactions, declined
    /// attempts.
    pub advisor_calls: u64,
    pub totals: PricedTotals,
    pub by_run: BTreeMap<String, PricedRunTotals>,
    /// Posted records of no run, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_run: Option<PricedRunTotals>,
    pub by_model: BTreeMap<String, PricedTotals>,
    /// Keyed by the UTC day of the usage, `YYYY-MM-DD`.
    pub by_day: BTreeMap<String, PricedTotals>,
    #[serde(flatten)]
    pub pricing: Pricing,
    pub lines: Lines,
    pub files: u64,
    /// Bytes read, including skipped lines.
    pub bytes: u64,
    #[serde(default)]
    pub coverage: Coverage,
    pub quota: Quota,
}

/// Counted usage beside the agents' own reports, and known gaps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Coverage {
    #[serde(flatten)]
    pub sums: CoverageSums,
    /// Runs with gaps.
    pub by_run: BTreeMap<String, RunCoverage>,
}

/// Counted usage beside the agents' own reports, over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CoverageSums {
    /// Sums that agents report of their sessions (`cost-state`, `result.modelUsage`). They are never added to
    /// `totals`.
    pub reported: Tokens,
    /// The part of `reported` that was counted.
    pub counted: Tokens,
    /// The part of `reported` that no line contains: titles, recaps, compactions, ends that were never
    /// written.
    pub unlogged: Tokens,
    /// Sessions seen.
    pub sessions: u64,
    /// Sessions with a report of their agent.
    pub sessions_reported: u64,
    /// Messages without a final line: their output may be that of an early copy.
    pub unfinished: u64,
    /// Responses without figures: counted neither as messages nor as calls until a better copy arrives.
    pub without_figures: u64,
}

/// Known gaps of a run.
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
    /// The part of `output_tokens` that was thinking, where the lines say so.
    #[serde(default)]
    #[schema(required)]
    pub thinking_tokens: u64,
    pub total_tokens: u64,
}

/// Token sums and their estimated cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PricedTotals {
    #[serde(flatten)]
    pub totals: Totals,
    #[serde(flatten)]
    pub cost: Cost,
}

/// The summary without what is by run, model and day: `snapshot=brief` of `GET /v1/events`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BriefSummary {
    pub schema: u32,
    /// The time that all ages and states in the document refer to.
    #[schema(format = DateTime)]
    pub now: String,
    pub messages: u64,
    pub advisor_calls: u64,
    pub totals: PricedTotals,
    /// Number of runs by state; a state that no run is in is left out.
    pub runs: BTreeMap<String, u64>,
    #[serde(flatten)]
    pub pricing: Pricing,
    pub lines: Lines,
    pub files: u64,
    pub bytes: u64,
    pub coverage: CoverageSums,
    /// With the last 10 of `limit_events` and of `thresholds_fired`.
    pub quota: Quota,
}

/// One run's part of the summary, and its estimated cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PricedRunTotals {
    /// The state as in `GET /v1/runs`, in snapshots of `GET /v1/events`; absent elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(flatten)]
    pub sums: RunTotals,
    #[serde(flatten)]
    pub cost: Cost,
}

/// The sums of one run.
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
    /// Lines with countable usage, copies included.
    pub usage: u64,
    /// The part of `usage` that repeats a known response.
    pub duplicate: u64,
    pub ignored: u64,
    pub malformed: u64,
    pub oversized: u64,
    /// The part of `usage` without a usable time.
    pub clock_suspect: u64,
}
