//! Causes: the notices that follow from changes of windows, of verdicts, of budgets and of health.
//!
//! A change of a window is compared with its state before, which is stored. Everything else is compared with a latch,
//! so that the same state is said once, also over restarts.

use std::collections::BTreeMap;

use super::{HEALTH_ID, Latch, LatchChange, LatchKey, Notice, NoticeKind};
use crate::model::{AccountId, MINUTE_MS, Millis, format};
use crate::quota::admission::{AccountVerdict, Assessment, BlockReason, gravest};
use crate::quota::exhaustion::CauseKind;
use crate::quota::pace::projected_exhaustion_at;
use crate::quota::window::{RESET_JITTER_MS, WindowState, view};
use crate::quota::window_name;

/// The latches that are set.
pub type Latches = BTreeMap<LatchKey, Latch>;

/// The share used of a window from which its reset is worth saying.
const RESET_SAID_FROM: f64 = 0.5;
/// A forecast is taken back when it lies this much beyond its bound, in milliseconds.
const FORECAST_BACK_MS: Millis = 10 * MINUTE_MS;
/// A block that ends later by less than this is the same, in milliseconds.
const LONGER_FROM_MS: Millis = MINUTE_MS;
/// One with the same cause is longer from this part of its length on: tries of requests move it by little, again and
/// again.
const LONGER_PART: Millis = 4;
/// Readings in a row that take a forecast back.
const FORECAST_BACK_READINGS: u8 = 2;

/// A window of an account.
#[derive(Clone, Copy, Debug)]
pub struct WindowSubject<'a> {
    pub account: &'a AccountId,
    pub name: &'a str,
}

impl WindowSubject<'_> {
    fn notice(&self, kind: NoticeKind, state: &WindowState, at: Millis, what: &str) -> Notice {
        let reset_at = state.over_at();
        let resets = reset_at.map_or_else(String::new, |reset| format!(", resets at {}", clock_time(reset)));
        let name = window_name::in_words(self.name);
        let sentence = format!("{}: {name} {what}{resets}", self.account);
        Notice {
            account: Some(self.account.clone()),
            bucket: Some(self.name.into()),
            utilization: state.utilization,
            reset_at,
            source: Some(state.source.into_str().into()),
            observed_at: Some(state.observed_at),
            ..Notice::new(kind, at, &sentence)
        }
    }
}

/// The notices of an observation of a window: `crossed` are the thresholds that it reached, in percent.
#[must_use]
pub fn of_window(
    subject: WindowSubject<'_>,
    before: Option<&WindowState>,
    after: &WindowState,
    (rolled_over, crossed): (bool, &[u8]),
    at: Millis,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    let used = |state: &WindowState| state.utilization.map(|share| format::percent(share, 0) + " %");
    if rolled_over
        && let Some(before) = before
        && before.highest.is_some_and(|share| share >= RESET_SAID_FROM)
        && let Some(began) = began_anew(subject.name, before, at)
    {
        let what = match used(before) {
            Some(share) => format!("began anew after {share} were used"),
            None => "began anew after a refusal".to_owned(),
        };
        notices.push(subject.notice(NoticeKind::WindowReset, after, began, &what));
    }
    let mut crossed = crossed.to_vec();
    crossed.sort_unstable();
    for percent in crossed {
        let share = used(after).unwrap_or_else(|| format!("{percent} %"));
        let mut notice = subject.notice(
            NoticeKind::WindowThreshold,
            after,
            at,
            &format!("is {share} used"),
        );
        notice.threshold = Some(percent);
        notices.push(notice);
    }
    let is_out = |state: &WindowState| view(state, at).blocked_until.is_some();
    let was_out = before.is_some_and(is_out) && !rolled_over;
    if is_out(after) && !was_out {
        let what = if view(after, at).refused {
            "is refused by the provider"
        } else {
            "is used up"
        };
        notices.push(subject.notice(NoticeKind::WindowExhausted, after, at, what));
    }
    notices
}

