//! One window of a provider's limits: what is known of it, and what that still says later.
//!
//! `merge` takes in what a line says, `view` reads it at a time. Both are pure and total.

mod merge;
#[cfg(test)]
mod tests;

pub(super) use merge::reaches;
pub use merge::{Merged, RESET_JITTER_MS, merge};

use strum::IntoStaticStr;

use super::window_name;
use crate::model::{DAY_MS, LimitSource, LimitStatus, Millis, Observation};

/// From this age on a state is stale, in milliseconds.
pub const STALE_AFTER_MS: Millis = 300_000;
/// How long a window that is used up blocks if nobody said when it resets, in milliseconds.
pub const RESET_UNKNOWN_MS: Millis = 300_000;
/// What was answered within this time after a refusal may have been asked before it, in milliseconds.
pub const IN_FLIGHT_MS: Millis = 60_000;
/// A line of a response is dated when the response ended, two minutes after it began at times: within this time after a
/// refusal it may be of a request from before it, in milliseconds.
pub const SERVED_AFTER_MS: Millis = IN_FLIGHT_MS + 120_000;
/// How much further ahead than its length a window's end may be said to be, in milliseconds: clocks and zones differ.
pub const RESET_AHEAD_SLACK_MS: Millis = DAY_MS;
/// How far ahead the end of a window of unknown length may be: a month, in milliseconds.
pub const RESET_AHEAD_MAX_MS: Millis = 32 * DAY_MS;
/// Shares are compared with this tolerance, so that 0.29 reaches 29 %.
pub(super) const SHARE_EPSILON: f64 = 1e-9;

/// What is known of one window.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowState {
    /// The share used, as it was given: more than 1 occurs. The highest seen in this window, short of a drop that
    /// was confirmed.
    pub utilization: Option<f64>,
    /// The highest share ever kept of this window: more than `utilization` after a drop. A refusal counts as a full one.
    pub highest: Option<f64>,
    /// When a share was last told, the one kept or another; a line may tell a status alone. A snapshot counts only if
    /// it raised the share: else it may be old.
    pub utilization_at: Option<Millis>,
    /// Of the same reading as `utilization`, in the provider's unit.
    pub remaining: Option<u64>,
    pub limit: Option<u64>,
    pub status: LimitStatus,
    /// When `status` was said; `None` while it is unknown.
    pub status_at: Option<Millis>,
    /// When the window ends. The later of two that differ only by jitter.
    pub reset_at: Option<Millis>,
    /// `reset_at` less the window's length; `None` if either is not known.
    pub window_started_at: Option<Millis>,
    /// Its length in milliseconds; `None` if that is not known.
    pub length: Option<Millis>,
    /// The time of the first reading of this window.
    pub opened_at: Millis,
    /// How many windows came before this one.
    pub number: u32,
    /// The latest time at which a line spoke of this window.
    pub observed_at: Millis,
    /// The latest time at which a live one did: a snapshot is told now and may be of any age.
    pub live_at: Option<Millis>,
    /// Of the latest reading that was not held.
    pub source: LimitSource,
    /// Set by a rejection: nothing is to be had before this time, whatever `utilization` says.
    pub exhausted_until: Option<Millis>,
    /// When the provider was last heard to refuse, or a live reading said that all is used; of a snapshot, when the
    /// first one said so.
    pub blocked_at: Option<Millis>,
    pub held: Held,
    /// Thresholds this window has reached, in percent, sorted: each is reported once.
    pub thresholds_crossed: Vec<u8>,
    /// The latest response that this window did not refuse. Neither merged nor stored: whoever reads the
    /// state fills it in.
    pub served_at: Option<Millis>,
    /// The latest live `allowed` of another window of the account, where that ends a refusal by this one. Filled in as
    /// `served_at`.
    pub allowed_at: Option<Millis>,
}

/// What one observation says of its window.
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
    /// A share that is no number says nothing, and neither does the end of a refusal that has passed already, nor one
    /// that is further ahead than the window is long; words are bounded where they are read.
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

/// What is too strange to be believed at once and waits for a second, later reading that says the same.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Held {
    /// A utilization far below the one kept, in the same window.
    pub drop: Option<Reading>,
    /// A reset before the one kept.
    pub reset: Option<Reading>,
    /// A share with much room after a refusal.
    pub relief: Option<Reading>,
    /// A snapshot of a share that is higher, but was exceeded before the last drop.
    pub rise: Option<Reading>,
}

