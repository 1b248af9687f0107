//! Documents of provider accounts and windows, and the answer of may-start.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::api::document::time;
use crate::api::wire;
use crate::config::Accounts;
use crate::dedup::Totals;
use crate::model::{AccountId, DAY_MS, Fired, Millis};
use crate::quota::account::{Account, TokenKinds};
use crate::quota::admission::{self, Admission, Assessment, BlockReason, Candidate, Unseen};
use crate::quota::budget::{self, CALLS_WINDOW_MS, DailyBudget, Day};
use crate::quota::exhaustion::{self, Cause, Causes, UNTIL_TAKEN_BACK};
use crate::quota::pace;
use crate::quota::window::{self, NamedWindow, WindowState};
use crate::store::schema::HistoryRow;
use crate::store::{AccountSums, LimitEvent, QuotaView};

/// Shares are rounded to a millionth; further digits are floating-point noise.
const SHARE_STEPS: f64 = 1e6;

const SECOND_MS: u64 = 1_000;
/// Longest reason of a mark, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// The filter of a may-start question: `None` matches any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdmissionQuestion {
    pub provider: Option<String>,
    pub account: Option<String>,
    pub model: Option<String>,
}

/// The settings and the time that an answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct EvalContext<'a> {
    pub accounts: &'a Accounts,
    pub zone: &'a TimeZone,
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

/// The whole quota document.
#[must_use]
pub fn quota(view: &QuotaView, context: &EvalContext<'_>) -> wire::Quota {
    let mut windows = Vec::new();
    for (id, sums) in &view.accounts {
        for (name, state) in &sums.windows {
            windows.push(window(id, name, state, context.now));
        }
    }
    wire::Quota {
        windows,
        accounts: accounts(view, context),
        limit_events: view.limit_events.iter().map(limit_event).collect(),
        thresholds_fired: view.fired.iter().map(fired).collect(),
        may_start: may_start(view, context, &AdmissionQuestion::default()),
    }
}

/// The may-start answer: a decision, a place to start, or a time to retry.
#[must_use]
pub fn may_start(
    view: &QuotaView,
    context: &EvalContext<'_>,
    question: &AdmissionQuestion,
) -> wire::MayStart {
    let nothing = AccountSums::default();
    let is_wanted = |filter: &Option<String>, is: &str| filter.as_ref().is_none_or(|name| **name == *is);
    let is_asked = |id: &AccountId| {
        is_wanted(&question.provider, &id.provider) && is_wanted(&question.account, &id.name)
    };
    let configured = context.accounts.rules();
    let mut asked: Vec<Account> = configured
        .iter()
        .filter(|rules| is_asked(&rules.id))
        .cloned()
        .collect();
    if asked.is_empty() && context.accounts.is_open() {
        let seen = view.accounts.keys().filter(|id| is_asked(id)).cloned();
        asked.extend(seen.map(Account::new));
        if asked.is_empty() {
            // The account that a run with these labels would be counted under.
            let AccountId { provider, name } = AccountId::default();
            asked.push(Account::new(AccountId {
                provider: question.provider.as_deref().map_or(provider, Into::into),
                name: question.account.as_deref().map_or(name, Into::into),
            }));
        }
    }
    let candidates: Vec<Candidate<'_>> = (asked.iter())
        .map(|rules| {
            let sums = view.accounts.get(&rules.id).unwrap_or(&nothing);
            candidate(rules, sums, question.model.as_deref(), context)
        })
        .collect();
    let mut admission = admission::admit(&candidates, context.unseen, context.now);
    if candidates.is_empty() {
        let (provider, name) = (question.provider.as_deref(), question.account.as_deref());
        admission.sentence = context.accounts.unknown(provider, name).to_string();
    }
    answer(&admission, context.now)
}

