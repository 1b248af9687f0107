//! Limits in the lines of a Codex rollout, whose parser is `parse::codex`: they are read as those of a report.

use super::{Answer, ObservationList, SourceWindows, WINDOW_UNKNOWN, WindowFields, codex, prose};
use crate::json::Raw;
use crate::model::{LimitSource, LimitStatus, Millis, Observation};

/// The account's spending limit, which is no window.
pub use codex::SPEND_CONTROL;

/// The line of an observation.
#[derive(Clone, Copy, Debug, Default)]
pub struct RolloutLine {
    /// When the limits were read.
    pub time: Option<Millis>,
    /// As in [`Observation::session`].
    pub session: Option<u64>,
    /// As in [`Observation::request`].
    pub request: Option<u64>,
}

impl RolloutLine {
    fn list(self, observations: &mut Vec<Observation>) -> ObservationList<'_> {
        let mut list = ObservationList::new(observations, self.time);
        (list.session, list.request) = (self.session, self.request);
        list
    }
}

/// Appends the observations of a `rate_limits` object.
pub fn rate_limits(value: Raw<'_>, line: RolloutLine, observations: &mut Vec<Observation>) {
    let windows = codex::windows(value, Answer::new(line.time, None, false));
    line.list(observations).add(windows, LimitSource::Codex);
}

/// Appends the refusal of a turn: by the window that is used up, until its end; else by an unknown one, until
/// the time in the sentence. The sentence names no zone and counts as UTC.
pub fn refusal(
    used_up: Option<(&str, Option<Millis>)>,
    sentence: &str,
    line: RolloutLine,
    observations: &mut Vec<Observation>,
) {
    let (name, reset_at, source) = match used_up {
        Some((name, reset_at)) => (name, reset_at, LimitSource::Codex),
        None => (
            WINDOW_UNKNOWN,
            prose::end(sentence, line.time),
            LimitSource::Prose,
        ),
    };
    let window = WindowFields {
        status: LimitStatus::Rejected,
        reset_at,
        ..WindowFields::new(name.into())
    };
    line.list(observations).add(SourceWindows(vec![window]), source);
}
