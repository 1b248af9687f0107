//! The thread of one try: it reads the first event that waits, delivers it, and commits what came of it.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::body::OutgoingNotice;
use super::delivery::{DeliveryContext, deliver};
use super::schedule::TryResult;
use crate::committer::handle::WeakCommitterHandle;
use crate::model::Millis;
use crate::quota::notice::target::NoticeTarget;
use crate::quota::notice::{NoticeKind, NoticePhase, NumberedNotice, has_two_ways};
use crate::store::{OutboxChange, Reader, StoreError};
use crate::sync::lock;

/// Failed tries in a row from which a target counts as failing.
pub(super) const FAILING_FROM: u32 = 3;
/// Ids kept of events that were sent from memory.
const EARLY_IDS_MAX: usize = 256;

/// A target and the id of an event that can come both from memory and from the outbox.
type EarlyId = (Box<str>, Box<str>);

/// Events that were sent from memory or have a row too: each is sent by one lane, once.
#[derive(Debug, Default)]
pub(super) struct EarlyIds {
    delivered: VecDeque<EarlyId>,
    under_way: BTreeSet<EarlyId>,
}

/// The answer to a lane that wants to send.
#[derive(Debug, PartialEq, Eq)]
enum Claim {
    /// It may; the claim ends with [`EarlyIds::release`].
    Granted,
    Delivered,
    /// The other lane sends it.
    UnderWay,
}

impl EarlyIds {
    fn claim(&mut self, id: &EarlyId) -> Claim {
        if self.delivered.contains(id) {
            Claim::Delivered
        } else if self.under_way.insert(id.clone()) {
            Claim::Granted
        } else {
            Claim::UnderWay
        }
    }

    fn release(&mut self, id: EarlyId, is_done: bool) {
        self.under_way.remove(&id);
        if is_done && has_two_ways(&id.1) {
            if self.delivered.len() >= EARLY_IDS_MAX {
                self.delivered.pop_front();
            }
            self.delivered.push_back(id);
        }
    }
}

/// What a thread needs.
pub(super) struct LaneParts {
    pub target: NoticeTarget,
    /// An event from memory; else the first of the outbox.
    pub early: Option<NumberedNotice>,
    pub delivered_early: Arc<Mutex<EarlyIds>>,
    /// Failed tries in a row before this one, and since when.
    pub failed: (u32, Option<Millis>),
    pub context: DeliveryContext,
    pub store: Reader,
    pub writes: WeakCommitterHandle,
    pub reports: mpsc::Sender<LaneReport>,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum LaneEnd {
    /// Nothing waits.
    Nothing,
    /// It was sent by the other way before.
    Repeated,
    /// It is being sent by the other way.
    UnderWay,
    /// Old events were dropped.
    Dropped,
    Sent,
    Retry {
        why: String,
        after: Option<Millis>,
    },
    Failed(String),
    Store(StoreError),
}

/// The report of a thread.
#[derive(Debug)]
pub(super) struct LaneReport {
    /// As it was when the thread began.
    pub target: NoticeTarget,
    /// The event from memory.
    pub early: Option<Box<str>>,
    pub id: Box<str>,
    pub end: LaneEnd,
}

/// Starts the thread; false if the system refuses one.
pub(super) fn start(parts: LaneParts) -> bool {
    let runtime = Handle::current();
    let name = format!("notify-{}", parts.target.name);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let (id, end) = parts.work(&runtime);
        let report = LaneReport {
            target: parts.target.clone(),
            early: parts.early.as_ref().map(|numbered| numbered.id.clone()),
            id,
            end,
        };
        // After a shutdown nobody listens.
        let _ = parts.reports.blocking_send(report);
    });
    if let Err(error) = &thread {
        tracing::warn!(%error, "no thread for a notification");
    }
    thread.is_ok()
}

/// Forgets that nothing reached a target that is another one now.
pub(super) fn renew(target: Box<str>, writes: WeakCommitterHandle) {
    Handle::current().spawn(async move {
        // Without a committer there is no next event.
        let _ = writes.change_outbox(OutboxChange::Renewed { target }).await;
    });
}

/// Drops the rows of targets that are not configured any more, if there are any.
pub(super) fn drop_unknown(known: BTreeSet<Box<str>>, store: Reader, writes: WeakCommitterHandle) {
    let runtime = Handle::current();
    let thread = std::thread::Builder::new()
        .name("notify-drop".to_owned())
        .spawn(move || {
            let is_unknown = store.snapshot().is_ok_and(|snapshot| {
                let waiting = snapshot.waiting_notices().unwrap_or_default();
                let latches = snapshot.latches().unwrap_or_default();
                let of_targets = latches
                    .into_keys()
                    .filter(|key| key.kind == NoticeKind::NotifyDropped);
                let mut names = waiting.into_keys().chain(of_targets.map(|key| key.subject));
                names.any(|name| !known.contains(&name))
            });
            drop(store);
            if is_unknown {
                // Without a committer there is no next event.
                let _ = runtime.block_on(writes.change_outbox(OutboxChange::DropUnknown));
            }
        });
    if let Err(error) = thread {
        tracing::warn!(%error, "events of targets that are not configured stay until the next start");
    }
}

