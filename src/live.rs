//! Live: hands committed updates to everyone who listens.
//!
//! Publishing never waits. A listener that falls behind by more than [`LIVE_UPDATES_MAX`] updates is
//! told to start over: it reads a snapshot of the store and goes on from there. Nothing is lost by
//! that, because the store has it all; an [`Update`]'s sequence says which ones the snapshot covers.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::dedup::Totals;
use crate::model::{AccountId, Fired, Labels, LineCounts, Millis, Phase, RunId, WindowUpdate};

/// Updates kept for the slowest listener.
pub const LIVE_UPDATES_MAX: usize = 1024;

/// What was committed, for those who listen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Update {
    /// The number of the commit, from the store.
    pub sequence: u64,
    pub runs: Vec<RunUpdate>,
    /// Windows whose state is another now, by an observation or by the clock.
    pub windows: Vec<WindowUpdate>,
    /// Thresholds that fired, of windows that have not ended.
    pub fired: Vec<Fired>,
    /// Runs that began or ended.
    pub lifecycle: Vec<Lifecycle>,
    /// Accounts whose verdict is another now.
    pub accounts: Vec<AccountChange>,
    /// Accounts whose mark is set, taken back or over.
    pub marks: Vec<AccountId>,
}

/// One run's part of an update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunUpdate {
    pub run: RunId,
    pub account: AccountId,
    pub bytes: u64,
    pub lines: LineCounts,
    /// Files seen for the first time.
    pub files: u64,
    /// Responses counted for the first time.
    pub responses: u64,
    /// What is added to the sums, by model; negative where a better copy took something away.
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

/// The verdict on an account is another now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountChange {
    pub account: AccountId,
    /// `available`, `near_limit`, `exhausted` or `unknown`; `None` if it was never told.
    pub from: Option<Box<str>>,
    pub state: Box<str>,
    pub until: Option<Millis>,
    /// The stable code of the verdict.
    pub reason: Box<str>,
    pub sentence: Box<str>,
}

/// The publishing end. Listeners see [`Event::Closed`] once it is dropped.
#[derive(Debug)]
pub struct Live {
    sender: broadcast::Sender<Arc<Update>>,
}

/// One listener's end.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<Arc<Update>>,
}

/// What a listener hears.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    Update(Arc<Update>),
    /// The listener was too slow. Read a snapshot now: every update after it will be heard.
    StartOver {
        /// Updates that will not be heard, at least.
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

    /// Tells everyone. **Invariant**: called only after the commit of what it tells.
    pub fn publish(&self, update: Update) {
        // An error says that nobody listens, which is as good.
        let _ = self.sender.send(Arc::new(update));
    }

    /// Listens from now on. Subscribe first and read the snapshot second, so that nothing falls between.
    #[must_use]
    pub fn subscribe(&self) -> Listener {
        Listener {
            receiver: self.sender.subscribe(),
        }
    }

    /// How many listen.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.sender.receiver_count()
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
                // What is still queued is older than the snapshot the listener reads next.
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
        assert_eq!(live.listeners(), 2);
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
