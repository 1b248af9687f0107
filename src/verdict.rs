//! Verdicts on provider accounts, from the stored figures and the configured rules of each.
//!
//! The rules are in `quota::admission`, which is pure; this file gives it figures and settings. An answer is
//! judged once: documents, metrics and events read [`Verdicts`] or an [`Admission`].

pub mod places;

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::Accounts;
use crate::dedup::Totals;
use crate::model::{AccountId, DAY_MS, Millis};
use crate::prices::PriceList;
use crate::quota::account::{Account, TokenKinds};
use crate::quota::admission::{Admission, Assessment, Candidate, Unseen, admit, assess};
use crate::quota::budget::{self, CALLS_WINDOW_MS, Calls, DailyBudget, Day};
use crate::quota::pace;
use crate::quota::window::{self, NamedWindow};
use crate::store::{AccountSums, KnownAccounts};

/// The settings and the time that an answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct EvalContext<'a> {
    pub accounts: &'a Accounts,
    pub zone: &'a TimeZone,
    /// The prices of estimated costs.
    pub prices: &'a PriceList,
    /// The reason why the collector may not have read everything.
    pub unseen: Option<&'a Unseen>,
    pub now: Millis,
}

impl EvalContext<'_> {
    /// The first minute whose calls and tokens an answer needs.
    #[must_use]
    pub fn since(&self) -> Millis {
        self.day().start.min(self.now.saturating_sub(CALLS_WINDOW_MS))
    }

    /// The calendar day of `now`.
    fn day(&self) -> Day {
        let day = Timestamp::from_millisecond(self.now).ok().and_then(|now| {
            let start = now.to_zoned(self.zone.clone()).start_of_day().ok()?;
            let end = start.tomorrow().ok()?.start_of_day().ok()?;
            Some(Day {
                start: start.timestamp().as_millisecond(),
                end: end.timestamp().as_millisecond(),
            })
        });
        // Reached only at the ends of the calendar's range.
        day.unwrap_or(Day {
            start: self.now.saturating_sub(self.now.rem_euclid(DAY_MS)),
            end: self.now.saturating_add(DAY_MS),
        })
    }
}

/// One account as it was judged.
#[derive(Clone, Debug, PartialEq)]
pub struct JudgedAccount {
    /// Without a model, so windows of one family of models do not bind.
    pub assessment: Assessment,
    pub calls: Calls,
    /// The configured quota of calls; 0 for none.
    pub calls_quota: u64,
    /// The use of the current day, also without a budget.
    pub today: DailyBudget,
    /// In percent.
    pub thresholds: Vec<u8>,
}

/// All accounts as they were judged at one time.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdicts {
    pub now: Millis,
    /// The configured accounts in their order, then others that were observed.
    pub accounts: Vec<JudgedAccount>,
    /// The admission of a run that may use any configured account.
    pub may_start: Admission,
    /// The current day.
    pub day: Day,
}

/// Judges every account once.
#[must_use]
pub fn judge(known: &KnownAccounts, context: &EvalContext<'_>) -> Verdicts {
    let day = context.day();
    let configured = context.accounts.rules();
    let others: Vec<Account> = (known.keys())
        .filter(|id| configured.iter().all(|rules| rules.id != **id))
        .map(|id| Account::new(id.clone()))
        .collect();
    let accounts: Vec<JudgedAccount> = (configured.iter().chain(&others))
        .map(|rules| judge_one(rules, known, None, day, context.now))
        .collect();
    let candidates = accounts.iter().take(configured.len());
    let candidates = candidates.map(|account| account.assessment.clone()).collect();
    Verdicts {
        now: context.now,
        may_start: admit(candidates, context.unseen, context.now),
        accounts,
        day,
    }
}

impl Verdicts {
    /// The next time at which a document of windows or accounts changes by the clock alone; always after the
    /// time of the verdicts. `None` if only new data can change it. `known` are the figures that were judged.
    #[must_use]
    pub fn next_change(&self, known: &KnownAccounts) -> Option<Millis> {
        let mut times = vec![self.day.end];
        for state in known.values().flat_map(|sums| sums.windows.values()) {
            times.extend(window::changes(state));
            times.extend(pace::zone_changes(state));
        }
        for account in &self.accounts {
            times.extend(account.assessment.causes.iter().filter_map(|cause| cause.until));
            // A call leaves its five hours; the account may then no longer be near its limit.
            let leaves = Millis::try_from(account.calls.oldest_leaves_in_s).unwrap_or(Millis::MAX);
            let leaves = self.now.saturating_add(leaves.saturating_mul(1000));
            times.extend((account.calls.count > 0).then_some(leaves));
        }
        times.into_iter().filter(|at| *at > self.now).min()
    }
}

/// The filter of a may-start question: `None` matches any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdmissionQuestion {
    pub provider: Option<String>,
    pub account: Option<String>,
    pub model: Option<String>,
}

/// The admission of a run by a question; judges only the accounts that match.
#[must_use]
pub fn may_start(
    known: &KnownAccounts,
    context: &EvalContext<'_>,
    question: &AdmissionQuestion,
) -> Admission {
    admission_of(known, context, question, &candidates(known, context, question))
}

