//! Roster: the handles of all runs, sorted by the groups in which the poller visits them.

use std::ops::Range;
use std::sync::atomic::Ordering;

use super::dues::Dues;
use super::handle::TailerHandle;

/// The handles of all runs.
#[derive(Debug)]
pub struct Roster {
    dues: Dues,
    runs: Vec<TailerHandle>,
    /// The number of each group, and the index of its first run.
    groups: Vec<(usize, usize)>,
}

impl Roster {
    #[must_use]
    pub fn new(dues: Dues, handles: impl Iterator<Item = TailerHandle>) -> Self {
        let mut runs: Vec<TailerHandle> = handles.collect();
        runs.sort_by_key(TailerHandle::group);
        let mut groups: Vec<(usize, usize)> = Vec::new();
        for (at, handle) in runs.iter().enumerate() {
            if groups.last().is_none_or(|(last, _)| *last != handle.group()) {
                groups.push((handle.group(), at));
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

    /// The runs of a group and of those after it.
    pub(super) fn from(&self, number: usize) -> &[TailerHandle] {
        let begin = self
            .groups
            .get(number)
            .map_or(self.runs.len(), |(_, begin)| *begin);
        &self.runs[begin..]
    }

    /// The indexes of the runs of a group, if it is due at this scan or if all groups are `wanted`; the group
    /// is then due at the next scan.
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

    /// Delays a group whose runs were all visited by this scan until another scan, unless one of them had an
    /// event meanwhile.
    pub(super) fn delay(&self, number: usize, scan: u32, until: u32) {
        if let Some(&(group, _)) = self.groups.get(number) {
            let next = scan.saturating_add(1);
            // Fails if a run was made due meanwhile.
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
    use super::super::dues::GROUPS;
    use super::*;

    #[test]
    fn a_delayed_group_is_skipped_until_it_is_due_or_has_an_event() {
        let dues = Dues::default();
        let handle = |number| TailerHandle::new(dues.entry(number));
        let handles = [handle(7), handle(3), handle(7 + GROUPS)];
        let roster = Roster::new(dues.clone(), handles.iter().cloned());
        assert_eq!(roster.groups(), 2);
        assert_eq!(
            (roster.take_due(0, 1, false), roster.take_due(1, 1, false)),
            (0..1, 1..3)
        );
        roster.delay(0, 1, 9);
        handles[2].set_due();
        roster.delay(1, 1, 9);
        assert!(roster.take_due(0, 8, false).is_empty());
        assert_eq!(roster.take_due(0, 8, true), 0..1, "all groups are wanted");
        assert_eq!(roster.take_due(0, 9, false), 0..1);
        assert_eq!(roster.take_due(1, 2, false), 1..3, "one of its runs had an event");
        assert_eq!(roster.take_due(1, 3, false), 1..3, "it was not delayed");
        assert_eq!((roster.from(1).len(), roster.from(2).len()), (2, 0));
    }
}
