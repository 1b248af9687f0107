//! Causes of exhaustion and their ends. The causes are kept apart: the end of one does not end another.

use strum::IntoStaticStr;

use super::account::Minimum;
use super::budget::{DailyBudget, Overrun};
use super::window::{Freshness, NamedWindow, SHARE_EPSILON, ends_at, view};
use super::window_name;
use crate::model::Millis;

#[cfg(test)]
mod tests;

/// The end of a block that a person has to remove.
pub const UNTIL_TAKEN_BACK: Millis = Millis::MAX;
/// Slack after its reset during which a window below its minimum still blocks, in milliseconds: providers'
/// clocks differ.
pub(super) const RESET_SLACK_MS: Millis = 60_000;

/// One cause; it ends at `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The first time at which it no longer holds; [`UNTIL_TAKEN_BACK`] if it has no end.
    pub until: Millis,
    /// A few words for people.
    pub reason: Box<str>,
    /// The origin: the kind of line, `daily_budget`, or the person who set it.
    pub source: Box<str>,
    pub since: Millis,
}

/// The kinds of causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum CauseKind {
    /// A window of the provider.
    Observed,
    /// The daily budget.
    Predicted,
    /// A mark by a person.
    Manual,
    /// A refusal without a named window.
    Throttled,
}

/// The cause from the windows that bind `model`, with the name of the window: the one that is blocked longest.
#[must_use]
pub fn blocked<'a>(
    windows: &[NamedWindow<'a>],
    model: Option<&str>,
    now: Millis,
) -> Option<(&'a str, Cause)> {
    let (window, until) = windows
        .iter()
        .filter(|window| window.binds(model, now))
        .filter_map(|window| Some((window, view(window.state, now).blocked_until?)))
        // Of equal ends the first name, so that the order of the windows does not matter.
        .max_by(|(a, until_a), (b, until_b)| until_a.cmp(until_b).then_with(|| b.name.cmp(a.name)))?;
    let state = window.state;
    let (reason, since) = if view(state, now).refused && state.exhausted_until >= Some(until) {
        (
            format!(
                "{} was refused by the provider",
                window_name::in_words(window.name)
            ),
            state.status_at,
        )
    } else {
        (
            format!("{} is used up", window_name::in_words(window.name)),
            state.utilization_at,
        )
    };
    let cause = Cause {
        until,
        reason: reason.into(),
        source: state.source.into_str().into(),
        since: since.unwrap_or(state.observed_at),
    };
    Some((window.name, cause))
}

/// The cause from the daily budget, and the overrun behind it.
pub(super) fn predicted(budget: &DailyBudget, now: Millis) -> Option<(Overrun, Cause)> {
    let overrun = budget.overrun(now)?;
    let (used, tokens) = (budget.used(now), budget.tokens());
    let reason = if overrun.used_up {
        format!("the day's budget is used up: {used} of {tokens} tokens")
    } else {
        format!("the day's budget was used too fast to last: {used} of {tokens} tokens")
    };
    let cause = Cause {
        until: overrun.until,
        reason: reason.into(),
        source: "daily_budget".into(),
        since: overrun.since,
    };
    Some((overrun, cause))
}

/// A window with less left than its minimum.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// The window's canonical name.
    pub window: Box<str>,
    /// `RESET_SLACK_MS` after the window's reset.
    pub until: Millis,
    /// The share left; below 0 if more than all was used.
    pub left: f64,
    /// The configured minimum, in percent.
    pub percent: u8,
}

/// The percent that must be left of this window.
#[must_use]
pub fn minimum_of(window: &str, minimums: &[Minimum]) -> Option<u8> {
    let name = window_name::canonical(window);
    (minimums.iter())
        .filter(|minimum| window_name::canonical(&minimum.window) == name)
        .map(|minimum| minimum.percent)
        .max()
}

/// The window below its minimum that takes longest to recover. Ended windows and windows without a known
/// share do not block.
#[must_use]
pub fn minimum_block(windows: &[NamedWindow], minimums: &[Minimum], now: Millis) -> Option<Block> {
    windows
        .iter()
        .filter_map(|window| {
            let name = window_name::canonical(window.name);
            let percent = minimum_of(name, minimums)?;
            let seen = view(window.state, now);
            let left = 1.0
                - seen
                    .utilization
                    .filter(|_| seen.freshness != Freshness::Expired)?;
            let until = ends_at(window.state).saturating_add(RESET_SLACK_MS);
            (below_minimum(left, percent) && until > now).then(|| Block {
                window: name.into(),
                until,
                left,
                percent,
            })
        })
        .max_by(|a, b| a.until.cmp(&b.until).then_with(|| b.window.cmp(&a.window)))
}

/// True if less than `percent` of a window is left; exactly `percent` is enough.
#[must_use]
pub fn below_minimum(left: f64, percent: u8) -> bool {
    left * 100.0 < f64::from(percent) - SHARE_EPSILON
}
