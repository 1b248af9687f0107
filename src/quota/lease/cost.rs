//! The share of each window that a run is expected to use: given, configured, or learned from finished runs.

use std::collections::BTreeMap;

use crate::model::RunNumber;

/// Finished runs that a cost is learned from, the latest of an account and class.
pub const COST_RUNS_MAX: usize = 25;
/// Finished runs below which nothing is learned.
const COST_RUNS_MIN: usize = 5;
/// A share below this is not told from nothing.
const SHARE_MIN: f64 = 1e-6;

/// A share of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowCost {
    pub window: Box<str>,
    /// 0.02 for 2 %.
    pub share: f64,
}

/// What one finished run used.
#[derive(Clone, Debug, PartialEq)]
pub struct RunCost {
    pub run: RunNumber,
    pub tokens: u64,
    pub windows: Vec<WindowCost>,
}

/// What the last finished runs used, the latest at the end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CostHistory(pub Vec<RunCost>);

impl CostHistory {
    /// Adds a run, which replaces what it had used at an earlier stop, or the oldest of [`COST_RUNS_MAX`].
    pub fn add(&mut self, run: RunCost) {
        self.0.retain(|known| known.run != run.run);
        self.0.push(run);
        let surplus = self.0.len().saturating_sub(COST_RUNS_MAX);
        self.0.drain(..surplus);
    }

    /// The median share of each window that enough runs have.
    #[must_use]
    pub fn learned(&self) -> BTreeMap<Box<str>, f64> {
        let mut shares: BTreeMap<Box<str>, Vec<f64>> = BTreeMap::new();
        for cost in self.0.iter().flat_map(|run| &run.windows) {
            shares.entry(cost.window.clone()).or_default().push(cost.share);
        }
        let enough = shares
            .into_iter()
            .filter(|(_, shares)| shares.len() >= COST_RUNS_MIN);
        enough
            .filter_map(|(window, shares)| Some((window, median_of(shares)?)))
            .filter(|(_, share)| *share >= SHARE_MIN)
            .collect()
    }

    /// The median of the tokens, if there are enough runs.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a median of tokens scales a share")]
    pub fn tokens(&self) -> Option<f64> {
        if self.0.len() < COST_RUNS_MIN {
            return None;
        }
        median_of(self.0.iter().map(|run| run.tokens as f64).collect())
    }
}

/// The middle value, the lower one of two; `None` of none.
fn median_of(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}
