//! Sums of usage by key and time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::summary::Totals;

/// `GET /v1/usage`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    #[schema(format = DateTime)]
    pub from: Option<String>,
    #[schema(format = DateTime)]
    pub to: Option<String>,
    /// The time zone, if the query names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// As in the query: `day`, `week`, `month`, `hour`, `run`, `session`, `project`, `model`, `dialect`, `provider`,
    /// `account`, `price_class`, `profile`, `route`, `instance` or `label:KEY`, or several of them with commas.
    pub group_by: String,
    /// Rows with usage, by key.
    pub rows: Vec<UsageRow>,
    /// The sums of the rows.
    pub totals: UsageSums,
}

/// A row of [`Usage`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// With one grouping: a day, an ISO week as `2026-W41`, a month as `2026-10`, the start of an hour, a run's id, a
    /// session, a project, a model, a dialect, a provider, PROVIDER/NAME, a price class as
    /// `prompt_200k/fast/us/batch`, a name of a router's or a label's value; `null` for forgotten runs, for sessions
    /// without a project, for runs without the label, and for what is no posted record with such a name. `(none)` is
    /// the run of posted records of no run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub key: Option<Option<String>>,
    /// With several groupings: the same by the name of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<BTreeMap<String, Option<String>>>,
    #[serde(flatten)]
    pub sums: UsageSums,
}

/// Usage sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UsageSums {
    pub messages: u64,
    pub advisor_calls: u64,
    #[serde(flatten)]
    pub totals: Totals,
    /// Targets that a router passed over before the one that served, of posted records.
    #[serde(default)]
    #[schema(required)]
    pub fallbacks: u64,
    /// Attempts of posted records that failed: neither messages nor calls.
    #[serde(default)]
    #[schema(required)]
    pub failed_attempts: u64,
    /// The part of `total_tokens` that clients estimated.
    #[serde(default)]
    #[schema(required)]
    pub estimated_tokens: u64,
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
    /// Runs with usage on this day.
    pub run_count: u64,
}