/// The time at which a window began anew: the end of the one before, by which targets drop what is too old. `None` if
/// a whole window has passed since then: what was used of one long gone is no news.
fn began_anew(name: &str, before: &WindowState, at: Millis) -> Option<Millis> {
    let Some(ended) = before.over_at().filter(|ended| *ended <= at) else {
        return Some(at);
    };
    let is_next = window_name::length(name).is_none_or(|length| at - ended <= length);
    is_next.then_some(ended)
}

/// A latch that is set since a time.
#[must_use]
pub const fn latch(stage: u8, mark: Millis) -> Latch {
    Latch {
        stage,
        mark,
        seen: mark,
        against: 0,
    }
}

fn key(kind: NoticeKind, subject: impl Into<Box<str>>) -> LatchKey {
    LatchKey {
        kind,
        subject: subject.into(),
    }
}

/// The change of the verdict on an account: exhausted, exhausted for longer, or available again.
#[must_use]
pub fn of_account(latches: &Latches, now_is: &Assessment, now: Millis) -> Option<LatchChange> {
    let key = key(NoticeKind::AccountExhausted, now_is.account.to_string());
    let said = latches.get(&key);
    let cause = gravest(&now_is.causes);
    let block = Latch {
        seen: now_is.until.unwrap_or(Millis::MAX),
        ..latch(cause.map_or(0, cause_number), now)
    };
    let (to, kind) = match now_is.state {
        AccountVerdict::Exhausted if said.is_none_or(|said| is_longer(said, &block)) => {
            (Some(block), NoticeKind::AccountExhausted)
        }
        AccountVerdict::Available | AccountVerdict::NearLimit if said.is_some() => {
            (None, NoticeKind::AccountAvailable)
        }
        // Unknown is neither.
        _ => return None,
    };
    let source = match cause {
        Some(cause) if cause.kind == CauseKind::Manual => Some("mark".into()),
        Some(cause) => Some(cause.source.clone()),
        None => now_is.source.map(|source| source.into_str().into()),
    };
    let notice = Notice {
        account: Some(now_is.account.clone()),
        reset_at: now_is.until.filter(|_| to.is_some()),
        source,
        // The reading that blocks may be newer than the share that is shown.
        observed_at: cause.map(|cause| cause.since).or(now_is.observed_at),
        reason: Some(now_is.reason.into_str().into()),
        ..Notice::new(kind, now, &account_sentence(now_is))
    };
    Some(LatchChange {
        key,
        to,
        notice: Some(notice),
        id: None,
    })
}

/// The verdict in words that stay true: an event may be read long after it was made.
fn account_sentence(now_is: &Assessment) -> String {
    let account = &now_is.account;
    if let Some(cause) = gravest(&now_is.causes) {
        let end = match now_is.until {
            Some(until) => format!("free again at {}", clock_time(until)),
            None => "without an end that is known".to_owned(),
        };
        return format!("{account} is blocked: {}, {end}", cause.reason);
    }
    let room = match (&now_is.window, now_is.headroom) {
        (Some(window), Some(left)) => {
            let window = window_name::in_words(window);
            format!(": {window} has {:.0} % left", (left.max(0.0) * 100.0).floor())
        }
        _ => String::new(),
    };
    format!("{account} is free again{room}")
}

/// True if a block ends so much later than the one that was said that it is news.
const fn is_longer(said: &Latch, block: &Latch) -> bool {
    let later = block.seen.saturating_sub(said.seen);
    let is_same_cause = said.stage == block.stage;
    later > LONGER_FROM_MS && !(is_same_cause && later <= said.seen.saturating_sub(said.mark) / LONGER_PART)
}

/// A number for a cause. Two that share one by chance count as the same cause.
fn cause_number(cause: &BlockReason) -> u8 {
    let window = cause.window.as_deref().unwrap_or_default();
    let letters = cause.code.into_str().bytes().chain(window.bytes());
    letters.fold(0, |number: u8, letter| {
        number.wrapping_mul(31).wrapping_add(letter)
    })
}

