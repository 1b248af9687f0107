//! Dues: the scan at which each group of runs is due for a visit of the poller. A pass over runs that are not
//! due reads this table alone: the runs are spread over the memory, and there may be thousands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Groups: as long as there are fewer runs, each run has a group of its own.
pub(super) const GROUPS: usize = 8192;

/// For each group the scan before which it needs no visit.
#[derive(Clone, Debug)]
pub struct Dues(Arc<[AtomicU32]>);

impl Default for Dues {
    fn default() -> Self {
        Self((0..GROUPS).map(|_| AtomicU32::new(0)).collect())
    }
}

/// The entry of one run.
#[derive(Debug)]
pub struct Due {
    dues: Dues,
    group: usize,
}

impl Due {
    /// Makes the run's group due at the next scan.
    pub(super) fn set_now(&self) {
        self.dues.of(self.group).store(0, Ordering::Relaxed);
    }

    pub(super) fn group(&self) -> usize {
        self.group
    }
}

impl Dues {
    /// The entry for the run of this number.
    #[must_use]
    pub fn entry(&self, number: usize) -> Due {
        Due {
            dues: self.clone(),
            group: number % GROUPS,
        }
    }

    pub(super) fn of(&self, group: usize) -> &AtomicU32 {
        &self.0[group]
    }
}
