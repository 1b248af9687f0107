//! Roster: runs in groups, and when each group is due for a visit. To pass by what is not due touches this table alone, not
//! the runs: they are spread over the memory, and there may be thousands.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::TailerHandle;

/// Groups: as long as there are fewer runs, each run is one of its own.
const GROUPS: usize = 8192;

/// The scan before which a group needs no visit, for each group.
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
    /// Something happened to the run: its group is visited by the next scan.
    pub(super) fn at_once(&self) {
        self.dues.of(self.group).store(0, Ordering::Relaxed);
    }
}

impl Dues {
    /// An entry for the run of this number.
    #[must_use]
    pub fn entry(&self, number: usize) -> Due {
        Due {
            dues: self.clone(),
            group: number % GROUPS,
        }
    }

    fn of(&self, group: usize) -> &AtomicU32 {
        &self.0[group]
    }
}

/// All runs there are.
#[derive(Debug)]
pub struct Roster {
    dues: Dues,
    runs: Vec<TailerHandle>,
    /// Where the runs of each group begin.
    groups: Vec<(usize, usize)>,
}

impl Roster {
    #[must_use]
    pub fn new(dues: Dues, wakers: impl Iterator<Item = TailerHandle>) -> Self {
        let group = |waker: &TailerHandle| waker.mailbox.due.as_ref().map_or(0, |due| due.group);
        let mut runs: Vec<TailerHandle> = wakers.collect();
        runs.sort_by_key(group);
        let mut groups: Vec<(usize, usize)> = Vec::new();
        for (at, waker) in runs.iter().enumerate() {
            if groups.last().is_none_or(|(last, _)| *last != group(waker)) {
                groups.push((group(waker), at));
            }
        }
        Self { dues, runs, groups }
    }

    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }

    pub(super) fn run(&self, at: usize) -> Option<&TailerHandle> {
        self.runs.get(at)
    }

    /// The runs from a group on.
    pub(super) fn from(&self, number: usize) -> &[TailerHandle] {
        let begin = self
            .groups
            .get(number)
            .map_or(self.runs.len(), |(_, begin)| *begin);
        &self.runs[begin..]
    }

    /// The runs of a group, if it is due by this scan, or if all are `wanted`; and then it is due by the next one.
    pub(super) fn take_due(&self, number: usize, scan: u32, wanted: bool) -> Range<usize> {
        let Some(&(group, begin)) = self.groups.get(number) else {
            return 0..0;
        };
        let due = self.dues.of(group);
        if !wanted && due.load(Ordering::Relaxed) > scan {
            return begin..begin;
        }
        due.store(scan.saturating_add(1), Ordering::Relaxed);
        begin
            ..self
                .groups
                .get(number + 1)
                .map_or(self.runs.len(), |(_, next)| *next)
    }

    /// A group whose runs were all visited by this scan is due by another one, unless something happened meanwhile.
    pub(super) fn put_off(&self, number: usize, scan: u32, until: u32) {
        if let Some(&(group, _)) = self.groups.get(number) {
            let next = scan.saturating_add(1);
            // Refused if a run wants to be visited at once.
            let _ = self.dues.of(group).compare_exchange(
                next,
                until.max(next),
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_was_put_off_is_passed_by_until_then_or_until_something_happens() {
        let dues = Dues::default();
        let waker = |number| TailerHandle::new(dues.entry(number));
        let wakers = [waker(7), waker(3), waker(7 + GROUPS)];
        let roster = Roster::new(dues.clone(), wakers.iter().cloned());
        assert_eq!(roster.groups(), 2);
        assert_eq!(
            (roster.take_due(0, 1, false), roster.take_due(1, 1, false)),
            (0..1, 1..3)
        );
        roster.put_off(0, 1, 9);
        wakers[2].mailbox.due.as_ref().unwrap().at_once();
        roster.put_off(1, 1, 9);
        assert!(roster.take_due(0, 8, false).is_empty());
        assert_eq!(roster.take_due(0, 8, true), 0..1, "all are wanted");
        assert_eq!(roster.take_due(0, 9, false), 0..1);
        assert_eq!(
            roster.take_due(1, 2, false),
            1..3,
            "something happened to one of it"
        );
        assert_eq!(roster.take_due(1, 3, false), 1..3, "nobody put it off");
        assert_eq!((roster.from(1).len(), roster.from(2).len()), (2, 0));
    }
}
