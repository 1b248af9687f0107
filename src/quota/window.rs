//! State of one limit window, and its reading at a later time.
//!
//! `merge` adds an observation, `view` reads the state at a time. Both are pure and total.

mod merge;
#[cfg(test)]
mod tests;

pub(super) use merge::reaches;
pub use merge::{RESET_JITTER_MS, merge};

use strum::IntoStaticStr;

use super::window_name;
use crate::model::{DAY_MS, LimitSource, LimitStatus, Millis, Observation};

/// Age from which a state is stale, in milliseconds.
pub const STALE_AFTER_MS: Millis = 300_000;
/// Duration of a block by a used-up window without a known reset, in milliseconds.
pub const RESET_UNKNOWN_MS: Millis = 300_000;
/// A response within this time after a refusal may belong to a request before it, in milliseconds.
pub const IN_FLIGHT_MS: Millis = 60_000;
/// The line of a response is dated at its end, up to two minutes after its beginning: within this time after
/// a refusal it may belong to a request before it, in milliseconds.
pub const SERVED_AFTER_MS: Millis = IN_FLIGHT_MS + 120_000;
/// Largest accepted lead of a window's end over its length, in milliseconds: clocks and zones differ.
pub const RESET_AHEAD_SLACK_MS: Millis = DAY_MS;
/// Largest accepted distance of the end of a window of unknown length: a month, in milliseconds.
const RESET_AHEAD_MAX_MS: Millis = 32 * DAY_MS;
/// Shares are compared with this tolerance, so that 0.29 reaches 29 %.
pub(super) const SHARE_EPSILON: f64 = 1e-9;

/// The state of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowState {
    /// The share used, as reported; it may exceed 1. The highest seen in this window, unless a drop was
    /// confirmed.
    pub utilization: Option<f64>,
    /// The highest share ever kept for this window: more than `utilization` after a drop. A refusal counts as
    /// a full share.
    pub highest: Option<f64>,
    /// The time of the last reported share, kept or not; a line may contain a status alone. A snapshot counts
    /// only if it raised the share, since it may be old.
    pub utilization_at: Option<Millis>,
    /// From the same reading as `utilization`, in the provider's unit.
    pub remaining: Option<u64>,
    pub limit: Option<u64>,
    pub status: LimitStatus,
    /// The time of `status`; `None` while it is unknown.
    pub status_at: Option<Millis>,
    /// The end of the window. The later of two that differ only by jitter.
    pub reset_at: Option<Millis>,
    /// `reset_at` minus the window's length; `None` if either is unknown.
    pub window_started_at: Option<Millis>,
    /// The length in milliseconds; `None` if unknown.
    pub length: Option<Millis>,
    /// The time of the first reading of this window.
    pub opened_at: Millis,
    /// Number of windows before this one.
    pub number: u32,
    /// The latest time of an observation of this window.
    pub observed_at: Millis,
    /// The latest time of a live observation; a snapshot may be of any age.
    pub live_at: Option<Millis>,
    /// The source of the latest reading that was not held back.
    pub source: LimitSource,
    /// Set by a rejection: requests are refused until this time, whatever `utilization` is.
    pub exhausted_until: Option<Millis>,
    /// The time of the last refusal, or of the last live reading of a full share; for snapshots, of the
    /// first.
    pub blocked_at: Option<Millis>,
    pub held: Held,
    /// Thresholds this window has reached, in percent, sorted: each is reported once.
    pub thresholds_crossed: Vec<u8>,
    /// The latest response that this window did not refuse. Neither merged nor stored: the reader of the
    /// state sets it.
    pub served_at: Option<Millis>,
    /// The latest live `allowed` of another window of the account, where that ends a refusal by this one. Set
    /// like `served_at`.
    pub allowed_at: Option<Millis>,
}