/// The use of a day's tokens.
#[derive(Clone, Copy, Debug)]
pub struct BudgetUse<'a> {
    pub account: &'a AccountId,
    /// In percent, sorted.
    pub thresholds: &'a [u8],
    pub tokens: u64,
    pub used: u128,
    pub day_start: Millis,
    pub day_end: Millis,
}

/// The highest threshold that the tokens of the day have reached and that was not said.
#[must_use]
pub fn of_budget(latches: &Latches, budget: &BudgetUse<'_>, now: Millis) -> Option<LatchChange> {
    let key = key(NoticeKind::BudgetThreshold, budget.account.to_string());
    let said = latches
        .get(&key)
        .filter(|latch| latch.mark == budget.day_start)
        .map_or(0, |latch| latch.stage);
    let is_reached = |percent: &u8| {
        budget.used.saturating_mul(100) >= u128::from(budget.tokens).saturating_mul(u128::from(*percent))
    };
    let reached = (budget.thresholds.iter().copied())
        .filter(|percent| budget.tokens > 0 && *percent > said && is_reached(percent))
        .max()?;
    #[expect(clippy::cast_precision_loss, reason = "a share for people")]
    let share = budget.used as f64 / budget.tokens as f64;
    let sentence = format!(
        "{}: {} % of the day's tokens are used, {} of {}",
        budget.account,
        format::percent(share, 0),
        format::grouped(budget.used),
        format::grouped(budget.tokens)
    );
    let notice = Notice {
        account: Some(budget.account.clone()),
        threshold: Some(reached),
        utilization: Some(share),
        reset_at: Some(budget.day_end),
        ..Notice::new(NoticeKind::BudgetThreshold, now, &sentence)
    };
    Some(LatchChange {
        key,
        to: Some(latch(reached, budget.day_start)),
        notice: Some(notice),
        id: None,
    })
}

