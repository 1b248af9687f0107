//! A test of a target: an event without a cause, sent at once and once.

use std::time::{Duration, Instant};

use strum::VariantArray as _;
use tokio::sync::oneshot;

use super::body::OutgoingNotice;
use super::delivery::{DeliveryContext, deliver};
use super::schedule::TryResult;
use crate::model::{AccountId, HOUR_MS, Millis, window_name};
use crate::quota::notice::target::{NoticeMatch, NoticeTarget, names};
use crate::quota::notice::{Notice, NoticeKind, NumberedNotice};

/// The result of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    pub id: Box<str>,
    pub result: TryResult,
    pub took: Duration,
}

/// The event of a test that names none: the first of those that a target asks for.
#[must_use]
pub fn first_kind(target: &NoticeTarget) -> NoticeKind {
    let kinds = || NoticeKind::VARIANTS.iter().copied();
    let asked = (target.events.iter()).find_map(|pattern| kinds().find(|kind| names(pattern, *kind)));
    asked.unwrap_or(NoticeKind::WindowThreshold)
}

/// Sends a test of a kind, about one of these accounts, on a thread of its own; `None` if the system refuses one.
pub async fn try_now(
    target: NoticeTarget,
    kind: NoticeKind,
    accounts: Vec<AccountId>,
    context: DeliveryContext,
) -> Option<Trial> {
    let (done, answer) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("notify-test".to_owned())
        .spawn(move || {
            let now = context.clock.now();
            let numbered = NumberedNotice {
                id: format!("evt_test_{now}").into(),
                notice: sample(&target.matches, kind, &accounts, now),
            };
            let outgoing = OutgoingNotice {
                numbered: &numbered,
                sequence: None,
                host: &context.host,
                is_test: true,
                max_age: target.max_age,
            };
            let began = Instant::now();
            let result = deliver(&target, &outgoing, &context);
            // A client that is gone needs no answer.
            let _ = done.send(Trial {
                id: numbered.id,
                result,
                took: began.elapsed(),
            });
        });
    thread.ok()?;
    answer.await.ok()
}

/// An event as it could be.
fn sample(matches: &NoticeMatch, kind: NoticeKind, accounts: &[AccountId], now: Millis) -> Notice {
    let sentence = format!("an example of {}, nothing has happened", kind.into_str());
    let mut notice = Notice::new(kind, now, &sentence);
    let name = kind.into_str();
    if !name.starts_with("health.") && !name.starts_with("notify.") {
        let fitting = accounts.iter().find(|id| matches.takes_account(id));
        notice.account = Some(fitting.cloned().unwrap_or_else(|| named_by(matches)));
    }
    if name.starts_with("window.") || kind == NoticeKind::ForecastBeforeReset {
        let windows = [window_name::FIVE_HOUR, window_name::SEVEN_DAY];
        let fitting = windows.into_iter().find(|name| matches.takes_window(name));
        notice.bucket = fitting
            .map(Box::from)
            .or_else(|| matches.bucket.as_deref().map(plain));
        notice.utilization = Some(0.91);
        notice.reset_at = Some(now + HOUR_MS);
        notice.observed_at = Some(now);
    }
    if name.ends_with(".threshold") {
        let threshold = matches.threshold.unwrap_or(90).max(90);
        notice.threshold = Some(threshold);
        notice.utilization = Some(f64::from(threshold) / 100.0 + 0.01);
    }
    if kind == NoticeKind::RunStopped {
        notice.run = Some(matches.run.as_deref().map_or_else(|| "example".into(), plain));
    }
    notice
}

/// An account that a condition names, where none that is known fits it.
fn named_by(matches: &NoticeMatch) -> AccountId {
    let default = AccountId::default();
    let account = matches.account.as_deref().map(plain);
    let (provider, name) = match account.as_deref().and_then(|account| account.split_once('/')) {
        Some((provider, name)) => (Some(provider.into()), Some(name.into())),
        None => (None, account),
    };
    let provider = matches.provider.as_deref().map(plain).or(provider);
    AccountId {
        provider: provider.unwrap_or(default.provider),
        name: name.unwrap_or(default.name),
    }
}

/// A value that fits a pattern.
fn plain(pattern: &str) -> Box<str> {
    pattern.replace('*', "example").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::notice::tests::target;

    #[test]
    fn a_test_is_an_event_that_the_target_would_get() {
        let ids = ["claude/default", "claude/max-1", "codex/team"].map(|id| {
            let (provider, name) = id.split_once('/').unwrap();
            AccountId {
                provider: provider.into(),
                name: name.into(),
            }
        });
        let some = |text: &str| Some(text.into());
        let of = |account: Option<&str>, bucket: Option<&str>, threshold| NoticeMatch {
            account: account.map(Box::from),
            bucket: bucket.map(Box::from),
            threshold,
            ..NoticeMatch::default()
        };
        let codex = NoticeMatch {
            provider: some("codex"),
            ..NoticeMatch::default()
        };
        let runs = NoticeMatch {
            run: some("ci-*"),
            ..NoticeMatch::default()
        };
        for (events, matches, kind, account) in [
            (
                &["*"][..],
                NoticeMatch::default(),
                "window.threshold",
                "claude/default",
            ),
            (
                &["account.*", "health.*"],
                of(Some("max-*"), None, None),
                "account.exhausted",
                "claude/max-1",
            ),
            (&["budget.threshold"], codex, "budget.threshold", "codex/team"),
            (
                &["window.*"],
                of(Some("codex/*"), Some("seven_day"), Some(97)),
                "window.threshold",
                "codex/team",
            ),
            (
                &["window.reset"],
                of(Some("codex/other-*"), Some("*_opus"), None),
                "window.reset",
                "codex/other-example",
            ),
            (&["run.stopped"], runs, "run.stopped", "claude/default"),
        ] {
            let target = target(events, matches);
            let found = first_kind(&target);
            assert_eq!(found.into_str(), kind);
            let notice = sample(&target.matches, found, &ids, 1);
            assert!(target.wants(&notice), "{notice:?}");
            assert_eq!(notice.account.as_ref().unwrap().to_string(), account);
        }
    }
}
