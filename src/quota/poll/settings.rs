//! The configured poll of an account.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use strum::IntoStaticStr;

use crate::model::{MINUTE_MS, Millis};

/// Default time between two polls of an account, in milliseconds.
pub const INTERVAL_DEFAULT_MS: Millis = 5 * MINUTE_MS;
/// Shortest time between two polls of an account, in milliseconds.
pub const INTERVAL_MIN_MS: Millis = MINUTE_MS;

/// The way to an account's own numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case", const_into_str)]
pub enum PollVia {
    /// Runs the official client, then reads its cache.
    ClaudeCli,
    /// Reads the client's cache alone.
    CacheFile,
    /// Requests the usage endpoint of Claude.
    UsageApi,
    /// Requests the usage endpoint of Codex.
    Wham,
}

impl PollVia {
    /// True if it sends a credential over the network.
    #[must_use]
    pub const fn has_credentials(self) -> bool {
        matches!(self, Self::UsageApi | Self::Wham)
    }
}

/// The configured poll of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollSettings {
    pub via: PollVia,
    /// Time between two polls, in milliseconds.
    pub interval: Millis,
    /// The file with the client's token; for ways that send one.
    pub credentials: Option<PathBuf>,
    /// The client's cache of the last answer; for the endpoint of Claude optional.
    pub cache: Option<PathBuf>,
    /// The command and its arguments that make the client write its cache.
    pub command: Vec<String>,
    /// `None` for the program's own.
    pub user_agent: Option<String>,
    /// Without a slash at its end; `None` for the provider's.
    pub base_url: Option<String>,
}
