//! Assessment of one candidate, and the sentences for people.

use super::{AccountChoice, AccountVerdict, Candidate, Reason, Unseen, Verdict};
use crate::model::format::{self, grouped, length};
use crate::model::{AccountId, LimitSource, Millis};
use crate::quota::account::{Account, OnUnknown};
use crate::quota::budget::near_limit;
use crate::quota::exhaustion::{self, Cause, CauseKind, RESET_SLACK_MS, UNTIL_TAKEN_BACK};
use crate::quota::overage;
use crate::quota::window::{Freshness, NamedWindow, View, reaches, view};

/// The assessment of one candidate.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    pub account: AccountId,
    /// The model that would serve the run.
    pub model: Option<Box<str>>,
    pub state: AccountVerdict,
    /// The decision if this were the only candidate.
    pub verdict: Verdict,
    /// The smallest share left over all binding windows, 0 to 1; `None` if no share is known.
    pub headroom: Option<f64>,
    /// The name of the window that blocks, else of the one with the least left.
    pub window: Option<Box<str>>,
    /// The freshness of that window; unknown without one.
    pub freshness: Freshness,
    /// The source of that window.
    pub source: Option<LimitSource>,
    /// The time of the last observation of that window.
    pub observed_at: Option<Millis>,
    pub reason: Reason,
    /// The end of the last cause, always after the time of the question; `None` if there is no cause, or if
    /// one has no end.
    pub until: Option<Millis>,
    /// All causes that block the candidate.
    pub causes: Vec<BlockReason>,
    /// The assessment as a sentence.
    pub sentence: String,
}

/// One cause that blocks a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockReason {
    pub kind: CauseKind,
    /// `None` if it has no end.
    pub until: Option<Millis>,
    /// A stable code.
    pub code: Reason,
    /// A few words for people.
    pub reason: Box<str>,
    /// The origin of the information.
    pub source: Box<str>,
    /// The window, if the cause is one.
    pub window: Option<Box<str>>,
    /// The time of the reading, of the mark, or of the overrun.
    pub since: Millis,
}

impl BlockReason {
    fn new(kind: CauseKind, code: Reason, cause: Cause, name: Option<&str>) -> Self {
        Self {
            kind,
            until: Some(cause.until).filter(|until| *until != UNTIL_TAKEN_BACK),
            code,
            reason: cause.reason,
            source: cause.source,
            window: name.map(Box::from),
            since: cause.since,
        }
    }

    fn end(&self) -> Millis {
        self.until.unwrap_or(UNTIL_TAKEN_BACK)
    }
}

/// The cause that decides the wait: the one that ends last, of equal ends the first. The slack of a minimum is no longer
/// wait than the refusal of its window.
#[must_use]
pub fn gravest(causes: &[BlockReason]) -> Option<&BlockReason> {
    causes.iter().rev().max_by_key(|reason| match reason.code {
        Reason::BelowMinimum => reason.end().saturating_sub(RESET_SLACK_MS),
        _ => reason.end(),
    })
}

/// A binding window and its state now.
struct Bound<'a> {
    window: NamedWindow<'a>,
    view: View,
}

