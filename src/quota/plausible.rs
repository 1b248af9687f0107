//! Observations that cannot be true, from clients and from polls.

use crate::model::{Millis, Observation, window_name};

/// Largest lead of an observation over this host's clock, in milliseconds: an observation from the future
/// would make all later ones look old.
pub const AHEAD_MAX_MS: Millis = 60_000;
/// Largest accepted share of a window: 10,000 %. A larger one is a mistake of the reporter.
const SHARE_MAX: f64 = 100.0;
/// Largest distance of a window's reset from its observation, in milliseconds: 366 days.
const RESET_AHEAD_MAX_MS: Millis = 366 * 24 * 60 * 60 * 1000;

/// The reason why an observation made at this time cannot be true; `None` if it can.
pub fn impossible(seen: &Observation, at: Millis) -> Option<String> {
    if let Some(share) = seen.utilization.filter(|share| *share > SHARE_MAX) {
        return Some(format!(
            "a share of {share:e} is not possible; at most {SHARE_MAX}"
        ));
    }
    // A pause that is too long is treated like one without an end.
    let is_pause = &*seen.window == window_name::COOL_DOWN;
    let reset = seen.reset_at.filter(|_| !is_pause);
    reset
        .is_some_and(|reset| reset > at.saturating_add(RESET_AHEAD_MAX_MS))
        .then(|| "its reset is more than a year ahead of the observation".to_owned())
}
