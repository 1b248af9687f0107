//! How thoroughly a run is looked at without a hint, and how often.

use std::time::{Duration, Instant};

use super::tree::Depth;

/// A run without news for this long is looked at file by file less often.
const QUIET_AFTER: Duration = Duration::from_mins(1);
/// Every how many scans a run that is quiet, or whose events arrive, is looked at file by file.
const QUIET_SCANS: u32 = 5;
/// Every how many scans a stopped run is looked at.
const RETIRED_SCANS: u32 = 15;
/// How long a run whose changes no event told is scanned at full rate.
const SILENT_FOR: Duration = Duration::from_mins(10);

/// What is known of a run for deciding how to scan it.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    pub last_news: Instant,
    silent_until: Option<Instant>,
    /// Whether events told of news here since the tailer started, or elsewhere on its device: they arrive.
    pub hinted: bool,
    scans: u32,
    /// Everything was looked at once.
    pub watched: bool,
    /// It is stopped: neither watched nor held open, and looked at now and then.
    pub retired: bool,
}

impl Rhythm {
    /// Of a run that starts now. Runs with different turns have their full scans at different times.
    #[must_use]
    pub fn new(turn: u8, retired: bool) -> Self {
        Self {
            last_news: Instant::now(),
            silent_until: None,
            hinted: false,
            scans: u32::from(turn),
            watched: false,
            retired,
        }
    }

    /// What a scan of all runs means for this one; `None` if it is not its turn.
    pub fn next(&mut self, asked: Depth, partly_watched: bool) -> Option<Depth> {
        self.scans = self.scans.wrapping_add(1);
        if self.retired {
            return self
                .scans
                .is_multiple_of(RETIRED_SCANS)
                .then_some(Depth::Everything);
        }
        let now = Instant::now();
        let is_quiet = now.duration_since(self.last_news) > QUIET_AFTER;
        let is_silent = self.silent_until.is_some_and(|until| now < until);
        let is_trusted = (self.hinted || is_quiet) && !is_silent && !partly_watched;
        let trusts = asked == Depth::Changed && is_trusted && !self.scans.is_multiple_of(QUIET_SCANS);
        Some(if trusts { Depth::Changed } else { Depth::Everything })
    }

    /// A full scan found what no event told: events are not trusted here for a while.
    pub fn doubt(&mut self) {
        self.silent_until = Some(Instant::now() + SILENT_FOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depths(rhythm: &mut Rhythm, asked: Depth, partly_watched: bool) -> Vec<Option<Depth>> {
        (0..2 * RETIRED_SCANS)
            .map(|_| rhythm.next(asked, partly_watched))
            .collect()
    }

    #[test]
    fn files_are_looked_at_one_by_one_until_events_are_known_to_arrive_and_then_in_turns() {
        let (mut new, mut heard, mut doubted) = (
            Rhythm::new(0, false),
            Rhythm::new(0, false),
            Rhythm::new(0, false),
        );
        heard.hinted = true;
        doubted.hinted = true;
        doubted.doubt();
        let full = |depths: &[Option<Depth>]| {
            depths
                .iter()
                .filter(|depth| **depth == Some(Depth::Everything))
                .count()
        };
        assert_eq!(full(&depths(&mut new, Depth::Changed, false)), 30);
        assert_eq!(full(&depths(&mut doubted, Depth::Changed, false)), 30);
        assert_eq!(full(&depths(&mut heard, Depth::Changed, true)), 30);
        assert_eq!(full(&depths(&mut heard, Depth::Everything, false)), 30);
        let trusted = depths(&mut heard, Depth::Changed, false);
        assert_eq!(full(&trusted), 6);
        assert!(
            !trusted.contains(&None),
            "its directories are looked at each time"
        );
    }

    #[test]
    fn a_stopped_run_is_looked_at_now_and_then() {
        let mut stopped = Rhythm::new(7, true);
        let looks = depths(&mut stopped, Depth::Everything, false);
        assert_eq!(looks.iter().flatten().count(), 2);
    }
}