/// Assesses one candidate.
#[must_use]
pub fn assess(candidate: &Candidate, now: Millis) -> Assessment {
    let account = candidate.account;
    let model = candidate
        .model
        .as_ref()
        .map(|asked| account.models.get(asked).unwrap_or(asked).clone());
    let bound: Vec<Bound> = candidate
        .windows
        .iter()
        .filter(|window| window.binds(model.as_deref(), now))
        .map(|window| Bound {
            window: *window,
            view: view(window.state, now),
        })
        .collect();
    let paid_until = overage::paid_until(candidate.overage, &candidate.windows, model.as_deref(), now);
    let causes = block_reasons(candidate, &bound, model.as_deref(), paid_until, now);
    let gravest = gravest(&causes);
    let (state, reason, why) = match gravest {
        Some(block) => (
            AccountVerdict::Exhausted,
            block.code,
            format!("is blocked: {}", block.reason),
        ),
        None => unblocked(candidate, &bound, paid_until, now),
    };
    let last_end = causes.iter().map(BlockReason::end).max();
    let until = last_end.filter(|until| *until != UNTIL_TAKEN_BACK);
    let verdict = match (state, reason) {
        (AccountVerdict::Available | AccountVerdict::NearLimit, _) | (_, Reason::UnknownAsAllow) => {
            Verdict::Allow
        }
        (AccountVerdict::Exhausted, _) if until.is_none() => Verdict::Deny,
        (AccountVerdict::Exhausted, _) | (_, Reason::UnknownAsWait) => Verdict::Wait,
        (AccountVerdict::Unknown, _) => Verdict::Unknown,
    };
    let about = gravest
        .and_then(|block| block.window.as_deref())
        .and_then(|name| bound.iter().find(|bound| bound.window.name == name))
        .or_else(|| tightest(&bound));
    let recovery = until.map_or_else(String::new, |until| {
        format!(", free again in {}", span(until.saturating_sub(now)))
    });
    let sentence = format!("{} {why}{recovery}", account.id);
    Assessment {
        account: account.id.clone(),
        model,
        state,
        verdict,
        headroom: bound
            .iter()
            .filter_map(|bound| bound.view.left)
            .min_by(f64::total_cmp),
        window: about.map(|bound| bound.window.name.into()),
        freshness: about.map_or(Freshness::Unknown, |bound| bound.view.freshness),
        source: about.map(|bound| bound.window.state.source),
        observed_at: about.map(|bound| bound.window.state.seen_at()),
        reason,
        until,
        causes,
        sentence,
    }
}

/// Everything that blocks a candidate at `now`.
fn block_reasons(
    candidate: &Candidate,
    bound: &[Bound],
    model: Option<&str>,
    paid_until: Option<Millis>,
    now: Millis,
) -> Vec<BlockReason> {
    let windows: Vec<NamedWindow> = bound.iter().map(|bound| bound.window).collect();
    let holds = |cause: &&Cause| now < cause.until;
    let mut found = Vec::new();
    if let Some(cause) = candidate.mark.filter(holds).cloned() {
        found.push(BlockReason::new(CauseKind::Manual, Reason::Manual, cause, None));
    }
    if let Some(cause) = candidate.throttled.as_ref().filter(holds).cloned() {
        found.push(BlockReason::new(
            CauseKind::Throttled,
            Reason::Throttled,
            cause,
            None,
        ));
    }
    let use_overage = candidate.account.use_overage;
    let observed = exhaustion::blocked(&windows, model, now).map(|(name, cause)| (Some(name), cause));
    // With paid overage allowed, used-up windows do not block.
    let observed = observed.filter(|_| !(use_overage && paid_until.is_some()));
    if let Some(paid_until) = paid_until.filter(|_| !use_overage) {
        let (name, cause) = observed.unwrap_or((None, paid(paid_until, now)));
        let cause = Cause {
            until: cause.until.max(paid_until),
            reason: format!(
                "{}: responses are billed as overage now (use_overage)",
                cause.reason
            )
            .into(),
            ..cause
        };
        found.push(BlockReason::new(
            CauseKind::Observed,
            Reason::OverageOnly,
            cause,
            name,
        ));
    } else if let Some((name, cause)) = observed {
        found.push(BlockReason::new(
            CauseKind::Observed,
            Reason::WindowExhausted,
            cause,
            name,
        ));
    }
    let predicted = (candidate.budget).and_then(|budget| exhaustion::predicted(budget, now));
    if let Some((overrun, cause)) = predicted {
        let code = if overrun.used_up {
            Reason::BudgetExhausted
        } else {
            Reason::BudgetPredicted
        };
        found.push(BlockReason::new(CauseKind::Predicted, code, cause, None));
    }
    let block = exhaustion::minimum_block(&windows, &candidate.account.minimum_left, now);
    if let Some(block) = block.filter(|_| !(use_overage && paid_until.is_some())) {
        let cause = Cause {
            until: block.until,
            reason: format!(
                "{} has {} left, {} % are required",
                block.window,
                percent(block.left.max(0.0)),
                block.percent
            )
            .into(),
            source: "minimum_left".into(),
            since: now,
        };
        found.push(BlockReason::new(
            CauseKind::Observed,
            Reason::BelowMinimum,
            cause,
            Some(&block.window),
        ));
    }
    found
}

