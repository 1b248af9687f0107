//! Public documents. Field names and shapes are a contract to which only additions are made.
//!
//! Times are RFC 3339 in UTC with milliseconds. Token sums beyond `u64` are shown as `u64::MAX`.

mod blocks;
mod collector;
mod cost;
mod events;
mod leases;
mod notifications;
mod prune;
mod quota;
mod records;
mod runs;
mod statusline;
mod summary;
mod usage;
mod web;

pub use blocks::{Blocks, BurnRate, Projection, UsageBlock};
pub use collector::{Health, Problem, SettingsInEffect, Version};
pub use cost::{Cost, Pricing, Unpriced};
pub use events::{
    AccountEvent, Delta, GapEvent, HealthEvent, RunEvent, SnapshotEvent, StreamSnapshot, ThresholdEvent,
    UsageEvent, WindowEvent,
};
pub use leases::{AcquireLeases, Capacity, Lease, LeaseAnswer, LeaseEvent, ProbeEvent, RenewLease};
pub use notifications::{NotifyCounts, NotifyEvent, NotifyTarget, NotifyTest, NotifyTested};
pub use prune::{PruneAnswer, PruneRequest, PruneTotals};
pub use quota::{
    Account, AccountPoll, Candidate, Cause, Choice, HistoryPoint, LimitEvent, Mark, MayStart, Observed, Pace,
    PollError, Quota, Recovery, TellObservations, ThresholdFired, Window,
};
pub use records::{PostAttempt, PostRecord, PostUsage, Posted, PostedItem};
pub use runs::{Run, RunDetail, RunFile, RunFiles, StartRun};
pub use statusline::Statusline;
pub use summary::{
    BriefSummary, Coverage, CoverageSums, Lines, PricedRunTotals, PricedTotals, RunCoverage, RunTotals,
    SCHEMA, Summary, Tokens, Totals,
};
pub use usage::{DailyUsage, Usage, UsageRow, UsageSums};
pub use web::{
    WebBucket, WebDelta, WebModel, WebPace, WebRun, WebRunUsage, WebRuns, WebRunsAnswer, WebSnapshot,
    WebThreshold, WebUsage,
};
