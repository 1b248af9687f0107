//! How thoroughly a run is looked at without a hint, and how often.

use std::time::{Duration, Instant};

use super::tree::Depth;

/// A run without news for this long is looked at file by file less often.
const QUIET_AFTER: Duration = Duration::from_mins(1);
/// Every how many looks a run that is quiet, or whose events arrive, is looked at file by file.
const QUIET_LOOKS: u32 = 5;
/// Scans between two looks at a run whose events arrive: doubled with each look that finds nothing.
const REST_SCANS_MAX: u32 = 64;
/// The same where only this kernel changes anything, so that no change goes without an event.
const LOCAL_REST_SCANS_MAX: u32 = 512;
/// A run that is looked at this rarely is looked at file by file each time.
const RARE_SCANS_MIN: u32 = 16;
/// Scans between two looks at a stopped run, doubled likewise.
const RETIRED_SCANS_MIN: u32 = 15;
const RETIRED_SCANS_MAX: u32 = 120;
/// How long a run whose changes no event told is scanned at full rate.
const SILENT_FOR: Duration = Duration::from_mins(10);

/// What is known of a run for deciding how to scan it.
#[derive(Clone, Copy, Debug)]
pub struct ScanSchedule {
    pub last_news: Instant,
    silent_until: Option<Instant>,
    /// Whether events arrive from its devices: they told of news there, or the kernel makes all changes there itself.
    pub hinted: bool,
    /// Scans between two looks while it rests, at most.
    rest_scans_max: u32,
    /// The number of the last scan that asked, and how many looked at this run.
    scans: u32,
    looks: u32,
    /// How many scans after the last look the next one is due, and the number of that.
    interval: u32,
    due: u32,
    /// Everything was looked at once.
    pub watched: bool,
    /// It is stopped: neither watched nor held open, and looked at now and then.
    pub retired: bool,
}

impl ScanSchedule {
    /// Of a run that starts now. Runs with different turns are looked at at different times.
    #[must_use]
    pub fn new(turn: u8, retired: bool) -> Self {
        Self {
            last_news: Instant::now(),
            silent_until: None,
            hinted: false,
            rest_scans_max: REST_SCANS_MAX,
            scans: 0,
            looks: u32::from(turn),
            interval: if retired { RETIRED_SCANS_MIN } else { 1 },
            due: if retired {
                u32::from(turn) % RETIRED_SCANS_MIN + 1
            } else {
                1
            },
            watched: false,
            retired,
        }
    }

    /// What a scan of all runs, the one of this number, means for this one; `None` if it is not its turn.
    pub fn next(&mut self, scan: u32, asked: Depth, partly_watched: bool) -> Option<Depth> {
        self.scans = scan;
        let now = Instant::now();
        let is_silent = self.silent_until.is_some_and(|until| now < until);
        let are_events_enough = asked == Depth::Changed && self.hinted && !is_silent && !partly_watched;
        if !self.retired && !are_events_enough {
            // Nothing else finds what is new.
            (self.interval, self.due) = (1, self.scans);
        }
        if self.scans < self.due {
            return None;
        }
        self.looks = self.looks.wrapping_add(1);
        let depth = if self.retired || self.interval >= RARE_SCANS_MIN {
            Depth::Everything
        } else {
            let is_quiet = now.duration_since(self.last_news) > QUIET_AFTER;
            let is_trusted = (self.hinted || is_quiet) && !is_silent && !partly_watched;
            let trusts = asked == Depth::Changed && is_trusted && !self.looks.is_multiple_of(QUIET_LOOKS);
            if trusts { Depth::Changed } else { Depth::Everything }
        };
        self.due = self.scans.saturating_add(self.interval);
        if self.retired {
            self.interval = (self.interval * 2).min(RETIRED_SCANS_MAX);
        } else if are_events_enough {
            self.interval = (self.interval * 2).min(self.rest_scans_max);
        }
        Some(depth)
    }

    /// Whether only this kernel changes what the run holds.
    pub fn note_local(&mut self, is_local: bool) {
        self.rest_scans_max = if is_local {
            LOCAL_REST_SCANS_MAX
        } else {
            REST_SCANS_MAX
        };
    }

    /// The number of the first scan after this one that has to ask, if none is told more and nothing happens to the run.
    #[must_use]
    pub fn asks_next(&self) -> u32 {
        let is_silent = self.silent_until.is_some_and(|until| Instant::now() < until);
        if self.retired || (self.hinted && !is_silent) {
            self.due
        } else {
            self.scans
        }
    }

    /// There is news, or something that cannot be read: it is looked at often again.
    pub fn stir(&mut self) {
        (self.interval, self.due) = (1, self.scans.saturating_add(1));
    }

    /// It is stopped.
    pub fn retire(&mut self) {
        self.retired = true;
        self.interval = RETIRED_SCANS_MIN;
        self.due = self.scans.saturating_add(self.interval);
    }

    /// A full scan found what no event told: events are not trusted here for a while.
    pub fn doubt(&mut self) {
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
        let (mut new, mut doubted, mut heard) = (
            ScanSchedule::new(0, false),
            ScanSchedule::new(0, false),
            ScanSchedule::new(0, false),
        );
        doubted.hinted = true;
        doubted.doubt();
        heard.hinted = true;
        assert_eq!(full(&depths(&mut new, Depth::Changed, false)), 30);
        assert_eq!(full(&depths(&mut doubted, Depth::Changed, false)), 30);
        assert_eq!(full(&depths(&mut heard, Depth::Changed, true)), 30);
        assert_eq!(full(&depths(&mut heard, Depth::Everything, false)), 30);
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
        rests.stir();
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