/// The cause if no window is known to be used up.
fn paid(until: Millis, now: Millis) -> Cause {
    Cause {
        until,
        reason: "its windows are used up".into(),
        source: "overage".into(),
        since: now,
    }
}

/// The verdict on a candidate that nothing blocks, its reason, and the words for it.
fn unblocked(
    candidate: &Candidate,
    bound: &[Bound],
    paid_until: Option<Millis>,
    now: Millis,
) -> (AccountVerdict, Reason, String) {
    let account = candidate.account;
    let (calls, quota) = (candidate.calls.count, account.calls_quota);
    if near_limit(calls, quota, account.warn_at_percent) {
        let why = format!("is near its limit: {calls} of {quota} calls in five hours");
        return (AccountVerdict::NearLimit, Reason::NearCallsQuota, why);
    }
    if paid_until.is_some() {
        let why = "is served beyond its windows, which is billed (use_overage)";
        return (AccountVerdict::Available, Reason::UsingOverage, why.to_owned());
    }
    // The last observation was a refusal without an end; that is not treated as room.
    let is_open_ended = |bound: &&Bound| {
        let state = bound.window.state;
        let is_over = bound.view.freshness == Freshness::Expired;
        let refuses = state.refuses(now) || bound.view.utilization.is_some_and(|share| share >= 1.0);
        state.reset_at.is_none() && refuses && !is_over
    };
    if let Some(bound) = bound.iter().find(is_open_ended) {
        let what = format!(
            "was refused by {} {} ago, the end is not known",
            bound.window.name,
            since(now, bound.window.state.observed_at)
        );
        return unknown(account, Reason::ResetUnknown, &what);
    }
    let tightest = tightest(bound);
    let highest = account.thresholds.iter().copied().max();
    if let (Some(bound), Some(highest)) = (tightest, highest)
        && let Some(share) = bound.view.utilization
        && reaches(share, highest)
    {
        let why = format!("is near its limit: {}", seen_in_words(bound, now));
        return (AccountVerdict::NearLimit, Reason::NearWindow, why);
    }
    let known: Vec<&Bound> = bound
        .iter()
        .filter(|bound| bound.view.freshness != Freshness::Unknown)
        .collect();
    if let Some(bound) = tightest.filter(|_| !known.is_empty()) {
        return if known
            .iter()
            .all(|bound| bound.view.freshness == Freshness::Expired)
        {
            let why = "is free: its windows have been reset since they were last seen".to_owned();
            (AccountVerdict::Available, Reason::AwaitingRefresh, why)
        } else {
            let why = format!("is free: {}", seen_in_words(bound, now));
            (AccountVerdict::Available, Reason::Available, why)
        };
    }
    let budget = candidate.budget.filter(|budget| budget.tokens() > 0);
    if quota > 0 || budget.is_some() {
        let mut own = Vec::new();
        if quota > 0 {
            own.push(format!("{calls} of {quota} calls in five hours"));
        }
        if let Some(budget) = budget {
            own.push(format!(
                "{} of {} tokens today",
                grouped(budget.used(now)),
                grouped(budget.tokens())
            ));
        }
        let why = format!(
            "is free by its own limits ({}), the provider's were never seen",
            own.join(", ")
        );
        return (AccountVerdict::Available, Reason::WithinOwnLimits, why);
    }
    unknown(account, Reason::NoObservation, "has never been seen with a limit")
}