/// The cause stored for a mark; `None` removes an earlier mark.
///
/// # Errors
/// The invalid part of the mark.
pub fn cause_of(mark: &wire::Mark, now: Millis) -> Result<Option<Cause>, String> {
    match mark.state.as_str() {
        "available" if mark.until.is_none() && mark.reason.is_none() => return Ok(None),
        "available" => return Err("state: `available` takes neither until nor reason".to_owned()),
        "exhausted" => {}
        other => return Err(format!("state: {other:?} is neither `exhausted` nor `available`")),
    }
    let until = match &mark.until {
        None => UNTIL_TAKEN_BACK,
        Some(text) => text
            .parse::<Timestamp>()
            .map_err(|error| format!("until: no RFC 3339 time with an offset: {error}"))?
            .as_millisecond(),
    };
    if until <= now {
        return Err("until: that time has passed".to_owned());
    }
    let reason = mark.reason.as_deref().unwrap_or("marked by an operator");
    if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        return Err(format!("reason: at most {REASON_BYTES_MAX} bytes on one line"));
    }
    Ok(Some(Cause {
        until,
        reason: reason.into(),
        source: "operator".into(),
        since: now,
    }))
}

/// A point of a window's history.
#[must_use]
pub fn history_point(row: &HistoryRow) -> wire::HistoryPoint {
    wire::HistoryPoint {
        at: time(row.observed_at),
        utilization: row.utilization.map(share),
        reset_at: row.reset_at.map(time),
        status: row.status.into_str().to_owned(),
        source: row.source.into_str().to_owned(),
    }
}

fn candidate<'a>(
    rules: &'a Account,
    sums: &'a AccountSums,
    model: Option<&str>,
    context: &EvalContext<'_>,
) -> Candidate<'a> {
    let now = context.now;
    let calls = (sums.minutes.iter()).map(|(minute, totals)| (*minute, calls_of(totals)));
    let budget = (rules.daily_tokens > 0).then(|| daily_budget(rules, sums, context.day()));
    let causes = Causes {
        predicted: budget
            .as_ref()
            .and_then(|budget| exhaustion::predicted(budget, now)),
        manual: sums.mark.clone(),
        throttled: sums.throttles.cause(sums.served_at, now),
        ..Causes::default()
    };
    Candidate {
        account: rules,
        model: model.map(Into::into),
        windows: windows(sums),
        calls: budget::calls_in(calls, now),
        budget,
        causes,
        overage: sums.overage,
    }
}

fn windows(sums: &AccountSums) -> Vec<NamedWindow<'_>> {
    let windows = sums.windows.iter();
    windows.map(|(name, state)| NamedWindow { name, state }).collect()
}

fn daily_budget(rules: &Account, sums: &AccountSums, day: Day) -> DailyBudget {
    let minutes = (sums.minutes.iter()).map(|(minute, totals)| (*minute, tokens_of(totals, rules.counted)));
    DailyBudget::new(rules.daily_tokens, day, minutes)
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

/// The accounts with their verdicts.
#[must_use]
pub fn accounts(view: &QuotaView, context: &EvalContext<'_>) -> Vec<wire::Account> {
    of_each(view, context, |rules, sums| account(rules, sums, context))
}

/// The verdict on an account without its figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountState {
    pub account: AccountId,
    /// `available`, `near_limit`, `exhausted` or `unknown`.
    pub state: &'static str,
    pub until: Option<Millis>,
    /// Its stable code.
    pub reason: &'static str,
    pub sentence: String,
}

/// The verdicts on the accounts.
#[must_use]
pub fn account_states(view: &QuotaView, context: &EvalContext<'_>) -> Vec<AccountState> {
    of_each(view, context, |rules, sums| {
        let assessment = admission::assess(&candidate(rules, sums, None, context), context.now);
        AccountState {
            account: rules.id.clone(),
            state: assessment.state.into_str(),
            until: assessment.until,
            reason: assessment.reason.into_str(),
            sentence: assessment.sentence,
        }
    })
}

