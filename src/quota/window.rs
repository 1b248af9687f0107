//! One window of a provider's limits: what is known of it, and what that still says later.
//!
//! `merge` takes in what a line says, `view` reads it at a time. Both are pure and total.

mod merge;
#[cfg(test)]
mod tests;

pub(super) use merge::reaches;
pub use merge::{Merged, merge};

use serde::{Deserialize, Deserializer};

use crate::record::{LimitSource, LimitStatus, Millis, Observation};

/// From this age on a state is stale, in milliseconds.
pub const STALE_AFTER_MS: Millis = 300_000;
/// How long a window that is used up blocks if nobody said when it resets, in milliseconds.
pub const RESET_UNKNOWN_MS: Millis = 300_000;
/// Shares are compared with this tolerance, so that 0.29 reaches 29 %.
pub(super) const SHARE_EPSILON: f64 = 1e-9;

/// What is known of one window.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct WindowState {
    /// The share used, as it was given: more than 1 occurs. The highest seen in this window, short of a drop that
    /// was confirmed.
    pub utilization: Option<f64>,
    /// When a share was last told, the one kept or another; a line may tell a status alone.
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
    /// The latest time at which a line spoke of this window.
    pub observed_at: Millis,
    /// Of the latest reading that was not held.
    pub source: LimitSource,
    /// Set by a rejection: nothing is to be had before this time, whatever `utilization` says.
    pub exhausted_until: Option<Millis>,
    pub held: Held,
    /// Thresholds this window has reached, in percent, sorted: each is reported once.
    pub thresholds_crossed: Vec<u8>,
    pub moment: Moment,
}

/// What one observation says of its window.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Reading {
    pub utilization: Option<f64>,
    pub remaining: Option<u64>,
    pub limit: Option<u64>,
    pub reset_at: Option<Millis>,
    pub status: LimitStatus,
    pub source: LimitSource,
}

impl Reading {
    /// A share that is no number says nothing.
    fn of(observation: &Observation) -> Self {
        Self {
            utilization: observation.utilization.filter(|share| share.is_finite()),
            remaining: observation.remaining,
            limit: observation.limit,
            reset_at: observation.reset_at,
            status: observation.status,
            source: observation.source,
        }
    }
}

/// What is too strange to be believed at once and waits for a second, later reading that says the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Held {
    /// A utilization far below the one kept, in the same window.
    pub drop: Option<HeldReading>,
    /// A reset before the one kept.
    pub reset: Option<HeldReading>,
}

#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct HeldReading {
    pub at: Millis,
    pub reading: Reading,
}

/// The readings of the time `observed_at`, and the state they were merged into.
///
/// Lines of one time come in any order. Whenever one more arrives, all of them are merged again in one fixed
/// order, so that the order they arrived in cannot matter.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Moment {
    /// The state before `observed_at`, itself without a moment; `None` if there was none.
    #[serde(deserialize_with = "first")]
    pub before: Option<Box<WindowState>>,
    /// One for each reset that was named, in the order they are merged in; at most [`MOMENT_READINGS_MAX`].
    pub readings: Vec<Reading>,
    /// Whether these readings opened a new window.
    pub rolled_over: bool,
}

/// Reads a state that has none before it: whoever writes one into another without end would use up the stack.
fn first<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<WindowState>>, D::Error> {
    let first = Option::<First>::deserialize(deserializer)?;
    Ok(first.map(|first| Box::new(first.into())))
}

/// Nothing can be one.
#[derive(serde::Deserialize)]
enum Never {}

/// A [`Moment`] with nothing before it, byte by byte.
#[derive(serde::Deserialize)]
struct FirstMoment {
    before: Option<Never>,
    readings: Vec<Reading>,
    rolled_over: bool,
}

/// A [`WindowState`] with nothing before it, byte by byte.
#[derive(serde::Deserialize)]
struct First {
    utilization: Option<f64>,
    utilization_at: Option<Millis>,
    remaining: Option<u64>,
    limit: Option<u64>,
    status: LimitStatus,
    status_at: Option<Millis>,
    reset_at: Option<Millis>,
    window_started_at: Option<Millis>,
    observed_at: Millis,
    source: LimitSource,
    exhausted_until: Option<Millis>,
    held: Held,
    thresholds_crossed: Vec<u8>,
    moment: FirstMoment,
}

impl From<First> for WindowState {
    fn from(first: First) -> Self {
        let FirstMoment {
            before,
            readings,
            rolled_over,
        } = first.moment;
        Self {
            utilization: first.utilization,
            utilization_at: first.utilization_at,
            remaining: first.remaining,
            limit: first.limit,
            status: first.status,
            status_at: first.status_at,
            reset_at: first.reset_at,
            window_started_at: first.window_started_at,
            observed_at: first.observed_at,
            source: first.source,
            exhausted_until: first.exhausted_until,
            held: first.held,
            thresholds_crossed: first.thresholds_crossed,
            moment: Moment {
                before: before.map(|never| match never {}),
                readings,
                rolled_over,
            },
        }
    }
}

/// Different resets remembered of one time; beyond it the earliest are forgotten.
pub const MOMENT_READINGS_MAX: usize = 8;

/// A window's state with its name.
#[derive(Clone, Copy, Debug)]
pub struct Window<'a> {
    /// The window's canonical name.
    pub bucket: &'a str,
    pub state: &'a WindowState,
}

/// How far a state can be trusted at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// Younger than [`STALE_AFTER_MS`].
    Fresh,
    Stale,
    /// The window ended and nothing was heard of the next one: awaiting refresh.
    Expired,
    /// Neither a share nor a status was ever given.
    Unknown,
}

impl Freshness {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
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
}

impl WindowState {
    /// When what is shown of it was last seen: the share if there is one, else anything.
    #[must_use]
    pub fn seen_at(&self) -> Millis {
        let share_at = self.utilization.and(self.utilization_at);
        share_at.unwrap_or(self.observed_at)
    }
}

/// What `state` says at `now`.
#[must_use]
pub fn view(state: &WindowState, now: Millis) -> View {
    if state.reset_at.is_some_and(|reset| reset <= now) {
        return View {
            freshness: Freshness::Expired,
            utilization: None,
            left: None,
            blocked_until: None,
        };
    }
    let freshness = if state.utilization.is_none() && state.status == LimitStatus::Unknown {
        Freshness::Unknown
    } else if now.saturating_sub(state.seen_at()) < STALE_AFTER_MS {
        Freshness::Fresh
    } else {
        Freshness::Stale
    };
    let used_up = state.utilization.is_some_and(|share| share >= 1.0);
    let blocked_until = state
        .exhausted_until
        .max(used_up.then(|| ends_at(state)))
        .filter(|until| *until > now);
    let left = if blocked_until.is_some() {
        Some(0.0)
    } else {
        state.utilization.map(|share| (1.0 - share).clamp(0.0, 1.0))
    };
    View {
        freshness,
        utilization: state.utilization,
        left,
        blocked_until,
    }
}

/// When the window ends; a guess that asks for a new look soon if nobody said.
pub(super) fn ends_at(state: &WindowState) -> Millis {
    state
        .reset_at
        .unwrap_or_else(|| state.observed_at.saturating_add(RESET_UNKNOWN_MS))
}
