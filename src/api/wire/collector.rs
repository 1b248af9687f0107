//! Documents of the collector itself: health, version, settings, problems.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /healthz`, `GET /readyz`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// The time of the answer.
    #[serde(default)]
    #[schema(required, format = DateTime)]
    pub now: String,
    /// `ok`, `degraded` (everything is counted, but slower, or something needs attention) or `unhealthy`
    /// (something that should be counted is not).
    pub status: String,
    pub ready: bool,
    /// One sentence for each problem.
    pub reasons: Vec<String>,
    /// One sentence for each kind of file that lies where transcripts are expected and is not read: links,
    /// archives, other agents' files. The first 20, and the number of further ones. Also a sentence while the
    /// log cannot be written. Notices do not change the status.
    #[serde(default)]
    pub notices: Vec<String>,
    /// The source of changes: `events` or `polling`.
    pub watching: String,
    /// The system call that opens files: `openat2`, or `openat` where a sandbox refuses it.
    #[serde(default)]
    pub reading: String,
    /// Directories that are watched, and those that should be and are not.
    pub watches: u64,
    pub unwatched: u64,
    /// Number of event queue overflows; each was answered by a full scan.
    pub overflows: u64,
    /// Number of times scanning replaced events because of missing watches.
    #[serde(default)]
    pub fallbacks: u64,
    /// Number of times another directory stood in the place of a watched one: a mount, an unmount, a new
    /// directory.
    #[serde(default)]
    pub replaced: u64,
    /// Number of problems that began in a run or in the runs directory.
    #[serde(default)]
    pub problems: u64,
    /// True once everything that was there at the start has been read.
    pub backlog_done: bool,
    /// Bytes waiting to be read.
    pub lag_bytes: u64,
    pub commits: u64,
    /// Number of times the database was opened again after an error.
    pub reopened: u64,
    /// Start time of the collector.
    #[schema(format = DateTime)]
    pub since: String,
}

/// Any error answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    pub status: u16,
    pub title: String,
    pub detail: String,
    /// The part of the request that the problem is about, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

/// `GET /version`: the program, and the versions of its documents.
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
    /// The commit it was built from; `null` if the build did not set it.
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