/// The configured accounts in their order, then others that were observed.
fn of_each<T>(
    view: &QuotaView,
    context: &EvalContext<'_>,
    make: impl Fn(&Account, &AccountSums) -> T,
) -> Vec<T> {
    let nothing = AccountSums::default();
    let configured = context.accounts.rules();
    let others: Vec<Account> = (view.accounts.keys())
        .filter(|id| configured.iter().all(|rules| rules.id != **id))
        .map(|id| Account::new(id.clone()))
        .collect();
    (configured.iter().chain(&others))
        .map(|rules| make(rules, view.accounts.get(&rules.id).unwrap_or(&nothing)))
        .collect()
}

/// The next time at which a document of windows or accounts changes by the clock alone; always after the time
/// of the context. `None` if only new data can change it.
#[must_use]
pub fn next_change(view: &QuotaView, context: &EvalContext<'_>) -> Option<Millis> {
    let now = context.now;
    let mut times = vec![context.day().end];
    for (id, sums) in &view.accounts {
        for state in sums.windows.values() {
            times.extend(window::changes(state));
            times.extend(pace::zone_changes(state));
        }
        let rules = context.accounts.get(id);
        let rules = rules.cloned().unwrap_or_else(|| Account::new(id.clone()));
        let candidate = candidate(&rules, sums, None, context);
        let assessment = admission::assess(&candidate, now);
        times.extend(assessment.causes.iter().filter_map(|cause| cause.until));
        // A call leaves its five hours; the account may then no longer be near its limit.
        let leaves = Millis::try_from(candidate.calls.oldest_leaves_in_s).unwrap_or(Millis::MAX);
        times.extend((candidate.calls.count > 0).then(|| now.saturating_add(leaves.saturating_mul(1000))));
    }
    times.into_iter().filter(|at| *at > now).min()
}

fn account(rules: &Account, sums: &AccountSums, context: &EvalContext<'_>) -> wire::Account {
    let now = context.now;
    let candidate = candidate(rules, sums, None, context);
    let assessment = admission::assess(&candidate, now);
    // Today's usage is shown without a budget too.
    let today = daily_budget(rules, sums, context.day());
    wire::Account {
        provider: rules.id.provider.to_string(),
        account: rules.id.name.to_string(),
        state: assessment.state.into_str().to_owned(),
        until: assessment.until.map(time),
        causes: causes(&assessment.causes),
        calls_5h: candidate.calls.count,
        calls_quota: (rules.calls_quota > 0).then_some(rules.calls_quota),
        oldest_call_leaves_in_s: candidate.calls.oldest_leaves_in_s,
        budget_used: u64::try_from(today.used(now)).unwrap_or(u64::MAX),
        budget: (rules.daily_tokens > 0).then_some(rules.daily_tokens),
        budget_projected_exhaustion_at: (candidate.budget.as_ref())
            .and_then(|budget| budget.projected_exhaustion_at(now))
            .map(time),
        reason: assessment.reason.into_str().to_owned(),
        sentence: assessment.sentence,
    }
}

fn answer(admission: &Admission, now: Millis) -> wire::MayStart {
    let chosen = admission.chosen.and_then(|place| admission.candidates.get(place));
    wire::MayStart {
        decision: admission.decision.into_str().to_owned(),
        retry_at: admission.retry_at.map(time),
        retry_in_s: admission.retry_at.map(|at| {
            let left = u64::try_from(at.saturating_sub(now)).unwrap_or(0);
            left.div_ceil(SECOND_MS)
        }),
        chosen: chosen.map(|chosen| wire::Choice {
            provider: chosen.account.provider.to_string(),
            account: chosen.account.name.to_string(),
            model: chosen.model.as_deref().map(str::to_owned),
        }),
        reason: admission.reason.into_str().to_owned(),
        unseen: admission.unseen.clone(),
        sentence: admission.sentence.clone(),
        candidates: admission.candidates.iter().map(candidate_document).collect(),
    }
}

