//! The documents of notifications.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A target of notifications.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyTarget {
    pub name: String,
    /// `idle`, `sending`, `retrying` after an error, or `failing` after several or a refusal.
    pub state: String,
    /// The address up to its host, or the program.
    pub to: String,
    /// `standard`, `alertmanager`, `ntfy`, `slack` or `exec`.
    pub format: String,
    pub events: Vec<String>,
    /// Events in the outbox.
    pub waiting: u64,
    #[schema(format = DateTime)]
    pub next_try_at: Option<String>,
    /// The last success, also before the start of the collector; `null` for none.
    #[schema(format = DateTime)]
    pub last_sent_at: Option<String>,
    /// Of a target that is `failing`: since when nothing reaches it, also before the start of the collector.
    #[schema(format = DateTime)]
    pub failing_since: Option<String>,
    /// The last error since the start; `null` once something was sent after it.
    pub error: Option<String>,
    #[schema(format = DateTime)]
    pub error_at: Option<String>,
    pub since_start: NotifyCounts,
}

/// What became of events since the start of the collector.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyCounts {
    pub sent: u64,
    /// Tries that were repeated.
    pub retried: u64,
    pub dropped: u64,
    pub failed: u64,
}

/// `POST /v1/notify/{target}/test`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NotifyTest {
    /// The type of the event; without it the first that the target asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

/// The result of a test.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyTested {
    pub target: String,
    pub event: String,
    pub id: String,
    pub sent: bool,
    /// Why it was not sent.
    pub error: Option<String>,
    pub took_ms: u64,
}

/// Event `notify`: what became of an event for a target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotifyEvent {
    pub sequence: u64,
    #[schema(format = DateTime)]
    pub at: String,
    pub target: String,
    /// `waiting`, `sent`, `failed` or `dropped`.
    pub phase: String,
    /// As in `webhook-id`; `null` for several that were dropped together.
    pub id: Option<String>,
    /// The type of the event, likewise.
    pub event: Option<String>,
    pub provider: Option<String>,
    pub account: Option<String>,
    /// The number of events: one, or more that were dropped.
    pub count: u64,
}
