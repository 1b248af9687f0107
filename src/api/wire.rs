//! The documents others read: their field names and shapes are a contract that only grows.
//!
//! Times are RFC 3339 in UTC with milliseconds. Token sums beyond `u64` are shown as `u64::MAX`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The version of the summary document.
pub const SCHEMA: u32 = 1;

/// `replay --json`, `status --json`, `GET /v1/summary`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    pub schema: u32,
    /// The time every age and state in the document refers to.
    pub now: String,
    /// Responses counted, calls of an advisor left out.
    pub messages: u64,
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
    pub quota: Quota,
}

/// Token sums; `total_tokens` is input + output + cache creation + cache read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTotals {
    pub messages: u64,
    #[serde(flatten)]
    pub totals: Totals,
    pub malformed_lines: u64,
}

/// Line counts; `read = usage + ignored + malformed + oversized`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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

/// Rate-limit windows and verdicts. Nothing is observed yet, and nothing is claimed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    pub windows: Vec<serde_json::Value>,
    pub accounts: Vec<serde_json::Value>,
    pub limit_events: Vec<serde_json::Value>,
}

/// `GET /v1/runs`: a row of the list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub id: String,
    /// `live`, `idle`, `gone` (its directory is no longer there) or `failing` (its tailer keeps failing).
    pub state: String,
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
}

/// `GET /v1/runs/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunDetail {
    #[serde(flatten)]
    pub run: Run,
    pub by_model: BTreeMap<String, Totals>,
    pub by_day: BTreeMap<String, Totals>,
}

/// `GET /healthz`, `GET /readyz`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`, `degraded` (complete, but slower or with something to look at) or `unhealthy` (not advancing).
    pub status: String,
    pub ready: bool,
    /// One sentence for each thing that is not as it should be.
    pub reasons: Vec<String>,
    /// How changes are noticed: `events` or `polling`.
    pub watching: String,
    /// Directories watched, and those that should be and are not.
    pub watches: u64,
    pub unwatched: u64,
    /// How often more changed at once than could be told; each was answered by a full scan.
    pub overflows: u64,
    /// Whether everything that was there at the start has been read.
    pub backlog_done: bool,
    /// Bytes waiting to be read.
    pub lag_bytes: u64,
    pub commits: u64,
    /// How often the database had to be opened again after an error.
    pub reopened: u64,
    /// When the collector started.
    pub since: String,
}

/// Every answer that is not a success.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    pub status: u16,
    pub title: String,
    pub detail: String,
}
