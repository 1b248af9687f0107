//! Documents of an existing web client: times in milliseconds, names of its own.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /api/usage`. Times are milliseconds since 1970.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebUsage {
    /// Always `null`.
    #[schema(value_type = Option<String>)]
    pub plan: Option<String>,
    /// The time of the last observation of a window.
    pub observed_at: Option<i64>,
    /// The last error of the account's poll, where it has one: `expired`, `missing_credentials`, `rate_limited` or
    /// `network`. It does not hide the windows.
    pub last_error: Option<String>,
    pub last_error_at: Option<i64>,
    /// By id.
    pub buckets: Vec<WebBucket>,
    pub pacing: BTreeMap<String, WebPace>,
}

/// A window of [`WebUsage`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WebBucket {
    /// `five_hour`, `weekly`, `sonnet_weekly`, or the provider's name.
    pub id: String,
    /// 0.42 for 42 %. At least 1 while the window is refused, or the account is marked as exhausted.
    pub utilization: f64,
    pub reset_at: Option<i64>,
    pub window_started_at: Option<i64>,
}

/// The use of a window compared with the time that has passed of it.
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
    /// A number if it looks like one.
    pub id: serde_json::Value,
    /// The label `project`; a number if it looks like one.
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

/// Differences of a run's usage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WebDelta {
    pub model: String,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub cache_read_tokens: i64,
    pub cache_create_tokens: i64,
}
