//! Live: the fan-out of committed updates to all listeners.
//!
//! Publishing never waits. A listener that is more than `LIVE_UPDATES_MAX` updates behind has to start
//! over: it reads a snapshot of the store and continues from there. Nothing is lost by that, because the
//! store has everything; the sequence of an [`Update`] shows which ones the snapshot includes.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::dedup::Totals;
use crate::model::{AccountId, Fired, Labels, LineCounts, Millis, Phase, RunId, WindowUpdate};
use crate::quota::lease::{LeaseUpdate, ProbeUpdate};
use crate::quota::notice::NoticeUpdate;

/// Updates kept for the slowest listener.
const LIVE_UPDATES_MAX: usize = 1024;

/// A commit, as listeners get it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// The number of the commit.
    pub sequence: u64,
    pub runs: Vec<RunUpdate>,
    /// Windows whose state changed, by an observation or by the clock.
    pub windows: Vec<WindowUpdate>,
    /// Thresholds that fired, of windows that have not ended.
    pub fired: Vec<Fired>,
    /// Runs that began or ended.
    pub lifecycle: Vec<Lifecycle>,
    /// Accounts whose verdict changed.
    pub accounts: Vec<AccountChange>,
    /// Accounts whose override was set, removed, or has expired.
    pub marks: Vec<AccountId>,
    /// Leases that were granted, bound, or have ended.
    pub leases: Vec<LeaseUpdate>,
    /// Recoveries of accounts that went on.
    pub probes: Vec<ProbeUpdate>,
    /// Events for targets outside, and what became of them.
    pub notices: Vec<NoticeUpdate>,
}

/// The part of an update that belongs to one run, or to posted records of no run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunUpdate {
    /// `None` for posted records of no run, by account.
    pub run: Option<RunId>,
    pub account: AccountId,
    pub bytes: u64,
    pub lines: LineCounts,
    /// Files seen for the first time.
    pub files: u64,
    /// Responses counted for the first time.
    pub responses: u64,
    /// The differences of the sums, by model; negative where a better copy of a response has less.
    pub models: Vec<(Arc<str>, Totals)>,
    /// The run's sums after this commit.
    pub totals: Totals,
    /// The run's lines after this commit.
    pub all_lines: LineCounts,
}

/// A run began or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifecycle {
    pub run: RunId,
    pub account: AccountId,
    pub labels: Labels,
    pub phase: Phase,
    pub at: Millis,
    /// The run's sums as of this commit.
    pub totals: Totals,
}

/// A change of the verdict on an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountChange {
    pub account: AccountId,
    /// `available`, `near_limit`, `exhausted` or `unknown`; `None` before the first verdict.
    pub from: Option<Box<str>>,
    pub state: Box<str>,
    pub until: Option<Millis>,
    /// The stable code of the verdict.
    pub reason: Box<str>,
    pub sentence: Box<str>,
}

/// The publishing end. Listeners get [`Event::Closed`] once it is dropped.
#[derive(Debug)]
pub struct Live {
    sender: broadcast::Sender<Arc<Update>>,
}

/// The receiving end of one listener.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<Arc<Update>>,
}

/// An event for a listener.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Update(Arc<Update>),
    /// The listener was too slow. It must read a snapshot now, and will get every update after it.
    StartOver {
        /// Updates that the listener does not get, at least.
        missed: u64,
    },
    /// No update will follow.
    Closed,
}

impl Live {
    #[must_use]
    pub fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(LIVE_UPDATES_MAX),
        }
    }

    /// Sends an update to all listeners. **Invariant**: called only after the commit.
    pub fn publish(&self, update: Update) {
        // An error means that there are no listeners.
        let _ = self.sender.send(Arc::new(update));
    }

    /// A listener for updates from now on. Subscribe first and read the snapshot second, so that no update is
    /// missed.
    #[must_use]
    pub fn subscribe(&self) -> Listener {
        Listener {
            receiver: self.sender.subscribe(),
        }
    }
}

impl Default for Live {
    fn default() -> Self {
        Self::new()
    }
}

impl Listener {
    /// Waits for the next event. Cancel safe: an event not returned is returned by the next call.
    pub async fn next(&mut self) -> Event {
        match self.receiver.recv().await {
            Ok(update) => Event::Update(update),
            Err(broadcast::error::RecvError::Closed) => Event::Closed,
            Err(broadcast::error::RecvError::Lagged(lost)) => {
                // The updates in the queue are older than the snapshot that the listener reads next.
                let stale = self.receiver.len() as u64;
                self.receiver = self.receiver.resubscribe();
                Event::StartOver {
                    missed: lost.saturating_add(stale),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(sequence: u64) -> Update {
        Update {
            sequence,
            ..Update::default()
        }
    }

    fn sequence(event: &Event) -> Option<u64> {
        match event {
            Event::Update(update) => Some(update.sequence),
            _ => None,
        }
    }

    #[tokio::test]
    async fn every_listener_hears_every_update_in_order() {
        let live = Live::new();
        let mut listeners = [live.subscribe(), live.subscribe()];
        for number in 1..=10 {
            live.publish(update(number));
        }
        for listener in &mut listeners {
            for number in 1..=10 {
                assert_eq!(sequence(&listener.next().await), Some(number));
            }
        }
    }

    #[tokio::test]
    async fn a_late_listener_hears_only_what_follows() {
        let live = Live::new();
        live.publish(update(1));
        let mut listener = live.subscribe();
        live.publish(update(2));
        assert_eq!(sequence(&listener.next().await), Some(2));
    }

    #[tokio::test]
    async fn a_slow_listener_starts_over_and_misses_nothing_after() {
        let live = Live::new();
        let (mut slow, mut quick) = (live.subscribe(), live.subscribe());
        let last = LIVE_UPDATES_MAX as u64 + 5;
        for number in 1..=last {
            live.publish(update(number));
            assert_eq!(sequence(&quick.next().await), Some(number));
        }
        assert_eq!(slow.next().await, Event::StartOver { missed: last });
        live.publish(update(last + 1));
        assert_eq!(sequence(&slow.next().await), Some(last + 1));
        assert_eq!(sequence(&quick.next().await), Some(last + 1));
    }

    #[tokio::test]
    async fn what_was_published_is_heard_before_the_end() {
        let live = Live::new();
        let mut listener = live.subscribe();
        live.publish(update(1));
        drop(live);
        assert_eq!(sequence(&listener.next().await), Some(1));
        assert_eq!(listener.next().await, Event::Closed);
        assert_eq!(listener.next().await, Event::Closed);
    }

    #[tokio::test]
    async fn an_end_after_falling_behind_is_still_an_end() {
        let live = Live::new();
        let mut listener = live.subscribe();
        for number in 0..=LIVE_UPDATES_MAX as u64 {
            live.publish(update(number));
        }
        drop(live);
        assert!(matches!(listener.next().await, Event::StartOver { .. }));
        assert_eq!(listener.next().await, Event::Closed);
    }
}