/// The content of one observation of a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    pub at: Millis,
    pub utilization: Option<f64>,
    pub remaining: Option<u64>,
    pub limit: Option<u64>,
    pub reset_at: Option<Millis>,
    pub status: LimitStatus,
    pub source: LimitSource,
    pub session: Option<u64>,
}

impl Reading {
    /// Left out: a share that is not a number, a refusal's end that has passed already, and one further ahead
    /// than the window is long. Ends given in prose are bounded by the parser.
    fn of(observation: &Observation, at: Millis) -> Self {
        let is_refused = observation.status == LimitStatus::Rejected;
        let length = window_name::length(&observation.window);
        let ahead_max = length.map_or(RESET_AHEAD_MAX_MS, |length| {
            length.saturating_add(RESET_AHEAD_SLACK_MS)
        });
        let is_near =
            |reset: Millis| observation.source == LimitSource::Prose || reset <= at.saturating_add(ahead_max);
        let is_possible = |reset: &Millis| is_near(*reset) && !(is_refused && *reset <= at);
        Self {
            at,
            utilization: observation.utilization.filter(|share| share.is_finite()),
            remaining: observation.remaining,
            limit: observation.limit,
            reset_at: observation.reset_at.filter(is_possible),
            status: observation.status,
            source: observation.source,
            session: observation.session,
        }
    }

    fn is_snapshot(&self) -> bool {
        self.source.is_snapshot()
    }
}

/// A reading too unusual to be accepted at once; a later reading with the same content confirms it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Held {
    /// A share far below the kept one, in the same window.
    pub drop: Option<Reading>,
    /// A reset before the kept one.
    pub reset: Option<Reading>,
    /// A share with much room after a refusal.
    pub relief: Option<Reading>,
    /// A snapshot of a higher share that was exceeded before the last drop.
    pub rise: Option<Reading>,
}

/// A window's state, with the data to merge a reading that arrives a little late.
///
/// Lines of parallel sessions arrive in any order. On each arrival all readings of the last [`LATE_MAX_MS`]
/// are merged again in the order of their times, so the order of arrival does not matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    pub state: WindowState,
    /// The state before the first of `readings`; `None` if there was none.
    pub before: Option<WindowState>,
    /// In the order in which they are merged; at most [`RECENT_READINGS_MAX`].
    pub readings: Vec<Reading>,
}

/// Largest age relative to the newest reading at which a reading is still merged, in milliseconds.
pub const LATE_MAX_MS: Millis = 30_000;
/// Readings kept of the last [`LATE_MAX_MS`]; with more, the earliest times can no longer be changed.
pub const RECENT_READINGS_MAX: usize = 24;
/// Different readings kept of one time; with more, those that are merged first are dropped.
pub const MOMENT_READINGS_MAX: usize = 8;

/// A window's state and its name.
#[derive(Clone, Copy, Debug)]
pub struct NamedWindow<'a> {
    /// The window's canonical name.
    pub name: &'a str,
    pub state: &'a WindowState,
}

impl NamedWindow<'_> {
    /// True if the window can block a run with this model.
    #[must_use]
    pub fn binds(&self, model: Option<&str>, now: Millis) -> bool {
        window_name::binds(self.name, model, self.state.refuses(now))
    }
}

/// The trust in a state at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Freshness {
    /// Younger than `STALE_AFTER_MS`.
    Fresh,
    Stale,
    /// The window ended and nothing newer was observed.
    Expired,
    /// Neither a share nor a status was ever reported.
    Unknown,
}

/// A window's state as read at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    pub freshness: Freshness,
    /// The share used, not clamped.
    pub utilization: Option<f64>,
    /// The share that can still be used, 0 to 1; 0 while the window is blocked.
    pub left: Option<f64>,
    /// The time at which the window can be used again; always after the time of the view.
    pub blocked_until: Option<Millis>,
    /// True if it is blocked by a refusal: then the share does not matter (rule 6).
    pub refused: bool,
}

