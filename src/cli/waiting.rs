//! AnswerWait for another answer of the collector: the pauses between two questions, and the end of the wait.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::exit::Exit;
use super::print::numbers::time;
use super::print::{output, text};
use crate::api::wire;
use crate::clock::Clock;

/// Longest pause between two questions while waiting, even if the answer named a later time: an operator or
/// another run may change it.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Shortest pause between two questions.
const ASK_AGAIN_MIN: Duration = Duration::from_millis(100);
/// A retry earlier than this is not worth a word about a change before it, in seconds.
const SOON_S: u64 = 6;

/// What follows from an answer that does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterAnswer {
    /// Another question, after this pause.
    AskAgain(Duration),
    /// Nothing; the code says why.
    End(Exit),
}

/// A wait that has begun.
#[derive(Debug)]
pub struct AnswerWait {
    clock: Clock,
    began: Instant,
    /// Not at all, without end, or for so long.
    #[expect(
        clippy::option_option,
        reason = "wait not at all, without end, or for so long"
    )]
    limit: Option<Option<Duration>>,
    json: bool,
    /// Names what waits, in messages.
    subject: String,
    /// The reason for the wait that was printed last.
    said: Option<String>,
}

impl AnswerWait {
    #[must_use]
    pub fn new(limit: Option<Option<Duration>>, json: bool, subject: String) -> Self {
        Self {
            clock: Clock::SYSTEM,
            began: Instant::now(),
            limit,
            json,
            subject,
            said: None,
        }
    }

    /// Decides what follows from an answer that does not allow, and prints the reason for a wait. `wait` and `unknown` may
    /// change by themselves, `deny` does not.
    pub fn after(&mut self, answer: &wire::MayStart, by: Option<&str>) -> AfterAnswer {
        let (unasked, over) = match answer.decision.as_str() {
            "wait" => (Exit::No, Exit::TryLater),
            "unknown" => (Exit::Unknown, Exit::Unknown),
            _ => return AfterAnswer::End(Exit::No),
        };
        if self.limit.is_none() {
            return AfterAnswer::End(unasked);
        }
        let Some(pause) = self.pause(answer.retry_at.as_deref()) else {
            return AfterAnswer::End(over);
        };
        self.say(&format!("{}/{by:?}", answer.reason), || {
            let mut lines = text::sentences(&format!("waits: {}", answer.sentence));
            lines.extend(next_attempt(answer));
            lines
        });
        AfterAnswer::AskAgain(pause)
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

    /// Prints the reason for the wait, once for each reason. The first line begins with what waits.
    pub fn say(&mut self, reason: &str, lines: impl FnOnce() -> Vec<String>) {
        if self.said.as_deref() != Some(reason) {
            let mut lines = lines();
            if let Some(first) = lines.first_mut() {
                *first = format!("{} {first}", self.subject);
            }
            output::warn_lines(self.json, &lines);
            self.said = Some(reason.to_owned());
        }
    }
}

/// The time of the next attempt, in words.
fn next_attempt(answer: &wire::MayStart) -> Option<String> {
    let at = time(answer.retry_at.as_deref()?);
    let is_soon = answer.retry_in_s.is_none_or(|seconds| seconds <= SOON_S);
    let before = if is_soon {
        ""
    } else {
        ", or earlier if a place is given back"
    };
    Some(format!("next attempt at {at}{before}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_goes_on_until_the_answer_is_known_or_the_time_is_over() {
        let begun = |limit| AnswerWait::new(limit, false, "test".to_owned());
        let after = |limit, decision: &str| {
            let answer = wire::MayStart {
                decision: decision.to_owned(),
                ..wire::MayStart::default()
            };
            begun(limit).after(&answer, None)
        };
        let (not_at_all, over, long) = (None, Some(Some(Duration::ZERO)), Some(Some(Duration::MAX)));
        for (limit, decision, expected) in [
            (not_at_all, "unknown", AfterAnswer::End(Exit::Unknown)),
            (not_at_all, "wait", AfterAnswer::End(Exit::No)),
            (not_at_all, "deny", AfterAnswer::End(Exit::No)),
            (over, "unknown", AfterAnswer::End(Exit::Unknown)),
            (over, "wait", AfterAnswer::End(Exit::TryLater)),
            (over, "deny", AfterAnswer::End(Exit::No)),
            (long, "unknown", AfterAnswer::AskAgain(ASK_AGAIN_AFTER)),
            (long, "wait", AfterAnswer::AskAgain(ASK_AGAIN_AFTER)),
            (long, "deny", AfterAnswer::End(Exit::No)),
            (Some(None), "unknown", AfterAnswer::AskAgain(ASK_AGAIN_AFTER)),
        ] {
            assert_eq!(after(limit, decision), expected, "{limit:?} {decision}");
        }
    }

    #[test]
    fn a_pause_ends_with_the_wait_and_is_never_longer_than_five_seconds() {
        let begun = |limit| AnswerWait::new(limit, false, "test".to_owned());
        let ever = begun(Some(None));
        assert_eq!(ever.pause(None), Some(ASK_AGAIN_AFTER));
        assert_eq!(ever.pause(Some("2999-01-01T00:00:00Z")), Some(ASK_AGAIN_AFTER));
        assert_eq!(ever.pause(Some("1999-01-01T00:00:00Z")), Some(ASK_AGAIN_AFTER));
        assert_eq!(ever.pause(Some("soon")), Some(ASK_AGAIN_AFTER));
        let short = begun(Some(Some(Duration::from_secs(2))));
        assert!(
            short
                .pause(None)
                .is_some_and(|pause| pause <= Duration::from_secs(2))
        );
        assert_eq!(begun(Some(Some(Duration::ZERO))).pause(None), None);
        assert_eq!(begun(None).pause(None), None);
    }
}
