//! Tailers that failed: each is started again, after a pause that doubles with each failure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::model::RunId;

/// First pause before a failed tailer is started again, doubled each time.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// Longest pause before a failed tailer is started again.
pub(super) const RESTART_AFTER_MAX: Duration = Duration::from_mins(1);

/// The failures of each run since it last caught up.
#[derive(Debug, Default)]
pub(super) struct Failures {
    runs: HashMap<RunId, TailerFailure>,
}

#[derive(Debug)]
struct TailerFailure {
    times: u32,
    reason: String,
    retry_at: Instant,
}

/// The next attempt after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Retry {
    pub(super) pause: Duration,
    /// The failure before had the same reason.
    pub(super) is_repeated: bool,
}

impl Failures {
    pub(super) fn contains(&self, run: &RunId) -> bool {
        self.runs.contains_key(run)
    }

    /// The reason of the last failure.
    pub(super) fn reason(&self, run: &RunId) -> Option<&str> {
        self.runs.get(run).map(|failure| failure.reason.as_str())
    }

    pub(super) fn remove(&mut self, run: &RunId) {
        self.runs.remove(run);
    }

    /// Records a failure.
    pub(super) fn add(&mut self, run: &RunId, reason: String, now: Instant) -> Retry {
        let before = self.runs.get(run);
        let times = before.map_or(0, |failure| failure.times) + 1;
        let pause = (RESTART_AFTER * 2u32.saturating_pow(times.min(10) - 1)).min(RESTART_AFTER_MAX);
        let is_repeated = before.is_some_and(|failure| failure.reason == reason);
        let failure = TailerFailure {
            times,
            reason,
            retry_at: now + pause,
        };
        self.runs.insert(run.clone(), failure);
        Retry { pause, is_repeated }
    }

    /// Makes a run due at once; false if it did not fail.
    pub(super) fn hurry(&mut self, run: &RunId, now: Instant) -> bool {
        let failure = self.runs.get_mut(run);
        failure.map(|failure| failure.retry_at = now).is_some()
    }

    /// Makes every run due at once.
    pub(super) fn hurry_all(&mut self, now: Instant) {
        let failures = self.runs.values_mut();
        failures.for_each(|failure| failure.retry_at = now);
    }

    /// Drops the runs that have recovered, so that their next failure has the first pause again; returns the
    /// others whose pause is over.
    pub(super) fn due(&mut self, now: Instant, has_recovered: impl Fn(&RunId) -> bool) -> Vec<RunId> {
        self.runs
            .retain(|run, failure| failure.retry_at > now || !has_recovered(run));
        let due = self.runs.iter().filter(|(_, failure)| failure.retry_at <= now);
        due.map(|(run, _)| run.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again_after_a_recovery() {
        let (mut failures, run, now) = (Failures::default(), RunId::new("r").unwrap(), Instant::now());
        let add = |reason: &str, failures: &mut Failures| {
            let retry = failures.add(&run, reason.to_owned(), now);
            (retry.pause.as_secs(), retry.is_repeated)
        };
        let first = ["a", "a", "b"].map(|reason| add(reason, &mut failures));
        assert_eq!(first, [(1, false), (2, true), (4, false)]);
        let later: Vec<u64> = (0..4).map(|_| add("b", &mut failures).0).collect();
        assert_eq!(later, [8, 16, 32, 60]);

        assert!(failures.due(now, |_| true).is_empty(), "its pause is not over");
        assert!(failures.contains(&run));
        assert!(failures.hurry(&run, now));
        assert_eq!(failures.due(now, |_| false), std::slice::from_ref(&run));
        assert!(failures.due(now, |_| true).is_empty());
        assert_eq!(add("b", &mut failures), (1, false));
    }
}
