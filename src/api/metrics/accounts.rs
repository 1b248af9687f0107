//! The metric families of windows and accounts.

use strum::VariantNames as _;

use super::encode::{Family, seconds};
use crate::api::document::quota;
use crate::model::Millis;
use crate::quota::admission::{AccountVerdict, Verdict};
use crate::quota::pace;
use crate::quota::window::{self, Freshness};
use crate::store::KnownAccounts;
use crate::verdict::Verdicts;

/// Families of windows. Of a window of which nothing is known now, as of one that has ended, there is no sample of its
/// share, nor one that it serves, rather than a zero.
pub fn windows(known: &KnownAccounts, now: Millis) -> [Family; 5] {
    let mut utilization = Family::gauge(
        "tokentail_window_utilization_ratio",
        "Used share of a limit window, 1 is all; no sample while it is unknown.",
    );
    let mut reset = Family::gauge(
        "tokentail_window_reset_timestamp_seconds",
        "End time of a window, since 1970.",
    );
    let mut observed = Family::gauge(
        "tokentail_window_observed_timestamp_seconds",
        "Time of a window's last observation, since 1970.",
    );
    let mut exhausted = Family::gauge(
        "tokentail_window_exhausted",
        "Whether a window refuses requests; no sample while that is unknown.",
    );
    let mut projected = Family::gauge(
        "tokentail_window_projected_exhaustion_timestamp_seconds",
        "Time at which a window runs out at its average pace, since 1970; no sample if it lasts, or is used up.",
    );
    for (account, sums) in known {
        for (name, state) in &sums.windows {
            let labels = [
                ("provider", &*account.provider),
                ("account", &*account.name),
                ("window", &**name),
            ];
            let view = window::view(state, now);
            if let Some(share) = view.utilization {
                utilization.add(&labels, share);
            }
            if let Some(at) = state.reset_at {
                reset.add(&labels, seconds(at));
            }
            observed.add(&labels, seconds(state.observed_at));
            let is_blocked = view.blocked_until.is_some();
            if is_blocked || !matches!(view.freshness, Freshness::Unknown | Freshness::Expired) {
                exhausted.add(&labels, is_blocked);
            }
            if let Some(at) = pace::projected_exhaustion_at(state, now).filter(|_| !is_blocked) {
                projected.add(&labels, seconds(at));
            }
        }
    }
    [utilization, reset, observed, exhausted, projected]
}

/// Families of accounts, and of the answer whether a run may start.
pub fn accounts(verdicts: &Verdicts) -> [Family; 7] {
    let mut state = Family::gauge(
        "tokentail_account_state",
        "Verdict on an account: 1 for the current one.",
    );
    let mut calls = Family::gauge(
        "tokentail_account_calls",
        "Responses counted in the last five hours.",
    );
    let mut calls_quota = Family::gauge(
        "tokentail_account_calls_quota",
        "Configured quota of responses in five hours; no sample without a quota.",
    );
    let mut used = Family::gauge(
        "tokentail_account_budget_used_tokens",
        "Tokens that count for the budget today.",
    );
    let mut budget = Family::gauge(
        "tokentail_account_budget_tokens",
        "Configured tokens per day; no sample without a budget.",
    );
    for judged in &verdicts.accounts {
        let account = quota::account(judged, verdicts.now);
        let labels = [("provider", &*account.provider), ("account", &*account.account)];
        state.add_one_of(&labels, "state", AccountVerdict::VARIANTS, &account.state);
        calls.add(&labels, account.calls_5h);
        used.add(&labels, account.budget_used);
        if let Some(quota) = account.calls_quota {
            calls_quota.add(&labels, quota);
        }
        if let Some(tokens) = account.budget {
            budget.add(&labels, tokens);
        }
    }
    let mut may_start = Family::gauge(
        "tokentail_may_start",
        "Answer of may-start: 1 for the current one.",
    );
    let decision = verdicts.may_start.decision.into_str();
    may_start.add_one_of(&[], "decision", Verdict::VARIANTS, decision);
    let mut retry = Family::gauge(
        "tokentail_may_start_retry_timestamp_seconds",
        "Time at which may-start is worth asking again, since 1970; no sample if a run may start, or that is unknown.",
    );
    if let Some(at) = verdicts.may_start.retry_at {
        retry.add(&[], seconds(at));
    }
    [state, calls, calls_quota, used, budget, may_start, retry]
}
