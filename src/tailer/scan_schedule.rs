//! Scan schedule: how often and how thoroughly a run is scanned without a hint.

use std::time::{Duration, Instant};

use super::tree::Depth;

/// A run without news for this long gets full scans less often.
const QUIET_AFTER: Duration = Duration::from_mins(1);
/// A quiet run, or one whose events arrive, gets a full scan every Nth scan.
const QUIET_LOOKS: u32 = 5;
/// Longest interval between scans of a run whose events arrive, in rounds: doubled with each scan that finds
/// nothing.
const REST_SCANS_MAX: u32 = 64;
/// The same where only this kernel changes anything, so that each change has an event.
const LOCAL_REST_SCANS_MAX: u32 = 512;
/// From this interval on each scan is a full one.
const RARE_SCANS_MIN: u32 = 16;
/// Interval between scans of a stopped run, in rounds, doubled likewise.
const RETIRED_SCANS_MIN: u32 = 15;
const RETIRED_SCANS_MAX: u32 = 120;
/// A run with changes that had no event gets full scans for this long.
const SILENT_FOR: Duration = Duration::from_mins(10);

/// The scan schedule of one run.
#[derive(Clone, Copy, Debug)]
pub struct ScanSchedule {
    pub last_news: Instant,
    silent_until: Option<Instant>,
    /// Events arrive from its devices: some have arrived, or only this kernel changes the filesystem.
    pub hinted: bool,
    /// Longest interval between scans while it is idle, in rounds.
    rest_scans_max: u32,
    /// The number of the last round.
    scans: u32,
    /// The number of rounds in which this run was scanned.
    looks: u32,
    /// The interval from the last scan to the next one, in rounds.
    interval: u32,
    /// The number of the round in which the next scan is due.
    due: u32,
    /// The first full scan is done.
    pub watched: bool,
    /// The run is stopped: it is not watched, has no open files, and is scanned rarely.
    pub retired: bool,
}

impl ScanSchedule {
    /// The schedule of a run that starts now. Runs with different offsets are scanned in different rounds.
    #[must_use]
    pub fn new(offset: u8, retired: bool) -> Self {
        Self {
            last_news: Instant::now(),
            silent_until: None,
            hinted: false,
            rest_scans_max: REST_SCANS_MAX,
            scans: 0,
            looks: u32::from(offset),
            interval: if retired { RETIRED_SCANS_MIN } else { 1 },
            due: if retired {
                u32::from(offset) % RETIRED_SCANS_MIN + 1
            } else {
                1
            },
            watched: false,
            retired,
        }
    }

    /// The depth of the scan in the round of this number; `None` if no scan is due.
    pub fn next(&mut self, scan: u32, depth: Depth, partly_watched: bool) -> Option<Depth> {
        self.scans = scan;
        let now = Instant::now();
        let is_silent = self.silent_until.is_some_and(|until| now < until);
        let are_events_enough = depth == Depth::Changed && self.hinted && !is_silent && !partly_watched;
        if !self.retired && !are_events_enough {
            // Only scans find changes.
            (self.interval, self.due) = (1, self.scans);
        }
        if self.scans < self.due {
            return None;
        }
        self.looks = self.looks.wrapping_add(1);
        let scan_depth = if self.retired || self.interval >= RARE_SCANS_MIN {
            Depth::Everything
        } else {
            let is_quiet = now.duration_since(self.last_news) > QUIET_AFTER;
            let is_trusted = (self.hinted || is_quiet) && !is_silent && !partly_watched;
            let trusts = depth == Depth::Changed && is_trusted && !self.looks.is_multiple_of(QUIET_LOOKS);
            if trusts { Depth::Changed } else { Depth::Everything }
        };
        self.due = self.scans.saturating_add(self.interval);
        if self.retired {
            self.interval = (self.interval * 2).min(RETIRED_SCANS_MAX);
        } else if are_events_enough {
            self.interval = (self.interval * 2).min(self.rest_scans_max);
        }
        Some(scan_depth)
    }

