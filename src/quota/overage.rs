//! Overage: requests beyond the windows that the provider serves and bills.

use super::window::{NamedWindow, view};
use super::{window, window_name};
use crate::model::{LimitStatus, Millis};

/// What was last said of whether requests are paid as overage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overage {
    pub said_at: Millis,
    pub in_use: bool,
}

impl Overage {
    /// The later of two; of one time, that it costs.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        let order = |one: Self| (one.said_at, one.in_use);
        if order(other) > order(self) { other } else { self }
    }
}

/// Until when what is served is paid beyond the windows; `None` if it is not, or nobody said so. Always after `now`.
///
/// That holds until the windows that are used up begin anew. Overage that is itself refused serves nobody.
#[must_use]
pub fn paid_until(
    overage: Option<Overage>,
    windows: &[NamedWindow],
    model: Option<&str>,
    now: Millis,
) -> Option<Millis> {
    let is_overage = |window: &&NamedWindow| window_name::canonical(window.name) == window_name::OVERAGE;
    let own = windows.iter().find(is_overage);
    if own.is_some_and(|own| own.state.refuses(now)) {
        return None;
    }
    let limits = || {
        windows
            .iter()
            .filter(|window| window_name::binds(window.name, model, false))
    };
    let blocked = limits().filter_map(|window| Some((window, view(window.state, now).blocked_until?)));
    // While a window is used up, an account that may buy more does so.
    let may_buy = |window: &NamedWindow| {
        own.is_some_and(|own| {
            let is_allowed = matches!(
                own.state.status,
                LimitStatus::Allowed | LimitStatus::AllowedWarning
            );
            is_allowed && own.state.status_at >= window.state.blocked_at
        })
    };
    let bought = blocked
        .clone()
        .filter(|(window, _)| may_buy(window))
        .map(|(_, until)| until)
        .max();
    // A refusal after it was said ends it, whatever became of that.
    let refused_at = windows
        .iter()
        .filter(|window| {
            window_name::binds(window.name, model, true) && window.state.status == LimitStatus::Rejected
        })
        .filter_map(|window| window.state.status_at)
        .max();
    let said_at = overage
        .filter(|said| said.in_use && said.said_at <= now && refused_at <= Some(said.said_at))
        .map(|said| said.said_at);
    let in_use = said_at.and_then(|said_at| {
        // A window that began later is not what it was said of.
        let was_there = |window: &&NamedWindow| window.state.opened_at <= said_at;
        let over = |window: &NamedWindow| window.state.over_at().filter(|over| *over > now);
        let is_used_up = |window: &&NamedWindow| window.state.blocked_at.is_some() && over(window).is_some();
        if windows.iter().filter(was_there).any(|window| is_used_up(&window)) {
            return limits()
                .filter(was_there)
                .filter(is_used_up)
                .filter_map(over)
                .max();
        }
        // Nobody says which window is used up: one of those that were not read live since.
        let is_read = |window: &&NamedWindow| window.state.live_at > Some(said_at);
        let mut unread = limits().filter(|window| !is_read(window));
        if limits().any(|window| is_read(&window)) {
            return unread.filter(was_there).filter_map(over).min();
        }
        let soon = said_at.saturating_add(window::RESET_UNKNOWN_MS);
        Some(
            unread
                .by_ref()
                .filter(was_there)
                .filter_map(over)
                .min()
                .unwrap_or(soon),
        )
    });
    bought.max(in_use).filter(|until| *until > now)
}
