//! Overage: requests beyond the windows that the provider serves and bills.

use super::window::{NamedWindow, view};
use super::{window, window_name};
use crate::model::{LimitStatus, Millis};

/// The last report on whether requests are billed as overage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Overage {
    pub said_at: Millis,
    pub in_use: bool,
}

impl Overage {
    /// The later of two; of equal times, the one in use.
    #[must_use]
    pub fn later(self, other: Self) -> Self {
        let order = |one: Self| (one.said_at, one.in_use);
        if order(other) > order(self) { other } else { self }
    }
}

/// The time until which responses are billed beyond the windows; `None` if they are not, or nothing was
/// reported. Always after `now`.
///
/// It holds until the used-up windows begin again. Overage that is itself refused does not count.
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
    // A later refusal ends it, even if that refusal has ended.
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
        // A report does not apply to a window that began after it.
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
        // The report does not name the used-up window: it is one without a live reading since.
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
