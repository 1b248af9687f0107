//! Admission of another run: whether it may start, where, and if not, when to retry.
//!
//! `assess` judges one candidate, `admit` chooses among several that are judged, in their order. Neither
//! reserves anything.

mod assessment;
#[cfg(test)]
mod tests;

pub use assessment::{Assessment, BlockReason, assess, gravest};

use strum::{IntoStaticStr, VariantNames};

use super::account::Account;
use super::budget::{Calls, DailyBudget};
use super::exhaustion::Cause;
use super::overage::Overage;
use super::window::NamedWindow;
use crate::model::Millis;

/// A place where the run could start, with everything known about it.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its rules.
    pub account: &'a Account,
    /// The requested model; the account's map gives the one that serves in its place.
    pub model: Option<Box<str>>,
    /// All windows of the account; those that do not bind the model are skipped.
    pub windows: Vec<NamedWindow<'a>>,
    pub calls: Calls,
    /// The budget of the current day.
    pub budget: Option<&'a DailyBudget>,
    /// A mark by a person.
    pub mark: Option<&'a Cause>,
    /// A refusal without a named window.
    pub throttled: Option<Cause>,
    pub overage: Option<Overage>,
}

/// The decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Verdict {
    Allow,
    /// Not now.
    Wait,
    /// Not before a person changes something.
    Deny,
    /// Too little is known.
    Unknown,
}

/// The state of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum AccountVerdict {
    Available,
    NearLimit,
    Exhausted,
    Unknown,
}

/// The reason, as a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Reason {
    /// A window is known and nothing blocks.
    Available,
    /// Every known window has passed its reset: nothing blocks until newer data arrives.
    AwaitingRefresh,
    /// No window was ever seen, but the operator's own quota or budget is not used up.
    WithinOwnLimits,
    /// The calls of five hours are near the operator's quota.
    NearCallsQuota,
    /// A window has reached its highest threshold.
    NearWindow,
    /// A window is used up or was refused.
    WindowExhausted,
    /// The provider refused without naming a window.
    Throttled,
    /// Responses are billed beyond the windows, which the account allows.
    UsingOverage,
    /// Responses are billed beyond the windows, which the account does not allow.
    OverageOnly,
    /// The day's tokens are used up.
    BudgetExhausted,
    /// The day's tokens are being used too fast to last.
    BudgetPredicted,
    /// Marked by a person.
    Manual,
    /// Less of a window is left than the configured minimum.
    BelowMinimum,
    /// Nothing is known of the account.
    NoObservation,
    /// The last observation was a refusal without an end, and some time has passed.
    ResetUnknown,
    /// Nothing is known, and `on_unknown` allows.
    UnknownAsAllow,
    /// Nothing is known, and `on_unknown` waits.
    UnknownAsWait,
    /// The first choice is not available; a later one is taken.
    Overflow,
    /// All have a warning; the first that is not exhausted is taken.
    AllNearLimit,
    /// None can be used now.
    AllExhausted,
    /// None can be used until a person changes something.
    NoneRecovers,
    /// There is no candidate.
    NoCandidates,
    /// As many runs as `concurrency` allows.
    AtConcurrency,
    /// The account is let in step by step after a block.
    Ramping,
    /// One run tries the account.
    Probing,
    /// What is left of a window is held by leases.
    HeadroomHeld,
    /// What is left of a window is kept for another class.
    Reserved,
    /// The collector has not read everything that was there at its start.
    CollectorStarting,
    /// The collector cannot read something it should.
    CollectorBlind,
}

/// The reason why data may be missing: unread logs may contain a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// [`Reason::CollectorStarting`] or [`Reason::CollectorBlind`].
    pub reason: Reason,
    /// A sentence without its full stop.
    pub why: String,
}

/// The answer to the admission question.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    pub decision: Verdict,
    /// The time for a retry: the earliest time at which an exhausted candidate recovers. Always after the
    /// time of the question; `None` if a run may start, or if the time is unknown.
    pub retry_at: Option<Millis>,
    /// Index of the candidate to use; `None` unless the decision is to allow.
    pub chosen: Option<usize>,
    /// Index of the candidate that recovers at `retry_at`.
    pub recovers: Option<usize>,
    pub reason: Reason,
    /// The cause of an `unknown` that comes from missing data.
    pub unseen: Option<String>,
    /// The answer for people, with the reason of every candidate.
    pub sentence: String,
    /// One for each candidate, in their order.
    pub candidates: Vec<Assessment>,
}