/// The result of `on_unknown` for an account with too little data.
fn unknown(account: &Account, reason: Reason, what: &str) -> (AccountVerdict, Reason, String) {
    let (reason, then) = match account.on_unknown {
        OnUnknown::Say => (reason, "whether it is free is unknown"),
        OnUnknown::Allow => (
            Reason::UnknownAsAllow,
            "the settings say to use it then (on_unknown)",
        ),
        OnUnknown::Wait => (
            Reason::UnknownAsWait,
            "the settings say to wait then (on_unknown)",
        ),
    };
    (AccountVerdict::Unknown, reason, format!("{what}: {then}"))
}

/// The window to report: the one with the least left, else the last observed one.
fn tightest<'a, 'b>(bound: &'b [Bound<'a>]) -> Option<&'b Bound<'a>> {
    bound.iter().min_by(|a, b| {
        let left = |bound: &Bound| bound.view.left.unwrap_or(f64::INFINITY);
        // A status ranks before an expired share, and that before nothing.
        let worth = |bound: &Bound| match bound.view.freshness {
            Freshness::Fresh | Freshness::Stale => 0,
            Freshness::Expired => 1,
            Freshness::Unknown => 2,
        };
        left(a)
            .total_cmp(&left(b))
            .then_with(|| worth(a).cmp(&worth(b)))
            .then_with(|| b.window.state.observed_at.cmp(&a.window.state.observed_at))
            .then_with(|| a.window.name.cmp(b.window.name))
    })
}

fn seen_in_words(bound: &Bound, now: Millis) -> String {
    let age = since(now, bound.window.state.seen_at());
    match bound.view.left {
        Some(left) => format!("{} has {} left, seen {age} ago", bound.window.name, percent(left)),
        None => format!(
            "{} was seen {age} ago, the share left is not known",
            bound.window.name
        ),
    }
}

/// The whole answer as a sentence.
pub(super) fn summary(
    assessments: &[Assessment],
    choice: &AccountChoice,
    retry: Option<(Millis, usize)>,
    unseen: Option<&Unseen>,
    now: Millis,
) -> String {
    let chosen = choice.chosen.and_then(|index| assessments.get(index));
    let lead = match (choice.decision, chosen, retry) {
        (Verdict::Allow, Some(assessment), _) if assessment.state == AccountVerdict::NearLimit => {
            format!("start with {}, with a warning", assessment.account)
        }
        (Verdict::Allow, Some(assessment), _) => format!("start with {}", assessment.account),
        (Verdict::Deny, ..) if assessments.is_empty() => "there is no account to start with".to_owned(),
        (Verdict::Deny, ..) => "do not start until an operator acts".to_owned(),
        (Verdict::Unknown, ..) => match unseen {
            Some(unseen) => format!("whether a run may start is unknown: {}", unseen.why),
            None => "whether a run may start is unknown".to_owned(),
        },
        (_, _, Some((at, index))) => {
            let wait = span(at.saturating_sub(now));
            format!("wait {wait} for {}", assessments[index].account)
        }
        _ => "wait; the end is not known".to_owned(),
    };
    // The chosen candidate first, then the others in their order.
    let others = assessments
        .iter()
        .enumerate()
        .filter(|(index, _)| choice.chosen != Some(*index));
    std::iter::once(lead)
        .chain(
            chosen
                .into_iter()
                .chain(others.map(|(_, assessment)| assessment))
                .map(|assessment| assessment.sentence.clone()),
        )
        .collect::<Vec<_>>()
        .join("; ")
}

fn percent(share: f64) -> String {
    format::percent(share, 0) + " %"
}

/// The time since `at`, in words.
fn since(now: Millis, at: Millis) -> String {
    span(now.saturating_sub(at))
}

/// A length of time in words.
fn span(ms: Millis) -> String {
    length(ms.max(0).unsigned_abs().div_ceil(1000))
}