impl WindowState {
    /// The time of the shown data: of the share if there is one, else of the last observation.
    #[must_use]
    pub fn seen_at(&self) -> Millis {
        let share_at = self.utilization.and(self.utilization_at);
        share_at.unwrap_or(self.observed_at)
    }

    /// The end of the window: its reset; without one, its length after it was first seen, which is the latest
    /// possible end. `None` if neither is known.
    #[must_use]
    pub fn over_at(&self) -> Option<Millis> {
        self.reset_at
            .or_else(|| Some(self.opened_at.saturating_add(self.length?)))
    }

    /// True if the provider has served since the refusal or the full share: then both have ended.
    pub(crate) fn is_lifted(&self, now: Millis) -> bool {
        let is_since = |at: Option<Millis>, margin: Millis| {
            self.blocked_at
                .zip(at.filter(|at| *at <= now))
                .is_some_and(|(blocked, at)| at > blocked.saturating_add(margin))
        };
        is_since(self.served_at, SERVED_AFTER_MS) || is_since(self.allowed_at, IN_FLIGHT_MS)
    }

    /// True if the last observation was a refusal that nothing has ended yet.
    #[must_use]
    pub fn refuses(&self, now: Millis) -> bool {
        self.status == LimitStatus::Rejected
            && !self.is_lifted(now)
            && self.over_at().is_none_or(|over| over > now)
    }
}

/// Reads `state` at `now`.
#[must_use]
pub fn view(state: &WindowState, now: Millis) -> View {
    // Rule 7: an ended window binds nothing and shows no share.
    if state.over_at().is_some_and(|over| over <= now) {
        return View {
            freshness: Freshness::Expired,
            utilization: None,
            left: None,
            blocked_until: None,
            refused: false,
        };
    }
    let freshness = if state.utilization.is_none() && state.status == LimitStatus::Unknown {
        Freshness::Unknown
    } else if now.saturating_sub(state.seen_at()) < STALE_AFTER_MS {
        Freshness::Fresh
    } else {
        Freshness::Stale
    };
    let is_full = |share: f64| share >= 1.0;
    // The share used since the provider serves again is unknown.
    let utilization = state
        .utilization
        .filter(|share| !(is_full(*share) && state.is_lifted(now)));
    let refused_until = state
        .exhausted_until
        .filter(|until| state.refuses(now) && *until > now);
    let used_up = utilization.is_some_and(is_full);
    let blocked_until = refused_until
        .max(used_up.then(|| ends_at(state)))
        .filter(|until| *until > now);
    let left = if blocked_until.is_some() {
        Some(0.0)
    } else {
        utilization.map(|share| (1.0 - share).clamp(0.0, 1.0))
    };
    View {
        freshness,
        utilization,
        left,
        blocked_until,
        refused: refused_until.is_some(),
    }
}

/// The latest live status by which the provider allows use of one of these windows. The window behind a
/// refusal by [`window_name::UNKNOWN`] has no name, so such a status ends it.
#[must_use]
pub fn allowed_at<'a>(states: impl Iterator<Item = &'a WindowState>) -> Option<Millis> {
    let is_allowed =
        |status: LimitStatus| matches!(status, LimitStatus::Allowed | LimitStatus::AllowedWarning);
    states
        .filter(|state| is_allowed(state.status))
        .filter_map(|state| state.status_at)
        .max()
}

/// The times at which the result of [`view`] changes without new data.
pub fn changes(state: &WindowState) -> impl Iterator<Item = Millis> {
    let stale = state.seen_at().saturating_add(STALE_AFTER_MS);
    [
        state.over_at(),
        state.exhausted_until,
        Some(ends_at(state)),
        Some(stale),
        state.served_at,
        state.allowed_at,
    ]
    .into_iter()
    .flatten()
}

/// The end of the window; if it is unknown, a guess that leads to a new check soon.
pub(super) fn ends_at(state: &WindowState) -> Millis {
    state
        .reset_at
        .unwrap_or_else(|| state.observed_at.saturating_add(RESET_UNKNOWN_MS))
}
