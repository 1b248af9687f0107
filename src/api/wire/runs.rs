//! Documents of runs, and the body that starts one.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::cost::{Cost, Pricing};
use super::summary::{Lines, PricedTotals, RunTotals};

/// `GET /v1/runs`: a row of the list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    pub id: String,
    /// `waiting` (started, directory not there yet), `live`, `idle`, `stopped`, `gone` (the directory was
    /// removed) or `failing` (reading keeps failing).
    pub state: String,
    /// The account the run is counted under.
    pub provider: String,
    pub account: String,
    pub labels: BTreeMap<String, String>,
    /// The directory that holds its logs, if that is not below the runs directory.
    #[serde(default)]
    pub mount: Option<String>,
    #[schema(format = DateTime)]
    pub first_seen: String,
    /// The time of its registration; `null` for a run that was only found.
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
    /// When a transcript of the run changed last, as of the last stop: shortly before it a process may still be
    /// writing. `null` for a run that the collector has not stopped since its start.
    #[serde(default)]
    #[schema(required, format = DateTime)]
    pub last_change: Option<String>,
    /// `asked`, `idle` (no news for long) or `vanished` (its directory is gone).
    pub stop_reason: Option<String>,
    /// Bytes waiting to be read, as of the last check.
    pub lag_bytes: u64,
    #[serde(flatten)]
    pub totals: RunTotals,
    #[serde(flatten)]
    pub cost: Cost,
    pub advisor_calls: u64,
    pub lines: Lines,
    pub files: u64,
    pub bytes: u64,
    /// Number of restarts of this run's tailer since the collector started.
    pub restarts: u32,
    /// The problem in a sentence; absent without a problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// `false` while part of the run cannot be read, as `problem` describes: the counts are too low; else
    /// absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete: Option<bool>,
    /// Files in its directory that are not read, one sentence for each kind; absent if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// `PUT /v1/runs/{id}`: the registration of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StartRun {
    /// At most 32: names of 1 to 64 of A-Z a-z 0-9 . _ - /, values of up to 256 bytes without control
    /// characters. `provider` and `account` select the account that the run is counted under.
    pub labels: BTreeMap<String, String>,
    /// The directory that holds its logs, an absolute path below one of `runs.mount_roots`; default:
    /// unchanged, at first `mount` in the run's directory. It cannot change once something was read.
    pub mount: Option<String>,
    /// The id of the lease that the run takes; its account counts the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
}

/// `GET /v1/runs/{id}/files`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunFiles {
    pub run: String,
    /// Number of its files, of which `files` may have a part.
    pub total: u64,
    /// Those that were found last first.
    pub files: Vec<RunFile>,
}

/// A transcript of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunFile {
    /// Below the run's directory, or below `mount` of the run if that is set.
    pub path: String,
    /// Bytes of its present content that were read, skipped lines included.
    pub bytes_read: u64,
}

/// `GET /v1/runs/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunDetail {
    #[serde(flatten)]
    pub run: Run,
    pub by_model: BTreeMap<String, PricedTotals>,
    pub by_day: BTreeMap<String, PricedTotals>,
    #[serde(flatten)]
    pub pricing: Pricing,
}
