//! Limits in a rollout: `rate_limits` of token counts, and turns that were refused.
//!
//! A copied turn repeats old limits under a new time. Its observations are dated by the turn, so that the
//! windows' merge finds them late and takes them into the history only.

use crate::json::{Raw, members};
use crate::model::{Millis, Observation};
use crate::parse::claude::limits::rollout::{self, RolloutLine, SPEND_CONTROL};

/// The error of a turn that was refused by a limit.
const LIMIT_ERROR: &[u8] = b"usage_limit_exceeded";
/// Prefix of the windows of limits other than the account's.
const OTHER_LIMIT: &str = "codex:";

members! {
    /// `error` of a completed turn.
    pub struct TurnError<'de> {
        info: Raw<'de> = b"codex_error_info",
        message: Raw<'de> = b"message",
    }
}

/// A window that the newest limits show as used up: the one that ends last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedUp {
    pub window: Box<str>,
    pub reset_at: Option<Millis>,
}

/// Appends the observations of `rate_limits`, and keeps the window that is used up.
pub fn observe(
    value: Raw<'_>,
    line: RolloutLine,
    used_up: &mut Option<UsedUp>,
    observations: &mut Vec<Observation>,
) {
    let first = observations.len();
    rollout::rate_limits(value, line, observations);
    let windows = observations[first..]
        .iter()
        .filter(|one| one.utilization.is_some() && &*one.window != SPEND_CONTROL);
    let Some(limit) = windows.clone().next().map(|one| limit_of(&one.window)) else {
        return;
    };
    let full = windows
        .filter(|one| one.utilization.is_some_and(|share| share >= 1.0))
        .max_by_key(|one| one.reset_at)
        .map(|one| UsedUp {
            window: one.window.clone(),
            reset_at: one.reset_at,
        });
    // Limits of one kind do not clear those of another: a line has only one kind.
    let is_same = |known: &UsedUp| limit_of(&known.window) == limit;
    if full.is_some() || used_up.as_ref().is_some_and(is_same) {
        *used_up = full;
    }
}

/// Appends the refusal of a completed turn, if its error is one.
pub fn refuse(
    error: &TurnError<'_>,
    line: RolloutLine,
    used_up: Option<&UsedUp>,
    observations: &mut Vec<Observation>,
) {
    if error.info.text().as_deref() != Some(LIMIT_ERROR) {
        return;
    }
    let is_over = |known: &UsedUp| known.reset_at.zip(line.time).is_some_and(|(end, now)| end <= now);
    let used_up = used_up.filter(|known| !is_over(known));
    let sentence = error.message.text().unwrap_or_default();
    rollout::refusal(
        used_up.map(|known| (&*known.window, known.reset_at)),
        &String::from_utf8_lossy(&sentence),
        line,
        observations,
    );
}

/// The id of the limit that a window is of; `None` for the account's.
fn limit_of(window: &str) -> Option<&str> {
    let (id, _) = window.strip_prefix(OTHER_LIMIT)?.rsplit_once(':')?;
    Some(id)
}
