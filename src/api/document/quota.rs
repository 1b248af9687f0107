//! Documents of provider accounts and windows, and the answer of may-start.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::api::document::{leases, time};
use crate::api::wire;
use crate::model::letters::is_unsafe;
use crate::model::{AccountId, Fired, LimitStatus, Millis};
use crate::quota::account::Minimum;
use crate::quota::admission::{Admission, Assessment, BlockReason};
use crate::quota::exhaustion::{self, Cause, UNTIL_TAKEN_BACK};
use crate::quota::lease::LeaseBook;
use crate::quota::pace;
use crate::quota::window::{self, WindowState};
use crate::sources::board::PollStatus;
use crate::store::schema::HistoryRow;
use crate::store::{LimitEvent, QuotaView};
use crate::verdict::{self, EvalContext, JudgedAccount, places};

/// Shares are rounded to a millionth; further digits are floating-point noise.
const SHARE_STEPS: f64 = 1e6;

const SECOND_MS: u64 = 1_000;
/// Longest reason of a mark, in bytes.
const REASON_BYTES_MAX: usize = 256;

/// The whole quota document.
#[must_use]
pub fn quota(view: &QuotaView, context: &EvalContext<'_>) -> wire::Quota {
    let verdicts = verdict::judge(&view.accounts, context);
    let mut book = view.leases.clone();
    book.apply(&places::swept(&book, &view.accounts, context));
    let scopes = places::every_scope(&view.accounts, context);
    let mut windows = Vec::new();
    for (id, sums) in &view.accounts {
        for (name, state) in &sums.windows {
            let minimums = context.accounts.minimums(id);
            windows.push(window(id, (name, state), minimums, context.now));
        }
    }
    wire::Quota {
        now: time(context.now),
        windows,
        accounts: (verdicts.accounts.iter().zip(&scopes))
            .map(|(one, (id, rules, scopes))| wire::Account {
                leases: book.of_account(id).count() as u64,
                minimum_left: (context.accounts.minimums(id).iter())
                    .map(|minimum| (minimum.window.to_string(), minimum.percent))
                    .collect(),
                recoveries: leases::recoveries(id, rules, scopes, &book, context.now),
                ..account(one, context.now)
            })
            .collect(),
        limit_events: view.limit_events.iter().map(limit_event).collect(),
        thresholds_fired: view.fired.iter().map(fired).collect(),
        may_start: may_start(&verdicts.may_start, &book, context.now),
    }
}

/// Adds the polls to the accounts of a document.
pub fn add_polls(document: &mut wire::Quota, mut statuses: BTreeMap<AccountId, PollStatus>) {
    for account in &mut document.accounts {
        let id = AccountId {
            provider: account.provider.as_str().into(),
            name: account.account.as_str().into(),
        };
        account.poll = statuses.remove(&id).as_ref().map(poll);
    }
}

fn poll(status: &PollStatus) -> wire::AccountPoll {
    wire::AccountPoll {
        via: status.via.into_str().to_owned(),
        state: status.state.into_str().to_owned(),
        last_ok: status.last_ok.map(time),
        last_error: status.failure.as_ref().map(|failure| wire::PollError {
            code: failure.kind.into_str().to_owned(),
            at: time(failure.at),
            detail: failure.detail.to_string(),
            advice: failure.kind.advice().to_owned(),
        }),
        next: status.next.map(time),
        retry_at: status.retry_at.map(time),
    }
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
    if reason.len() > REASON_BYTES_MAX || reason.chars().any(is_unsafe) {
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
        max: row.utilization.map(share),
        refused: row.status == LimitStatus::Rejected,
    }
}

/// An account with its verdict and figures.
#[must_use]
pub fn account(judged: &JudgedAccount, now: Millis) -> wire::Account {
    let JudgedAccount {
        assessment,
        calls,
        calls_quota,
        today,
        thresholds,
    } = judged;
    wire::Account {
        provider: assessment.account.provider.to_string(),
        account: assessment.account.name.to_string(),
        state: assessment.state.into_str().to_owned(),
        until: assessment.until.map(time),
        causes: causes(&assessment.causes),
        calls_5h: calls.count,
        calls_quota: (*calls_quota > 0).then_some(*calls_quota),
        oldest_call_leaves_in_s: calls.oldest_leaves_in_s,
        budget_used: u64::try_from(today.used(now)).unwrap_or(u64::MAX),
        budget: (today.tokens() > 0).then_some(today.tokens()),
        budget_projected_exhaustion_at: today.projected_exhaustion_at(now).map(time),
        reason: assessment.reason.into_str().to_owned(),
        sentence: assessment.sentence.clone(),
        leases: 0,
        recoveries: Vec::new(),
        poll: None,
        thresholds: thresholds.clone(),
        minimum_left: BTreeMap::new(),
    }
}

/// The may-start answer: a decision, a place to start, or a time to retry. `book` has the leases beside it.
#[must_use]
pub fn may_start(admission: &Admission, book: &LeaseBook, now: Millis) -> wire::MayStart {
    let chosen = admission.chosen.and_then(|place| admission.candidates.get(place));
    wire::MayStart {
        now: time(now),
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
        candidates: (admission.candidates.iter())
            .map(|assessment| candidate_document(assessment, book))
            .collect(),
        advice: true,
    }
}

fn candidate_document(assessment: &Assessment, book: &LeaseBook) -> wire::Candidate {
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
        leases: book.of_account(&assessment.account).count() as u64,
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

/// A window of an account whose rules have these minimums.
pub fn window(
    id: &AccountId,
    (name, state): (&str, &WindowState),
    minimums: &[Minimum],
    now: Millis,
) -> wire::Window {
    let view = window::view(state, now);
    let kept = exhaustion::minimum_of(name, minimums).unwrap_or(0);
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
        projected_block_at: pace::projected_at(state, 1.0 - f64::from(kept) / 100.0, now).map(time),
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
