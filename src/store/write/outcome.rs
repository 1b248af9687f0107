//! Result of a commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dedup::Totals;
use crate::model::{
    AccountId, Fired, Labels, LineCounts, Millis, Phase, Position, ResponseKey, RunId, WindowUpdate,
};
use crate::quota::lease::{LeaseUpdate, ProbeUpdate};
use crate::quota::notice::{Notice, NoticeUpdate};

/// Result of one posted record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PostOutcome {
    Counted,
    /// It was posted before, with the same content.
    Duplicate,
    /// Another content was posted under its id; that one stays.
    Conflict,
    /// There is no run of this name.
    NoRun,
    /// There is no room for another account.
    NoAccount,
    /// It is from before this time, and keys of that age are gone.
    TooOld(Millis),
}

/// Result of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// The batch continued from another position than the stored one, which is this. It must be read again
    /// from there.
    Stale(Option<Position>),
}

/// One run's part of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunChange {
    pub lines: LineCounts,
    pub bytes: u64,
    /// Files seen for the first time.
    pub files: u64,
    /// New responses, advisor calls included.
    pub responses: u64,
    pub account: AccountId,
    /// The differences of the sums, by model.
    pub models: Vec<(Arc<str>, Totals)>,
    /// The sums after the commit.
    pub totals: Totals,
    /// The lines after the commit.
    pub all_lines: LineCounts,
}

/// Result of the observations of a commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitChanges {
    pub windows: Vec<WindowUpdate>,
    pub fired: Vec<Fired>,
    /// Events for the outbox.
    pub notices: Vec<Notice>,
}

/// A run was started or stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEvent {
    pub run: RunId,
    pub account: AccountId,
    pub labels: Labels,
    pub phase: Phase,
    pub totals: Totals,
}

/// Result of a commit.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// One for each batch, in order.
    pub outcomes: Vec<Outcome>,
    pub sequence: u64,
    pub changes: BTreeMap<RunId, RunChange>,
    /// The keys of responses that have the time at which they were read.
    pub undated: Vec<ResponseKey>,
    /// The earliest time of a response that was counted or changed.
    pub earliest: Option<Millis>,
    pub limits: LimitChanges,
    /// Runs that were started, stopped or resumed.
    pub events: Vec<RunEvent>,
    pub leases: Vec<LeaseUpdate>,
    pub probes: Vec<ProbeUpdate>,
    /// Changes of the outbox.
    pub notices: Vec<NoticeUpdate>,
    /// One for each posted record, in order.
    pub posted: Vec<PostOutcome>,
    /// The changes by posted records of no run, one for each account.
    pub without_run: Vec<RunChange>,
}
