//! Sums of usage by key and time.

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
    /// `day`, `hour`, `run`, `model`, `account` or `label:KEY`.
    pub group_by: String,
    /// Rows with usage, by key.
    pub rows: Vec<UsageRow>,
    /// The sums of the rows.
    pub totals: UsageSums,
}

/// A row of [`Usage`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UsageRow {
    /// A UTC day, the start of an hour, a run's id, a model, PROVIDER/NAME or a label's value; `null` for
    /// forgotten runs and for runs without the label.
    pub key: Option<String>,
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