/// Chooses among candidates in their order of preference.
///
/// The first available candidate is taken; else the first that is unknown but allowed by `on_unknown`; else,
/// with a warning, the first that is near a limit. An unknown account is never allowed unless `on_unknown`
/// says so. With something `unseen`, nothing is allowed and unknown candidates get that reason; a known
/// refusal stands.
#[must_use]
pub fn admit(assessments: Vec<Assessment>, unseen: Option<&Unseen>, now: Millis) -> Admission {
    let mut choice = choose(&assessments);
    // A wait only because nothing is known could last for ever.
    let is_open = match choice.decision {
        Verdict::Allow | Verdict::Unknown => true,
        Verdict::Wait => choice.reason == Reason::UnknownAsWait,
        Verdict::Deny => false,
    };
    let unseen = unseen.filter(|_| is_open);
    if let Some(unseen) = unseen {
        choice = AccountChoice {
            decision: Verdict::Unknown,
            chosen: None,
            reason: unseen.reason,
        };
    }
    let retry = match choice.decision {
        Verdict::Allow | Verdict::Deny => None,
        // The collector may see again at any moment, long before a blocked candidate recovers.
        Verdict::Unknown if unseen.is_some() => None,
        Verdict::Wait | Verdict::Unknown => assessments
            .iter()
            .enumerate()
            .filter_map(|(index, assessment)| Some((assessment.until?, index)))
            .min(),
    };
    let sentence = assessment::summary(&assessments, &choice, retry, unseen, now);
    Admission {
        decision: choice.decision,
        retry_at: retry.map(|(at, _)| at),
        chosen: choice.chosen,
        recovers: retry.map(|(_, index)| index),
        reason: choice.reason,
        unseen: unseen.map(|unseen| unseen.why.clone()),
        sentence,
        candidates: assessments,
    }
}

struct AccountChoice {
    decision: Verdict,
    chosen: Option<usize>,
    reason: Reason,
}

fn choose(assessments: &[Assessment]) -> AccountChoice {
    let without = |decision, reason| AccountChoice {
        decision,
        chosen: None,
        reason,
    };
    let only = match assessments {
        [] => return without(Verdict::Deny, Reason::NoCandidates),
        [only] => Some(only.reason),
        _ => None,
    };
    let first = |fits: &dyn Fn(&Assessment) -> bool| assessments.iter().position(fits);
    let available = first(&|assessment| assessment.state == AccountVerdict::Available);
    let as_allow = || first(&|assessment| assessment.reason == Reason::UnknownAsAllow);
    if let Some(index) = available.or_else(as_allow) {
        let reason = if index == 0 || assessments[index].reason == Reason::UnknownAsAllow {
            assessments[index].reason
        } else {
            Reason::Overflow
        };
        return AccountChoice {
            decision: Verdict::Allow,
            chosen: Some(index),
            reason,
        };
    }
    if let Some(index) = first(&|assessment| assessment.state == AccountVerdict::NearLimit) {
        return AccountChoice {
            decision: Verdict::Allow,
            chosen: Some(index),
            reason: only.unwrap_or(Reason::AllNearLimit),
        };
    }
    if let Some(unknown) = assessments
        .iter()
        .find(|assessment| assessment.verdict == Verdict::Unknown)
    {
        return without(Verdict::Unknown, unknown.reason);
    }
    if assessments
        .iter()
        .all(|assessment| assessment.verdict == Verdict::Deny)
    {
        return without(Verdict::Deny, only.unwrap_or(Reason::NoneRecovers));
    }
    let unknown = assessments
        .iter()
        .any(|assessment| assessment.reason == Reason::UnknownAsWait && assessment.until.is_none());
    let reason = if unknown {
        Reason::UnknownAsWait
    } else {
        Reason::AllExhausted
    };
    without(Verdict::Wait, only.unwrap_or(reason))
}
