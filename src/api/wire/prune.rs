//! The documents of a prune.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/prune`: removes old rows from the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// `details`, which changes no total; `totals`, which removes sums; or `all`.
    pub what: String,
    /// Strictly older than this goes, in whole UTC days: `30d`, `12h`, `90m`. Not with `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_than: Option<String>,
    /// Removes nothing, and answers what would be removed.
    #[serde(default)]
    pub dry_run: bool,
}

/// The result of a prune, or of a dry run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PruneAnswer {
    pub what: String,
    pub older_than: Option<String>,
    pub dry_run: bool,
    /// The first UTC day of which nothing was removed, as in `2026-09-01`; `null` for `all`.
    pub before: Option<String>,
    /// Responses that lost their details.
    pub responses: u64,
    /// Keys of responses that had lost their details before.
    pub keys: u64,
    /// Points of the histories of windows.
    pub observations: u64,
    pub limit_events: u64,
    pub thresholds: u64,
    /// Sums by minute.
    pub minutes: u64,
    /// Sums by day and series.
    pub days: u64,
    /// Everything that is counted, before and after.
    pub counted_before: PruneTotals,
    pub counted_after: PruneTotals,
    /// Size of the database file; `null` without one.
    pub file_bytes: Option<u64>,
    /// The part of it that holds nothing; a dry run does not measure it.
    pub free_bytes: Option<u64>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PruneTotals {
    pub messages: u64,
    pub total_tokens: u64,
}