    /// Sets whether only this kernel changes the run's files.
    pub fn note_local(&mut self, is_local: bool) {
        self.rest_scans_max = if is_local {
            LOCAL_REST_SCANS_MAX
        } else {
            REST_SCANS_MAX
        };
    }

    /// The number of the round in which the run has to be visited next, if it has no event before.
    #[must_use]
    pub fn next_due(&self) -> u32 {
        let is_silent = self.silent_until.is_some_and(|until| Instant::now() < until);
        if self.retired || (self.hinted && !is_silent) {
            self.due
        } else {
            self.scans
        }
    }

    /// Starts again at the shortest interval, after news or if something cannot be read.
    pub fn reset_interval(&mut self) {
        (self.interval, self.due) = (1, self.scans.saturating_add(1));
    }

    /// Changes to the intervals of a stopped run.
    pub fn retire(&mut self) {
        self.retired = true;
        self.interval = RETIRED_SCANS_MIN;
        self.due = self.scans.saturating_add(self.interval);
    }

    /// Stops trusting events for a while, because a full scan found changes that had no event.
    pub fn distrust_events(&mut self) {
        self.silent_until = Some(Instant::now() + SILENT_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depths(schedule: &mut ScanSchedule, asked: Depth, partly_watched: bool) -> Vec<Option<Depth>> {
        let next = schedule.scans + 1;
        (next..next + 30)
            .map(|scan| schedule.next(scan, asked, partly_watched))
            .collect()
    }

    fn full(depths: &[Option<Depth>]) -> usize {
        let is_full = |depth: &&Option<Depth>| **depth == Some(Depth::Everything);
        depths.iter().filter(is_full).count()
    }

    #[test]
    fn files_are_looked_at_one_by_one_as_long_as_no_event_is_known_to_arrive() {
        let (mut new, mut distrusted, mut hinted_run) = (
            ScanSchedule::new(0, false),
            ScanSchedule::new(0, false),
            ScanSchedule::new(0, false),
        );
        distrusted.hinted = true;
        distrusted.distrust_events();
        hinted_run.hinted = true;
        assert_eq!(full(&depths(&mut new, Depth::Changed, false)), 30);
        assert_eq!(full(&depths(&mut distrusted, Depth::Changed, false)), 30);
        assert_eq!(full(&depths(&mut hinted_run, Depth::Changed, true)), 30);
        assert_eq!(full(&depths(&mut hinted_run, Depth::Everything, false)), 30);
    }

    #[test]
    fn a_run_that_rests_behind_events_is_looked_at_ever_more_rarely_until_it_stirs() {
        let mut rests = ScanSchedule::new(0, false);
        rests.hinted = true;
        let mut foreign = rests;
        rests.note_local(true);
        let at = |rests: &mut ScanSchedule, scans: u32| -> Vec<u32> {
            let before = rests.scans;
            (1..=scans)
                .filter(|scan| rests.next(before + scan, Depth::Changed, false).is_some())
                .collect()
        };
        assert_eq!(at(&mut rests, 600), [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(at(&mut rests, 1024).len(), 2);
        assert_eq!(at(&mut foreign, 200), [1, 2, 4, 8, 16, 32, 64, 128, 192]);
        rests.reset_interval();
        assert_eq!(at(&mut rests, 8), [1, 2, 4, 8]);
    }

    #[test]
    fn a_stopped_run_is_looked_at_now_and_then() {
        let mut stopped = ScanSchedule::new(7, true);
        assert_eq!(
            depths(&mut stopped, Depth::Everything, false)
                .iter()
                .flatten()
                .count(),
            2
        );
        for _ in 0..20 {
            depths(&mut stopped, Depth::Everything, false);
        }
        let looks: usize = (0..8)
            .map(|_| {
                depths(&mut stopped, Depth::Everything, false)
                    .iter()
                    .flatten()
                    .count()
            })
            .sum();
        assert_eq!(looks, 2, "240 scans");
    }
}
