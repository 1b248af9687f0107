//! The times of the responses that were written last: a prune waits while lines of its age are read.

use std::time::{Duration, Instant};

use crate::model::Millis;

/// Time without a line of its age after which a prune takes such responses. A response is written in parts, which a
/// reader takes one soon after the other; after the prune a further part would change nothing.
pub const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// The earliest times of responses written in the present and in the previous span of [`SETTLED_AFTER`].
#[derive(Debug)]
pub struct RecentTimes {
    since: Instant,
    present: Millis,
    previous: Millis,
}

impl RecentTimes {
    /// Nothing was written before `now`, as far as is known: a start counts as a line of any age.
    pub fn new(now: Instant) -> Self {
        Self {
            since: now,
            present: Millis::MIN,
            previous: Millis::MAX,
        }
    }

    pub fn note(&mut self, time: Millis, now: Instant) {
        self.turn(now);
        self.present = self.present.min(time);
    }

    /// The earliest time of the last one to two spans.
    pub fn earliest(&mut self, now: Instant) -> Millis {
        self.turn(now);
        self.present.min(self.previous)
    }

    fn turn(&mut self, now: Instant) {
        let passed = now.duration_since(self.since);
        if passed < SETTLED_AFTER {
            return;
        }
        let is_next = passed < SETTLED_AFTER * 2;
        self.previous = if is_next { self.present } else { Millis::MAX };
        (self.present, self.since) = (Millis::MAX, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_line_is_remembered_for_one_to_two_spans() {
        let start = Instant::now();
        let at = |spans: u32| start + SETTLED_AFTER * spans / 2;
        let mut recent = RecentTimes::new(start);
        assert_eq!(recent.earliest(at(1)), Millis::MIN);
        assert_eq!(recent.earliest(at(2)), Millis::MIN);
        assert_eq!(recent.earliest(at(4)), Millis::MAX);
        recent.note(7, at(5));
        recent.note(9, at(5));
        assert_eq!(recent.earliest(at(5)), 7);
        assert_eq!(recent.earliest(at(6)), 7);
        recent.note(8, at(7));
        assert_eq!(recent.earliest(at(8)), 8);
        assert_eq!(recent.earliest(at(20)), Millis::MAX);
    }
}