fn candidate_document(assessment: &Assessment) -> wire::Candidate {
    wire::Candidate {
        provider: assessment.account.provider.to_string(),
        account: assessment.account.name.to_string(),
        model: assessment.model.as_deref().map(str::to_owned),
        verdict: assessment.verdict.into_str().to_owned(),
        state: assessment.state.into_str().to_owned(),
        headroom: assessment.headroom.map(share),
        binding_window: assessment.window.as_deref().map(str::to_owned),
        freshness: assessment.freshness.into_str().to_owned(),
        source: assessment.source.map(|source| source.into_str().to_owned()),
        until: assessment.until.map(time),
        causes: causes(&assessment.causes),
        reason: assessment.reason.into_str().to_owned(),
        sentence: assessment.sentence.clone(),
    }
}

fn causes(reasons: &[BlockReason]) -> Vec<wire::Cause> {
    reasons
        .iter()
        .map(|block| wire::Cause {
            kind: block.kind.into_str().to_owned(),
            until: block.until.map(time),
            code: block.code.into_str().to_owned(),
            reason: block.reason.to_string(),
            source: block.source.to_string(),
            window: block.window.as_deref().map(str::to_owned),
        })
        .collect()
}

pub fn window(id: &AccountId, name: &str, state: &WindowState, now: Millis) -> wire::Window {
    let view = window::view(state, now);
    let pace = pace::pace(state, now);
    wire::Window {
        provider: id.provider.to_string(),
        account: id.name.to_string(),
        window: name.to_owned(),
        utilization: view.utilization.map(share),
        utilization_at: state.utilization_at.map(time),
        remaining: state.remaining,
        limit: state.limit,
        status: state.status.into_str().to_owned(),
        state: view.freshness.into_str().to_owned(),
        reset_at: state.reset_at.map(time),
        window_started_at: state.window_started_at.map(time),
        observed_at: time(state.observed_at),
        source: state.source.into_str().to_owned(),
        exhausted_until: view.blocked_until.map(time),
        refused: view.refused,
        pace: wire::Pace {
            delta: pace.delta.map(share),
            zone: pace.zone.into_str().to_owned(),
        },
        projected_exhaustion_at: pace::projected_exhaustion_at(state, now).map(time),
        thresholds_crossed: state.thresholds_crossed.clone(),
    }
}

fn limit_event(event: &LimitEvent) -> wire::LimitEvent {
    wire::LimitEvent {
        at: time(event.at),
        provider: event.account.provider.to_string(),
        account: event.account.name.to_string(),
        window: event.window.to_string(),
        resets_at: event.resets_at.map(time),
        source: event.source.into_str().to_owned(),
    }
}

pub fn fired(fired: &Fired) -> wire::ThresholdFired {
    wire::ThresholdFired {
        number: fired.number,
        at: time(fired.observed_at),
        provider: fired.account.provider.to_string(),
        account: fired.account.name.to_string(),
        window: fired.window.to_string(),
        threshold: fired.percent,
        utilization: share(fired.utilization),
        reset_at: fired.reset_at.map(time),
    }
}

fn share(share: f64) -> f64 {
    let rounded = (share * SHARE_STEPS).round() / SHARE_STEPS;
    if rounded.is_finite() { rounded } else { share }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HOUR_MS, LimitSource, LimitStatus, MINUTE_MS, Observation, window_name};
    use crate::quota::window::merge;

    /// 2026-10-05T12:00:00Z
    const NOON: Millis = 1_791_201_600_000;

    fn changes_in(view: &QuotaView, accounts: &Accounts, ms: Millis) -> Option<Millis> {
        let context = EvalContext {
            accounts,
            zone: &TimeZone::UTC,
            unseen: None,
            now: NOON + ms,
        };
        next_change(view, &context).map(|at| at - NOON)
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
        let mut view = QuotaView::default();
        assert_eq!(
            changes_in(&view, &accounts, 0),
            Some(12 * HOUR_MS),
            "the day ends"
        );
        let state = merge(None, &observation, NOON, &[]).track.state;
        let sums = view.accounts.entry(AccountId::default()).or_default();
        sums.windows.insert(window_name::FIVE_HOUR.into(), state);
        let mut now = 0;
        let mut changes = Vec::new();
        while let Some(at) = changes_in(&view, &accounts, now) {
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
