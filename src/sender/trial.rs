//! A test of a target: an event without a cause, sent at once and once.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::body::OutgoingNotice;
use super::delivery::{DeliveryContext, deliver};
use super::schedule::TryResult;
use crate::model::{AccountId, HOUR_MS, Millis};
use crate::quota::notice::target::NoticeTarget;
use crate::quota::notice::{Notice, NoticeKind, NumberedNotice};

/// The result of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    pub id: Box<str>,
    pub result: TryResult,
    pub took: Duration,
}

/// Sends a test on a thread of its own; `None` if the system refuses one.
pub async fn try_now(target: NoticeTarget, kind: NoticeKind, context: DeliveryContext) -> Option<Trial> {
    let (done, answer) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("notify-test".to_owned())
        .spawn(move || {
            let now = context.clock.now();
            let numbered = NumberedNotice {
                id: format!("evt_test_{now}").into(),
                notice: sample(kind, now),
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
fn sample(kind: NoticeKind, now: Millis) -> Notice {
    let sentence = format!("an example of {}, nothing has happened", kind.into_str());
    let mut notice = Notice::new(kind, now, &sentence);
    let name = kind.into_str();
    if !name.starts_with("health.") && !name.starts_with("notify.") {
        notice.account = Some(AccountId::default());
    }
    if name.starts_with("window.") || kind == NoticeKind::ForecastBeforeReset {
        notice.bucket = Some("five_hour".into());
        notice.utilization = Some(0.91);
        notice.reset_at = Some(now + HOUR_MS);
        notice.observed_at = Some(now);
    }
    if name.ends_with(".threshold") {
        notice.threshold = Some(90);
        notice.utilization = Some(0.91);
    }
    if kind == NoticeKind::RunStopped {
        notice.run = Some("example".into());
    }
    notice
}
