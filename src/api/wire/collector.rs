//! The collector itself: health, version, settings, and what is wrong with a request.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /healthz`, `GET /readyz`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, `degraded` (everything is counted, but slower, or something is to be looked at) or `unhealthy` (something
    /// that should be counted is not).
    pub status: String,
    pub ready: bool,
    /// One sentence for each thing that is not as it should be.
    pub reasons: Vec<String>,
    /// One sentence for each kind of what lies where transcripts are expected and is not read: links, archives, other
    /// agents' files. The first 20, and how many more. And that the log is not written, while it is not. That is the
    /// operator's to judge and leaves the status as it is.
    #[serde(default)]
    pub notices: Vec<String>,
    /// How changes are noticed: `events` or `polling`.
    pub watching: String,
    /// The system call by which files are opened: `openat2`, or `openat` where a sandbox does not let it.
    #[serde(default)]
    pub reading: String,
    /// Directories watched, and those that should be and are not.
    pub watches: u64,
    pub unwatched: u64,
    /// How often more changed at once than could be told; each was answered by a full scan.
    pub overflows: u64,
    /// How often scanning had to take the place of events, for want of watches.
    #[serde(default)]
    pub fallbacks: u64,
    /// How often another directory stood in the place of a watched one: a mount, an unmount, a new one.
    #[serde(default)]
    pub replaced: u64,
    /// How often something was wrong with a run, or with the runs directory, that was well before.
    #[serde(default)]
    pub problems: u64,
    /// Whether everything that was there at the start has been read.
    pub backlog_done: bool,
    /// Bytes waiting to be read.
    pub lag_bytes: u64,
    pub commits: u64,
    /// How often the database had to be opened again after an error.
    pub reopened: u64,
    /// When the collector started.
    #[schema(format = DateTime)]
    pub since: String,
}

/// Every answer that is not a success.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    pub status: u16,
    pub title: String,
    pub detail: String,
    /// Which part of the request is meant, where one is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// `GET /version`: which program answers, and which documents it speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Version {
    pub name: String,
    pub version: String,
    /// The first part of the paths of this contract.
    pub api: String,
    /// The version of the summary document.
    pub summary_schema: u32,
    /// The version of the database.
    pub store_schema: u64,
    /// What it was built from; `null` if the build did not say.
    pub commit: Option<String>,
}

/// `GET /v1/settings`: the settings the collector runs with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SettingsInEffect {
    /// The configuration file that was read; `null` if there was none.
    pub config_file: Option<String>,
    /// Every key, as `config show --json` prints it and docs/tokentail.schema.json describes it.
    #[schema(value_type = Object)]
    pub settings: serde_json::Value,
}