/// A window's state, and what is needed to take in a reading that comes a little late.
///
/// Lines of sessions side by side come in any order. Whenever one comes, all readings of the last
/// [`LATE_MAX_MS`] are merged again in the order of their times, so that the order they came in cannot matter.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    pub state: WindowState,
    /// The state before the first of `readings`; `None` if there was none.
    pub before: Option<WindowState>,
    /// In the order in which they are merged; at most [`RECENT_READINGS_MAX`].
    pub readings: Vec<Reading>,
}

/// How much older than the newest reading one may be and still be merged, in milliseconds.
pub const LATE_MAX_MS: Millis = 30_000;
/// Readings remembered of the last [`LATE_MAX_MS`]; beyond it the earliest times can no longer be reached.
pub const RECENT_READINGS_MAX: usize = 24;
/// Different readings remembered of one time; beyond it those that are merged first are forgotten.
pub const MOMENT_READINGS_MAX: usize = 8;

/// A window's state with its name.
#[derive(Clone, Copy, Debug)]
pub struct NamedWindow<'a> {
    /// The window's canonical name.
    pub name: &'a str,
    pub state: &'a WindowState,
}

impl NamedWindow<'_> {
    /// Whether it can hold back a run with this model.
    #[must_use]
    pub fn binds(&self, model: Option<&str>, now: Millis) -> bool {
        window_name::binds(self.name, model, self.state.refuses(now))
    }
}

/// How far a state can be trusted at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Freshness {
    /// Younger than [`STALE_AFTER_MS`].
    Fresh,
    Stale,
    /// The window ended and nothing was heard of the next one: awaiting refresh.
    Expired,
    /// Neither a share nor a status was ever given.
    Unknown,
}

/// What a state says at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    pub freshness: Freshness,
    /// The share used, unclamped.
    pub utilization: Option<f64>,
    /// The share that can still be used, 0 to 1: 0 while the window is blocked.
    pub left: Option<f64>,
    /// When the window can be used again; always after the time of the view.
    pub blocked_until: Option<Millis>,
    /// Whether it is blocked because the provider refused: then the share is not what matters (rule 6).
    pub refused: bool,
}

impl WindowState {
    /// When what is shown of it was last seen: the share if there is one, else anything.
    #[must_use]
    pub fn seen_at(&self) -> Millis {
        let share_at = self.utilization.and(self.utilization_at);
        share_at.unwrap_or(self.observed_at)
    }

    /// When it is over: at its reset; without one, its length after it was first seen, which is as late as it can be.
    /// `None` if neither is known.
    #[must_use]
    pub fn over_at(&self) -> Option<Millis> {
        self.reset_at
            .or_else(|| Some(self.opened_at.saturating_add(self.length?)))
    }

    /// Whether the provider has served since it refused, or since all was used: then the refusal has ended, and the full
    /// share with it.
    fn is_lifted(&self, now: Millis) -> bool {
        let is_since = |at: Option<Millis>, margin: Millis| {
            self.blocked_at
                .zip(at.filter(|at| *at <= now))
                .is_some_and(|(blocked, at)| at > blocked.saturating_add(margin))
        };
        is_since(self.served_at, SERVED_AFTER_MS) || is_since(self.allowed_at, IN_FLIGHT_MS)
    }

    /// Whether the last word was a refusal that nothing has ended yet.
    #[must_use]
    pub fn refuses(&self, now: Millis) -> bool {
        self.status == LimitStatus::Rejected
            && !self.is_lifted(now)
            && self.over_at().is_none_or(|over| over > now)
    }
}

/// What `state` says at `now`.
#[must_use]
pub fn view(state: &WindowState, now: Millis) -> View {
    // Rule 7: what is over binds nobody and shows no share.
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
    // How much is used since the provider serves again, nobody said.
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

/// The latest live word of the provider's that a window of these may be used. Nobody can name the window behind a refusal
/// by [`window_name::UNKNOWN`]: such a word ends it.
#[must_use]
pub fn allowed_at<'a>(states: impl Iterator<Item = &'a WindowState>) -> Option<Millis> {
    let is_allowed =
        |status: LimitStatus| matches!(status, LimitStatus::Allowed | LimitStatus::AllowedWarning);
    states
        .filter(|state| is_allowed(state.status))
        .filter_map(|state| state.status_at)
        .max()
}

/// The times at which what [`view`] says is another without any news.
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

/// When the window ends; a guess that asks for a new look soon if nobody said.
pub(super) fn ends_at(state: &WindowState) -> Millis {
    state
        .reset_at
        .unwrap_or_else(|| state.observed_at.saturating_add(RESET_UNKNOWN_MS))
}
