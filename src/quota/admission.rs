//! The question orchestrators ask: may another run start, where, and if not, when?
//!
//! `assess` judges one candidate, `admit` chooses among several in their order. Neither reserves anything.

mod assessment;
#[cfg(test)]
mod tests;

pub use assessment::{Assessment, BlockReason, assess};

use strum::{IntoStaticStr, VariantNames};

use super::account::Account;
use super::budget::{Calls, DailyBudget};
use super::exhaustion::Causes;
use super::overage::Overage;
use super::window::NamedWindow;
use crate::model::Millis;

/// A place where the run could start, and all that is known of it.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its rules.
    pub account: &'a Account,
    /// The model as it is asked for; the account's map says what serves in its place.
    pub model: Option<Box<str>>,
    /// All windows of the account; those that do not bind the model are passed over.
    pub windows: Vec<NamedWindow<'a>>,
    pub calls: Calls,
    /// Of the day of the question.
    pub budget: Option<DailyBudget>,
    /// What is stored. Observed and predicted causes count only where there is no window and no budget that says
    /// so itself.
    pub causes: Causes,
    pub overage: Option<Overage>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Verdict {
    Allow,
    /// Not now.
    Wait,
    /// Not before somebody changes something.
    Deny,
    /// Nothing is known that could decide.
    Unknown,
}

/// How an account stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum AccountVerdict {
    Available,
    NearLimit,
    Exhausted,
    Unknown,
}

/// Why, as a code that stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Reason {
    /// A window is known and nothing stands in the way.
    Available,
    /// Every known window has passed its reset: nothing stands in the way until there is news.
    AwaitingRefresh,
    /// No window was ever seen, but the operator's own quota or budget is known and not used up.
    WithinOwnLimits,
    /// The calls of five hours are near the operator's quota.
    NearCallsQuota,
    /// A window has reached its highest threshold.
    NearWindow,
    /// A window is used up or was refused.
    WindowExhausted,
    /// The provider refused without naming a window.
    Throttled,
    /// What is served is paid beyond the windows, and the account is to be used then.
    UsingOverage,
    /// What is served is paid beyond the windows, and the account is not to be used then.
    OverageOnly,
    /// The day's tokens are used up.
    BudgetExhausted,
    /// The day's tokens were used too fast to last.
    BudgetPredicted,
    /// A person said so.
    Manual,
    /// Less is left of a window than the operator wants.
    BelowMinimum,
    /// Nothing is known of the account.
    NoObservation,
    /// The last word was a refusal without an end, and some time has passed.
    ResetUnknown,
    /// Nothing is known, and the account is to be used then.
    UnknownAsAllow,
    /// Nothing is known, and the account is not to be used then.
    UnknownAsWait,
    /// The first choice would not do, a later one is taken.
    Overflow,
    /// None is free of a warning; the first that is not exhausted is taken.
    AllNearLimit,
    /// None can be used now.
    AllExhausted,
    /// None can be used until somebody changes something.
    NoneRecovers,
    /// There is no candidate.
    NoCandidates,
    /// The collector has not read everything that was there at its start.
    CollectorStarting,
    /// The collector cannot read what it should.
    CollectorBlind,
}

/// Why what is known is not all there is: a refusal may stand in what was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unseen {
    /// [`Reason::CollectorStarting`] or [`Reason::CollectorBlind`].
    pub reason: Reason,
    /// As a sentence without its end.
    pub why: String,
}

/// The answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Admission {
    pub decision: Verdict,
    /// When to ask again: the earliest time at which an exhausted candidate recovers. Always after the time of the
    /// question; `None` if a run may start, or if nobody knows.
    pub retry_at: Option<Millis>,
    /// Which candidate to use; `None` unless the decision is to allow.
    pub chosen: Option<usize>,
    /// Which candidate recovers at `retry_at`.
    pub recovers: Option<usize>,
    pub reason: Reason,
    /// Why the decision is `unknown`, if what was not seen is why.
    pub unseen: Option<String>,
    /// The answer for a person, every candidate with its reason.
    pub sentence: String,
    /// One for each candidate, in their order.
    pub candidates: Vec<Assessment>,
}

/// Chooses among candidates in their order of preference.
///
/// The first available one is taken. Without one, the first of which nothing is known but which is to be used then;
/// then, with a warning, the first that is near a limit. What is unknown is never allowed unless its account says so.
/// With something `unseen` nothing is allowed, and what is unknown has that reason; a refusal that is known stands.
#[must_use]
pub fn admit(candidates: &[Candidate], unseen: Option<&Unseen>, now: Millis) -> Admission {
    let assessments: Vec<Assessment> = candidates
        .iter()
        .map(|candidate| assess(candidate, now))
        .collect();
    let mut choice = choose(&assessments);
    // A wait only because nothing is known would be one without end.
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
