//! AnswerWait for another answer of the collector: the pauses between two questions, and the end of the wait.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::client;
use crate::api::wire;
use crate::clock::Clock;

/// Longest pause between two questions while waiting, even if the answer named a later time: an operator or
/// another run may change it.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Shortest pause between two questions.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(100);

/// A wait that has begun.
#[derive(Clone, Copy, Debug)]
pub struct AnswerWait {
    clock: Clock,
    began: Instant,
    /// Not at all, without end, or for so long.
    #[expect(
        clippy::option_option,
        reason = "wait not at all, without end, or for so long"
    )]
    limit: Option<Option<Duration>>,
}

impl AnswerWait {
    #[must_use]
    pub fn new(limit: Option<Option<Duration>>) -> Self {
        Self {
            clock: Clock::SYSTEM,
            began: Instant::now(),
            limit,
        }
    }

    /// True if there is to be any wait.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.limit.is_some()
    }

    /// The pause before the next question, given the time in the answer; `None` if the wait is over.
    #[must_use]
    pub fn pause(&self, retry_at: Option<&str>) -> Option<Duration> {
        let until_retry = retry_at
            .and_then(|time| time.parse::<Timestamp>().ok())
            .and_then(|time| Duration::try_from(time.duration_since(self.clock.timestamp())).ok());
        let pause = until_retry
            .unwrap_or(ASK_AGAIN_AFTER)
            .clamp(ASK_AGAIN_MIN, ASK_AGAIN_AFTER);
        match self.limit? {
            None => Some(pause),
            Some(limit) => {
                let left = limit.checked_sub(self.began.elapsed())?;
                (!left.is_zero()).then(|| pause.min(left))
            }
        }
    }

    /// True if the collector is still starting, so that waiting alone may change an answer `unknown`.
    pub async fn is_still_reading(&self, socket: &Path) -> bool {
        if !self.is_wanted() {
            return false;
        }
        let health = client::get_json::<wire::Health>(socket, "/healthz", client::TIMEOUT);
        health.await.is_ok_and(|health| !health.backlog_done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_ends_with_the_wait_and_is_never_longer_than_five_seconds() {
        let ever = AnswerWait::new(Some(None));
        assert_eq!(ever.pause(None), Some(ASK_AGAIN_AFTER));
        assert_eq!(ever.pause(Some("2999-01-01T00:00:00Z")), Some(ASK_AGAIN_AFTER));
        assert_eq!(ever.pause(Some("1999-01-01T00:00:00Z")), Some(ASK_AGAIN_AFTER));
        assert_eq!(ever.pause(Some("soon")), Some(ASK_AGAIN_AFTER));
        let short = AnswerWait::new(Some(Some(Duration::from_secs(2))));
        assert!(
            short
                .pause(None)
                .is_some_and(|pause| pause <= Duration::from_secs(2))
        );
        assert_eq!(AnswerWait::new(Some(Some(Duration::ZERO))).pause(None), None);
        assert_eq!(AnswerWait::new(None).pause(None), None);
    }
}