/// The forecast of a window: said once when it runs out within `within` and before its reset. It may be said again in
/// the next window, or after two readings in a row by which it is 10 minutes beyond that.
#[must_use]
pub fn of_forecast(
    latches: &Latches,
    subject: WindowSubject<'_>,
    state: &WindowState,
    within: Millis,
    now: Millis,
) -> Option<LatchChange> {
    let key = key(
        NoticeKind::ForecastBeforeReset,
        format!("{}/{}", subject.account, subject.name),
    );
    let change = |to, notice| {
        Some(LatchChange {
            key: key.clone(),
            to,
            notice,
            id: None,
        })
    };
    let reset = state.reset_at.filter(|reset| *reset > now);
    let said = latches.get(&key);
    let Some(reset) = reset else {
        return said.and_then(|_| change(None, None));
    };
    let said = said.filter(|said| said.mark.abs_diff(reset) <= RESET_JITTER_MS);
    let left = projected_exhaustion_at(state, now).map(|at| (at, at - now));
    let is_out = view(state, now).blocked_until.is_some();
    match (said, left) {
        (None, Some((at, left))) if left < within && !is_out => {
            let what = format!(
                "will be used up at {}, {} before its reset, at its present pace",
                clock_time(at),
                format::length(u64::try_from((reset - at) / 1000).unwrap_or(0))
            );
            let notice = subject.notice(NoticeKind::ForecastBeforeReset, state, now, &what);
            let to = Latch {
                seen: state.observed_at,
                ..latch(1, reset)
            };
            change(Some(to), Some(notice))
        }
        (Some(said), left) => {
            let is_news = state.observed_at > said.seen;
            let is_back = !is_out && left.is_none_or(|(_, left)| left >= within + FORECAST_BACK_MS);
            let seen = state.observed_at;
            match (is_news, is_back) {
                (true, true) if said.against + 1 >= FORECAST_BACK_READINGS => change(None, None),
                (true, true) => {
                    let against = said.against + 1;
                    change(
                        Some(Latch {
                            seen,
                            against,
                            ..*said
                        }),
                        None,
                    )
                }
                (true, false) if said.against > 0 => {
                    let against = 0;
                    change(
                        Some(Latch {
                            seen,
                            against,
                            ..*said
                        }),
                        None,
                    )
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The end of a poll's credential.
#[must_use]
pub fn of_poll(
    latches: &Latches,
    account: &AccountId,
    is_expired: bool,
    why: &str,
    now: Millis,
) -> Option<LatchChange> {
    let key = key(NoticeKind::PollExpired, account.to_string());
    let was_expired = latches.contains_key(&key);
    if was_expired == is_expired {
        return None;
    }
    let sentence = format!("{account}: the credential of its poll is over: {why}");
    let notice = is_expired.then(|| Notice {
        account: Some(account.clone()),
        ..Notice::new(NoticeKind::PollExpired, now, &sentence)
    });
    Some(LatchChange {
        key,
        to: is_expired.then(|| latch(1, now)),
        notice,
        id: None,
    })
}

/// The collector is not well since a time: `level` is 1 for degraded, 2 for unhealthy. The id is made of that time, so
/// that it is the same whether the event is sent from memory or from the outbox.
#[must_use]
pub fn of_trouble(level: u8, status: &str, reason: Option<&str>, since: Millis) -> LatchChange {
    let reason = reason.map_or_else(String::new, |reason| format!(": {reason}"));
    let notice = Notice {
        reason: Some(status.into()),
        ..Notice::new(
            NoticeKind::HealthDegraded,
            since,
            &format!("the collector is {status} since {}{reason}", clock_time(since)),
        )
    };
    LatchChange {
        key: key(NoticeKind::HealthDegraded, ""),
        to: Some(latch(level, since)),
        notice: Some(notice),
        id: Some(format!("{HEALTH_ID}{since}").into()),
    }
}

/// The collector is well again.
#[must_use]
pub fn of_recovery(at: Millis) -> LatchChange {
    LatchChange {
        key: key(NoticeKind::HealthDegraded, ""),
        to: None,
        notice: Some(Notice {
            reason: Some("ok".into()),
            ..Notice::new(NoticeKind::HealthOk, at, "the collector is well again")
        }),
        id: Some(format!("{HEALTH_ID}{at}_ok").into()),
    }
}

/// True if a change of a latch is said already: it was committed before, or the same trouble goes on.
#[must_use]
pub fn is_said(stored: Option<Latch>, change: &LatchChange) -> bool {
    match (stored, change.to) {
        (Some(stored), Some(to)) if change.key.kind == NoticeKind::HealthDegraded => stored.stage >= to.stage,
        (stored, to) => stored == to,
    }
}

/// The stopping of a run.
#[must_use]
pub fn of_stop(run: &str, account: &AccountId, reason: &'static str, at: Millis) -> Notice {
    Notice {
        account: Some(account.clone()),
        run: Some(run.into()),
        reason: Some(reason.into()),
        ..Notice::new(
            NoticeKind::RunStopped,
            at,
            &format!("{account}: run {run} stopped ({reason})"),
        )
    }
}

/// The loss of a target's events.
#[must_use]
pub fn of_drops(count: u64, at: Millis) -> Notice {
    let (events, were) = if count == 1 {
        ("event", "was")
    } else {
        ("events", "were")
    };
    Notice {
        count: Some(count),
        ..Notice::new(
            NoticeKind::NotifyDropped,
            at,
            &format!("{count} {events} of this target {were} dropped, too old or too many"),
        )
    }
}

/// Hours and minutes in UTC, with the date: `11-29 17:00 UTC`.
fn clock_time(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(
        |_| "an unknown time".to_owned(),
        |at| at.strftime("%m-%d %H:%M UTC").to_string(),
    )
}
