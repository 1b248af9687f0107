//! What the windows of an account say of each scope.

use std::collections::BTreeMap;

use super::probe::{BlockKind, Gate, PROBE_AFTER_MS, ScopeBlock, ScopeFacts};
use crate::model::{LimitStatus, Millis};
use crate::quota::account::Minimum;
use crate::quota::exhaustion::below_minimum;
use crate::quota::throttle::Throttles;
use crate::quota::window::{NamedWindow, RESET_UNKNOWN_MS, WindowState, ends_at};
use crate::quota::window_name;

/// The scopes of an account: the whole account first, then one for each family of models with a window of its own.
/// With a model, only the families that it belongs to. `served_at` is the latest response of the account.
#[must_use]
pub fn facts(
    windows: &[NamedWindow],
    throttles: &Throttles,
    served_at: Option<Millis>,
    minimums: &[Minimum],
    model: Option<&str>,
    now: Millis,
) -> Vec<ScopeFacts> {
    let mut scopes: BTreeMap<&str, ScopeFacts> = BTreeMap::new();
    let account = scopes.entry("").or_default();
    account.served_at = served_at;
    account.refused_at = throttles.last_at();
    account.gate = cool_down(throttles, served_at, now);
    for window in windows {
        let family = window_name::family(window.name);
        let is_wanted = match (family, model) {
            (Some(_), Some(model)) => window_name::serves(window.name, model),
            _ => true,
        };
        if !is_wanted {
            continue;
        }
        let scope = family.unwrap_or_default();
        let facts = scopes.entry(scope).or_insert_with(|| ScopeFacts::of(scope));
        add(facts, window, minimums, now);
    }
    scopes.into_values().collect()
}

/// Adds a window to its scope.
fn add(facts: &mut ScopeFacts, window: &NamedWindow, minimums: &[Minimum], now: Millis) {
    let state = window.state;
    if !facts.scope.is_empty() {
        facts.served_at = facts.served_at.max(state.served_at);
    }
    match state.status {
        LimitStatus::Rejected => facts.refused_at = facts.refused_at.max(state.status_at),
        // A snapshot may repeat an old answer.
        LimitStatus::Allowed | LimitStatus::AllowedWarning if !state.source.is_snapshot() => {
            facts.allowed_at = facts.allowed_at.max(state.status_at);
        }
        _ => {}
    }
    let minimum = minimums
        .iter()
        .filter(|minimum| window_name::canonical(&minimum.window) == window_name::canonical(window.name));
    let minimum = minimum.map(|minimum| minimum.percent).max();
    facts.gate = graver(facts.gate, of_window(state, window.name, minimum, now));
}

/// The gate of one window.
fn of_window(state: &WindowState, name: &str, minimum: Option<u8>, now: Millis) -> Gate {
    let is_lifted = state.is_lifted(now);
    let is_refused = state.status == LimitStatus::Rejected && !is_lifted;
    let binds = is_refused || window_name::binds_always(name);
    // A full share ends with a refusal, another one does not.
    let share = state
        .utilization
        .filter(|share| binds && !(is_lifted && *share >= 1.0));
    let is_full = share.is_some_and(|share| share >= 1.0);
    let is_low =
        share.is_some_and(|share| minimum.is_some_and(|minimum| below_minimum(1.0 - share, minimum)));
    if !(is_refused || is_full || is_low) {
        return Gate::Closed;
    }
    let refused_until = is_refused.then(|| {
        let guess = || {
            state
                .status_at
                .unwrap_or(state.observed_at)
                .saturating_add(RESET_UNKNOWN_MS)
        };
        state.exhausted_until.or(state.over_at()).unwrap_or_else(guess)
    });
    let end = refused_until.max((is_full || is_low).then(|| ends_at(state)));
    let end = end.unwrap_or(now);
    if state
        .served_at
        .is_some_and(|served| served >= end && served <= now)
    {
        return Gate::Closed;
    }
    // Without a reset `exhausted_until` is a guess, which needs no time for clocks.
    let has_end = state.reset_at.is_some();
    let until = if has_end {
        end.saturating_add(PROBE_AFTER_MS)
    } else {
        end
    };
    if until <= now {
        return Gate::Over;
    }
    Gate::Blocked(ScopeBlock {
        until,
        kind: if is_refused {
            BlockKind::Refusal
        } else {
            BlockKind::Share
        },
        seen_at: state.seen_at().max(state.status_at.unwrap_or(Millis::MIN)),
        has_end,
    })
}

/// The gate of refusals without a window. Their ends are lengths of time, so no clock can be wrong.
fn cool_down(throttles: &Throttles, served_at: Option<Millis>, now: Millis) -> Gate {
    if let Some(cause) = throttles.cause(served_at, now) {
        return Gate::Blocked(ScopeBlock {
            until: cause.until,
            kind: BlockKind::CoolDown,
            seen_at: cause.since,
            has_end: true,
        });
    }
    match throttles.last_at() {
        // Nothing was served since.
        Some(at) if at <= now && served_at.is_none_or(|served| served <= at) => Gate::Over,
        _ => Gate::Closed,
    }
}

/// The gate that holds longer.
fn graver(a: Gate, b: Gate) -> Gate {
    match (a, b) {
        (Gate::Blocked(a), Gate::Blocked(b)) => {
            let longer = if (b.until, b.kind) > (a.until, a.kind) {
                b
            } else {
                a
            };
            Gate::Blocked(ScopeBlock {
                // A refusal by any of them may not be tried.
                kind: a.kind.max(b.kind),
                ..longer
            })
        }
        (Gate::Blocked(block), _) | (_, Gate::Blocked(block)) => Gate::Blocked(block),
        (Gate::Over, _) | (_, Gate::Over) => Gate::Over,
        (Gate::Closed, Gate::Closed) => Gate::Closed,
    }
}
