//! Public documents. Field names and shapes are a contract to which only additions are made.
//!
//! Times are RFC 3339 in UTC with milliseconds. Token sums beyond `u64` are shown as `u64::MAX`.

mod collector;
mod events;
mod quota;
mod records;
mod runs;
mod summary;
mod usage;
mod web;

pub use collector::{Health, Problem, SettingsInEffect, Version};
pub use events::{
    AccountEvent, Delta, GapEvent, HealthEvent, RunEvent, SnapshotEvent, ThresholdEvent, UsageEvent,
    WindowEvent,
};
pub use quota::{
    Account, Candidate, Cause, Choice, HistoryPoint, LimitEvent, Mark, MayStart, Observed, Pace, Quota,
    TellObservations, ThresholdFired, Window,
};
pub use records::{PostAttempt, PostRecord, PostUsage, Posted, PostedItem};
pub use runs::{Run, RunDetail, StartRun};
pub use summary::{Coverage, Lines, RunCoverage, RunTotals, SCHEMA, Summary, Tokens, Totals};
pub use usage::{DailyUsage, Usage, UsageRow, UsageSums};
pub use web::{
    WebBucket, WebDelta, WebModel, WebPace, WebRun, WebRunUsage, WebRuns, WebRunsAnswer, WebSnapshot,
    WebThreshold, WebUsage,
};