/// The accounts that match a question, in the order of preference.
fn candidates<'a>(
    known: &KnownAccounts,
    context: &EvalContext<'a>,
    question: &AdmissionQuestion,
) -> Vec<Cow<'a, Account>> {
    let is_wanted = |filter: &Option<String>, is: &str| filter.as_ref().is_none_or(|name| **name == *is);
    let is_asked = |id: &AccountId| {
        is_wanted(&question.provider, &id.provider) && is_wanted(&question.account, &id.name)
    };
    let configured = context.accounts.rules().iter();
    let mut accounts: Vec<Cow<'a, Account>> = configured
        .filter(|rules| is_asked(&rules.id))
        .map(Cow::Borrowed)
        .collect();
    if accounts.is_empty() && context.accounts.is_open() {
        let seen = known.keys().filter(|id| is_asked(id)).cloned();
        accounts.extend(seen.map(|id| Cow::Owned(Account::new(id))));
        if accounts.is_empty() {
            // The account that a run with these labels would be counted under.
            let AccountId { provider, name } = AccountId::default();
            accounts.push(Cow::Owned(Account::new(AccountId {
                provider: question.provider.as_deref().map_or(provider, Into::into),
                name: question.account.as_deref().map_or(name, Into::into),
            })));
        }
    }
    accounts
}

fn admission_of(
    known: &KnownAccounts,
    context: &EvalContext<'_>,
    question: &AdmissionQuestion,
    accounts: &[Cow<'_, Account>],
) -> Admission {
    let (model, day) = (question.model.as_deref(), context.day());
    let candidates = accounts.iter();
    let candidates = candidates.map(|rules| judge_one(rules, known, model, day, context.now).assessment);
    let mut admission = admit(candidates.collect(), context.unseen, context.now);
    if accounts.is_empty() {
        let (provider, name) = (question.provider.as_deref(), question.account.as_deref());
        admission.sentence = context.accounts.unknown(provider, name).to_string();
    }
    admission
}

fn judge_one(
    rules: &Account,
    known: &KnownAccounts,
    model: Option<&str>,
    day: Day,
    now: Millis,
) -> JudgedAccount {
    let nothing = AccountSums::default();
    let sums = known.get(&rules.id).unwrap_or(&nothing);
    let calls = (sums.minutes.iter()).map(|(minute, totals)| (*minute, calls_of(totals)));
    let calls = budget::calls_in(calls, now);
    let tokens = (sums.minutes.iter()).map(|(minute, totals)| (*minute, tokens_of(totals, rules.counted)));
    let today = DailyBudget::new(rules.daily_tokens, day, tokens);
    let windows = sums.windows.iter();
    let assessment = assess(
        &Candidate {
            account: rules,
            model: model.map(Into::into),
            windows: windows.map(|(name, state)| NamedWindow { name, state }).collect(),
            calls,
            budget: Some(&today),
            mark: sums.mark.as_ref(),
            throttled: sums.throttles.cause(sums.served_at, now),
            overage: sums.overage,
        },
        now,
    );
    JudgedAccount {
        assessment,
        calls,
        calls_quota: rules.calls_quota,
        today,
        thresholds: rules.thresholds.clone(),
    }
}

fn calls_of(totals: &Totals) -> u64 {
    u64::try_from(totals.messages.saturating_add(totals.advisor_calls)).unwrap_or(0)
}

fn tokens_of(totals: &Totals, kinds: TokenKinds) -> u128 {
    let fields = [
        (kinds.input, totals.input),
        (kinds.output, totals.output),
        (kinds.cache_creation, totals.cache_creation),
        (kinds.cache_read, totals.cache_read),
    ];
    let counted = fields.into_iter().filter(|(counts, _)| *counts);
    counted.fold(0, |sum, (_, tokens)| {
        sum.saturating_add(u128::try_from(tokens).unwrap_or(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HOUR_MS, LimitSource, LimitStatus, MINUTE_MS, Observation, window_name};
    use crate::quota::window::merge;

    /// 2026-10-05T12:00:00Z
    const NOON: Millis = 1_791_201_600_000;

    fn changes_in(known: &KnownAccounts, accounts: &Accounts, ms: Millis) -> Option<Millis> {
        let context = EvalContext {
            accounts,
            zone: &TimeZone::UTC,
            prices: &PriceList::default(),
            unseen: None,
            now: NOON + ms,
        };
        judge(known, &context).next_change(known).map(|at| at - NOON)
    }

    #[test]
    fn a_window_changes_by_the_clock_when_it_is_stale_gains_a_pace_and_ends() {
        let observation = Observation {
            window: window_name::FIVE_HOUR.into(),
            utilization: Some(0.5),
            remaining: None,
            limit: None,
            reset_at: Some(NOON + 5 * HOUR_MS),
            observed_at: None,
            status: LimitStatus::Allowed,
            source: LimitSource::Headers,
            session: None,
            request: None,
        };
        let accounts = Accounts::default();
        let mut known = KnownAccounts::new();
        assert_eq!(
            changes_in(&known, &accounts, 0),
            Some(12 * HOUR_MS),
            "the day ends"
        );
        let state = merge(None, &observation, NOON, &[]).track.state;
        let sums = known.entry(AccountId::default()).or_default();
        sums.windows.insert(window_name::FIVE_HOUR.into(), state);
        let mut now = 0;
        let mut changes = Vec::new();
        while let Some(at) = changes_in(&known, &accounts, now) {
            assert!(at > now);
            changes.push(at);
            now = at;
            if now >= 12 * HOUR_MS {
                break;
            }
        }
        assert_eq!(
            changes,
            [
                5 * MINUTE_MS,
                15 * MINUTE_MS + 1,
                // A quarter of the window behind its use, then a fifth ahead of it.
                75 * MINUTE_MS + 1,
                210 * MINUTE_MS + 1,
                5 * HOUR_MS,
                12 * HOUR_MS
            ]
        );
    }
}
