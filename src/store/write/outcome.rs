//! What a commit came to.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dedup::Totals;
use crate::model::{AccountId, Fired, Labels, LineCounts, Phase, Position, ResponseKey, RunId, WindowUpdate};

/// What became of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// The batch continued something else than what is stored, which is this. Read again from there.
    Stale(Option<Position>),
}

/// One run's part of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunChange {
    pub lines: LineCounts,
    pub bytes: u64,
    /// Files seen for the first time.
    pub files: u64,
    /// Responses counted for the first time, advisor calls included.
    pub responses: u64,
    pub account: AccountId,
    /// What is added to the sums, by model.
    pub models: Vec<(Arc<str>, Totals)>,
    /// The sums after the commit.
    pub totals: Totals,
    /// The lines after the commit.
    pub all_lines: LineCounts,
}

/// What the observations of a commit came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitChanges {
    pub windows: Vec<WindowUpdate>,
    pub fired: Vec<Fired>,
}

/// A run began or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEvent {
    pub run: RunId,
    pub account: AccountId,
    pub labels: Labels,
    pub phase: Phase,
    pub totals: Totals,
}

/// What a commit came to.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// One for each batch, in order.
    pub outcomes: Vec<Outcome>,
    pub sequence: u64,
    pub changes: BTreeMap<RunId, RunChange>,
    /// The keys of responses that have the time of reading.
    pub undated: Vec<ResponseKey>,
    pub limits: LimitChanges,
    /// Runs that began, ended or went on.
    pub events: Vec<RunEvent>,
}
