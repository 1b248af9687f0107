//! The hub: receives every commit, encodes it once, keeps the last ones and sends them to all subscribers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::encode::{CommitEvents, EventId};
use crate::api::wire;
use crate::clock::Clock;
use crate::config::Settings;
use crate::live::{Event, Listener};
use crate::model::Millis;
use crate::store::{KnownAccounts, Reader};
use crate::sync::lock;

/// Commits kept for subscribers that resume.
const HISTORY_COMMITS_MAX: usize = 4096;
/// The memory they take, in bytes.
const HISTORY_BYTES_MAX: usize = 4 << 20;
/// Commits buffered for the slowest subscriber.
const WAITING_COMMITS_MAX: usize = 512;

/// A message to subscribers.
#[derive(Clone, Debug)]
pub enum Message {
    CommitEvents(Arc<CommitEvents>),
    /// The hub itself fell behind.
    Lost,
}

/// The source of all event streams.
#[derive(Debug)]
pub struct Hub {
    history: Mutex<History>,
    messages: broadcast::Sender<Message>,
    /// The last published health; `None` before the first.
    health: watch::Sender<Option<Arc<wire::HealthEvent>>>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct History {
    commits: VecDeque<Arc<CommitEvents>>,
    bytes: usize,
    /// Every commit after this one is in `commits`; `None` after a loss, until the next commit.
    since: Option<u64>,
    /// The last commit number before this start of the collector.
    began: u64,
}

/// The events that a resuming subscriber has missed.
pub enum Missed {
    /// These, in their order.
    CommitEvents(Vec<Arc<CommitEvents>>),
    /// A gap, for this reason: the missed events are not all kept.
    Gap(&'static str),
}

impl Hub {
    /// A hub without events; every number after `began` belongs to this start of the collector.
    #[must_use]
    pub fn new(began: u64, stop: CancellationToken) -> Self {
        Self {
            history: Mutex::new(History {
                commits: VecDeque::new(),
                bytes: 0,
                since: Some(began),
                began,
            }),
            messages: broadcast::Sender::new(WAITING_COMMITS_MAX),
            health: watch::Sender::new(None),
            stop,
        }
    }

    /// Publishes commits until the channel closes.
    pub async fn run(
        self: Arc<Self>,
        mut listener: Listener,
        store: Reader,
        settings: watch::Receiver<Arc<Settings>>,
        clock: Clock,
    ) {
        loop {
            let event = tokio::select! {
                biased;
                event = listener.next() => event,
                () = self.stop.cancelled() => return,
            };
            match event {
                Event::Update(update) => {
                    let known = if update.windows.is_empty() {
                        KnownAccounts::default()
                    } else {
                        let store = store.clone();
                        let read =
                            tokio::task::spawn_blocking(move || store.snapshot()?.accounts(Millis::MAX));
                        // If the read fails, the windows are published with their next change.
                        read.await.ok().and_then(Result::ok).unwrap_or_default()
                    };
                    let rules = Arc::clone(&settings.borrow());
                    self.publish(CommitEvents::new(&update, &known, &rules.accounts, clock.now()));
                }
                Event::StartOver { .. } => self.lose(),
                Event::Closed => return,
            }
        }
    }

    fn publish(&self, commit: CommitEvents) {
        let commit = Arc::new(commit);
        let mut history = self.history();
        // Cleared by a loss, or by a new database in the place of a damaged one.
        history.since.get_or_insert(commit.sequence.saturating_sub(1));
        history.bytes += commit.bytes;
        history.commits.push_back(Arc::clone(&commit));
        while (history.commits.len() > HISTORY_COMMITS_MAX || history.bytes > HISTORY_BYTES_MAX)
            && let Some(oldest) = history.commits.pop_front()
        {
            history.bytes -= oldest.bytes;
            history.since = Some(oldest.sequence);
        }
        // Sent under the lock, so that a new subscriber gets the event exactly once. An error only means that
        // nobody subscribes.
        let _ = self.messages.send(Message::CommitEvents(commit));
    }

    fn lose(&self) {
        let mut history = self.history();
        history.commits.clear();
        history.bytes = 0;
        history.since = None;
        let _ = self.messages.send(Message::Lost);
    }

    /// Publishes a new health state.
    pub fn publish_health(&self, health: wire::HealthEvent) {
        self.health.send_replace(Some(Arc::new(health)));
    }

    /// The health state; the receiver is notified of changes.
    #[must_use]
    pub fn health(&self) -> watch::Receiver<Option<Arc<wire::HealthEvent>>> {
        self.health.subscribe()
    }

    /// Cancelled when the collector stops.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Subscribes to events from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Message> {
        self.messages.subscribe()
    }

    /// Subscribes from now on and returns the events after `after`; `newest` is the number of the last
    /// commit.
    #[must_use]
    pub fn resume(&self, after: EventId, newest: u64) -> (broadcast::Receiver<Message>, Missed) {
        let history = self.history();
        let receiver = self.messages.subscribe();
        let is_kept =
            |since: u64| after.sequence > since || (after.sequence == since && after.frames == usize::MAX);
        let missed = if after.sequence < history.began {
            Missed::Gap("restarted")
        } else if after.sequence > newest {
            Missed::Gap("unknown")
        } else if history.since.is_some_and(is_kept) {
            let later = history
                .commits
                .iter()
                .filter(|commit| commit.sequence >= after.sequence);
            Missed::CommitEvents(later.cloned().collect())
        } else {
            Missed::Gap("too_old")
        };
        (receiver, missed)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }
}
