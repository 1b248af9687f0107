//! A step of a prune, and its result.

use crate::dedup::Totals;
use crate::model::ResponseKey;
use crate::store::horizon::Horizons;

/// Rows that one step removes at most: its transaction is short, and commits wait for one at most.
pub const STEP_ROWS_MAX: usize = 1000;

/// One transaction of a prune.
#[derive(Clone, Debug)]
pub enum PruneStep {
    /// Stores the horizons: before the first removal.
    Begin(Horizons),
    /// Turns these responses into tombstones, or removes their keys, as far as they are still before this day.
    Keys { keys: Vec<ResponseKey>, before: u32 },
    /// Removes histories of windows, refusals and thresholds before a day, and sums by minute before another.
    Details { before: u32, minutes: u32 },
    /// Removes sums of the oldest day before the stored horizon.
    Sums,
    /// Stores that a prune with these horizons reached its end.
    Done(Horizons),
    /// Removes all details and sums: every response becomes a tombstone that is in no sum.
    All,
}

impl PruneStep {
    /// The UTC day before which responses are out of reach of further copies after this step. It must not come while
    /// lines of such days are read: the second half of a response would change nothing.
    #[must_use]
    pub fn ends_responses_before(&self) -> u32 {
        match self {
            Self::Begin(horizons) => horizons.keys,
            Self::Keys { before, .. } => *before,
            Self::Details { .. } | Self::Sums | Self::Done(_) | Self::All => 0,
        }
    }

    /// True for a step that takes something out of the sums.
    #[must_use]
    pub fn changes_totals(&self) -> bool {
        matches!(self, Self::Sums | Self::All)
    }
}

/// Number of responses in a sum, whether they are messages, calls inside of one, or without figures.
#[must_use]
pub fn responses_in(sum: &Totals) -> i64 {
    sum.messages + sum.without_figures + sum.advisor_calls
}

/// Number of rows that were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Responses that lost their details.
    pub responses: u64,
    /// Keys of responses that were pruned before.
    pub keys: u64,
    /// Points of the histories of windows.
    pub observations: u64,
    pub limit_events: u64,
    pub thresholds: u64,
    /// Sums by minute.
    pub minutes: u64,
    /// Days of series with their quarters of an hour.
    pub days: u64,
    /// The removed sums.
    pub totals: Totals,
    /// True if the step has to be repeated.
    pub is_partial: bool,
}

impl Pruned {
    pub fn add(&mut self, other: &Self) {
        self.responses += other.responses;
        self.keys += other.keys;
        self.observations += other.observations;
        self.limit_events += other.limit_events;
        self.thresholds += other.thresholds;
        self.minutes += other.minutes;
        self.days += other.days;
        self.totals += other.totals;
    }

    /// Number of removed rows beside responses and their keys.
    pub(super) fn further_rows(&self) -> usize {
        let rows = self.observations + self.limit_events + self.thresholds + self.minutes;
        usize::try_from(rows).unwrap_or(usize::MAX)
    }
}
