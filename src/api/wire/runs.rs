//! Runs, and what starts them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::summary::{Lines, RunTotals, Totals};

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
