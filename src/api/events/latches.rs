//! The events of verdicts, budgets, forecasts and polls, which no line of a log is.

use crate::config::Settings;
use crate::model::Millis;
use crate::quota::notice::LatchChange;
use crate::quota::notice::causes::{
    BudgetUse, Latches, WindowSubject, of_account, of_budget, of_forecast, of_poll,
};
use crate::quota::poll::PollState;
use crate::sources::board::PollBoard;
use crate::store::KnownAccounts;
use crate::verdict::Verdicts;

/// The changes of latches that follow from the verdicts.
pub fn changes(
    latches: &Latches,
    known: &KnownAccounts,
    verdicts: &Verdicts,
    settings: &Settings,
    polls: &PollBoard,
) -> Vec<LatchChange> {
    let now = verdicts.now;
    let within = Millis::try_from(settings.forecast_within.as_millis()).unwrap_or(Millis::MAX);
    let mut changes = Vec::new();
    for judged in &verdicts.accounts {
        let id = &judged.assessment.account;
        changes.extend(of_account(latches, &judged.assessment, now));
        if let Some(rules) = settings.accounts.get(id) {
            let day = verdicts.day;
            let budget = BudgetUse {
                account: id,
                thresholds: &rules.thresholds,
                tokens: judged.today.tokens(),
                used: judged.today.used(now),
                day_start: day.start,
                day_end: day.end,
            };
            changes.extend(of_budget(latches, &budget, now));
        }
        for (name, state) in known.get(id).into_iter().flat_map(|sums| &sums.windows) {
            let subject = WindowSubject { account: id, name };
            changes.extend(of_forecast(latches, subject, state, within, now));
        }
    }
    for (id, status) in polls.statuses() {
        let is_expired = status.state == PollState::Expired;
        // After a start the poll is in no state yet.
        if is_expired || status.failure.is_none() && status.last_ok.is_some() {
            let why = status.failure.as_ref().map_or("", |failure| &*failure.detail);
            changes.extend(of_poll(latches, &id, is_expired, why, now));
        }
    }
    changes
}
