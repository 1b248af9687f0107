//! A window of a provider's limits: observations of it, and its changes.

use strum::IntoStaticStr;

use super::account::AccountId;
use super::time::Millis;

/// Observation: the data of a limit line on one window of the provider's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The window's normalised name: `five_hour`, `seven_day` and so on; an unknown name is kept unchanged.
    pub window: Box<str>,
    /// The share used: 0.42 is 42 %; more than 1 is possible.
    pub utilization: Option<f64>,
    /// The remaining part of `limit`, in the provider's unit.
    pub remaining: Option<u64>,
    pub limit: Option<u64>,
    pub reset_at: Option<Millis>,
    /// The line's own time; `None` if it has none that is valid.
    pub observed_at: Option<Millis>,
    pub status: LimitStatus,
    pub source: LimitSource,
    /// A hash of the session that reported it, if the source has one: two sessions are independent sources.
    pub session: Option<u64>,
    /// A hash of the refused request, if the source has one: its retries are one refusal.
    pub request: Option<u64>,
}

/// The provider's verdict on the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum LimitStatus {
    #[default]
    Unknown,
    Allowed,
    AllowedWarning,
    Rejected,
}

/// Source of an observation, by the kind of line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum LimitSource {
    /// `rateLimits` with remaining and limit on an assistant line.
    RateLimits,
    /// `quotaLimits` on a limit line.
    QuotaLimits,
    /// `error.rateLimits` of a `system` line of subtype `api_error`.
    ApiError,
    /// A map of response headers.
    Headers,
    /// A teed `rate_limit_event`.
    RateLimitEvent,
    /// A sentence of the CLI on a limit line.
    Prose,
    /// The input of a status line, reported by a client; it is in no log.
    Statusline,
    /// The body of the provider's usage API.
    UsageApi,
    /// Codex `rate_limits`, of a rollout or of its app server.
    Codex,
    /// The file in which an agent stores the last answer of the usage API.
    AgentCache,
    /// The body of the usage endpoint of Codex.
    WhamUsage,
}

impl LimitSource {
    /// True for a source that repeats an earlier answer, which may be outdated. Such a snapshot can raise a
    /// share, but it neither lowers one nor ends a refusal.
    #[must_use]
    pub const fn is_snapshot(self) -> bool {
        matches!(self, Self::Statusline | Self::AgentCache)
    }
}

/// A window whose state changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowUpdate {
    pub account: AccountId,
    pub window: Box<str>,
    /// True if a new window began.
    pub rolled_over: bool,
}

/// A threshold that a window reached: published once for each account, window and threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Fired {
    /// Increases by one with each; a client that was disconnected continues after the number of its last one.
    pub number: u64,
    pub account: AccountId,
    pub window: Box<str>,
    /// The threshold, in percent.
    pub percent: u8,
    pub utilization: f64,
    pub reset_at: Option<Millis>,
    pub observed_at: Millis,
}