impl LaneParts {
    fn work(&self, runtime: &Handle) -> (Box<str>, LaneEnd) {
        if let Some(numbered) = &self.early {
            return (numbered.id.clone(), self.send_early(numbered));
        }
        let first = self
            .store
            .snapshot()
            .and_then(|snapshot| snapshot.first_notice(&self.target.name));
        let (place, numbered) = match first {
            Ok(Some(first)) => first,
            Ok(None) => return ("".into(), LaneEnd::Nothing),
            Err(error) => return ("".into(), LaneEnd::Store(error)),
        };
        let change = |change| {
            // Without an answer the row stays, and is sent again by the next collector.
            let _ = runtime.block_on(self.writes.change_outbox(change));
        };
        let target = || self.target.name.clone();
        let before = self.context.clock.now().saturating_sub(self.target.max_age);
        if numbered.notice.at < before && numbered.notice.kind != NoticeKind::NotifyDropped {
            change(OutboxChange::DropOlder {
                target: target(),
                before,
            });
            return (numbered.id, LaneEnd::Dropped);
        }
        let finish = |phase| {
            change(OutboxChange::Finish {
                target: target(),
                place,
                phase,
            });
        };
        let end = self.send_once(&numbered, Some(place.0));
        match &end {
            LaneEnd::Sent | LaneEnd::Repeated => finish(NoticePhase::Sent),
            LaneEnd::Failed(_) => finish(NoticePhase::Failed),
            LaneEnd::Retry { .. } if self.failed.0 + 1 == FAILING_FROM => change(OutboxChange::Unreached {
                target: target(),
                since: self.failed.1.unwrap_or_else(|| self.context.clock.now()),
            }),
            _ => {}
        }
        (numbered.id, end)
    }

    fn send_early(&self, numbered: &NumberedNotice) -> LaneEnd {
        let age = self.context.clock.now().saturating_sub(numbered.notice.at);
        if age > self.target.max_age {
            return LaneEnd::Dropped;
        }
        self.send_once(numbered, None)
    }

    /// Sends an event unless it was sent by the other way, or is being sent by it.
    fn send_once(&self, numbered: &NumberedNotice, sequence: Option<u64>) -> LaneEnd {
        let id = (self.target.name.clone(), numbered.id.clone());
        match lock(&self.delivered_early).claim(&id) {
            Claim::Granted => {}
            Claim::Delivered => return LaneEnd::Repeated,
            Claim::UnderWay => return LaneEnd::UnderWay,
        }
        let end = self.send(numbered, sequence);
        let is_done = matches!(end, LaneEnd::Sent | LaneEnd::Failed(_));
        lock(&self.delivered_early).release(id, is_done);
        end
    }

    fn send(&self, numbered: &NumberedNotice, sequence: Option<u64>) -> LaneEnd {
        let outgoing = OutgoingNotice {
            numbered,
            sequence,
            host: &self.context.host,
            is_test: false,
            max_age: self.target.max_age,
        };
        tracing::debug!(
            target = &*self.target.name,
            id = &*numbered.id,
            "sends a notification"
        );
        match deliver(&self.target, &outgoing, &self.context) {
            TryResult::Sent => LaneEnd::Sent,
            TryResult::Retry { why, after } => LaneEnd::Retry { why, after },
            // Its end may be that of the collector: the next one decides.
            TryResult::Failed { why } if self.context.ending.is_begun() => {
                LaneEnd::Retry { why, after: None }
            }
            TryResult::Failed { why } => LaneEnd::Failed(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::notice::causes::of_trouble;
    use crate::quota::notice::id_of;

    #[test]
    fn an_event_from_memory_and_its_row_are_one() {
        let of_a = |id: Box<str>| -> EarlyId { ("a".into(), id) };
        let health = of_a(of_trouble(1, "degraded", None, 7).id.unwrap());
        let mut ids = EarlyIds::default();
        assert_eq!(ids.claim(&health), Claim::Granted);
        assert_eq!(ids.claim(&health), Claim::UnderWay);
        assert_eq!(ids.claim(&("b".into(), health.1.clone())), Claim::Granted);
        // A try that failed leaves it to either.
        ids.release(health.clone(), false);
        assert_eq!(ids.claim(&health), Claim::Granted);
        ids.release(health.clone(), true);
        assert_eq!(ids.claim(&health), Claim::Delivered);
    }

    #[test]
    fn other_events_take_no_place() {
        let mut ids = EarlyIds::default();
        for sequence in 0..1000 {
            let id: EarlyId = ("a".into(), id_of(sequence, 0));
            assert_eq!(ids.claim(&id), Claim::Granted);
            ids.release(id, true);
        }
        assert!(ids.delivered.is_empty() && ids.under_way.is_empty());
    }
}
